//! Snapshots and checkpoints: lists of them, making them, taking them away.

use super::*;
use libvirt_client::protocol::enums::DomainState;
use libvirt_client::protocol::flags::{
    DomainCheckpointCreateFlags as CC, DomainCheckpointDeleteFlags as CD, DomainCheckpointListFlags as CL,
    DomainCheckpointXmlFlags as CX, DomainSnapshotCreateFlags as SC, DomainSnapshotDeleteFlags as SD,
    DomainSnapshotListFlags as SL, DomainSnapshotRevertFlags as SR, DomainSnapshotXmlFlags as SX,
};

/// What was taken before is told again: name, parent, state.
async fn tell(guest: &Domain, name: &str, parent: &str, state: &str, flags: SC) {
    let parent =
        if parent.is_empty() { String::new() } else { format!("<parent><name>{parent}</name></parent>") };
    let xml = format!(
        "<domainsnapshot><name>{name}</name>{parent}<state>{state}</state><creationTime>77</creationTime></domainsnapshot>"
    );
    guest.create_snapshot(&xml, SC::REDEFINE | flags).await.unwrap();
}

/// ```text
///   a (off) ── b (running) ── c (disks only)
///     └─────── d (running)
///   e (running)
/// ```
async fn snapshots(connect: &Connect) -> Domain {
    let guest = domain(connect).await;
    tell(&guest, "a", "", "shutoff", SC::empty()).await;
    tell(&guest, "b", "a", "running", SC::empty()).await;
    tell(&guest, "c", "b", "disk-snapshot", SC::DISK_ONLY).await;
    tell(&guest, "d", "a", "running", SC::CURRENT).await;
    tell(&guest, "e", "", "running", SC::empty()).await;
    guest
}

#[tokio::test]
async fn snapshots_pass_or_do_not_of_all_and_below_one() {
    let connect = fresh().await;
    snapshots(&connect).await;
    let dom = dom(&connect).await;
    let snap = types::DomainSnapshot { name: "a".into(), dom: dom.clone() };
    for (flags, of_all, below) in [
        (SL::ROOTS, "a e", "b c d"),
        (SL::METADATA, "a b c d e", "b d"),
        (SL::LEAVES, "c d e", "d"),
        (SL::NO_LEAVES, "a b", "b"),
        (SL::NO_METADATA, "", ""),
        (SL::INACTIVE, "a", ""),
        (SL::ACTIVE, "b d e", "b d"),
        (SL::DISK_ONLY, "c", ""),
        (SL::INTERNAL, "a b d e", "b d"),
        (SL::EXTERNAL, "c", ""),
        (SL::TOPOLOGICAL, "a b c d e", "b d"),
    ] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (of_all, below) = (words(of_all), words(below));
        let args = remote::DomainSnapshotNumArgs { dom: dom.clone(), flags };
        let num = done::<remote::DomainSnapshotNum>(&connect, &args).await.result().unwrap().num;
        assert_eq!(num as usize, of_all.len(), "{flags:?}");
        let args = remote::DomainSnapshotListNamesArgs { dom: dom.clone(), maxnames: 9, flags };
        let reply = done::<remote::DomainSnapshotListNames>(&connect, &args).await;
        let names: Vec<_> = reply.result().unwrap().names.iter().map(|name| name.to_string()).collect();
        assert_eq!(names, of_all, "{flags:?}");
        let args = remote::DomainListAllSnapshotsArgs { dom: dom.clone(), need_results: 1, flags };
        let reply = done::<remote::DomainListAllSnapshots>(&connect, &args).await;
        let names: Vec<_> =
            reply.result().unwrap().snapshots.iter().map(|snap| snap.name.to_string()).collect();
        assert_eq!(names, of_all, "{flags:?}");
        let args = remote::DomainSnapshotNumChildrenArgs { snap: snap.clone(), flags };
        let num = done::<remote::DomainSnapshotNumChildren>(&connect, &args).await.result().unwrap().num;
        assert_eq!(num as usize, below.len(), "{flags:?}");
        let args = remote::DomainSnapshotListChildrenNamesArgs { snap: snap.clone(), maxnames: 9, flags };
        let reply = done::<remote::DomainSnapshotListChildrenNames>(&connect, &args).await;
        let names: Vec<_> = reply.result().unwrap().names.iter().map(|name| name.to_string()).collect();
        assert_eq!(names, below, "{flags:?}");
        let args =
            remote::DomainSnapshotListAllChildrenArgs { snapshot: snap.clone(), need_results: 1, flags };
        let reply = done::<remote::DomainSnapshotListAllChildren>(&connect, &args).await;
        let names: Vec<_> =
            reply.result().unwrap().snapshots.iter().map(|snap| snap.name.to_string()).collect();
        assert_eq!(names, below, "{flags:?}");
    }
}

#[tokio::test]
async fn snapshots_are_told_again_made_in_every_way_and_go() {
    let connect = fresh().await;
    let guest = snapshots(&connect).await;
    // Told again: with the time that it was taken at, and current only where it was said.
    assert!(
        guest
            .snapshot_by_name("c")
            .await
            .unwrap()
            .xml(SX::empty())
            .await
            .unwrap()
            .contains("<creationTime>77<")
    );
    assert_eq!(guest.current_snapshot().await.unwrap().name(), "d");
    guest
        .create_snapshot("<domainsnapshot><name>none</name></domainsnapshot>", SC::NO_METADATA)
        .await
        .unwrap();
    guest.snapshot_by_name("none").await.unwrap_err();
    let snap = |name: &str| format!("<domainsnapshot><name>{name}</name></domainsnapshot>");
    for (name, flags) in [
        ("atomic", SC::ATOMIC),
        ("live", SC::LIVE),
        ("reuse", SC::DISK_ONLY | SC::REUSE_EXT),
        ("quiet", SC::DISK_ONLY | SC::QUIESCE),
    ] {
        assert_eq!(guest.create_snapshot(&snap(name), flags).await.unwrap().name(), name);
        guest.snapshot_by_name(name).await.unwrap();
    }
    guest.create_snapshot(&snap("loud"), SC::QUIESCE).await.unwrap_err();
    let strange = "<domainsnapshot><name>valid</name><strange/></domainsnapshot>";
    let error = guest.create_snapshot(strange, SC::VALIDATE).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema);
    guest.create_snapshot(&snap("valid"), SC::VALIDATE).await.unwrap();
    guest.create_snapshot(&snap("halted"), SC::HALT).await.unwrap();
    assert_eq!(state(&guest).await, DomainState::Shutoff);
    // Back to one, running or not, whatever it was.
    let back = guest.snapshot_by_name("b").await.unwrap();
    for (flags, expected) in [
        (SR::PAUSED, DomainState::Paused),
        (SR::RUNNING, DomainState::Running),
        (SR::FORCE, DomainState::Running),
        (SR::RESET_NVRAM, DomainState::Running),
    ] {
        back.revert(flags).await.unwrap();
        assert_eq!(state(&guest).await, expected, "{flags:?}");
    }
    guest.snapshot_by_name("e").await.unwrap().delete(SD::METADATA_ONLY).await.unwrap();
    guest.snapshot_by_name("e").await.unwrap_err();
    back.delete(SD::CHILDREN_ONLY).await.unwrap();
    guest.snapshot_by_name("c").await.unwrap_err();
    guest.snapshot_by_name("a").await.unwrap().delete(SD::CHILDREN).await.unwrap();
    guest.snapshot_by_name("b").await.unwrap_err();
}

#[tokio::test]
async fn checkpoints_pass_or_do_not_and_go() {
    let connect = fresh().await;
    let guest = domain(&connect).await;
    for name in ["1", "2", "3"] {
        guest
            .create_checkpoint(
                &format!("<domaincheckpoint><name>{name}</name></domaincheckpoint>"),
                CC::QUIESCE,
            )
            .await
            .unwrap();
    }
    let dom = dom(&connect).await;
    let first = types::DomainCheckpoint { name: "1".into(), dom: dom.clone() };
    for (flags, of_all, below) in [
        (CL::ROOTS, vec!["1"], vec!["2", "3"]),
        (CL::TOPOLOGICAL, vec!["1", "2", "3"], vec!["2"]),
        (CL::LEAVES, vec!["3"], vec![]),
        (CL::NO_LEAVES, vec!["1", "2"], vec!["2"]),
    ] {
        let args = remote::DomainListAllCheckpointsArgs { dom: dom.clone(), need_results: 1, flags };
        let reply = done::<remote::DomainListAllCheckpoints>(&connect, &args).await;
        let names: Vec<_> =
            reply.result().unwrap().checkpoints.iter().map(|point| point.name.to_string()).collect();
        assert_eq!(names, of_all, "{flags:?}");
        let args =
            remote::DomainCheckpointListAllChildrenArgs { checkpoint: first.clone(), need_results: 1, flags };
        let reply = done::<remote::DomainCheckpointListAllChildren>(&connect, &args).await;
        let names: Vec<_> =
            reply.result().unwrap().checkpoints.iter().map(|point| point.name.to_string()).collect();
        assert_eq!(names, below, "{flags:?}");
    }
    let told = "<domaincheckpoint><name>told</name><creationTime>77</creationTime><disks><disk name='vda'/></disks></domaincheckpoint>";
    guest.create_checkpoint(told, CC::REDEFINE).await.unwrap();
    let point = guest.checkpoint_by_name("told").await.unwrap();
    assert!(point.xml(CX::empty()).await.unwrap().contains("<creationTime>77<"));
    let wrong = told.replace("told", "wrong").replace("vda", "vdx");
    guest.create_checkpoint(&wrong, CC::REDEFINE_VALIDATE).await.unwrap_err();
    guest.create_checkpoint(&wrong, CC::REDEFINE | CC::REDEFINE_VALIDATE).await.unwrap_err();
    guest
        .create_checkpoint(&told.replace("told", "right"), CC::REDEFINE | CC::REDEFINE_VALIDATE)
        .await
        .unwrap();
    assert!(point.xml(CX::empty()).await.unwrap().contains("<domain "));
    assert!(!point.xml(CX::NO_DOMAIN).await.unwrap().contains("<domain "));
    assert!(
        !point.xml(CX::empty()).await.unwrap().contains(" size=")
            && point.xml(CX::SIZE).await.unwrap().contains(" size='0'")
    );
    guest.checkpoint_by_name("right").await.unwrap().delete(CD::METADATA_ONLY).await.unwrap();
    guest.checkpoint_by_name("right").await.unwrap_err();
    guest.checkpoint_by_name("2").await.unwrap().delete(CD::CHILDREN_ONLY).await.unwrap();
    guest.checkpoint_by_name("3").await.unwrap_err();
    guest.checkpoint_by_name("1").await.unwrap().delete(CD::CHILDREN).await.unwrap();
    assert!(guest.checkpoints(CL::empty()).await.unwrap().is_empty());
}

/// A password of a screen, which is shown to who asks for secrets.
#[tokio::test]
async fn secrets_in_definitions_are_shown_to_who_asks_for_them() {
    use libvirt_client::protocol::flags::{DomainSaveImageXmlFlags as IX, DomainXmlFlags as X};
    let connect = fresh().await;
    let more = "<cpu mode='host-model'/><devices><graphics type='vnc' passwd='hush'/></devices>";
    let guest = define(&connect, &xml("screen", more)).await;
    guest.start(Default::default()).await.unwrap();
    for (flags, shown) in
        [(X::empty(), false), (X::SECURE, true), (X::MIGRATABLE, true), (X::UPDATE_CPU, false)]
    {
        let xml = guest.xml(flags).await.unwrap();
        assert_eq!(xml.contains("hush"), shown, "{flags:?}");
        assert_eq!(xml.contains("<model fallback='forbid'>Westmere"), flags == X::UPDATE_CPU, "{xml}");
    }
    let point = guest
        .create_checkpoint("<domaincheckpoint><name>p</name></domaincheckpoint>", CC::empty())
        .await
        .unwrap();
    assert!(!point.xml(CX::empty()).await.unwrap().contains("hush"));
    assert!(point.xml(CX::SECURE).await.unwrap().contains("hush"));
    point.delete(CD::empty()).await.unwrap();
    let snapshot = guest.create_snapshot("<domainsnapshot/>", SC::empty()).await.unwrap();
    assert!(!snapshot.xml(SX::empty()).await.unwrap().contains("hush"));
    assert!(snapshot.xml(SX::SECURE).await.unwrap().contains("hush"));
    snapshot.delete(SD::empty()).await.unwrap();
    guest.managed_save(Default::default()).await.unwrap().await.unwrap();
    for (flags, shown) in [(IX::empty(), false), (IX::SECURE, true)] {
        let args = remote::DomainManagedSaveGetXmlDescArgs { dom: guest.wire(), flags };
        let reply = done::<remote::DomainManagedSaveGetXmlDesc>(&connect, &args).await;
        assert_eq!(reply.result().unwrap().xml.to_string().contains("hush"), shown);
    }
    guest.start(Default::default()).await.unwrap();
    guest.save("/image", None, Default::default()).await.unwrap().await.unwrap();
    assert!(!connect.save_image_xml("/image", IX::empty()).await.unwrap().contains("hush"));
    assert!(connect.save_image_xml("/image", IX::SECURE).await.unwrap().contains("hush"));
}

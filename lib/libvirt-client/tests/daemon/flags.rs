//! Flags of the test driver's calls: filters of its lists, what runs and what will run, what is kept and what goes. Each is made, and looked
//! at for what came of it.

use crate::support::Daemon;
use libvirt_client::protocol::enums::{DomainMetadataType, DomainState, ErrorNumber};
use libvirt_client::protocol::flags::{
    ConnectListAllDomainsFlags as D, ConnectListAllInterfacesFlags as I, ConnectListAllNetworksFlags as N,
    ConnectListAllNodeDeviceFlags as V, ConnectListAllStoragePoolsFlags as P, DomainCheckpointDeleteFlags,
    DomainCheckpointListFlags as CL, DomainCheckpointXmlFlags, DomainCreateFlags, DomainDefineFlags,
    DomainDestroyFlags, DomainMemoryModFlags as Memory, DomainModificationImpact as Impact,
    DomainSnapshotCreateFlags as SC, DomainSnapshotDeleteFlags as SD, DomainSnapshotListFlags as SL,
    DomainSnapshotRevertFlags as SR, DomainUndefineFlags as U, DomainVcpuFlags as Vcpus, DomainXmlFlags as X,
    InterfaceDefineFlags, NetworkCreateFlags, NetworkDefineFlags, StoragePoolDefineFlags,
};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::protocol::{remote, types};
use libvirt_client::{
    Autostart, BandwidthParameters, BlkioParameters, Connect, CpuMap, Domain, Error, MemoryParameters,
    NumaParameters, Params,
};

fn xml(name: &str) -> String {
    // Without a disk it has no checkpoints.
    let disk = "<devices><disk type='file'><source file='/d'/><target dev='vda'/></disk></devices>";
    format!(
        "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os>{disk}</domain>"
    )
}

/// Names in order, of all but some.
fn but(all: &[&str], without: &[&str]) -> Vec<String> {
    all.iter().filter(|name| !without.contains(name)).map(|name| (*name).to_owned()).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

const DOMAINS: [&str; 6] = ["marked", "off", "saved", "snapped", "test", "waits"];

#[tokio::test]
async fn domains_pass_filters_or_do_not() {
    let Some(daemon) = Daemon::start("domains_pass_filters_or_do_not") else { return };
    let connect = daemon.test().await;
    let define = async |name: &str| connect.define_domain(&xml(name), Default::default()).await.unwrap();
    let started = async |name: &str| {
        let domain = define(name).await;
        domain.start(Default::default()).await.unwrap();
        domain
    };
    started("marked").await.create_checkpoint("<domaincheckpoint/>", Default::default()).await.unwrap();
    started("snapped").await.create_snapshot("<domainsnapshot/>", Default::default()).await.unwrap();
    started("saved").await.managed_save(Default::default()).await.unwrap().await.unwrap();
    define("off").await.set_autostart(Autostart::On).await.unwrap();
    connect.create_domain(&xml("waits"), Default::default()).await.unwrap().suspend().await.unwrap();
    let all = |without: &str| but(&DOMAINS, &without.split_whitespace().collect::<Vec<_>>());
    for (flag, expected) in [
        (D::ACTIVE, all("off saved")),
        (D::INACTIVE, words("off saved")),
        (D::PERSISTENT, all("waits")),
        (D::TRANSIENT, words("waits")),
        (D::RUNNING, words("marked snapped test")),
        (D::PAUSED, words("waits")),
        (D::SHUTOFF, words("off saved")),
        (D::OTHER, Vec::new()),
        (D::MANAGEDSAVE, words("saved")),
        (D::NO_MANAGEDSAVE, all("saved")),
        (D::AUTOSTART, words("off")),
        (D::NO_AUTOSTART, all("off")),
        (D::HAS_SNAPSHOT, words("snapped")),
        (D::NO_SNAPSHOT, all("snapped")),
        (D::HAS_CHECKPOINT, words("marked")),
        (D::NO_CHECKPOINT, all("marked")),
    ] {
        let found = connect.domains(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(Domain::name)), expected, "{flag:?}");
    }
    connect.close().await.unwrap();
}

#[tokio::test]
async fn networks_pools_interfaces_and_devices_pass_filters_or_do_not() {
    let Some(daemon) = Daemon::start("networks_pools_interfaces_and_devices_pass_filters_or_do_not") else {
        return;
    };
    let connect = daemon.test().await;
    let net = |name: &str| format!("<network><name>{name}</name></network>");
    let kept = connect.define_network(&net("kept"), Default::default()).await.unwrap();
    kept.set_autostart(Autostart::On).await.unwrap();
    connect.create_network(&net("brief"), Default::default()).await.unwrap();
    for (flag, expected) in [
        (N::ACTIVE, "brief default"),
        (N::INACTIVE, "kept"),
        (N::PERSISTENT, "default kept"),
        (N::TRANSIENT, "brief"),
        (N::AUTOSTART, "kept"),
        (N::NO_AUTOSTART, "brief default"),
    ] {
        let found = connect.networks(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|network| network.name())), words(expected), "{flag:?}");
    }
    let pool = |name: &str| {
        format!("<pool type='dir'><name>{name}</name><target><path>/{name}</path></target></pool>")
    };
    let kept = connect.define_storage_pool(&pool("kept"), Default::default()).await.unwrap();
    kept.set_autostart(Autostart::On).await.unwrap();
    connect.create_storage_pool(&pool("brief"), Default::default()).await.unwrap();
    let elsewhere = [
        P::FS,
        P::NETFS,
        P::LOGICAL,
        P::DISK,
        P::ISCSI,
        P::SCSI,
        P::MPATH,
        P::RBD,
        P::SHEEPDOG,
        P::GLUSTER,
        P::ZFS,
        P::VSTORAGE,
        P::ISCSI_DIRECT,
    ];
    let cases = [
        (P::ACTIVE, "brief default-pool"),
        (P::INACTIVE, "kept"),
        (P::PERSISTENT, "default-pool kept"),
        (P::TRANSIENT, "brief"),
        (P::AUTOSTART, "kept"),
        (P::NO_AUTOSTART, "brief default-pool"),
        (P::DIR, "brief default-pool kept"),
    ];
    // No pool is of any other kind.
    for (flag, expected) in cases.into_iter().chain(elsewhere.map(|flag| (flag, ""))) {
        let found = connect.storage_pools(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|pool| pool.name())), words(expected), "{flag:?}");
    }
    connect
        .define_interface(
            "<interface type='ethernet' name='e'><start mode='none'/></interface>",
            Default::default(),
        )
        .await
        .unwrap();
    for (flag, expected) in [(I::ACTIVE, "eth1"), (I::INACTIVE, "e")] {
        let found = connect.interfaces(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|interface| interface.name())), words(expected), "{flag:?}");
    }
    let hosts = "scsi_host1 scsi_host11 scsi_host2";
    let nothing = [
        V::CAP_PCI_DEV,
        V::CAP_USB_DEV,
        V::CAP_USB_INTERFACE,
        V::CAP_NET,
        V::CAP_SCSI_TARGET,
        V::CAP_SCSI,
        V::CAP_STORAGE,
        V::CAP_SCSI_GENERIC,
        V::CAP_DRM,
        V::CAP_MDEV_TYPES,
        V::CAP_MDEV,
        V::CAP_CCW_DEV,
        V::CAP_CSS_DEV,
        V::CAP_VDPA,
        V::CAP_AP_CARD,
        V::CAP_AP_QUEUE,
        V::CAP_AP_MATRIX,
    ];
    let some = [
        (V::CAP_SYSTEM, "computer"),
        (V::CAP_SCSI_HOST, hosts),
        (V::CAP_FC_HOST, hosts),
        (V::CAP_VPORTS, "scsi_host1 scsi_host2"),
    ];
    let newer = [V::CAP_CCWGROUP_DEV, V::CAP_CCWGROUP_MEMBER];
    let known = if connect.daemon_version() >= Release(11, 1, 0) { &newer[..] } else { &[] };
    let nothing = nothing.iter().chain(known).map(|flag| (*flag, ""));
    for (flag, expected) in some.into_iter().chain(nothing) {
        let found = connect.node_devices(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|device| device.name())), words(expected), "{flag:?}");
    }
    connect.close().await.unwrap();
}

/// ```text
///   a (off) ── b (running) ── c (running)
///     └─────── d (running)
///   e (running)
/// ```
#[tokio::test]
async fn snapshots_and_checkpoints_pass_filters_or_do_not() {
    let Some(daemon) = Daemon::start("snapshots_and_checkpoints_pass_filters_or_do_not") else { return };
    let connect = daemon.test().await;
    let guest = connect.define_domain(&xml("off"), Default::default()).await.unwrap();
    guest.create_snapshot("<domainsnapshot><name>a</name></domainsnapshot>", SC::empty()).await.unwrap();
    guest.start(DomainCreateFlags::empty()).await.unwrap();
    let snap = async |name: &str| {
        guest
            .create_snapshot(&format!("<domainsnapshot><name>{name}</name></domainsnapshot>"), SC::empty())
            .await
            .unwrap()
    };
    snap("b").await;
    snap("c").await;
    guest.snapshot_by_name("a").await.unwrap().revert(SR::empty()).await.unwrap();
    guest.start(DomainCreateFlags::empty()).await.unwrap();
    snap("d").await;
    let dom: types::Domain<'_> = guest.wire();
    let one = types::DomainSnapshot { name: "a".into(), dom: dom.clone() };
    for (flags, of_all, below) in [
        (SL::ROOTS, "a", "b c d"),
        (SL::METADATA, "a b c d", "b d"),
        (SL::LEAVES, "c d", "d"),
        (SL::NO_LEAVES, "a b", "b"),
        (SL::NO_METADATA, "", ""),
        (SL::INACTIVE, "a", ""),
        (SL::ACTIVE, "b c d", "b d"),
        (SL::DISK_ONLY, "", ""),
        (SL::INTERNAL, "a b c d", "b d"),
        (SL::EXTERNAL, "", ""),
        (SL::TOPOLOGICAL, "a b c d", "b d"),
    ] {
        let (of_all, below) = (words(of_all), words(below));
        let args = remote::DomainSnapshotListNamesArgs { dom: dom.clone(), maxnames: 9, flags };
        let reply = connect.call::<remote::DomainSnapshotListNames>(&args).await.unwrap();
        assert_eq!(
            sorted(reply.result().unwrap().names.iter().map(|name| name.to_string())),
            of_all,
            "{flags:?}"
        );
        let args = remote::DomainSnapshotNumArgs { dom: dom.clone(), flags };
        let num = connect.call::<remote::DomainSnapshotNum>(&args).await.unwrap().result().unwrap().num;
        assert_eq!(num as usize, of_all.len(), "{flags:?}");
        let args = remote::DomainListAllSnapshotsArgs { dom: dom.clone(), need_results: 1, flags };
        let reply = connect.call::<remote::DomainListAllSnapshots>(&args).await.unwrap();
        let names: Vec<_> =
            reply.result().unwrap().snapshots.iter().map(|snap| snap.name.to_string()).collect();
        if flags == SL::TOPOLOGICAL {
            let at = |name: &str| names.iter().position(|known| known == name).unwrap();
            assert!(at("a") < at("b") && at("b") < at("c") && at("a") < at("d"), "{names:?}");
        }
        assert_eq!(sorted(names.into_iter()), of_all, "{flags:?}");
        let args = remote::DomainSnapshotNumChildrenArgs { snap: one.clone(), flags };
        let num =
            connect.call::<remote::DomainSnapshotNumChildren>(&args).await.unwrap().result().unwrap().num;
        assert_eq!(num as usize, below.len(), "{flags:?}");
        let args = remote::DomainSnapshotListChildrenNamesArgs { snap: one.clone(), maxnames: 9, flags };
        let reply = connect.call::<remote::DomainSnapshotListChildrenNames>(&args).await.unwrap();
        assert_eq!(
            sorted(reply.result().unwrap().names.iter().map(|name| name.to_string())),
            below,
            "{flags:?}"
        );
        let args =
            remote::DomainSnapshotListAllChildrenArgs { snapshot: one.clone(), need_results: 1, flags };
        let reply = connect.call::<remote::DomainSnapshotListAllChildren>(&args).await.unwrap();
        let names = reply.result().unwrap().snapshots;
        assert_eq!(sorted(names.iter().map(|snap| snap.name.to_string())), below, "{flags:?}");
    }
    guest.snapshot_by_name("b").await.unwrap().delete(SD::CHILDREN_ONLY).await.unwrap();
    guest.snapshot_by_name("c").await.unwrap_err();
    guest.snapshot_by_name("a").await.unwrap().delete(SD::CHILDREN).await.unwrap();
    assert!(guest.snapshots(SL::empty()).await.unwrap().is_empty());

    for name in ["1", "2", "3"] {
        guest
            .create_checkpoint(
                &format!("<domaincheckpoint><name>{name}</name></domaincheckpoint>"),
                Default::default(),
            )
            .await
            .unwrap();
    }
    let first = types::DomainCheckpoint { name: "1".into(), dom: dom.clone() };
    for (flags, of_all, below) in [
        (CL::ROOTS, "1", "2 3"),
        (CL::TOPOLOGICAL, "1 2 3", "2"),
        (CL::LEAVES, "3", ""),
        (CL::NO_LEAVES, "1 2", "2"),
    ] {
        let args = remote::DomainListAllCheckpointsArgs { dom: dom.clone(), need_results: 1, flags };
        let reply = connect.call::<remote::DomainListAllCheckpoints>(&args).await.unwrap();
        let names = reply.result().unwrap().checkpoints;
        assert_eq!(sorted(names.iter().map(|point| point.name.to_string())), words(of_all), "{flags:?}");
        let args =
            remote::DomainCheckpointListAllChildrenArgs { checkpoint: first.clone(), need_results: 1, flags };
        let reply = connect.call::<remote::DomainCheckpointListAllChildren>(&args).await.unwrap();
        let names = reply.result().unwrap().checkpoints;
        assert_eq!(sorted(names.iter().map(|point| point.name.to_string())), words(below), "{flags:?}");
    }
    let point = guest.checkpoint_by_name("2").await.unwrap();
    assert!(!point.xml(DomainCheckpointXmlFlags::NO_DOMAIN).await.unwrap().contains("<domain "));
    assert!(point.xml(DomainCheckpointXmlFlags::SECURE).await.unwrap().contains("<domain "));
    guest
        .checkpoint_by_name("3")
        .await
        .unwrap()
        .delete(DomainCheckpointDeleteFlags::METADATA_ONLY)
        .await
        .unwrap();
    guest.checkpoint_by_name("3").await.unwrap_err();
    guest
        .checkpoint_by_name("1")
        .await
        .unwrap()
        .delete(DomainCheckpointDeleteFlags::CHILDREN_ONLY)
        .await
        .unwrap();
    point.xml(Default::default()).await.unwrap_err();
    guest.checkpoint_by_name("1").await.unwrap().delete(DomainCheckpointDeleteFlags::CHILDREN).await.unwrap();
    assert!(guest.checkpoints(CL::empty()).await.unwrap().is_empty());
    connect.close().await.unwrap();
}

#[tokio::test]
async fn snapshots_are_made_and_gone_back_to_in_the_ways_that_flags_say() {
    let Some(daemon) = Daemon::start("snapshots_are_made_and_gone_back_to_in_the_ways_that_flags_say") else {
        return;
    };
    let connect = daemon.test().await;
    let guest = connect.define_domain(&xml("s"), Default::default()).await.unwrap();
    guest.start(DomainCreateFlags::empty()).await.unwrap();
    let snap = |name: &str| format!("<domainsnapshot><name>{name}</name></domainsnapshot>");
    for (name, flags) in [("atomic", SC::ATOMIC), ("live", SC::LIVE), ("valid", SC::VALIDATE)] {
        guest.create_snapshot(&snap(name), flags).await.unwrap();
        guest.snapshot_by_name(name).await.unwrap();
    }
    // One that is told again needs all that was said of it.
    let told = guest.snapshot_by_name("atomic").await.unwrap().xml(Default::default()).await.unwrap();
    let (before, after) = told.split_once("<creationTime>").unwrap();
    let (_, after) = after.split_once('<').unwrap();
    let told = format!("{}<creationTime>77<{after}", before.replace("<name>atomic<", "<name>told<"));
    guest.create_snapshot(&told, SC::REDEFINE | SC::CURRENT).await.unwrap();
    assert_eq!(guest.current_snapshot().await.unwrap().name(), "told");
    assert!(
        guest
            .current_snapshot()
            .await
            .unwrap()
            .xml(Default::default())
            .await
            .unwrap()
            .contains("<creationTime>77<")
    );
    guest.create_snapshot(&snap("halted"), SC::HALT).await.unwrap();
    let state = async || guest.state().await.unwrap().state;
    assert_eq!(state().await, DomainState::Shutoff);
    let back = guest.snapshot_by_name("atomic").await.unwrap();
    for (flags, expected) in [
        (SR::PAUSED, DomainState::Paused),
        (SR::RUNNING, DomainState::Running),
        (SR::FORCE, DomainState::Running),
    ] {
        back.revert(flags).await.unwrap();
        assert_eq!(state().await, expected, "{flags:?}");
    }
    connect.close().await.unwrap();
}

/// Makes a change with each flag; `tell` must then tell it of the one that was changed, and of that alone.
async fn apart(
    connect: &Connect,
    what: &str,
    change: impl AsyncFn(&Domain, Impact, u64),
    tell: impl AsyncFn(&Domain, Impact) -> String,
) {
    let guest = connect.domain_by_name("test").await.unwrap();
    for (number, changed, other) in [(1, Impact::LIVE, Impact::CONFIG), (2, Impact::CONFIG, Impact::LIVE)] {
        let before = (tell(&guest, changed).await, tell(&guest, other).await);
        change(&guest, changed, number).await;
        let after = (tell(&guest, changed).await, tell(&guest, other).await);
        assert_ne!(before.0, after.0, "{what}: {changed:?} changes nothing");
        assert_eq!(before.1, after.1, "{what}: {changed:?} changes the other too");
    }
}

async fn document(guest: &Domain, flag: Impact) -> String {
    guest.xml(if flag == Impact::LIVE { X::empty() } else { X::INACTIVE }).await.unwrap()
}

#[tokio::test]
async fn what_runs_and_what_will_run_are_changed_apart() {
    let Some(daemon) = Daemon::start("what_runs_and_what_will_run_are_changed_apart") else { return };
    let connect = daemon.test().await;
    let c = &connect;
    let vcpus = |flags: Impact| Vcpus::from_bits_retain(flags.bits());
    apart(
        c,
        "memory limits",
        async |guest, flags, number| {
            let limits = MemoryParameters { hard_limit: Some(4096 * number), ..Default::default() };
            guest.set_memory_parameters(&limits, flags).await.unwrap();
        },
        async |guest, flags| format!("{:?}", guest.memory_parameters(flags).await.unwrap()),
    )
    .await;
    apart(
        c,
        "weight",
        async |guest, flags, number| {
            let weight = BlkioParameters { weight: Some(200 + number as u32), ..Default::default() };
            guest.set_blkio_parameters(&weight, flags).await.unwrap();
        },
        async |guest, flags| format!("{:?}", guest.blkio_parameters(flags).await.unwrap()),
    )
    .await;
    apart(
        c,
        "nodes",
        async |guest, flags, number| {
            let nodes =
                NumaParameters { nodeset: Some(format!("0-{number}")), mode: Some(0), ..Default::default() };
            guest.set_numa_parameters(&nodes, flags).await.unwrap();
        },
        async |guest, flags| format!("{:?}", guest.numa_parameters(flags).await.unwrap()),
    )
    .await;
    apart(
        c,
        "bandwidth",
        async |guest, flags, number| {
            let bandwidth =
                BandwidthParameters { in_average: Some(1000 * number as u32), ..Default::default() };
            guest.set_interface_bandwidth("testnet0", &bandwidth, flags).await.unwrap();
        },
        async |guest, flags| format!("{:?}", guest.interface_bandwidth("testnet0", flags).await.unwrap()),
    )
    .await;
    apart(
        c,
        "perf",
        async |guest, flags, _| guest.set_perf_events(&Params::new().with("cmt", true), flags).await.unwrap(),
        async |guest, flags| format!("{:?}", guest.perf_events(flags).await.unwrap()),
    )
    .await;
    let map: CpuMap = [1].into_iter().collect();
    apart(
        c,
        "emulator",
        async |guest, flags, _| guest.pin_emulator(&map, flags).await.unwrap(),
        async |guest, flags| format!("{:?}", guest.emulator_pin(flags).await.unwrap()),
    )
    .await;
    apart(
        c,
        "title",
        async |guest, flags, number| {
            let title = format!("title {number}");
            guest.set_metadata(DomainMetadataType::Title, Some(&title), None, None, flags).await.unwrap();
        },
        async |guest, flags| {
            format!("{:?}", guest.metadata(DomainMetadataType::Title, None, flags).await.ok())
        },
    )
    .await;
    apart(
        c,
        "memory",
        async |guest, flags, number| {
            guest.set_memory(1024 * number, Memory::from_bits_retain(flags.bits())).await.unwrap();
        },
        document,
    )
    .await;
    apart(
        c,
        "count",
        async |guest, flags, _| guest.set_vcpu_count(1, vcpus(flags)).await.unwrap(),
        async |guest, flags| guest.vcpu_count(vcpus(flags)).await.unwrap().to_string(),
    )
    .await;
    let guest = connect.domain_by_name("test").await.unwrap();
    guest.set_vcpu_count(4, Vcpus::CONFIG | Vcpus::MAXIMUM).await.unwrap();
    assert_eq!(guest.vcpu_count(Vcpus::CONFIG | Vcpus::MAXIMUM).await.unwrap(), 4);
    assert_eq!(guest.vcpu_count(Vcpus::LIVE | Vcpus::MAXIMUM).await.unwrap(), 2);
    guest.set_memory(9_000_000, Memory::CONFIG | Memory::MAXIMUM).await.unwrap();
    assert!(document(&guest, Impact::CONFIG).await.contains("9000000"));
    // Only the one that runs can be pinned here: the first processor, to the second of the host's.
    guest.pin_vcpu(0, &[1].into_iter().collect(), Impact::empty()).await.unwrap();
    for (flags, map) in [(Impact::LIVE, 0b10), (Impact::CONFIG, 0xff)] {
        let args = remote::DomainGetVcpuPinInfoArgs { dom: guest.wire(), ncpumaps: 4, maplen: 1, flags };
        let reply = connect.call::<remote::DomainGetVcpuPinInfo>(&args).await.unwrap();
        assert_eq!(reply.result().unwrap().cpumaps.0[0], map, "{flags:?}");
    }
    connect.close().await.unwrap();
}

#[tokio::test]
async fn domains_are_destroyed_undefined_and_shown_as_flags_say() {
    let Some(daemon) = Daemon::start("domains_are_destroyed_undefined_and_shown_as_flags_say") else {
        return;
    };
    let connect = daemon.test().await;
    let screen = xml("screen").replace("</devices>", "<graphics type='vnc' passwd='hush'/></devices>");
    let guest = connect.create_domain(&screen, DomainCreateFlags::empty()).await.unwrap();
    assert!(!guest.xml(X::empty()).await.unwrap().contains("hush"));
    assert!(guest.xml(X::SECURE).await.unwrap().contains("hush"));
    guest.destroy(DomainDestroyFlags::GRACEFUL).await.unwrap();
    connect.domain_by_name("screen").await.unwrap_err();
    let guest = connect.define_domain(&xml("u"), Default::default()).await.unwrap();
    guest.create_snapshot("<domainsnapshot/>", Default::default()).await.unwrap();
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::SNAPSHOTS_METADATA).await.unwrap();
    let guest = connect.define_domain(&xml("u"), Default::default()).await.unwrap();
    guest.start(DomainCreateFlags::empty()).await.unwrap();
    guest.managed_save(Default::default()).await.unwrap().await.unwrap();
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::MANAGED_SAVE).await.unwrap();
    connect.domain_by_name("u").await.unwrap_err();
    connect.close().await.unwrap();
}

/// A document with an element that no schema knows is taken without the flag, and refused with it.
async fn valid<T>(xml: &str, make: impl AsyncFn(&str, bool) -> Result<T, Error>) {
    let at = xml.rfind("</").unwrap();
    // Under a name of its own, or it would be the same thing again.
    let strange = format!("{}<strange/>{}", &xml[..at], &xml[at..]).replacen("<name>", "<name>strange-", 1);
    let error = make(&strange, true).await.map(drop).unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    make(&strange, false).await.map(drop).unwrap();
    make(xml, true).await.map(drop).unwrap();
}

#[tokio::test]
async fn definitions_are_compared_with_their_schemas_on_demand() {
    let test = "definitions_are_compared_with_their_schemas_on_demand";
    let Some(daemon) = Daemon::start(test) else { return };
    let connect = daemon.test().await;
    valid(&xml("v"), async |xml, yes| {
        let flags = if yes { DomainDefineFlags::VALIDATE } else { DomainDefineFlags::empty() };
        connect.define_domain(xml, flags).await
    })
    .await;
    valid("<network><name>n</name></network>", async |xml, yes| {
        let flags = if yes { NetworkDefineFlags::VALIDATE } else { NetworkDefineFlags::empty() };
        connect.define_network(xml, flags).await
    })
    .await;
    valid("<network><name>c</name></network>", async |xml, yes| {
        let flags = if yes { NetworkCreateFlags::VALIDATE } else { NetworkCreateFlags::empty() };
        let made = connect.create_network(xml, flags).await?;
        made.destroy().await
    })
    .await;
    valid("<pool type='dir'><name>p</name><target><path>/p</path></target></pool>", async |xml, yes| {
        let flags = if yes { StoragePoolDefineFlags::VALIDATE } else { StoragePoolDefineFlags::empty() };
        let made = connect.define_storage_pool(xml, flags).await?;
        made.undefine().await
    })
    .await;
    valid("<interface type='ethernet' name='e'><start mode='none'/></interface>", async |xml, yes| {
        let flags = if yes { InterfaceDefineFlags::VALIDATE } else { InterfaceDefineFlags::empty() };
        connect.define_interface(xml, flags).await
    })
    .await;
    valid(&xml("r"), async |xml, yes| {
        let flags = if yes { DomainCreateFlags::START_VALIDATE } else { DomainCreateFlags::empty() };
        let made = connect.create_domain(xml, flags).await?;
        made.destroy(DomainDestroyFlags::DEFAULT).await
    })
    .await;
    connect.close().await.unwrap();
}

#[tokio::test]
async fn sources_of_pools_are_found() {
    let Some(daemon) = Daemon::start("sources_of_pools_are_found") else { return };
    let connect = daemon.test().await;
    let groups = connect.find_storage_pool_sources("logical", None).await.unwrap();
    assert!(groups.contains("<name>testvg1</name>") && groups.contains("<name>testvg2</name>"), "{groups}");
    let host = "<source><host name='there'/></source>";
    let shares = connect.find_storage_pool_sources("netfs", Some(host)).await.unwrap();
    assert!(shares.contains("<host name='there'/>") && shares.contains("/testshare"), "{shares}");
    connect.find_storage_pool_sources("netfs", None).await.unwrap_err();
    connect.close().await.unwrap();
}

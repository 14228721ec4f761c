//! Lists: each flag lets through what it says, of a host on which every answer differs.

use super::*;
use libvirt_client::Autostart;
use libvirt_client::protocol::enums::NodeSuspendTarget;
use libvirt_client::protocol::flags::DomainCreateFlags;
use libvirt_client::protocol::flags::{
    ConnectGetAllDomainStatsFlags as StatsFlags, ConnectListAllDomainsFlags as D,
    ConnectListAllNetworksFlags as N, ConnectListAllNodeDeviceFlags as V, ConnectListAllSecretsFlags as S,
    ConnectListAllStoragePoolsFlags as P, DomainStatsTypes,
};

/// Names in order, of all but some.
fn but(all: &[&str], without: &[&str]) -> Vec<String> {
    all.iter().filter(|name| !without.contains(name)).map(|name| (*name).to_owned()).collect()
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

const DOMAINS: [&str; 6] = ["asleep", "marked", "off", "saved", "test", "waits"];

/// One domain for each answer.
async fn domains(connect: &Connect) {
    let asleep = run(connect, &xml("asleep", "")).await;
    connect.define_domain(&xml("asleep", ""), Default::default()).await.unwrap();
    asleep.create_snapshot("<domainsnapshot/>", Default::default()).await.unwrap();
    asleep.sleep(NodeSuspendTarget::Mem, 0).await.unwrap();
    let marked = define(connect, &xml("marked", "")).await;
    marked.start(Default::default()).await.unwrap();
    marked.create_checkpoint("<domaincheckpoint/>", Default::default()).await.unwrap();
    define(connect, &xml("off", "")).await.set_autostart(Autostart::On).await.unwrap();
    let saved = define(connect, &xml("saved", "")).await;
    saved.start(Default::default()).await.unwrap();
    saved.managed_save(Default::default()).await.unwrap().await.unwrap();
    connect.create_domain(&xml("waits", ""), DomainCreateFlags::START_PAUSED).await.unwrap();
}

/// What passes each flag.
fn domains_by_flag() -> [(D, Vec<String>); 16] {
    let all = |without: &[&str]| but(&DOMAINS, without);
    let some = |with: &[&str]| with.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    [
        (D::ACTIVE, all(&["off", "saved"])),
        (D::INACTIVE, some(&["off", "saved"])),
        (D::PERSISTENT, all(&["waits"])),
        (D::TRANSIENT, some(&["waits"])),
        (D::RUNNING, some(&["marked", "test"])),
        (D::PAUSED, some(&["waits"])),
        (D::SHUTOFF, some(&["off", "saved"])),
        (D::OTHER, some(&["asleep"])),
        (D::MANAGEDSAVE, some(&["saved"])),
        (D::NO_MANAGEDSAVE, all(&["saved"])),
        (D::AUTOSTART, some(&["off"])),
        (D::NO_AUTOSTART, all(&["off"])),
        (D::HAS_SNAPSHOT, some(&["asleep"])),
        (D::NO_SNAPSHOT, all(&["asleep"])),
        (D::HAS_CHECKPOINT, some(&["marked"])),
        (D::NO_CHECKPOINT, all(&["marked"])),
    ]
}

#[tokio::test]
async fn domains_pass_or_do_not() {
    let connect = fresh().await;
    domains(&connect).await;
    for (flag, expected) in domains_by_flag() {
        let found = connect.domains(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(Domain::name)), expected, "{flag:?}");
    }
    // The bulk of statistics filters with the same bits.
    for (flag, expected) in domains_by_flag().into_iter().take(8) {
        let args = remote::ConnectGetAllDomainStatsArgs {
            flags: StatsFlags::from_bits_retain(flag.bits()),
            ..Default::default()
        };
        let reply = done::<remote::ConnectGetAllDomainStats>(&connect, &args).await;
        let records = reply.result().unwrap().ret_stats;
        assert_eq!(sorted(records.iter().map(|record| record.dom.name.to_string())), expected, "{flag:?}");
    }
}

#[tokio::test]
async fn statistics_tell_of_chains_wait_for_nobody_and_know_their_groups() {
    use std::time::Duration;
    let slow = complete().version(super::super::NEWEST).job_duration(Duration::from_secs(3600));
    let handle = start(slow.clock(|| Duration::from_secs(1_000_000)));
    let connect = super::connect(&handle).await;
    let chain = "<devices><disk type='file'><source file='/top'/><target dev='vda'/><backingStore type='file'>\
                 <source file='/middle'/><backingStore type='file'><source file='/base'/></backingStore></backingStore>\
                 </disk></devices>";
    run(&connect, &xml("chained", chain)).await;
    let stats = async |stats: DomainStatsTypes, flags: StatsFlags| {
        let args = remote::ConnectGetAllDomainStatsArgs { stats, flags, ..Default::default() };
        let reply = connect.call::<remote::ConnectGetAllDomainStats>(&args).await?;
        let records = reply.result()?.ret_stats;
        let of = |name: &str| {
            let record = records.iter().find(|record| record.dom.name == name).unwrap();
            record.params.iter().map(|param| format!("{:?}", param)).collect::<Vec<_>>().join("\n")
        };
        Ok::<_, libvirt_client::Error>((of("chained"), of("test")))
    };
    let (one, _) = stats(DomainStatsTypes::BLOCK, StatsFlags::empty()).await.unwrap();
    let (three, _) = stats(DomainStatsTypes::BLOCK, StatsFlags::BACKING).await.unwrap();
    assert!(
        !one.contains("/base") && three.contains("/base") && three.contains("block.2.backingIndex"),
        "{three}"
    );
    let beyond = DomainStatsTypes::from_bits_retain(1 << 30) | DomainStatsTypes::STATE;
    stats(beyond, StatsFlags::empty()).await.unwrap();
    stats(beyond, StatsFlags::ENFORCE_STATS).await.unwrap_err();
    stats(DomainStatsTypes::STATE, StatsFlags::ENFORCE_STATS).await.unwrap();
    // While a job is at work on a domain, who does not wait hears only its state.
    let saver = super::connect(&handle).await;
    let args = remote::DomainSaveArgs { dom: dom(&connect).await, to: "/image".into() };
    let save = saver.start::<remote::DomainSave>(&args).await.unwrap();
    let mut saving = tokio::task::JoinSet::new();
    saving.spawn(async move { save.within(None).await.map(drop) });
    while domain(&connect).await.job().await.unwrap().is_none() {}
    let (_, all) = stats(DomainStatsTypes::empty(), StatsFlags::empty()).await.unwrap();
    let (_, known) = stats(DomainStatsTypes::empty(), StatsFlags::NOWAIT).await.unwrap();
    assert!(all.contains("vcpu.current") && !known.contains("vcpu.current") && known.contains("state.state"));
}

#[tokio::test]
async fn networks_pass_or_do_not() {
    let connect = fresh().await;
    connect
        .define_network("<network><name>kept</name></network>", Default::default())
        .await
        .unwrap()
        .set_autostart(Autostart::On)
        .await
        .unwrap();
    connect.create_network("<network><name>brief</name></network>", Default::default()).await.unwrap();
    for (flag, expected) in [
        (N::ACTIVE, vec!["brief", "default"]),
        (N::INACTIVE, vec!["kept"]),
        (N::PERSISTENT, vec!["default", "kept"]),
        (N::TRANSIENT, vec!["brief"]),
        (N::AUTOSTART, vec!["kept"]),
        (N::NO_AUTOSTART, vec!["brief", "default"]),
    ] {
        let found = connect.networks(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|network| network.name())), expected, "{flag:?}");
    }
}

#[tokio::test]
async fn secrets_pass_or_do_not() {
    let connect = fresh().await;
    for (ephemeral, private) in [("yes", "no"), ("no", "yes"), ("no", "no")] {
        let xml = format!(
            "<secret ephemeral='{ephemeral}' private='{private}'><usage type='ceph'><name>{ephemeral}{private}</name></usage></secret>"
        );
        connect.define_secret(&xml, Default::default()).await.unwrap();
    }
    for (flag, expected) in [
        (S::EPHEMERAL, vec!["yesno"]),
        (S::NO_EPHEMERAL, vec!["nono", "noyes"]),
        (S::PRIVATE, vec!["noyes"]),
        (S::NO_PRIVATE, vec!["nono", "yesno"]),
    ] {
        let found = connect.secrets(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|secret| secret.usage_id())), expected, "{flag:?}");
    }
}

#[tokio::test]
async fn pools_pass_or_do_not() {
    let connect = fresh().await;
    let kinds = [
        ("fs", P::FS),
        ("netfs", P::NETFS),
        ("logical", P::LOGICAL),
        ("disk", P::DISK),
        ("iscsi", P::ISCSI),
        ("scsi", P::SCSI),
        ("mpath", P::MPATH),
        ("rbd", P::RBD),
        ("sheepdog", P::SHEEPDOG),
        ("gluster", P::GLUSTER),
        ("zfs", P::ZFS),
        ("vstorage", P::VSTORAGE),
        ("iscsi-direct", P::ISCSI_DIRECT),
    ];
    let xml = |kind: &str| {
        format!("<pool type='{kind}'><name>{kind}</name><target><path>/{kind}</path></target></pool>")
    };
    for (kind, _) in kinds {
        connect.define_storage_pool(&xml(kind), Default::default()).await.unwrap();
    }
    let brief = xml("dir").replace("<name>dir", "<name>brief");
    connect.create_storage_pool(&brief, Default::default()).await.unwrap();
    connect.storage_pool_by_name("fs").await.unwrap().set_autostart(Autostart::On).await.unwrap();
    let mut all: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).chain(["brief", "default-pool"]).collect();
    all.sort();
    let mut cases = vec![
        (P::ACTIVE, vec!["brief".to_owned(), "default-pool".to_owned()]),
        (P::INACTIVE, but(&all, &["brief", "default-pool"])),
        (P::PERSISTENT, but(&all, &["brief"])),
        (P::TRANSIENT, vec!["brief".to_owned()]),
        (P::AUTOSTART, vec!["fs".to_owned()]),
        (P::NO_AUTOSTART, but(&all, &["fs"])),
        (P::DIR, vec!["brief".to_owned(), "default-pool".to_owned()]),
    ];
    cases.extend(kinds.map(|(kind, flag)| (flag, vec![kind.to_owned()])));
    for (flag, expected) in cases {
        let found = connect.storage_pools(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|pool| pool.name())), expected, "{flag:?}");
    }
}

#[tokio::test]
async fn devices_pass_or_do_not() {
    let connect = fresh().await;
    let mediated = "<device><parent>pci_0000_00_02_0</parent><capability type='mdev'><type id='test-type'/></capability></device>";
    let kept = connect.define_node_device(mediated, Default::default()).await.unwrap().name();
    let brief = connect.create_node_device(mediated, Default::default()).await.unwrap().name();
    let all = connect.node_devices(V::empty()).await.unwrap();
    let all = sorted(all.iter().map(|device| device.name()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let one = |name: &str| vec![name.to_owned()];
    let hosts = ["scsi_host1", "scsi_host11", "scsi_host2"].map(str::to_owned).to_vec();
    let mut both = vec![kept.clone(), brief.clone()];
    both.sort();
    for (flag, expected) in [
        (V::CAP_SYSTEM, one("computer")),
        (V::CAP_PCI_DEV, one("pci_0000_00_02_0")),
        (V::CAP_USB_DEV, one("usb_device_0")),
        (V::CAP_USB_INTERFACE, one("usb_0")),
        (V::CAP_NET, one("net_0")),
        (V::CAP_SCSI_HOST, hosts.clone()),
        (V::CAP_SCSI_TARGET, one("scsi_target_0")),
        (V::CAP_SCSI, one("scsi_0")),
        (V::CAP_STORAGE, one("storage_0")),
        (V::CAP_FC_HOST, hosts),
        (V::CAP_VPORTS, vec!["scsi_host1".to_owned(), "scsi_host2".to_owned()]),
        (V::CAP_SCSI_GENERIC, one("storage_0")),
        (V::CAP_DRM, one("drm_0")),
        (V::CAP_MDEV_TYPES, one("pci_0000_00_02_0")),
        (V::CAP_MDEV, both),
        (V::CAP_CCW_DEV, one("ccw_0")),
        (V::CAP_CSS_DEV, one("css_0")),
        (V::CAP_VDPA, one("vdpa_0")),
        (V::CAP_AP_CARD, one("ap_card_0")),
        (V::CAP_AP_QUEUE, one("ap_queue_0")),
        (V::CAP_AP_MATRIX, one("ap_matrix_0")),
        (V::CAP_VPD, one("pci_0000_00_02_0")),
        (V::CAP_CCWGROUP_DEV, one("ccwgroup_0")),
        (V::CAP_CCWGROUP_MEMBER, one("ccw_0")),
        (V::PERSISTENT, one(&kept)),
        (V::TRANSIENT, but(&all, &[&kept])),
        (V::INACTIVE, one(&kept)),
        (V::ACTIVE, but(&all, &[&kept])),
    ] {
        let found = connect.node_devices(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|device| device.name())), expected, "{flag:?}");
    }
}

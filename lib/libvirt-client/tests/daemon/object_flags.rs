//! Flags of lists, statistics, secrets, pools, volumes, devices and processors.

use crate::guests::{definition, disk};
use crate::support::{Daemon, present};
use libvirt_client::CapabilitiesOf;
use libvirt_client::protocol::enums::{CpuCompareResult, ErrorNumber, NetworkMetadataType};
use libvirt_client::protocol::flags::{
    ConnectBaselineCpuFlags, ConnectCompareCpuFlags, ConnectGetAllDomainStatsFlags as Stats,
    ConnectGetDomainCapabilitiesFlags, ConnectListAllNodeDeviceFlags as Devices,
    ConnectListAllSecretsFlags as Secrets, DomainCheckpointCreateFlags, DomainDefineFlags, DomainMessageType,
    DomainStatsTypes, DomainXmlFlags, NetworkUpdateFlags, NodeDeviceCreateXmlFlags, SecretDefineFlags,
    StoragePoolCreateFlags as Pool, StorageVolCreateFlags as Volume, StorageVolResizeFlags as Resize,
    StorageXmlFlags, TypedParameterFlags,
};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::IntoOwned;
use std::os::unix::fs::MetadataExt;

fn domain(name: &str) -> String {
    format!("<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>")
}

fn sorted(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.join(" ")
}

#[tokio::test]
async fn statistics_are_of_those_that_pass_a_filter() {
    let Some(daemon) = Daemon::start("statistics_are_of_those_that_pass_a_filter") else { return };
    let connect = daemon.test().await;
    let disk = "<devices><disk type='file'><source file='/d'/><target dev='vda'/></disk></devices></domain>";
    let held = domain("off").replace("</domain>", disk);
    let off = connect.define_domain(&held, DomainDefineFlags::empty()).await.unwrap();
    connect.create_domain(&domain("waits"), Default::default()).await.unwrap().suspend().await.unwrap();
    for (flag, expected) in [
        (Stats::ACTIVE, "test waits"),
        (Stats::INACTIVE, "off"),
        (Stats::PERSISTENT, "off test"),
        (Stats::TRANSIENT, "waits"),
        (Stats::RUNNING, "test"),
        (Stats::PAUSED, "waits"),
        (Stats::SHUTOFF, "off"),
        (Stats::OTHER, ""),
        (Stats::NOWAIT, "off test waits"),
        (Stats::BACKING, "off test waits"),
        (Stats::ENFORCE_STATS, "off test waits"),
    ] {
        let found = connect.all_stats(DomainStatsTypes::STATE, flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|stats| stats.domain.name())), expected, "{flag:?}");
        assert!(found.iter().all(|stats| stats.state().is_some()), "{flag:?}");
    }
    // What a driver does not have is left out, unless it is to be told.
    let more = DomainStatsTypes::STATE | DomainStatsTypes::DIRTYRATE;
    connect.all_stats(more, Stats::empty()).await.unwrap();
    let error = connect.all_stats(more, Stats::ENFORCE_STATS).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::ArgumentUnsupported, "{error}");
    // Its file systems are held still for a point that is kept.
    off.start(Default::default()).await.unwrap();
    let point = "<domaincheckpoint><name>point</name></domaincheckpoint>";
    off.create_checkpoint(point, DomainCheckpointCreateFlags::QUIESCE).await.unwrap();
    assert_eq!(off.checkpoint_by_name("point").await.unwrap().name(), "point");
    let args = remote::DomainGetCpuStatsArgs {
        dom: connect.domain_by_name("test").await.unwrap().wire().into_owned(),
        nparams: 3,
        start_cpu: -1,
        ncpus: 1,
        flags: TypedParameterFlags::PARAM_STRING_OKAY,
    };
    let reply = connect.call::<remote::DomainGetCpuStats>(&args).await.unwrap();
    assert_eq!(reply.result().unwrap().params.len(), 3, "of all together: time, user, system");
    connect.close().await.unwrap();
}

#[tokio::test]
async fn secrets_pass_filters_and_are_compared_with_their_schema() {
    let test = "secrets_pass_filters_and_are_compared_with_their_schema";
    let Some(daemon) = Daemon::start(test) else { return };
    let connect = daemon.open("qemu:///session").await;
    let secret = |name: &str, ephemeral: &str, private: &str| {
        format!(
            "<secret ephemeral='{ephemeral}' private='{private}'><usage type='volume'><volume>/{name}</volume></usage>\
             </secret>"
        )
    };
    for (name, ephemeral, private) in [("a", "yes", "no"), ("b", "no", "yes")] {
        connect.define_secret(&secret(name, ephemeral, private), SecretDefineFlags::VALIDATE).await.unwrap();
    }
    for (flag, expected) in [
        (Secrets::EPHEMERAL, "/a"),
        (Secrets::NO_EPHEMERAL, "/b"),
        (Secrets::PRIVATE, "/b"),
        (Secrets::NO_PRIVATE, "/a"),
    ] {
        let found = connect.secrets(flag).await.unwrap();
        assert_eq!(sorted(found.iter().map(|secret| secret.usage_id())), expected, "{flag:?}");
    }
    let strange = secret("c", "no", "no").replace("</secret>", "<strange/></secret>");
    let error = connect.define_secret(&strange, SecretDefineFlags::VALIDATE).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    connect.define_secret(&strange, SecretDefineFlags::empty()).await.unwrap();
    connect.close().await.unwrap();
}

fn pool(daemon: &Daemon, name: &str) -> String {
    let path = daemon.path(name);
    format!("<pool type='dir'><name>{name}</name><target><path>{}</path></target></pool>", path.display())
}

#[tokio::test]
async fn pools_are_built_when_they_start_if_that_is_said() {
    let test = "pools_are_built_when_they_start_if_that_is_said";
    let Some(daemon) = Daemon::start(test) else { return };
    let connect = daemon.open("qemu:///session").await;
    let kept = connect.define_storage_pool(&pool(&daemon, "kept"), Default::default()).await.unwrap();
    kept.start(Pool::NORMAL).await.unwrap_err();
    kept.start(Pool::WITH_BUILD).await.unwrap();
    assert!(daemon.path("kept").is_dir());
    connect.create_storage_pool(&pool(&daemon, "brief"), Pool::NORMAL).await.unwrap_err();
    connect.create_storage_pool(&pool(&daemon, "brief"), Pool::WITH_BUILD).await.unwrap();
    assert!(daemon.path("brief").is_dir());
    // Its definition may be another than what runs.
    let changed = pool(&daemon, "kept").replace("</name>", &format!("</name><uuid>{}</uuid>", kept.uuid()));
    let moved = changed.replace("/kept<", "/moved<");
    connect.define_storage_pool(&moved, Default::default()).await.unwrap();
    assert!(kept.xml(StorageXmlFlags::empty()).await.unwrap().contains("/kept<"));
    assert!(kept.xml(StorageXmlFlags::INACTIVE).await.unwrap().contains("/moved<"));
    connect.close().await.unwrap();
}

#[tokio::test]
async fn volumes_are_made_and_grow_as_flags_say() {
    let test = "volumes_are_made_and_grow_as_flags_say";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/qemu-img", "qemu-utils")]) {
        return;
    }
    let connect = daemon.open("qemu:///session").await;
    let pool = connect.create_storage_pool(&pool(&daemon, "pool"), Pool::WITH_BUILD).await.unwrap();
    let volume = |name: &str, format: &str| {
        format!(
            "<volume><name>{name}</name><capacity>1048576</capacity><allocation>0</allocation>\
             <target><format type='{format}'/></target></volume>"
        )
    };
    let blocks = |name: &str| std::fs::metadata(daemon.path("pool").join(name)).unwrap().blocks();
    let bare = pool.create_volume(&volume("bare", "qcow2"), Volume::empty()).await.unwrap();
    pool.create_volume(&volume("ready", "qcow2"), Volume::PREALLOC_METADATA).await.unwrap();
    assert!(blocks("ready") > blocks("bare"), "its tables are written");
    pool.clone_volume(&volume("again", "qcow2"), &bare, Volume::PREALLOC_METADATA).await.unwrap();
    assert!(blocks("again") > blocks("bare"));
    let raw = pool.create_volume(&volume("raw", "raw"), Volume::empty()).await.unwrap();
    let strange = volume("strange", "raw").replace("</volume>", "<strange/></volume>");
    // What is in order is compared too, and then refused by what would make it: always of 9.0.0, of 11.3.0 where it is copied.
    let valid = volume("valid", "raw");
    let refused = |error: libvirt_client::Error| error.refusal().unwrap().code;
    for (document, expected) in [(&strange, ErrorNumber::XmlInvalidSchema), (&valid, ErrorNumber::InvalidArg)]
    {
        let copied = pool.clone_volume(document, &raw, Volume::VALIDATE).await.unwrap_err();
        assert_eq!(refused(copied), expected);
        match pool.create_volume(document, Volume::VALIDATE).await {
            Ok(made) => {
                assert!(connect.daemon_version() > Release(9, 0, 0) && made.name() == "valid");
                assert_eq!(made.info().await.unwrap().capacity, 1 << 20);
            }
            Err(error) => assert_eq!(refused(error), expected),
        }
    }
    // To a size, by a size, with everything allocated, and smaller.
    let capacity = async || raw.info().await.unwrap().capacity;
    raw.resize(1 << 20, Resize::DELTA).await.unwrap();
    assert_eq!(capacity().await, 2 << 20);
    assert_eq!(raw.info().await.unwrap().allocation, 0);
    raw.resize(1 << 20, Resize::empty()).await.unwrap_err();
    raw.resize(1 << 20, Resize::SHRINK).await.unwrap();
    assert_eq!(capacity().await, 1 << 20);
    raw.resize(4 << 20, Resize::ALLOCATE).await.unwrap();
    assert!(raw.info().await.unwrap().allocation >= 3 << 20, "what is new is there");
    connect.close().await.unwrap();
}

#[tokio::test]
async fn processors_are_compared_and_brought_together_as_flags_say() {
    let test = "processors_are_compared_and_brought_together_as_flags_say";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return;
    }
    let connect = daemon.open("qemu:///session").await;
    let of = CapabilitiesOf { virtualisation: Some("qemu"), ..Default::default() };
    // More than any host has; what it says of itself is in order.
    let cpu = |feature: &str| {
        format!("<cpu match='exact'><model>486</model><feature policy='disable' name='vme'/>{feature}</cpu>")
    };
    let never = cpu("<feature policy='require' name='ia64'/>");
    let (quiet, loud) = (ConnectCompareCpuFlags::empty(), ConnectCompareCpuFlags::FAIL_INCOMPATIBLE);
    let strange = never.replace("</model>", "</model><strange/>");
    for hypervisor in [false, true] {
        let compare = async |xml: &str, flags| match hypervisor {
            false => connect.compare_cpu(xml, flags).await,
            true => connect.compare_hypervisor_cpu(of, xml, flags).await,
        };
        assert_eq!(compare(&never, quiet).await.unwrap(), CpuCompareResult::Incompatible, "{hypervisor}");
        let error = compare(&never, loud).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::CpuIncompatible, "{error}");
        // One that does fit is no failure.
        let fits = cpu("");
        let found = compare(&fits, loud).await.unwrap();
        assert!([CpuCompareResult::Identical, CpuCompareResult::Superset].contains(&found), "{found:?}");
        let valid = ConnectCompareCpuFlags::VALIDATE_XML;
        let error = compare(&strange, valid).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
        assert_eq!(compare(&never, valid).await.unwrap(), CpuCompareResult::Incompatible);
    }
    let host = connect.domain_capabilities(of, ConnectGetDomainCapabilitiesFlags::empty()).await.unwrap();
    assert!(host.contains("<domainCapabilities>"));
    let model = "<cpu><arch>x86_64</arch><model>Nehalem</model><feature name='invtsc'/></cpu>";
    for hypervisor in [false, true] {
        let baseline = async |flags| match hypervisor {
            false => connect.baseline_cpu(&[model], flags).await.unwrap(),
            true => connect.baseline_hypervisor_cpu(of, &[model], flags).await.unwrap(),
        };
        let plain = baseline(ConnectBaselineCpuFlags::empty()).await;
        let expanded = baseline(ConnectBaselineCpuFlags::EXPAND_FEATURES).await;
        let count = |xml: &str| xml.matches("<feature").count();
        assert!(count(&expanded) > count(&plain), "{plain}\n{expanded}");
        let migratable = baseline(ConnectBaselineCpuFlags::MIGRATABLE).await;
        assert!(migratable.contains("<model"), "{migratable}");
        // What QEMU does without KVM it can send anywhere.
        assert!(hypervisor || !migratable.contains("policy='require' name='invtsc'"), "{migratable}");
    }
    if connect.daemon_version() >= Release(11, 1, 0) {
        let flags = ConnectGetDomainCapabilitiesFlags::DISABLE_DEPRECATED_FEATURES;
        let without = connect.domain_capabilities(of, flags).await.unwrap();
        assert!(without.contains("<domainCapabilities>"));
    }
    connect.close().await.unwrap();
}

#[tokio::test]
async fn definitions_and_messages_are_told_as_flags_say() {
    let test = "definitions_and_messages_are_told_as_flags_say";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return;
    }
    let connect = daemon.open("qemu:///session").await;
    // The oldest machine that it has.
    let text = connect.capabilities().await.unwrap();
    let version = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('<')?.0.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let (major, minor) = text.split(">pc-i440fx-").skip(1).filter_map(version).min().unwrap();
    let source = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let xml = definition(&daemon, &source)
        .replace("<devices>", "<cpu mode='host-model'/><devices>")
        .replace("machine='pc'", &format!("machine='pc-i440fx-{major}.{minor}'"));
    let guest = connect.define_domain(&xml, Default::default()).await.unwrap();
    let told = async |flags| guest.xml(flags).await.unwrap();
    assert!(told(DomainXmlFlags::empty()).await.contains("mode='host-model'"));
    let updated = told(DomainXmlFlags::UPDATE_CPU).await;
    assert!(updated.contains("<cpu mode='custom'") && updated.contains("<model fallback='"), "{updated}");
    // Older daemons are not told of a controller that they would not know.
    let plain = told(DomainXmlFlags::empty()).await;
    let migratable = told(DomainXmlFlags::MIGRATABLE).await;
    assert!(
        plain.contains("model='piix3-uhci'") && !migratable.contains("model='piix3-uhci'"),
        "{migratable}"
    );
    // A machine of long ago is one that will go.
    guest.start(Default::default()).await.unwrap();
    let deprecated = guest.messages(DomainMessageType::DEPRECATION).await.unwrap();
    assert!(deprecated.iter().any(|text| text.contains("deprecated")), "{deprecated:?}");
    if connect.daemon_version() >= Release(10, 9, 0) {
        assert!(guest.messages(DomainMessageType::IOERRORS).await.unwrap().is_empty(), "no disk has failed");
    }
    connect.close().await.unwrap();
}

#[tokio::test]
async fn networks_and_devices_take_the_flags_of_their_calls() {
    let test = "networks_and_devices_take_the_flags_of_their_calls";
    let Some(daemon) = Daemon::start(test) else { return };
    let connect = daemon.test().await;
    let network =
        connect.define_network("<network><name>n</name></network>", Default::default()).await.unwrap();
    if connect.daemon_version() >= Release(9, 7, 0) {
        let flags = NetworkUpdateFlags::CONFIG;
        network.set_metadata(NetworkMetadataType::Title, Some("later"), None, None, flags).await.unwrap();
        assert_eq!(network.metadata(NetworkMetadataType::Title, None, flags).await.unwrap(), "later");
        let text = network.xml(Default::default()).await.unwrap();
        assert!(text.contains("<title>later</title>"), "{text}");
    }
    let vport = "<device><name>vport</name><parent>scsi_host1</parent><capability type='scsi_host'><host>12</host><capability type='fc_host'>\
        <wwnn>2000000012341234</wwnn><wwpn>1000000012341234</wwpn></capability></capability></device>";
    let strange = vport.replace("</device>", "<strange/></device>");
    let flags = NodeDeviceCreateXmlFlags::VALIDATE;
    let error = connect.create_node_device(&strange, flags).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    let made = connect.create_node_device(vport, flags).await.unwrap();
    assert!(made.xml(Default::default()).await.unwrap().contains("<wwpn>1000000012341234</wwpn>"));
    let found = connect.node_devices(Devices::CAP_VPD).await.unwrap();
    assert!(found.is_empty(), "no device has a serial number to be read");
    made.destroy().await.unwrap();
    connect.close().await.unwrap();
}

//! Handles of every object, on the test driver.

use crate::support::Daemon;
use libvirt_client::protocol::enums::{
    CpuCompareResult, DomainState, ErrorNumber, NetworkUpdateCommand, NetworkUpdateSection, StoragePoolState,
};
use libvirt_client::protocol::flags::{
    DomainDestroyFlags, DomainModificationImpact as Impact, DomainSaveRestoreFlags,
    DomainSnapshotDeleteFlags, DomainStatsTypes, DomainUndefineFlags, DomainVcpuFlags, NetworkUpdateFlags,
};
use libvirt_client::{Autostart, CpuMap, MemoryParameters, NetworkUpdate, Params};

#[tokio::test]
async fn domains_have_their_lives() {
    let Some(daemon) = Daemon::start("domains_have_their_lives") else { return };
    let connect = daemon.test().await;
    let xml = "<domain type='test'><name>made</name><memory unit='MiB'>64</memory><vcpu current='2'>4</vcpu>\
               <os><type>hvm</type></os><devices>\
               <interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>\
               </devices></domain>";
    let made = connect.define_domain(xml, Default::default()).await.unwrap();
    assert!(made.is_persistent().await.unwrap() && !made.is_active().await.unwrap());
    assert_eq!(made.os_type().await.unwrap(), "linux", "whatever the definition says");
    assert_eq!(made.max_memory().await.unwrap(), 64 * 1024);
    let made = made.start(Default::default()).await.unwrap();
    assert_eq!(connect.domain_by_id(made.id().unwrap()).await.unwrap().name(), "made");
    assert_eq!(made.vcpu_count(DomainVcpuFlags::LIVE).await.unwrap(), 2);
    made.set_vcpu_count(3, DomainVcpuFlags::LIVE).await.unwrap();
    assert_eq!(made.info().await.unwrap().vcpus, 3);
    let pin: CpuMap = [0, 1].into_iter().collect();
    made.pin_vcpu(1, &pin, Impact::CURRENT).await.unwrap();
    let vcpus = made.vcpus().await.unwrap();
    assert_eq!(vcpus.len(), 3);
    assert!(vcpus[1].allowed.contains(1) && !vcpus[1].allowed.contains(2), "{vcpus:?}");

    made.set_autostart(Autostart::On).await.unwrap();
    assert!(made.autostart().await.unwrap());
    use libvirt_client::protocol::enums::DomainMetadataType as M;
    made.set_metadata(M::Title, Some("a title"), None, None, Impact::LIVE).await.unwrap();
    assert_eq!(made.metadata(M::Title, None, Impact::LIVE).await.unwrap(), "a title");
    let error = made.metadata(M::Description, None, Impact::LIVE).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");

    made.managed_save(DomainSaveRestoreFlags::empty()).await.unwrap().await.unwrap();
    assert!(made.has_managed_save().await.unwrap());
    assert_eq!(made.state().await.unwrap().state, DomainState::Shutoff);
    made.remove_managed_save().await.unwrap();
    assert!(!made.has_managed_save().await.unwrap());
    made.rename("renamed").await.unwrap();
    let renamed = connect.domain_by_uuid(made.uuid()).await.unwrap();
    assert_eq!(renamed.name(), "renamed");
    renamed.undefine(DomainUndefineFlags::empty()).await.unwrap();
    assert!(connect.domain_by_name("renamed").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_saved_domain_goes_on_from_its_file() {
    let Some(daemon) = Daemon::start("a_saved_domain_goes_on_from_its_file") else { return };
    let connect = daemon.test().await;
    let test = connect.domain_by_name("test").await.unwrap();
    let file = daemon.path("saved").display().to_string();
    let job = test.save(&file, None, DomainSaveRestoreFlags::empty()).await.unwrap();
    job.await.unwrap();
    assert!(connect.save_image_xml(&file, Default::default()).await.unwrap().contains("<name>test</name>"));
    assert!(!test.is_active().await.unwrap());
    connect.restore_domain(&file, None, DomainSaveRestoreFlags::empty()).await.unwrap();
    assert!(test.is_active().await.unwrap());
    // The test driver has no jobs to abort, and says so.
    assert!(test.abort_job().await.unwrap_err().is_unsupported());
}

#[tokio::test]
async fn parameters_go_there_and_come_back_with_their_types() {
    let Some(daemon) = Daemon::start("parameters_go_there_and_come_back_with_their_types") else { return };
    let connect = daemon.test().await;
    let test = connect.domain_by_name("test").await.unwrap();
    let limits =
        MemoryParameters { hard_limit: Some(1_048_576), soft_limit: Some(524_288), ..Default::default() };
    test.set_memory_parameters(&limits, Impact::LIVE).await.unwrap();
    let back = test.memory_parameters(Impact::LIVE).await.unwrap();
    assert_eq!((back.hard_limit, back.soft_limit), (Some(1_048_576), Some(524_288)));
    assert!(back.swap_hard_limit.is_some() && back.extra == Params::new(), "{back:?}");
    // The test driver's fixed weight has no field of ours: nothing is lost.
    let scheduler = test.scheduler(Impact::CURRENT).await.unwrap();
    assert_eq!(scheduler.extra.u64("weight"), Some(50), "{scheduler:?}");
    // A type that libvirt does not want is refused by name.
    let wrong = MemoryParameters { extra: Params::new().with("hard_limit", 5_i32), ..Default::default() };
    let error = test.set_memory_parameters(&wrong, Impact::LIVE).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::InvalidArg, "{error}");
}

#[tokio::test]
async fn snapshots_and_checkpoints_form_trees() {
    let Some(daemon) = Daemon::start("snapshots_and_checkpoints_form_trees") else { return };
    let connect = daemon.test().await;
    let test = connect.domain_by_name("test").await.unwrap();
    let take = async |name: &str| {
        let xml = format!("<domainsnapshot><name>{name}</name></domainsnapshot>");
        test.create_snapshot(&xml, Default::default()).await.unwrap()
    };
    let (first, second) = (take("first").await, take("second").await);
    assert_eq!(second.parent().await.unwrap().name(), "first");
    assert_eq!(first.children(Default::default()).await.unwrap().len(), 1);
    assert_eq!(test.snapshots(Default::default()).await.unwrap().len(), 2);
    assert!(second.is_current().await.unwrap() && test.has_current_snapshot().await.unwrap());
    assert_eq!(test.current_snapshot().await.unwrap().name(), "second");
    assert_eq!(first.domain().uuid(), test.uuid());
    first.revert(Default::default()).await.unwrap();
    assert!(first.is_current().await.unwrap() && first.has_metadata().await.unwrap());
    assert!(first.xml(Default::default()).await.unwrap().contains("<name>first</name>"));
    // A daemon has metadata of every snapshot that it knows, and of none that is gone.
    second.delete(DomainSnapshotDeleteFlags::empty()).await.unwrap();
    assert!(second.has_metadata().await.unwrap_err().is_not_found());
    assert!(first.has_metadata().await.unwrap());
    take("third").await;
    first.delete(DomainSnapshotDeleteFlags::CHILDREN).await.unwrap();
    assert!(test.snapshot_by_name("third").await.unwrap_err().is_not_found());

    let disk = "<domain type='test'><name>disk</name><memory>1024</memory><os><type>hvm</type></os><devices>\
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/d'/><target dev='vda'/></disk>\
        </devices></domain>";
    let disk = connect.create_domain(disk, Default::default()).await.unwrap();
    let xml = "<domaincheckpoint><name>c1</name></domaincheckpoint>";
    let checkpoint = disk.create_checkpoint(xml, Default::default()).await.unwrap();
    let second = xml.replace("c1", "c2");
    disk.create_checkpoint(&second, Default::default()).await.unwrap();
    assert_eq!(disk.checkpoint_by_name("c2").await.unwrap().parent().await.unwrap().name(), "c1");
    assert_eq!(checkpoint.children(Default::default()).await.unwrap().len(), 1);
    assert_eq!(disk.checkpoints(Default::default()).await.unwrap().len(), 2);
    assert!(checkpoint.xml(Default::default()).await.unwrap().contains("<name>c1</name>"));
    checkpoint.delete(Default::default()).await.unwrap();
}

#[tokio::test]
async fn networks_have_definitions_leases_and_ports() {
    let Some(daemon) = Daemon::start("networks_have_definitions_leases_and_ports") else { return };
    let connect = daemon.test().await;
    let xml = "<network><name>n</name><bridge name='br-n'/><ip address='10.1.2.1' netmask='255.255.255.0'>\
               <dhcp><range start='10.1.2.10' end='10.1.2.99'/></dhcp></ip></network>";
    let network = connect.define_network(xml, Default::default()).await.unwrap();
    network.start().await.unwrap();
    assert!(network.is_active().await.unwrap() && network.is_persistent().await.unwrap());
    assert_eq!(network.bridge_name().await.unwrap(), "br-n");
    let host = "<host mac='52:54:00:00:00:02' name='web' ip='10.1.2.5'/>";
    let update = NetworkUpdate {
        command: NetworkUpdateCommand::AddFirst,
        section: NetworkUpdateSection::IpDhcpHost,
        parent: -1,
        xml: host,
        flags: NetworkUpdateFlags::LIVE,
    };
    network.update(update).await.unwrap();
    assert!(network.xml(Default::default()).await.unwrap().contains("name='web'"));
    network.set_autostart(Autostart::On).await.unwrap();
    assert!(network.autostart().await.unwrap());
    assert_eq!(connect.networks(Default::default()).await.unwrap().len(), 2);
    assert_eq!(connect.network_by_uuid(network.uuid()).await.unwrap().name(), "n");
    assert!(network.ports().await.unwrap_err().is_unsupported(), "the test driver has no ports");
    network.destroy().await.unwrap();
    network.undefine().await.unwrap();
    assert!(connect.network_by_name("n").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn pools_volumes_devices_and_interfaces_are_there() {
    let Some(daemon) = Daemon::start("pools_volumes_devices_and_interfaces_are_there") else { return };
    let connect = daemon.test().await;
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    assert_eq!(pool.info().await.unwrap().state, StoragePoolState::Running);
    let xml = "<volume><name>v</name><capacity>1048576</capacity></volume>";
    let volume = pool.create_volume(xml, Default::default()).await.unwrap();
    assert_eq!(volume.info().await.unwrap().capacity, 1_048_576);
    assert_eq!(volume.pool().await.unwrap().uuid(), pool.uuid());
    let path = volume.path().await.unwrap();
    assert_eq!(connect.volume_by_path(&path).await.unwrap().key(), volume.key());
    let copy = pool.clone_volume(&xml.replace(">v<", ">w<"), &volume, Default::default()).await.unwrap();
    assert_eq!(copy.name(), "w");
    assert!(volume.xml().await.unwrap().contains("<name>v</name>"));
    volume.delete(Default::default()).await.unwrap();
    assert!(connect.volume_by_key(&volume.key()).await.unwrap_err().is_not_found());
    assert!(pool.is_active().await.unwrap() && pool.xml(Default::default()).await.unwrap().contains("<pool"));

    let device = connect.node_device_by_name("computer").await.unwrap();
    assert_eq!(device.capabilities().await.unwrap(), ["system"]);
    assert_eq!(device.parent().await.unwrap(), None);
    assert!(device.xml(Default::default()).await.unwrap().contains("<name>computer</name>"));
    assert!(connect.node_devices(Default::default()).await.unwrap().len() > 3);

    let interface = connect.interface_by_name("eth1").await.unwrap();
    assert!(interface.is_active().await.unwrap());
    assert_eq!(connect.interface_by_mac(&interface.mac()).await.unwrap().name(), "eth1");
    connect.begin_interface_change().await.unwrap();
    interface.destroy().await.unwrap();
    interface.undefine().await.unwrap();
    assert!(connect.interface_by_name("eth1").await.unwrap_err().is_not_found());
    connect.roll_back_interface_change().await.unwrap();
    assert!(connect.interface_by_name("eth1").await.is_ok());
}

#[tokio::test]
async fn a_host_with_everything_on_it_takes_three_calls() {
    let Some(daemon) = Daemon::start("a_host_with_everything_on_it_takes_three_calls") else { return };
    let connect = daemon.test().await;
    for name in ["a", "b"] {
        let xml = format!(
            "<domain type='test'><name>{name}</name><memory>2048</memory><os><type>hvm</type></os></domain>"
        );
        connect.define_domain(&xml, Default::default()).await.unwrap();
    }
    let host = connect.snapshot_host(DomainStatsTypes::empty()).await.unwrap();
    assert!(host.node.cpus > 0 && host.node.memory_kib > 0);
    let mut found: Vec<_> =
        host.domains.iter().map(|stats| (stats.domain.name(), stats.state().unwrap())).collect();
    found.sort();
    use DomainState as S;
    assert_eq!(
        found,
        [("a".to_owned(), S::Shutoff), ("b".to_owned(), S::Shutoff), ("test".to_owned(), S::Running)]
    );
    let one = [host.domains[0].domain.clone()];
    let one = connect.stats_of(&one, DomainStatsTypes::STATE, Default::default()).await.unwrap();
    assert_eq!(one.len(), 1);
}

#[tokio::test]
async fn a_host_answers_what_it_is_asked() {
    let Some(daemon) = Daemon::start("a_host_answers_what_it_is_asked") else { return };
    let connect = daemon.test().await;
    assert_eq!(connect.driver().await.unwrap(), "TEST");
    assert_eq!(connect.node_info().await.unwrap().model, "i686");
    assert!(connect.is_secure().await.unwrap());
    assert!(!connect.is_encrypted().await.unwrap(), "it needs not be");
    // The same on every host.
    assert_eq!(connect.max_vcpus(None).await.unwrap(), 32);
    let cells = connect.cells_free_memory(0).await.unwrap();
    assert_eq!(cells, [2_097_152, 4_194_304]);
    assert_eq!(connect.free_memory().await.unwrap(), 3_145_728);
    let (map, count) = connect.cpu_map().await.unwrap();
    assert_eq!((map.iter().collect::<Vec<_>>(), count), (vec![0, 2, 4], 8));
    assert!(!connect.cpu_stats(None).await.unwrap().is_empty());
    assert!(connect.cpu_models("x86_64").await.unwrap().iter().any(|model| model == "qemu64"));
    assert_eq!(connect.check().await.map_err(|error| error.to_string()), Ok(()));
    let cpu = "<cpu><arch>x86_64</arch><model>qemu64</model></cpu>";
    let compared = connect.compare_cpu(cpu, Default::default()).await;
    assert!(matches!(compared, Ok(CpuCompareResult::Incompatible)) || compared.is_err());
    let test = connect.domain_by_name("test").await.unwrap();
    assert_eq!(test.control_info().await.unwrap().details, 0);
    test.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
}

#[tokio::test]
async fn filters_of_networks_are_defined_and_gone() {
    let Some(daemon) = Daemon::start("filters_of_networks_are_defined_and_gone") else { return };
    let connect = daemon.test().await;
    // Only a daemon of root has the driver for these.
    for error in [
        connect.nwfilters().await.map(|_| ()).unwrap_err(),
        connect.nwfilter_bindings().await.map(|_| ()).unwrap_err(),
    ] {
        assert!(error.is_unsupported(), "{error}");
    }
}

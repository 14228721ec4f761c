//! Calls that newer ones have taken the place of, and that only `raw` has: they tell, and do, what the newer ones tell.

use crate::support::Daemon;
use libvirt_client::protocol::enums::DomainState;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{self, *};
use libvirt_client::protocol::xdr::{IntoOwned, List, Text};
use libvirt_client::{Connect, Domain};
use std::collections::BTreeSet;

const MANY: i32 = 100;

const DOMAIN: &str = "<domain type='test'><name>other</name><memory>8192</memory><vcpu>4</vcpu><os><type>hvm</type></os></domain>";

async fn call<P: Procedure>(connect: &Connect, args: &P::Args<'_>) {
    connect.call::<P>(args).await.unwrap();
}

/// One result of a call.
macro_rules! get {
    ($connect:expr, $procedure:ident($args:expr).$field:ident) => {
        $connect.call::<remote::$procedure>(&$args).await.unwrap().result().unwrap().$field.into_owned()
    };
}

fn names<const MOST: u32>(list: &List<'static, Text<'static>, MOST>) -> BTreeSet<String> {
    list.iter().map(|name| name.to_string()).collect()
}

fn set<T>(all: Vec<T>, name: impl Fn(&T) -> String) -> BTreeSet<String> {
    all.iter().map(name).collect()
}

#[tokio::test]
async fn old_lists_hold_what_the_new_ones_hold() {
    let Some(daemon) = Daemon::start("old_lists_hold_what_the_new_ones_hold") else { return };
    let connect = daemon.test().await;
    connect.define_domain(DOMAIN, Default::default()).await.unwrap();
    let network =
        "<network><name>other</name><forward/><ip address='192.168.9.1' netmask='255.255.255.0'/></network>";
    connect.define_network(network, Default::default()).await.unwrap();
    let pool = "<pool type='dir'><name>other</name><target><path>/other</path></target></pool>";
    connect.define_storage_pool(pool, Default::default()).await.unwrap();

    let (mut running, mut stopped) = (BTreeSet::new(), BTreeSet::new());
    for domain in connect.domains(Default::default()).await.unwrap() {
        match domain.id() {
            Some(id) => drop(running.insert(id)),
            None => drop(stopped.insert(domain.name())),
        }
    }
    let ids = get!(connect, ConnectListDomains(ConnectListDomainsArgs { maxids: MANY }).ids);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>(), running);
    assert_eq!(get!(connect, ConnectNumOfDomains(()).num), running.len() as i32);
    let defined =
        get!(connect, ConnectListDefinedDomains(ConnectListDefinedDomainsArgs { maxnames: MANY }).names);
    assert_eq!(names(&defined), stopped);
    assert_eq!(get!(connect, ConnectNumOfDefinedDomains(()).num), 1);

    let all = set(connect.networks(Default::default()).await.unwrap(), |network| network.name());
    let active = get!(connect, ConnectListNetworks(ConnectListNetworksArgs { maxnames: MANY }).names);
    let defined =
        get!(connect, ConnectListDefinedNetworks(ConnectListDefinedNetworksArgs { maxnames: MANY }).names);
    assert_eq!(&names(&active) | &names(&defined), all);
    assert_eq!(names(&defined), ["other".to_owned()].into());
    assert_eq!(get!(connect, ConnectNumOfNetworks(()).num), active.len() as i32);
    assert_eq!(get!(connect, ConnectNumOfDefinedNetworks(()).num), 1);

    let all = set(connect.storage_pools(Default::default()).await.unwrap(), |pool| pool.name());
    let active = get!(connect, ConnectListStoragePools(ConnectListStoragePoolsArgs { maxnames: MANY }).names);
    let defined = get!(
        connect,
        ConnectListDefinedStoragePools(ConnectListDefinedStoragePoolsArgs { maxnames: MANY }).names
    );
    assert_eq!(&names(&active) | &names(&defined), all);
    assert_eq!(names(&defined), ["other".to_owned()].into());
    assert_eq!(get!(connect, ConnectNumOfStoragePools(()).num), active.len() as i32);
    assert_eq!(get!(connect, ConnectNumOfDefinedStoragePools(()).num), 1);

    let all = set(connect.interfaces(Default::default()).await.unwrap(), |interface| interface.name());
    let active = get!(connect, ConnectListInterfaces(ConnectListInterfacesArgs { maxnames: MANY }).names);
    let defined = get!(
        connect,
        ConnectListDefinedInterfaces(ConnectListDefinedInterfacesArgs { maxnames: MANY }).names
    );
    assert_eq!(&names(&active) | &names(&defined), all);
    assert_eq!(get!(connect, ConnectNumOfInterfaces(()).num), active.len() as i32);
    assert_eq!(get!(connect, ConnectNumOfDefinedInterfaces(()).num), defined.len() as i32);

    let devices = connect.node_devices(Default::default()).await.unwrap();
    let args = NodeListDevicesArgs { cap: None, maxnames: MANY, ..Default::default() };
    assert_eq!(
        names(&get!(connect, NodeListDevices(args).names)),
        set(devices.clone(), |device| device.name())
    );
    assert_eq!(get!(connect, NodeNumOfDevices(NodeNumOfDevicesArgs::default()).num), devices.len() as i32);
    let name = devices[0].name();
    let count =
        get!(connect, NodeDeviceNumOfCaps(NodeDeviceNumOfCapsArgs { name: name.as_str().into() }).num);
    assert_eq!(count, devices[0].capabilities().await.unwrap().len() as i32);
    connect.close().await.unwrap();
}

#[tokio::test]
async fn old_calls_about_volumes_and_snapshots_agree_too() {
    let Some(daemon) = Daemon::start("old_calls_about_volumes_and_snapshots_agree_too") else { return };
    let connect = daemon.test().await;
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let xml = "<volume><name>v</name><capacity>1048576</capacity></volume>";
    let volume = pool.create_volume(xml, Default::default()).await.unwrap();
    let wire = pool.wire().into_owned();
    let all = set(pool.volumes().await.unwrap(), |volume| volume.name());
    let args = StoragePoolListVolumesArgs { pool: wire.clone(), maxnames: MANY };
    assert_eq!(names(&get!(connect, StoragePoolListVolumes(args).names)), all);
    let count = get!(connect, StoragePoolNumOfVolumes(StoragePoolNumOfVolumesArgs { pool: wire }).num);
    assert_eq!(count, all.len() as i32);
    let found = connect.volume_by_key(&volume.key()).await.unwrap();
    assert_eq!((found.name(), found.pool().await.unwrap().uuid()), ("v".to_owned(), pool.uuid()));
    assert_eq!(connect.storage_pool_by_uuid(pool.uuid()).await.unwrap().name(), "default-pool");

    let domain = connect.domain_by_name("test").await.unwrap();
    let snapshot = |name: &str| format!("<domainsnapshot><name>{name}</name></domainsnapshot>");
    let first = domain.create_snapshot(&snapshot("first"), Default::default()).await.unwrap();
    domain.create_snapshot(&snapshot("second"), Default::default()).await.unwrap();
    let dom = domain.wire().into_owned();
    let args = DomainSnapshotListNamesArgs { dom: dom.clone(), maxnames: MANY, ..Default::default() };
    let both: BTreeSet<_> = ["first".to_owned(), "second".to_owned()].into();
    assert_eq!(names(&get!(connect, DomainSnapshotListNames(args).names)), both);
    let args = DomainSnapshotNumArgs { dom, ..Default::default() };
    assert_eq!(get!(connect, DomainSnapshotNum(args).num), 2);
    let snap = first.wire().into_owned();
    let args =
        DomainSnapshotListChildrenNamesArgs { snap: snap.clone(), maxnames: MANY, ..Default::default() };
    assert_eq!(
        names(&get!(connect, DomainSnapshotListChildrenNames(args).names)),
        ["second".to_owned()].into()
    );
    let args = DomainSnapshotNumChildrenArgs { snap, ..Default::default() };
    assert_eq!(get!(connect, DomainSnapshotNumChildren(args).num), 1);
    assert_eq!(domain.snapshot_by_name("second").await.unwrap().parent().await.unwrap().name(), "first");
    connect.close().await.unwrap();
}

async fn state(domain: &Domain) -> DomainState {
    domain.state().await.unwrap().state
}

#[tokio::test]
async fn old_calls_change_what_the_new_ones_see() {
    let Some(daemon) = Daemon::start("old_calls_change_what_the_new_ones_see") else { return };
    let connect = daemon.test().await;
    let dom = get!(connect, DomainDefineXml(DomainDefineXmlArgs { xml: DOMAIN.into() }).dom);
    let domain = connect.domain_by_name("other").await.unwrap();
    assert_eq!(state(&domain).await, DomainState::Shutoff);
    call::<DomainSetMaxMemory>(&connect, &DomainSetMaxMemoryArgs { dom: dom.clone(), memory: 4096 }).await;
    assert_eq!(domain.max_memory().await.unwrap(), 4096);
    call::<DomainCreate>(&connect, &DomainCreateArgs { dom: dom.clone() }).await;
    assert_eq!(state(&domain).await, DomainState::Running);
    call::<DomainSetMemory>(&connect, &DomainSetMemoryArgs { dom: dom.clone(), memory: 2048 }).await;
    assert_eq!(domain.info().await.unwrap().memory_kib, 2048);
    call::<DomainSetVcpus>(&connect, &DomainSetVcpusArgs { dom: dom.clone(), nvcpus: 2 }).await;
    assert_eq!(domain.vcpus().await.unwrap().len(), 2);
    let cpumap = vec![0b10_u8].into();
    call::<DomainPinVcpu>(&connect, &DomainPinVcpuArgs { dom: dom.clone(), vcpu: 1, cpumap }).await;
    assert_eq!(domain.vcpus().await.unwrap()[1].allowed.iter().collect::<Vec<_>>(), [1]);
    let kind = get!(connect, DomainGetSchedulerType(DomainGetSchedulerTypeArgs { dom: dom.clone() }).kind);
    assert_eq!(kind.to_string(), domain.scheduler_type().await.unwrap());
    assert_eq!(kind.to_string(), "fair");

    let file = daemon.path("other.save").display().to_string();
    std::fs::write(&file, "").unwrap();
    daemon.own(file.as_ref());
    let args = DomainSaveArgs { dom: dom.clone(), to: file.as_str().into() };
    call::<DomainSave>(&connect, &args).await;
    assert_eq!(state(&domain).await, DomainState::Shutoff);
    call::<DomainRestore>(&connect, &DomainRestoreArgs { from: file.as_str().into() }).await;
    assert_eq!(state(&domain).await, DomainState::Running);
    let core = daemon.path("other.core").display().to_string();
    let args = DomainCoreDumpArgs { dom: dom.clone(), to: core.as_str().into(), ..Default::default() };
    call::<DomainCoreDump>(&connect, &args).await;
    assert!(std::fs::metadata(&core).unwrap().len() > 0);
    call::<DomainReboot>(&connect, &DomainRebootArgs { dom: dom.clone(), ..Default::default() }).await;
    assert_eq!(state(&domain).await, DomainState::Running);
    call::<DomainShutdown>(&connect, &DomainShutdownArgs { dom: dom.clone() }).await;
    assert_eq!(state(&domain).await, DomainState::Shutoff);
    call::<DomainCreate>(&connect, &DomainCreateArgs { dom: dom.clone() }).await;
    call::<DomainDestroy>(&connect, &DomainDestroyArgs { dom: dom.clone() }).await;
    assert_eq!(state(&domain).await, DomainState::Shutoff);
    call::<DomainUndefine>(&connect, &DomainUndefineArgs { dom }).await;
    assert!(connect.domain_by_name("other").await.unwrap_err().is_not_found());

    let xml =
        "<network><name>one</name><forward/><ip address='192.168.7.1' netmask='255.255.255.0'/></network>";
    call::<NetworkCreateXml>(&connect, &NetworkCreateXmlArgs { xml: xml.into() }).await;
    assert!(!connect.network_by_name("one").await.unwrap().is_persistent().await.unwrap());
    let xml = xml.replace("one", "two").replace("192.168.7", "192.168.8");
    call::<NetworkDefineXml>(&connect, &NetworkDefineXmlArgs { xml: xml.as_str().into() }).await;
    assert!(!connect.network_by_name("two").await.unwrap().is_active().await.unwrap());

    let test = connect.domain_by_name("test").await.unwrap();
    let dom = test.wire().into_owned();
    let args = DomainInterfaceStatsArgs { dom: dom.clone(), device: "testnet0".into() };
    assert!(get!(connect, DomainInterfaceStats(args).rx_bytes) > 0);
    let other = DomainInterfaceStatsArgs { dom: dom.clone(), device: "testnet9".into() };
    connect.call::<DomainInterfaceStats>(&other).await.unwrap_err();
    // The test driver's is the second.
    assert_eq!(get!(connect, ConnectGetVersion(()).hv_ver), 2);
    let enforcing = get!(connect, DomainGetSecurityLabel(DomainGetSecurityLabelArgs { dom }).enforcing);
    assert_eq!(enforcing, 1);
    assert_eq!(connect.security_model().await.unwrap().0, "testSecurity");
    connect.close().await.unwrap();
}

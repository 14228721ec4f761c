//! Events that a call leads to, each kind once, and those of the host's devices.

use super::{complete, connect, start};
use libvirt_client::protocol::enums::{NodeDeviceEventLifecycleType as Life, NodeSuspendTarget};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{DomainMemoryModFlags, DomainModificationImpact, DomainVcpuFlags};
use libvirt_client::protocol::remote;
use libvirt_client::{Filter, Item, Subscription};
use libvirt_server::Happening;

async fn next(events: &mut Subscription) -> Event<'static> {
    match events.next().await.unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn devices_of_the_host_tell_of_their_lives() {
    let connect = connect(&start(complete().version(super::NEWEST))).await;
    let mut events = connect.subscribe(Kind::NodeDeviceLifecycle).await.unwrap();
    let made = "<device><parent>pci_0000_00_02_0</parent><capability type='mdev'><type id='test-type'/></capability></device>";
    let device = connect.define_node_device(made, Default::default()).await.unwrap();
    device.start().await.unwrap();
    device.undefine().await.unwrap();
    device.destroy().await.unwrap();
    for expected in [Life::Defined, Life::Created, Life::Undefined, Life::Deleted] {
        let Event::NodeDeviceLifecycle(event) = next(&mut events).await else { panic!("another event") };
        assert_eq!((event.dev.name.to_string(), event.event), (device.name(), expected));
    }
}

/// Each is a subscription of its own, so that nothing else can be mistaken for it.
#[tokio::test]
async fn what_changes_in_a_domain_that_runs_is_told() {
    let handle = start(complete().version(super::NEWEST));
    let connect = connect(&handle).await;
    let guest = connect.domain_by_name("test").await.unwrap();
    let one = async |kind| connect.subscribe_to([Filter::domain(kind, &guest)]).await.unwrap();
    let mut balloon = one(Kind::DomainBalloonChange).await;
    guest.set_memory(4096, DomainMemoryModFlags::LIVE).await.unwrap();
    let Event::DomainBalloonChange(event) = next(&mut balloon).await else { panic!("another event") };
    assert_eq!(event.actual, 4096);
    let mut tunable = one(Kind::DomainTunable).await;
    guest.pin_vcpu(1, &[0, 2].into_iter().collect(), DomainModificationImpact::LIVE).await.unwrap();
    let Event::DomainTunable(event) = next(&mut tunable).await else { panic!("another event") };
    let param = event.params.iter().next().unwrap();
    assert_eq!(
        (param.field.to_string().as_str(), param.value.as_text().unwrap().to_string().as_str()),
        ("cputune.vcpupin1", "0,2")
    );
    let mut removed = one(Kind::DomainVcpuRemoved).await;
    guest.set_vcpu_count(1, DomainVcpuFlags::LIVE).await.unwrap();
    let Event::DomainVcpuRemoved(event) = next(&mut removed).await else { panic!("another event") };
    assert_eq!(event.vcpuid, 1);
    let mut tray = one(Kind::DomainTrayChange).await;
    let medium = |file: &str| {
        format!(
            "<disk type='file' device='cdrom'><source file='{file}'/><target dev='sda' bus='sata'/></disk>"
        )
    };
    guest.attach_device(&medium("/old"), Default::default()).await.unwrap();
    guest.update_device(&medium("/new"), Default::default()).await.unwrap();
    for _ in ["open", "close"] {
        let Event::DomainTrayChange(event) = next(&mut tray).await else { panic!("another event") };
        assert_eq!(event.dev_alias, "sata-disk-sda");
    }
    let mut threshold = one(Kind::DomainBlockThreshold).await;
    let exceed = || Happening::BlockThreshold { device: "vda".into(), excess: 7 };
    handle.with(move |hypervisor| hypervisor.happen("test", exceed())).await.unwrap();
    guest.set_block_threshold("vda", 100).await.unwrap();
    handle.with(move |hypervisor| hypervisor.happen("test", exceed())).await.unwrap();
    let Event::DomainBlockThreshold(event) = next(&mut threshold).await else { panic!("another event") };
    assert_eq!(
        (event.dev.to_string().as_str(), event.threshold, event.excess),
        ("vda", 100, 7),
        "and not before it was set"
    );
    let mut sleeps = one(Kind::DomainPmsuspend).await;
    guest.sleep(NodeSuspendTarget::Mem, 0).await.unwrap();
    assert!(matches!(next(&mut sleeps).await, Event::DomainPmsuspend(_)));
}

#[tokio::test]
async fn who_asked_hears_that_the_driver_has_gone() {
    use libvirt_client::protocol::enums::ConnectCloseReason;
    let handle = start(complete());
    let connect = connect(&handle).await;
    let mut closed = connect.subscribe(Kind::ConnectionClosed).await.unwrap();
    handle.with(|hypervisor| hypervisor.lose_driver(ConnectCloseReason::Eof)).await.unwrap();
    let Event::ConnectionClosed(event) = next(&mut closed).await else { panic!("another event") };
    assert_eq!(event.reason, ConnectCloseReason::Eof);
    connect.call::<remote::ConnectUnregisterCloseCallback>(&()).await.unwrap();
}

//! Calls that have no flags of note, each with its effect: what is found by another name, what is unsubscribed, devices of the host that
//! are given away, figures that are set.

use super::{complete, connect, start};
use libvirt_client::protocol::enums::{
    DomainGraphicsReloadType, ErrorNumber, NodeSuspendTarget, SecretUsageType,
};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{NoFlags, remote};
use libvirt_client::{Autostart, Connect, Error, Params};

async fn fresh() -> Connect {
    connect(&start(complete().version(super::NEWEST))).await
}

fn code<T>(result: Result<T, Error>) -> ErrorNumber {
    result.map(drop).unwrap_err().refusal().unwrap().code
}

/// Subscribes as the call that is named does, and ends it: once, and not twice, and then it can be made again.
macro_rules! ends {
    ($connect:expr, $register:ident($register_args:ident), $deregister:ident($deregister_args:ident)) => {{
        let register = async || {
            let args = remote::$register_args::default();
            $connect.call::<remote::$register>(&args).await.unwrap().result().unwrap().callback_id
        };
        let callback_id = register().await;
        let args = remote::$deregister_args { callback_id };
        let error = $connect.call::<remote::$register>(&Default::default()).await.map(drop).unwrap_err();
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::InternalError, "it is subscribed already");
        $connect.call::<remote::$deregister>(&args).await.unwrap();
        let twice = $connect.call::<remote::$deregister>(&args).await;
        assert_eq!(code(twice), ErrorNumber::InvalidArg, "{}", remote::$deregister::INFO.name);
        assert_ne!(register().await, callback_id);
    }};
}

#[tokio::test]
async fn subscriptions_end_when_they_are_ended_and_not_twice() {
    let connect = fresh().await;
    ends!(
        connect,
        ConnectNetworkEventRegisterAny(ConnectNetworkEventRegisterAnyArgs),
        ConnectNetworkEventDeregisterAny(ConnectNetworkEventDeregisterAnyArgs)
    );
    ends!(
        connect,
        ConnectStoragePoolEventRegisterAny(ConnectStoragePoolEventRegisterAnyArgs),
        ConnectStoragePoolEventDeregisterAny(ConnectStoragePoolEventDeregisterAnyArgs)
    );
    ends!(
        connect,
        ConnectNodeDeviceEventRegisterAny(ConnectNodeDeviceEventRegisterAnyArgs),
        ConnectNodeDeviceEventDeregisterAny(ConnectNodeDeviceEventDeregisterAnyArgs)
    );
    ends!(
        connect,
        ConnectSecretEventRegisterAny(ConnectSecretEventRegisterAnyArgs),
        ConnectSecretEventDeregisterAny(ConnectSecretEventDeregisterAnyArgs)
    );
    ends!(
        connect,
        ConnectDomainEventCallbackRegisterAny(ConnectDomainEventCallbackRegisterAnyArgs),
        ConnectDomainEventCallbackDeregisterAny(ConnectDomainEventCallbackDeregisterAnyArgs)
    );
    // The old ways, of which there is one for each event.
    for _ in 0..2 {
        connect.call::<remote::ConnectDomainEventRegister>(&()).await.unwrap();
        assert_eq!(
            code(connect.call::<remote::ConnectDomainEventRegister>(&()).await),
            ErrorNumber::InternalError
        );
        connect.call::<remote::ConnectDomainEventDeregister>(&()).await.unwrap();
        assert_eq!(
            code(connect.call::<remote::ConnectDomainEventDeregister>(&()).await),
            ErrorNumber::InternalError
        );
        let args = remote::ConnectDomainEventRegisterAnyArgs::default();
        connect.call::<remote::ConnectDomainEventRegisterAny>(&args).await.unwrap();
        let args = remote::ConnectDomainEventDeregisterAnyArgs::default();
        connect.call::<remote::ConnectDomainEventDeregisterAny>(&args).await.unwrap();
        assert_eq!(
            code(connect.call::<remote::ConnectDomainEventDeregisterAny>(&args).await),
            ErrorNumber::InternalError
        );
    }
    use libvirt_client::protocol::qemu;
    let args = qemu::ConnectDomainMonitorEventRegisterArgs::default();
    let reply = connect.call::<qemu::ConnectDomainMonitorEventRegister>(&args).await.unwrap();
    let args =
        qemu::ConnectDomainMonitorEventDeregisterArgs { callback_id: reply.result().unwrap().callback_id };
    connect.call::<qemu::ConnectDomainMonitorEventDeregister>(&args).await.unwrap();
    assert_eq!(
        code(connect.call::<qemu::ConnectDomainMonitorEventDeregister>(&args).await),
        ErrorNumber::InternalError
    );
}

#[tokio::test]
async fn things_are_found_by_what_they_are_for_and_where_they_lie() {
    let connect = fresh().await;
    let secret = "<secret><usage type='ceph'><name>key</name></usage></secret>";
    let secret = connect.define_secret(secret, Default::default()).await.unwrap();
    let found = connect.secret_by_usage(SecretUsageType::Ceph, "key").await.unwrap();
    assert_eq!(found.uuid(), secret.uuid());
    assert_eq!(code(connect.secret_by_usage(SecretUsageType::Ceph, "other").await), ErrorNumber::NoSecret);
    let volume = super::volume(&connect, 4096).await;
    assert_eq!(connect.volume_by_path("/default-pool/v").await.unwrap().key(), volume.key());
    assert_eq!(connect.storage_pool_by_path("/default-pool").await.unwrap().name(), "default-pool");
    assert_eq!(code(connect.storage_pool_by_path("/elsewhere").await), ErrorNumber::NoStoragePool);
    let filter = connect.define_nwfilter("<filter name='f'/>", Default::default()).await.unwrap();
    assert_eq!(connect.nwfilter_by_uuid(filter.uuid()).await.unwrap().name(), "f");
    let host = connect.scsi_host_by_wwn("2000000012341234", "1000000012341234").await.unwrap();
    assert_eq!(host.name(), "scsi_host1");
    assert_eq!(code(connect.scsi_host_by_wwn("0", "0").await), ErrorNumber::NoNodeDevice);
}

#[tokio::test]
async fn devices_are_given_away_and_taken_back_and_kept_ones_are_started() {
    let connect = fresh().await;
    let device = connect.node_device_by_name("pci_0000_00_02_0").await.unwrap();
    let driver = async || device.xml(Default::default()).await.unwrap();
    assert!(driver().await.contains("<name>test-pci</name>"));
    device.detach(Some("vfio")).await.unwrap();
    assert!(driver().await.contains("<name>vfio-pci</name>"));
    device.reset().await.unwrap();
    device.reattach().await.unwrap();
    assert!(driver().await.contains("<name>test-pci</name>"));
    // The call that came before the one with a driver's name.
    let args = remote::NodeDeviceDettachArgs { name: device.name().into() };
    connect.call::<remote::NodeDeviceDettach>(&args).await.unwrap();
    assert!(driver().await.contains("<name>vfio-pci</name>"));
    let computer = connect.node_device_by_name("computer").await.unwrap();
    assert_eq!(code(computer.reset().await), ErrorNumber::InvalidArg);
    assert_eq!(code(device.detach(Some("other")).await), ErrorNumber::InvalidArg);

    let made = "<device><parent>pci_0000_00_02_0</parent><capability type='mdev'><type id='test-type'/></capability></device>";
    let kept = connect.define_node_device(made, Default::default()).await.unwrap();
    assert!(kept.is_persistent().await.unwrap() && !kept.is_active().await.unwrap());
    kept.set_autostart(Autostart::On).await.unwrap();
    assert!(kept.autostart().await.unwrap());
    kept.start().await.unwrap();
    assert!(kept.is_active().await.unwrap());
    kept.undefine().await.unwrap();
    assert!(!kept.is_persistent().await.unwrap() && !kept.autostart().await.unwrap());
    kept.destroy().await.unwrap();
    assert_eq!(code(connect.node_device_by_name(&kept.name()).await), ErrorNumber::NoNodeDevice);
    assert_eq!(code(computer.set_autostart(Autostart::On).await), ErrorNumber::OperationInvalid);
}

#[tokio::test]
async fn the_hosts_memory_and_sleep_are_set() {
    let connect = fresh().await;
    let before = connect.memory_parameters().await.unwrap();
    assert_eq!(before.u64("shm_pages_to_scan"), Some(100));
    connect.set_memory_parameters(&Params::new().with("shm_pages_to_scan", 7_u32)).await.unwrap();
    assert_eq!(connect.memory_parameters().await.unwrap().u64("shm_pages_to_scan"), Some(7));
    let fixed = Params::new().with("shm_pages_shared", 7_u64);
    assert_eq!(code(connect.set_memory_parameters(&fixed).await), ErrorNumber::InvalidArg);
    let total =
        async |cell| connect.memory_stats(cell).await.unwrap().into_iter().find(|(name, _)| name == "total");
    assert_eq!(total(None).await.unwrap().1, 2 * total(Some(1)).await.unwrap().1);
    connect.suspend_host(NodeSuspendTarget::Mem, 60).await.unwrap();
    assert_eq!(code(connect.suspend_host(NodeSuspendTarget::Mem, 59).await), ErrorNumber::InvalidArg);
    assert_eq!(connect.sev_info().await.unwrap().u64("cbitpos"), Some(47));
    assert!(connect.storage_pool_capabilities().await.unwrap().contains("type='iscsi-direct'"));
}

#[tokio::test]
async fn a_domain_becomes_a_command_line_and_a_domain_again() {
    let connect = fresh().await;
    let xml = connect.domain_by_name("test").await.unwrap().xml(Default::default()).await.unwrap();
    let line = connect.domain_to_native("qemu-argv", &xml).await.unwrap();
    assert!(line.contains("-name guest=test") && line.contains("file=/guest/diskimage1,id=vda"), "{line}");
    let back = connect.domain_from_native("qemu-argv", &line).await.unwrap();
    let again = connect.domain_to_native("qemu-argv", &back).await.unwrap();
    assert_eq!(again, line);
    assert_eq!(code(connect.domain_to_native("vmx", &xml).await), ErrorNumber::InvalidArg);
    assert_eq!(
        code(connect.domain_from_native("qemu-argv", "/bin/true").await),
        ErrorNumber::ConfigUnsupported
    );
}

#[tokio::test]
async fn guests_are_asked_and_told_what_only_qemu_knows() {
    let connect = fresh().await;
    let guest = connect.domain_by_name("test").await.unwrap();
    assert_eq!(guest.peek_block("vda", 0, 8).await.unwrap(), [0; 8]);
    guest.set_agent_timeout(5).await.unwrap();
    assert_eq!(code(guest.set_agent_timeout(-3).await), ErrorNumber::InvalidArg);
    let info = guest.guest_info(Default::default()).await.unwrap();
    assert_eq!(
        (info.text("hostname").as_deref(), info.u64("fs.count"), info.u64("if.count")),
        (Some("testhost"), Some(2), Some(1))
    );
    use libvirt_client::protocol::flags::DomainGuestInfoTypes;
    let part = guest.guest_info(DomainGuestInfoTypes::HOSTNAME).await.unwrap();
    assert_eq!(part.iter().count(), 1);
    guest.set_guest_vcpus("1", 0).await.unwrap();
    let vcpus = guest.guest_vcpus().await.unwrap();
    assert_eq!((vcpus.text("vcpus").as_deref(), vcpus.text("online").as_deref()), (Some("0-1"), Some("0")));
    assert_eq!(code(guest.set_guest_vcpus("0", 0).await), ErrorNumber::InvalidArg);
    for (vcpus, state) in [("4294967295", 1), ("4294967295", 0), ("", 1), ("1", 7)] {
        assert_eq!(
            code(guest.set_vcpu(vcpus, state, Default::default()).await),
            ErrorNumber::InvalidArg,
            "{vcpus}"
        );
    }
    guest.announce_interface(Some("testnet0"), &Params::new()).await.unwrap();
    assert_eq!(
        code(guest.announce_interface(Some("eth9"), &Params::new()).await),
        ErrorNumber::OperationFailed
    );
    assert_eq!(guest.security_labels().await.unwrap(), [("libvirt-test".to_owned(), true)]);
    let vnc = DomainGraphicsReloadType::Vnc;
    assert_eq!(code(guest.reload_graphics(vnc).await), ErrorNumber::InvalidArg, "it has no screen");
    let more = "<launchSecurity type='sev'/><devices><graphics type='vnc'/></devices>";
    let xml = format!(
        "<domain type='test'><name>s</name><memory>1</memory><os><type>hvm</type></os>{more}</domain>"
    );
    let screen = connect.create_domain(&xml, Default::default()).await.unwrap();
    screen.reload_graphics(vnc).await.unwrap();
    let secret = Params::new().with("sev-secret", "c2VjcmV0").with("sev-secret-header", "aGVhZGVy");
    assert_eq!(code(guest.set_launch_security(&secret).await), ErrorNumber::OperationInvalid);
    screen.set_launch_security(&secret).await.unwrap();
    // The most that a domain can have is changed of one that is off.
    assert_eq!(
        code(guest.set_memory(1, libvirt_client::protocol::flags::DomainMemoryModFlags::MAXIMUM).await),
        ErrorNumber::OperationInvalid
    );
    guest.destroy(Default::default()).await.unwrap();
    let args = remote::DomainSetMaxMemoryArgs { dom: guest.wire(), memory: 12_345 };
    connect.call::<remote::DomainSetMaxMemory>(&args).await.unwrap();
    assert_eq!(guest.max_memory().await.unwrap(), 12_345);
}

#[tokio::test]
async fn a_port_keeps_what_it_is_given() {
    let connect = fresh().await;
    let network = connect.network_by_name("default").await.unwrap();
    let xml = "<networkport><owner><name>o</name><uuid>21111111-2222-3333-4444-555555555555</uuid></owner></networkport>";
    let port = network.create_port(xml, Default::default()).await.unwrap();
    port.set_parameters(&Params::new().with("inbound.average", 9_u32)).await.unwrap();
    assert_eq!(port.parameters().await.unwrap().u64("inbound.average"), Some(9));
    assert_eq!(network.port_by_uuid(port.uuid()).await.unwrap().uuid(), port.uuid());
}

/// For whom a client speaks, the administrator sees; what no identity has is refused.
#[tokio::test]
async fn a_client_says_for_whom_it_speaks() {
    let connect = fresh().await;
    connect
        .set_identity(&Params::new().with("sasl-user-name", "fred").with("process-id", 7_i64))
        .await
        .unwrap();
    assert_eq!(
        code(connect.set_identity(&Params::new().with("shoe-size", 42_i32)).await),
        ErrorNumber::InvalidArg
    );
}

/// What libvirt's own drivers refuse is refused: it is nobody's.
#[tokio::test]
async fn what_no_driver_of_libvirts_does_is_refused() {
    use libvirt_client::protocol::qemu;
    let connect = fresh().await;
    let args = qemu::DomainAttachArgs { pid_value: 1, flags: NoFlags::empty() };
    assert_eq!(code(connect.call::<qemu::DomainAttach>(&args).await), ErrorNumber::NoSupport);
}

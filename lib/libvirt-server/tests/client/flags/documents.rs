//! Definitions that are compared with their schema on demand, and what else is asked of the host.

use super::*;
use libvirt_client::CapabilitiesOf;
use libvirt_client::protocol::enums::CpuCompareResult;
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    ConnectBaselineCpuFlags as Baseline, ConnectCompareCpuFlags as Compare,
    ConnectGetDomainCapabilitiesFlags, DomainDefineFlags, InterfaceDefineFlags, NetworkCreateFlags,
    NetworkDefineFlags, NetworkPortCreateFlags, NodeAllocPagesFlags, NodeDeviceCreateXmlFlags,
    NodeDeviceDefineXmlFlags, NodeDeviceUpdateFlags, NodeDeviceXmlFlags, NwFilterBindingCreateFlags,
    NwFilterDefineFlags, SecretDefineFlags, StoragePoolDefineFlags, StorageVolCreateFlags,
};
use libvirt_client::{Error, Filter, Item};

/// Puts an element that no schema knows into a document.
fn strange(xml: &str) -> String {
    let at = xml.rfind("</").unwrap();
    format!("{}<strange/>{}", &xml[..at], &xml[at..])
}

/// The document is taken without the flag and, if it is valid, with it.
async fn valid<T>(
    xml: &str,
    with: impl AsyncFn(&Connect, &str) -> Result<T, Error>,
    without: impl AsyncFn(&Connect, &str) -> Result<T, Error>,
) {
    let connect = fresh().await;
    let error = with(&connect, &strange(xml)).await.map(drop).unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    without(&connect, &strange(xml)).await.map(drop).unwrap();
    let connect = fresh().await;
    with(&connect, xml).await.map(drop).unwrap();
}

/// Names a method of the connection and its flag.
macro_rules! valid {
    ($xml:expr, $method:ident, $flags:ident::$flag:ident) => {
        valid(
            $xml,
            async |connect, xml| connect.$method(xml, $flags::$flag).await,
            async |connect, xml| connect.$method(xml, $flags::empty()).await,
        )
        .await
    };
}

const NETWORK: &str = "<network><name>n</name></network>";
const MEDIATED: &str = "<device><parent>pci_0000_00_02_0</parent><capability type='mdev'><type id='test-type'/></capability></device>";
const FILTER: &str =
    "<filter name='f' chain='root'><rule action='drop' direction='in'><all/></rule></filter>";
const BINDING: &str = "<filterbinding><owner><name>o</name></owner><portdev name='tap0'/><filterref filter='f'/></filterbinding>";
const PORT: &str = "<networkport><uuid>11111111-2222-3333-4444-555555555555</uuid><owner><name>o</name>\
                    <uuid>21111111-2222-3333-4444-555555555555</uuid></owner></networkport>";
const VOLUME: &str = "<volume><name>copy</name><capacity>1048576</capacity></volume>";

#[tokio::test]
async fn definitions_are_compared_with_their_schema_on_demand() {
    valid!(&xml("v", ""), define_domain, DomainDefineFlags::VALIDATE);
    valid!(NETWORK, define_network, NetworkDefineFlags::VALIDATE);
    valid!(NETWORK, create_network, NetworkCreateFlags::VALIDATE);
    valid!(
        "<interface type='ethernet' name='e'><start mode='none'/></interface>",
        define_interface,
        InterfaceDefineFlags::VALIDATE
    );
    valid!("<secret><description>d</description></secret>", define_secret, SecretDefineFlags::VALIDATE);
    valid!(
        "<pool type='dir'><name>p</name><target><path>/p</path></target></pool>",
        define_storage_pool,
        StoragePoolDefineFlags::VALIDATE
    );
    valid!(FILTER, define_nwfilter, NwFilterDefineFlags::NWFILTER_DEFINE_VALIDATE);
    valid!(MEDIATED, define_node_device, NodeDeviceDefineXmlFlags::VALIDATE);
    valid!(MEDIATED, create_node_device, NodeDeviceCreateXmlFlags::VALIDATE);
    let bind = async |connect: &Connect, xml: &str, flags| {
        connect.define_nwfilter(FILTER, NwFilterDefineFlags::empty()).await?;
        connect.create_nwfilter_binding(xml, flags).await
    };
    valid(
        BINDING,
        async |connect, xml| {
            bind(connect, xml, NwFilterBindingCreateFlags::NWFILTER_BINDING_CREATE_VALIDATE).await
        },
        async |connect, xml| bind(connect, xml, NwFilterBindingCreateFlags::empty()).await,
    )
    .await;
    let port = async |connect: &Connect, xml: &str, flags| {
        connect.network_by_name("default").await?.create_port(xml, flags).await
    };
    valid(
        PORT,
        async |connect, xml| port(connect, xml, NetworkPortCreateFlags::VALIDATE).await,
        async |connect, xml| port(connect, xml, NetworkPortCreateFlags::empty()).await,
    )
    .await;
    let volume = async |connect: &Connect, xml: &str, flags| {
        connect.storage_pool_by_name("default-pool").await?.create_volume(xml, flags).await
    };
    valid(
        VOLUME,
        async |connect, xml| volume(connect, xml, StorageVolCreateFlags::VALIDATE).await,
        async |connect, xml| volume(connect, xml, StorageVolCreateFlags::empty()).await,
    )
    .await;
    let clone = async |connect: &Connect, xml: &str, flags| {
        let pool = connect.storage_pool_by_name("default-pool").await?;
        let origin = match pool.volume_by_name("origin").await {
            Ok(origin) => origin,
            Err(_) => {
                pool.create_volume(&VOLUME.replace("copy", "origin"), StorageVolCreateFlags::empty()).await?
            }
        };
        pool.clone_volume(xml, &origin, flags).await
    };
    valid(
        VOLUME,
        async |connect, xml| clone(connect, xml, StorageVolCreateFlags::VALIDATE).await,
        async |connect, xml| clone(connect, xml, StorageVolCreateFlags::empty()).await,
    )
    .await;
}

#[tokio::test]
async fn what_a_port_had_is_taken_over() {
    let connect = fresh().await;
    let network = connect.network_by_name("default").await.unwrap();
    network.create_port(PORT, NetworkPortCreateFlags::empty()).await.unwrap();
    let taken = network.create_port(PORT, NetworkPortCreateFlags::empty()).await.unwrap_err();
    assert_eq!(taken.refusal().unwrap().code, ErrorNumber::NetworkPortExist);
    network.create_port(PORT, NetworkPortCreateFlags::RECLAIM).await.unwrap();
    assert_eq!(network.ports().await.unwrap().len(), 1);
}

#[tokio::test]
async fn processors_are_compared_and_have_something_in_common() {
    let connect = fresh().await;
    let cpu = |model: &str, more: &str| format!("<cpu><model>{model}</model>{more}</cpu>");
    let own = cpu("Westmere", "<feature name='invtsc'/>");
    let (less, more) = (cpu("Penryn", ""), cpu("SandyBridge", ""));
    let of = CapabilitiesOf::default();
    for (xml, expected) in [
        (&own, CpuCompareResult::Identical),
        (&less, CpuCompareResult::Superset),
        (&more, CpuCompareResult::Incompatible),
    ] {
        assert_eq!(connect.compare_cpu(xml, Compare::empty()).await.unwrap(), expected);
        assert_eq!(connect.compare_hypervisor_cpu(of, xml, Compare::empty()).await.unwrap(), expected);
    }
    let code = |result: Result<CpuCompareResult, Error>| result.unwrap_err().refusal().unwrap().code;
    assert_eq!(
        code(connect.compare_cpu(&more, Compare::FAIL_INCOMPATIBLE).await),
        ErrorNumber::CpuIncompatible
    );
    assert_eq!(
        code(connect.compare_hypervisor_cpu(of, &more, Compare::FAIL_INCOMPATIBLE).await),
        ErrorNumber::CpuIncompatible
    );
    let wrong = strange(&less);
    connect.compare_cpu(&wrong, Compare::empty()).await.unwrap();
    assert_eq!(code(connect.compare_cpu(&wrong, Compare::VALIDATE_XML).await), ErrorNumber::XmlInvalidSchema);
    assert_eq!(
        code(connect.compare_hypervisor_cpu(of, &wrong, Compare::VALIDATE_XML).await),
        ErrorNumber::XmlInvalidSchema
    );
    for flags in [Compare::FAIL_INCOMPATIBLE, Compare::VALIDATE_XML] {
        assert_eq!(connect.compare_cpu(&less, flags).await.unwrap(), CpuCompareResult::Superset);
        assert_eq!(
            connect.compare_hypervisor_cpu(of, &less, flags).await.unwrap(),
            CpuCompareResult::Superset
        );
    }
    for call in 0..2 {
        let common = async |cpus: &[&str], flags| match call {
            0 => connect.baseline_cpu(cpus, flags).await.unwrap(),
            _ => connect.baseline_hypervisor_cpu(of, cpus, flags).await.unwrap(),
        };
        let short = common(&[&own, &less], Baseline::empty()).await;
        assert!(short.contains("Penryn") && !short.contains("feature"), "{short}");
        assert!(common(&[&own, &less], Baseline::EXPAND_FEATURES).await.contains("name='ssse3'"));
        assert!(common(&[&own], Baseline::empty()).await.contains("invtsc"));
        assert!(!common(&[&own], Baseline::MIGRATABLE).await.contains("invtsc"));
    }
    let without = ConnectGetDomainCapabilitiesFlags::DISABLE_DEPRECATED_FEATURES;
    let disabled = "policy='disable' name='svm'";
    assert!(!connect.domain_capabilities(of, Default::default()).await.unwrap().contains(disabled));
    assert!(connect.domain_capabilities(of, without).await.unwrap().contains(disabled));
}

#[tokio::test]
async fn pages_are_added_or_set() {
    let connect = fresh().await;
    let free = async || connect.free_pages(&[2048], 0, 2).await.unwrap();
    assert_eq!(free().await, [0, 0]);
    for _ in 0..2 {
        connect.allocate_pages(&[2048], &[3], 0, 1, NodeAllocPagesFlags::ADD).await.unwrap();
    }
    assert_eq!(free().await, [6, 0]);
    connect.allocate_pages(&[2048], &[4], 0, 2, NodeAllocPagesFlags::SET).await.unwrap();
    assert_eq!(free().await, [4, 4]);
    connect.allocate_pages(&[7], &[4], 0, 1, NodeAllocPagesFlags::SET).await.unwrap_err();
}

#[tokio::test]
async fn a_device_is_changed_as_it_is_or_as_it_will_be_and_events_tell() {
    use NodeDeviceUpdateFlags as F;
    let uuid = "<uuid>31111111-2222-3333-4444-555555555555</uuid>";
    let with = |attribute: &str| {
        let type_and_more = format!("<type id='test-type'/>{uuid}<attr name='a' value='{attribute}'/>");
        MEDIATED.replace("<type id='test-type'/>", &type_and_more)
    };
    for flag in [F::LIVE, F::CONFIG] {
        let connect = fresh().await;
        let device = connect.define_node_device(&with("old"), Default::default()).await.unwrap();
        device.start().await.unwrap();
        let filter = Filter::node_device(Kind::NodeDeviceUpdate, &device);
        let mut events = connect.subscribe_to([filter]).await.unwrap();
        device.update(&with("new"), flag).await.unwrap();
        let Item::Event(Event::NodeDeviceUpdate(event)) = events.next().await.unwrap() else {
            panic!("another event")
        };
        assert_eq!(event.dev.name.to_string(), device.name());
        let (now, then) = (NodeDeviceXmlFlags::empty(), NodeDeviceXmlFlags::INACTIVE);
        assert_eq!(device.xml(now).await.unwrap().contains("'new'"), flag == F::LIVE);
        assert_eq!(device.xml(then).await.unwrap().contains("'new'"), flag == F::CONFIG);
    }
}

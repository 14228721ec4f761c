//! Networks of the host's own: bridges, ports, leases, filters. Only root's daemon has them.

use crate::agent;
use crate::root::Root;
use crate::support::present;
use libvirt_client::protocol::enums::{ErrorNumber, NetworkUpdateCommand, NetworkUpdateSection};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainGetHostnameFlags, NetworkPortCreateFlags, NetworkUpdateFlags, NetworkXmlFlags,
    NwFilterBindingCreateFlags, NwFilterDefineFlags,
};
use libvirt_client::protocol::remote::{
    ConnectListNwfilters, ConnectListNwfiltersArgs, ConnectNumOfNwfilters, NwFilterDefineXml,
    NwFilterDefineXmlArgs,
};
use libvirt_client::protocol::xdr::Uuid;
use libvirt_client::{Autostart, Connect, Filter, Item, Network, NetworkUpdate, Params};
use std::time::Duration;

const NETWORK: &str = "<network><name>n</name><bridge name='vn0' stp='off'/>\
    <ip address='192.168.77.1' netmask='255.255.255.0'>\
    <dhcp><range start='192.168.77.10' end='192.168.77.20'/></dhcp></ip></network>";

const GUEST: &str = "<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory>\
    <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
    <emulator>/usr/bin/qemu-system-x86_64</emulator><interface type='network'><source network='n'/>\
    <mac address='52:54:00:00:00:07'/><model type='virtio'/><filterref filter='no-ssh'/></interface>\
    </devices></domain>";

const FILTER: &str = "<filterref filter='no-ssh'/>";

/// Guests run as root, without anything of the host's: no user of libvirt's own, no control groups.
pub(crate) const QEMU: &str = "cp /etc/passwd /etc/group /run; \
    id libvirt-qemu >/dev/null 2>&1 || { echo 'libvirt-qemu:x:64055:64055::/:/bin/false' >> /run/passwd; \
    echo 'libvirt-qemu:x:64055:' >> /run/group; }; \
    getent group kvm >/dev/null || echo 'kvm:x:64056:' >> /run/group; \
    mount --bind /run/passwd /etc/passwd; mount --bind /run/group /etc/group; \
    printf 'user = \"root\"\\ngroup = \"root\"\\nsecurity_driver = \"none\"\\nnamespaces = []\\n\
    cgroup_controllers = [ ]\\nstdio_handler = \"file\"\\n' > /etc/libvirt/qemu.conf";

fn start(test: &str) -> Option<Root> {
    let programs = [
        ("/usr/sbin/dnsmasq", "dnsmasq-base"),
        ("/usr/sbin/iptables", "iptables"),
        ("/usr/sbin/ebtables", "ebtables"),
        ("/bin/busybox", "busybox-static"),
        ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ];
    if !present(test, &programs) {
        return None;
    }
    Root::start(test, &["network", "nwfilter", "qemu"], QEMU)
}

/// The first process of a Linux guest that gives its card another address.
const ANOTHER_ADDRESS: &str = "#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
while read -r module; do insmod \"/lib/modules/$module\"; done </lib/modules/order
while [ ! -e /sys/class/net/eth0 ]; do sleep 0.1; done
ip link set eth0 up
ip link set eth0 address 52:54:00:00:00:99
ip link show eth0
while :; do sleep 1000; done
";

async fn network(connect: &Connect) -> Network {
    let network = connect.define_network(NETWORK, Default::default()).await.unwrap();
    network.start().await.unwrap();
    network
}

#[tokio::test]
async fn a_network_has_a_bridge_and_gives_leases() {
    let Some(root) = start("a_network_has_a_bridge_and_gives_leases") else { return };
    let connect = root.open("qemu").await;
    let network = network(&connect).await;
    assert_eq!(network.bridge_name().await.unwrap(), "vn0");
    assert!(root.inside("ip -brief address show vn0").contains("192.168.77.1/24"));
    network.set_autostart(Autostart::On).await.unwrap();
    assert!(root.inside("ls /etc/libvirt/qemu/networks/autostart").contains("n.xml"));
    assert!(network.dhcp_leases(None).await.unwrap().is_empty());
    // A guest's card on the bridge, in a place of its own, and its client.
    root.inside(
        "ip netns add guest; ip link add v0 type veth peer name v1 netns guest; \
         ip -netns guest link set v1 address 52:54:00:00:00:07; ip -netns guest link set v1 up; \
         ip link set v0 master vn0 up; \
         ip netns exec guest busybox udhcpc -i v1 -n -q -f -t 20 -s /bin/true -x hostname:web",
    );
    // What dnsmasq has given it tells a helper of the daemon's, in its own time.
    let told = async {
        loop {
            match network.dhcp_leases(None).await.unwrap() {
                none if none.is_empty() => tokio::time::sleep(Duration::from_millis(50)).await,
                leases => break leases,
            }
        }
    };
    let leases = tokio::time::timeout(Duration::from_secs(60), told).await.expect("no lease");
    let [lease] = &leases[..] else { panic!("{leases:?}") };
    assert_eq!((lease.interface.as_str(), lease.mac.as_deref()), ("vn0", Some("52:54:00:00:00:07")));
    assert_eq!((lease.hostname.as_deref(), lease.prefix), (Some("web"), 24));
    assert!(lease.address.starts_with("192.168.77."), "{lease:?}");
    assert_eq!(network.dhcp_leases(Some("52:54:00:00:00:07")).await.unwrap().len(), 1);
    // A guest with that card is called what its lease says.
    let guest = connect.create_domain(&GUEST.replace(FILTER, ""), Default::default()).await.unwrap();
    assert_eq!(guest.hostname(DomainGetHostnameFlags::LEASE).await.unwrap(), "web");
    guest.destroy(Default::default()).await.unwrap();
    // What it will be is another thing than what it is.
    let update = NetworkUpdate {
        command: NetworkUpdateCommand::AddFirst,
        section: NetworkUpdateSection::IpDhcpHost,
        parent: -1,
        xml: "<host mac='52:54:00:00:00:09' ip='192.168.77.9'/>",
        flags: NetworkUpdateFlags::CONFIG,
    };
    network.update(update).await.unwrap();
    assert!(!network.xml(NetworkXmlFlags::empty()).await.unwrap().contains("192.168.77.9"));
    assert!(network.xml(NetworkXmlFlags::INACTIVE).await.unwrap().contains("192.168.77.9"));
    assert!(network.dhcp_leases(Some("52:54:00:00:00:08")).await.unwrap().is_empty());
    network.destroy().await.unwrap();
    assert!(!root.inside("ip -brief link").contains("vn0"));
    network.undefine().await.unwrap();
    assert!(connect.networks(Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_network_has_ports() {
    let Some(root) = start("a_network_has_ports") else { return };
    let connect = root.open("qemu").await;
    let network = network(&connect).await;
    let uuid = Uuid(*b"port-of-a-guest!");
    let xml = format!(
        "<networkport><uuid>{uuid}</uuid><owner><name>web</name><uuid>{uuid}</uuid></owner>\
         <mac address='52:54:00:00:00:07'/></networkport>"
    );
    let strange = xml.replace("</networkport>", "<strange/></networkport>");
    let error = network.create_port(&strange, NetworkPortCreateFlags::VALIDATE).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    let made = network.create_port(&xml, NetworkPortCreateFlags::VALIDATE).await.unwrap();
    assert_eq!(made.uuid(), uuid);
    assert_eq!(network.ports().await.unwrap().iter().map(|port| port.uuid()).collect::<Vec<_>>(), [uuid]);
    let port = network.port_by_uuid(uuid).await.unwrap();
    assert_eq!(port.network().name(), "n");
    let xml = port.xml().await.unwrap();
    assert!(xml.contains("<plug type='network' bridge='vn0'/>") && xml.contains("<name>web</name>"), "{xml}");
    // A rate in kilobytes in a second.
    port.set_parameters(&Params::new().with("inbound.average", 1000_u32)).await.unwrap();
    assert_eq!(port.parameters().await.unwrap().u64("inbound.average"), Some(1000));
    assert!(port.xml().await.unwrap().contains("<inbound average='1000'/>"));
    port.delete().await.unwrap();
    // One that was there before the daemon was brings its bridge with it.
    network.create_port(&xml, NetworkPortCreateFlags::RECLAIM).await.unwrap();
    assert_eq!(network.ports().await.unwrap().len(), 1);
    network.port_by_uuid(uuid).await.unwrap().delete().await.unwrap();
    assert!(network.ports().await.unwrap().is_empty());
    assert!(network.port_by_uuid(uuid).await.unwrap_err().is_not_found());
    network.destroy().await.unwrap();
}

fn filter(uuid: Uuid, port: u32) -> String {
    format!(
        "<filter name='no-ssh'><uuid>{uuid}</uuid>\
         <rule action='drop' direction='in'><tcp dstportstart='{port}'/></rule></filter>"
    )
}

#[tokio::test]
async fn a_filter_is_bound_to_a_card() {
    let Some(root) = start("a_filter_is_bound_to_a_card") else { return };
    let connect = root.open("qemu").await;
    assert!(connect.nwfilters().await.unwrap().is_empty());
    let uuid = Uuid(*b"filter-of-a-card");
    let strange = filter(uuid, 22).replace("</filter>", "<strange/></filter>");
    let error =
        connect.define_nwfilter(&strange, NwFilterDefineFlags::NWFILTER_DEFINE_VALIDATE).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    let made = connect
        .define_nwfilter(&filter(uuid, 22), NwFilterDefineFlags::NWFILTER_DEFINE_VALIDATE)
        .await
        .unwrap();
    assert_eq!((made.name().as_str(), made.uuid()), ("no-ssh", uuid));
    let found = connect.nwfilter_by_name("no-ssh").await.unwrap();
    assert_eq!(found.uuid(), connect.nwfilter_by_uuid(uuid).await.unwrap().uuid());
    // The older calls see the same, and change it.
    assert_eq!(connect.call::<ConnectNumOfNwfilters>(&()).await.unwrap().result().unwrap().num, 1);
    let reply =
        connect.call::<ConnectListNwfilters>(&ConnectListNwfiltersArgs { maxnames: 8 }).await.unwrap();
    let names: Vec<String> = reply.result().unwrap().names.iter().map(Into::into).collect();
    assert_eq!(names, ["no-ssh"]);
    let changed = filter(uuid, 2222);
    connect.call::<NwFilterDefineXml>(&NwFilterDefineXmlArgs { xml: changed.as_str().into() }).await.unwrap();
    assert!(found.xml().await.unwrap().contains("dstportstart='2222'"));
    // Bound to a card, it is rules of the host's.
    root.inside("ip tuntap add tap7 mode tap; ip link set tap7 up");
    let binding = format!(
        "<filterbinding><owner><name>web</name><uuid>{uuid}</uuid></owner><portdev name='tap7'/>\
         <mac address='52:54:00:00:00:07'/><filterref filter='no-ssh'/></filterbinding>"
    );
    let strange = binding.replace("</filterbinding>", "<strange/></filterbinding>");
    let valid = NwFilterBindingCreateFlags::NWFILTER_BINDING_CREATE_VALIDATE;
    let error = connect.create_nwfilter_binding(&strange, valid).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    let bound = connect.create_nwfilter_binding(&binding, valid).await.unwrap();
    assert_eq!((bound.port_device().as_str(), bound.filter_name().as_str()), ("tap7", "no-ssh"));
    assert!(root.inside("iptables-save").contains("--dport 2222"));
    let all = connect.nwfilter_bindings().await.unwrap();
    assert_eq!(all.iter().map(|binding| binding.port_device()).collect::<Vec<_>>(), ["tap7"]);
    let again = connect.nwfilter_binding_by_port("tap7").await.unwrap();
    assert!(again.xml().await.unwrap().contains("<filterref filter='no-ssh'"));
    // What is bound stays.
    let error = found.undefine().await.unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
    again.delete().await.unwrap();
    assert!(!root.inside("iptables-save").contains("--dport 2222"));
    assert!(connect.nwfilter_bindings().await.unwrap().is_empty());
    found.undefine().await.unwrap();
    assert!(connect.nwfilter_by_name("no-ssh").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_guest_on_a_network_has_a_port_and_a_binding() {
    let Some(root) = start("a_guest_on_a_network_has_a_port_and_a_binding") else { return };
    let connect = root.open("qemu").await;
    let network = network(&connect).await;
    connect.define_nwfilter(&filter(Uuid(*b"filter-of-a-card"), 22), Default::default()).await.unwrap();
    let web = connect.create_domain(GUEST, Default::default()).await.unwrap();
    let ports = network.ports().await.unwrap();
    let [port] = &ports[..] else { panic!("{ports:?}") };
    assert!(port.xml().await.unwrap().contains("<name>web</name>"));
    let bindings = connect.nwfilter_bindings().await.unwrap();
    let [binding] = &bindings[..] else { panic!("{bindings:?}") };
    let tap = binding.port_device();
    assert!(root.inside("ip -brief link show master vn0").contains(&tap));
    web.destroy(Default::default()).await.unwrap();
    assert!(network.ports().await.unwrap().is_empty());
    assert!(connect.nwfilter_bindings().await.unwrap().is_empty());
    network.destroy().await.unwrap();
}

#[tokio::test]
async fn a_guest_that_changes_the_address_of_its_card_is_told() {
    let test = "a_guest_that_changes_the_address_of_its_card_is_told";
    let Some(root) = start(test) else { return };
    let Some((kernel, files)) = agent::demo(test) else { return };
    let connect = root.open("qemu").await;
    let (since, release) = (Kind::DomainNicMacChange.since(), connect.daemon_version());
    if release < since {
        println!(
            "not run: {test}: the daemon of {release} does not tell it, that of {since} is the first to"
        );
        return;
    }
    let mut initrd = agent::with_init(&files, ANOTHER_ADDRESS);
    agent::entry(&mut initrd, "TRAILER!!!", 0, &[]);
    std::fs::write(root.daemon.path("initrd"), initrd).unwrap();
    std::fs::copy(kernel, root.daemon.path("vmlinuz")).unwrap();
    let at = |name: &str| root.daemon.path(name).display().to_string();
    network(&connect).await;
    let xml = format!(
        "<domain type='qemu'><name>web</name><memory unit='MiB'>192</memory>\
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd>\
         <cmdline>console=ttyS0 quiet panic=-1</cmdline></os><features><acpi/></features><devices>\
         <emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='file'><source path='{}'/></serial>\
         <interface type='network' trustGuestRxFilters='yes'><source network='n'/>\
         <mac address='52:54:00:00:00:07'/><model type='virtio'/></interface></devices></domain>",
        at("vmlinuz"),
        at("initrd"),
        at("console")
    );
    let guest = connect.define_domain(&xml, Default::default()).await.unwrap();
    let mut events = connect.subscribe_to([Filter::domain(Kind::DomainNicMacChange, &guest)]).await.unwrap();
    let guest = guest.start(Default::default()).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(120), events.next()).await;
    let said = || String::from_utf8_lossy(&std::fs::read(root.daemon.path("console")).unwrap()).into_owned();
    let Ok(Ok(Item::Event(Event::DomainNicMacChange(change)))) = told else {
        panic!("{told:?}: {} {}", said(), root.errors())
    };
    let addresses = (change.old_mac.to_string(), change.new_mac.to_string());
    assert_eq!(addresses, ("52:54:00:00:00:07".to_owned(), "52:54:00:00:00:99".to_owned()));
    assert!(guest.xml(Default::default()).await.unwrap().contains("currentAddress='52:54:00:00:00:99'"));
    guest.destroy(Default::default()).await.unwrap();
}

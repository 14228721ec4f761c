//! Network cards.

use super::{Cases, I440FX, MICROVM};
use qemu::config::{
    Address, Backing, Forward, Nic, NicBackend, NicModel, Permission, Protocol, Sharing, Source, Stream,
    Switch, UserNetwork,
};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0xab, 0, 1];

fn user() -> NicBackend {
    NicBackend::User { forwards: Vec::new(), restrict: false }
}

pub(super) fn add(cases: &mut Cases) {
    cases.group("net");
    for (name, model) in [
        ("virtio", NicModel::Virtio),
        ("e1000e", NicModel::E1000e),
        ("e1000", NicModel::E1000),
        ("rtl8139", NicModel::Rtl8139),
        ("vmxnet3", NicModel::Vmxnet3),
    ] {
        cases.q35(name, |c| c.nics.push(Nic::new("nic", MAC, user()).model(model)));
        cases.on(I440FX, format!("{name} on i440fx"), |c| {
            c.nics.push(Nic::new("nic", MAC, user()).model(model))
        });
        let first = Nic { boot_index: Some(1), ..Nic::new("nic", MAC, user()).model(model) };
        cases.q35(format!("{name} booted from"), |c| c.nics.push(first));
    }
    cases.on(MICROVM, "virtio on microvm", |c| c.nics.push(Nic::new("nic", MAC, user())));
    for count in [2, 4, 8] {
        cases.q35(format!("{count} cards"), |c| {
            c.nics = (0..count)
                .map(|n| Nic::new(&format!("nic-{n}"), [0x52, 0x54, 0, 0xab, 0, n], user()))
                .collect();
        });
    }
    cases.q35("mtu", |c| c.nics.push(Nic { mtu: Some(9000), ..Nic::new("nic", MAC, user()) }));
    users(cases);
    sockets(cases);
    taps(cases);
}

fn users(cases: &mut Cases) {
    let forward =
        |protocol, guest_port| Forward { protocol, host: "127.0.0.1:0".parse().unwrap(), guest_port };
    for (name, forwards, restrict) in [
        ("restricted", Vec::new(), true),
        ("tcp forward", vec![forward(Protocol::Tcp, 22)], false),
        ("udp forward", vec![forward(Protocol::Udp, 53)], false),
        ("restricted with forwards", vec![forward(Protocol::Tcp, 22), forward(Protocol::Udp, 53)], true),
    ] {
        cases.q35(name, |c| c.nics.push(Nic::new("nic", MAC, NicBackend::User { forwards, restrict })));
    }
    let net = || UserNetwork { net: Some(("10.7.0.0".parse().unwrap(), 24)), ..UserNetwork::default() };
    for (name, network) in [
        ("own network", net()),
        ("own host address", UserNetwork { host: Some("10.7.0.9".parse().unwrap()), ..net() }),
        ("own name server", UserNetwork { dns: Some("10.7.0.5".parse().unwrap()), ..net() }),
        ("own leases", UserNetwork { dhcp_start: Some("10.7.0.100".parse().unwrap()), ..net() }),
        ("host name", UserNetwork { hostname: Some("web, one".into()), ..UserNetwork::default() }),
        (
            "search list",
            UserNetwork { search: vec!["a.test".into(), "b.test".into()], ..UserNetwork::default() },
        ),
        ("without IPv6", UserNetwork { ipv6: Some(Switch::Off), ..UserNetwork::default() }),
        ("with IPv6", UserNetwork { ipv6: Some(Switch::On), ..UserNetwork::default() }),
    ] {
        cases.q35(name, |c| c.nics.push(Nic::new("nic", MAC, NicBackend::UserNetwork(network))));
    }
}

fn sockets(cases: &mut Cases) {
    let own = cases.path("own, 1.sock");
    let peer = Address::Unix(cases.path("peer.sock"));
    for (name, stream) in [
        ("stream listening", Stream::Listen(Address::Unix(own.clone()))),
        ("stream connecting", Stream::Connect { to: peer.clone(), again_s: 0 }),
        ("stream connected", Stream::Connected("connected".into())),
        ("stream listening on TCP", Stream::Listen(Address::Tcp("127.0.0.1".into(), 0))),
    ] {
        cases.q35(name, |c| c.nics.push(Nic::new("nic", MAC, NicBackend::Stream(stream))));
    }
    let datagram = NicBackend::Datagram {
        local: "127.0.0.1:0".parse().unwrap(),
        remote: "127.0.0.1:9".parse().unwrap(),
    };
    cases.q35("datagram", |c| c.nics.push(Nic::new("nic", MAC, datagram)));
    let group = NicBackend::Multicast("230.0.0.1:1234".parse().unwrap());
    cases.q35("multicast", |c| c.nics.push(Nic::new("nic", MAC, group)));
    let switch = Address::Unix(cases.path("vhost-user.sock"));
    for queues in [1, 2, 4] {
        let backend = NicBackend::VhostUser(Stream::Connect { to: switch.clone(), again_s: 0 });
        cases.q35(format!("vhost-user, queues: {queues}"), |c| {
            (c.memory.backing, c.memory.sharing) = (Backing::Memfd, Sharing::Shared);
            c.nics.push(Nic { queues, ..Nic::new("nic", MAC, backend) });
        });
    }
}

fn taps(cases: &mut Cases) {
    cases.q35("tap by name", |c| {
        c.nics.push(Nic::new("nic", MAC, NicBackend::Tap { ifname: "hvgolden0".into() }))
    });
    cases.q35("tap by name, two queues", |c| {
        let tap = NicBackend::Tap { ifname: "hvgolden1".into() };
        c.nics.push(Nic { queues: 2, ..Nic::new("nic", MAC, tap) });
    });
    cases.q35("tap by descriptor", |c| {
        c.nics.push(Nic::new("nic", MAC, NicBackend::TapDescriptor("tap".into())))
    });
    let taps = |vhosts: &[&str]| NicBackend::TapDescriptors {
        taps: vec!["tap".into(), "tap-2".into()],
        vhosts: vhosts.iter().map(|key| (*key).to_owned()).collect(),
    };
    cases.q35("tap of two queues", |c| c.nics.push(Nic { queues: 2, ..Nic::new("nic", MAC, taps(&[])) }));
    cases.q35("tap of two queues with vhost", |c| {
        c.nics.push(Nic { queues: 2, ..Nic::new("nic", MAC, taps(&["vhost", "vhost-2"])) });
    });
    for (name, source, queues) in [
        ("vDPA", Source::Path("/dev/vhost-vdpa-golden".into()), 1),
        ("vDPA, two queues", Source::Path("/dev/vhost-vdpa-golden".into()), 2),
        ("vDPA by descriptor", Source::Descriptor("vdpa".into()), 1),
    ] {
        cases.q35(name, |c| {
            c.nics.push(Nic { queues, ..Nic::new("nic", MAC, NicBackend::Vdpa(source)) });
        });
    }
    for helper in [None, Some("/usr/lib/qemu/qemu-bridge-helper".into())] {
        let name = if helper.is_some() { "bridge with a helper named" } else { "bridge" };
        cases.q35(name, |c| {
            (c.sandbox.spawn, c.sandbox.elevate) = (Permission::Allow, Permission::Allow);
            c.nics.push(Nic::new("nic", MAC, NicBackend::Bridge { bridge: "hvgolden-br".into(), helper }));
        });
    }
}

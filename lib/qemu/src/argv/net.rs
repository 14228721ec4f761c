//! Network cards and their back-ends.

use super::{Line, block::socket_address};
use crate::config::{
    ConfigError, Forward, Nic, NicBackend, NicModel, Protocol, Source, Stream, Switch, UserNetwork,
};
use serde_json::{Value, json};
use std::net::SocketAddrV4;

impl Line<'_> {
    pub(super) fn nic(&mut self, nic: &Nic, place: usize) -> Result<(), ConfigError> {
        if let NicBackend::VhostUser(stream) = &nic.backend {
            self.chardev(&format!("{}-chr", nic.id), &stream.clone().into())?;
        }
        let netdev = netdev(nic, &mut |key| Ok(self.descriptor(key)?.1.to_string()))?;
        self.option("-netdev", &netdev);
        let driver = if nic.model == NicModel::Virtio {
            self.virtio("virtio-net")
        } else {
            nic.model.driver().to_owned()
        };
        self.general(place, device(nic, &driver));
        Ok(())
    }
}

/// The card without its place.
pub(crate) fn device(nic: &Nic, driver: &str) -> Value {
    let mac = nic.mac.map(|byte| format!("{byte:02x}")).join(":");
    let mut device = json!({"driver": driver, "id": nic.id, "netdev": netdev_id(nic), "mac": mac});
    if nic.queues > 1 {
        device["mq"] = json!(true);
        // One for each queue of a pair, one for changes of the configuration, one for control.
        device["vectors"] = json!(2 * nic.queues + 2);
    }
    if let Some(mtu) = nic.mtu {
        device["host_mtu"] = json!(mtu);
    }
    if let Some(index) = nic.boot_index {
        device["bootindex"] = json!(index);
    }
    device
}

/// Name of a card's back-end.
pub(crate) fn netdev_id(nic: &Nic) -> String {
    format!("{}-net", nic.id)
}

/// The back-end, as `netdev_add` takes it.
pub(crate) fn netdev(
    nic: &Nic,
    descriptor: &mut dyn FnMut(&str) -> Result<String, ConfigError>,
) -> Result<Value, ConfigError> {
    let mut netdev = match &nic.backend {
        NicBackend::User { forwards, restrict } => {
            user(&UserNetwork { forwards: forwards.clone(), restrict: *restrict, ..UserNetwork::default() })
        }
        NicBackend::UserNetwork(network) => user(network),
        NicBackend::Tap { ifname } => {
            let mut netdev = json!({"type": "tap", "ifname": ifname, "script": "no", "downscript": "no"});
            if nic.queues > 1 {
                netdev["queues"] = json!(nic.queues);
            }
            netdev
        }
        NicBackend::TapDescriptor(key) => json!({"type": "tap", "fd": descriptor(key)?}),
        NicBackend::TapDescriptors { taps, vhosts } => {
            let mut joined = |keys: &[String]| -> Result<String, ConfigError> {
                let fds: Result<Vec<String>, _> = keys.iter().map(|key| descriptor(key)).collect();
                Ok(fds?.join(":"))
            };
            let mut netdev = json!({"type": "tap", "fds": joined(taps)?});
            if !vhosts.is_empty() {
                netdev["vhost"] = json!(true);
                netdev["vhostfds"] = json!(joined(vhosts)?);
            }
            netdev
        }
        NicBackend::Bridge { bridge, helper } => {
            let mut netdev = json!({"type": "bridge", "br": bridge});
            if let Some(helper) = helper {
                netdev["helper"] = json!(super::utf8("nic.backend.helper", helper)?);
            }
            netdev
        }
        NicBackend::VhostUser(_) => {
            json!({"type": "vhost-user", "chardev": format!("{}-chr", nic.id), "queues": nic.queues})
        }
        NicBackend::Vdpa(source) => {
            let mut netdev = json!({"type": "vhost-vdpa", "queues": nic.queues});
            match source {
                Source::Descriptor(key) => netdev["vhostfd"] = json!(descriptor(key)?),
                Source::Path(path) => netdev["vhostdev"] = json!(super::utf8("nic.backend", path)?),
                _ => return Err(ConfigError::conflict(&nic.id, "a vDPA device is a path or a descriptor")),
            }
            netdev
        }
        NicBackend::Stream(stream) => match stream {
            Stream::Listen(address) => {
                json!({"type": "stream", "server": true, "addr": socket_address(address)?})
            }
            Stream::Connect { to, .. } => {
                json!({"type": "stream", "server": false, "addr": socket_address(to)?})
            }
            Stream::ListenOn(key) => {
                json!({"type": "stream", "server": true, "addr": {"type": "fd", "str": descriptor(key)?}})
            }
            Stream::Connected(key) => {
                json!({"type": "stream", "server": false, "addr": {"type": "fd", "str": descriptor(key)?}})
            }
            _ => return Err(ConfigError::conflict(&nic.id, "packets go over a socket")),
        },
        NicBackend::Datagram { local, remote } => {
            json!({"type": "dgram", "local": inet(*local), "remote": inet(*remote)})
        }
        NicBackend::Multicast(group) => json!({"type": "dgram", "remote": inet(*group)}),
    };
    netdev["id"] = json!(netdev_id(nic));
    Ok(netdev)
}

fn user(network: &UserNetwork) -> Value {
    let texts =
        |texts: Vec<String>| -> Value { texts.into_iter().map(|text| json!({"str": text})).collect() };
    let forwards = network.forwards.iter().map(forward).collect();
    let mut netdev = json!({"type": "user", "restrict": network.restrict, "hostfwd": texts(forwards)});
    if let Some((address, length)) = network.net {
        netdev["net"] = json!(format!("{address}/{length}"));
    }
    for (name, address) in [("host", network.host), ("dns", network.dns), ("dhcpstart", network.dhcp_start)] {
        if let Some(address) = address {
            netdev[name] = json!(address);
        }
    }
    if let Some(name) = &network.hostname {
        netdev["hostname"] = json!(name);
    }
    if !network.search.is_empty() {
        netdev["dnssearch"] = texts(network.search.clone());
    }
    if let Some(ipv6) = network.ipv6 {
        netdev["ipv6"] = json!(ipv6 == Switch::On);
    }
    netdev
}

fn inet(address: SocketAddrV4) -> Value {
    json!({"type": "inet", "host": address.ip(), "port": address.port().to_string()})
}

fn forward(forward: &Forward) -> String {
    let protocol = match forward.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{protocol}:{}:{}-:{}", forward.host.ip(), forward.host.port(), forward.guest_port)
}

//! Network cards.

use super::{
    block::Source,
    chardev::Stream,
    check_id,
    error::{ConfigError, range},
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Name of the device and of its back-end; see [`check_id`].
    pub id: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// What is at the other end.
    pub backend: NicBackend,
    /// The card.
    pub model: NicModel,
    /// Pairs of queues; more than one needs a back-end that has as many.
    pub queues: u16,
    /// Largest packet that virtio advises the guest of.
    pub mtu: Option<u16>,
    /// Place in the order of network boots.
    pub boot_index: Option<u16>,
    /// Number of its general place, which is that of its PCIe port on q35; `None` for the next free one, network cards before disks.
    /// [`crate::Vm::places`] tells where one is that was plugged.
    pub place: Option<u8>,
}

/// A network card's model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NicModel {
    /// virtio-net: fastest.
    #[default]
    Virtio,
    /// Intel 82574L.
    E1000e,
    /// Intel 82540EM: known to old guests.
    E1000,
    /// Realtek 8139: known to very old guests.
    Rtl8139,
    /// VMware's.
    Vmxnet3,
}

impl NicModel {
    pub(crate) fn driver(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net",
            Self::E1000e => "e1000e",
            Self::E1000 => "e1000",
            Self::Rtl8139 => "rtl8139",
            Self::Vmxnet3 => "vmxnet3",
        }
    }
}

/// The host side of a network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NicBackend {
    /// QEMU's user-mode network: no rights needed, the guest reaches out and is reached by forwarded ports.
    User {
        /// Forwarded ports.
        forwards: Vec<Forward>,
        /// Cut off everything but the forwarded ports.
        restrict: bool,
    },
    /// The same with its addresses chosen.
    UserNetwork(UserNetwork),
    /// An existing tap interface; for several queues it was made with them (`IFF_MULTI_QUEUE`).
    Tap {
        /// Its name.
        ifname: String,
    },
    /// An opened tap descriptor handed to the process under this key.
    TapDescriptor(String),
    /// Tap descriptors, one for each queue, with vhost descriptors if the kernel shall carry the packets.
    TapDescriptors {
        /// Of the tap.
        taps: Vec<String>,
        /// Of /dev/vhost-net; empty or as many.
        vhosts: Vec<String>,
    },
    /// A bridge of the host, through QEMU's set-user-id helper. The sandbox must let the process start it.
    Bridge {
        /// Name of the bridge.
        bridge: String,
        /// The helper; `None` for the one QEMU was built with.
        helper: Option<std::path::PathBuf>,
    },
    /// A switch in another process that maps the guest's memory.
    VhostUser(Stream),
    /// A network card of the host that speaks virtio itself (vDPA): its device, `/dev/vhost-vdpa-<n>`, or that opened.
    Vdpa(Source),
    /// Packets with their lengths over a connection.
    Stream(Stream),
    /// A packet in each datagram: from the local to the remote address.
    Datagram {
        /// Received on.
        local: SocketAddrV4,
        /// Sent to.
        remote: SocketAddrV4,
    },
    /// All machines that use the same group are one network.
    Multicast(SocketAddrV4),
}

/// The user-mode network in detail. `None` is QEMU's default (10.0.2.0/24 and fec0::/64).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNetwork {
    /// Forwarded ports.
    pub forwards: Vec<Forward>,
    /// Cut off everything but the forwarded ports.
    pub restrict: bool,
    /// Network and length of its prefix.
    pub net: Option<(Ipv4Addr, u8)>,
    /// The host's address in it.
    pub host: Option<Ipv4Addr>,
    /// Name server that the guest is told of.
    pub dns: Option<Ipv4Addr>,
    /// First address given out.
    pub dhcp_start: Option<Ipv4Addr>,
    /// Name that the guest is given.
    pub hostname: Option<String>,
    /// Domains that the guest searches.
    pub search: Vec<String>,
    /// Whether the guest has IPv6.
    pub ipv6: Option<super::Switch>,
}

/// A port of the host that leads to a port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Transport.
    pub protocol: Protocol,
    /// Address and port on the host.
    pub host: SocketAddrV4,
    /// Port in the guest.
    pub guest_port: u16,
}

/// Transport of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Nic {
    /// A virtio card.
    #[must_use]
    pub fn new(id: &str, mac: [u8; 6], backend: NicBackend) -> Self {
        Self {
            id: id.to_owned(),
            mac,
            backend,
            model: NicModel::Virtio,
            queues: 1,
            mtu: None,
            boot_index: None,
            place: None,
        }
    }

    /// The same with another model.
    #[must_use]
    pub fn model(mut self, model: NicModel) -> Self {
        self.model = model;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_id(&self.id)?;
        let wrong = |reason: &str| Err(ConfigError::conflict(&self.id, reason));
        if self.mac[0] & 1 != 0 {
            return wrong("a card's own address is none of a group (lowest bit of the first byte)");
        }
        range("nic.queues", self.queues, (1..=256).contains(&self.queues), "1 to 256")?;
        if let Some(mtu) = self.mtu {
            range("nic.mtu", mtu, mtu >= 68, "68 to 65535")?;
        }
        if self.model != NicModel::Virtio && (self.queues > 1 || self.mtu.is_some()) {
            return wrong("only virtio has queues and an MTU");
        }
        let has_queues = matches!(
            &self.backend,
            NicBackend::Tap { .. }
                | NicBackend::TapDescriptors { .. }
                | NicBackend::VhostUser(_)
                | NicBackend::Vdpa(_)
        );
        if self.queues > 1 && !has_queues {
            return wrong("several queues need a tap, vhost-user or vDPA");
        }
        match &self.backend {
            NicBackend::TapDescriptors { taps, vhosts } => {
                let queues = u64::from(self.queues);
                range(
                    "nic.backend.taps",
                    taps.len() as u64,
                    taps.len() as u64 == queues,
                    format!("{queues}, one per queue"),
                )?;
                let fits = vhosts.is_empty() || vhosts.len() == taps.len();
                range("nic.backend.vhosts", vhosts.len() as u64, fits, "none or as many as taps")
            }
            NicBackend::VhostUser(stream) => {
                if self.model != NicModel::Virtio {
                    return wrong("only virtio has vhost-user");
                }
                stream.check_vhost_user(&self.id)
            }
            NicBackend::Vdpa(_) if self.model != NicModel::Virtio => wrong("only virtio has vDPA"),
            NicBackend::Vdpa(Source::Path(_) | Source::Descriptor(_)) => Ok(()),
            NicBackend::Vdpa(_) => wrong("a vDPA device is a path or a descriptor"),
            NicBackend::Stream(Stream::Connect { again_s: 1.., .. }) => {
                wrong("QEMU 7.2 does not connect a network stream again: again_s is 0 here")
            }
            NicBackend::Stream(stream) => stream.check(&self.id),
            NicBackend::Multicast(group) if !group.ip().is_multicast() => {
                wrong("this is no multicast address")
            }
            NicBackend::UserNetwork(UserNetwork { net: Some((_, length)), .. }) => {
                range("nic.backend.net", *length, (8..=30).contains(length), "8 to 30 bits")
            }
            NicBackend::Tap { ifname } => range(
                "bytes of nic.backend.ifname",
                ifname.len() as u64,
                (1..=15).contains(&ifname.len()),
                "1 to 15",
            ),
            _ => Ok(()),
        }
    }
}

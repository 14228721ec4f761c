//! Ports of a node that lead to a guest.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Transport of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the node that leads to a port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublishedPort {
    /// Transport.
    pub protocol: Protocol,
    /// Where the node listens.
    pub host_address: IpAddr,
    /// The node's port; never 0.
    pub host_port: u16,
    /// The guest's port; never 0.
    pub guest_port: u16,
}

impl PublishedPort {
    /// Whether a node cannot listen for both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let meet = self.host_address == other.host_address
            || self.host_address.is_unspecified()
            || other.host_address.is_unspecified();
        (self.protocol, self.host_port) == (other.protocol, other.host_port) && meet
    }
}

/// `127.0.0.1:2222/tcp`: where the node listens.
impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = SocketAddr::new(self.host_address, self.host_port);
        write!(f, "{address}/{}", self.protocol.as_str())
    }
}

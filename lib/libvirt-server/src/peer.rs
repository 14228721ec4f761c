//! Who is at the other end of a socket.

use crate::hypervisor::{Peer, PeerProcess, Service};
use libvirt_protocol::enums::ClientTransport;
use std::net::SocketAddr;
use tokio::net::UnixStream;

/// The process behind a unix socket.
pub(crate) fn local(stream: &UnixStream, service: Service) -> Peer {
    let process = stream.peer_cred().ok().map(|found| PeerProcess {
        id: found.pid(),
        user: found.uid(),
        user_name: name("/etc/passwd", found.uid()),
        group: found.gid(),
        group_name: name("/etc/group", found.gid()),
    });
    Peer { service, process, ..Peer::default() }
}

/// A client that came over a network.
pub(crate) fn distant(address: SocketAddr, transport: ClientTransport) -> Peer {
    Peer { transport, address: Some(address.to_string()), ..Peer::default() }
}

/// The name of a number in a file whose lines are `name:password:number:...`.
fn name(file: &str, number: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

//! Devices of the project vhost-device, from the package index.

use crate::{Client, Peer, SIZE, observed};
use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use virtio::features::Features;
use virtio::post::{Inbox, Outbox};
use virtio::vsock::{self, Address, HEADER, HOST, Header, MOST, Name, NotConnected, Sockets, State};

/// Where `cargo xtask test` puts it.
pub(crate) fn program(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/bin")).join(name)
}

pub(crate) const KINDS: [Features; 2] =
    [Features::empty(), Features::EVENT_IDX.union(Features::INDIRECT_DESC)];

#[test]
fn a_source_of_entropy_of_theirs_fills_what_it_is_given() {
    let test = "a_source_of_entropy_of_theirs_fills_what_it_is_given";
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let mut command = Command::new(program("vhost-device-rng"));
    let Some(mut peer) = Peer::start(test, command.arg("--socket-path").arg(&socket)) else { return };
    // It serves several, and numbers them.
    let socket = directory.path().join("rng.sock0");
    for features in KINDS {
        observed::device("rng", "vhost-device-rng");
        let mut client = Client::new(peer.connect(&socket), "vhost-device-rng", features, 1);
        let memory = client.part(usize::from(SIZE) * 64);
        let address = memory.host_address();
        let mut inbox = Inbox::new(SIZE, 64, memory, address).unwrap();
        let mut seen = HashSet::new();
        for _ in 0..200 {
            inbox.offer(&mut client.queues[0].ring).unwrap();
            let letter = client.wait(0, |queue| inbox.next(&mut queue.ring).unwrap());
            let slice = inbox.open(&letter).unwrap();
            let mut bytes = vec![0; slice.len()];
            slice.read(&mut bytes);
            assert_eq!(bytes.len(), 64);
            assert!(seen.insert(bytes), "the same 64 bytes again");
            inbox.offer_again(letter);
        }
    }
}

/// The sockets of a machine without a machine.
struct Guest {
    client: Client,
    inbox: Inbox,
    outbox: Outbox,
    sockets: Sockets,
}

const GUEST: u64 = 33;
const WINDOW: u32 = 16 << 10;

impl Guest {
    fn new(stream: UnixStream, features: Features) -> Self {
        observed::device("vsock", "vhost-device-vsock");
        let mut client = Client::new(stream, "vhost-device-vsock", features, 2);
        let config = client.front.config(0, 8).unwrap();
        assert_eq!(vsock::guest(&config), Some(GUEST));
        let each = (HEADER + MOST) as u32;
        let mut part = || {
            let part = client.part(usize::from(SIZE) * each as usize);
            let address = part.host_address();
            (part, address)
        };
        let [(receive, first), (transmit, second)] = [part(), part()];
        Self {
            inbox: Inbox::new(SIZE, each, receive, first).unwrap(),
            outbox: Outbox::new(SIZE, each, transmit, second).unwrap(),
            client,
            sockets: Sockets::new(GUEST, WINDOW),
        }
    }

    /// Sends what is to be sent, and waits until a packet comes.
    fn turn(&mut self) {
        let Self { client, inbox, outbox, sockets } = self;
        inbox.offer(&mut client.queues[usize::from(vsock::RECEIVE)].ring).unwrap();
        let queue = &mut client.queues[usize::from(vsock::TRANSMIT)];
        while let Some((header, bytes)) = sockets.outgoing() {
            while outbox.send(&mut queue.ring, &[&header.bytes(), &bytes]).is_err() {
                queue.submit().unwrap();
                while outbox.taken(&mut queue.ring).unwrap() == 0 {
                    assert!(queue.wait(crate::TIMEOUT).unwrap(), "nothing is taken");
                }
            }
        }
        queue.submit().unwrap();
        let letter = client.wait(usize::from(vsock::RECEIVE), |queue| inbox.next(&mut queue.ring).unwrap());
        let slice = inbox.open(&letter).unwrap();
        let (mut header, mut bytes) = ([0; HEADER], vec![0; slice.len() - HEADER]);
        slice.read(&mut header);
        slice.part(HEADER, bytes.len()).unwrap().read(&mut bytes);
        inbox.offer_again(letter);
        sockets.packet(&Header::parse(&header), &bytes);
    }

    /// Everything that the other end sends until it ends.
    fn drain(&mut self, name: Name) -> Vec<u8> {
        let mut all = Vec::new();
        let mut some = [0; 5000];
        loop {
            match self.sockets.receive(name, &mut some) {
                Ok(Some(0)) | Err(NotConnected) => return all,
                Ok(Some(count)) => all.extend(&some[..count]),
                Ok(None) => self.turn(),
            }
        }
    }

    fn send(&mut self, name: Name, bytes: &[u8]) {
        let mut sent = 0;
        loop {
            sent += self.sockets.send(name, &bytes[sent..]).unwrap();
            if sent == bytes.len() {
                break;
            }
            self.turn();
        }
    }
}

fn content(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 11) as u8 ^ at as u8 ^ seed).collect()
}

#[test]
fn sockets_carry_bytes_both_ways() {
    let test = "sockets_carry_bytes_both_ways";
    let (to_host, to_guest) = (content(1, 300_000), content(2, 400_000));
    for features in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let (socket, host) = (directory.path().join("vsock.sock"), directory.path().join("host"));
        let mut command = Command::new(program("vhost-device-vsock"));
        let vm = format!("guest-cid={GUEST},socket={},uds-path={}", socket.display(), host.display());
        let Some(mut peer) = Peer::start(test, command.args(["--vm", &vm])) else { return };
        let mut guest = Guest::new(peer.connect(&socket), features);

        // From the guest: a port of the host's is a socket in the file system.
        let listener = UnixListener::bind(directory.path().join("host_7")).unwrap();
        let (expected, answer) = (to_host.clone(), to_guest.clone());
        let called = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; expected.len()];
            stream.read_exact(&mut heard).unwrap();
            assert!(heard == expected);
            stream.write_all(&answer).unwrap();
        });
        let calling = guest.sockets.connect(5000, Address { context: HOST, port: 7 }).unwrap();
        while guest.sockets.state(calling) == Some(State::Connecting) {
            guest.turn();
        }
        assert_eq!(guest.sockets.state(calling), Some(State::Open));

        // From the host. Both are there before one of them ends: vhost-device-vsock 0.3 mixes up a new connection with one that ends.
        guest.sockets.listen(80);
        let mut stream = UnixStream::connect(&host).unwrap();
        stream.set_read_timeout(Some(crate::TIMEOUT)).unwrap();
        stream.write_all(b"CONNECT 80\n").unwrap();
        let accepted = loop {
            guest.turn();
            if let Some(name) = guest.sockets.accept() {
                break name;
            }
        };

        guest.send(calling, &to_host);
        assert!(guest.drain(calling) == to_guest);
        called.join().unwrap();

        guest.send(accepted, b"hello");
        let said = to_guest.clone();
        let caller = std::thread::spawn(move || {
            let mut heard = Vec::new();
            while !heard.ends_with(b"hello") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                heard.extend(byte);
            }
            assert!(heard.starts_with(b"OK "), "{heard:?}");
            stream.write_all(&said).unwrap();
        });
        assert!(guest.drain(accepted) == to_guest);
        caller.join().unwrap();
        // Where nobody listens vhost-device-vsock says nothing at all: a refusal is tested in `virtio` itself.
    }
}

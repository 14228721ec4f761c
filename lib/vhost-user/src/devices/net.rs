//! Network devices.

mod sys;

use crate::ProtocolFeatures;
use crate::backend::{Device, Failure, Guest, Reply};
use crate::front::Request;
use crate::wire::Message as _;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use virtio::features::Features;
use virtio::net::{self, Config, HEADER, Header};

/// Most bytes of a frame; without offloads none is longer than jumbo frames are.
const MOST: usize = 64 << 10;

/// Most buffers of one frame: those of the longest are then 512 bytes long, and a turn has room for them.
const MOST_BUFFERS: usize = 128;

/// Most frames that wait in a loopback.
const MOST_WAITING: usize = 256;

/// Where frames go to, and come from.
pub trait Port {
    /// Sends a frame.
    fn send(&mut self, frame: &[u8]);
    /// The next frame, into an empty buffer; `false` if there is none.
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool;
    /// What tells that there are frames.
    fn source(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Gives every frame back. What the driver does not take is dropped when many wait, as on every link.
#[derive(Clone, Debug, Default)]
pub struct Loopback(VecDeque<Vec<u8>>);

impl Port for Loopback {
    fn send(&mut self, frame: &[u8]) {
        if self.0.len() < MOST_WAITING {
            self.0.push_back(frame.to_vec());
        }
    }
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        match self.0.pop_front() {
            Some(next) => {
                *frame = next;
                true
            }
            None => false,
        }
    }
}

/// A tap device of Linux's, without a header before its frames (`IFF_NO_PI`), and non-blocking.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// The tap of this name in this process's network, made for as long as it is open if there is none. It is up, and has an address, when
    /// somebody gives it one.
    ///
    /// # Errors
    /// That of the system: without `CAP_NET_ADMIN` only a tap that was made for this user can be taken, and by one at a time;
    /// `InvalidInput` where it is no name of an interface, 1 to 15 bytes.
    pub fn open(name: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let descriptor = open("/dev/net/tun", flags, Mode::empty())?;
        sys::take(&descriptor, name)?;
        Ok(Self(descriptor))
    }

    /// An open one.
    pub const fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl Port for Tap {
    fn send(&mut self, frame: &[u8]) {
        // A tap that is full drops frames, as every link does.
        let _ = write(&self.0, frame);
    }
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        frame.reserve(MOST);
        loop {
            match read(&self.0, spare_capacity(frame)) {
                Ok(1..) => return true,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }
    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// A network device on a port, with one pair of queues.
#[derive(Debug)]
pub struct Network<P> {
    port: P,
    config: [u8; Config::BYTES],
    mergeable: bool,
    /// Bytes of a frame's header: those of legacy drivers have no number of buffers unless several can be one frame's (section 5.1.6.1).
    header: usize,
    /// A frame that the driver had no buffer for yet; empty: none.
    waiting: Vec<u8>,
    /// What the front-end said that the guest's MTU is.
    mtu: Option<u16>,
    announced: Option<[u8; 6]>,
}

impl<P: Port> Network<P> {
    /// With this address, and a link that is up.
    pub fn new(port: P, mac: [u8; 6]) -> Self {
        let config = Config { mac, status: 1, most_pairs: 1, mtu: 1500 }.bytes();
        Self {
            port,
            config,
            mergeable: false,
            header: HEADER,
            waiting: Vec::new(),
            mtu: None,
            announced: None,
        }
    }

    /// The guest's MTU, where the front-end told it.
    pub const fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    /// The address that the front-end asked to announce last.
    pub const fn announced(&self) -> Option<[u8; 6]> {
        self.announced
    }

    /// Lets the driver have the frames that there are, as long as it has buffers.
    fn deliver(&mut self, guest: &mut Guest<'_>) {
        let [receive, _] = net::queues(0);
        if !guest.is_running(receive) {
            return;
        }
        loop {
            if self.waiting.is_empty() && !self.port.receive(&mut self.waiting) {
                self.waiting.clear();
                return;
            }
            let Some(first) = guest.take(receive) else { return };
            let mut room = first.chain().writable_bytes() as usize;
            let mut held = vec![first];
            let needed = self.header + self.waiting.len();
            while self.mergeable && room < needed && held.len() < MOST_BUFFERS {
                let Some(next) = guest.take(receive) else {
                    // Not yet enough: they stay where they are until the driver gives more.
                    for it in held.into_iter().rev() {
                        guest.untake(receive, it);
                    }
                    return;
                };
                room += next.chain().writable_bytes() as usize;
                held.push(next);
            }
            // A frame that no buffer has room for is dropped, and the buffer comes back with nothing in it.
            let fits = room >= needed;
            let header = Header { buffers: held.len() as u16, ..Header::default() }.bytes();
            let header = &header[..self.header];
            let mut left: &[u8] = if fits { &self.waiting } else { &[] };
            let mut written = Vec::with_capacity(held.len());
            for (index, it) in held.iter().enumerate() {
                let mut writer = it.chain().writer();
                let mut count = if fits && index == 0 { writer.write(header) } else { 0 };
                let here = writer.write(left);
                left = left.get(here..).unwrap_or_default();
                count += here;
                written.push(count as u32);
            }
            guest.put_together(receive, held.into_iter().zip(written));
            self.waiting.clear();
        }
    }

    fn send(&mut self, guest: &mut Guest<'_>) {
        let [_, transmit] = net::queues(0);
        let mut frame = Vec::new();
        while let Some(held) = guest.take(transmit) {
            let mut reader = held.chain().reader();
            let length = (held.chain().readable_bytes() as usize).saturating_sub(self.header);
            if reader.skip(self.header) == self.header && length <= MOST {
                frame.resize(length, 0);
                reader.read(&mut frame);
                self.port.send(&frame);
            }
            guest.put(transmit, held, 0);
        }
    }
}

impl<P: Port> Device for Network<P> {
    fn features(&self) -> Features {
        let features =
            net::Features::MAC | net::Features::STATUS | net::Features::MRG_RXBUF | net::Features::MTU;
        Features::from_bits_retain(features.bits())
    }

    fn queues(&self) -> u16 {
        2
    }

    fn protocol(&self) -> ProtocolFeatures {
        ProtocolFeatures::MTU | ProtocolFeatures::RARP
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn negotiated(&mut self, features: Features) {
        self.mergeable = features.bits() & net::Features::MRG_RXBUF.bits() != 0;
        let is_short = !self.mergeable && !features.contains(Features::VERSION_1);
        self.header = if is_short { HEADER - 2 } else { HEADER };
    }

    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let [_, transmit] = net::queues(0);
        if queue == transmit {
            self.send(guest);
        }
        // A port may give back what it was sent.
        self.deliver(guest);
    }

    fn run_disabled(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let [_, transmit] = net::queues(0);
        if queue == transmit {
            guest.each(transmit, |_| 0);
        }
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.port.source().into_iter().collect()
    }

    fn ready(&mut self, _source: usize, guest: &mut Guest<'_>) {
        self.deliver(guest);
    }

    fn reset(&mut self) {
        self.waiting.clear();
        (self.mergeable, self.mtu, self.announced) = (false, None, None);
    }

    fn request(&mut self, request: &Request, _: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        match request {
            Request::NetSetMtu(mtu @ 68..=65535) => self.mtu = Some(*mtu as u16),
            Request::NetSetMtu(other) => return Err(Failure::Value { what: "MTU", value: *other }),
            Request::SendRarp(mac) => {
                // Six bytes of the payload's eight, in its order.
                let [a, b, c, d, e, f, ..] = mac.to_ne_bytes();
                self.announced = Some([a, b, c, d, e, f]);
            }
            other => return Err(Failure::NotServed(other.facts().name)),
        }
        Ok((Reply::None, Vec::new()))
    }
}

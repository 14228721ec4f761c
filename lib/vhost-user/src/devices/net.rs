//! Network devices.
//!
//! ```text
//!   send queue 0 --> what is left to be done, if the port does not take it so --> port 0 --> what the driver does not do --> receive queue 0
//!   send queue 1 --> ...                                                          port 1 ...
//!   control queue: how many of the pairs are in use, and what is left to the driver
//! ```

mod port;
pub use port::{Loopback, Port, Tap};

use crate::ProtocolFeatures;
use crate::backend::{Device, Failure, Guest, Reply};
use crate::front::Request;
use crate::wire::Message as _;
use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use virtio::Chain;
use virtio::features::Features;
use virtio::net::{self, Command, Config, HEADER, Header};

/// Most bytes of a frame: those of the longest packet, and what comes before it.
const MOST: usize = (64 << 10) + 64;

/// Most buffers of one frame: those of the longest are then some 512 bytes long, and a turn has room for them.
const MOST_BUFFERS: usize = 129;

/// Most bytes of a command: two tables of some thousand addresses.
const MOST_COMMAND: usize = 16 << 10;

/// What drivers may leave to the device.
const TO_US: net::Features =
    net::Features::CSUM.union(net::Features::HOST_TSO4).union(net::Features::HOST_TSO6);

/// What may be left to drivers.
const TO_DRIVERS: net::Features =
    net::Features::GUEST_CSUM.union(net::Features::GUEST_TSO4).union(net::Features::GUEST_TSO6);

/// A network device with a port for each of its pairs of queues, and a control queue behind them. It filters nothing: everything that comes to a
/// port is the driver's.
///
/// With vhost-user the control queue is often the front-end's own (QEMU's, Cloud Hypervisor's), which then does not negotiate it here: the
/// pairs in use are those that are enabled.
#[derive(Debug)]
pub struct Network<P> {
    lines: Vec<Line<P>>,
    /// Its own address; configuration space has the one that the driver set.
    mac: [u8; 6],
    config: [u8; Config::BYTES],
    /// What the driver uses.
    driver: net::Features,
    /// Bytes of a frame's header: those of legacy drivers have no number of buffers unless several can be one frame's (section 5.1.6.1).
    header: usize,
    /// What is left to the driver, of what it said that it takes.
    left: net::Features,
    /// Pairs that the driver said that it uses.
    pairs: u16,
    /// What the front-end said that the guest's MTU is.
    mtu: Option<u16>,
    announced: Option<[u8; 6]>,
}

/// A port, and what the driver had no buffers for yet.
#[derive(Debug)]
struct Line<P> {
    port: P,
    waiting: VecDeque<(Header, Vec<u8>)>,
    /// What the next frame is put into.
    spare: Vec<u8>,
}

impl<P: Port> Line<P> {
    /// The next frame for a driver to which this is left; `None`: there is none.
    fn next(&mut self, left: net::Features) -> Option<(Header, Vec<u8>)> {
        loop {
            // What waited may have been left to a driver that has changed its mind since.
            let (header, frame) = if let Some(waiting) = self.waiting.pop_front() {
                waiting
            } else {
                self.spare.clear();
                let header = self.port.receive_unfinished(&mut self.spare)?;
                (header, std::mem::take(&mut self.spare))
            };
            if may_stay(&header, left) {
                return Some((header, frame));
            }
            // In front of what came after it. What nothing can be made of is no frame.
            let mut whole = VecDeque::new();
            let _ = net::finish(&header, &frame, |one| whole.push_back((Header::default(), one.to_vec())));
            whole.append(&mut self.waiting);
            self.waiting = whole;
            self.spare = frame;
        }
    }

    fn send(&mut self, header: &Header, frame: &[u8]) {
        if !self.port.send_unfinished(header, frame) {
            let _ = net::finish(header, frame, |one| self.port.send(one));
        }
    }
}

/// Whether what is left to be done of a frame is left to a driver to which this is.
fn may_stay(header: &Header, left: net::Features) -> bool {
    let needed = match header.segmentation {
        0 if header.flags & net::NEEDS_CHECKSUM == 0 => return true,
        0 => net::Features::GUEST_CSUM,
        net::SEGMENTS_TCP4 => net::Features::GUEST_CSUM | net::Features::GUEST_TSO4,
        net::SEGMENTS_TCP6 => net::Features::GUEST_CSUM | net::Features::GUEST_TSO6,
        _ => return false,
    };
    left.contains(needed)
}

impl<P: Port> Network<P> {
    /// With this address, a link that is up, and one pair of queues.
    pub fn new(port: P, mac: [u8; 6]) -> Self {
        Self::with_pairs([port], mac)
    }

    /// The same with a pair for each port, of which there is at least one and there are at most 64.
    pub fn with_pairs(ports: impl IntoIterator<Item = P>, mac: [u8; 6]) -> Self {
        let lines: Vec<_> = ports
            .into_iter()
            .take(64)
            .map(|port| Line { port, waiting: VecDeque::new(), spare: Vec::new() })
            .collect();
        let config = Config { mac, status: 1, most_pairs: lines.len() as u16, mtu: 1500 }.bytes();
        Self {
            lines,
            mac,
            config,
            driver: net::Features::empty(),
            header: HEADER,
            left: net::Features::empty(),
            pairs: 1,
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

    fn set_address(&mut self, mac: [u8; 6]) {
        self.config = Config { mac, ..Config::parse(&self.config) }.bytes();
    }

    const fn most_pairs(&self) -> u16 {
        self.lines.len() as u16
    }

    /// Where the control queue is for this driver: without several pairs it knows of one.
    const fn control_queue(&self) -> u16 {
        net::control_queue(if self.driver.contains(net::Features::MQ) { self.most_pairs() } else { 1 })
    }

    /// The pair that has the frames of a port: its own, unless the driver does not use that.
    fn pair_of(&self, port: u16, guest: &Guest<'_>) -> u16 {
        let limit = match () {
            () if !self.driver.contains(net::Features::MQ) => 1,
            () if self.driver.contains(net::Features::CTRL_VQ) => self.pairs,
            () => self.most_pairs(),
        };
        let [receive, _] = net::queues(port);
        if port < limit && guest.is_running(receive) { port } else { 0 }
    }

    /// Lets the driver have the frames that there are for a pair, as long as it has buffers.
    fn deliver(&mut self, pair: u16, guest: &mut Guest<'_>) {
        for port in 0..self.most_pairs() {
            if self.pair_of(port, guest) == pair {
                self.deliver_from(port, pair, guest);
            }
        }
    }

    fn deliver_from(&mut self, port: u16, pair: u16, guest: &mut Guest<'_>) {
        let [receive, _] = net::queues(pair);
        if !guest.is_running(receive) {
            return;
        }
        let Some(line) = self.lines.get_mut(usize::from(port)) else { return };
        let mergeable = self.driver.contains(net::Features::MRG_RXBUF);
        while let Some((header, frame)) = line.next(self.left) {
            let Some(first) = guest.take(receive) else {
                return line.waiting.push_front((header, frame));
            };
            let mut room = first.chain().writable_bytes() as usize;
            let mut held = vec![first];
            let needed = self.header + frame.len();
            while mergeable && room < needed && held.len() < MOST_BUFFERS {
                let Some(next) = guest.take(receive) else {
                    // Not yet enough: they stay where they are until the driver gives more.
                    for it in held.into_iter().rev() {
                        guest.untake(receive, it);
                    }
                    return line.waiting.push_front((header, frame));
                };
                room += next.chain().writable_bytes() as usize;
                held.push(next);
            }
            // A frame that no buffer has room for is dropped, and the buffer comes back with nothing in it.
            let fits = room >= needed;
            let header = Header { buffers: held.len() as u16, ..header }.bytes();
            let header = &header[..self.header];
            let mut left: &[u8] = if fits { &frame } else { &[] };
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
            line.spare = frame;
        }
    }

    fn send(&mut self, pair: u16, guest: &mut Guest<'_>) {
        let [_, transmit] = net::queues(pair);
        let Some(line) = self.lines.get_mut(usize::from(pair)) else { return };
        let mut frame = Vec::new();
        while let Some(held) = guest.take(transmit) {
            let mut reader = held.chain().reader();
            let length = (held.chain().readable_bytes() as usize).saturating_sub(self.header);
            let mut header = [0; HEADER];
            if reader.read(&mut header[..self.header]) == self.header && length <= MOST {
                frame.resize(length, 0);
                reader.read(&mut frame);
                line.send(&Header { buffers: 0, ..Header::parse(&header) }, &frame);
            }
            guest.put(transmit, held, 0);
        }
    }

    /// A command, and how it ended (section 5.1.6.5).
    fn control(&mut self, chain: &Chain<'_>) -> u32 {
        const DONE: u8 = 0;
        const FAILED: u8 = 1;
        let mut bytes = vec![0; (chain.readable_bytes() as usize).min(MOST_COMMAND)];
        chain.reader().read(&mut bytes);
        let is_whole = bytes.len() == chain.readable_bytes() as usize;
        let command = Command::parse(&bytes).filter(|_| is_whole);
        let is_done = command.is_some_and(|command| self.obey(&command));
        chain.writer().write(&[if is_done { DONE } else { FAILED }]) as u32
    }

    fn obey(&mut self, command: &Command) -> bool {
        let knows = |feature| self.driver.contains(feature);
        match command {
            // What is received is all that comes: filters are there to spare work, and nobody relies on them.
            Command::Promiscuous(_) | Command::AllMulticast(_) | Command::Addresses { .. } => {
                knows(net::Features::CTRL_RX)
            }
            Command::AddVlan(_) | Command::RemoveVlan(_) => knows(net::Features::CTRL_VLAN),
            Command::Address(mac) if knows(net::Features::CTRL_MAC_ADDR) => {
                self.set_address(*mac);
                true
            }
            Command::Pairs(pairs) if knows(net::Features::MQ) && (1..=self.most_pairs()).contains(pairs) => {
                self.pairs = *pairs;
                true
            }
            Command::Offloads(bits) if knows(net::Features::CTRL_GUEST_OFFLOADS) => {
                let left = net::Features::from_bits_retain(*bits);
                let may = TO_DRIVERS.intersection(self.driver).contains(left);
                if may {
                    self.left = left;
                }
                may
            }
            _ => false,
        }
    }
}

impl<P: Port> Device for Network<P> {
    fn features(&self) -> Features {
        let mut features = net::Features::MAC
            | net::Features::STATUS
            | net::Features::MRG_RXBUF
            | net::Features::MTU
            | net::Features::CTRL_VQ
            | net::Features::CTRL_RX
            | net::Features::CTRL_VLAN
            | net::Features::CTRL_MAC_ADDR
            | net::Features::CTRL_GUEST_OFFLOADS
            | TO_US
            | TO_DRIVERS;
        features.set(net::Features::MQ, self.lines.len() > 1);
        Features::from_bits_retain(features.bits())
    }

    fn queues(&self) -> u16 {
        net::control_queue(self.most_pairs()) + 1
    }

    fn protocol(&self) -> ProtocolFeatures {
        ProtocolFeatures::MTU | ProtocolFeatures::RARP
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn negotiated(&mut self, features: Features) {
        let driver = net::Features::from_bits_retain(features.bits());
        // A migration that begins or ends changes nothing here.
        if driver.intersection(TO_DRIVERS) != self.driver.intersection(TO_DRIVERS) {
            self.left = driver.intersection(TO_DRIVERS);
        }
        self.driver = driver;
        let is_short = !driver.contains(net::Features::MRG_RXBUF) && !features.contains(Features::VERSION_1);
        self.header = if is_short { HEADER - 2 } else { HEADER };
    }

    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        if self.driver.contains(net::Features::CTRL_VQ) && queue == self.control_queue() {
            guest.each(queue, |chain| self.control(chain));
            // Another pair may have the frames of a port now.
            return (0..self.most_pairs()).for_each(|pair| self.deliver(pair, guest));
        }
        let pair = queue / 2;
        if queue == net::queues(pair)[1] {
            self.send(pair, guest);
        }
        // A port may give back what it was sent.
        let to = self.pair_of(pair, guest);
        self.deliver(to, guest);
    }

    fn run_disabled(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let [_, transmit] = net::queues(queue / 2);
        if queue == transmit {
            guest.each(transmit, |_| 0);
        }
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.lines.iter().filter_map(|line| line.port.source()).collect()
    }

    fn ready(&mut self, source: usize, guest: &mut Guest<'_>) {
        let mut with = (0_u16..).zip(&self.lines).filter(|(_, line)| line.port.source().is_some());
        if let Some((port, _)) = with.nth(source) {
            let to = self.pair_of(port, guest);
            self.deliver_from(port, to, guest);
        }
    }

    fn reset(&mut self) {
        self.lines.iter_mut().for_each(|line| line.waiting.clear());
        self.set_address(self.mac);
        (self.driver, self.left) = (net::Features::empty(), net::Features::empty());
        (self.pairs, self.mtu, self.announced) = (1, None, None);
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

//! What the fuzzer feeds: each target takes bytes, and panics when something that must hold does not. Messages are those of the protocol's table,
//! whose generated code both directions go through.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use vhost_user::backend::Session;
use vhost_user::devices::{Disk, InMemory};
use vhost_user::framing::{Framing, Raw};
use vhost_user::front::Request;
use vhost_user::session::{Answering, Asking};
use vhost_user::socket::Canceller;
use vhost_user::wire::{MOST_DESCRIPTORS, Message};
use vhost_user::{ProtocolFeatures, back};
use virtio::features::Features;
use virtio::memory::{Heap, PackedMemory, Region, Regions, Shared, SplitMemory};
use virtio::ring::{Device, Driver};
use virtio::{Chain, Options, Segment, packed, split};

pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub(crate) const TARGETS: &[Target] =
    &[("codec", codec), ("back", back), ("front", front), ("device", device), ("driver", driver)];

/// Bytes of every file that comes with a message.
pub(crate) const FILE_BYTES: u64 = 1 << 16;

/// Takes the messages out of a stream in which a byte before each says how many descriptors come with it, until `done` says that it is over.
fn messages(mut bytes: &[u8], with: fn(u32, usize) -> Vec<OwnedFd>, mut done: impl FnMut(Raw) -> bool) {
    let mut framing = Framing::default();
    while let Some((count, rest)) = bytes.split_first() {
        let number = rest.first_chunk().map_or(0, |number| u32::from_ne_bytes(*number));
        let mut along = with(number, usize::from(*count) % (MOST_DESCRIPTORS + 2));
        bytes = rest;
        loop {
            let (now, later) = bytes.split_at(framing.want().min(bytes.len()));
            bytes = later;
            match framing.feed(now, std::mem::take(&mut along)) {
                Ok(Some(message)) => {
                    if done(message) {
                        return;
                    }
                    break;
                }
                Ok(None) if bytes.is_empty() => return,
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
}

fn none(_: u32, _: usize) -> Vec<OwnedFd> {
    Vec::new()
}

fn files(number: u32, count: usize) -> Vec<OwnedFd> {
    const SET_BACKEND_REQ_FD: u32 = 21;
    let file = |_| {
        if number == SET_BACKEND_REQ_FD {
            return UnixStream::pair().ok().map(|(ours, _)| ours.into());
        }
        let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).ok()?;
        ftruncate(&file, FILE_BYTES).ok()?;
        Some(file)
    };
    (0..count).filter_map(file).collect()
}

/// What is decoded is encoded as what it was.
pub(crate) fn codec(bytes: &[u8]) {
    fn comes_back<M: Message + PartialEq + Debug>(message: &Raw) {
        let (number, payload) = (message.header.request, &message.payload);
        if let Ok(request) = M::get(number, payload) {
            let mut again = Vec::new();
            request.put(&mut again);
            assert_eq!(request.number(), number);
            assert_eq!(M::get(number, &again), Ok(request), "request {number}");
        }
        if let Ok(reply) = M::get_reply(number, payload) {
            let mut again = Vec::new();
            reply.put(&mut again);
            assert_eq!(M::get_reply(number, &again), Ok(reply), "an answer to request {number}");
        }
    }
    messages(bytes, none, |message| {
        assert_eq!(message.payload.len(), message.header.size as usize);
        comes_back::<Request>(&message);
        comes_back::<back::Request>(&message);
        false
    });
}

/// A back-end's session: it answers or ends, and an answer is a message that the front-end understands.
pub(crate) fn back(bytes: &[u8]) {
    let mut disk = Disk::new(InMemory::new(8), 2);
    let Ok(canceller) = Canceller::new() else { return };
    let Ok(mut session) = Session::new(&mut disk, canceller) else { return };
    messages(bytes, files, |message| {
        let number = message.header.request;
        match session.handle(message) {
            Ok(Some((answer, descriptors))) => {
                let mut framing = Framing::default();
                let (header, payload) = answer.split_at(framing.want());
                assert!(descriptors.len() <= MOST_DESCRIPTORS);
                let whole = match framing.feed(header, descriptors) {
                    Ok(None) => framing.feed(payload, Vec::new()),
                    other => other,
                };
                let answer = whole.ok().flatten().expect("an answer is a whole message");
                assert!(answer.header.reply && answer.header.request == number);
                // An empty one says that there is no such configuration space.
                let is_known =
                    answer.payload.len() == 8 || Request::get_reply(number, &answer.payload).is_ok();
                assert!(is_known || answer.payload.is_empty(), "request {number}");
                false
            }
            Ok(None) => false,
            Err(_) => true,
        }
    });
}

/// Both ends that ask, and both that answer: whatever comes, the answers that are taken are those to what was asked, in order.
pub(crate) fn front(bytes: &[u8]) {
    let mut asking = Asking::<Request>::default();
    asking.negotiated.offered = Features::PROTOCOL_FEATURES;
    asking.negotiated.protocol = ProtocolFeatures::all();
    let mut answering = Answering::<back::Request>::default();
    messages(bytes, files, |message| {
        if !message.header.reply {
            // Asked by us where it can be, and heard on the channel.
            if let Ok(request) = Request::get(message.header.request, &message.payload) {
                let _ = asking.ask(&request, message.descriptors.len());
            }
            let _ = answering.asked(message, true);
            return false;
        }
        let waiting = asking.waiting();
        match asking.answered(message) {
            Ok(_) => assert_eq!(asking.waiting() + 1, waiting),
            Err(_) => return true,
        }
        false
    });
}

const SIZE: u16 = 8;
/// Where the data is, in the driver's addresses; the ring lies before it, where chains may name it too.
const RING: u64 = 0x1_0000;
const RING_BYTES: usize = 1024;
const ALL_BYTES: usize = 4096;

/// Memory with a ring at its beginning, of one kind or the other.
struct Setting {
    whole: Shared,
    regions: Regions,
    options: Options,
    is_packed: bool,
}

impl Setting {
    fn new(options: u8) -> Self {
        let whole = Shared::whole(Arc::new(Heap::zeroed(ALL_BYTES)));
        let mut regions = Regions::new();
        // In two pieces, so that segments may lie in both.
        for (at, length) in [(0, 2000), (2000, ALL_BYTES - 2000)] {
            let memory = whole.piece(at, length).expect("it is that long");
            regions.add(Region { address: RING + at as u64, memory }).expect("they do not overlap");
        }
        let bit = |bit: u8| options & 1 << bit != 0;
        let options = Options { event_index: bit(1), indirect: bit(2), in_order: bit(3) };
        Self { whole, regions, options, is_packed: bit(0) }
    }

    fn parts(&self) -> [Shared; 3] {
        let bytes = if self.is_packed { PackedMemory::bytes(SIZE) } else { SplitMemory::bytes(SIZE) };
        let part = |at, bytes| self.whole.piece(at, bytes).expect("it is that long");
        [part(0, bytes[0]), part(256, bytes[1]), part(512, bytes[2])]
    }

    fn split(&self) -> SplitMemory {
        let [table, driver, device] = self.parts();
        SplitMemory::new(SIZE, table, driver, device).expect("the parts are right")
    }

    fn packed(&self) -> PackedMemory {
        let [table, driver, device] = self.parts();
        PackedMemory::new(SIZE, table, driver, device).expect("the parts are right")
    }

    /// What the other side writes, wherever it wants to.
    fn scribble(&self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.whole.piece(at % ALL_BYTES, bytes.len()) {
            place.slice().write(bytes);
        }
    }
}

/// The input as steps: a byte that says what, and some that say how.
struct Steps<'b>(&'b [u8]);

impl<'b> Steps<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    fn take(&mut self, count: usize) -> &'b [u8] {
        let (now, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        now
    }
}

/// A device on a ring of which the driver writes anything.
pub(crate) fn device(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let Some(options) = steps.byte() else { return };
    let setting = Setting::new(options);
    let mut device = if setting.is_packed {
        Device::Packed(packed::Device::new(setting.packed(), setting.options))
    } else {
        Device::Split(split::Device::new(setting.split(), setting.options))
    };
    let mut chain = Chain::new();
    let mut out = Vec::new();
    while let Some(step) = steps.byte() {
        match step % 8 {
            0..=2 => {
                let Some(at) = steps.word() else { return };
                // Mostly the ring.
                let at = if step % 8 < 2 { usize::from(at) % RING_BYTES } else { at.into() };
                setting.scribble(at, steps.take(usize::from(step >> 3)));
            }
            3 | 4 => {
                let is_there = device.has_chains();
                match device.take(&&setting.regions, &mut chain) {
                    Ok(Some(taken)) => {
                        assert!(taken.places() >= 1 && taken.places() <= SIZE);
                        assert!(
                            !out.iter().any(|other: &virtio::Taken| other.id() == taken.id()),
                            "taken twice"
                        );
                        let all = chain.readable().iter().chain(chain.writable());
                        let sum: usize = all.map(|piece| piece.len()).sum();
                        assert_eq!(sum, (chain.readable_bytes() + chain.writable_bytes()) as usize);
                        if step % 8 == 4 {
                            device.untake(taken);
                        } else {
                            out.push(taken);
                        }
                    }
                    Ok(None) => assert!(!is_there, "a device that looks would look for ever"),
                    Err(_) => return,
                }
            }
            5 if !out.is_empty() => {
                let at = if setting.options.in_order { 0 } else { usize::from(step >> 3) % out.len() };
                device.put(out.remove(at), u32::from(step) << 3);
            }
            6 => {
                device.publish();
                let _ = device.must_call();
            }
            _ => {
                let _ = device.want_kicks();
                device.want_no_kicks();
            }
        }
    }
}

/// A driver on a ring of which the device writes anything: what comes back was offered, once, and is no longer than it was.
pub(crate) fn driver(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let Some(options) = steps.byte() else { return };
    let setting = Setting::new(options & !(1 << 2));
    let mut driver = if setting.is_packed {
        Driver::Packed(packed::Driver::new(setting.packed(), setting.options))
    } else {
        Driver::Split(split::Driver::new(setting.split(), setting.options))
    };
    let (mut offered, mut told) = (BTreeSet::new(), BTreeSet::new());
    while let Some(step) = steps.byte() {
        match step % 8 {
            0..=2 => {
                let Some(at) = steps.word() else { return };
                setting.scribble(usize::from(at) % RING_BYTES, steps.take(usize::from(step >> 3)));
            }
            3 | 4 => {
                let segment = Segment { address: RING + RING_BYTES as u64, length: 64 };
                let (readable, writable) = (usize::from(step >> 3 & 3), usize::from(step >> 5));
                let added = driver.add(&vec![segment; readable], &vec![segment; writable]);
                if let Ok(token) = added {
                    assert!(token.0 < SIZE && !told.contains(&token), "a name that is in use");
                    assert!(offered.insert(token), "a name that is in use");
                }
            }
            5 => {
                driver.publish();
                told.append(&mut offered);
                let _ = driver.must_kick();
            }
            6 => {
                let is_there = driver.has_used(1);
                match driver.reap() {
                    Ok(Some(done)) => {
                        assert!(told.remove(&done.token), "it was not out");
                        assert!(done.written <= 64 * 7);
                    }
                    Ok(None) => assert!(!is_there, "a driver that looks would look for ever"),
                    Err(_) => return,
                }
            }
            _ => {
                let _ = driver.want_calls(u16::from(step >> 3));
                driver.want_no_calls();
            }
        }
        assert!(driver.free() <= SIZE && driver.in_flight() <= SIZE);
    }
}

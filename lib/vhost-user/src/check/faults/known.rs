//! What a session has come to: all that was said in it, and the memory that was given.

use super::inflight;
use crate::front::Request;
use crate::payload::SingleRegion;
use crate::wire::{Message as _, PayloadError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;

/// A message as it came.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) number: u32,
    pub(super) flags: u32,
    /// Bytes that the header announces.
    pub(super) announced: u32,
    pub(super) payload: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
    /// Its header did not arrive whole.
    pub(super) header_in_pieces: bool,
    /// Its payload did not.
    pub(super) payload_in_pieces: bool,
    /// Descriptors came behind the header.
    pub(super) late: bool,
}

impl Heard {
    /// Whether it is this request.
    pub(super) fn is(&self, request: &str) -> bool {
        Request::facts_of(self.number).is_some_and(|facts| facts.name == request)
    }

    /// It asks for an acknowledgement.
    pub(super) const fn asks(&self) -> bool {
        self.flags & 1 << 3 != 0
    }

    /// The number that is its payload.
    pub(super) fn u64(&self) -> Option<u64> {
        <[u8; 8]>::try_from(self.payload.as_slice()).ok().map(u64::from_ne_bytes)
    }

    /// A word of its payload, by its place.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at * 4..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    /// The ring that it is about.
    pub(super) fn ring(&self) -> Option<u32> {
        let is_named_by_a_byte = ["SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR"];
        match is_named_by_a_byte.iter().any(|request| self.is(request)) {
            true => self.word(0).map(|word| word & 0xff),
            false => self.word(0),
        }
    }

    /// It says that it brings no descriptor.
    pub(super) fn brings_none(&self) -> bool {
        self.u64().is_some_and(|number| number & 1 << 8 != 0)
    }

    pub(super) fn request(&self) -> Result<Request, PayloadError> {
        Request::get(self.number, &self.payload)
    }
}

/// An entry of a ring's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) flags: u16,
    pub(super) next: u16,
}

/// Most messages that are remembered: more than any check says, and no more than a front-end may make of a server that runs for long.
const MOST: usize = 1024;

/// What was said before, and what came with it.
#[derive(Default)]
pub(super) struct Known {
    /// Sessions that had begun when this one did, with it.
    pub(super) session: u64,
    past: Vec<Heard>,
    regions: Vec<(SingleRegion, OwnedFd)>,
    /// `REPLY_ACK` was negotiated.
    pub(super) acknowledges: bool,
    /// Chains that were in flight of the first queue when its region came.
    pub(super) in_flight: usize,
}

impl Known {
    pub(super) fn new(session: u64) -> Self {
        Self { session, ..Self::default() }
    }

    /// It was said, and done or refused; gives the descriptors of memory that goes with it.
    pub(super) fn remember(&mut self, mut heard: Heard, is_done: bool) -> Vec<OwnedFd> {
        let mut gone = Vec::new();
        match heard.request() {
            Ok(Request::AddMemReg(region)) if is_done => {
                self.regions.extend(heard.descriptors.pop().map(|descriptor| (region, descriptor)));
            }
            Ok(Request::RemMemReg(region)) if is_done => {
                let is_it = |it: &(SingleRegion, OwnedFd)| it.0.guest_address == region.guest_address;
                if let Some(at) = self.regions.iter().position(is_it) {
                    gone.push(self.regions.remove(at).1);
                }
            }
            _ => {}
        }
        if heard.is("SET_INFLIGHT_FD") {
            let is_packed = inflight::is_packed(self);
            self.in_flight =
                heard.descriptors.first().map_or(0, |region| inflight::in_flight(region, is_packed));
        }
        // Whoever waits for the end of another would wait for ours.
        let stays = ["SET_VRING_KICK", "SET_BACKEND_REQ_FD", "SET_INFLIGHT_FD"];
        if !stays.iter().any(|request| heard.is(request)) {
            heard.descriptors.clear();
        }
        if is_done && heard.is("SET_BACKEND_REQ_FD") {
            let before = self.past.iter_mut().filter(|it| it.is("SET_BACKEND_REQ_FD"));
            before.for_each(|it| it.descriptors.clear());
        }
        if self.past.len() >= MOST {
            // What was said last of each request is what counts.
            let alike = self.past.iter().position(|it| it.number == heard.number);
            self.past.remove(alike.unwrap_or(0));
        }
        self.past.push(heard);
        gone
    }

    /// How often a request was made.
    pub(super) fn count(&self, request: &str) -> usize {
        self.all(request).count()
    }

    pub(super) fn all(&self, request: &str) -> impl DoubleEndedIterator<Item = &Heard> {
        self.past.iter().filter(move |it| it.is(request))
    }

    pub(super) fn last(&self, request: &str) -> Option<&Heard> {
        self.all(request).next_back()
    }

    /// What was said behind a request's last time: all where it was not made.
    pub(super) fn since(&self, request: &str) -> &[Heard] {
        let at = self.past.iter().rposition(|it| it.is(request)).map_or(0, |at| at + 1);
        self.past.get(at..).unwrap_or_default()
    }

    /// Numbers of all requests.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.past.iter().map(|it| it.number).collect()
    }

    /// A table of memory whose answer says where it lies here.
    pub(super) fn is_postcopy_table(&self, it: &Heard) -> bool {
        it.is("SET_MEM_TABLE") && it.word(0) != Some(0) && self.count("POSTCOPY_LISTEN") > 0
    }

    /// Memory was given.
    pub(super) fn has_memory(&self) -> bool {
        self.count("ADD_MEM_REG") + self.count("SET_MEM_TABLE") > 0
    }

    /// Protocol features that were set last.
    pub(super) fn protocol(&self) -> u64 {
        self.last("SET_PROTOCOL_FEATURES").and_then(Heard::u64).unwrap_or(0)
    }

    /// A ring was started, and not stopped since.
    pub(super) fn is_started(&self, ring: u32) -> bool {
        let starts = |it: &&Heard| it.is("SET_VRING_KICK");
        let stops = |it: &&Heard| it.is("GET_VRING_BASE") || it.is("RESET_DEVICE");
        let of = |it: &&Heard| it.is("RESET_DEVICE") || it.ring() == Some(ring);
        self.past.iter().filter(of).rfind(|it| starts(it) || stops(it)).as_ref().is_some_and(starts)
    }

    /// Entries of a ring.
    pub(super) fn size(&self, ring: u32) -> Option<u32> {
        self.all("SET_VRING_NUM").rfind(|it| it.ring() == Some(ring))?.word(1)
    }

    /// The descriptor of a ring's last kick.
    pub(super) fn kick(&self, ring: u32) -> Option<&OwnedFd> {
        self.all("SET_VRING_KICK").rfind(|it| it.ring() == Some(ring))?.descriptors.first()
    }

    /// The other end of the back-end's channel is open.
    pub(super) fn has_channel(&self) -> bool {
        let Some(channel) = self.last("SET_BACKEND_REQ_FD").and_then(|it| it.descriptors.first()) else {
            return false;
        };
        let mut all = [PollFd::new(channel, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut all, Some(&now)).is_ok_and(|count| count == 0)
    }

    /// Bytes of the front-end's memory, by its address for them.
    pub(super) fn bytes<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let of = |it: &&(SingleRegion, OwnedFd)| {
            address.checked_sub(it.0.user_address).is_some_and(|offset| offset < it.0.size)
        };
        let (region, descriptor) = self.regions.iter().find(of)?;
        let mut bytes = [0; N];
        let at = (address - region.user_address).checked_add(region.mmap_offset)?;
        (rustix::io::pread(descriptor, &mut bytes, at) == Ok(N)).then_some(bytes)
    }

    /// Where the parts of a ring are: its table, the driver's and the device's.
    fn parts(&self, ring: u32) -> Option<[u64; 3]> {
        match self.all("SET_VRING_ADDR").rfind(|it| it.ring() == Some(ring))?.request() {
            Ok(Request::SetVringAddr(it)) => Some([it.descriptors, it.available, it.used]),
            _ => None,
        }
    }

    fn half(&self, address: u64) -> Option<u16> {
        self.bytes(address).map(u16::from_le_bytes)
    }

    /// Chains that the driver of a split ring has offered.
    pub(super) fn available(&self, ring: u32) -> Option<u16> {
        self.half(self.parts(ring)?[1].checked_add(2)?)
    }

    /// The head of the first.
    pub(super) fn head(&self, ring: u32) -> Option<u16> {
        self.half(self.parts(ring)?[1].checked_add(4)?)
    }

    /// The index of its used entries.
    pub(super) fn used(&self, ring: u32) -> Option<u16> {
        self.half(self.parts(ring)?[2].checked_add(2)?)
    }

    /// An entry of its table.
    pub(super) fn entry(&self, ring: u32, at: u16) -> Option<Entry> {
        self.entry_at(self.parts(ring)?[0].checked_add(u64::from(at) * 16)?)
    }

    pub(super) fn entry_at(&self, place: u64) -> Option<Entry> {
        let bytes: [u8; 16] = self.bytes(place)?;
        let (address, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (flags, rest) = rest.split_first_chunk()?;
        Some(Entry {
            address: u64::from_le_bytes(*address),
            length: u32::from_le_bytes(*length),
            flags: u16::from_le_bytes(*flags),
            next: u16::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Deed, fault};
    use super::*;
    use crate::check::peer::{REPLY, Received};
    use crate::payload::{Inflight, VringAddress, VringState};

    fn heard(request: &Request, flags: u32, descriptors: Vec<OwnedFd>) -> Heard {
        let (number, payload) = (request.number(), crate::check::peer::payload(request));
        Heard {
            number,
            flags,
            announced: payload.len() as u32,
            payload,
            descriptors,
            header_in_pieces: false,
            payload_in_pieces: false,
            late: false,
        }
    }

    fn rule(check: &str, known: &Known, heard: &Heard) -> Option<Deed> {
        let fault = fault(check).unwrap();
        fault.rules.into_iter().find(|rule| (rule.when)(known, heard)).map(|rule| rule.deed)
    }

    #[test]
    fn what_is_hostile_is_no_reason_to_panic() {
        let mut known = Known::new(1);
        let file = || vec![OwnedFd::from(std::fs::File::open("/dev/zero").unwrap())];
        let far = SingleRegion {
            user_address: u64::MAX - 8,
            size: u64::MAX,
            mmap_offset: u64::MAX,
            ..SingleRegion::default()
        };
        // More is taken away than was given.
        known.remember(heard(&Request::RemMemReg(far), 1, Vec::new()), true);
        let add = heard(&Request::AddMemReg(far), 1, file());
        assert!(rule("negotiation.slots.enough", &known, &add).is_none());
        known.remember(add, true);
        let descriptors = u64::MAX - 4;
        let address =
            VringAddress { descriptors, available: u64::MAX, used: u64::MAX - 1, ..VringAddress::default() };
        known.remember(heard(&Request::SetVringAddr(address), 1, Vec::new()), true);
        assert_eq!(
            (known.available(0), known.head(0), known.used(0), known.entry(0, 1)),
            (None, None, None, None)
        );
        assert_eq!((known.entry(0, 0), known.entry_at(u64::MAX)), (None, None));
        for payload in [0, 3, 6, 9].map(|bytes| vec![1; bytes]) {
            for (check, asked) in [
                ("rings.base.far", Request::SetVringBase(VringState { index: 0, num: 0x1_0000 })),
                (
                    "state.inflight.get",
                    Request::GetInflightFd(Inflight { queues: 1, queue_size: 256, ..Inflight::default() }),
                ),
            ] {
                let mut it = heard(&asked, 1, Vec::new());
                let deed = rule(check, &known, &it).unwrap();
                it.payload.clone_from(&payload);
                let mut answer = Received {
                    number: it.number,
                    flags: REPLY,
                    payload: payload.clone(),
                    descriptors: Vec::new(),
                };
                match deed {
                    Deed::Change(how) => how(&mut it),
                    Deed::Spoil(how) => how(&known, &mut answer),
                    _ => panic!("{check} does something else"),
                }
                assert_eq!((it.payload.len(), answer.payload.len()), (payload.len(), payload.len()));
            }
        }
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut known = Known::new(1);
        known.remember(heard(&Request::SetVringKick(1 << 8), 1, Vec::new()), true);
        for _ in 0..MOST * 2 {
            known.remember(heard(&Request::GetFeatures, 1, Vec::new()), true);
        }
        assert_eq!(known.past.len(), MOST);
        assert!(known.is_started(0), "others do not push out what is said once");
        known.remember(heard(&Request::GetVringBase(VringState { index: 0, num: 0 }), 1, Vec::new()), true);
        assert!(!known.is_started(0));
        assert_eq!(known.past.len(), MOST);
    }

    #[test]
    fn memory_that_was_refused_is_not_there() {
        let mut known = Known::new(1);
        let region = SingleRegion { user_address: 0x1000, size: 0x1000, ..SingleRegion::default() };
        let file = || vec![OwnedFd::from(std::fs::File::open("/dev/zero").unwrap())];
        known.remember(heard(&Request::AddMemReg(region), 1, file()), false);
        assert_eq!(known.bytes::<2>(0x1000), None);
        known.remember(heard(&Request::AddMemReg(region), 1, file()), true);
        assert_eq!(known.bytes(0x1000), Some([0; 2]));
        assert!(known.remember(heard(&Request::RemMemReg(region), 1, Vec::new()), false).is_empty());
        assert_eq!(known.bytes(0x1000), Some([0; 2]));
        assert_eq!(known.remember(heard(&Request::RemMemReg(region), 1, Vec::new()), true).len(), 1);
    }
}

//! The input, as what is done one after the other.

use super::generated;
use std::os::fd::OwnedFd;
use vhost_user::back;
use vhost_user::framing::{Framing, Raw};
use vhost_user::front::Request;
use vhost_user::wire::{Header, MOST_DESCRIPTORS, Message as _, Reply};

/// Where sessions have their memory, in the front-end's addresses.
pub const USER: u64 = 0x7000_0000;

/// Bytes, from the front.
pub(crate) struct Steps<'b>(pub(crate) &'b [u8]);

impl<'b> Steps<'b> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn word(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    pub(crate) fn take(&mut self, count: usize) -> &'b [u8] {
        let (now, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        now
    }

    /// A number, mostly one that matters: small, a power of two, one less, near the largest, or an address. 0 where nothing is left.
    pub(crate) fn number(&mut self) -> u64 {
        let kind = self.byte().unwrap_or(0);
        let small = u64::from(kind & 31);
        let mut raw =
            |bytes| self.take(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        match kind >> 5 {
            0 => small,
            1 => 1 << small,
            2 => (1 << (small + 1)) - 1,
            3 => u64::MAX - small,
            4 => USER + small * 0x800,
            5 => raw(2),
            6 => raw(4),
            _ => raw(8),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.take(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// At most so many, mostly few.
    pub(crate) fn several<T>(&mut self, most: u32, one: fn(&mut Self) -> T) -> Vec<T> {
        let count = (self.number() as u32).min(most);
        // What is left decides no more of them.
        (0..count).map_while(|_| (!self.0.is_empty()).then(|| one(self))).collect()
    }
}

/// What is done next.
pub(crate) enum Step {
    Message(Raw),
    /// The back-end asks, on its channel.
    Asked(Raw),
    /// One of the kicks that were given.
    Kick(u8),
    /// The driver writes.
    Write {
        at: u16,
        bytes: Vec<u8>,
    },
    /// Rings have a turn.
    Turn,
}

/// The first byte of a message that follows as it is, and how many descriptors come with it. Below it are numbers of the table's messages:
/// those of the front-end, and behind them those of the back-end.
pub const RAW: u8 = 0x40;
/// The first byte of a kick, and which.
pub const KICK: u8 = 0x80;
/// The first byte of a write, and how many bytes; a place follows.
pub const WRITE: u8 = 0xa0;
/// The first byte of a turn, and all above it.
pub const TURN: u8 = 0xc0;

/// Requests of the front-end.
pub const FRONT: u32 = Request::FACTS.len() as u32;

/// What a message that is made from the table has besides: the second byte.
const NEEDS_REPLY: u8 = 1;
const IS_REPLY: u8 = 2;
const OTHER_DESCRIPTORS: u8 = 4;

/// Steps out of bytes. `files` makes the descriptors of a message, by its number and how many there are.
pub(crate) struct Input<'b, F> {
    steps: Steps<'b>,
    framing: Framing,
    files: F,
}

impl<'b, F: FnMut(u32, usize) -> Vec<OwnedFd>> Input<'b, F> {
    pub(crate) fn new(bytes: &'b [u8], files: F) -> Self {
        Self { steps: Steps(bytes), framing: Framing::default(), files }
    }

    /// `None`: there is nothing more, or what there is is no message.
    pub(crate) fn next(&mut self) -> Option<Step> {
        let step = self.steps.byte()?;
        match step {
            // What is no number of the table says nothing.
            0..RAW => {
                let asked = || u32::from(step).checked_sub(FRONT).filter(|number| *number > 0);
                let step = match asked() {
                    Some(number) => self.asked(number).map(Step::Asked),
                    None => self.said(step.into()).map(Step::Message),
                };
                Some(step.unwrap_or(Step::Turn))
            }
            RAW..KICK => self.raw(usize::from(step - RAW) % (MOST_DESCRIPTORS + 2)).map(Step::Message),
            KICK..WRITE => Some(Step::Kick(step - KICK)),
            WRITE..TURN => {
                let at = self.steps.word()?;
                Some(Step::Write { at, bytes: self.steps.take(usize::from(step - WRITE)).to_vec() })
            }
            TURN.. => Some(Step::Turn),
        }
    }

    /// A message as it is there, header and all.
    fn raw(&mut self, descriptors: usize) -> Option<Raw> {
        let number = self.steps.0.first_chunk().map_or(0, |number| u32::from_ne_bytes(*number));
        let mut along = (self.files)(number, descriptors);
        loop {
            let now = self.steps.take(self.framing.want());
            match self.framing.feed(now, std::mem::take(&mut along)) {
                Ok(Some(message)) => return Some(message),
                Ok(None) if self.steps.0.is_empty() => return None,
                Ok(None) => {}
                Err(_) => return None,
            }
        }
    }

    /// One of the back-end's, with fields of any value.
    fn asked(&mut self, number: u32) -> Option<Raw> {
        let facts = back::Request::facts_of(number)?;
        let flags = self.steps.byte()?;
        let mut payload = Vec::new();
        generated::asked(number, &mut self.steps)?.put(&mut payload);
        let size = payload.len() as u32;
        let header = Header { request: number, reply: false, need_reply: flags & NEEDS_REPLY != 0, size };
        Some(Raw { header, payload, descriptors: (self.files)(0, facts.descriptors.0.into()) })
    }

    /// One of the front-end's, with fields of any value, or an answer to it.
    fn said(&mut self, number: u32) -> Option<Raw> {
        let facts = Request::facts_of(number)?;
        let flags = self.steps.byte()?;
        let mut payload = Vec::new();
        let reply = flags & IS_REPLY != 0;
        if reply {
            generated::reply(number, &mut self.steps).unwrap_or(Reply::None).put(&mut payload);
        } else {
            generated::request(number, &mut self.steps)?.put(&mut payload);
        }
        let (least, most) = if reply { facts.reply_descriptors } else { facts.descriptors };
        let belong = usize::from(most.min(1).max(least));
        let count = if flags & OTHER_DESCRIPTORS == 0 { belong } else { usize::from(flags >> 4) };
        let need_reply = flags & NEEDS_REPLY != 0;
        let size = payload.len() as u32;
        // A table of memory has a descriptor for each of its regions.
        let count = if number == 5 && flags & OTHER_DESCRIPTORS == 0 {
            payload.first().map_or(0, |regions| usize::from(*regions).min(MOST_DESCRIPTORS))
        } else {
            count.min(MOST_DESCRIPTORS)
        };
        let header = Header { request: number, reply, need_reply, size };
        Some(Raw { header, payload, descriptors: (self.files)(number, count) })
    }
}

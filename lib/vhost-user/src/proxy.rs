//! Between a front-end and a back-end: what they say to each other is told, passed on whole, and made harder on purpose.
//!
//! ```text
//!   front-end <--Raw--> relay <--Raw--> back-end
//!                         |  told(Passed)          Chaos: pieces, delays, an end in the middle
//! ```
//!
//! Messages are taken apart only as far as their frame, so that what is wrong with them arrives as it was. The back-end's own channel and the
//! memory do not go through here: their descriptors do.

use crate::socket::{Canceller, Socket, SocketError};
use crate::wire::{HEADER_BYTES, MOST_PAYLOAD, Message as _};
use crate::{back, front};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long one end may take to read, and the rest of a message to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The front-end.
    FrontEnd,
    /// The back-end.
    BackEnd,
}

/// A message that went through, as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Who said it.
    pub from: From,
    /// Number of the request that it is, or answers.
    pub number: u32,
    /// Flags of the header.
    pub flags: u32,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Descriptors that came along.
    pub descriptors: usize,
}

impl Passed {
    /// Its name in the specification, where it has one.
    pub fn name(&self) -> &'static str {
        front::Request::facts_of(self.number).map_or("unknown", |facts| facts.name)
    }

    /// What it says, in the names of [`front::Request`] or [`crate::wire::Reply`]; `None` where it says nothing that is known.
    pub fn in_words(&self) -> Option<String> {
        const REPLY: u32 = 1 << 2;
        if self.flags & REPLY != 0 {
            let reply = front::Request::get_reply(self.number, &self.payload).ok()?;
            return Some(format!("{reply:?}"));
        }
        let request = front::Request::get(self.number, &self.payload).ok()?;
        Some(format!("{request:?}"))
    }
}

/// The same of the back-end's channel.
pub fn name_of_channel(number: u32) -> &'static str {
    back::Request::facts_of(number).map_or("unknown", |facts| facts.name)
}

/// How a relay makes it harder: the same seed, the same way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chaos {
    /// What the numbers come from.
    pub seed: u64,
    /// How often a message goes out in pieces, from 0 to 1.
    pub pieces: f64,
    /// How often it waits.
    pub delays: f64,
    /// The longest that it waits.
    pub delay: Duration,
    /// How often the connection ends, before a message, after it or in the middle of it.
    pub cuts: f64,
}

impl Default for Chaos {
    fn default() -> Self {
        Self { seed: 0, pieces: 0.0, delays: 0.0, delay: Duration::ZERO, cuts: 0.0 }
    }
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// One end left.
    By(From),
    /// [`Chaos::cuts`] did.
    Cut,
}

/// Passes on what each says to the other until one leaves.
///
/// # Errors
/// [`SocketError`]: `canceller` ended it, one does not read, or what came is no message.
pub fn relay(
    front: UnixStream,
    back: UnixStream,
    chaos: Chaos,
    canceller: &Canceller,
    mut told: impl FnMut(&Passed),
) -> Result<Ended, SocketError> {
    let ends = [
        (From::FrontEnd, Socket::new(front, canceller.clone())?),
        (From::BackEnd, Socket::new(back, canceller.clone())?),
    ];
    let mut numbers = Numbers(chaos.seed);
    loop {
        let mut all = [
            PollFd::new(&ends[0].1, PollFlags::IN),
            PollFd::new(&ends[1].1, PollFlags::IN),
            PollFd::new(canceller, PollFlags::IN),
        ];
        match poll(&mut all, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let ready = all.map(|it| !it.revents().is_empty());
        if ready[2] {
            return Err(SocketError::Cancelled);
        }
        for (at, is_ready) in ready[..2].iter().enumerate() {
            if !is_ready {
                continue;
            }
            let (from, end) = &ends[at];
            let Some((header, payload, descriptors)) = message(end)? else { return Ok(Ended::By(*from)) };
            let [number, flags] = [0, 4].map(|at| word(&header, at));
            let passed = Passed {
                from: *from,
                number,
                flags,
                payload: payload.clone(),
                descriptors: descriptors.len(),
            };
            told(&passed);
            let bytes = [header.as_slice(), &payload].concat();
            if !pass_on(&ends[1 - at].1, &bytes, &descriptors, chaos, &mut numbers)? {
                return Ok(Ended::Cut);
            }
        }
    }
}

type Frame = ([u8; HEADER_BYTES], Vec<u8>, Vec<OwnedFd>);

fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&header[at..at + 4]);
    u32::from_ne_bytes(word)
}

/// A whole message, with what came along; `None`: there are no more.
fn message(end: &Socket) -> Result<Option<Frame>, SocketError> {
    end.expire_after(Some(PATIENCE))?;
    let mut header = [0; HEADER_BYTES];
    let mut descriptors = Vec::new();
    match exactly(end, &mut header, &mut descriptors) {
        Err(SocketError::Closed) => return Ok(None),
        other => other?,
    }
    let size = word(&header, 8);
    if size > MOST_PAYLOAD {
        let text = format!("a message announces {size} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
    }
    let mut payload = vec![0; size as usize];
    exactly(end, &mut payload, &mut descriptors)?;
    Ok(Some((header, payload, descriptors)))
}

fn exactly(end: &Socket, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<(), SocketError> {
    let mut done = 0;
    while done < into.len() {
        let (count, came) = end.receive(&mut into[done..])?;
        descriptors.extend(came);
        done += count;
    }
    Ok(())
}

/// `false`: the connection is to end here.
fn pass_on(
    to: &Socket,
    bytes: &[u8],
    descriptors: &[OwnedFd],
    chaos: Chaos,
    numbers: &mut Numbers,
) -> Result<bool, SocketError> {
    let descriptors: Vec<_> = descriptors.iter().map(|it| it.as_fd()).collect();
    to.expire_after(Some(PATIENCE))?;
    if numbers.happens(chaos.delays) {
        pause(chaos.delay.mul_f64(numbers.fraction()))?;
    }
    let cut = numbers.happens(chaos.cuts).then(|| numbers.below(bytes.len() + 1));
    let whole = bytes.get(..cut.unwrap_or(bytes.len())).unwrap_or(bytes);
    let pieces = numbers.happens(chaos.pieces);
    let (mut left, mut along) = (whole, descriptors.as_slice());
    while !left.is_empty() {
        let count = if pieces { 1 + numbers.below(left.len()) } else { left.len() };
        let (now, later) = left.split_at(count);
        to.send(now, along)?;
        (left, along) = (later, &[]);
        if !left.is_empty() {
            // So that it arrives as a piece.
            pause(Duration::from_micros(500))?;
        }
    }
    Ok(cut.is_none())
}

/// Nothing is looked at meanwhile: this is what being slow means.
fn pause(time: Duration) -> Result<(), SocketError> {
    let time = Timespec::try_from(time).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match poll(&mut [], Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Numbers that are the same for the same seed: the generator of Knuth's MMIX, whose upper bits are good.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn fraction(&mut self) -> f64 {
        f64::from(self.next()) / (f64::from(u32::MAX) + 1.0)
    }

    fn happens(&mut self, how_often: f64) -> bool {
        how_often > 0.0 && self.fraction() < how_often
    }

    fn below(&mut self, end: usize) -> usize {
        (self.fraction() * end as f64) as usize
    }
}

//! Between a front-end and a back-end: what they say to each other is told, passed on whole, and made harder on purpose.
//!
//! ```text
//!   front-end <--Raw--> relay <--Raw--> back-end      and the back-end's own channel, once it is given
//!                         |  told(Passed)          Chaos: pieces, delays, another order, an end in the middle
//! ```
//!
//! Messages are taken apart only as far as their frame, so that what is wrong with them arrives as it was. Memory and notifications do not go
//! through here: their descriptors do.

use crate::socket::{Canceller, Socket, SocketError};
use crate::wire::{Facts, HEADER_BYTES, MOST_PAYLOAD, Message, REPLY};
use crate::{ProtocolFeatures, back, front};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use seeded::Random;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use virtio::features::Features;

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
    /// It is a message of the back-end's channel, where that asks and the front-end answers.
    pub channel: bool,
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
        self.facts().map_or("unknown", |facts| facts.name)
    }

    /// Whether it answers a request.
    pub fn is_answer(&self) -> bool {
        self.flags & REPLY != 0
    }

    /// Whether it only acknowledges, or refuses: the answer to a request that has none of its own.
    pub fn is_acknowledgement(&self) -> bool {
        self.is_answer() && self.facts().is_some_and(|facts| facts.reply.is_none())
    }

    fn facts(&self) -> Option<&'static Facts> {
        if self.channel {
            back::Request::facts_of(self.number)
        } else {
            front::Request::facts_of(self.number)
        }
    }

    /// What it says, by the names of the table's fields and of features; `None` where it says nothing that is known.
    pub fn in_words(&self) -> Option<String> {
        if self.channel { self.words::<back::Request>() } else { self.words::<front::Request>() }
    }

    fn words<M: Message + fmt::Display>(&self) -> Option<String> {
        let words = if self.is_answer() {
            M::get_reply(self.number, &self.payload).ok()?.to_string()
        } else {
            M::get(self.number, &self.payload).ok()?.to_string()
        };
        Some(self.features().unwrap_or(words))
    }

    /// The features that it tells, with the names of those that any device may have.
    fn features(&self) -> Option<String> {
        let bits = u64::from_ne_bytes(self.payload.as_slice().try_into().ok()?);
        let is = |names: [&str; 2]| names.contains(&self.name()) && !self.channel;
        let names: Vec<_> = if is(["GET_FEATURES", "SET_FEATURES"]) {
            Features::from_bits_retain(bits).iter_names().map(|(name, _)| name).collect()
        } else if is(["GET_PROTOCOL_FEATURES", "SET_PROTOCOL_FEATURES"]) {
            ProtocolFeatures::from_bits_retain(bits).iter_names().map(|(name, _)| name).collect()
        } else {
            return None;
        };
        Some(format!("{bits:#x}: {}", names.join(", ")))
    }
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
    /// How often an answer waits until the next one has gone out, if there is one soon.
    pub reorder: f64,
    /// How often the connection ends, before a message, after it or in the middle of it.
    pub cuts: f64,
}

impl Default for Chaos {
    fn default() -> Self {
        Self { seed: 0, pieces: 0.0, delays: 0.0, delay: Duration::ZERO, reorder: 0.0, cuts: 0.0 }
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

/// How long an answer is held back for the next one.
const HELD: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// An end of a connection; the one that what it says goes to is beside it.
struct End {
    from: From,
    socket: Socket,
    /// It may still say something.
    talks: bool,
}

/// Passes on what each says to the other until both have said all: who closes its side may still be answered. What `told` changes of a
/// message (its number, flags and payload, and how many of its descriptors) arrives as it then is.
///
/// # Errors
/// [`SocketError`]: `canceller` ended it, one does not read, or what came is no message.
pub fn relay(
    front: UnixStream,
    back: UnixStream,
    chaos: Chaos,
    canceller: &Canceller,
    mut told: impl FnMut(&mut Passed),
) -> Result<Ended, SocketError> {
    let end = |from, stream| {
        Ok::<_, io::Error>(End { from, socket: Socket::new(stream, canceller.clone())?, talks: true })
    };
    // The session, and behind it the back-end's channel.
    let mut ends = vec![end(From::FrontEnd, front)?, end(From::BackEnd, back)?];
    let mut numbers = Numbers(Random::new(chaos.seed));
    let mut held: Option<(Frame, Passed)> = None;
    let mut ended = None;
    loop {
        // Nothing more is heard of who has said all; that it is gone is no news again and again.
        let talking: Vec<usize> = (0..ends.len()).filter(|at| ends[*at].talks).collect();
        let mut all: Vec<_> =
            talking.iter().map(|at| PollFd::new(&ends[*at].socket, PollFlags::IN)).collect();
        all.push(PollFd::new(canceller, PollFlags::IN));
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let time = held.as_ref().map(|_| &HELD).or(ended.map(|_| &patience));
        let count = match poll(&mut all, time) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let ready: Vec<_> = all.iter().map(|it| !it.revents().is_empty()).collect();
        if ready.last() == Some(&true) {
            return Err(SocketError::Cancelled);
        }
        if count == 0 {
            let Some((frame, mut passed)) = held.take() else { return Ok(ended.unwrap_or(Ended::Cut)) };
            told(&mut passed);
            if !pass_on(&ends[0].socket, frame, &passed, chaos, &mut numbers)? {
                return Ok(Ended::Cut);
            }
            continue;
        }
        for (at, _) in talking.into_iter().zip(ready).filter(|(_, is_ready)| *is_ready) {
            let from = ends[at].from;
            let Some(mut frame) = message(&ends[at].socket)? else {
                ends[at].talks = false;
                let other = &ends[at ^ 1];
                if at > 1 {
                    ends.truncate(2);
                    break;
                }
                ended = ended.or(Some(Ended::By(from)));
                if !other.talks {
                    return Ok(ended.unwrap_or(Ended::By(from)));
                }
                // It may have left for good.
                let _ = shutdown(&other.socket, Shutdown::Write);
                continue;
            };
            let [number, flags] = [0, 4].map(|at| word(&frame.0, at));
            let mut passed = Passed {
                from,
                channel: at > 1,
                number,
                flags,
                payload: frame.1.clone(),
                descriptors: frame.2.len(),
            };
            let opens = at == 0 && number == SET_BACKEND_REQ_FD && frame.2.len() == 1;
            if opens {
                let given = std::mem::take(&mut frame.2).into_iter().map(UnixStream::from);
                let (ours, its) = UnixStream::pair()?;
                frame.2.push(its.into());
                ends.truncate(2);
                for channel in given {
                    ends.push(end(From::FrontEnd, channel)?);
                }
                ends.push(end(From::BackEnd, ours)?);
            }
            if at == 1 && held.is_none() && numbers.happens(chaos.reorder) {
                held = Some((frame, passed));
                continue;
            }
            told(&mut passed);
            if !pass_on(&ends[at ^ 1].socket, frame, &passed, chaos, &mut numbers)? {
                return Ok(Ended::Cut);
            }
            if at == 1
                && let Some((frame, mut passed)) = held.take()
            {
                told(&mut passed);
                if !pass_on(&ends[0].socket, frame, &passed, chaos, &mut numbers)? {
                    return Ok(Ended::Cut);
                }
            }
            if opens {
                // What was ready of a channel before was of another one.
                break;
            }
        }
    }
}

const SET_BACKEND_REQ_FD: u32 = 21;

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
    (.., mut descriptors): Frame,
    passed: &Passed,
    chaos: Chaos,
    numbers: &mut Numbers,
) -> Result<bool, SocketError> {
    let header = [passed.number, passed.flags, passed.payload.len() as u32].map(u32::to_ne_bytes).concat();
    let bytes = [header.as_slice(), &passed.payload].concat();
    descriptors.truncate(passed.descriptors);
    let descriptors: Vec<_> = descriptors.iter().map(|it| it.as_fd()).collect();
    to.expire_after(Some(PATIENCE))?;
    if numbers.happens(chaos.delays) {
        pause(chaos.delay.mul_f64(numbers.fraction()))?;
    }
    let cut = numbers.happens(chaos.cuts).then(|| numbers.below(bytes.len() + 1));
    let whole = bytes.get(..cut.unwrap_or(bytes.len())).unwrap_or(&bytes);
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

/// Numbers that are the same for the same seed.
struct Numbers(Random);

impl Numbers {
    fn next(&mut self) -> u32 {
        (self.0.number() >> 32) as u32
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

//! A back-end's session: whatever is said, it answers or ends; and its rings run meanwhile.

use super::FILE_BYTES;
use super::steps::{Input, Step};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite, write};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use vhost_user::ProtocolFeatures;
use vhost_user::backend::Session;
use vhost_user::devices::{Disk, InMemory};
use vhost_user::framing::{Framing, Raw};
use vhost_user::front::Request;
use vhost_user::payload::Body;
use vhost_user::socket::Canceller;
use vhost_user::wire::{MOST_DESCRIPTORS, Message as _};

/// Kicks, and ends of channels, that are kept: what comes first is enough.
const MOST: usize = 16;

/// Turns that rings have after each step: a ring that is never done has no more.
const TURNS: usize = 4;

/// What came of a session.
pub struct Ran {
    /// Messages that were answered.
    pub answers: usize,
    /// The driver's memory.
    memory: OwnedFd,
}

impl Ran {
    /// A byte of its memory.
    pub fn byte(&self, at: u64) -> u8 {
        let mut byte = [0];
        let _ = pread(&self.memory, &mut byte, at);
        byte[0]
    }
}

/// What the front-end gives, and keeps.
struct Given {
    memory: OwnedFd,
    kicks: Vec<OwnedFd>,
    channels: Vec<UnixStream>,
}

impl Given {
    /// Descriptors for a request, of the kind that belongs to it.
    fn files(&mut self, number: u32, count: usize) -> Vec<OwnedFd> {
        let name = Request::facts_of(number).map_or("", |facts| facts.name);
        (0..count).filter_map(|_| self.file(name)).collect()
    }

    fn file(&mut self, request: &str) -> Option<OwnedFd> {
        Some(match request {
            "SET_MEM_TABLE" | "ADD_MEM_REG" => self.memory.try_clone().ok()?,
            "SET_VRING_KICK" => {
                let kick = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
                if self.kicks.len() < MOST {
                    self.kicks.push(kick.try_clone().ok()?);
                }
                kick
            }
            // Full, so that writing waits.
            "SET_VRING_CALL" | "SET_VRING_ERR" | "SET_LOG_FD" => {
                let call = eventfd(0, EventfdFlags::CLOEXEC).ok()?;
                write(&call, &(u64::MAX - 1).to_ne_bytes()).ok()?;
                call
            }
            "SET_BACKEND_REQ_FD" => {
                let (ours, its) = UnixStream::pair().ok()?;
                if self.channels.len() < MOST {
                    self.channels.push(ours);
                }
                its.into()
            }
            _ => file()?,
        })
    }
}

fn file() -> Option<OwnedFd> {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).ok()?;
    ftruncate(&file, FILE_BYTES).ok()?;
    Some(file)
}

/// A session, of which nothing is to be known afterwards.
pub fn back(bytes: &[u8]) {
    session(bytes);
}

/// A session with a disk: every answer is the one that belongs to what was asked, and what has to be acknowledged is. `None`: the system has
/// no descriptors for it.
pub fn session(bytes: &[u8]) -> Option<Ran> {
    let memory = file()?;
    let mut disk = Disk::new(InMemory::new(8), 2);
    let mut session = Session::new(&mut disk, Canceller::new().ok()?).ok()?;
    let given =
        RefCell::new(Given { memory: memory.try_clone().ok()?, kicks: Vec::new(), channels: Vec::new() });
    let mut ran = Ran { answers: 0, memory };
    let mut input = Input::new(bytes, |number, count| given.borrow_mut().files(number, count));
    while let Some(step) = input.next() {
        match step {
            Step::Message(message) => match said(&mut session, message) {
                Ok(is_answered) => ran.answers += usize::from(is_answered),
                Err(()) => break,
            },
            Step::Kick(which) => {
                let given = given.borrow();
                if let Some(kick) = given.kicks.get(usize::from(which) % given.kicks.len().max(1)) {
                    let _ = write(kick, &1_u64.to_ne_bytes());
                }
            }
            Step::Write { at, bytes } => {
                let room = (FILE_BYTES as usize).saturating_sub(at.into()).min(bytes.len());
                let _ = pwrite(&ran.memory, &bytes[..room], at.into());
            }
            Step::Asked(_) | Step::Turn => {}
        }
        for _ in 0..TURNS {
            if !session.turn().ok()? {
                break;
            }
        }
    }
    Some(ran)
}

/// A message, and what must hold of its answer; `Err`: the session has ended.
fn said(session: &mut Session<'_, Disk<InMemory>>, message: Raw) -> Result<bool, ()> {
    let number = message.header.request;
    let facts = Request::facts_of(number);
    let own = facts.and_then(|facts| facts.reply);
    let acknowledges = session.negotiated().protocol.contains(ProtocolFeatures::REPLY_ACK);
    let is_acknowledged = acknowledges && message.header.need_reply && own.is_none();
    let Some((answer, descriptors)) = session.handle(message).map_err(drop)? else {
        assert!(!is_acknowledged && own.is_none(), "request {number} waits for an answer");
        return Ok(false);
    };
    assert!(descriptors.len() <= MOST_DESCRIPTORS);
    let mut framing = Framing::default();
    let (header, payload) = answer.split_at(framing.want());
    let whole = match framing.feed(header, descriptors) {
        Ok(None) => framing.feed(payload, Vec::new()),
        other => other,
    };
    let answer = whole.ok().flatten().expect("an answer is a whole message");
    assert!(answer.header.reply && !answer.header.need_reply && answer.header.request == number);
    let Some(body) = own else {
        assert!(is_acknowledged, "nobody asked for an answer to request {number}");
        assert!(answer.payload.len() == 8 && answer.descriptors.is_empty(), "request {number}");
        return Ok(true);
    };
    // An empty one says that there is no such configuration space.
    let is_refused = body == Body::Config && answer.payload.is_empty();
    assert!(is_refused || Request::get_reply(number, &answer.payload).is_ok(), "request {number}");
    let (least, most) = facts.map_or((0, 0), |facts| facts.reply_descriptors);
    let count = answer.descriptors.len();
    assert!(count >= least.into() && count <= most.into(), "request {number}: {count} descriptors");
    Ok(true)
}

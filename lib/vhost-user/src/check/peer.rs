//! A connection that sends whatever it is told to.

use super::{Outcome, Trouble, failed};
use crate::front::Request;
use crate::socket::{Canceller, Socket, SocketError};
use crate::wire::{HEADER_BYTES, Message as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Flags of a request, and of one that asks for an acknowledgement.
pub(super) const PLAIN: u32 = 1;
pub(super) const NEED_REPLY: u32 = 1 | 1 << 3;
/// Those of every answer.
pub(super) const REPLY: u32 = 1 | 1 << 2;

/// A message as it came, whatever is wrong with it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) number: u32,
    pub(super) flags: u32,
    pub(super) payload: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Received {
    /// The number that is its payload.
    pub(super) fn u64(&self) -> Option<u64> {
        <[u8; 8]>::try_from(self.payload.as_slice()).ok().map(u64::from_ne_bytes)
    }
}

/// What a back-end did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It closed the connection.
    Closed,
    /// It acknowledged that the request failed.
    Refused(u64),
    /// It acknowledged that the request succeeded.
    Accepted,
    /// It said nothing, and went on with the next message.
    Silent,
}

impl Reaction {
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Closed => "it closed the connection",
            Self::Refused(_) => "it acknowledged that the request failed",
            Self::Accepted => "it acknowledged success",
            Self::Silent => "it said nothing",
        }
    }
}

pub(super) struct Peer {
    socket: Socket,
    time: Duration,
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The bytes of a message.
pub(super) fn message(number: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    for word in [number, flags, payload.len() as u32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn payload(request: &Request) -> Vec<u8> {
    let mut payload = Vec::new();
    request.put(&mut payload);
    payload
}

impl Peer {
    pub(super) fn new(stream: UnixStream, time: Duration) -> Result<Self, Trouble> {
        Ok(Self { socket: Socket::new(stream, Canceller::new()?)?, time })
    }

    /// Sends bytes as they are; `false`: the back-end has closed the connection.
    pub(super) fn bytes(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<bool, Trouble> {
        self.socket.expire_after(Some(self.time))?;
        match self.socket.send(bytes, descriptors) {
            Ok(()) => Ok(true),
            Err(SocketError::Closed) => Ok(false),
            Err(SocketError::TimedOut) => failed("it does not read what is sent"),
            Err(other) => Err(other.into()),
        }
    }

    /// Sends a request as it should be.
    pub(super) fn send(
        &self,
        request: &Request,
        flags: u32,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<bool, Trouble> {
        self.bytes(&message(request.number(), flags, &payload(request)), descriptors)
    }

    /// The next message; `None`: the connection is closed.
    pub(super) fn receive(&self) -> Result<Option<Received>, Trouble> {
        self.socket.expire_after(Some(self.time))?;
        let mut header = [0; HEADER_BYTES];
        let Some(mut descriptors) = self.exactly(&mut header)? else { return Ok(None) };
        let [number, flags, size] = [0, 4, 8].map(|at| {
            let mut word = [0; 4];
            word.copy_from_slice(&header[at..at + 4]);
            u32::from_ne_bytes(word)
        });
        if size > 1 << 16 {
            return failed(format!("it announces an answer of {size} bytes"));
        }
        let mut payload = vec![0; size as usize];
        match self.exactly(&mut payload)? {
            Some(more) => descriptors.extend(more),
            None => return failed("it closed the connection in the middle of an answer"),
        }
        Ok(Some(Received { number, flags, payload, descriptors }))
    }

    fn exactly(&self, into: &mut [u8]) -> Result<Option<Vec<OwnedFd>>, Trouble> {
        let mut all = Vec::new();
        let mut done = 0;
        while done < into.len() {
            match self.socket.receive(&mut into[done..]) {
                Ok((count, descriptors)) => {
                    done += count;
                    all.extend(descriptors);
                }
                Err(SocketError::Closed) if done == 0 => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(all))
    }

    /// Asks, and gives the answer to it.
    pub(super) fn ask(
        &self,
        request: &Request,
        flags: u32,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Received, Trouble> {
        let facts = request.facts();
        if !self.send(request, flags, descriptors)? {
            return failed(format!("it closed the connection before {}", facts.name));
        }
        match self.receive()? {
            None => failed(format!("it closed the connection upon {}", facts.name)),
            Some(answer) if answer.number != facts.number => {
                failed(format!("it answered {} with request number {}", facts.name, answer.number))
            }
            Some(answer) if answer.flags != REPLY => failed(format!(
                "the flags of its answer to {} are {:#x} and not 0x5",
                facts.name, answer.flags
            )),
            Some(answer) => Ok(answer),
        }
    }

    /// The number that a request asks for.
    pub(super) fn number(&self, request: &Request) -> Result<u64, Trouble> {
        let answer = self.ask(request, PLAIN, &[])?;
        let name = request.facts().name;
        answer.u64().map_or_else(
            || failed(format!("its answer to {name} has {} bytes and not 8", answer.payload.len())),
            Ok,
        )
    }

    /// A request that must be acknowledged with success.
    pub(super) fn acknowledged(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Outcome {
        let name = request.facts().name;
        match self.ask(request, NEED_REPLY, descriptors)?.u64() {
            Some(0) => Ok(()),
            Some(code) => failed(format!("it acknowledged {name} with {code} and not 0")),
            None => failed(format!("its acknowledgement of {name} has not 8 bytes")),
        }
    }

    /// What it does with a message. It is asked for its features next, so that silence is known at once.
    pub(super) fn reaction(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<Reaction, Trouble> {
        let sentinel = Request::GetFeatures;
        let number = bytes.first_chunk().map_or(0, |first| u32::from_ne_bytes(*first));
        if !self.bytes(bytes, descriptors)? {
            return Ok(Reaction::Closed);
        }
        // Who has closed the connection already may have acknowledged the message before.
        self.send(&sentinel, PLAIN, &[])?;
        match self.receive()? {
            None => Ok(Reaction::Closed),
            Some(answer) if answer.number == number && number != sentinel.number() => {
                // What follows is the answer to the sentinel, or nothing.
                let code = answer.u64().unwrap_or(u64::MAX);
                self.receive()?;
                Ok(if code == 0 { Reaction::Accepted } else { Reaction::Refused(code) })
            }
            Some(_) => Ok(Reaction::Silent),
        }
    }

    /// What must not be done: it refuses, or closes the connection. Silence is enough where no acknowledgement can be asked for.
    pub(super) fn rejects(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>], can_refuse: bool) -> Outcome {
        match self.reaction(bytes, descriptors)? {
            Reaction::Closed | Reaction::Refused(_) => Ok(()),
            Reaction::Silent if !can_refuse => Ok(()),
            other => failed(other.in_words()),
        }
    }

    /// Lets the back-end read what it has: a little while in which it says nothing, unless it closes the connection.
    pub(super) fn pause(&self) -> Outcome {
        let mut all = [PollFd::new(&self.socket, PollFlags::IN)];
        let time = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        poll(&mut all, Some(&time)).map(drop).map_err(|error| Trouble::Failed(error.to_string()))
    }

    /// Ends what is sent, so that the back-end sees the end of the connection.
    pub(super) fn finish(&self) -> Outcome {
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write)
            .map_err(|error| Trouble::Failed(error.to_string()))
    }
}

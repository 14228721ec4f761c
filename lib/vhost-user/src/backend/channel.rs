//! The channel on which the back-end asks.
//!
//! Nothing waits here: what the front-end has no room for stays until it reads on, and its answers come when they come. A front-end that
//! stands still holds up nobody, and misses nothing.

use crate::back::Request;
use crate::framing::Framing;
use crate::session::{Answer, Asking, Negotiated, NotSent, Violation};
use crate::socket::{Canceller, Socket, SocketError};
use rustix::event::epoll;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use thiserror::Error;

/// Most messages that wait for the front-end to read, and most that wait for its answer. Calls of a ring wait once, so that only a device that
/// asks much comes here.
const MOST: usize = 1024;

/// Why a request was not sent to the front-end.
#[derive(Debug, Error)]
pub(super) enum Untold {
    #[error(transparent)]
    NotSent(#[from] NotSent),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("too much waits for the front-end to read or to answer it")]
    Full,
}

/// A message on its way.
struct Waiting {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    sent: usize,
}

/// What SET_BACKEND_REQ_FD gave.
pub(super) struct Channel {
    socket: Socket,
    pub(super) asking: Asking<Request>,
    framing: Framing,
    waiting: VecDeque<Waiting>,
    /// Requests that were asked and not answered, oldest first.
    asked: VecDeque<Request>,
    /// It broke: nothing is said any more.
    broken: bool,
    /// It is to be told when there is room.
    waits: bool,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    pub(super) fn new(descriptor: OwnedFd, negotiated: Negotiated, canceller: Canceller) -> io::Result<Self> {
        let mut asking = Asking::default();
        asking.negotiated = negotiated;
        let socket = Socket::new(UnixStream::from(descriptor), canceller)?;
        Ok(Self {
            socket,
            asking,
            framing: Framing::default(),
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            broken: false,
            waits: false,
        })
    }

    /// What there is to hear of it, if that is another thing than before.
    pub(super) fn wants(&mut self) -> Option<epoll::EventFlags> {
        let before = std::mem::replace(&mut self.waits, !self.waiting.is_empty());
        let out = if self.waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        (before != self.waits).then_some(epoll::EventFlags::IN | out)
    }

    /// Sends a request for which no answer is awaited. One that waits already says the same.
    pub(super) fn tell(&mut self, request: &Request) -> Result<(), Untold> {
        let bytes = self.asking.tell(request, 0)?;
        let is_there = |it: &Waiting| it.sent == 0 && it.descriptors.is_empty() && it.bytes == bytes;
        if self.waiting.iter().any(is_there) {
            return Ok(());
        }
        self.room()?;
        self.send(bytes, Vec::new())
    }

    /// Sends a request; `true`: there will be an answer.
    pub(super) fn ask(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Result<bool, Untold> {
        // Before its answer is counted on: that of the next would be taken for it.
        self.room()?;
        if self.asked.len() >= MOST {
            return Err(Untold::Full);
        }
        let (bytes, is_answered) = self.asking.ask(&request, descriptors.len())?;
        self.send(bytes, descriptors)?;
        if is_answered {
            self.asked.push_back(request);
        }
        Ok(is_answered)
    }

    /// For one more message.
    fn room(&self) -> Result<(), Untold> {
        if self.broken {
            return Err(SocketError::Closed.into());
        }
        if self.waiting.len() >= MOST { Err(Untold::Full) } else { Ok(()) }
    }

    fn send(&mut self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> Result<(), Untold> {
        self.waiting.push_back(Waiting { bytes, descriptors, sent: 0 });
        Ok(self.sent_on()?)
    }

    /// Sends what there is room for.
    pub(super) fn sent_on(&mut self) -> Result<(), SocketError> {
        while let Some(first) = self.waiting.front_mut() {
            let descriptors: Vec<_> = first.descriptors.iter().map(|it| it.as_fd()).collect();
            let left = first.bytes.get(first.sent..).unwrap_or_default();
            match self.socket.try_send(left, &descriptors).inspect_err(|_| self.broken = true)? {
                0 => return Ok(()),
                count => {
                    first.sent += count;
                    first.descriptors.clear();
                    if first.sent == first.bytes.len() {
                        self.waiting.pop_front();
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads what the front-end has said: an answer, with the request that it is to, if one is whole now.
    ///
    /// # Errors
    /// It has closed the channel, or what it says is no answer.
    pub(super) fn answered(&mut self) -> Result<Option<(Request, Answer)>, SocketError> {
        let mut buffer = [0; 4096];
        let wrong = |_| SocketError::Closed;
        loop {
            let want = self.framing.want().min(buffer.len());
            let Some((count, descriptors)) = self.socket.try_receive(&mut buffer[..want])? else {
                return Ok(None);
            };
            let Some(message) = self.framing.feed(&buffer[..count], descriptors).map_err(wrong)? else {
                continue;
            };
            match self.asking.answered(message) {
                Ok(answer) => {
                    if let Some(request) = self.asked.pop_front() {
                        return Ok(Some((request, answer)));
                    }
                }
                // What nobody asked for is read away.
                Err(Violation::Answer { expected: None, .. }) => {}
                // What is no answer to what was asked leaves all that follow without their questions.
                Err(_) => return Err(SocketError::Closed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Answering;
    use crate::wire::{Message as _, Reply};
    use crate::{ProtocolFeatures, payload};
    use std::io::{Read as _, Write as _};
    use virtio::features::Features;

    /// One that may ask everything, and the front-end's end of it.
    fn channel() -> (Channel, UnixStream) {
        let (ours, its) = UnixStream::pair().unwrap();
        let all = Features::PROTOCOL_FEATURES | Features::ACCESS_PLATFORM;
        let negotiated = Negotiated { offered: all, features: all, protocol: ProtocolFeatures::all() };
        (Channel::new(ours.into(), negotiated, Canceller::new().unwrap()).unwrap(), its)
    }

    /// More than the system and we keep together is refused, and what was refused is no question that waits for an answer.
    #[test]
    fn what_nobody_reads_has_an_end() {
        let (mut channel, _its) = channel();
        let miss = |iova| Request::IotlbMsg(payload::Iotlb { iova, ..payload::Iotlb::default() });
        let refused = (0..).find_map(|iova| channel.tell(&miss(iova)).err());
        assert!(matches!(refused, Some(Untold::Full)), "{refused:?}");
        assert_eq!(channel.waiting.len(), MOST);
        assert!(matches!(channel.ask(Request::ConfigChangeMsg, Vec::new()), Err(Untold::Full)));
        assert_eq!(channel.asking.waiting(), 0);
    }

    #[test]
    fn what_nobody_answers_has_an_end() {
        let (mut channel, mut its) = channel();
        let mut message = [0; 12];
        for _ in 0..MOST {
            assert!(channel.ask(Request::ConfigChangeMsg, Vec::new()).unwrap());
            its.read_exact(&mut message).unwrap();
        }
        assert!(matches!(channel.ask(Request::ConfigChangeMsg, Vec::new()), Err(Untold::Full)));
        let number = Request::ConfigChangeMsg.facts().number;
        its.write_all(&Answering::<Request>::default().answer(number, &Reply::U64(0))).unwrap();
        assert!(channel.answered().unwrap().is_some());
        assert!(channel.ask(Request::ConfigChangeMsg, Vec::new()).unwrap());
    }
}

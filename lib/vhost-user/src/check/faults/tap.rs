//! A session as it goes through: what is right is passed on, and answered by a back-end that is right.

use super::known::{Heard, Known};
use super::{Aftermath, Deed, End, Faulty, Rule, WHILE};
use crate::ProtocolFeatures;
use crate::check::Trouble;
use crate::check::peer::{PLAIN, Peer, REPLY, Received, message};
use crate::front::Request;
use crate::socket::{Socket, SocketError};
use crate::wire::{HEADER_BYTES, MOST_PAYLOAD, Message as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the rest of a message may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Tap<'f> {
    faulty: &'f Faulty,
    known: Known,
    front: Socket,
    back: Peer,
    pretends: bool,
}

/// Why there is nothing more to say.
enum Over {
    /// The front-end has left.
    Left(End),
    /// This side closes the connection.
    Closed,
}

impl From<SocketError> for Over {
    fn from(_: SocketError) -> Self {
        Self::Closed
    }
}

impl From<Trouble> for Over {
    fn from(_: Trouble) -> Self {
        Self::Closed
    }
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl<'f> Tap<'f> {
    pub(super) fn new(faulty: &'f Faulty, session: u64, front: Socket, back: UnixStream) -> io::Result<Self> {
        let back = Peer::new(back, PATIENCE).map_err(|trouble| io::Error::other(trouble.to_string()))?;
        Ok(Self { faulty, known: Known::new(session), front, back, pretends: false })
    }

    /// Until one side ends it.
    pub(super) fn run(&mut self) {
        let over = loop {
            if let Err(over) = self.turn() {
                break over;
            }
        };
        let (Over::Left(end), Some((fits, aftermath))) = (over, &self.faulty.fault.at_end) else { return };
        if !fits(&self.known, end) {
            return;
        }
        match aftermath {
            Aftermath::Die => self.faulty.die(),
            Aftermath::CloseNext => self.faulty.closes_next.store(true, Ordering::Relaxed),
            Aftermath::Leak => self.faulty.leak(self.known.kick(0).and_then(|it| it.try_clone().ok())),
        }
    }

    fn turn(&mut self) -> Result<(), Over> {
        let canceller = self.front.canceller();
        let mut all = [
            PollFd::new(&self.front, PollFlags::IN),
            PollFd::new(&self.back, PollFlags::IN),
            PollFd::new(&canceller, PollFlags::IN),
        ];
        match poll(&mut all, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Over::Closed),
        }
        let [front, back, cancelled] = all.map(|it| !it.revents().is_empty());
        if cancelled {
            return Err(Over::Closed);
        }
        if back {
            // Nothing is awaited, so it has ended the session.
            return Err(Over::Closed);
        }
        if front {
            let heard = self.hear()?;
            return self.handle(heard);
        }
        Ok(())
    }

    /// The next message, whatever its header says.
    fn hear(&self) -> Result<Heard, Over> {
        self.front.expire_after(Some(PATIENCE))?;
        let mut header = [0; HEADER_BYTES];
        let mut descriptors = Vec::new();
        let header_in_pieces = self.exactly(&mut header, &mut descriptors, End::Between)? > 1;
        let with_header = descriptors.len();
        let [number, flags, announced] = [0, 4, 8].map(|at| {
            let mut word = [0; 4];
            word.copy_from_slice(&header[at..at + 4]);
            u32::from_ne_bytes(word)
        });
        // What is longer than any message is refused before it arrives.
        let mut payload = vec![0; if announced > MOST_PAYLOAD { 0 } else { announced as usize }];
        let payload_in_pieces = self.exactly(&mut payload, &mut descriptors, End::Within)? > 1;
        let late = descriptors.len() > with_header;
        Ok(Heard {
            number,
            flags,
            announced,
            payload,
            descriptors,
            header_in_pieces,
            payload_in_pieces,
            late,
        })
    }

    /// Gives the number of pieces in which it came.
    fn exactly(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>, at_first: End) -> Result<u32, Over> {
        let (mut done, mut pieces) = (0, 0);
        while done < into.len() {
            let (count, came) = match self.front.receive(&mut into[done..]) {
                Err(SocketError::Closed) if done == 0 => return Err(Over::Left(at_first)),
                Err(SocketError::Closed) => return Err(Over::Left(End::Within)),
                other => other?,
            };
            descriptors.extend(came);
            done += count;
            pieces += 1;
        }
        Ok(pieces)
    }

    fn handle(&mut self, mut heard: Heard) -> Result<(), Over> {
        let fits = |rule: &&Rule| (rule.when)(&self.known, &heard);
        let deed = self.faulty.fault.rules.iter().find(fits).map(|rule| rule.deed.clone());
        let leaks = matches!(deed, Some(Deed::Leak));
        let answers = self.answers(deed, &mut heard)?;
        // What the front-end sees of us when it has its answer is what comes of it.
        let is_done = answers.iter().all(|answer| answer.u64().is_none_or(|code| code == 0));
        let gone = self.known.remember(heard, is_done);
        // Before the answer: who has it looks what is open still.
        self.faulty.leak(gone.into_iter().filter(|_| leaks));
        answers.iter().try_for_each(|answer| self.tell(answer))
    }

    /// What is said to a message, with what is done otherwise than it should be.
    fn answers(&mut self, deed: Option<Deed>, heard: &mut Heard) -> Result<Vec<Received>, Over> {
        let has_answer = Request::facts_of(heard.number).is_some_and(|facts| facts.reply.is_some());
        let is_awaited = has_answer || heard.asks() && self.known.acknowledges;
        let if_awaited =
            |heard: &Heard, code| is_awaited.then(|| said(heard.number, code)).into_iter().collect();
        Ok(match deed {
            None if self.pretends && !has_answer => if_awaited(heard, 0),
            None | Some(Deed::Leak) => self.done(heard)?,
            Some(Deed::Die) => {
                self.faulty.die();
                return Err(Over::Closed);
            }
            Some(Deed::Close) => return Err(Over::Closed),
            Some(Deed::Acknowledge(code)) => if_awaited(heard, code),
            Some(Deed::Answer(code)) => vec![said(heard.number, code)],
            Some(Deed::Also(code)) => {
                self.done(heard)?.into_iter().chain([said(heard.number, code)]).collect()
            }
            Some(Deed::Change(how)) => {
                how(heard);
                self.done(heard)?
            }
            Some(Deed::Spoil(how)) => {
                let mut answers = self.done(heard)?;
                answers.iter_mut().for_each(|answer| how(&self.known, answer));
                answers
            }
            Some(Deed::Pretend) => {
                self.pretends = true;
                if_awaited(heard, 0)
            }
            Some(Deed::RefuseAndKeep) => {
                self.faulty.leak(heard.descriptors.drain(..));
                if_awaited(heard, 1)
            }
            Some(Deed::GoOn) => {
                let answers = self.done(heard)?;
                self.go_on(heard)?;
                answers
            }
            Some(Deed::CloseIfEnded) => {
                let mut all = [PollFd::new(&self.front, PollFlags::RDHUP)];
                let time = Timespec::try_from(WHILE).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
                if poll(&mut all, Some(&time)).map_err(io::Error::from)? > 0 {
                    return Err(Over::Closed);
                }
                self.done(heard)?
            }
            Some(Deed::CloseIfOthers) => {
                if self.faulty.has_company(self.known.session) {
                    return Err(Over::Closed);
                }
                self.done(heard)?
            }
        })
    }

    /// Does it as it should be done, and gives the answer, if there is one.
    fn done(&mut self, heard: &Heard) -> Result<Vec<Received>, Over> {
        let mut bytes = message(heard.number, heard.flags, &heard.payload);
        bytes[8..HEADER_BYTES]
            .copy_from_slice(&heard.announced.max(heard.payload.len() as u32).to_ne_bytes());
        let along: Vec<BorrowedFd<'_>> = heard.descriptors.iter().map(|it| it.as_fd()).collect();
        let facts = Request::facts_of(heard.number);
        let has_answer = facts.is_some_and(|facts| facts.reply.is_some());
        let is_table = self.known.is_postcopy_table(heard);
        let is_answered = has_answer || is_table || heard.asks() && self.known.acknowledges;
        if !self.back.bytes(&bytes, &along)? {
            return Err(Over::Closed);
        }
        let answer = match is_answered {
            true => Some(self.back.receive()?.ok_or(Over::Closed)?),
            false => None,
        };
        if heard.is("SET_PROTOCOL_FEATURES")
            && answer.as_ref().is_none_or(|it| it.u64() == Some(0))
            && let Some(bits) = heard.u64()
        {
            let set = ProtocolFeatures::from_bits_truncate(bits);
            self.known.acknowledges = set.contains(ProtocolFeatures::REPLY_ACK);
        }
        Ok(answer.into_iter().collect())
    }

    /// A ring goes on that was stopped.
    fn go_on(&mut self, heard: &Heard) -> Result<(), Over> {
        let Some(ring) = heard.ring() else { return Ok(()) };
        let Some(kick) = self.known.kick(ring).map(OwnedFd::try_clone).transpose()? else { return Ok(()) };
        self.back.send(&Request::SetVringKick(ring.into()), PLAIN, &[kick.as_fd()])?;
        Ok(())
    }

    fn tell(&self, answer: &Received) -> Result<(), Over> {
        let Received { number, flags, payload, descriptors } = answer;
        let along: Vec<_> = descriptors.iter().map(|it| it.as_fd()).collect();
        self.front.expire_after(Some(PATIENCE))?;
        Ok(self.front.send(&message(*number, *flags, payload), &along)?)
    }
}

/// An answer that is a number.
fn said(number: u32, code: u64) -> Received {
    Received { number, flags: REPLY, payload: code.to_ne_bytes().to_vec(), descriptors: Vec::new() }
}

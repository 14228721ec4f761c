//! The two ends of a channel as values: who asks, and who answers. A session between front-end and back-end has one channel on which the
//! front-end asks, and may have a second on which the back-end does.

use crate::ProtocolFeatures;
use crate::framing::Raw;
use crate::wire::{Facts, Gate, HEADER_BYTES, Header, Message, PayloadError, Reply};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use thiserror::Error;
use virtio::features::Features;

/// What both sides agreed on, as far as it decides which messages may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// Virtio features that the back-end offered.
    pub offered: Features,
    /// Those that the front-end set.
    pub features: Features,
    /// Protocol features that the front-end set.
    pub protocol: ProtocolFeatures,
}

impl Negotiated {
    /// Whether a request with this gate may be sent.
    pub const fn allows(&self, gate: Gate) -> bool {
        match gate {
            Gate::Open => true,
            Gate::ProtocolFeatures => self.offered.contains(Features::PROTOCOL_FEATURES),
            Gate::AccessPlatform => self.features.contains(Features::ACCESS_PLATFORM),
            Gate::Feature(feature) => self.protocol.contains(feature),
        }
    }
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotSent {
    /// What it needs was not negotiated.
    #[error("{request} needs {gate:?}, which was not negotiated")]
    Gate {
        /// The request.
        request: &'static str,
        /// What it needs.
        gate: Gate,
    },
    /// It has an answer, for which nobody would wait.
    #[error("{request} has an answer")]
    Answered {
        /// The request.
        request: &'static str,
    },
    /// Not its number of descriptors.
    #[error("{request} takes {least} to {most} descriptors, not {given}")]
    Descriptors {
        /// The request.
        request: &'static str,
        /// Fewest.
        least: u8,
        /// Most.
        most: u8,
        /// Those that were given.
        given: usize,
    },
}

/// What a peer did that no peer may. The channel means nothing any more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// An answer that nobody waits for, or to another request than the one whose turn it is.
    #[error("an answer to request {number}{}", expected_text(.expected))]
    Answer {
        /// What it claims to answer.
        number: u32,
        /// The request whose turn it is.
        expected: Option<&'static str>,
    },
    /// A question where an answer should be, or the other way round.
    #[error("request {number} has {} flag of answers", if *.reply { "the" } else { "no" })]
    Direction {
        /// Its number.
        number: u32,
        /// Whether it has the flag.
        reply: bool,
    },
    /// A payload that does not fit.
    #[error("request {number}")]
    Payload {
        /// The request that it came with, or answers.
        number: u32,
        /// What is wrong with it.
        #[source]
        error: PayloadError,
    },
    /// Not the descriptors that belong to it.
    #[error("request {number} came with {given} descriptors")]
    Descriptors {
        /// The request that they came with, or answer.
        number: u32,
        /// How many.
        given: usize,
    },
}

fn expected_text(expected: &Option<&'static str>) -> String {
    expected.map_or_else(|| " that nobody asked".to_owned(), |name| format!(", where {name} waits for one"))
}

/// An answer, with what came along.
#[derive(Debug)]
pub struct Answer {
    /// The request that it answers, by number.
    pub number: u32,
    /// What it says.
    pub reply: Reply,
    /// Its descriptors.
    pub descriptors: Vec<OwnedFd>,
    /// It only acknowledges: a number other than 0 says that the request failed.
    pub acknowledges: bool,
}

/// The end that asks. Answers come in the order of the requests.
#[derive(Debug)]
pub struct Asking<M> {
    /// What decides which requests may be sent.
    pub negotiated: Negotiated,
    waiting: VecDeque<(u32, bool)>,
    requests: PhantomData<M>,
}

impl<M> Default for Asking<M> {
    fn default() -> Self {
        Self { negotiated: Negotiated::default(), waiting: VecDeque::new(), requests: PhantomData }
    }
}

impl<M: Message> Asking<M> {
    /// The bytes of a request, which go out with these descriptors, and whether there will be an answer. An acknowledgement is asked for where
    /// that was negotiated and the request has no answer of its own.
    ///
    /// # Errors
    /// [`NotSent`]; nothing has changed.
    pub fn ask(&mut self, request: &M, descriptors: usize) -> Result<(Vec<u8>, bool), NotSent> {
        let facts = self.may_send(request, descriptors)?;
        let has_acknowledgements = self.negotiated.protocol.contains(ProtocolFeatures::REPLY_ACK);
        let acknowledges = facts.reply.is_none() && has_acknowledgements;
        let answered = facts.reply.is_some() || acknowledges;
        if answered {
            self.waiting.push_back((facts.number, acknowledges));
        }
        let need_reply = acknowledges || facts.asks_for_reply && has_acknowledgements;
        Ok((message(facts.number, false, need_reply, |out| request.put(out)), answered))
    }

    /// The bytes of a request that is not to be acknowledged.
    ///
    /// # Errors
    /// [`NotSent`], also for a request that has an answer of its own.
    pub fn tell(&mut self, request: &M, descriptors: usize) -> Result<Vec<u8>, NotSent> {
        let facts = self.may_send(request, descriptors)?;
        if facts.reply.is_some() {
            return Err(NotSent::Answered { request: facts.name });
        }
        Ok(message(facts.number, false, false, |out| request.put(out)))
    }

    fn may_send(&self, request: &M, descriptors: usize) -> Result<&'static Facts, NotSent> {
        let facts = request.facts();
        if !self.negotiated.allows(facts.gate) {
            return Err(NotSent::Gate { request: facts.name, gate: facts.gate });
        }
        let (least, most) = facts.descriptors;
        if descriptors < usize::from(least) || descriptors > usize::from(most) {
            return Err(NotSent::Descriptors { request: facts.name, least, most, given: descriptors });
        }
        Ok(facts)
    }

    /// How many answers are to come.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn answered(&mut self, message: Raw) -> Result<Answer, Violation> {
        let Raw { header: Header { request: number, reply, .. }, payload, descriptors } = message;
        if !reply {
            return Err(Violation::Direction { number, reply });
        }
        let expected = self.waiting.front().copied();
        let Some((_, acknowledges)) = expected.filter(|(expected, _)| *expected == number) else {
            let expected = expected.and_then(|(number, _)| M::facts_of(number)).map(|facts| facts.name);
            return Err(Violation::Answer { number, expected });
        };
        self.waiting.pop_front();
        let may_be_empty = M::facts_of(number).is_some_and(|facts| facts.may_be_empty);
        let reply = if payload.is_empty() && may_be_empty {
            Reply::None
        } else {
            M::get_reply(number, &payload).map_err(|error| Violation::Payload { number, error })?
        };
        let (least, most) = M::facts_of(number).map_or((0, 0), |facts| facts.reply_descriptors);
        let given = descriptors.len();
        if given < usize::from(least) || given > usize::from(most) {
            return Err(Violation::Descriptors { number, given });
        }
        Ok(Answer { number, reply, descriptors, acknowledges })
    }
}

/// A request, with what came along.
#[derive(Debug)]
pub struct Question<M> {
    /// What is asked.
    pub request: M,
    /// Its descriptors.
    pub descriptors: Vec<OwnedFd>,
    /// What the sender waits for.
    pub wants: Wants,
}

/// What the sender of a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// Whether it succeeded.
    Acknowledgement,
    /// An answer of its own.
    Answer,
}

/// Whether requests without an answer of their own are acknowledged where that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledges {
    /// `REPLY_ACK` was negotiated.
    Yes,
    /// It was not.
    No,
}

impl From<ProtocolFeatures> for Acknowledges {
    fn from(negotiated: ProtocolFeatures) -> Self {
        if negotiated.contains(ProtocolFeatures::REPLY_ACK) { Self::Yes } else { Self::No }
    }
}

/// The end that answers.
#[derive(Debug)]
pub struct Answering<M> {
    requests: PhantomData<M>,
}

impl<M> Default for Answering<M> {
    fn default() -> Self {
        Self { requests: PhantomData }
    }
}

impl<M: Message> Answering<M> {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Violation`]. A request that asked for an acknowledgement can be answered that it failed; descriptors are closed.
    pub fn asked(&mut self, message: Raw, acknowledges: Acknowledges) -> Result<Question<M>, Violation> {
        let Raw { header: Header { request: number, reply, need_reply, .. }, payload, descriptors } = message;
        if reply {
            return Err(Violation::Direction { number, reply });
        }
        let request = M::get(number, &payload).map_err(|error| Violation::Payload { number, error })?;
        let facts = request.facts();
        let ((least, most), given) = (facts.descriptors, descriptors.len());
        if given < usize::from(least) || given > usize::from(most) {
            return Err(Violation::Descriptors { number, given });
        }
        let wants = match facts.reply {
            Some(_) => Wants::Answer,
            None if need_reply && acknowledges == Acknowledges::Yes => Wants::Acknowledgement,
            None => Wants::Nothing,
        };
        Ok(Question { request, descriptors, wants })
    }

    /// The bytes of an answer that looks like its request, as that to a table of memory does in postcopy.
    pub fn answer_alike(&self, request: &M) -> Vec<u8> {
        message(request.number(), true, false, |out| request.put(out))
    }

    /// The bytes of an answer.
    pub fn answer(&self, number: u32, reply: &Reply) -> Vec<u8> {
        message(number, true, false, |out| reply.put(out))
    }
}

fn message(request: u32, reply: bool, need_reply: bool, put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    put(&mut bytes);
    let size = (bytes.len() - HEADER_BYTES) as u32;
    bytes[..HEADER_BYTES].copy_from_slice(&Header { request, reply, need_reply, size }.encode());
    bytes
}

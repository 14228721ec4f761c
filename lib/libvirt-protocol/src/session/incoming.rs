//! What a client's session has for its user.

use super::client::Serial;
use super::hole::HoleError;
use crate::packet::{Header, PacketError};
use crate::procedure::Program;
use crate::types;
use crate::xdr::DecodeError;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What has arrived.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming<'a> {
    /// A call has succeeded.
    Reply {
        /// The call.
        serial: Serial,
        /// Its result, encoded.
        payload: &'a [u8],
        /// Descriptors that came with it.
        descriptors: Vec<OwnedFd>,
    },
    /// A call has failed.
    Failed {
        /// The call.
        serial: Serial,
        /// Why.
        failure: Failure,
    },
    /// Something nobody asked for: see [`crate::event::decode`].
    Event {
        /// Program.
        program: Program,
        /// Procedure of that program.
        procedure: i32,
        /// Content, encoded.
        payload: &'a [u8],
    },
    /// Data of a stream.
    Data {
        /// The call that opened it.
        serial: Serial,
        /// The data.
        data: &'a [u8],
    },
    /// A hole in a stream.
    Hole {
        /// The call that opened it.
        serial: Serial,
        /// Its length in bytes.
        length: u64,
    },
    /// The daemon sends no more data on a stream.
    End {
        /// The call that opened it.
        serial: Serial,
    },
    /// A stream is closed, and everything that was sent on it has arrived.
    Finished {
        /// The call that opened it.
        serial: Serial,
    },
    /// A stream is broken.
    Broken {
        /// The call that opened it.
        serial: Serial,
        /// Why.
        failure: Failure,
    },
    /// A packet that belongs to nothing any more, or never did: a second reply, a call of the daemon. It was passed over.
    Stray(Header),
}

/// What makes a connection useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A packet that breaks the rules.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// Nothing came for a long time, in spite of questions.
    #[error("nothing came for {0:?}, in spite of keepalive messages")]
    Silent(Duration),
    /// A reply to a call that was never sent. Some call waits for it in vain, and nobody knows which.
    #[error("a reply with serial {0}, which no call was sent with")]
    Unasked(u32),
}

/// Why a call or a stream failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// The daemon says why.
    Daemon(Box<types::Error<'static>>),
    /// The daemon's error cannot be decoded.
    Undecodable(DecodeError),
    /// The daemon answered with another procedure's reply.
    Mismatch {
        /// What it answered with.
        procedure: i32,
    },
    /// The daemon confirmed an end of a stream that was not said to it, so that nobody knows what came or went.
    Unasked,
    /// A hole that is none, behind which everything would lie at another place.
    Hole(HoleError),
}

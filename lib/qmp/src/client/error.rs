//! Why a call has no answer, and why a connection has ended.

use crate::{
    legible::Illegible,
    message::{Malformed, Refusal},
    session::{DESCRIPTORS, Violation},
    wire::DecodeError,
};
use std::{error::Error as StdError, io, sync::Arc, time::Duration};
use thiserror::Error;

/// Why a call has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server refused; nothing else is wrong.
    #[error("QEMU refused {command}")]
    Refused {
        /// The command.
        command: String,
        /// The server's words.
        #[source]
        refusal: Refusal,
    },
    /// No answer in time. The command may still take effect; the connection stays usable.
    #[error("QEMU did not answer {command} within {after:?}")]
    Deadline {
        /// The command.
        command: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// The connection ended. Whether the command took effect is unknown.
    #[error("the connection to QEMU ended before {command} was answered")]
    Closed {
        /// The command.
        command: String,
        /// Why it ended.
        #[source]
        reason: Arc<CloseReason>,
    },
    /// The server does not offer out-of-band execution.
    #[error("this QEMU does not offer out-of-band execution of {command}")]
    Unsupported {
        /// The command.
        command: String,
    },
    /// QEMU would not read the request, so it was not sent.
    #[error("QEMU would not read {command}")]
    Illegible {
        /// The command.
        command: String,
        /// What is wrong with it.
        #[source]
        source: Illegible,
    },
    /// Descriptors travel over unix sockets only, and only where the client was made by [`crate::client_unix`].
    #[error("{command} needs a descriptor, which this connection cannot carry")]
    NoDescriptors {
        /// The command.
        command: String,
    },
    /// The server would drop what is over [`crate::session::DESCRIPTORS`].
    #[error("{command} with {count} descriptors: QEMU takes no more than {DESCRIPTORS} at once")]
    TooManyDescriptors {
        /// The command.
        command: String,
        /// How many there are.
        count: usize,
    },
    /// The answer cannot be read: it is nested deeper than 256 levels, or has a form of its own. The command was carried out or refused.
    #[error("the answer to {command} cannot be read")]
    Unreadable {
        /// The command.
        command: String,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// The answer has not the declared form.
    #[error("the answer to {command} has an unexpected form")]
    Decode {
        /// The command.
        command: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

impl CallError {
    /// The server's refusal, if that is what it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server closed it; after `quit` a reset is as common as an orderly end and means the same.
    #[error("QEMU closed the connection")]
    Ended,
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
    /// The server broke the protocol.
    #[error("QEMU broke the protocol")]
    Protocol(#[from] Violation),
    /// This side gave it up: the driving future was dropped, or every client was.
    #[error("the connection was given up on this side")]
    Abandoned,
}

/// What happened, and what that came of: an error of ours says what it was doing, and has its cause as its source.
///
/// ```
/// let error = qmp::CallError::Closed { command: "stop".to_owned(), reason: qmp::CloseReason::Ended.into() };
/// let text = "the connection to QEMU ended before stop was answered: QEMU closed the connection";
/// assert_eq!(qmp::with_causes(&error), text);
/// ```
pub fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

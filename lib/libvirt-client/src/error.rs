//! What can go wrong, sorted by what a caller can do about it.

use crate::domain::{Aftermath, QemuError};
use libvirt_protocol::enums::{ErrorDomain, ErrorLevel, ErrorNumber};
use libvirt_protocol::packet::Header;
use libvirt_protocol::procedure::{Info, Release};
use libvirt_protocol::session::{Failure, Serial, SessionError};
use libvirt_protocol::types;
use libvirt_protocol::xdr::{DecodeError, LimitError};
use std::fmt;
use std::sync::Arc;

/// An error: what happened, in which call, and whether the daemon may have executed that call all the same.
///
/// Its text does not hold its causes: [`source`](std::error::Error::source) has them, and `{error:#}` prints them behind it. So does
/// `{error:?}`, which is what a `main` prints that returns it; `{error:#?}` shows the structure.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    call: Option<&'static Info>,
    serial: Option<Serial>,
    execution: Execution,
    /// Why it came to that, where the kind does not hold it.
    cause: Option<Arc<Error>>,
}

/// What happened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The connection could not be made, or broke.
    #[error("the connection to libvirt's daemon failed")]
    Transport(#[source] Arc<std::io::Error>),
    /// The daemon closed the connection.
    #[error("libvirt's daemon closed the connection")]
    Closed,
    /// The other side does not keep to the protocol.
    #[error("the other side does not speak libvirt's protocol: {0}")]
    Protocol(String),
    /// The daemon wants authentication that is not possible here.
    #[error("authentication: {0}")]
    Auth(String),
    /// TLS did not come about: a file, the daemon's certificate, or ours.
    #[error("TLS: {0}")]
    Tls(String),
    /// The deadline passed. When the connection was away meanwhile, the reason is the error's source.
    #[error("no answer in time")]
    Timeout,
    /// The connection takes no more calls: all its places are held by some that nobody waits for any more, since their deadlines passed or
    /// their futures were dropped, and that the daemon has not answered.
    #[error(
        "the connection is full of calls that were given up and that the daemon has not answered: close it and open another"
    )]
    Clogged,
    /// A stream, or a migration, has a connection of its own, and that cannot be made, for the reason that is its source. The other connections are
    /// there: they are kept from streams, as one that nobody reads stops everything beside it.
    #[error(
        "there is no further connection for it to be had: let the daemon take more clients (max_clients, max_anonymous_clients), or say Builder::lanes(0), with which streams share the first one"
    )]
    Lane(#[source] Box<Error>),
    /// The daemon is too old.
    #[error("the daemon is older than libvirt {since}, which brought {procedure}")]
    Unsupported {
        /// Name of the procedure.
        procedure: &'static str,
        /// The release that brought it.
        since: Release,
    },
    /// A file of this host, which a volume's content is read from or written to.
    #[error("the file on this side")]
    File(#[source] Arc<std::io::Error>),
    /// An argument exceeds what the protocol carries.
    #[error("an argument is too long")]
    Limit(#[from] LimitError),
    /// QEMU's monitor or the guest's agent refused.
    #[error("{0}")]
    Qemu(QemuError),
    /// A job ended without success.
    #[error("{0}")]
    Job(String),
    /// A migration has not come to an end in order: this is left of it, and this was the reason.
    #[error("the migration failed: {left}")]
    Migration {
        /// What is where, and what is to be done.
        left: Aftermath,
        /// Why.
        #[source]
        cause: Box<Error>,
    },
    /// The caller asks for what does not fit together.
    #[error("{0}")]
    Misuse(String),
    /// A URI that cannot be understood, or names what does not exist.
    #[error("{0}")]
    Uri(String),
    /// The daemon refused.
    #[error("{0}")]
    Libvirt(Box<Refusal>),
}

/// What the daemon says when it refuses (`virError`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Which error.
    pub code: ErrorNumber,
    /// Which part of libvirt raised it.
    pub domain: ErrorDomain,
    /// How bad it is.
    pub level: ErrorLevel,
    /// The message, as the daemon's locale has it.
    pub message: String,
    /// Three further texts; which ones depends on the error.
    pub texts: [Option<String>; 3],
    /// Two further numbers.
    pub numbers: [i32; 2],
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { write!(f, "{:?}", self.code) } else { f.write_str(&self.message) }
    }
}

/// Whether the daemon may have executed a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// It did not: the call never left, or the daemon refused it.
    No,
    /// It may have, and may still: the answer is missing.
    Possible,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, call: None, serial: None, execution: Execution::No, cause: None }
    }

    pub(crate) fn of(self, call: &'static Info) -> Self {
        // What kept this call from starting may have come of another one, whose serial is not this one's.
        Self { call: Some(call), serial: None, ..self }
    }

    /// Of a call that the session has taken.
    pub(crate) fn of_started(self, call: &'static Info, serial: Serial) -> Self {
        Self { call: Some(call), serial: Some(serial), ..self }
    }

    pub(crate) fn possibly_executed(self) -> Self {
        Self { execution: Execution::Possible, ..self }
    }

    /// What it came to for want of a connection, which is away for this reason.
    pub(crate) fn because(self, cause: Error) -> Self {
        Self { cause: Some(Arc::new(cause)), ..self }
    }

    /// The end of a migration that leaves this behind.
    pub(crate) fn left(self, left: Aftermath) -> Self {
        Self::new(ErrorKind::Migration { left, cause: Box::new(self) }).possibly_executed()
    }

    /// The same, said more exactly when it is a deadline that passed on a connection which takes no more calls.
    pub(crate) fn when_clogged(self, is_clogged: bool) -> Self {
        match self.kind {
            ErrorKind::Timeout if is_clogged => Self { kind: ErrorKind::Clogged, ..self },
            _ => self,
        }
    }

    pub(crate) fn protocol(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Protocol(what.to_string()))
    }

    pub(crate) fn job(what: String) -> Self {
        Self::new(ErrorKind::Job(what))
    }

    pub(crate) fn misuse(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Misuse(what.to_string()))
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// What is known of the call that failed; `None` when no call did.
    #[must_use]
    pub fn call(&self) -> Option<&'static Info> {
        self.call
    }

    /// The serial of the call that failed, as it is in its packets, in the daemon's log and in recordings of the traffic. Each connection
    /// counts its own, so it says which call it was among those of one connection. `None` when no call did, or it failed before it had one.
    #[must_use]
    pub fn serial(&self) -> Option<u32> {
        self.serial.map(Serial::number)
    }

    /// Whether the daemon may have executed the call.
    #[must_use]
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// What the daemon says, when it was the daemon that refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.kind {
            ErrorKind::Libvirt(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the object that was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        use ErrorNumber as N;
        self.refusal().is_some_and(|refusal| {
            matches!(
                refusal.code,
                N::NoDomain
                    | N::NoNetwork
                    | N::NoStoragePool
                    | N::NoStorageVol
                    | N::NoNodeDevice
                    | N::NoSecret
                    | N::NoNwfilter
                    | N::NoNwfilterBinding
                    | N::NoInterface
                    | N::NoDomainSnapshot
                    | N::NoDomainCheckpoint
                    | N::NoDomainBackup
                    | N::NoDomainMetadata
                    | N::NoNetworkPort
                    | N::NoServer
                    | N::NoClient
            )
        })
    }

    /// Whether the daemon or the driver does not have the call.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match &self.kind {
            ErrorKind::Unsupported { .. } => true,
            ErrorKind::Libvirt(refusal) => {
                refusal.code == ErrorNumber::NoSupport || refusal.is_unknown_procedure()
            }
            _ => false,
        }
    }

    /// Whether the daemon has refused who we say we are. What is asked for besides (`AUTH_UNAVAILABLE`: nobody is there to ask the user) may come.
    pub(crate) fn is_refused_login(&self) -> bool {
        use ErrorNumber as N;
        self.refusal().is_some_and(|refusal| matches!(refusal.code, N::AuthFailed | N::AuthCancelled))
    }

    /// Whether the same call may succeed later without anything else being changed, and repeating it does no harm: it was not sent, or it
    /// only looks at something. A call that acts and was refused for lack of time may have acted all the same.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        if self.execution == Execution::Possible {
            return false;
        }
        match &self.kind {
            ErrorKind::Transport(_) | ErrorKind::Closed | ErrorKind::Clogged | ErrorKind::Timeout => true,
            // What the daemon may have executed of it was its greeting.
            ErrorKind::Lane(cause) => Self { execution: Execution::No, ..(**cause).clone() }.is_retryable(),
            ErrorKind::Libvirt(refusal) => {
                matches!(refusal.code, ErrorNumber::OperationTimeout | ErrorNumber::AgentUnresponsive)
                    && self.call.is_some_and(only_looks)
            }
            _ => false,
        }
    }
}

/// Whether a call changes nothing, by what the daemon's access control asks for.
fn only_looks(call: &'static Info) -> bool {
    let looks = |permission: &&str| {
        let kind = permission.split(':').nth(1).unwrap_or_default();
        kind == "read" || kind == "getattr" || kind.starts_with("search_")
    };
    !call.acl.is_empty() && call.acl.iter().all(looks)
}

impl Refusal {
    /// A daemon that lacks a procedure says so with a general code; only the text tells (`virNetServerProgramDispatchCall`).
    fn is_unknown_procedure(&self) -> bool {
        self.code == ErrorNumber::Rpc && self.message.starts_with("unknown procedure")
    }
}

impl From<types::Error<'_>> for Refusal {
    fn from(error: types::Error<'_>) -> Self {
        Self {
            code: error.code,
            domain: error.domain,
            level: error.level,
            message: error.message.map(String::from).unwrap_or_default(),
            texts: [error.str1, error.str2, error.str3].map(|text| text.map(String::from)),
            numbers: [error.int1, error.int2],
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(call) = self.call {
            write!(f, "{}: ", call.function.unwrap_or(call.name))?;
        }
        self.kind.fmt(f)?;
        if self.execution == Execution::Possible {
            f.write_str(" (the daemon may have executed it)")?;
        }
        let mut cause = if f.alternate() { std::error::Error::source(self) } else { None };
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return write!(f, "{self:#}");
        }
        let Self { kind, call, serial, execution, cause } = self;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("call", &call.map(|call| call.name))
            .field("serial", serial)
            .field("execution", execution)
            .field("cause", cause)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Transport(error) | ErrorKind::File(error) => Some(&**error),
            ErrorKind::Limit(error) => Some(error),
            ErrorKind::Migration { cause, .. } | ErrorKind::Lane(cause) => Some(cause),
            // The others have none of their own, or no more of it than is in their texts.
            _ => self.cause.as_deref().map(|cause| cause as _),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(ErrorKind::Transport(Arc::new(error)))
    }
}

impl From<Error> for std::io::Error {
    /// The same as an error of input and output, with ours inside ([`std::io::Error::get_ref`]).
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match &error.kind {
            ErrorKind::Transport(cause) | ErrorKind::File(cause) => cause.kind(),
            ErrorKind::Closed => Io::ConnectionAborted,
            ErrorKind::Timeout => Io::TimedOut,
            ErrorKind::Protocol(_) => Io::InvalidData,
            ErrorKind::Misuse(_) | ErrorKind::Limit(_) | ErrorKind::Uri(_) => Io::InvalidInput,
            ErrorKind::Auth(_) => Io::PermissionDenied,
            _ if error.is_not_found() => Io::NotFound,
            _ if error.is_unsupported() => Io::Unsupported,
            ErrorKind::Libvirt(refusal) => match refusal.code {
                ErrorNumber::OperationDenied | ErrorNumber::AccessDenied | ErrorNumber::AuthFailed => {
                    Io::PermissionDenied
                }
                ErrorNumber::OperationTimeout => Io::TimedOut,
                ErrorNumber::InvalidArg => Io::InvalidInput,
                _ => Io::Other,
            },
            _ => Io::Other,
        };
        Self::new(kind, error)
    }
}

impl From<LimitError> for Error {
    fn from(error: LimitError) -> Self {
        Self::new(ErrorKind::Limit(error))
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::protocol(error)
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Silent(_) => Self::new(ErrorKind::Transport(Arc::new(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                error,
            )))),
            other => Self::protocol(other),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Daemon(error) => Self::new(ErrorKind::Libvirt(Box::new((*error).into()))),
            Failure::Undecodable(error) => Self::protocol(error),
            Failure::Mismatch { procedure } => {
                Self::protocol(format!("the reply of procedure {procedure} to another call"))
                    .possibly_executed()
            }
            Failure::Unasked => {
                Self::protocol("the daemon confirms an end of the stream that it was not told")
            }
            Failure::Hole(error) => Self::protocol(error),
            other => Self::protocol(format!("{other:?}")),
        }
    }
}

/// A packet that belongs to nothing.
pub(crate) fn stray(header: &Header) {
    tracing::debug!(?header, "a packet that belongs to no call");
}

#[cfg(test)]
mod tests {
    use super::*;
    use libvirt_protocol::procedure::Procedure;
    use libvirt_protocol::remote;

    #[test]
    fn a_cause_is_the_source_and_is_not_said_twice() {
        use std::error::Error as _;
        let lost = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connecting to nowhere: reset");
        let error = Error::from(lost).of(remote::ConnectGetHostname::INFO).possibly_executed();
        let text = "virConnectGetHostname: the connection to libvirt's daemon failed (the daemon may have executed it)";
        assert_eq!(error.to_string(), text);
        let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(source.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(format!("{error:#}"), format!("{text}: connecting to nowhere: reset"));
        let silent = Error::from(SessionError::Silent(std::time::Duration::from_secs(25)));
        assert_eq!(format!("{silent:#}").matches("nothing came for").count(), 1, "{silent:#}");
    }

    #[test]
    fn what_main_prints_is_one_line_with_its_causes() {
        let absent = std::io::Error::new(std::io::ErrorKind::NotFound, "connecting to /run/sock: not there");
        let away = Error::from(absent);
        let late = Error::new(ErrorKind::Timeout).of(remote::ConnectGetHostname::INFO).because(away);
        let line = "virConnectGetHostname: no answer in time: the connection to libvirt's daemon failed: \
                    connecting to /run/sock: not there";
        assert_eq!(format!("{late:?}"), line);
        let lane = Error::new(ErrorKind::Lane(Box::new(late)));
        assert!(format!("{lane:?}").ends_with(&format!(": {line}")), "{lane:?}");
        let structure = format!("{lane:#?}");
        for part in ["kind: Lane(", "kind: Timeout", "\"connect_get_hostname\"", "execution: No", "NotFound"]
        {
            assert!(structure.contains(part), "{part}: {structure}");
        }
    }

    #[test]
    fn what_acts_is_not_repeated_once_it_was_sent() {
        let refused = |code, call| {
            let refusal = types::Error { code, ..types::Error::default() };
            Error::new(ErrorKind::Libvirt(Box::new(refusal.into()))).of(call).is_retryable()
        };
        for code in [ErrorNumber::OperationTimeout, ErrorNumber::AgentUnresponsive] {
            assert!(refused(code, remote::DomainGetState::INFO));
            assert!(refused(code, remote::ConnectListAllDomains::INFO));
            assert!(!refused(code, remote::DomainShutdownFlags::INFO), "the agent may have heard of it");
            assert!(!refused(code, remote::DomainSetMetadata::INFO));
        }
        assert!(!refused(ErrorNumber::NoDomain, remote::DomainGetState::INFO));
        let late = Error::new(ErrorKind::Timeout).of(remote::DomainShutdownFlags::INFO);
        assert!(late.is_retryable(), "it was not sent");
        assert!(!late.possibly_executed().is_retryable());
    }
}

//! One list of what can go wrong, across all operations: what a caller tells apart without reading texts.

use crate::{ConfigError, ManagerError, StartError, vm::OperationError};
use qmp::{CallError, agent::AgentError};
use std::io;

/// What went wrong. Texts and causes are in the errors themselves.
///
/// | kind | which errors | what to do |
/// |---|---|---|
/// | `NotConnected` | [`StartError::Silent`], a deadline that passed | wait, or end the machine |
/// | `ConnectionLost` | [`CallError::Closed`] | supervision connects again; read the state, then repeat |
/// | `ProcessNotRunning` | [`StartError::Ended`] | its message is in the error |
/// | `AlreadyRunning` | [`StartError::Occupied`] | adopt it, or end it |
/// | `SocketCreationFailed` | [`StartError::Prepare`] at a socket | see the cause: rights, space |
/// | `HostFailed` | [`StartError::Prepare`] elsewhere, [`StartError::Unanswered`] | see the cause |
/// | `InvalidResponse` | [`CallError::Decode`], [`CallError::Unreadable`] | this QEMU answers in another form: report it |
/// | `InvalidConfiguration` | [`ConfigError`], [`CallError::Illegible`] | change the configuration |
/// | `Refused` | [`CallError::Refused`] | QEMU's class and description are in the error |
/// | `Unsupported` | [`CallError::Unsupported`] | this QEMU cannot |
/// | `Misused` | [`CallError::NoDescriptors`], [`OperationError::Unknown`], [`ManagerError::NoMachine`] | the caller's mistake |
/// | `GuestFailed` | [`OperationError::GuestRefused`], [`OperationError::GuestSilent`], the agent's | the guest has not done its part |
/// | `OperationFailed` | [`OperationError::Job`], [`OperationError::Broken`] | QEMU's words are in the error |
/// | `OutcomeUnknown` | [`OperationError::Undecided`], [`OperationError::Lost`] | read the state before repeating |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// QEMU does not answer.
    NotConnected,
    /// The monitor's connection ended; whether the command took effect is unknown.
    ConnectionLost,
    /// The process has ended.
    ProcessNotRunning,
    /// A process runs there already.
    AlreadyRunning,
    /// A socket could not be made.
    SocketCreationFailed,
    /// A file or process could not be made.
    HostFailed,
    /// The answer has an unexpected form.
    InvalidResponse,
    /// The configuration is faulty.
    InvalidConfiguration,
    /// QEMU refused the command.
    Refused,
    /// This QEMU cannot do it.
    Unsupported,
    /// The call makes no sense: what it names is not there, or is there already.
    Misused,
    /// The guest has not done its part.
    GuestFailed,
    /// What QEMU did failed.
    OperationFailed,
    /// Whether it was done is unknown.
    OutcomeUnknown,
}

impl From<&CallError> for ErrorKind {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Refused { .. } => Self::Refused,
            CallError::Deadline { .. } => Self::NotConnected,
            CallError::Unsupported { .. } => Self::Unsupported,
            CallError::Decode { .. } | CallError::Unreadable { .. } => Self::InvalidResponse,
            CallError::Illegible { .. } => Self::InvalidConfiguration,
            CallError::NoDescriptors { .. } | CallError::TooManyDescriptors { .. } => Self::Misused,
            // A kind of later versions ends the call without an answer as well.
            CallError::Closed { .. } | _ => Self::ConnectionLost,
        }
    }
}

impl From<&ConfigError> for ErrorKind {
    fn from(_: &ConfigError) -> Self {
        Self::InvalidConfiguration
    }
}

impl From<&StartError> for ErrorKind {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Config(_) => Self::InvalidConfiguration,
            StartError::Occupied { .. } => Self::AlreadyRunning,
            StartError::Prepare { action: "listen at", .. } => Self::SocketCreationFailed,
            StartError::Prepare { .. } => Self::HostFailed,
            StartError::Ended { .. } => Self::ProcessNotRunning,
            StartError::Silent { .. } => Self::NotConnected,
            StartError::Unanswered(_) => Self::HostFailed,
        }
    }
}

impl From<&OperationError> for ErrorKind {
    fn from(error: &OperationError) -> Self {
        match error {
            OperationError::Qmp { source, .. } => source.into(),
            OperationError::Config(_) => Self::InvalidConfiguration,
            OperationError::NoPlace { .. }
            | OperationError::Unknown { .. }
            | OperationError::Arriving
            | OperationError::InUse { .. }
            | OperationError::Moving => Self::Misused,
            OperationError::GuestRefused { .. }
            | OperationError::GuestSilent { .. }
            | OperationError::Agent { .. } => Self::GuestFailed,
            OperationError::Job { .. } | OperationError::Broken => Self::OperationFailed,
            OperationError::Undecided { .. } | OperationError::Lost { .. } => Self::OutcomeUnknown,
            OperationError::Ended { .. } => Self::ProcessNotRunning,
            OperationError::Host { source, .. } => source.into(),
        }
    }
}

impl From<&ManagerError> for ErrorKind {
    fn from(error: &ManagerError) -> Self {
        match error {
            ManagerError::NoMachine(_)
            | ManagerError::Exists(_)
            | ManagerError::Sent(_)
            | ManagerError::Arriving(_) => Self::Misused,
            ManagerError::Stopped(_) => Self::ProcessNotRunning,
            ManagerError::Started(_) => Self::AlreadyRunning,
            ManagerError::Start { source, .. } => source.into(),
            ManagerError::Unresponsive(_) => Self::NotConnected,
            ManagerError::Call { source, .. } => source.into(),
            ManagerError::Adopt { source, .. } | ManagerError::End { source, .. } => source.into(),
        }
    }
}

impl From<&AgentError> for ErrorKind {
    fn from(error: &AgentError) -> Self {
        match error {
            AgentError::Refused { .. } => Self::Refused,
            AgentError::Absent { .. } => Self::NotConnected,
            AgentError::Late { .. } | AgentError::FreezeOver | AgentError::Gone { .. } => {
                Self::OutcomeUnknown
            }
            AgentError::Garbled { .. } | AgentError::Decode { .. } => Self::InvalidResponse,
            AgentError::Frozen { .. } | AgentError::Guarded { .. } => Self::Misused,
            // A kind of later versions ends the call without an answer as well.
            AgentError::Closed { .. } | _ => Self::ConnectionLost,
        }
    }
}

impl From<&io::Error> for ErrorKind {
    fn from(_: &io::Error) -> Self {
        Self::HostFailed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;
    use qmp::wire::Decode as _;
    use std::{sync::Arc, time::Duration};

    #[test]
    fn every_error_has_its_kind() {
        let command = || "stop".to_owned();
        let refusal = qmp::Refusal { class: qmp::ErrorClass::GenericError, desc: "no".into() };
        let reason = || Arc::new(qmp::CloseReason::Ended);
        let misread = || bool::decode(serde_json::json!(7)).unwrap_err();
        let calls = [
            (CallError::Refused { command: command(), refusal }, ErrorKind::Refused),
            (CallError::Deadline { command: command(), after: Duration::ZERO }, ErrorKind::NotConnected),
            (CallError::Closed { command: command(), reason: reason() }, ErrorKind::ConnectionLost),
            (CallError::Unsupported { command: command() }, ErrorKind::Unsupported),
            (CallError::Decode { command: command(), source: misread() }, ErrorKind::InvalidResponse),
            (
                CallError::Illegible { command: command(), source: qmp::Illegible::Deep },
                ErrorKind::InvalidConfiguration,
            ),
            (CallError::NoDescriptors { command: command() }, ErrorKind::Misused),
            (CallError::TooManyDescriptors { command: command(), count: 17 }, ErrorKind::Misused),
        ];
        for (error, kind) in calls {
            assert_eq!(ErrorKind::from(&error), kind, "{error}");
        }
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let prepare = |action| StartError::Prepare { action, path: "/x".into(), source: denied() };
        let config = ConfigError::Id { id: "A".into() };
        let starts = [
            (StartError::Config(config), ErrorKind::InvalidConfiguration),
            (StartError::Occupied { run_dir: "/x".into() }, ErrorKind::AlreadyRunning),
            (prepare("listen at"), ErrorKind::SocketCreationFailed),
            (prepare("create"), ErrorKind::HostFailed),
            (StartError::Ended { exit: Exit::Code(1), message: String::new() }, ErrorKind::ProcessNotRunning),
            (
                StartError::Silent { after: None, message: String::new(), source: None },
                ErrorKind::NotConnected,
            ),
        ];
        for (error, kind) in starts {
            assert_eq!(ErrorKind::from(&error), kind, "{error}");
        }
        let text = || "x".to_owned();
        let late = || CallError::Deadline { command: command(), after: Duration::ZERO };
        let operations = [
            (OperationError::Qmp { action: text(), source: late() }, ErrorKind::NotConnected),
            (OperationError::Undecided { action: text(), source: late() }, ErrorKind::OutcomeUnknown),
            (OperationError::Unknown { what: "disk", id: text() }, ErrorKind::Misused),
            (OperationError::GuestRefused { id: text() }, ErrorKind::GuestFailed),
            (OperationError::GuestSilent { what: text(), after: Duration::ZERO }, ErrorKind::GuestFailed),
            (OperationError::NoPlace { id: text() }, ErrorKind::Misused),
            (OperationError::Job { action: text(), message: text() }, ErrorKind::OperationFailed),
            (OperationError::Lost { what: text() }, ErrorKind::OutcomeUnknown),
            (OperationError::Broken, ErrorKind::OperationFailed),
            (OperationError::Arriving, ErrorKind::Misused),
            (OperationError::Moving, ErrorKind::Misused),
            (OperationError::InUse { disk: text(), by: "a job" }, ErrorKind::Misused),
            (OperationError::Ended { what: text(), exit: Exit::Code(0) }, ErrorKind::ProcessNotRunning),
            (OperationError::Host { action: text(), source: denied() }, ErrorKind::HostFailed),
        ];
        for (error, kind) in operations {
            assert_eq!(ErrorKind::from(&error), kind, "{error}");
        }
        let id = uuid::Uuid::nil();
        for (error, kind) in [
            (ManagerError::NoMachine(id), ErrorKind::Misused),
            (ManagerError::Exists(id), ErrorKind::Misused),
            (ManagerError::Stopped(id), ErrorKind::ProcessNotRunning),
            (ManagerError::Started(id), ErrorKind::AlreadyRunning),
            (ManagerError::Unresponsive(id), ErrorKind::NotConnected),
            (ManagerError::Sent(id), ErrorKind::Misused),
            (ManagerError::Arriving(id), ErrorKind::Misused),
            (ManagerError::Adopt { id, source: denied() }, ErrorKind::HostFailed),
            (ManagerError::Call { action: "pause", id, source: late() }, ErrorKind::NotConnected),
        ] {
            assert_eq!(ErrorKind::from(&error), kind, "{error}");
        }
        let (command, after) = ("guest-ping", Duration::ZERO);
        let refusal = qmp::Refusal { class: qmp::ErrorClass::GenericError, desc: "no".into() };
        for (error, kind) in [
            (AgentError::FreezeOver, ErrorKind::OutcomeUnknown),
            (AgentError::Late { command, after }, ErrorKind::OutcomeUnknown),
            (AgentError::Refused { command, refusal }, ErrorKind::Refused),
            (AgentError::Absent { command, after }, ErrorKind::NotConnected),
            (AgentError::Closed { command, reason: reason() }, ErrorKind::ConnectionLost),
            (AgentError::Decode { command, source: misread() }, ErrorKind::InvalidResponse),
            (AgentError::Frozen { command }, ErrorKind::Misused),
            (AgentError::Guarded { command }, ErrorKind::Misused),
        ] {
            assert_eq!(ErrorKind::from(&error), kind, "{error}");
        }
    }
}

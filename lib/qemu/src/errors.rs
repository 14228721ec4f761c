//! One list of what can go wrong, across all operations: what a caller tells apart without reading texts.

use crate::{ConfigError, StartError};
use qmp::CallError;
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
/// | `HostFailed` | [`StartError::Prepare`] elsewhere | see the cause |
/// | `InvalidResponse` | [`CallError::Decode`] | this QEMU answers in another form: report it |
/// | `InvalidConfiguration` | [`ConfigError`] | change the configuration |
/// | `Refused` | [`CallError::Refused`] | QEMU's class and description are in the error |
/// | `Unsupported` | [`CallError::Unsupported`] | this QEMU cannot |
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
}

impl From<&CallError> for ErrorKind {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Refused { .. } => Self::Refused,
            CallError::Deadline { .. } => Self::NotConnected,
            CallError::Unsupported { .. } => Self::Unsupported,
            CallError::Decode { .. } => Self::InvalidResponse,
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
    use std::{sync::Arc, time::Duration};

    #[test]
    fn every_error_has_its_kind() {
        let command = || "stop".to_owned();
        let refusal = qmp::Refusal { class: qmp::ErrorClass::GenericError, desc: "no".into() };
        let reason = Arc::new(qmp::CloseReason::Ended);
        let calls = [
            (CallError::Refused { command: command(), refusal }, ErrorKind::Refused),
            (CallError::Deadline { command: command(), after: Duration::ZERO }, ErrorKind::NotConnected),
            (CallError::Closed { command: command(), reason }, ErrorKind::ConnectionLost),
            (CallError::Unsupported { command: command() }, ErrorKind::Unsupported),
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
            (StartError::Silent { after: Duration::ZERO, message: String::new() }, ErrorKind::NotConnected),
        ];
        for (error, kind) in starts {
            assert_eq!(ErrorKind::from(&error), kind, "{error}");
        }
    }
}

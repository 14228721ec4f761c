//! What can go wrong, and what to do next.

use super::USAGE;
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::{Error, ErrorKind, Execution};
use std::io;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was not understood.
    #[error("{0}\n{USAGE}")]
    Usage(String),
    /// The client or the daemon says no.
    #[error(transparent)]
    Libvirt(#[from] Error),
    /// A file on this side.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: String,
        /// What about it.
        error: io::Error,
    },
    /// What the command prints, or reads from its input, does not get through.
    #[error("input and output: {0}")]
    Terminal(#[from] io::Error),
}

impl Failure {
    pub(crate) fn file(path: &str, error: io::Error) -> Self {
        Self::File { path: path.to_owned(), error }
    }

    /// The next step, if one is known.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        let Self::Libvirt(error) = self else { return None };
        if error.execution() == Execution::Possible {
            return Some("It may have happened all the same: look before you try again.");
        }
        Some(match error.kind() {
            ErrorKind::Transport(_) => {
                "Is the daemon running, and may you open its socket? `-c URI` names another one."
            }
            ErrorKind::Uri(_) => "URIs look like qemu:///system, qemu:///session or qemu+ssh://host/system.",
            ErrorKind::Auth(_) => {
                "The daemon wants a user that it knows: see auth.conf, or ask its administrator."
            }
            ErrorKind::Tls(_) => {
                "Certificates are looked for in /etc/pki and ~/.pki/libvirt; `?pkipath=` names another place."
            }
            ErrorKind::Unsupported { .. } => "This needs a newer daemon.",
            _ if is(error, ErrorNumber::NoDomain) => "`list` shows the domains that there are.",
            _ if error.is_not_found() => "Is the name right, and the pool started and refreshed?",
            _ if error.is_unsupported() => "This driver does not have it; `-c URI` chooses another.",
            _ if error.is_retryable() => "The same command may succeed later.",
            _ => return None,
        })
    }

    /// 2 for what was not understood, 1 for what did not succeed.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

fn is(error: &Error, code: ErrorNumber) -> bool {
    error.refusal().is_some_and(|refusal| refusal.code == code)
}

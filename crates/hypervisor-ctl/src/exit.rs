//! How a command ends: one exit code for each thing the caller can do next.

use crate::Context;
use hv_api::status::from_status;
use hv_core::{Error, ErrorKind};
use std::io;
use std::process::ExitCode;

/// The codes, for help and man page.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage: a flag, or a field that the server refuses
  3    there is no such object
  4    conflict: the name is taken, or the object changed meanwhile
  5    not in this state: the message says what to do first
  6    unavailable: no server, no node or no room; the same command may work later
  7    timeout
  8    not allowed: token or permission
  130  interrupted";

/// A command's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed for a reason that no other code names.
    Failed = 1,
    /// A flag is wrong, or the server refused a field.
    Usage = 2,
    /// There is no such object.
    NotFound = 3,
    /// The name is taken, or the object changed meanwhile.
    Conflict = 4,
    /// Not in this state.
    Precondition = 5,
    /// No server, no node or no room.
    Unavailable = 6,
    /// The time was over.
    Timeout = 7,
    /// Not allowed.
    Denied = 8,
    /// A signal.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyExists | ErrorKind::Conflict => Self::Conflict,
            ErrorKind::FailedPrecondition | ErrorKind::Expired => Self::Precondition,
            ErrorKind::Unavailable | ErrorKind::Exhausted => Self::Unavailable,
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::Unsupported | ErrorKind::Internal => Self::Failed,
        }
    }
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the server or a check here says.
    Error(Box<Error>),
    /// Told already, where a command went on behind it.
    Told(Exit),
    /// A signal.
    Interrupted,
    /// Nobody reads the results any more: `hypervisor-ctl events | head -1`.
    Closed,
}

impl Failure {
    /// Tells the user, and answers the exit code.
    pub(crate) fn report(self, context: &mut Context) -> Exit {
        let error = match self {
            Self::Closed => return Exit::Ok,
            Self::Told(exit) => return exit,
            Self::Interrupted => {
                for operation in std::mem::take(&mut context.pending) {
                    context.note(format!(
                        "interrupted; operation {operation} goes on: hypervisor-ctl operation wait {operation}"
                    ));
                }
                return Exit::Interrupted;
            }
            Self::Error(error) => error,
        };
        let (red, plain) =
            if context.io.colour(context.io.err_is_terminal) { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        context.note(format!("{red}error:{plain} {}", error.message));
        let field = error.field.as_ref().map(|field| match flag(field) {
            Some(flag) => format!("{field} ({flag})"),
            None => field.clone(),
        });
        for (name, text) in [("field", &field), ("uid", &error.uid), ("hint", &error.hint)] {
            if let Some(text) = text {
                context.note(format!("  {name}: {text}"));
            }
        }
        error.kind.into()
    }
}

/// The flag that sets a field of the API.
fn flag(field: &str) -> Option<&'static str> {
    let flags = [
        ("spec.image", "--image"),
        ("spec.cpus", "--cpus"),
        ("spec.memory_bytes", "--memory"),
        ("spec.root_disk_bytes", "--disk"),
        ("spec.disks", "--data-disk"),
        ("spec.network_interfaces", "--network and --publish"),
        ("spec.restart_policy", "--restart"),
        ("spec.relocation", "--relocation"),
        ("spec.boot.kernel", "--kernel"),
        ("spec.boot.initrd", "--initrd"),
        ("spec.boot.cmdline", "--cmdline"),
        ("spec.boot.firmware", "--firmware"),
        ("spec.cloud_init", "--cloud-init"),
        ("spec.placement.required_node", "--node"),
        ("spec.placement.preferred_node", "--prefer-node"),
        ("spec.placement.region", "--region"),
        ("spec.placement.zone", "--zone"),
        ("spec.placement.node_selector", "--node-selector"),
        ("spec.stop_timeout_ms", "--stop-timeout"),
        ("labels", "--label"),
        ("label_selector", "--selector"),
    ];
    // `spec.disks[0].name` is one of `spec.disks`.
    let is = |name: &str| {
        field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
    };
    flags.iter().find(|(name, _)| is(name)).map(|(_, flag)| *flag)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let mut error = from_status(&status);
        if error.kind == ErrorKind::Unauthenticated && error.hint.is_none() {
            error = error.with_hint(
                "is this the token of this server? see --token-file and `hypervisor-ctl config show`",
            );
        }
        error.into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Error::new(ErrorKind::Internal, error.to_string()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        let documented: Vec<u8> = HELP
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        let codes = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::NotFound,
            Exit::Conflict,
            Exit::Precondition,
            Exit::Unavailable,
            Exit::Timeout,
            Exit::Denied,
            Exit::Interrupted,
        ];
        assert_eq!(documented, codes.map(|exit| exit as u8));
    }

    #[test]
    fn fields_are_told_in_the_words_of_flags() {
        assert_eq!(flag("spec.image"), Some("--image"));
        assert_eq!(flag("spec.disks[0].name"), Some("--data-disk"));
        assert_eq!(flag("spec.disks_of_another"), None);
        assert_eq!(flag("name"), None);
    }
}

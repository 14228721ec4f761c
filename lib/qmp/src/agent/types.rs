//! What the agent answers.

use crate::{
    open_enum::open_enum,
    wire::{Decode, DecodeError, Encode, object},
};
use serde_json::Value;

open_enum! {
    /// How a guest is ended.
    pub enum ShutdownMode {
        /// It stops, and the machine stays on.
        Halt = "halt",
        /// It stops and powers off.
        Powerdown = "powerdown",
        /// It starts again.
        Reboot = "reboot",
    }
}

open_enum! {
    /// Whether file systems are frozen.
    pub enum FreezeStatus {
        /// None is.
        Thawed = "thawed",
        /// Some may be.
        Frozen = "frozen",
    }
}

object! {
    /// Of `guest-info`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct AgentInfo {
        /// Version of the agent.
        version: String = "version",
        /// Its commands.
        supported_commands: Vec<AgentCommand> = "supported_commands",
    }
}

object! {
    /// A command that an agent lists.
    #[derive(Clone, Debug, PartialEq)]
    pub struct AgentCommand {
        /// Its name.
        name: String = "name",
        /// Whether it may be used; who runs the guest decides.
        enabled: bool = "enabled",
        /// Whether it answers when it does as told.
        success_response: bool = "success-response",
    }
}

object! {
    /// Of `guest-file-read`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileChunk {
        /// Bytes.
        count: i64 = "count",
        /// The bytes, in base64.
        buf_b64: String = "buf-b64",
        /// Whether the end was met.
        eof: bool = "eof",
    }
}

object! {
    /// Of `guest-file-write`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileWritten {
        /// Bytes that were written.
        count: i64 = "count",
        /// Whether the end was met.
        eof: bool = "eof",
    }
}

object! {
    /// Of `guest-file-seek`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FilePosition {
        /// Bytes from the beginning.
        position: i64 = "position",
        /// Whether the end was met.
        eof: bool = "eof",
    }
}

open_enum! {
    /// What a position counts from.
    pub enum Whence {
        /// The beginning.
        Set = "set",
        /// Where the file is.
        Cur = "cur",
        /// The end.
        End = "end",
    }
}

object! {
    /// Of `guest-fstrim`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FilesystemTrims {
        /// One for each file system.
        paths: Vec<FilesystemTrim> = "paths",
    }
}

object! {
    /// What was given back of one file system.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FilesystemTrim {
        /// Mount point.
        path: String = "path",
        /// Why nothing was.
        error: Option<String> = "error",
        /// Bytes.
        trimmed: Option<u64> = "trimmed",
        /// Smallest range that was, in bytes.
        minimum: Option<u64> = "minimum",
    }
}

object! {
    /// Of `guest-get-host-name`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct HostName {
        /// The name.
        host_name: String = "host-name",
    }
}

object! {
    /// The guest's operating system (os-release(5), uname(2)).
    #[derive(Clone, Debug, PartialEq)]
    pub struct OsInfo {
        /// `kernel-release`.
        kernel_release: Option<String> = "kernel-release",
        /// `kernel-version`.
        kernel_version: Option<String> = "kernel-version",
        /// `machine`.
        machine: Option<String> = "machine",
        /// `id`.
        id: Option<String> = "id",
        /// `name`.
        name: Option<String> = "name",
        /// `pretty-name`.
        pretty_name: Option<String> = "pretty-name",
        /// `version`.
        version: Option<String> = "version",
        /// `version-id`.
        version_id: Option<String> = "version-id",
        /// `variant`.
        variant: Option<String> = "variant",
        /// `variant-id`.
        variant_id: Option<String> = "variant-id",
    }
}

object! {
    /// The guest's time zone.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Timezone {
        /// Its name.
        zone: Option<String> = "zone",
        /// Seconds east of UTC.
        offset: i64 = "offset",
    }
}

object! {
    /// Who is logged in.
    #[derive(Clone, Debug, PartialEq)]
    pub struct User {
        /// Name.
        user: String = "user",
        /// Since when: seconds since the epoch.
        login_time: f64 = "login-time",
        /// Domain of the name, on Windows.
        domain: Option<String> = "domain",
    }
}

object! {
    /// Of `guest-ssh-get-authorized-keys`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct AuthorizedKeys {
        /// Lines of `authorized_keys`.
        keys: Vec<String> = "keys",
    }
}

/// What is kept of a program's output.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CaptureOutput {
    /// Both streams, or nothing: all agents understand this.
    Flag(bool),
    /// Since 8.1.
    Mode(CaptureMode),
}

impl Decode for CaptureOutput {
    fn decode(value: Value) -> Result<Self, DecodeError> {
        match value {
            Value::Bool(flag) => Ok(Self::Flag(flag)),
            other => CaptureMode::decode(other).map(Self::Mode),
        }
    }
}

impl Encode for CaptureOutput {
    fn encode(&self) -> Value {
        match self {
            Self::Flag(flag) => Value::from(*flag),
            Self::Mode(mode) => mode.encode(),
        }
    }
}

open_enum! {
    /// What is kept of a program's output.
    pub enum CaptureMode {
        /// Nothing.
        None = "none",
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
        /// Both, apart.
        Separated = "separated",
        /// Both in one, as standard output.
        Merged = "merged",
    }
}

object! {
    /// Of `guest-exec`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ExecStarted {
        /// By which its end is asked for.
        pid: i64 = "pid",
    }
}

object! {
    /// What became of a program.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ExecOutcome {
        /// Whether it has ended.
        exited: bool = "exited",
        /// Its exit status.
        exitcode: Option<i64> = "exitcode",
        /// The signal that ended it; on Windows the exception.
        signal: Option<i64> = "signal",
        /// Standard output, in base64.
        out_data: Option<String> = "out-data",
        /// Standard error, in base64.
        err_data: Option<String> = "err-data",
        /// Whether there was more of it (over 16 MiB).
        out_truncated: Option<bool> = "out-truncated",
        /// Whether there was more of it.
        err_truncated: Option<bool> = "err-truncated",
    }
}

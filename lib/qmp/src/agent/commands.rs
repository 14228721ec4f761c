//! The agent's commands and what they answer, written by hand: the agent cannot be asked for its schema. The names of the commands are
//! compared with what real agents of 7.2 and 10.0 list; the replies with what they answer (`lib/qmp/tests/agent/`).

pub use super::{hardware::*, types::*};

#[cfg(test)]
use crate::wire::{DecodeError, Encode as _};
use crate::{
    commands::Done,
    wire::{Decode, Object, object},
};
#[cfg(test)]
use serde_json::Value;

/// A command of the guest agent. Its members are its arguments.
pub trait Command: Object {
    /// What is known of it.
    const FACTS: &'static Facts;
    /// What the agent answers.
    type Reply: Decode;
}

/// What is known of a command of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Name on the wire.
    pub name: &'static str,
    /// The first release of QEMU whose agent has it.
    pub since: &'static str,
    /// When the agent answers.
    pub answer: Answer,
    /// How long it may take.
    pub pace: Pace,
    /// Whether a frozen agent takes it.
    pub while_frozen: WhileFrozen,
}

impl Facts {
    const fn new(name: &'static str, since: &'static str) -> Self {
        let (answer, pace, while_frozen) = (Answer::Always, Pace::Prompt, WhileFrozen::Refused);
        Self { name, since, answer, pace, while_frozen }
    }

    const fn silent(self) -> Self {
        Self { answer: Answer::RefusalsOnly, pace: Pace::Slow, ..self }
    }

    const fn slow(self) -> Self {
        Self { pace: Pace::Slow, ..self }
    }

    const fn freezing(self) -> Self {
        Self { pace: Pace::Freeze, ..self }
    }

    const fn while_frozen(self) -> Self {
        Self { while_frozen: WhileFrozen::Taken, ..self }
    }

    /// Whether it freezes or thaws: the only ones that wait for all file systems and are taken while those are frozen.
    pub(super) fn is_guarded(&self) -> bool {
        (self.pace, self.while_frozen) == (Pace::Freeze, WhileFrozen::Taken)
    }

    /// The facts of a command that is not in the table, such as one of a vendor or of a newer agent.
    #[must_use]
    pub const fn unlisted(name: &'static str) -> Self {
        Self::new(name, "")
    }
}

/// When the agent answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Always.
    Always,
    /// When it refuses; when it does as told the guest goes down or to sleep, perhaps before an answer could be sent.
    RefusalsOnly,
}

/// How long a command may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It asks the kernel.
    Prompt,
    /// It works on disks or starts a program and waits for it.
    Slow,
    /// It waits until all file systems have written what they hold.
    Freeze,
}

/// Whether an agent that has frozen the file systems takes a command. It refuses most, because they could write, and wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileFrozen {
    /// It does.
    Taken,
    /// It does not.
    Refused,
}

macro_rules! commands {
    ($($type:ident: $facts:expr => $reply:ty;)+) => {
        $(impl Command for $type {
            const FACTS: &'static Facts = &$facts;
            type Reply = $reply;
        })+

        /// All commands, in the order of their subjects.
        pub static COMMANDS: &[&Facts] = &[$($type::FACTS),+];

        /// Decodes the reply of a command and encodes it again.
        #[cfg(test)]
        pub(crate) fn reply_through(name: &str, reply: Value) -> Option<Result<Value, DecodeError>> {
            $(if name == $type::FACTS.name {
                return Some(<$reply>::decode(reply).map(|typed| typed.encode()));
            })+
            None
        }
    };
}

commands! {
    Sync: Facts::new("guest-sync", "0.15").while_frozen() => i64;
    SyncDelimited: Facts::new("guest-sync-delimited", "1.1").while_frozen() => i64;
    Ping: Facts::new("guest-ping", "0.15").while_frozen() => Done;
    Info: Facts::new("guest-info", "0.15").while_frozen() => AgentInfo;
    GetTime: Facts::new("guest-get-time", "1.5") => i64;
    SetTime: Facts::new("guest-set-time", "1.5").slow() => Done;
    Shutdown: Facts::new("guest-shutdown", "0.15").silent() => Done;
    SuspendDisk: Facts::new("guest-suspend-disk", "1.1").silent() => Done;
    SuspendRam: Facts::new("guest-suspend-ram", "1.1").silent() => Done;
    SuspendHybrid: Facts::new("guest-suspend-hybrid", "1.1").silent() => Done;
    FileOpen: Facts::new("guest-file-open", "0.15").slow() => i64;
    FileClose: Facts::new("guest-file-close", "0.15").slow() => Done;
    FileRead: Facts::new("guest-file-read", "0.15").slow() => FileChunk;
    FileWrite: Facts::new("guest-file-write", "0.15").slow() => FileWritten;
    FileSeek: Facts::new("guest-file-seek", "0.15").slow() => FilePosition;
    FileFlush: Facts::new("guest-file-flush", "0.15").slow() => Done;
    FsfreezeStatus: Facts::new("guest-fsfreeze-status", "0.15").while_frozen() => FreezeStatus;
    FsfreezeFreeze: Facts::new("guest-fsfreeze-freeze", "0.15").freezing().while_frozen() => i64;
    FsfreezeFreezeList: Facts::new("guest-fsfreeze-freeze-list", "2.2").freezing().while_frozen() => i64;
    FsfreezeThaw: Facts::new("guest-fsfreeze-thaw", "0.15").freezing().while_frozen() => i64;
    Fstrim: Facts::new("guest-fstrim", "1.2").freezing() => FilesystemTrims;
    GetFsinfo: Facts::new("guest-get-fsinfo", "2.2").slow() => Vec<Filesystem>;
    GetDisks: Facts::new("guest-get-disks", "5.2").slow() => Vec<Disk>;
    GetDiskstats: Facts::new("guest-get-diskstats", "7.1") => Vec<DiskStats>;
    GetVcpus: Facts::new("guest-get-vcpus", "1.5") => Vec<LogicalProcessor>;
    SetVcpus: Facts::new("guest-set-vcpus", "1.5").slow() => i64;
    GetCpustats: Facts::new("guest-get-cpustats", "7.1") => Vec<CpuStats>;
    GetLoad: Facts::new("guest-get-load", "10.0") => Load;
    GetMemoryBlocks: Facts::new("guest-get-memory-blocks", "2.3") => Vec<MemoryBlock>;
    SetMemoryBlocks: Facts::new("guest-set-memory-blocks", "2.3").slow() => Vec<MemoryBlockResponse>;
    GetMemoryBlockInfo: Facts::new("guest-get-memory-block-info", "2.3") => MemoryBlockInfo;
    NetworkGetInterfaces: Facts::new("guest-network-get-interfaces", "1.1") => Vec<NetworkInterface>;
    NetworkGetRoute: Facts::new("guest-network-get-route", "9.1") => Vec<NetworkRoute>;
    GetDevices: Facts::new("guest-get-devices", "5.2") => Vec<DeviceInfo>;
    GetHostName: Facts::new("guest-get-host-name", "2.10") => HostName;
    GetOsinfo: Facts::new("guest-get-osinfo", "2.10") => OsInfo;
    GetTimezone: Facts::new("guest-get-timezone", "2.10") => Timezone;
    GetUsers: Facts::new("guest-get-users", "2.10") => Vec<User>;
    SetUserPassword: Facts::new("guest-set-user-password", "2.3").slow() => Done;
    SshGetAuthorizedKeys: Facts::new("guest-ssh-get-authorized-keys", "5.2").slow() => AuthorizedKeys;
    SshAddAuthorizedKeys: Facts::new("guest-ssh-add-authorized-keys", "5.2").slow() => Done;
    SshRemoveAuthorizedKeys: Facts::new("guest-ssh-remove-authorized-keys", "5.2").slow() => Done;
    Exec: Facts::new("guest-exec", "2.5").slow() => ExecStarted;
    ExecStatus: Facts::new("guest-exec-status", "2.5") => ExecOutcome;
}

object! {
    /// Answers a number, to find the place in the stream again. [`super::session::Session`] does it by itself, with the delimited form.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Sync {
        /// Any number; it comes back.
        id: i64 = "id",
    }
}

object! {
    /// The same, with a byte 0xFF before the answer.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SyncDelimited {
        /// Any number; it comes back.
        id: i64 = "id",
    }
}

object! {
    /// Answers.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct Ping {}
}

object! {
    /// Version and commands of the agent.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct Info {}
}

object! {
    /// Nanoseconds since the epoch on the guest's clock.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetTime {}
}

object! {
    /// Sets the guest's clock.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SetTime {
        /// Nanoseconds since the epoch; absent: what the hardware clock says.
        time: Option<u64> = "time",
    }
}

object! {
    /// Ends or restarts the guest.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Shutdown {
        /// Absent: [`ShutdownMode::Powerdown`].
        mode: Option<ShutdownMode> = "mode",
    }
}

object! {
    /// Suspends the guest to disk.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct SuspendDisk {}
}

object! {
    /// Suspends the guest to memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct SuspendRam {}
}

object! {
    /// Suspends the guest to both.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct SuspendHybrid {}
}

object! {
    /// Opens a file; answers its handle.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileOpen {
        /// Path in the guest.
        path: String = "path",
        /// As for `fopen`; absent: `r`.
        mode: Option<String> = "mode",
    }
}

object! {
    /// Closes a file.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileClose {
        /// The file.
        handle: i64 = "handle",
    }
}

object! {
    /// Reads from a file.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileRead {
        /// The file.
        handle: i64 = "handle",
        /// Bytes wanted; absent: 4 KiB.
        count: Option<i64> = "count",
    }
}

object! {
    /// Writes to a file.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileWrite {
        /// The file.
        handle: i64 = "handle",
        /// The bytes, in base64.
        buf_b64: String = "buf-b64",
        /// How many of them; absent: all.
        count: Option<i64> = "count",
    }
}

object! {
    /// Moves in a file.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileSeek {
        /// The file.
        handle: i64 = "handle",
        /// Bytes.
        offset: i64 = "offset",
        /// From where.
        whence: Whence = "whence",
    }
}

object! {
    /// Hands what was written to the guest's kernel.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FileFlush {
        /// The file.
        handle: i64 = "handle",
    }
}

object! {
    /// Whether file systems are frozen.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct FsfreezeStatus {}
}

object! {
    /// Freezes all file systems; answers how many. [`super::Agent::freeze`] makes sure that they thaw.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct FsfreezeFreeze {}
}

object! {
    /// Freezes some file systems; answers how many.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FsfreezeFreezeList {
        /// Mount points; absent: all.
        mountpoints: Option<Vec<String>> = "mountpoints",
    }
}

object! {
    /// Thaws all file systems; answers how many.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct FsfreezeThaw {}
}

object! {
    /// Gives back what file systems do not use.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Fstrim {
        /// Smallest free range to give back, in bytes.
        minimum: Option<i64> = "minimum",
    }
}

object! {
    /// Mounted file systems and the disks below.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetFsinfo {}
}

object! {
    /// Disks and partitions.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetDisks {}
}

object! {
    /// Counters of disks.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetDiskstats {}
}

object! {
    /// Processors, as the guest sees them.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetVcpus {}
}

object! {
    /// Takes processors on or off line; answers how many were done, from the first on.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SetVcpus {
        /// What to change.
        vcpus: Vec<LogicalProcessor> = "vcpus",
    }
}

object! {
    /// Times of processors.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetCpustats {}
}

object! {
    /// Load of the guest.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetLoad {}
}

object! {
    /// Blocks of memory, as the guest sees them.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetMemoryBlocks {}
}

object! {
    /// Takes blocks of memory on or off line.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SetMemoryBlocks {
        /// What to change.
        mem_blks: Vec<MemoryBlock> = "mem-blks",
    }
}

object! {
    /// The size of a block.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetMemoryBlockInfo {}
}

object! {
    /// Network interfaces, addresses, counters.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct NetworkGetInterfaces {}
}

object! {
    /// Routes.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct NetworkGetRoute {}
}

object! {
    /// Drivers of devices; agents of Windows only.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetDevices {}
}

object! {
    /// The guest's name.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetHostName {}
}

object! {
    /// The guest's operating system.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetOsinfo {}
}

object! {
    /// The guest's time zone.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetTimezone {}
}

object! {
    /// Who is logged in.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct GetUsers {}
}

object! {
    /// Sets a password.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SetUserPassword {
        /// Name of the user.
        username: String = "username",
        /// In base64.
        password: String = "password",
        /// Whether it is a hash already.
        crypted: bool = "crypted",
    }
}

object! {
    /// The keys by which a user may log in.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SshGetAuthorizedKeys {
        /// Name of the user.
        username: String = "username",
    }
}

object! {
    /// Adds keys.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SshAddAuthorizedKeys {
        /// Name of the user.
        username: String = "username",
        /// Lines of `authorized_keys`.
        keys: Vec<String> = "keys",
        /// Whether they replace those that are there.
        reset: Option<bool> = "reset",
    }
}

object! {
    /// Removes keys.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SshRemoveAuthorizedKeys {
        /// Name of the user.
        username: String = "username",
        /// Lines of `authorized_keys`.
        keys: Vec<String> = "keys",
    }
}

object! {
    /// Starts a program. [`super::Agent::exec`] waits for its end.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Exec {
        /// The program.
        path: String = "path",
        /// Arguments, without the program's name.
        arg: Option<Vec<String>> = "arg",
        /// `NAME=VALUE`; absent: the agent's own.
        env: Option<Vec<String>> = "env",
        /// Standard input, in base64.
        input_data: Option<String> = "input-data",
        /// What of its output is kept; absent: nothing.
        capture_output: Option<CaptureOutput> = "capture-output",
    }
}

object! {
    /// What became of a program; once it has ended, this can be asked once.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ExecStatus {
        /// Of [`ExecStarted`].
        pid: i64 = "pid",
    }
}

//! Typed commands: a type per command, its members the arguments, its [`Command::Reply`] the answer.
//!
//! Facts about names and members are those of QEMU 7.2's `query-qmp-schema`. Members that these types do not name are
//! ignored, so a newer server is no obstacle. Commands missing here are reached by [`crate::Client::execute`].

use crate::{message::Version, open_enum::open_enum, session::Execution};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A command of the protocol.
pub trait Command: Serialize {
    /// Name on the wire.
    const NAME: &'static str;
    /// In band unless the schema allows otherwise and the command is of use there.
    const EXECUTION: Execution = Execution::InBand;
    /// What the server answers.
    type Reply: DeserializeOwned;
}

/// The answer of commands that only succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Done {}

macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident = $text:literal -> $reply:ty;)+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, Serialize)]
            pub struct $name {}

            impl Command for $name {
                const NAME: &'static str = $text;
                type Reply = $reply;
            }
        )+
    };
}

commands! {
    /// What the machine is doing.
    QueryStatus = "query-status" -> StatusInfo;
    /// Lets the virtual CPUs run. Raises RESUME before it is answered.
    Cont = "cont" -> Done;
    /// Stops the virtual CPUs.
    Stop = "stop" -> Done;
    /// Ends the process at once; guests lose what they have not written.
    Quit = "quit" -> Done;
    /// Presses the ACPI power button. The guest may ignore it.
    SystemPowerdown = "system_powerdown" -> Done;
    /// Resets the machine as its reset button would.
    SystemReset = "system_reset" -> Done;
    /// Version of QEMU.
    QueryVersion = "query-version" -> Version;
    /// Whether KVM is in use.
    QueryKvm = "query-kvm" -> KvmInfo;
    /// Virtual CPUs and their threads.
    QueryCpusFast = "query-cpus-fast" -> Vec<CpuInfo>;
    /// Memory left to the guest by its balloon. Refused with DeviceNotActive before the guest's driver is up.
    QueryBalloon = "query-balloon" -> BalloonInfo;
    /// The identity given by `-uuid`.
    QueryUuid = "query-uuid" -> UuidInfo;
    /// The name given by `-name`.
    QueryName = "query-name" -> NameInfo;
}

/// Counters of every disk, since the start of the process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct QueryBlockstats {
    /// Report block nodes instead of devices.
    #[serde(rename = "query-nodes", skip_serializing_if = "Option::is_none")]
    pub query_nodes: Option<bool>,
}

impl Command for QueryBlockstats {
    const NAME: &'static str = "query-blockstats";
    type Reply = Vec<BlockStats>;
}

/// Asks the guest to give memory back or take it again.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Balloon {
    /// Memory the guest shall have, in bytes.
    pub value: u64,
}

impl Command for Balloon {
    const NAME: &'static str = "balloon";
    type Reply = Done;
}

/// Breaks hung connections (migration, chardevs, NBD) that block the main loop; runs out of band.
#[derive(Clone, Debug, Serialize)]
pub struct Yank {
    /// What to break, in the form of `query-yank`.
    pub instances: Vec<serde_json::Value>,
}

impl Command for Yank {
    const NAME: &'static str = "yank";
    const EXECUTION: Execution = Execution::OutOfBand;
    type Reply = Done;
}

open_enum! {
    /// What a machine is doing (`RunState`).
    pub enum RunState {
        /// Stopped by a debugger.
        Debug = "debug",
        /// Waits for the data of a migration.
        InMigrate = "inmigrate",
        /// QEMU cannot go on with this guest, e.g. KVM could not emulate an instruction.
        InternalError = "internal-error",
        /// A disk failed and the policy is to stop.
        IoError = "io-error",
        /// Stopped by `stop`.
        Paused = "paused",
        /// Migrated away.
        PostMigrate = "postmigrate",
        /// Set up and never run: started with `-S`.
        Prelaunch = "prelaunch",
        /// The end of a migration is under way.
        FinishMigrate = "finish-migrate",
        /// A snapshot is being restored.
        RestoreVm = "restore-vm",
        /// The guest runs.
        Running = "running",
        /// A snapshot is being taken.
        SaveVm = "save-vm",
        /// The guest has powered itself off and the process stays.
        Shutdown = "shutdown",
        /// Suspended to memory.
        Suspended = "suspended",
        /// Stopped by the watchdog.
        Watchdog = "watchdog",
        /// Stopped because the guest panicked.
        GuestPanicked = "guest-panicked",
        /// Stopped as the passive side of a COLO pair.
        Colo = "colo",
    }
}

/// Answer of [`QueryStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct StatusInfo {
    /// Whether virtual CPUs run.
    pub running: bool,
    /// What the machine is doing.
    pub status: RunState,
}

/// Answer of [`QueryKvm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct KvmInfo {
    /// In use by this machine. Says nothing about whether guests make progress.
    pub enabled: bool,
    /// Compiled in.
    pub present: bool,
}

/// One virtual CPU.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct CpuInfo {
    /// Number within the machine.
    pub cpu_index: u32,
    /// Thread on the host.
    pub thread_id: u32,
}

/// Answer of [`QueryBalloon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct BalloonInfo {
    /// Memory left to the guest, in bytes.
    pub actual: u64,
}

/// Answer of [`QueryUuid`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UuidInfo {
    /// The identity in its text form.
    #[serde(rename = "UUID")]
    pub uuid: String,
}

/// Answer of [`QueryName`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct NameInfo {
    /// Absent when none was given.
    pub name: Option<String>,
}

/// Counters of one disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct BlockStats {
    /// QOM path or id of the device; the key to use, as `device` is empty for disks made by `-blockdev`.
    #[serde(default)]
    pub qdev: Option<String>,
    /// Name of the topmost block node.
    #[serde(default)]
    pub node_name: Option<String>,
    /// The counters.
    pub stats: BlockDeviceStats,
}

/// Counters of a disk (`BlockDeviceStats`), cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct BlockDeviceStats {
    /// Bytes read by the guest.
    pub rd_bytes: u64,
    /// Bytes written by the guest.
    pub wr_bytes: u64,
    /// Read requests.
    pub rd_operations: u64,
    /// Write requests.
    pub wr_operations: u64,
    /// Flush requests.
    pub flush_operations: u64,
    /// Time spent on reads, in nanoseconds.
    pub rd_total_time_ns: u64,
    /// Time spent on writes, in nanoseconds.
    pub wr_total_time_ns: u64,
    /// Reads that failed.
    #[serde(default)]
    pub failed_rd_operations: u64,
    /// Writes that failed.
    #[serde(default)]
    pub failed_wr_operations: u64,
}

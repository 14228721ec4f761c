//! What runs instances on a node, and what every such driver promises.
//!
//! ```text
//!   agent: instance task ──> Driver (trait) ──┬─> qemu        virtual machines over QMP
//!            (one owner                       ├─> fake        in memory, with faults on demand
//!             per instance)                   └─> libvirt, containerd, firecracker (later)
//! ```
//!
//! The contract, checked by the [`conformance`] suite:
//!
//! - Every call names its instance by [`Handle`] and is safe to repeat: "do" means "adopt if it is there".
//! - All names that leave the driver (processes, sockets, taps, files) derive from the instance's uid, so that a driver
//!   that starts anew finds what an earlier one left.
//! - Calls for different instances never wait for each other; a silent guest delays only its own calls.
//! - A call that fails leaves nothing half done: what it made, it removes.
//! - [`Driver::events`] only says *that* an instance changed; [`Driver::observe`] says what it is now. An event may be
//!   repeated; the last change is never lost.
//! - Retry, timeouts and metrics are no business of a driver.

pub mod conformance;
mod error;
pub mod fake;

pub use error::{DriverError, DriverErrorKind, Permanence};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use hv_core::instance::{Epoch, InstanceSpec, PublishedPort};
use hv_core::node::DriverStatus;
use hv_core::{InstanceId, Timestamp};
use std::collections::BTreeMap;
use tokio::io::AsyncWrite;

/// Names an instance to a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The instance.
    pub id: InstanceId,
    /// The assignment under which the agent holds it.
    pub epoch: Epoch,
}

/// An instance with all a driver needs to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Which instance.
    pub handle: Handle,
    /// Its name, for people: log lines, the guest's host name.
    pub name: String,
    /// Its project.
    pub project: String,
    /// What is wanted.
    pub spec: InstanceSpec,
}

/// Whether a guest starts running or halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartMode {
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are halted; [`Driver::resume`] lets them go.
    Paused,
}

/// What a driver can do beyond starting and stopping. Each has its checks in [`conformance`]; a capability without a check
/// does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// [`Driver::pause`], [`Driver::resume`], [`StartMode::Paused`].
    Pause,
    /// [`Driver::power_down`] reaches the guest.
    PowerDown,
    /// [`Driver::console`].
    Console,
    /// [`Driver::stats`].
    Stats,
    /// Guests outlive the driver and are found again.
    Adopt,
}

impl Capability {
    /// The word in a node's driver report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::PowerDown => "power-down",
            Self::Console => "console",
            Self::Stats => "stats",
            Self::Adopt => "adopt",
        }
    }
}

/// The guest, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guest {
    /// There is none, and no trace of how one ended.
    Absent,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are halted.
    Paused,
    /// It ended; what is left of it is removed by [`Driver::kill`] or the next start.
    Ended(End),
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It powered itself off, by itself or because it was asked to.
    PoweredOff,
    /// It crashed, or its process died; the message is what that said.
    Failed(String),
}

/// Whether the guest's monitor answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Responsive {
    /// It does, or there is none.
    #[default]
    Yes,
    /// It does not; why, for people.
    No(String),
}

/// Why the host halted a guest that nobody paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// What is wrong, for people: `no space on ...`.
    pub why: String,
    /// Whether the cause seems to be gone: [`Driver::resume`] is worth an attempt.
    pub mended: bool,
}

/// What a driver sees of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The guest.
    pub guest: Guest,
    /// Whether it answers.
    pub responsive: Responsive,
    /// Why a guest that is [`Guest::Paused`] was halted by the host; `None` when it was asked for.
    pub stalled: Option<Stalled>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// Ports of the node that lead into it.
    pub published_ports: Vec<PublishedPort>,
    /// Its addresses, where known.
    pub addresses: Vec<String>,
    /// Facts for people: process id, accelerator.
    pub details: BTreeMap<String, String>,
    /// Size of its root disk as it was made, in bytes; 0 where none was.
    pub root_disk_bytes: u64,
}

impl Observation {
    /// Nothing there.
    pub fn absent() -> Self {
        Self {
            guest: Guest::Absent,
            responsive: Responsive::Yes,
            stalled: None,
            started_at: None,
            published_ports: Vec::new(),
            addresses: Vec::new(),
            details: BTreeMap::new(),
            root_disk_bytes: 0,
        }
    }
}

/// Figures of a running guest; absent ones are not known, never 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// CPU time of its process, in nanoseconds.
    pub cpu_time_ns: Option<u64>,
    /// Resident memory of its process, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Bytes received and sent on its interfaces.
    pub network_bytes: Option<(u64, u64)>,
    /// Its disks.
    pub disks: Vec<DiskStats>,
}

/// Figures of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// The disk's name in the specification; `root` for the root disk.
    pub name: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read requests.
    pub read_requests: u64,
    /// Write requests.
    pub write_requests: u64,
}

/// A console in both directions. Any number may be open at once; each gets all output, and all may write.
pub struct Console {
    /// First what was asked for of the past, then what is printed from then on; without gap or repetition. Ends with the
    /// guest.
    pub output: BoxStream<'static, std::io::Result<Bytes>>,
    /// What the guest reads.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

/// Runs instances of some kinds on this node. The module's head states the contract.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// The name in specifications and reports, such as `qemu`.
    fn name(&self) -> &'static str;

    /// What it can do beyond starting and stopping.
    fn capabilities(&self) -> Vec<Capability>;

    /// Health, version and facts for the node's report. Never fails: what is wrong is in the answer.
    async fn fingerprint(&self) -> DriverStatus;

    /// Whether this node can make the instance at all: image and bridge exist, programs are there. Makes nothing.
    async fn admit(&self, assignment: &Assignment) -> Result<(), DriverError>;

    /// Makes what the guest needs: disks, seeds, directories. Repeating it changes nothing.
    async fn prepare(&self, assignment: &Assignment) -> Result<(), DriverError>;

    /// Starts a guest on what [`Driver::prepare`] made. A guest that is there already is left alone.
    async fn start(&self, assignment: &Assignment, mode: StartMode) -> Result<(), DriverError>;

    /// Asks the guest to power itself off, and returns without waiting for it.
    async fn power_down(&self, handle: Handle) -> Result<(), DriverError>;

    /// Ends the guest now, and removes what is left of it but its disks. Returns when it is gone; no guest is no error.
    async fn kill(&self, handle: Handle) -> Result<(), DriverError>;

    /// Halts the vCPUs.
    async fn pause(&self, handle: Handle) -> Result<(), DriverError>;

    /// Lets halted vCPUs go on.
    async fn resume(&self, handle: Handle) -> Result<(), DriverError>;

    /// Removes everything of an instance that has no guest. Nothing there is no error.
    async fn delete(&self, handle: Handle) -> Result<(), DriverError>;

    /// What there is of an instance now; finds a guest that an earlier driver started. Bounded in time: a silent guest is
    /// [`Responsive::No`].
    async fn observe(&self, handle: Handle) -> Result<Observation, DriverError>;

    /// Every instance of which anything is left on this node.
    async fn list_owned(&self) -> Result<Vec<InstanceId>, DriverError>;

    /// Ids of instances that changed. Each call is a subscription of its own.
    fn events(&self) -> BoxStream<'static, InstanceId>;

    /// Figures of a running guest.
    async fn stats(&self, handle: Handle) -> Result<Stats, DriverError>;

    /// Opens the console, beginning with at most `replay_bytes` of what was printed before.
    async fn console(&self, handle: Handle, replay_bytes: u64) -> Result<Console, DriverError>;

    /// Fits the guest's terminal to a size, where the guest can be told.
    async fn resize_console(&self, handle: Handle, columns: u16, rows: u16) -> Result<(), DriverError>;
}

//! What goes into a [`Machine`](super::Machine), and what comes out of it.

use super::{Desired, Record, Report};
use hv_core::Timestamp;
use hv_driver::{Assignment, DriverError, Handle, Observation, StartMode};
use std::time::Duration;

/// Two clocks: one for records, one for deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock.
    pub wall: Timestamp,
    /// Since boot; never jumps.
    pub mono: Duration,
}

/// Whether old assignments are refused. Only the simulator, which proves that it would notice, ever switches it off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EpochCheck {
    /// They are.
    #[default]
    Enforced,
    /// They are not.
    Removed,
}

/// Whether a guest waits, in a new boot of the host, until a server has named its instance: its node may have been given up
/// while the host was off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirmation {
    /// It does.
    #[default]
    Awaited,
    /// It does not: whoever runs the host says that nobody else could run its instances.
    Waived,
}

/// Something the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say whether this node can make it.
    Admit,
    /// Make its disks.
    Prepare,
    /// Start its guest.
    Start(StartMode),
    /// Ask its guest to power off.
    PowerDown,
    /// End its guest and remove what is left of it.
    Kill,
    /// Halt its vCPUs.
    Pause,
    /// Let them go on.
    Resume,
    /// Remove everything.
    Delete,
}

/// What a machine is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// What the server wants.
    Desired(Box<Desired>),
    /// The driver says that something changed.
    Changed,
    /// The answer to [`Effect::Observe`] with its number.
    Observed(u64, Result<Observation, DriverError>),
    /// The answer to [`Effect::Run`].
    Done(Action, Result<(), DriverError>),
    /// The time of [`Effect::WakeAt`] has come.
    Timer,
    /// The node goes down: the guest may take this long, and nothing is started any more.
    Quiesce(Duration),
    /// The server gave up the node.
    Revoked,
    /// A server is connected, and the full set of what it wants here does not name the instance.
    Unnamed,
    /// The driver has nothing of it: what no server wants here, somebody has removed.
    Vanished,
}

/// What a machine wants done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write the record durably before going on.
    Persist(Box<Record>),
    /// Tell the server.
    Report(Box<Report>),
    /// Let the driver do this, and answer with [`Input::Done`].
    Run(Action, Box<Assignment>),
    /// Let the driver look, and answer with [`Input::Observed`].
    Observe(u64, Handle),
    /// Come back at this time (since boot); replaces an earlier wish.
    WakeAt(Duration),
}

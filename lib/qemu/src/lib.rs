//! QEMU from configuration to a supervised process.
//!
//! ```text
//!  Config --argv()--> command line --start()--> QEMU process (pidfd, log files, lock)
//!                                      |            ^
//!                                      v            | QMP over a socket bound before exec
//!                              (Vm, supervision) ---'
//!                                      ^
//!               Record (run directory) '--adopt()-- a later manager
//! ```
//!
//! - [`Config`] says what the machine is; [`argv::argv`] is pure.
//! - [`start()`] and [`adopt()`] give a [`Vm`] handle and a future that supervises the machine; the caller runs it.
//! - A machine outlives its manager: no pipe ends here, and the run directory holds all that a successor needs.
//! - [`accel`] decides whether KVM can be believed; [`binary`] finds QEMU, [`capabilities`] asks it what it can do.
//!
//! Not here: images and seeds, tap interfaces, placement, restart policy.

pub mod accel;
pub mod adopt;
pub mod argv;
pub mod binary;
pub mod capabilities;
pub mod config;
pub mod confine;
mod errors;
mod image;
mod left;
mod lock;
pub mod logs;
pub mod manager;
mod mutex;
mod proc_fs;
pub mod process;
mod record;
pub mod socket;
pub mod start;
pub mod stats;
pub mod swtpm;
pub mod vm;

pub use adopt::{Adoption, Unresponsive, adopt, adopt_in};
pub use binary::{Binary, BinaryCache, BinaryError};
pub use capabilities::Capabilities;
pub use config::{Accelerator, Config, ConfigError};
pub use confine::Confinement;
pub use errors::ErrorKind;
pub use logs::Logs;
pub use manager::{Manager, ManagerError};
pub use process::{Exit, Identity, Limits, Process};
pub use record::Record;
pub use start::{Incoming, StartError, StartSpec, start};
pub use swtpm::Swtpm;
pub use vm::{Ladder, Powerdown, Responsive, Rung, Status, Supervision, Vm};

/// The pages whose code is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/qemu/getting-started.md")]
#[doc = include_str!("../../../docs/qemu/lifecycle.md")]
#[doc = include_str!("../../../docs/qemu/debugging.md")]
mod pages {}

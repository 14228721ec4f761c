//! All in one: server and agent in one process, joined by the real stream, on the embedded store.
//!
//! ```text
//!   hypervisor dev         starts both, makes the instance `demo`, shows what there is, runs until Ctrl-C
//!   hypervisor dev --demo  the same unattended, in a directory of its own: proves the whole path and leaves nothing
//!   hypervisor down        stops whatever an earlier run left
//! ```

pub mod cli;
mod client;
mod ctl;
mod demo;
mod dev;
mod down;
mod guest;
pub mod local;
mod lock;

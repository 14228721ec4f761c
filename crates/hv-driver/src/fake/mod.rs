//! A driver without guests: for tests of everything above drivers, and for the simulator.
//!
//! [`Host`] is a plain value: what a machine with guests looks like. [`FakeDriver`] puts the [`Driver`](crate::Driver)
//! trait in front of it. Both take faults on demand; neither reads a clock.

mod driver;
mod host;

pub use driver::{FakeDriver, Fault};
pub use host::{Host, Slot};

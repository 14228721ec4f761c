//! One instance on this node: what is wanted, what is, and the task that owns it.
//!
//! ```text
//!   server ── desired ──┐                       ┌── Persist ──> journal   (before anything else happens)
//!   driver ── observed ─┼──> Machine::step ─────┼── Run ──────> driver    (one action at a time)
//!   driver ── done ─────┤    (pure)             ├── Observe ──> driver
//!   clock ─── timer ────┘                       └── Report ───> server
//! ```

pub mod machine;
pub mod record;
mod report;
mod stall;
mod status;
mod step;
pub mod task;

pub use machine::{Action, Effect, Input, Machine};
pub use record::{Desired, Ended, EndedBy, Record, Started};
pub use report::Report;

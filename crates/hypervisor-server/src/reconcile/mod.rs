//! What the server does by itself: it compares what is wanted with what is, and takes the next step.
//!
//! ```text
//!   changes of the store ─┐                        ┌─> Txn     (placement, status, operations)
//!   agents' frames ───────┼─> Controller::step ────┼─> Send    (welcome, desired state, heartbeat)
//!   the clock ────────────┘   (pure, one owner)    └─> Close, Forward
//! ```
//!
//! Level-triggered: each object is looked at whenever something about it may have changed; looking again does no harm. One
//! transaction for an object is under way at a time, and the object rests until its outcome is visible.

mod controller;
mod desired;
mod drain;
mod instance;
mod link;
mod node;
mod progress;
mod session;
mod sighting;
#[cfg(test)]
mod tests;

pub use controller::{Conn, Controller, Effect, Input, Now, Subject, Timing};
pub(crate) use instance::{candidates, scheduled};

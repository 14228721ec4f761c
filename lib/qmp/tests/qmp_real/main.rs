//! The client against the installed QEMU: what only the real one can show.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

mod agent;
#[path = "../support/agent_guest.rs"]
mod agent_guest;
mod descriptors;
mod faults;
#[path = "../support/observed.rs"]
mod observed;
mod opening;
mod sharing;
mod support;

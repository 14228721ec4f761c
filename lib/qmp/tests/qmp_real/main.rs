//! The client against a real QEMU, the installed one or another release: what only the real one can show.
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
#[path = "../../../qemu/tests/support/release.rs"]
mod release;
mod sharing;
mod support;
#[path = "../../../qemu/tests/support/unpacked.rs"]
mod unpacked;

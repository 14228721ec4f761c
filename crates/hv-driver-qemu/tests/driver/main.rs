//! The driver on the real QEMU, translated (TCG), so that it runs on every host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

mod apart;
mod conformance;
mod faults;
mod place;
mod space;
mod uefi;

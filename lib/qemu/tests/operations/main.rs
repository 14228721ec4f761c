//! Operations on machines that run, with guests that say what they see. Translated (TCG), so that it runs on every host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

mod agent;
#[path = "../../../qmp/tests/support/agent_guest.rs"]
mod agent_guest;
mod backup;
mod beside;
mod block;
mod counting;
mod credentials;
mod cut;
mod display;
#[path = "../support/elsewhere.rs"]
mod elsewhere;
mod filters;
mod firmware;
mod guest;
mod handed;
#[path = "../support/huge_pages.rs"]
mod huge_pages;
mod images;
#[path = "../support/loop_device.rs"]
mod loop_device;
mod migration;
mod modules;
#[path = "../../../qmp/tests/support/observed.rs"]
mod observed;
mod others;
mod pictures;
mod plug;
#[path = "../support/polled.rs"]
mod polled;
#[path = "../support/release.rs"]
mod release;
mod saved;
mod seed;
mod shares;
mod small;
mod snapshot;
#[path = "../support/sys.rs"]
mod sys;
#[path = "../support/unpacked.rs"]
mod unpacked;
#[path = "../support/vhost_user.rs"]
mod vhost_user;

//! What the end-to-end tests stand on: a [`Site`] is one server and one agent as processes of their own, in a directory of
//! their own, with real guests; an [`Api`] talks to it as any user does.
//!
//! ```text
//!   test ── Api ── unix socket ── hypervisor-server ── stream ── hypervisor-agent ── QEMU (TCG), user of its own
//!     └──── Guests: looks at /proc, from outside
//! ```
//!
//! Nothing outlives a site: programs and guests end with it, also when a test fails.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "a part of tests: it fails and reports as they do"
)]

mod api;
mod guests;
mod program;
mod site;
mod small;

pub use api::{Api, Console, boots, error_info, page, uptime};
pub use guests::{Guests, Process, Sampler};
pub use program::{Program, path_of};
pub use site::{Site, demo, free_port};
pub use small::Small;

use std::time::Duration;

/// Far more than anything here takes; reached only when something hangs.
pub const LONG: Duration = Duration::from_secs(90);

/// Waits for something that will come to pass.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

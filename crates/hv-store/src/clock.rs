//! The clock that leases run on.

use tokio::time::Instant;

/// Tokio's clock, so that tests with paused time govern leases too.
#[expect(
    clippy::disallowed_methods,
    reason = "back-ends expire leases by themselves; this is their only clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

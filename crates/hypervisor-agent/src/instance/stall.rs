//! A guest that its host halted: when it is let go again.
//!
//! ```text
//!   halted ── the host says that the cause is gone ──────────> at once
//!      '───── 2 s, and twice that after each attempt, to 60 s ─> an attempt
//! ```
//!
//! The host's word hastens one attempt. Where the guest is halted again soon after, the host is wrong, as it is where a quota or
//! another guest takes the space that it sees, and the pauses decide alone until the guest has run for a while.

use super::machine::{FIRST_PAUSE, RECOVERED_AFTER};
use hv_driver::Stalled;
use std::time::Duration;

/// The longest pause between two attempts. Each costs the guest one more write that fails; what matters is how soon it goes
/// on where nobody can tell that the cause is gone, such as a quota.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Since the host halted the guest, until it has run for a while.
#[derive(Debug)]
pub(super) struct Stall {
    attempts: u32,
    due: Duration,
    mended: bool,
    /// An attempt was made on the host's word.
    believed: bool,
    running_since: Option<Duration>,
}

impl Stall {
    /// Takes what was seen of a guest that lives.
    pub(super) fn observe(stall: &mut Option<Self>, seen: Option<&Stalled>, now: Duration) {
        match (stall.as_mut(), seen) {
            (None, None) => {}
            (None, Some(seen)) => {
                let due = if seen.mended { now } else { now + FIRST_PAUSE };
                *stall = Some(Self {
                    attempts: 0,
                    due,
                    mended: seen.mended,
                    believed: false,
                    running_since: None,
                });
            }
            (Some(known), Some(seen)) => {
                if seen.mended && !known.mended && !known.believed {
                    known.due = now;
                }
                known.mended = seen.mended;
                known.running_since = None;
            }
            (Some(known), None) => {
                if now.saturating_sub(*known.running_since.get_or_insert(now)) >= RECOVERED_AFTER {
                    *stall = None;
                }
            }
        }
    }

    /// It is being let go.
    pub(super) fn attempted(&mut self, now: Duration) {
        self.attempts = self.attempts.saturating_add(1);
        self.believed |= self.mended;
        self.due = now + FIRST_PAUSE.saturating_mul(1 << self.attempts.min(16)).min(LONGEST_PAUSE);
    }

    /// When it may be let go.
    pub(super) fn due(&self) -> Duration {
        self.due
    }
}

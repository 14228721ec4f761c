//! The time, in the one place where it is read. What decides by it takes what tells it as an argument.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// What tells the time since any beginning.
pub(crate) type Clock = fn() -> Duration;

/// The time since the system was started (`CLOCK_MONOTONIC`).
pub fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// The processor time that all threads of this process have had.
pub fn processor() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither is negative: both count from a beginning.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

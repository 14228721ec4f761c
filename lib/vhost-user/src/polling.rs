//! Looking at a ring for a moment before sleeping.
//!
//! A sleep costs a system call here, one of the other side's to end it, and the microseconds in which the processor comes back. Where the
//! other side answers sooner than that, looking is cheaper; where it does not, looking is a waste. Which of them it is shows by how long
//! the last waits took: the rule is that of QEMU's event loop (`util/aio-posix.c`, `adjust_polling_time`).

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The longest look, which is the default of QEMU's I/O threads.
pub(crate) const MOST: Duration = Duration::from_micros(32);

/// A look that is worth its while begins with this.
const LEAST: Duration = Duration::from_micros(4);

/// Looks between two readings of the clock.
const LOOKS: u32 = 32;

/// How long to look, as the last waits have taught it.
#[derive(Debug)]
pub(crate) struct Polling {
    most: Duration,
    now: Duration,
}

impl Polling {
    /// Never looks longer than `most`; 0: never looks.
    pub(crate) const fn new(most: Duration) -> Self {
        Self { most, now: Duration::ZERO }
    }

    /// One that has learnt to look so long.
    #[cfg(test)]
    pub(crate) const fn learnt(now: Duration) -> Self {
        Self { most: now, now }
    }

    /// A wait that begins now.
    pub(crate) fn begin(&self) -> Wait {
        Wait { start: now() }
    }

    /// Looks whether it is there, for a while, and not beyond `most` of the wait's time; `false`: it is time to sleep, or to do something
    /// else.
    pub(crate) fn look(&self, wait: &Wait, most: Duration, mut is_there: impl FnMut() -> bool) -> bool {
        let most = self.now.min(most);
        if most.is_zero() {
            return is_there();
        }
        loop {
            for _ in 0..LOOKS {
                if is_there() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if wait.took() >= most {
                return false;
            }
        }
    }

    /// Whether a wait has been looked at for as long as is worth its while.
    pub(crate) fn is_over(&self, wait: &Wait) -> bool {
        wait.took() >= self.now
    }

    /// Looking does not show what is waited for.
    pub(crate) const fn stop(&mut self) {
        self.now = Duration::ZERO;
    }

    /// What was waited for has come.
    pub(crate) fn ended(&mut self, wait: &Wait) {
        self.now = next(self.now, self.most, wait.took());
    }
}

/// How long to look the next time, after a wait that took so long.
fn next(now: Duration, most: Duration, took: Duration) -> Duration {
    if took <= now {
        now
    } else if took > most {
        Duration::ZERO
    } else {
        (now * 2).clamp(LEAST.min(most), most)
    }
}

/// A wait under way.
#[derive(Debug)]
pub(crate) struct Wait {
    start: Duration,
}

impl Wait {
    pub(crate) fn took(&self) -> Duration {
        now().saturating_sub(self.start)
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    // Neither is negative: it is the time since the system was started.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn looks_grow_while_a_longer_one_would_have_been_enough() {
        assert_eq!(next(us(0), MOST, us(10)), us(4));
        assert_eq!(next(us(4), MOST, us(10)), us(8));
        assert_eq!(next(us(8), MOST, us(10)), us(16), "16 are enough now");
        assert_eq!(next(us(16), MOST, us(10)), us(16));
        assert_eq!(next(us(30), MOST, us(31)), MOST, "and no more");
    }

    #[test]
    fn nobody_looks_for_what_takes_longer_than_the_longest_look() {
        assert_eq!(next(us(16), MOST, us(33)), us(0));
        assert_eq!(next(us(0), us(0), us(1)), us(0));
        assert_eq!(next(us(0), us(0), us(0)), us(0));
        assert_eq!(next(us(0), us(2), us(1)), us(2), "never beyond the longest");
    }

    #[test]
    fn what_is_there_is_seen_without_any_time() {
        for polling in [Polling::new(Duration::ZERO), Polling::learnt(Duration::from_secs(60))] {
            let wait = polling.begin();
            assert!(polling.look(&wait, Duration::ZERO, || true));
            assert!(!polling.look(&wait, Duration::ZERO, || false));
        }
    }

    #[test]
    fn a_look_lasts_no_longer_than_it_may() {
        let polling = Polling::learnt(Duration::from_secs(5));
        let wait = polling.begin();
        assert!(!polling.look(&wait, us(10), || false));
        assert!(!polling.is_over(&wait), "it goes on later");
    }
}

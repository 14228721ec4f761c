//! Looking at a ring for a moment before sleeping.
//!
//! A sleep costs a system call here, one of the other side's to end it, and the microseconds in which the processor comes back. Where the
//! other side answers sooner than that, looking is cheaper; where it does not, looking is a waste. Which of them it is shows by how long
//! the last waits took: the rule is that of QEMU's event loop (`util/aio-posix.c`, `adjust_polling_time`), with one thing added. A wait
//! that slept took as long as the wake-up did, however soon the other side had answered, and where waking takes longer than the longest
//! look (an idle virtual machine's processor does that) no sleep would ever teach anybody to look again. So after such a sleep the next
//! wait is looked through for once; where that is in vain, the following ones are left alone, twice as many each time.

use crate::clock::Clock;
use std::time::Duration;

/// The longest look, which is the default of QEMU's I/O threads.
pub(crate) const MOST: Duration = Duration::from_micros(32);

/// A look that is worth its while begins with this.
const LEAST: Duration = Duration::from_micros(4);

/// A sleep may have been this long, for nothing but the wake-up, though what was waited for came at once: in multiples of the longest look.
const WAKE_UP: u32 = 8;

/// As many waits at most are left alone after a look that was in vain, so that looks in vain take at most a sixty-fourth of the time.
const MOST_LEFT_ALONE: u32 = 63;

/// Looks between two readings of the clock.
const LOOKS: u32 = 32;

/// How long to look, as the last waits have taught it.
#[derive(Debug)]
pub(crate) struct Polling {
    most: Duration,
    now: Duration,
    trials: Trials,
    clock: Clock,
}

impl Polling {
    /// Never looks longer than `most` by this clock; 0: never looks.
    pub(crate) const fn new(most: Duration, clock: Clock) -> Self {
        Self { most, now: Duration::ZERO, trials: Trials::NONE, clock }
    }

    /// One that has learnt to look so long.
    #[cfg(test)]
    pub(crate) const fn learnt(now: Duration, clock: Clock) -> Self {
        Self { most: now, now, trials: Trials::NONE, clock }
    }

    /// Whether it looks at all, as the last waits have taught it.
    pub(crate) const fn looks(&self) -> bool {
        !self.now.is_zero()
    }

    /// A wait that begins now.
    pub(crate) fn begin(&self) -> Wait {
        Wait { start: (self.clock)(), clock: self.clock }
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
        let took = wait.took();
        self.now = if took <= self.most {
            self.trials = Trials::NONE;
            next(self.now, self.most, took)
        } else if self.trials.is_due(self.now == self.most) && took <= self.most * WAKE_UP {
            self.most
        } else {
            Duration::ZERO
        };
    }
}

/// Waits that are looked through because the sleeps before them were too short to say anything.
#[derive(Clone, Copy, Debug)]
struct Trials {
    /// Waits to leave alone before the next one.
    left: u32,
    /// How many that were after the last one in vain.
    after: u32,
}

impl Trials {
    const NONE: Self = Self { left: 0, after: 0 };

    /// Whether the next wait is one of them, after a sleep; `looked`: which a whole look in vain came before.
    fn is_due(&mut self, looked: bool) -> bool {
        if looked {
            self.after = (self.after * 2 + 1).min(MOST_LEFT_ALONE);
            self.left = self.after;
        }
        let is_due = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_due
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
    clock: Clock,
}

impl Wait {
    pub(crate) fn took(&self) -> Duration {
        (self.clock)().saturating_sub(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

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

    thread_local! {
        static TIME: Cell<u64> = const { Cell::new(0) };
    }

    /// A clock on which a microsecond passes with each look at it.
    fn ticking() -> Duration {
        TIME.set(TIME.get() + 1);
        us(TIME.get())
    }

    /// How often it was looked whether something is there that never is.
    fn looks(polling: &Polling, wait: &Wait, most: Duration) -> u32 {
        let mut count = 0;
        let is_there = polling.look(wait, most, || {
            count += 1;
            false
        });
        assert!(!is_there);
        count
    }

    #[test]
    fn what_is_there_is_seen_without_any_time() {
        for polling in [Polling::new(Duration::ZERO, ticking), Polling::learnt(us(60), ticking)] {
            let wait = polling.begin();
            assert!(polling.look(&wait, Duration::ZERO, || true));
            assert_eq!(looks(&polling, &wait, Duration::ZERO), 1);
        }
    }

    #[test]
    fn a_look_lasts_as_long_as_it_is_worth_its_while_and_no_longer_than_it_may() {
        let polling = Polling::learnt(us(20), ticking);
        let wait = polling.begin();
        assert_eq!(looks(&polling, &wait, us(10)), 10 * LOOKS);
        assert!(!polling.is_over(&wait), "it goes on later");
        // One look at the clock was for that.
        assert_eq!(looks(&polling, &wait, us(60)), 9 * LOOKS);
        assert!(polling.is_over(&wait));
    }

    #[test]
    fn waits_teach_how_long_to_look() {
        let mut polling = Polling::new(us(32), ticking);
        assert!(!polling.looks());
        let mut waited = |readings: u32| {
            let wait = polling.begin();
            for _ in 1..readings {
                wait.took();
            }
            polling.ended(&wait);
            polling.now
        };
        assert_eq!([2, 5, 9, 9, 300].map(&mut waited), [4, 8, 16, 16, 0].map(us));
        polling = Polling::learnt(us(8), ticking);
        polling.stop();
        assert!(!polling.looks());
    }

    #[test]
    fn a_sleep_that_was_short_is_followed_by_a_look_and_fewer_the_more_are_in_vain() {
        const SHORT: u32 = 40;
        let mut polling = Polling::new(us(32), ticking);
        let mut waited = |readings: u32| {
            let wait = polling.begin();
            for _ in 1..readings {
                wait.took();
            }
            polling.ended(&wait);
            polling.now == us(32)
        };
        let mut left_alone = || (0..=200).take_while(|_| !waited(SHORT)).count();
        let counts = [(); 9].map(|()| left_alone());
        assert_eq!(counts, [0, 1, 3, 7, 15, 31, 63, 63, 63], "waits that slept at once before the next look");
        assert!(waited(20), "and this one saw what it looked for");
        assert!(!waited(300), "what takes longer than any wake-up is not looked for");
        assert!(waited(SHORT), "and one look in vain is no reason to look no more");
        let looks = (0..512).filter(|turn| waited(if turn % 2 == 0 { SHORT } else { 300 })).count();
        assert!(looks < 20, "{looks} looks in vain between sleeps of both kinds");
    }
}

//! The lanes for work: which one a call takes, and when another one is made.
//!
//! ```text
//!   a lane has room ──────────────────> take it
//!   one is being made, with room ─────> wait for that
//!   there may be another ─────────────> make it; others wait for it
//!   all are full ─────────────────────> take the one with the fewest calls
//!   none can be made ─────────────────> the same, or the control lane; for a while nobody tries again
//! ```
//!
//! A lane that is being made counts as one: calls that begin together do not each make their own. A lane whose places are all held by calls
//! that nobody waits for any more takes no further ones, and neither does one on which another identity was said, or that was there before the
//! control lane was made again: it ends with the calls that it has.

use crate::connection::Connection;
use crate::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long no further lane is made when one could not be: somebody may be asked for a password each time.
const AGAIN: Duration = Duration::from_secs(10);

/// How the making of a lane has ended; nothing as long as it has not.
pub(super) type Outcome = Option<Result<(), Error>>;

/// The lanes for work of one handle.
pub(super) struct Work {
    /// Lanes, at most; also those that are being made.
    most: usize,
    /// Calls for which it is worth to make a lane.
    room: usize,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    /// When one could not be made, the last time, and its changes.
    failed: Option<(u64, Instant)>,
    /// Why there are none any more.
    closed: Option<Error>,
}

struct Slot {
    /// [`Identity::changes`](super::Identity::changes) when its making began.
    changes: u64,
    lane: Lane,
}

enum Lane {
    Open(Connection),
    Opening {
        /// Calls that wait for it, the one that makes it among them.
        takers: usize,
        outcome: watch::Receiver<Outcome>,
    },
}

/// What a call does to get a lane.
pub(super) enum Next {
    Take(Connection),
    Wait(watch::Receiver<Outcome>),
    /// There is none, and none can be made.
    Without,
    /// Have it made, and wait for that.
    Make(Making, watch::Receiver<Outcome>),
}

/// The right and the duty to make a lane. Dropped before it is done, whoever waits for it looks for another.
pub(super) struct Making {
    work: Arc<Work>,
    changes: u64,
    outcome: watch::Sender<Outcome>,
}

impl Slot {
    /// Whether it may get further calls.
    fn takes_calls(&self, changes: u64) -> bool {
        let able = match &self.lane {
            Lane::Open(lane) => lane.closed().is_none() && !lane.load().clogged,
            Lane::Opening { .. } => true,
        };
        able && self.changes == changes
    }
}

impl Work {
    pub(super) fn new(most: usize, room: usize) -> Self {
        Self { most, room, slots: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lanes there are.
    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// What a call is to do now; [`Identity::changes`](super::Identity::changes) is so much.
    ///
    /// # Errors
    /// When the handle is closed.
    pub(super) fn next(self: &Arc<Self>, changes: u64, now: Instant) -> Result<Next, Error> {
        let mut guard = self.lock();
        if let Some(closed) = &guard.closed {
            return Err(closed.clone());
        }
        let fails = guard.failed.is_some_and(|(of, at)| of == changes && now < at + AGAIN);
        let slots = &mut guard.slots;
        // Calls that such a lane still has hold it.
        slots.retain(|slot| slot.takes_calls(changes));
        let full = fails || slots.len() >= self.most;
        let open = slots.iter().filter_map(|slot| match &slot.lane {
            Lane::Open(lane) => Some((lane.load().calls, lane)),
            Lane::Opening { .. } => None,
        });
        let least = open.min_by_key(|(calls, _)| *calls);
        if let Some((calls, lane)) = least
            && (calls < self.room || full)
        {
            return Ok(Next::Take(lane.clone()));
        }
        let opening = slots.iter_mut().filter_map(|slot| match &mut slot.lane {
            Lane::Opening { takers, outcome } => Some((takers, outcome)),
            Lane::Open(_) => None,
        });
        if let Some((takers, outcome)) = opening.min_by_key(|(takers, _)| **takers)
            && (*takers < self.room || full)
        {
            *takers += 1;
            return Ok(Next::Wait(outcome.clone()));
        }
        if full {
            return Ok(Next::Without);
        }
        let (sender, outcome) = watch::channel(None);
        slots.push(Slot { changes, lane: Lane::Opening { takers: 1, outcome: outcome.clone() } });
        Ok(Next::Make(Making { work: Arc::clone(self), changes, outcome: sender }, outcome))
    }

    /// Ends all of them, also those that are being made: there are no more. Tells which the daemon is hearing of.
    pub(super) fn close(&self, reason: &Error) -> Vec<Connection> {
        let mut guard = self.lock();
        guard.closed.get_or_insert_with(|| reason.clone());
        let open = guard.slots.drain(..).filter_map(|slot| match slot.lane {
            Lane::Open(lane) => Some(lane),
            Lane::Opening { .. } => None,
        });
        let lanes: Vec<_> = open.collect();
        drop(guard);
        lanes.iter().for_each(|lane| lane.leave(reason));
        lanes
    }
}

impl Making {
    /// The lane is there, or could not be made; whoever waits for it hears so.
    pub(super) fn made(self, lane: Result<Connection, Error>, now: Instant) -> Result<(), Error> {
        let mut guard = self.work.lock();
        // What failed before says nothing of the lanes that are made since.
        if lane.is_err() && guard.failed.is_none_or(|(of, _)| of <= self.changes) {
            guard.failed = Some((self.changes, now));
        }
        let lane = lane.and_then(|lane| match &guard.closed {
            Some(closed) => Err(closed.clone()),
            None => Ok(lane),
        });
        if let Ok(lane) = &lane
            && let Some(slot) = guard.slots.iter_mut().find(|slot| self.is(slot))
        {
            slot.lane = Lane::Open(lane.clone());
        }
        drop(guard);
        let outcome = lane.map(drop);
        self.outcome.send_replace(Some(outcome.clone()));
        outcome
    }

    fn is(&self, slot: &Slot) -> bool {
        matches!(&slot.lane, Lane::Opening { outcome, .. } if outcome.same_channel(&self.outcome.subscribe()))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Only if it was not made.
        self.work.lock().slots.retain(|slot| !self.is(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_lane_that_cannot_be_made_is_not_tried_for_with_every_call() {
        let work = Arc::new(Work::new(4, 3));
        let begin = crate::connection::now();
        let making = |changes, at| match work.next(changes, at).unwrap() {
            Next::Make(making, _) => Some(making),
            Next::Without => None,
            Next::Take(_) | Next::Wait(_) => panic!("there is none"),
        };
        let refused = Err(Error::new(ErrorKind::Timeout));
        assert!(making(0, begin).unwrap().made(refused.clone(), begin).is_err());
        assert!(making(0, begin).is_none() && making(0, begin + AGAIN / 2).is_none());
        drop(making(0, begin + AGAIN).unwrap());
        let old = making(0, begin + AGAIN).expect("nobody has said that it cannot be made");
        // Since the connection was made again it may be possible, whatever is heard of an attempt from before.
        assert!(making(1, begin).unwrap().made(refused.clone(), begin).is_err());
        assert!(making(1, begin).is_none() && making(2, begin).is_some());
        assert!(making(2, begin).unwrap().made(refused.clone(), begin).is_err());
        assert!(old.made(refused, begin + AGAIN).is_err() && making(2, begin).is_none());
    }
}

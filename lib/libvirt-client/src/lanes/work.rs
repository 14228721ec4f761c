//! The lanes for work: which one a call takes, and when another one is made.
//!
//! ```text
//!   a lane has room ──────────────────> take it
//!   one is being made, with room ─────> wait for that
//!   there may be another ─────────────> make it; others wait for it
//!   all are full ─────────────────────> take the one with the fewest calls
//! ```
//!
//! A lane that is being made counts as one: calls that begin together do not each make their own.

use crate::connection::Connection;
use crate::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How the making of a lane has ended; nothing as long as it has not.
type Outcome = Option<Result<(), Error>>;

/// The lanes for work of one handle.
pub(super) struct Work {
    /// Lanes, at most; also those that are being made.
    most: usize,
    /// Calls for which it is worth to make a lane.
    room: usize,
    slots: Mutex<Vec<Slot>>,
}

enum Slot {
    Open(Connection),
    Opening {
        /// Calls that wait for it, the one that makes it among them.
        takers: usize,
        outcome: watch::Receiver<Outcome>,
    },
}

/// What a call does to get a lane.
pub(super) enum Next<'a> {
    Take(Connection),
    Wait(watch::Receiver<Outcome>),
    Make(Making<'a>),
}

/// The right and the duty to make a lane. Dropped before it is done, whoever waits for it looks for another.
pub(super) struct Making<'a> {
    work: &'a Work,
    outcome: watch::Sender<Outcome>,
}

impl Work {
    pub(super) fn new(most: usize, room: usize) -> Self {
        Self { most, room, slots: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lanes there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// What a call is to do now.
    pub(super) fn next(&self) -> Next<'_> {
        let mut slots = self.lock();
        slots.retain(|slot| !matches!(slot, Slot::Open(lane) if lane.closed().is_some()));
        let full = slots.len() >= self.most;
        let open = slots.iter().filter_map(|slot| match slot {
            Slot::Open(lane) => Some((lane.load(), lane)),
            Slot::Opening { .. } => None,
        });
        let least = open.min_by_key(|(load, _)| *load);
        if let Some((load, lane)) = least
            && (load < self.room || full)
        {
            return Next::Take(lane.clone());
        }
        let opening = slots.iter_mut().filter_map(|slot| match slot {
            Slot::Opening { takers, outcome } => Some((takers, outcome)),
            Slot::Open(_) => None,
        });
        if let Some((takers, outcome)) = opening.min_by_key(|(takers, _)| **takers)
            && (*takers < self.room || full)
        {
            *takers += 1;
            return Next::Wait(outcome.clone());
        }
        let (sender, outcome) = watch::channel(None);
        slots.push(Slot::Opening { takers: 1, outcome });
        Next::Make(Making { work: self, outcome: sender })
    }
}

impl Making<'_> {
    /// The lane is there, or could not be made; whoever waits for it hears so.
    pub(super) fn made(self, lane: Result<Connection, Error>) -> Result<Connection, Error> {
        if let Ok(lane) = &lane
            && let Some(slot) = self.work.lock().iter_mut().find(|slot| self.is(slot))
        {
            *slot = Slot::Open(lane.clone());
        }
        let outcome = lane.as_ref().map(drop).map_err(Clone::clone);
        self.outcome.send_replace(Some(outcome));
        lane
    }

    fn is(&self, slot: &Slot) -> bool {
        matches!(slot, Slot::Opening { outcome, .. } if outcome.same_channel(&self.outcome.subscribe()))
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        // Only if it was not made.
        self.work.lock().retain(|slot| !self.is(slot));
    }
}

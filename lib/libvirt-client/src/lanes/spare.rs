//! The lane that a stream has left, for the next one.
//!
//! A stream that has ended as both sides wanted, or that the daemon has refused, leaves its connection as it found it, and making another
//! one is a login: through ssh some tenths of a second, and somebody's password perhaps. One is kept, for as long as the handle lives, as
//! lanes for work are. Streams at the same time make their own.

use crate::connection::Connection;
use std::sync::{Mutex, PoisonError};

/// Where a handle keeps it.
#[derive(Default)]
pub(super) struct Spare(Mutex<Place>);

#[derive(Default)]
struct Place {
    kept: Option<Kept>,
    /// Nothing is kept any more.
    closed: bool,
}

struct Kept {
    lane: Connection,
    /// [`Identity::changes`](super::Identity::changes) when its making began.
    changes: u64,
}

impl Spare {
    fn with<T>(&self, change: impl FnOnce(&mut Place) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that is there, if it is as good as a new one; [`Identity::changes`](super::Identity::changes) is so much.
    pub(super) fn take(&self, changes: u64) -> Option<Connection> {
        let kept = self.with(|place| place.kept.take())?;
        (kept.changes == changes && kept.lane.closed().is_none()).then_some(kept.lane)
    }

    /// Keeps this one, in place of the one that is there.
    pub(super) fn keep(&self, lane: Connection, changes: u64) {
        let this = Kept { lane, changes };
        // What is not kept ends when the lock is free again.
        let _gone = self.with(|place| if place.closed { Some(this) } else { place.kept.replace(this) });
    }

    /// The one that is there; from now on there is none.
    pub(super) fn close(&self) -> Option<Connection> {
        let kept = self.with(|place| {
            place.closed = true;
            place.kept.take()
        });
        kept.map(|kept| kept.lane)
    }
}

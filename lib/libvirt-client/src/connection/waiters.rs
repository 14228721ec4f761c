//! Who waits for which reply.

use super::call::Arrived;
use crate::error::Error;
use libvirt_protocol::session::{Serial, Serials};
use std::task::{Context, Poll, Waker};

/// Calls whose replies nobody has taken yet.
#[derive(Default)]
pub(super) struct Waiters {
    slots: Serials<Serial, Slot>,
    /// Calls among them that are left to themselves.
    kept: usize,
}

/// What a call waits in.
enum Slot {
    Waiting(Option<Waker>),
    /// It is left to itself, and is to come to its end all the same.
    Kept,
    Done(Result<Arrived, Error>),
}

impl Waiters {
    pub(super) fn begin(&mut self, serial: Serial) {
        self.slots.insert(serial, Slot::Waiting(None));
    }

    /// Nobody waits for it any more, but it is not to be taken back.
    pub(super) fn keep(&mut self, serial: Serial) {
        match self.slots.get_mut(&serial) {
            Some(slot @ Slot::Waiting(_)) => {
                *slot = Slot::Kept;
                self.kept += 1;
            }
            _ => self.forget(serial),
        }
    }

    /// Whether calls are under way that are left to themselves.
    pub(super) fn keeps_any(&self) -> bool {
        self.kept > 0
    }

    /// Nobody wants to know what comes of it.
    pub(super) fn forget(&mut self, serial: Serial) {
        if let Some(Slot::Kept) = self.slots.remove(&serial) {
            self.kept -= 1;
        }
    }

    /// This came of it.
    pub(super) fn done(&mut self, serial: Serial, result: Result<Arrived, Error>) {
        match self.slots.get_mut(&serial) {
            Some(slot @ Slot::Waiting(_)) => {
                if let Slot::Waiting(waker) = std::mem::replace(slot, Slot::Done(result)) {
                    waker.into_iter().for_each(Waker::wake);
                }
            }
            Some(Slot::Kept) => self.forget(serial),
            Some(Slot::Done(_)) | None => {}
        }
    }

    /// What came of it, if anything has; registers the waker otherwise. `None`: it is not known.
    pub(super) fn poll(
        &mut self,
        serial: Serial,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Arrived, Error>>> {
        match self.slots.get_mut(&serial) {
            Some(Slot::Waiting(waker)) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
            Some(Slot::Done(_)) => match self.slots.remove(&serial) {
                Some(Slot::Done(result)) => Poll::Ready(Some(result)),
                _ => Poll::Pending,
            },
            Some(Slot::Kept) | None => Poll::Ready(None),
        }
    }

    /// Nothing comes any more: everybody hears why.
    pub(super) fn settle(&mut self, mut reason: impl FnMut(Serial) -> Error) {
        self.kept = 0;
        for (serial, slot) in &mut self.slots {
            if let Slot::Waiting(_) | Slot::Kept = slot
                && let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Done(Err(reason(*serial))))
            {
                waker.wake();
            }
        }
    }
}

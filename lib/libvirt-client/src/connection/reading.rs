//! Reading a connection in the place of its driver, for a thread that waits without an executor.

use super::now;
use super::state::State;
use crate::error::{Error, ErrorKind};
use libvirt_transport::Waiting;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Whether a thread waits in a read of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Nobody,
    Thread,
    /// One does, and the driver wanted to read meanwhile.
    Wanted,
}

/// What came of a read.
pub(super) enum Taken {
    All,
    /// Nothing has come in time, or it is of no use any more.
    Nothing,
}

impl State {
    /// Reads everything that is there, for a thread that waits without an executor, and answers what must be answered.
    fn turn_now(&mut self) -> Result<(), Error> {
        while self.buffered < self.buffer_limit {
            let mut descriptors = Vec::new();
            let room = self.session.space();
            let wanted = room.len();
            let bytes = match self.transport.read_now(room, &mut descriptors) {
                None => break,
                Some(Ok(0)) => return Err(Error::new(ErrorKind::Closed)),
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Some(Err(error)) => return Err(error.into()),
            };
            // Only descriptors stop a read before bytes that are there already.
            let all = bytes < wanted && descriptors.is_empty();
            self.session.filled(bytes, descriptors, now());
            self.dispatch()?;
            if all {
                break;
            }
        }
        self.settle_turn();
        Ok(())
    }

    /// What follows when everything was read.
    fn settle_turn(&mut self) {
        if self.buffered >= self.buffer_limit {
            self.session.pause(now());
        }
        self.leave_at_last();
        if self.session.transmit().is_some() {
            self.flush_soon(true);
        }
    }

    /// Whether the driver may read; who reads in its place tells it when that has ended.
    pub(super) fn may_read(&mut self) -> bool {
        if self.reading != Reading::Nobody {
            self.reading = Reading::Wanted;
            return false;
        }
        self.buffered < self.buffer_limit
    }

    /// A thread is going to wait in a read of its own, unless somebody does already, nothing is to be read, or the transport cannot do that.
    pub(super) fn begin_read(&mut self, patience: Duration) -> Option<Arc<Waiting>> {
        if self.closed.is_some() || self.reading != Reading::Nobody || self.buffered >= self.buffer_limit {
            return None;
        }
        if self.waiting.is_none() {
            self.waiting = self.transport.waiting(patience).map(Arc::new);
        }
        self.reading = if self.waiting.is_some() { Reading::Thread } else { Reading::Nobody };
        self.waiting.clone()
    }

    /// This is what it has read.
    pub(super) fn end_read(
        &mut self,
        bytes: &[u8],
        read: io::Result<usize>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Taken, Error> {
        if std::mem::replace(&mut self.reading, Reading::Nobody) == Reading::Wanted {
            self.wake_driver();
        }
        let mut came = match read {
            _ if self.closed.is_some() => return Ok(Taken::Nothing),
            Ok(0) => return Err(Error::new(ErrorKind::Closed)),
            Ok(count) => &bytes[..count],
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return Ok(Taken::Nothing),
                _ => return Err(error.into()),
            },
        };
        // Only descriptors stop a read before bytes that are there already.
        let all = came.len() < bytes.len() && descriptors.is_empty();
        let mut descriptors = Some(descriptors);
        while !came.is_empty() {
            let room = self.session.space();
            let (now_here, later) = came.split_at(came.len().min(room.len()));
            room[..now_here.len()].copy_from_slice(now_here);
            self.session.filled(now_here.len(), descriptors.take().unwrap_or_default(), now());
            self.dispatch()?;
            came = later;
        }
        if all {
            self.settle_turn()
        } else {
            self.turn_now()?
        }
        Ok(Taken::All)
    }
}

//! What streams bring, until somebody takes it.

use super::bytes::Piece;
use crate::error::Error;
use libvirt_protocol::session::{Serial, Serials};
use std::collections::VecDeque;
use std::task::{Context, Waker};

/// Pieces of a stream that are together no longer than this are made one.
const JOINED: usize = 4096;

/// A stream's inward half.
#[derive(Default)]
pub(super) struct StreamState {
    pub(super) pieces: VecDeque<Piece>,
    /// How it ended, seen from the daemon.
    pub(super) end: Option<Result<(), Error>>,
    /// The daemon sends no more data.
    pub(super) no_more: bool,
    /// We have said that it is at its end.
    pub(super) finishing: bool,
    pub(super) reader: Option<Waker>,
    /// Who waits for its end: either half may.
    enders: Vec<Waker>,
    /// Nobody wants what still comes.
    pub(super) unread: bool,
}

impl StreamState {
    /// Adds data; tells what it takes. What comes in crumbs is put together: a packet may hold one byte.
    pub(super) fn push_data(&mut self, data: &[u8]) -> usize {
        if self.unread {
            return 0;
        }
        self.wake();
        if let Some(Piece::Data(last)) = self.pieces.back_mut()
            && last.len() + data.len() <= JOINED
        {
            last.extend_from_slice(data);
            return data.len();
        }
        let piece = Piece::Data(data.to_vec());
        let held = piece.held();
        self.pieces.push_back(piece);
        held
    }

    /// Adds a hole; tells what it takes.
    pub(super) fn push_hole(&mut self, length: u64) -> usize {
        if self.unread {
            return 0;
        }
        self.wake();
        if let Some(Piece::Hole(last)) = self.pieces.back_mut()
            && let Some(joined) = last.checked_add(length)
        {
            *last = joined;
            return 0;
        }
        let piece = Piece::Hole(length);
        let held = piece.held();
        self.pieces.push_back(piece);
        held
    }

    /// Wakes whoever waits for its end.
    pub(super) fn ended_for(&mut self, context: &Context<'_>) {
        if !self.enders.iter().any(|ender| ender.will_wake(context.waker())) {
            self.enders.push(context.waker().clone());
        }
    }

    pub(super) fn finish(&mut self, end: Result<(), Error>) {
        self.end = Some(end);
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.enders.drain(..).for_each(Waker::wake);
    }
}

/// A stream is no more, and what has come of it waits for nobody: it counts no longer.
pub(super) fn forget(streams: &mut Serials<Serial, StreamState>, buffered: &mut usize, serial: Serial) {
    if let Some(stream) = streams.remove(&serial) {
        let held: usize = stream.pieces.iter().map(Piece::held).sum();
        *buffered = buffered.saturating_sub(held);
    }
}

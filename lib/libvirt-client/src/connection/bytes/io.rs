//! Streams as tokio's readers and writers.

use super::{ByteStream, Open, Piece, StreamReader, StreamWriter};
use crate::error::Error;
use libvirt_protocol::packet::STREAM_CHUNK;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What is left of a piece.
#[derive(Debug)]
pub(super) enum Rest {
    /// Data, of which so much was taken.
    Data(Vec<u8>, usize),
    /// Zeros.
    Hole(u64),
}

impl Rest {
    fn of(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::Data(data, 0),
            Piece::Hole(length) => Self::Hole(length),
        }
    }

    pub(super) fn piece(self) -> Piece {
        match self {
            Self::Data(data, 0) => Piece::Data(data),
            Self::Data(mut data, taken) => Piece::Data(data.split_off(taken)),
            Self::Hole(length) => Piece::Hole(length),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Data(data, taken) => *taken == data.len(),
            Self::Hole(length) => *length == 0,
        }
    }

    fn fill(&mut self, buffer: &mut ReadBuf<'_>) {
        match self {
            Self::Data(data, taken) => {
                let count = buffer.remaining().min(data.len() - *taken);
                buffer.put_slice(&data[*taken..*taken + count]);
                *taken += count;
            }
            Self::Hole(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.remaining());
                buffer.initialize_unfilled_to(count).fill(0);
                buffer.advance(count);
                *left -= count as u64;
            }
        }
    }
}

/// How long a wait has lasted that is polled; it begins when there is something to wait for.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// The same, but not for longer than a call may take.
    fn within<T>(
        &mut self,
        open: &Open,
        context: &mut Context<'_>,
        polled: Poll<Result<T, Error>>,
    ) -> Poll<Result<T, Error>> {
        if polled.is_ready() {
            self.0 = None;
            return polled;
        }
        let Some(deadline) = open.lane.deadline else { return Poll::Pending };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        ready!(sleep.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(Err(open.late()))
    }
}

impl StreamReader {
    /// The end of what a daemon has is the end only when it says that this was all.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.open.brings_data() {
            return Poll::Ready(Ok(()));
        }
        self.open.say_the_end()?;
        let ended = self.open.poll_end(context);
        self.patience.within(&self.open, context, ended)
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Piece>, Error>> {
        let piece = self.open.poll_receive(context);
        if self.open.brings_data() { self.patience.within(&self.open, context, piece) } else { piece }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some(rest) = self.rest.as_mut().filter(|rest| !rest.is_empty()) {
                rest.fill(buffer);
                if rest.is_empty() {
                    self.rest = None;
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_piece(context))? {
                Some(piece) => self.rest = Some(Rest::of(piece)),
                None => return self.poll_end(context).map_err(Into::into),
            }
        }
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let piece = &bytes[..bytes.len().min(STREAM_CHUNK)];
        if piece.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let left = this.left(piece.len() as u64)?;
        let sent = this.open.poll_send(context, |session, serial| session.stream_send(serial, piece));
        ready!(this.patience.within(&this.open, context, sent))?;
        this.room = left;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.open.broken().map_or(Ok(()), |error| Err(error.into())))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.open.say_the_end()?;
        let ended = this.open.poll_end(context);
        this.patience.within(&this.open, context, ended).map_err(Into::into)
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Behind data that nobody reads any more, the confirmation would not be read either.
        self.reader.open.unread();
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}

//! Streams of bytes: volumes, consoles, screenshots.
//!
//! ```text
//!   ByteStream ── split ──> StreamReader ──┐
//!                     └───> StreamWriter ──┴─> Open: aborts the stream when the last of them goes and nobody has finished it
//! ```

mod io;

use super::{Connection, Shared};
use crate::error::{Error, ErrorKind};
use io::{Patience, Rest};
use libvirt_protocol::packet::STREAM_CHUNK;
use libvirt_protocol::procedure::{Direction, Info};
use libvirt_protocol::session::{Serial, StreamError};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Data.
    Data(Vec<u8>),
    /// So many bytes of zeros that were not sent.
    Hole(u64),
}

impl Piece {
    /// What it takes while it waits for its reader.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Data(data) => data.len() + PIECE,
            Self::Hole(_) => PIECE,
        }
    }
}

/// What a piece takes besides its data: its place in the queue, and what the allocator needs.
const PIECE: usize = 64;

/// A stream of bytes that a call has opened.
///
/// Call [`ByteStream::finish`] at the end: only then the daemon says whether everything went well. A stream that is dropped
/// before is aborted. [`ByteStream::split`] makes two of it, for who reads and writes at the same time.
///
/// It is tokio's [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite) too, and so are its halves: holes are zeros to who
/// reads so, and what is written has no holes. The end of a volume's or screenshot's data is read only when the daemon has confirmed that it was
/// all, so that nothing else is to be done there; what was written has arrived once `shutdown` is done, which is [`ByteStream::finish`]. Flushing
/// waits for nothing: what was written is on its way already. Errors are [`std::io::Error`] with ours inside.
#[derive(Debug)]
pub struct ByteStream {
    reader: StreamReader,
    writer: StreamWriter,
}

/// What a stream brings: the half of a [`ByteStream`] that is read.
#[derive(Debug)]
pub struct StreamReader {
    open: Arc<Open>,
    /// What somebody has left of a piece who took less than that.
    rest: Option<Rest>,
    patience: Patience,
}

/// What goes into a stream: the half of a [`ByteStream`] that is written to.
#[derive(Debug)]
pub struct StreamWriter {
    open: Arc<Open>,
    /// How much more may be sent, where the call has said how much it will be.
    room: Option<u64>,
    patience: Patience,
}

/// A stream that is open, or was until a moment ago.
#[derive(Debug)]
struct Open {
    shared: Arc<Shared>,
    /// Kept open; its deadline is the stream's.
    lane: Connection,
    info: &'static Info,
    serial: Serial,
    left: Option<Left>,
}

/// What is done with a connection that a stream leaves as it found it.
pub(crate) struct Left(Box<dyn FnOnce(Connection) + Send + Sync>);

impl Left {
    pub(crate) fn to(taker: impl FnOnce(Connection) + Send + Sync + 'static) -> Self {
        Self(Box::new(taker))
    }

    /// Does it.
    pub(super) fn take(self, lane: Connection) {
        (self.0)(lane);
    }
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Left")
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl ByteStream {
    pub(super) fn new(lane: Connection, info: &'static Info, serial: Serial, left: Option<Left>) -> Self {
        let shared = Arc::clone(&lane.shared);
        let open = Arc::new(Open { shared, lane, info, serial, left });
        Self {
            reader: StreamReader { open: Arc::clone(&open), rest: None, patience: Patience::default() },
            writer: StreamWriter { open, room: None, patience: Patience::default() },
        }
    }

    /// So much and no more may be sent: the call has promised it.
    pub(crate) fn of_length(mut self, length: u64) -> Self {
        self.writer.room = Some(length);
        self
    }

    /// Both halves, each to be used by whoever has it: a console is read while it is written to, and what does not get through one way
    /// does not stop the other. The stream is aborted when both are gone and [`StreamWriter::finish`] was not called.
    #[must_use]
    pub fn split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// The next piece; `None` at the end of the data. Dropping the future loses nothing.
    ///
    /// A console or a channel may be silent for as long as it likes; that the daemon still lives is seen to by
    /// [`crate::Options::keepalive`]. Where the daemon has the data (a volume, a screenshot) the next piece must come within the
    /// deadline of calls.
    ///
    /// # Errors
    /// When the daemon breaks the stream off, or the connection breaks; [`ErrorKind::Timeout`].
    pub async fn receive(&mut self) -> Result<Option<Piece>, Error> {
        self.reader.receive().await
    }

    /// Sends data; waits while much is unsent. Dropped before its end it may have sent a part.
    ///
    /// # Errors
    /// When the daemon has broken the stream off, or the connection is broken; [`ErrorKind::Timeout`] when nothing moves for as long as a
    /// call may take; [`ErrorKind::Misuse`], with nothing sent, when it is more than the call that opened the stream has promised.
    pub async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        self.writer.send(data).await
    }

    /// Sends a hole: so many bytes of zeros that need not travel. The call that opened the stream must have allowed holes.
    ///
    /// # Errors
    /// As [`ByteStream::send`].
    pub async fn send_hole(&mut self, length: u64) -> Result<(), Error> {
        self.writer.send_hole(length).await
    }

    /// Ends the stream and waits until the daemon confirms that everything has arrived. Data that it still sends is thrown away.
    ///
    /// # Errors
    /// With the daemon's reason when it did not; [`ErrorKind::Timeout`] when it does not confirm for as long as a call may take.
    pub async fn finish(self) -> Result<(), Error> {
        drop(self.reader);
        self.writer.finish().await
    }

    /// Breaks the stream off. The same as dropping it, in words.
    pub fn abort(self) {}
}

impl StreamReader {
    /// As [`ByteStream::receive`].
    ///
    /// # Errors
    /// As [`ByteStream::receive`].
    pub async fn receive(&mut self) -> Result<Option<Piece>, Error> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest.piece()));
        }
        let piece = poll_fn(|context| self.open.poll_receive(context));
        if self.open.brings_data() { self.open.in_time(piece).await } else { piece.await }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.open.unread();
    }
}

impl StreamWriter {
    /// Takes what is to be sent out of what was promised. A daemon must not be left to find out: one of 11.3.0 that gets more than was
    /// promised goes round in its event loop for ever, and answers nobody.
    fn promise(&mut self, length: u64) -> Result<(), Error> {
        self.room = self.left(length)?;
        Ok(())
    }

    /// What is left of it then.
    fn left(&self, length: u64) -> Result<Option<u64>, Error> {
        let Some(room) = self.room else { return Ok(None) };
        let refused =
            || self.open.failed(Error::misuse(format!("{length} bytes for a stream that takes {room} more")));
        room.checked_sub(length).map(Some).ok_or_else(refused)
    }

    /// As [`ByteStream::send`].
    ///
    /// # Errors
    /// As [`ByteStream::send`].
    pub async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        self.promise(data.len() as u64)?;
        for piece in data.chunks(STREAM_CHUNK) {
            let sent = poll_fn(|context| {
                self.open.poll_send(context, |session, serial| session.stream_send(serial, piece))
            });
            self.open.in_time(sent).await?;
        }
        Ok(())
    }

    /// As [`ByteStream::send_hole`].
    ///
    /// # Errors
    /// As [`ByteStream::send`].
    pub async fn send_hole(&mut self, length: u64) -> Result<(), Error> {
        if length == 0 {
            // Nothing is to be said of it; and one that says it waits for libvirtd 9.0.0 for ever, which takes it for the end.
            return Ok(());
        }
        self.promise(length)?;
        let length = i64::try_from(length)
            .map_err(|_| self.open.failed(Error::protocol("a hole beyond 2^63 bytes")))?;
        let sent = poll_fn(|context| {
            self.open.poll_send(context, |session, serial| session.stream_hole(serial, length))
        });
        self.open.in_time(sent).await
    }

    /// Ends the stream, both ways, and waits until the daemon confirms that everything has arrived. What it still sends goes to the
    /// [`StreamReader`]; once that is dropped, nowhere. While it is there and does not read, the confirmation may be stuck behind data.
    ///
    /// # Errors
    /// As [`ByteStream::finish`].
    pub async fn finish(self) -> Result<(), Error> {
        self.open.say_the_end()?;
        self.open.in_time(poll_fn(|context| self.open.poll_end(context))).await
    }
}

impl Open {
    /// Waits as long as a call: a daemon that no longer reads, or no longer has what it was asked for, says nothing.
    async fn in_time<T>(&self, wait: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Some(deadline) = self.lane.deadline else { return wait.await };
        tokio::time::timeout(deadline, wait).await.unwrap_or_else(|_| Err(self.late()))
    }

    fn late(&self) -> Error {
        self.failed(Error::new(ErrorKind::Timeout)).possibly_executed()
    }

    /// Whether the daemon has all that is to be read: then it is never silent for long.
    fn brings_data(&self) -> bool {
        self.info.stream == Some(Direction::Read)
    }

    fn unread(&self) {
        self.shared.lock().unread(self.serial);
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Option<Piece>, Error>> {
        let mut state = self.shared.lock();
        let Some(stream) = state.streams.get_mut(&self.serial) else { return Poll::Ready(Ok(None)) };
        if let Some(piece) = stream.pieces.pop_front() {
            state.taken(piece.held());
            return Poll::Ready(Ok(Some(piece)));
        }
        match &stream.end {
            Some(Err(error)) => Poll::Ready(Err(self.failed(error.clone()))),
            Some(Ok(())) => Poll::Ready(Ok(None)),
            None if stream.no_more => Poll::Ready(Ok(None)),
            None => {
                stream.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        send: impl FnOnce(&mut libvirt_protocol::session::ClientSession, Serial) -> Result<(), StreamError>,
    ) -> Poll<Result<(), Error>> {
        if let Some(error) = self.broken() {
            return Poll::Ready(Err(error));
        }
        let mut state = self.shared.lock();
        if state.room(context).is_none() {
            return Poll::Pending;
        }
        let idle = state.session.transmit().is_none();
        let sent = send(&mut state.session, self.serial);
        state.flush_soon(idle);
        Poll::Ready(sent.map_err(|error| self.failed(Error::protocol(error))))
    }

    /// Why the daemon has broken it off, if it has.
    fn broken(&self) -> Option<Error> {
        let state = self.shared.lock();
        let end = state.streams.get(&self.serial).and_then(|stream| stream.end.as_ref())?;
        end.as_ref().err().map(|error| self.failed(error.clone()))
    }

    /// An error of the call that has opened it.
    fn failed(&self, error: Error) -> Error {
        error.of_started(self.info, self.serial)
    }

    /// Says it once, whoever asks for it.
    fn say_the_end(&self) -> Result<(), Error> {
        let mut state = self.shared.lock();
        match state.streams.get_mut(&self.serial) {
            Some(stream) if stream.end.is_none() && !stream.finishing => stream.finishing = true,
            _ => return Ok(()),
        }
        let idle = state.session.transmit().is_none();
        let finished = state.session.stream_finish(self.serial);
        state.flush_soon(idle);
        finished.map_err(|error| self.failed(Error::protocol(error)))
    }

    fn poll_end(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.shared.lock();
        let closed = state.closed().cloned();
        let Some(stream) = state.streams.get_mut(&self.serial) else {
            return Poll::Ready(Err(self.failed(closed.unwrap_or_else(|| Error::new(ErrorKind::Closed)))));
        };
        match &stream.end {
            Some(end) => Poll::Ready(end.clone().map_err(|error| self.failed(error))),
            None => {
                stream.ended_for(context);
                Poll::Pending
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let well = state.streams.get(&self.serial).is_some_and(|stream| matches!(stream.end, Some(Ok(()))));
        state.abandon(self.serial);
        drop(state);
        if well && let Some(left) = self.left.take() {
            left.take(self.lane.clone());
        }
    }
}

//! What a connection knows, behind its lock.

use super::routes::Routes;
use crate::error::{self, Error, ErrorKind};
use crate::transport::{Nowhere, Traits, Transport};
use libvirt_protocol::event;
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::remote::ConnectClose;
use libvirt_protocol::session::{
    Abandoned, ClientSession, Incoming, Keepalive, Serial, Serials, SessionError, Transmit,
};
use libvirt_transport::Waiting;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::call::{Arrived, Payload};
use super::incoming::{StreamState, forget};
use super::now;
use super::reading::Reading;
use super::waiters::Waiters;

/// Everything about one connection.
pub(super) struct State {
    pub(super) session: ClientSession,
    pub(super) transport: Box<dyn Transport>,
    /// Of the transport, also when it is there no more.
    pub(super) traits: Traits,
    waiters: Waiters,
    /// Whoever has had it has let it go, and it ends when calls have that are left to themselves.
    leaving: Option<Error>,
    pub(super) streams: Serials<Serial, StreamState>,
    pub(super) routes: Routes,
    driver: Option<Waker>,
    /// Streams that wait until less is unsent.
    writers: Vec<Waker>,
    /// The socket took no more.
    blocked: bool,
    pub(super) closed: Option<Error>,
    /// Whether the daemon is to hear of its end: it has opened something on it.
    pub(super) announces: bool,
    /// It is closed for everybody here, and the daemon is hearing so.
    farewell: Option<Farewell>,
    /// Who waits until the daemon has heard.
    parted: Vec<Waker>,
    /// What a thread without an executor waits in; made when one first does.
    pub(super) waiting: Option<Arc<Waiting>>,
    /// A thread waits in it: whoever else would read meanwhile could take what comes later first.
    pub(super) reading: Reading,
    /// Nothing was unsent before the calls that nobody has written yet.
    unwritten: bool,
    /// What stream data that waits for readers takes.
    pub(super) buffered: usize,
    pub(super) buffer_limit: usize,
}

/// The call that tells of the end, and how long its reply is waited for.
struct Farewell {
    serial: Serial,
    until: Instant,
}

/// How long a daemon may take to hear that a connection ends.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes of streams that may be unsent: more than a socket takes at once, and few enough to stay in the processor's cache until they go.
const AHEAD: usize = 256 * 1024;
/// How many reads one turn of the driver does before it lets others run.
const READS: usize = 16;

impl State {
    pub(super) fn new(session: ClientSession, transport: Box<dyn Transport>, buffer_limit: usize) -> Self {
        Self {
            session,
            traits: transport.traits(),
            transport,
            waiters: Waiters::default(),
            leaving: None,
            streams: Serials::default(),
            routes: Routes::default(),
            driver: None,
            writers: Vec::new(),
            blocked: false,
            closed: None,
            announces: false,
            farewell: None,
            parted: Vec::new(),
            waiting: None,
            reading: Reading::Nobody,
            unwritten: false,
            buffered: 0,
            buffer_limit,
        }
    }

    #[cfg(feature = "gssapi")]
    pub(super) fn seal(&mut self, within: impl FnOnce(Box<dyn Transport>) -> Box<dyn Transport>) {
        let inner = std::mem::replace(&mut self.transport, Box::new(Nowhere));
        self.transport = within(inner);
        self.traits = self.transport.traits();
        self.waiting = None;
        // It waits for what comes on the old one.
        self.wake_driver();
    }

    pub(super) fn keep_alive(&mut self, keepalive: Option<Keepalive>) {
        self.session.keep_alive(keepalive, now());
        self.wake_driver();
    }

    pub(super) fn closed(&self) -> Option<&Error> {
        self.closed.as_ref()
    }

    /// Why it is closed, once nothing moves on it any more.
    pub(super) fn over(&self) -> Option<&Error> {
        self.closed.as_ref().filter(|_| self.farewell.is_none())
    }

    /// When something is to be done though nothing has come.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.session.deadline().into_iter().chain(self.farewell.as_ref().map(|last| last.until)).min()
    }

    /// It is so late.
    pub(super) fn tick(&mut self, now: Instant) -> Result<(), SessionError> {
        self.farewell.take_if(|last| last.until <= now);
        self.session.tick(now)
    }

    pub(super) fn begin<P: Procedure>(
        &mut self,
        args: &P::Args<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Serial, Error> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone().of(P::INFO));
        }
        if !descriptors.is_empty() && !self.traits.descriptors {
            let error =
                io::Error::new(io::ErrorKind::Unsupported, "descriptors travel over unix sockets only");
            return Err(Error::from(error).of(P::INFO));
        }
        let idle = self.session.transmit().is_none();
        let serial =
            self.session.call::<P>(args, descriptors).map_err(|error| Error::from(error).of(P::INFO))?;
        self.waiters.begin(serial);
        if P::INFO.stream.is_some() {
            self.streams.insert(serial, StreamState::default());
        }
        // The driver is not waiting to write, so whoever waits first may.
        self.unwritten |= idle;
        Ok(serial)
    }

    /// Sends what calls have left, before somebody waits for their replies. Not at once with each call: calls that are started
    /// together go together.
    pub(super) fn write_unwritten(&mut self) {
        let idle = std::mem::take(&mut self.unwritten);
        self.flush_soon(idle);
    }

    /// Sends what can be sent at once. `idle`: nothing was unsent before, so the driver does not wait to write and its waker, which
    /// this attempt would replace, is not needed.
    pub(super) fn flush_soon(&mut self, idle: bool) {
        // What the transport itself holds back is pushed on by the driver too.
        let mut held = false;
        if idle && self.over().is_none() && !self.write_now() {
            // What goes wrong here goes wrong for the driver too, which tells everybody.
            held = self.write(&mut Context::from_waker(Waker::noop())).is_pending();
        }
        if held || self.session.transmit().is_some() {
            self.wake_driver();
        }
    }

    /// Sends what goes at once, past the executor's reactor. False when there is more to be done than that.
    fn write_now(&mut self) -> bool {
        while let Some(Transmit::Bytes(bytes)) = self.session.transmit() {
            match self.transport.write_now(bytes) {
                Some(Ok(sent)) if sent > 0 => self.session.sent(sent),
                _ => return false,
            }
        }
        self.session.transmit().is_none()
    }

    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(next) = self.session.transmit() {
            let descriptor = matches!(next, Transmit::Descriptor(_));
            match self.transport.poll_write(context, &next) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(_)) if descriptor => self.session.descriptor_sent(),
                Poll::Ready(Ok(bytes)) => {
                    self.session.sent(bytes);
                    // Behind much that a slow daemon takes bit by bit, a question to it may wait for longer than it has time to answer.
                    if std::mem::take(&mut self.blocked) {
                        self.session.heard(now());
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
            }
        }
        self.transport.poll_flush(context)
    }

    /// One turn of the driver: everything that can be read, everything that can be written.
    pub(super) fn turn(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(context.waker())) {
            self.driver = Some(context.waker().clone());
        }
        self.unwritten = false;
        let mut reads = 0;
        if self.session.is_paused() && self.buffered < self.buffer_limit {
            self.session.resume(now());
        }
        // What a stalled reader does not take stays in the socket, and so costs the daemon's memory, not ours.
        while self.may_read() {
            let mut descriptors = Vec::new();
            match self.transport.poll_read(context, self.session.space(), &mut descriptors) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(Error::new(ErrorKind::Closed)),
                Poll::Ready(Ok(bytes)) => self.session.filled(bytes, descriptors, now()),
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
            self.dispatch()?;
            reads += 1;
            if reads == READS {
                context.waker().wake_by_ref();
                break;
            }
        }
        if self.buffered >= self.buffer_limit {
            self.session.pause(now());
        }
        self.leave_at_last();
        match self.write(context) {
            Poll::Ready(Err(error)) => return Err(error.into()),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        // Not for each piece that has gone: the daemon, this thread and the one that has more to send share processors.
        if self.session.unsent() <= AHEAD / 2 {
            self.writers.drain(..).for_each(Waker::wake);
        }
        Ok(())
    }

    pub(super) fn dispatch(&mut self) -> Result<(), SessionError> {
        while let Some(incoming) = self.session.next()? {
            match incoming {
                Incoming::Reply { serial, payload, descriptors } => {
                    self.farewell.take_if(|last| last.serial == serial);
                    let arrived = Arrived { payload: Payload::from(payload), descriptors };
                    self.waiters.done(serial, Ok(arrived));
                }
                Incoming::Failed { serial, failure } => {
                    self.farewell.take_if(|last| last.serial == serial);
                    forget(&mut self.streams, &mut self.buffered, serial);
                    self.waiters.done(serial, Err(failure.into()));
                }
                Incoming::Event { program, procedure, payload } => {
                    match event::decode(program, procedure, payload) {
                        Some(Ok(message)) => {
                            tracing::trace!(
                                target: "libvirt_client::ended",
                                ?program,
                                procedure = program.procedure(procedure).map(|info| info.name),
                            );
                            self.routes.deliver(message, payload.len());
                        }
                        Some(Err(error)) => {
                            tracing::debug!(procedure, %error, "an event that cannot be decoded");
                            self.routes.undecodable(payload);
                        }
                        None => tracing::debug!(procedure, "an event of a newer daemon"),
                    }
                }
                Incoming::Data { serial, data } => {
                    if let Some(stream) = self.streams.get_mut(&serial) {
                        self.buffered += stream.push_data(data);
                    }
                }
                Incoming::Hole { serial, length } => {
                    if let Some(stream) = self.streams.get_mut(&serial) {
                        self.buffered += stream.push_hole(length);
                    }
                }
                Incoming::End { serial } => {
                    if let Some(stream) = self.streams.get_mut(&serial) {
                        stream.no_more = true;
                        stream.wake();
                    }
                }
                Incoming::Finished { serial } => {
                    if let Some(stream) = self.streams.get_mut(&serial) {
                        stream.finish(Ok(()));
                    }
                }
                Incoming::Broken { serial, failure } => {
                    if let Some(stream) = self.streams.get_mut(&serial) {
                        stream.finish(Err(failure.into()));
                    }
                }
                Incoming::Stray(header) => error::stray(&header),
                _ => {}
            }
        }
        Ok(())
    }

    /// A reader has taken so much.
    pub(super) fn taken(&mut self, bytes: usize) {
        let full = self.buffered >= self.buffer_limit;
        self.buffered = self.buffered.saturating_sub(bytes);
        if full && self.buffered < self.buffer_limit {
            self.wake_driver();
        }
    }

    /// Nobody reads a stream any more: what has come and what still comes is thrown away.
    pub(super) fn unread(&mut self, serial: Serial) {
        if let Some(stream) = self.streams.get_mut(&serial) {
            stream.unread = true;
            let held = stream.pieces.drain(..).map(|piece| piece.held()).sum();
            self.taken(held);
        }
    }

    /// The room that is left for data to be sent; registers the waker when there is none.
    pub(super) fn room(&mut self, context: &mut Context<'_>) -> Option<usize> {
        let room = AHEAD.saturating_sub(self.session.unsent());
        if room == 0 {
            // One that reads meanwhile asks again and again.
            if !self.writers.iter().any(|writer| writer.will_wake(context.waker())) {
                self.writers.push(context.waker().clone());
            }
            return None;
        }
        Some(room)
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// The reply of a call, if it has come; registers the waker otherwise.
    pub(super) fn reply(
        &mut self,
        serial: Serial,
        context: &mut Context<'_>,
    ) -> Poll<Result<Arrived, Error>> {
        match self.waiters.poll(serial, context) {
            Poll::Pending => {
                if self.unwritten {
                    self.write_unwritten();
                }
                Poll::Pending
            }
            Poll::Ready(Some(result)) => Poll::Ready(result),
            Poll::Ready(None) => {
                Poll::Ready(Err(self.closed.clone().unwrap_or_else(|| Error::new(ErrorKind::Closed))))
            }
        }
    }

    /// Nobody waits for a call any more, which is to come to its end all the same.
    pub(super) fn keep(&mut self, serial: Serial) {
        self.waiters.keep(serial);
        self.write_unwritten();
    }

    /// Nobody has the connection any more. It ends in good order, behind calls that are left to themselves.
    pub(super) fn let_go(&mut self) {
        let reason = Error::new(ErrorKind::Closed);
        if self.waiters.keeps_any() {
            self.leaving = Some(reason);
        } else {
            self.leave(&reason);
        }
    }

    /// Ends it if that is to be, and nothing is left for which it is there.
    pub(super) fn leave_at_last(&mut self) {
        if !self.waiters.keeps_any()
            && let Some(reason) = self.leaving.take()
        {
            self.leave(&reason);
            self.wake_driver();
        }
    }

    /// Nobody waits for a call any more.
    pub(super) fn abandon(&mut self, serial: Serial) -> Abandoned {
        self.waiters.forget(serial);
        let full = self.buffered >= self.buffer_limit;
        forget(&mut self.streams, &mut self.buffered, serial);
        if full && self.buffered < self.buffer_limit {
            self.wake_driver();
        }
        let idle = self.session.transmit().is_none();
        let abandoned = self.session.abandon(serial);
        self.flush_soon(idle);
        abandoned
    }

    /// The connection is of no further use: everybody who waits hears why.
    pub(super) fn close(&mut self, reason: &Error) {
        self.settle(reason);
        self.farewell = None;
        self.parted.drain(..).for_each(Waker::wake);
        // Whoever still holds the connection does not hold the daemon's place for a client.
        self.transport = Box::new(Nowhere);
        self.waiting = None;
    }

    /// The same in good order: the daemon hears of it first, and otherwise complains of a client that is gone.
    pub(super) fn leave(&mut self, reason: &Error) {
        if self.closed.is_some() {
            return;
        }
        // Behind calls that nobody waits for it would not be heard.
        if !self.announces || self.session.is_clogged() {
            self.close(reason);
            return;
        }
        self.settle(reason);
        let idle = self.session.transmit().is_none();
        match self.session.call::<ConnectClose>(&(), Vec::new()) {
            Ok(serial) => self.farewell = Some(Farewell { serial, until: now() + FAREWELL }),
            Err(_) => self.close(reason),
        }
        self.flush_soon(idle);
    }

    /// Whether nothing moves on it any more; registers the waker otherwise.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.over().is_some() {
            return Poll::Ready(());
        }
        if !self.parted.iter().any(|waker| waker.will_wake(context.waker())) {
            self.parted.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Everybody who waits hears why there is nothing more.
    fn settle(&mut self, reason: &Error) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(reason.clone());
        let session = &mut self.session;
        self.waiters.settle(|serial| match session.abandon(serial) {
            Abandoned::NotSent => reason.clone(),
            Abandoned::Sent | Abandoned::Gone => reason.clone().possibly_executed(),
        });
        for stream in self.streams.values_mut() {
            if stream.end.is_none() {
                stream.finish(Err(reason.clone()));
            }
            stream.unread = true;
        }
        // What has come may still be read, and is in nobody's way.
        self.buffered = 0;
        self.writers.drain(..).for_each(Waker::wake);
        self.routes.close(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libvirt_protocol::remote::ConnectGetHostname;

    struct Writer;

    impl std::task::Wake for Writer {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn one_that_asks_again_and_again_for_room_waits_once() {
        let session = ClientSession::new(Default::default(), None, now());
        let mut state = State::new(session, Box::new(Nowhere), 0);
        state.session.call_encoded(ConnectGetHostname::INFO, vec![0; AHEAD], Vec::new()).unwrap();
        let waker = Waker::from(Arc::new(Writer));
        let mut context = Context::from_waker(&waker);
        assert!((0..100).all(|_| state.room(&mut context).is_none()));
        assert_eq!(state.writers.len(), 1);
    }

    /// Takes a quarter of what may be unsent, and then nothing until it is asked again.
    struct Slow {
        has_taken: bool,
    }

    impl Transport for Slow {
        fn poll_read(
            &mut self,
            _context: &mut Context<'_>,
            _room: &mut [u8],
            _descriptors: &mut Vec<OwnedFd>,
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(&mut self, _context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
            self.has_taken = !self.has_taken;
            match what {
                Transmit::Bytes(bytes) if self.has_taken => Poll::Ready(Ok(bytes.len().min(AHEAD / 4))),
                _ => Poll::Pending,
            }
        }

        fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn traits(&self) -> Traits {
            Nowhere.traits()
        }
    }

    #[test]
    fn whoever_waits_for_room_is_woken_when_half_of_it_is_free() {
        let session = ClientSession::new(Default::default(), None, now());
        let mut state = State::new(session, Box::new(Slow { has_taken: false }), 0);
        state.session.call_encoded(ConnectGetHostname::INFO, vec![0; AHEAD], Vec::new()).unwrap();
        let waker = Waker::from(Arc::new(Writer));
        let mut context = Context::from_waker(&waker);
        assert!(state.room(&mut context).is_none());
        let waiting = [(); 3].map(|()| {
            state.turn(&mut Context::from_waker(Waker::noop())).unwrap();
            state.writers.len()
        });
        assert_eq!(waiting, [1, 1, 0], "the header of the call goes, too");
    }
}

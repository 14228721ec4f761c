//! The client's side of a connection.

use super::hole;
use super::inbox::{Inbox, Packet};
use super::incoming::{Failure, Incoming, SessionError};
use super::keepalive;
use super::outbox::{Load, Outbox, Transmit};
use super::serials::Serials;
use super::step::Step;
use crate::packet::{Header, Kind, Status};
use crate::procedure::{Info, Procedure};
use crate::xdr::{LimitError, Wire};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What joins a call to its reply and its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(u32);

impl Serial {
    /// The number in the packets of the call, by which logs of the daemon and recordings of the traffic know it (`virNetMessageHeader.serial`).
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// How many calls may be under way at the daemon.
///
/// A daemon stops reading a connection at which five calls are under way (`max_client_requests`, default 5): everything behind them
/// waits, keepalive messages too. So fewer are sent, and one place is kept for calls that the daemon's reserved workers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls of any kind.
    pub ordinary: usize,
    /// Calls on top of these that the daemon has workers for ([`Info`]: `urgent`).
    pub urgent: usize,
}

impl Default for Limits {
    /// One below the daemon's default: three, and one for urgent calls.
    fn default() -> Self {
        Self { ordinary: 3, urgent: 1 }
    }
}

/// When a silent connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Pause after which the other side is asked.
    pub interval: Duration,
    /// How many questions may stay without any answer.
    pub count: u32,
}

impl Default for Keepalive {
    /// As libvirt's own client: 5 s, 5 times.
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), count: 5 }
    }
}

/// What became of a call that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It was never sent: the daemon does not know it.
    NotSent,
    /// It was sent: the daemon may execute it, or have executed it.
    Sent,
    /// There was no such call: its reply has come.
    Gone,
}

/// A stream was used in a way that its state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no such stream, or not any more.
    #[error("there is no such stream, or not any more")]
    Closed,
    /// The client has said that it sends no more.
    #[error("the stream has been finished or aborted by this side")]
    Finished,
}

/// The client's side of a connection, after authentication and during it: bytes and time in, bytes and what has arrived out.
#[derive(Debug)]
pub struct ClientSession {
    inbox: Inbox,
    outbox: Outbox,
    limits: Limits,
    keepalive: Option<Keepalive>,
    serial: u32,
    /// The highest serial that was ever given to a call.
    highest: u32,
    /// Calls that wait for a place.
    queued: VecDeque<Queued>,
    calls: Serials<u32, Call>,
    in_flight: usize,
    urgent_in_flight: usize,
    /// Those of them that nobody waits for any more.
    abandoned: usize,
    last_heard: Instant,
    last_asked: Instant,
    asked: u32,
    /// Nothing is read since then, or since the other side was last told that we live.
    paused: Option<Instant>,
}

#[derive(Debug)]
struct Queued {
    serial: u32,
    info: &'static Info,
    payload: Vec<u8>,
    load: Load,
}

/// A call, from its birth to the end of its stream.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) info: &'static Info,
    pub(super) stage: Stage,
    /// Nobody waits for it any more.
    pub(super) abandoned: bool,
    /// How its stream has ended, if it did so before its reply came.
    pub(super) ended: Option<Early>,
}

/// The end of a stream whose reply is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// The daemon has said it, and sends no more.
    Told,
    /// What came was no use. The daemon does not know that, and can be told when its reply has come.
    BrokenOff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    /// Sent; occupies the place that `urgent` tells.
    Sent {
        urgent: bool,
    },
    /// Its stream is open.
    Stream,
    /// We have sent the end or the abort, and wait for the echo.
    Closing {
        aborted: bool,
    },
}

impl ClientSession {
    /// A session on a connection that was made just now.
    #[must_use]
    pub fn new(limits: Limits, keepalive: Option<Keepalive>, now: Instant) -> Self {
        Self {
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            limits,
            keepalive,
            serial: 0,
            highest: 0,
            queued: VecDeque::new(),
            calls: Serials::default(),
            in_flight: 0,
            urgent_in_flight: 0,
            abandoned: 0,
            last_heard: now,
            last_asked: now,
            asked: 0,
            paused: None,
        }
    }

    /// Starts a call.
    ///
    /// # Errors
    /// When an argument exceeds its limit, or all of them together what one message carries; nothing is sent then.
    pub fn call<P: Procedure>(
        &mut self,
        args: &P::Args<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Serial, LimitError> {
        let size = args.measure()?;
        let load = Load::new(size, descriptors)?;
        let info = P::INFO;
        let serial = self.fresh(info);
        if let Some(urgent) = self.place(info) {
            self.send(serial, info, urgent, load, |out| args.put(out));
        } else {
            let mut payload = Vec::with_capacity(size);
            args.put(&mut payload);
            self.queued.push_back(Queued { serial, info, payload, load });
        }
        Ok(Serial(serial))
    }

    /// Starts a call whose arguments are encoded already.
    ///
    /// # Errors
    /// When they are more than one message carries; nothing is sent then.
    pub fn call_encoded(
        &mut self,
        info: &'static Info,
        payload: Vec<u8>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Serial, LimitError> {
        let load = Load::new(payload.len(), descriptors)?;
        let serial = self.fresh(info);
        self.queued.push_back(Queued { serial, info, payload, load });
        self.send_queued();
        Ok(Serial(serial))
    }

    fn fresh(&mut self, info: &'static Info) -> u32 {
        // Serials of calls that are still known are passed over after 2^32 calls.
        loop {
            self.serial = self.serial.wrapping_add(1).max(1);
            if !self.calls.contains_key(&self.serial) {
                break;
            }
        }
        self.highest = self.highest.max(self.serial);
        self.calls.insert(self.serial, Call { info, stage: Stage::Queued, abandoned: false, ended: None });
        self.serial
    }

    /// The place that a call may take now: an ordinary one or an urgent one.
    fn place(&self, info: &Info) -> Option<bool> {
        if self.in_flight < self.limits.ordinary && (info.urgent || self.queued.is_empty()) {
            Some(false)
        } else if info.urgent && self.urgent_in_flight < self.limits.urgent {
            Some(true)
        } else {
            None
        }
    }

    fn send(
        &mut self,
        serial: u32,
        info: &'static Info,
        urgent: bool,
        load: Load,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        let kind = if load.has_descriptors() { Kind::CallWithFds } else { Kind::Call };
        self.outbox.packet(&header(info, kind, serial, Status::Ok), load, put);
        *if urgent { &mut self.urgent_in_flight } else { &mut self.in_flight } += 1;
        if let Some(call) = self.calls.get_mut(&serial) {
            call.stage = Stage::Sent { urgent };
        }
    }

    fn send_queued(&mut self) {
        let mut index = 0;
        while index < self.queued.len() {
            let info = self.queued[index].info;
            let urgent = if self.in_flight < self.limits.ordinary {
                false
            } else if info.urgent && self.urgent_in_flight < self.limits.urgent {
                true
            } else {
                // Urgent calls overtake.
                index += 1;
                continue;
            };
            let Some(next) = self.queued.remove(index) else { return };
            self.send(next.serial, info, urgent, next.load, |out| out.extend_from_slice(&next.payload));
        }
    }

    /// Nobody waits for this call any more. Its reply will be passed over; a stream that it opens will be aborted.
    pub fn abandon(&mut self, serial: Serial) -> Abandoned {
        let Some(call) = self.calls.get_mut(&serial.0) else { return Abandoned::Gone };
        match call.stage {
            Stage::Queued => {
                self.calls.remove(&serial.0);
                self.queued.retain(|queued| queued.serial != serial.0);
                Abandoned::NotSent
            }
            Stage::Sent { .. } => {
                self.abandoned += usize::from(!call.abandoned);
                call.abandoned = true;
                Abandoned::Sent
            }
            Stage::Stream => {
                call.abandoned = true;
                self.close_stream(serial.0, Status::Error);
                Abandoned::Sent
            }
            Stage::Closing { .. } => {
                call.abandoned = true;
                Abandoned::Sent
            }
        }
    }

    /// Sends data on a stream. It must not be empty: an empty packet means the end.
    ///
    /// # Errors
    /// When the stream does not take data.
    pub fn stream_send(&mut self, serial: Serial, data: &[u8]) -> Result<(), StreamError> {
        let info = self.open_stream(serial)?;
        self.outbox.pieces(&header(info, Kind::Stream, serial.0, Status::Continue), data);
        Ok(())
    }

    /// Sends a hole of so many bytes on a stream.
    ///
    /// # Errors
    /// When the stream does not take data.
    pub fn stream_hole(&mut self, serial: Serial, length: i64) -> Result<(), StreamError> {
        let info = self.open_stream(serial)?;
        let header = header(info, Kind::StreamHole, serial.0, Status::Continue);
        self.outbox.short(&header, &hole::encode(length));
        Ok(())
    }

    /// Says that no more data comes; [`Incoming::Finished`] confirms that all has arrived.
    ///
    /// # Errors
    /// When that has been said before.
    pub fn stream_finish(&mut self, serial: Serial) -> Result<(), StreamError> {
        self.open_stream(serial)?;
        self.close_stream(serial.0, Status::Ok);
        Ok(())
    }

    /// Breaks a stream off; [`Incoming::Finished`] or [`Incoming::Broken`] confirms.
    ///
    /// # Errors
    /// When it is closed already.
    pub fn stream_abort(&mut self, serial: Serial) -> Result<(), StreamError> {
        self.open_stream(serial)?;
        self.close_stream(serial.0, Status::Error);
        Ok(())
    }

    fn open_stream(&self, serial: Serial) -> Result<&'static Info, StreamError> {
        match self.calls.get(&serial.0) {
            Some(Call { stage: Stage::Stream, info, .. }) => Ok(info),
            Some(Call { stage: Stage::Closing { .. }, .. }) => Err(StreamError::Finished),
            _ => Err(StreamError::Closed),
        }
    }

    fn close_stream(&mut self, serial: u32, status: Status) {
        if let Some(call) = self.calls.get_mut(&serial) {
            call.stage = Stage::Closing { aborted: status == Status::Error };
            let header = header(call.info, Kind::Stream, serial, status);
            self.outbox.short(&header, &[]);
        }
    }

    /// Room for bytes from the connection.
    pub fn space(&mut self) -> &mut [u8] {
        self.inbox.space()
    }

    /// Bytes and descriptors have come from the connection.
    pub fn filled(&mut self, bytes: usize, descriptors: impl IntoIterator<Item = OwnedFd>, now: Instant) {
        self.inbox.filled(bytes, descriptors);
        self.heard(now);
    }

    /// What goes to the connection next.
    #[must_use]
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit()
    }

    /// So many bytes went.
    pub fn sent(&mut self, bytes: usize) {
        self.outbox.sent(bytes);
    }

    /// A descriptor went.
    pub fn descriptor_sent(&mut self) {
        self.outbox.descriptor_sent();
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.outbox.pending()
    }

    /// Calls that wait for a place or for their reply, also those that nobody waits for any more: the daemon is busy with them all the same.
    #[must_use]
    pub fn load(&self) -> usize {
        self.queued.len() + self.in_flight + self.urgent_in_flight
    }

    /// Calls among [`ClientSession::load`] that nobody waits for any more: each keeps its place until the daemon answers, if it ever does.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Whether a call could be sent only when a call has been answered that nobody waits for any more.
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        self.abandoned >= self.limits.ordinary.max(1)
    }

    /// Whether any call or stream is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.calls.is_empty()
    }

    /// From now on the other side is asked for a sign of life, or not any more. While somebody logs in there is nobody yet who could
    /// answer.
    pub fn keep_alive(&mut self, keepalive: Option<Keepalive>, now: Instant) {
        self.keepalive = keepalive;
        self.heard(now);
    }

    /// Nothing is read from the connection for now: there is no room for what would come. The other side's silence then means nothing,
    /// and is not counted; it is told from time to time that we live.
    pub fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    /// Whether nothing is read.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// The connection is read again: whoever lives has all the time of [`Keepalive`] to show it.
    pub fn resume(&mut self, now: Instant) {
        if self.paused.take().is_some() {
            self.heard(now);
        }
    }

    /// A sign of life other than bytes: the other side took bytes that had to wait, so it reads.
    pub fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.asked = 0;
    }

    /// When [`ClientSession::tick`] wants to be called, unless bytes come before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.keepalive.map(|keepalive| match self.paused {
            Some(told) => told + keepalive.interval,
            None => self.last_asked.max(self.last_heard) + keepalive.interval,
        })
    }

    /// Time has passed.
    ///
    /// # Errors
    /// When the other side has been silent for too long.
    pub fn tick(&mut self, now: Instant) -> Result<(), SessionError> {
        let Some(keepalive) = self.keepalive else { return Ok(()) };
        if self.paused.is_some() {
            if self.deadline().is_some_and(|deadline| deadline <= now) {
                // An answer that nobody asked for is a sign of life all the same, and makes no answer.
                self.outbox.pong(&keepalive_header(keepalive::PONG));
                self.paused = Some(now);
            }
            return Ok(());
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            if self.asked >= keepalive.count {
                return Err(SessionError::Silent(now.saturating_duration_since(self.last_heard)));
            }
            // One question at a time, whatever the time is: a process that stood still has asked nothing meanwhile.
            self.asked += 1;
            self.last_asked = now;
            self.outbox.short(&keepalive_header(keepalive::PING), &[]);
        }
        Ok(())
    }

    /// The next thing that has arrived; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the connection is of no further use.
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from the session")]
    pub fn next(&mut self) -> Result<Option<Incoming<'_>>, SessionError> {
        loop {
            let Some(Packet { header, descriptors }) = self.inbox.packet()? else { return Ok(None) };
            let issued = (1..=self.highest).contains(&header.serial);
            let step = Step::of(&header, self.inbox.payload(), self.calls.get(&header.serial), issued);
            let serial = Serial(header.serial);
            match step {
                Step::Pass => {}
                Step::Pong => self.outbox.pong(&header),
                Step::Unasked => return Err(SessionError::Unasked(header.serial)),
                Step::Stray => return Ok(Some(Incoming::Stray(header))),
                Step::Event(program) => {
                    let procedure = header.procedure;
                    return Ok(Some(Incoming::Event { program, procedure, payload: self.inbox.payload() }));
                }
                Step::Reply { opens_stream } => {
                    let abandoned = self.release(header.serial, opens_stream);
                    if !abandoned {
                        let payload = self.inbox.payload();
                        return Ok(Some(Incoming::Reply { serial, payload, descriptors }));
                    }
                }
                Step::Failed(failure) => {
                    if !self.release(header.serial, false) {
                        return Ok(Some(Incoming::Failed { serial, failure }));
                    }
                }
                Step::Data => return Ok(Some(Incoming::Data { serial, data: self.inbox.payload() })),
                Step::Hole(length) => return Ok(Some(Incoming::Hole { serial, length })),
                Step::End => return Ok(Some(Incoming::End { serial })),
                Step::Finished => {
                    if !self.forget(header.serial) {
                        return Ok(Some(Incoming::Finished { serial }));
                    }
                }
                // Who sends what is no hole does not know it, and would send all the rest.
                Step::Broken(failure @ Failure::Hole(_)) if self.break_off(header.serial) => {
                    return Ok(Some(Incoming::Broken { serial, failure }));
                }
                Step::Broken(failure) => {
                    if !self.forget(header.serial) {
                        return Ok(Some(Incoming::Broken { serial, failure }));
                    }
                }
            }
        }
    }

    /// The reply of a call has come: its place is free. Returns whether nobody waits for it.
    fn release(&mut self, serial: u32, opens_stream: bool) -> bool {
        let Some(call) = self.calls.get_mut(&serial) else { return true };
        if let Stage::Sent { urgent } = call.stage {
            let places = if urgent { &mut self.urgent_in_flight } else { &mut self.in_flight };
            *places = places.saturating_sub(1);
            self.abandoned -= usize::from(call.abandoned);
        }
        let abandoned = call.abandoned;
        if opens_stream && call.ended != Some(Early::Told) {
            call.stage = Stage::Stream;
            // Nobody waits for the rest of one that was broken off, although somebody does for this reply.
            call.abandoned |= call.ended.is_some();
            if call.abandoned {
                self.close_stream(serial, Status::Error);
            }
        } else {
            self.calls.remove(&serial);
        }
        self.send_queued();
        abandoned
    }

    /// Breaks a stream off of which something came that is no use: at once, or as soon as its reply has come. False when nobody has it, or
    /// one of both sides has ended it.
    fn break_off(&mut self, serial: u32) -> bool {
        let Some(call) = self.calls.get_mut(&serial).filter(|call| !call.abandoned) else { return false };
        match call.stage {
            Stage::Stream => {
                self.abandon(Serial(serial));
                true
            }
            Stage::Sent { .. } => {
                call.ended = Some(Early::BrokenOff);
                true
            }
            Stage::Queued | Stage::Closing { .. } => false,
        }
    }

    /// A stream has ended. Returns whether nobody waits for it.
    fn forget(&mut self, serial: u32) -> bool {
        if let Some(call) = self.calls.get_mut(&serial)
            && matches!(call.stage, Stage::Sent { .. })
        {
            let known = call.ended.replace(Early::Told).is_some();
            return known || call.abandoned;
        }
        self.calls.remove(&serial).is_none_or(|call| call.abandoned)
    }
}

fn keepalive_header(procedure: i32) -> Header {
    Header {
        program: keepalive::PROGRAM,
        version: keepalive::VERSION,
        procedure,
        kind: Kind::Message,
        serial: 0,
        status: Status::Ok,
    }
}

fn header(info: &Info, kind: Kind, serial: u32, status: Status) -> Header {
    Header {
        program: info.program.number(),
        version: info.program.version(),
        procedure: info.number,
        kind,
        serial,
        status,
    }
}

//! The daemon's side of a connection.

use super::hole::{self, HoleError};
use super::inbox::{Inbox, Packet};
use super::keepalive;
use super::outbox::{Load, Outbox, Transmit};
use crate::packet::{Header, Kind, PacketError, Status};
use crate::procedure::{Info, Procedure, Program};
use crate::types;
use crate::xdr::{LimitError, Wire};
use std::os::fd::OwnedFd;

/// What a client wants.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// A call. Answer it with [`ServerSession::reply`] or [`ServerSession::refuse`].
    Call {
        /// What to answer.
        call: CallId,
        /// What is known of the procedure; `None` for one that this library does not know.
        info: Option<&'static Info>,
        /// Arguments, encoded.
        payload: &'a [u8],
        /// Descriptors that came with it.
        descriptors: Vec<OwnedFd>,
    },
    /// Data for a stream.
    Data {
        /// The call that opened it.
        call: CallId,
        /// The data.
        data: &'a [u8],
    },
    /// A hole in a stream.
    Hole {
        /// The call that opened it.
        call: CallId,
        /// Its length in bytes.
        length: u64,
    },
    /// A hole in a stream that is none. Break the stream off ([`ServerSession::stream_break`]): where what follows belongs is not known.
    BrokenHole {
        /// The call that opened it.
        call: CallId,
        /// What is wrong with it.
        error: HoleError,
    },
    /// The client sends no more on a stream and waits for [`ServerSession::stream_finish`].
    Finish {
        /// The call that opened it.
        call: CallId,
    },
    /// The client has broken a stream off and waits for [`ServerSession::stream_aborted`].
    Abort {
        /// The call that opened it.
        call: CallId,
    },
}

/// A call of a client: what its reply and its stream must repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId {
    program: u32,
    version: u32,
    procedure: i32,
    serial: u32,
}

impl CallId {
    /// The program's number.
    #[must_use]
    pub fn program(self) -> u32 {
        self.program
    }

    /// The program's version.
    #[must_use]
    pub fn version(self) -> u32 {
        self.version
    }

    /// The procedure's number.
    #[must_use]
    pub fn procedure(self) -> i32 {
        self.procedure
    }

    /// The call's number on its connection, which its stream shares.
    #[must_use]
    pub fn serial(self) -> u32 {
        self.serial
    }

    fn of(header: &Header) -> Self {
        let Header { program, version, procedure, serial, .. } = *header;
        Self { program, version, procedure, serial }
    }

    fn header(self, kind: Kind, status: Status) -> Header {
        let Self { program, version, procedure, serial } = self;
        Header { program, version, procedure, kind, serial, status }
    }
}

/// The daemon's side of a connection: bytes in, requests out; answers in, bytes out.
#[derive(Debug, Default)]
pub struct ServerSession {
    inbox: Inbox,
    outbox: Outbox,
}

impl ServerSession {
    /// Room for bytes from the connection.
    pub fn space(&mut self) -> &mut [u8] {
        self.inbox.space()
    }

    /// Bytes and descriptors have come from the connection.
    pub fn filled(&mut self, bytes: usize, descriptors: impl IntoIterator<Item = OwnedFd>) {
        self.inbox.filled(bytes, descriptors);
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

    /// The next request; `None` when more bytes are needed. What makes no sense from a client is passed over.
    ///
    /// # Errors
    /// When the bytes are no packets: the connection is of no further use.
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from the session")]
    pub fn next(&mut self) -> Result<Option<Request<'_>>, PacketError> {
        loop {
            let Some(Packet { header, descriptors }) = self.inbox.packet()? else { return Ok(None) };
            let call = CallId::of(&header);
            match (header.kind, header.status) {
                (Kind::Message, _) if header.program == keepalive::PROGRAM => {
                    if header.procedure == keepalive::PING {
                        self.outbox.pong(&header);
                    }
                }
                (Kind::Call | Kind::CallWithFds, _) => {
                    let info = Program::from_number(call.program)
                        .and_then(|program| program.procedure(call.procedure))
                        .filter(|info| !info.event);
                    let payload = self.inbox.payload();
                    return Ok(Some(Request::Call { call, info, payload, descriptors }));
                }
                (Kind::Stream, Status::Continue) => {
                    return Ok(Some(Request::Data { call, data: self.inbox.payload() }));
                }
                (Kind::Stream, Status::Ok) => return Ok(Some(Request::Finish { call })),
                (Kind::Stream, Status::Error) => return Ok(Some(Request::Abort { call })),
                (Kind::StreamHole, _) => {
                    return Ok(Some(match hole::decode(self.inbox.payload()) {
                        Ok(length) => Request::Hole { call, length },
                        Err(error) => Request::BrokenHole { call, error },
                    }));
                }
                (Kind::Message | Kind::Reply | Kind::ReplyWithFds, _) => {}
            }
        }
    }

    /// Answers a call.
    ///
    /// # Errors
    /// When the result exceeds a limit, or is with the descriptors more than one message carries; nothing is sent then, and the call
    /// still wants an answer.
    pub fn reply<P: Procedure>(
        &mut self,
        call: CallId,
        result: &P::Ret<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), LimitError> {
        let load = Load::new(result.measure()?, descriptors)?;
        self.reply_with(call, load, |out| result.put(out));
        Ok(())
    }

    /// Answers a call with a result that is encoded already.
    ///
    /// # Errors
    /// As [`ServerSession::reply`].
    pub fn reply_encoded(
        &mut self,
        call: CallId,
        result: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), LimitError> {
        let load = Load::new(result.len(), descriptors)?;
        self.reply_with(call, load, |out| out.extend_from_slice(result));
        Ok(())
    }

    fn reply_with(&mut self, call: CallId, load: Load, put: impl FnOnce(&mut Vec<u8>)) {
        let kind = if load.has_descriptors() { Kind::ReplyWithFds } else { Kind::Reply };
        self.outbox.packet(&call.header(kind, Status::Ok), load, put);
    }

    /// Refuses a call.
    ///
    /// # Errors
    /// When a text of the error exceeds its limit; nothing is sent then.
    pub fn refuse(&mut self, call: CallId, error: &types::Error<'_>) -> Result<(), LimitError> {
        self.error(&call.header(Kind::Reply, Status::Error), error)
    }

    fn error(&mut self, header: &Header, error: &types::Error<'_>) -> Result<(), LimitError> {
        let load = Load::new(error.measure()?, Vec::new())?;
        self.outbox.packet(header, load, |out| error.put(out));
        Ok(())
    }

    /// Sends an event.
    ///
    /// # Errors
    /// When it is more than one message carries; nothing is sent then.
    pub fn event(&mut self, info: &Info, payload: &[u8]) -> Result<(), LimitError> {
        let load = Load::new(payload.len(), Vec::new())?;
        let (program, version) = (info.program.number(), info.program.version());
        let header = signal(program, version, info.number);
        self.outbox.packet(&header, load, |out| out.extend_from_slice(payload));
        Ok(())
    }

    /// Asks whether the client lives; anything that comes is an answer.
    pub fn ping(&mut self) {
        let header = signal(keepalive::PROGRAM, keepalive::VERSION, keepalive::PING);
        self.outbox.short(&header, &[]);
    }

    /// Sends data on a stream, in the usual pieces.
    pub fn stream_data(&mut self, call: CallId, data: &[u8]) {
        self.outbox.pieces(&call.header(Kind::Stream, Status::Continue), data);
    }

    /// Sends a hole on a stream.
    pub fn stream_hole(&mut self, call: CallId, length: i64) {
        self.outbox.short(&call.header(Kind::StreamHole, Status::Continue), &hole::encode(length));
    }

    /// Says that a stream has no more data: an empty packet.
    pub fn stream_end(&mut self, call: CallId) {
        self.outbox.short(&call.header(Kind::Stream, Status::Continue), &[]);
    }

    /// Confirms the end of a stream.
    pub fn stream_finish(&mut self, call: CallId) {
        self.outbox.short(&call.header(Kind::Stream, Status::Ok), &[]);
    }

    /// Confirms that a stream is broken off.
    pub fn stream_aborted(&mut self, call: CallId) {
        self.outbox.short(&call.header(Kind::Stream, Status::Error), &[]);
    }

    /// Breaks a stream off, with the reason.
    ///
    /// # Errors
    /// When a text of the error exceeds its limit; nothing is sent then.
    pub fn stream_break(&mut self, call: CallId, error: &types::Error<'_>) -> Result<(), LimitError> {
        self.error(&call.header(Kind::Stream, Status::Error), error)
    }
}

/// The header of a message that nobody answers by its number.
fn signal(program: u32, version: u32, procedure: i32) -> Header {
    Header { program, version, procedure, kind: Kind::Message, serial: 0, status: Status::Ok }
}

//! One client's connection: bytes to requests, effects to bytes.
//!
//! Nothing that a client does, or leaves undone, fills the memory:
//!
//! | what is under way | its limit | then |
//! |---|---|---|
//! | calls without an answer | [`WAITING`] | nothing is read from the client |
//! | data of streams that the owner has not taken | [`UNTAKEN`] | the same |
//! | what the client has not read: answers, consoles' echoes | [`UNREAD`] | the same; downloads stop at [`UNSENT`] |
//! | events, which nobody can hold back | [`DEAF`] | the client is sent away |

use crate::hypervisor::{Client, Effect, Refusal};
use libvirt_protocol::enums::ErrorDomain;
use libvirt_protocol::procedure::Info;
use libvirt_protocol::session::{CallId, HoleError, Request, ServerSession, Transmit};
use libvirt_protocol::types;
use libvirt_protocol::xdr::LimitError;
use libvirt_transport::Transport;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// What a connection tells the owner of the hypervisor.
#[derive(Debug)]
pub(crate) enum Message {
    /// A call, with its arguments, and what came with it.
    Call(CallId, Option<&'static Info>, Vec<u8>, Vec<OwnedFd>),
    /// Data of a stream.
    Data(CallId, Vec<u8>),
    /// A hole in a stream, or what should be one.
    Hole(CallId, Result<u64, HoleError>),
    /// The end of a stream.
    Finish(CallId),
    /// A stream is broken off.
    Abort(CallId),
    /// There is room for more of a stream.
    Pull(CallId),
}

impl Message {
    /// What it weighs while the owner has not taken it, in bytes. Calls are counted, not weighed.
    pub(crate) fn weight(&self) -> usize {
        // What a message takes that has no data.
        const LEAST: usize = 64;
        match self {
            Self::Call(..) | Self::Pull(_) => 0,
            Self::Data(_, data) => LEAST + data.len(),
            Self::Hole(..) | Self::Finish(_) | Self::Abort(_) => LEAST,
        }
    }
}

/// What the owner tells a connection.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Something to do.
    Effect(Effect),
    /// A message of this weight was taken.
    Taken(usize),
}

/// A connection is not read while so many calls wait for their answers (`max_client_requests` of libvirtd.conf).
const WAITING: usize = 5;
/// More of a stream is wanted while fewer bytes than these are unsent.
const UNSENT: usize = 1 << 20;
/// A connection is not read while the owner has so many bytes of its streams before it.
const UNTAKEN: usize = 1 << 20;
/// A connection is not read while its client has so many bytes to read.
const UNREAD: usize = 4 << 20;
/// A client with so many bytes to read reads nothing: events for it have nowhere to go.
const DEAF: usize = 16 << 20;

/// A connection.
pub(crate) struct Connection<T> {
    client: Client,
    session: ServerSession,
    transport: T,
    requests: mpsc::UnboundedSender<(Client, Message)>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    /// Calls without an answer.
    waiting: usize,
    /// Weight of the messages that the owner has not taken.
    untaken: usize,
    /// Streams that have more to send.
    readable: VecDeque<CallId>,
    /// What can be sent is, and then the connection ends.
    closing: bool,
}

impl<T: Transport> Connection<T> {
    pub(crate) fn new(
        client: Client,
        transport: T,
        requests: mpsc::UnboundedSender<(Client, Message)>,
        deliveries: mpsc::UnboundedReceiver<Delivery>,
    ) -> Self {
        let session = ServerSession::default();
        let readable = VecDeque::new();
        Self {
            client,
            session,
            transport,
            requests,
            deliveries,
            waiting: 0,
            untaken: 0,
            readable,
            closing: false,
        }
    }

    /// Moves the connection until it ends.
    pub(crate) async fn run(mut self) {
        // How it ended makes no difference to anybody: clients may go at any time.
        let _: io::Result<()> = std::future::poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let took = self.take(context)?;
            self.pull();
            let wrote = self.write(context)?;
            if self.closing {
                return Poll::Ready(Ok(()));
            }
            let read = self.read(context)?;
            if read == Turn::Ended {
                return Poll::Ready(Ok(()));
            }
            if took == Turn::Idle && wrote == Turn::Idle && read == Turn::Idle {
                return Poll::Pending;
            }
        }
    }

    fn take(&mut self, context: &mut Context<'_>) -> io::Result<Turn> {
        let mut turn = Turn::Idle;
        while let Poll::Ready(delivery) = self.deliveries.poll_recv(context) {
            match delivery {
                Some(Delivery::Effect(effect)) => self.apply(effect),
                Some(Delivery::Taken(weight)) => self.untaken = self.untaken.saturating_sub(weight),
                None => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has ended"));
                }
            }
            turn = Turn::Moved;
        }
        Ok(turn)
    }

    fn apply(&mut self, effect: Effect) {
        let session = &mut self.session;
        match effect {
            Effect::Reply { call, result, descriptors } => self.reply(call, &result, descriptors),
            Effect::Refuse { call, refusal } => self.refuse(call, &refusal),
            Effect::Event { .. } if session.unsent() >= DEAF => {
                tracing::debug!("a client that reads no events is sent away");
                self.closing = true;
            }
            Effect::Event { info, payload } => {
                // libvirtd loses it as well: there is no call that could be told.
                if let Err(error) = session.event(info, &payload) {
                    tracing::debug!(event = info.name, %error, "an event that cannot be sent");
                }
            }
            Effect::Readable(call) => self.readable.push_back(call),
            Effect::Data(call, data) => session.stream_data(call, &data),
            Effect::Hole(call, length) => session.stream_hole(call, length),
            Effect::End(call) => session.stream_end(call),
            Effect::Finish(call) => session.stream_finish(call),
            Effect::Aborted(call) => session.stream_aborted(call),
            Effect::Break { call, refusal } => say(&refusal, |error| session.stream_break(call, error)),
            Effect::Close => self.closing = true,
        }
    }

    fn reply(&mut self, call: CallId, result: &[u8], descriptors: Vec<OwnedFd>) {
        if !descriptors.is_empty() && !self.transport.traits().descriptors {
            let refusal = Refusal::internal("descriptors travel over unix sockets only");
            return self.refuse(call, &refusal.of(ErrorDomain::Rpc));
        }
        match self.session.reply_encoded(call, result, descriptors) {
            Ok(()) => self.waiting = self.waiting.saturating_sub(1),
            // The call is done, and only its result does not reach the client: as libvirtd says it (`virNetMessageEncodePayload`).
            Err(error) => {
                self.refuse(call, &Refusal::rpc(format!("Unable to encode message payload: {error}")));
            }
        }
    }

    fn refuse(&mut self, call: CallId, refusal: &Refusal) {
        self.waiting = self.waiting.saturating_sub(1);
        say(refusal, |error| self.session.refuse(call, error));
    }

    fn pull(&mut self) {
        if self.session.unsent() < UNSENT {
            for call in self.readable.drain(..) {
                let _ = self.requests.send((self.client, Message::Pull(call)));
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> io::Result<Turn> {
        let mut turn = Turn::Idle;
        while let Some(next) = self.session.transmit() {
            match self.transport.poll_write(context, &next) {
                Poll::Pending => return Ok(turn),
                Poll::Ready(written) => {
                    let written = written?;
                    match next {
                        Transmit::Bytes(_) => self.session.sent(written),
                        Transmit::Descriptor(_) => self.session.descriptor_sent(),
                    }
                }
            }
            turn = Turn::Moved;
        }
        if let Poll::Ready(flushed) = self.transport.poll_flush(context) {
            flushed?;
        }
        Ok(turn)
    }

    fn read(&mut self, context: &mut Context<'_>) -> io::Result<Turn> {
        let mut turn = Turn::Idle;
        loop {
            while self.has_room() && self.forward()? {
                turn = Turn::Moved;
            }
            if !self.has_room() {
                return Ok(turn);
            }
            let mut descriptors: Vec<OwnedFd> = Vec::new();
            match self.transport.poll_read(context, self.session.space(), &mut descriptors) {
                Poll::Pending => return Ok(turn),
                Poll::Ready(read) => match read? {
                    0 => return Ok(Turn::Ended),
                    bytes => self.session.filled(bytes, descriptors),
                },
            }
            turn = Turn::Moved;
        }
    }

    /// Whether the client may say more.
    fn has_room(&self) -> bool {
        self.waiting < WAITING && self.untaken < UNTAKEN && self.session.unsent() < UNREAD
    }

    /// Hands the next request on; false when more bytes are needed.
    fn forward(&mut self) -> io::Result<bool> {
        let request =
            self.session.next().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let message = match request {
            None => return Ok(false),
            Some(Request::Call { call, info, payload, descriptors }) => {
                self.waiting += 1;
                Message::Call(call, info, payload.to_vec(), descriptors)
            }
            Some(Request::Data { call, data }) => Message::Data(call, data.to_vec()),
            Some(Request::Hole { call, length }) => Message::Hole(call, Ok(length)),
            Some(Request::BrokenHole { call, error }) => Message::Hole(call, Err(error)),
            Some(Request::Finish { call }) => Message::Finish(call),
            Some(Request::Abort { call }) => Message::Abort(call),
            // Requests of a later protocol library.
            Some(_) => return Ok(true),
        };
        self.untaken += message.weight();
        let ended = |_| io::Error::new(io::ErrorKind::ConnectionAborted, "the server has ended");
        self.requests.send((self.client, message)).map_err(ended)?;
        Ok(true)
    }
}

/// Tells a client why something does not come about. Of a text that is too long, since it quotes what came with the call whole, the kind of
/// the error is left: somebody waits for it.
fn say(refusal: &Refusal, mut send: impl FnMut(&types::Error<'_>) -> Result<(), LimitError>) {
    if send(&refusal.wire()).is_err() {
        let plain = Refusal::bare(refusal.code).of(refusal.domain);
        // One without texts is within every limit.
        let _ = send(&plain.wire());
    }
}

/// What one turn of a part did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Idle,
    Moved,
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;
    use libvirt_protocol::packet::{self, Frame, Header, Kind, PAYLOAD_MAX, Status};
    use libvirt_protocol::procedure::Procedure;
    use libvirt_protocol::{remote, xdr};
    use libvirt_transport::{Privacy, Stream};
    use std::task::Waker;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    /// A client that has said all that it will, and reads nothing.
    struct Mute {
        said: Vec<u8>,
        at: usize,
    }

    impl AsyncRead for Mute {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let (at, length) = (self.at, room.remaining().min(self.said.len() - self.at));
            if length == 0 {
                return Poll::Pending;
            }
            room.put_slice(&self.said[at..at + length]);
            self.at += length;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Mute {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    const CHUNK: usize = 65_536;

    /// A packet of a stream that an upload opens, or the call that opens it.
    fn packet(kind: Kind, payload: Vec<u8>) -> Vec<u8> {
        let info = remote::StorageVolUpload::INFO;
        let status = if kind == Kind::Call { Status::Ok } else { Status::Continue };
        let (program, version) = (info.program.number(), info.program.version());
        let header = Header { program, version, procedure: info.number, kind, serial: 1, status };
        packet::encode(&header, 0, &payload)
    }

    struct Bench {
        connection: Connection<Stream<Mute>>,
        requests: mpsc::UnboundedReceiver<(Client, Message)>,
        deliveries: mpsc::UnboundedSender<Delivery>,
    }

    impl Bench {
        /// The call is answered; then come so many chunks.
        fn new(chunks: usize) -> (Self, CallId) {
            let args = xdr::encode(&remote::StorageVolUploadArgs::default()).unwrap();
            let mut said = packet(Kind::Call, args);
            for _ in 0..chunks {
                said.extend(packet(Kind::Stream, vec![1; CHUNK]));
            }
            let transport = Stream::new(Mute { said, at: 0 }, Privacy::Private);
            let (sender, requests) = mpsc::unbounded_channel();
            let (deliveries, inbox) = mpsc::unbounded_channel();
            let connection = Connection::new(Client(1), transport, sender, inbox);
            let mut bench = Self { connection, requests, deliveries };
            assert!(bench.turn().is_pending());
            let Ok((_, Message::Call(call, ..))) = bench.requests.try_recv() else { panic!("no call") };
            bench.deliver(Effect::Reply { call, result: Vec::new(), descriptors: Vec::new() });
            (bench, call)
        }

        fn turn(&mut self) -> Poll<io::Result<()>> {
            self.connection.poll(&mut Context::from_waker(Waker::noop()))
        }

        fn deliver(&self, effect: Effect) {
            self.deliveries.send(Delivery::Effect(effect)).unwrap();
        }

        /// Bytes that the owner has been given since it last looked.
        fn given(&mut self) -> usize {
            let mut given = 0;
            while let Ok((_, message)) = self.requests.try_recv() {
                given += message.weight();
            }
            given
        }
    }

    #[test]
    fn data_that_nobody_takes_is_not_read() {
        let (mut bench, _) = Bench::new(64);
        assert!(bench.turn().is_pending());
        let first = bench.given();
        assert!((UNTAKEN..UNTAKEN + 2 * CHUNK).contains(&first), "{first}");
        assert!(bench.turn().is_pending());
        assert_eq!(bench.given(), 0);
        // What was taken makes room for as much.
        bench.deliveries.send(Delivery::Taken(first)).unwrap();
        assert!(bench.turn().is_pending());
        let second = bench.given();
        assert!((UNTAKEN..UNTAKEN + 2 * CHUNK).contains(&second), "{second}");
    }

    #[test]
    fn who_does_not_read_what_comes_back_is_not_listened_to() {
        let (mut bench, call) = Bench::new(256);
        let mut echoed = 0;
        loop {
            assert!(bench.turn().is_pending());
            let given = bench.given();
            if given == 0 {
                break;
            }
            // As a console does it.
            bench.deliveries.send(Delivery::Taken(given)).unwrap();
            bench.deliver(Effect::Data(call, vec![1; given]));
            echoed += given;
        }
        assert!((UNREAD..UNREAD + 2 * UNTAKEN).contains(&echoed), "{echoed} of {}", 256 * CHUNK);
    }

    #[test]
    fn a_reply_that_no_message_carries_becomes_an_error_and_the_connection_goes_on() {
        let (mut bench, call) = Bench::new(0);
        assert!(bench.turn().is_pending());
        let before = bench.connection.session.unsent();
        bench.deliver(Effect::Reply { call, result: vec![0; PAYLOAD_MAX + 1], descriptors: Vec::new() });
        assert!(bench.turn().is_pending());
        let Some(Transmit::Bytes(said)) = bench.connection.session.transmit() else { panic!("nothing") };
        let said = &said[before..];
        let frame = Frame::begin(said).unwrap().unwrap();
        assert_eq!((frame.header.kind, frame.header.status), (Kind::Reply, Status::Error));
        let error: types::Error<'_> = xdr::decode(&said[frame.payload.clone()]).unwrap();
        let message = String::from(error.message.unwrap());
        assert!(message.starts_with("Unable to encode message payload: a message of 33554437 bytes"));
        assert_eq!((frame.size(), bench.connection.waiting), (said.len(), 0));
    }

    #[test]
    fn a_stream_is_broken_off_whatever_the_reason_quotes() {
        let (mut bench, call) = Bench::new(0);
        assert!(bench.turn().is_pending());
        let before = bench.connection.session.unsent();
        let refusal = Refusal::internal("x".repeat(PAYLOAD_MAX));
        bench.deliver(Effect::Break { call, refusal: refusal.clone() });
        assert!(bench.turn().is_pending());
        let Some(Transmit::Bytes(said)) = bench.connection.session.transmit() else { panic!("nothing") };
        let said = &said[before..];
        let frame = Frame::begin(said).unwrap().unwrap();
        assert_eq!((frame.header.kind, frame.header.status), (Kind::Stream, Status::Error));
        let error: types::Error<'_> = xdr::decode(&said[frame.payload.clone()]).unwrap();
        assert_eq!((error.code, error.domain), (refusal.code, refusal.domain));
    }

    #[test]
    fn who_reads_no_events_is_sent_away() {
        let (mut bench, _) = Bench::new(0);
        let info = crate::hypervisor::event("domain_event_callback_reboot").unwrap();
        let mut sent = 0;
        while bench.turn().is_pending() {
            bench.deliver(Effect::Event { info, payload: vec![0; CHUNK] });
            sent += CHUNK;
            assert!(sent < 2 * DEAF, "it is kept for ever");
        }
        assert!(sent > DEAF / 2);
    }
}

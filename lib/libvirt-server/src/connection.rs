//! One client's connection: bytes to requests, effects to bytes.

use crate::hypervisor::{Client, Effect, Refusal};
use libvirt_protocol::enums::ErrorDomain;
use libvirt_protocol::procedure::Info;
use libvirt_protocol::session::{CallId, Request, ServerSession, Transmit};
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
    /// A hole in a stream.
    Hole(CallId, i64),
    /// The end of a stream.
    Finish(CallId),
    /// A stream is broken off.
    Abort(CallId),
    /// There is room for more of a stream.
    Pull(CallId),
}

/// A connection is not read while so many calls wait for their answers (`max_client_requests` of libvirtd.conf).
const WAITING: usize = 5;
/// More of a stream is wanted while fewer bytes than these are unsent.
const UNSENT: usize = 1 << 20;

/// A connection.
pub(crate) struct Connection<T> {
    client: Client,
    session: ServerSession,
    transport: T,
    requests: mpsc::UnboundedSender<(Client, Message)>,
    effects: mpsc::UnboundedReceiver<Effect>,
    /// Calls without an answer.
    waiting: usize,
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
        effects: mpsc::UnboundedReceiver<Effect>,
    ) -> Self {
        let session = ServerSession::default();
        let readable = VecDeque::new();
        Self { client, session, transport, requests, effects, waiting: 0, readable, closing: false }
    }

    /// Moves the connection until it ends.
    pub(crate) async fn run(mut self) -> Client {
        // How it ended makes no difference to anybody: clients may go at any time.
        let _: io::Result<()> = std::future::poll_fn(|context| self.poll(context)).await;
        self.client
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let took = self.take_effects(context)?;
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

    fn take_effects(&mut self, context: &mut Context<'_>) -> io::Result<Turn> {
        let mut turn = Turn::Idle;
        while let Poll::Ready(effect) = self.effects.poll_recv(context) {
            let Some(effect) = effect else {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has ended"));
            };
            self.apply(effect);
            turn = Turn::Moved;
        }
        Ok(turn)
    }

    fn apply(&mut self, effect: Effect) {
        let session = &mut self.session;
        match effect {
            Effect::Reply { call, descriptors, .. }
                if !descriptors.is_empty() && !self.transport.traits().descriptors =>
            {
                self.waiting = self.waiting.saturating_sub(1);
                let refusal = Refusal::internal("descriptors travel over unix sockets only");
                let _ = session.refuse(call, &refusal.of(ErrorDomain::Rpc).wire());
            }
            Effect::Reply { call, result, descriptors } => {
                self.waiting = self.waiting.saturating_sub(1);
                session.reply_encoded(call, &result, descriptors);
            }
            Effect::Refuse { call, refusal } => {
                self.waiting = self.waiting.saturating_sub(1);
                // Texts of refusals are far below their limit.
                let _ = session.refuse(call, &refusal.wire());
            }
            Effect::Event { info, payload } => session.event(info, &payload),
            Effect::Readable(call) => self.readable.push_back(call),
            Effect::Data(call, data) => session.stream_data(call, &data),
            Effect::Hole(call, length) => session.stream_hole(call, length),
            Effect::End(call) => session.stream_end(call),
            Effect::Finish(call) => session.stream_finish(call),
            Effect::Aborted(call) => session.stream_aborted(call),
            Effect::Break { call, refusal } => {
                let _ = session.stream_break(call, &refusal.wire());
            }
            Effect::Close => self.closing = true,
        }
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
            while self.waiting < WAITING && self.forward()? {
                turn = Turn::Moved;
            }
            if self.waiting >= WAITING {
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
            Some(Request::Hole { call, length }) => Message::Hole(call, length),
            Some(Request::Finish { call }) => Message::Finish(call),
            Some(Request::Abort { call }) => Message::Abort(call),
            // Requests of a later protocol library.
            Some(_) => return Ok(true),
        };
        let ended = |_| io::Error::new(io::ErrorKind::ConnectionAborted, "the server has ended");
        self.requests.send((self.client, message)).map_err(ended)?;
        Ok(true)
    }
}

/// What one turn of a part did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Idle,
    Moved,
    Ended,
}

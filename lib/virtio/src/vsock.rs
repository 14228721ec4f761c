//! Sockets between a machine and its host (section 5.10), from the driver's side.
//!
//! ```text
//!   connect, send, receive, close --> Sockets --packets--> Outbox --> TRANSMIT
//!                                     Sockets <--packets-- Inbox  <-- RECEIVE
//! ```
//!
//! [`Sockets`] is a value: packets go in and come out, and it is the caller who moves them through rings.

use crate::bytes::{u16_at, u32_at, u64_at};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use thiserror::Error;

/// The queue on which packets come.
pub const RECEIVE: u16 = 0;
/// The queue on which they go.
pub const TRANSMIT: u16 = 1;
/// The queue of events, of 4 bytes: 0 says that all connections are gone, as after a migration.
pub const EVENTS: u16 = 2;

/// Bytes before every packet's own.
pub const HEADER: usize = 44;
/// Most bytes of a packet that is sent.
pub const MOST: usize = 4096;
/// The host.
pub const HOST: u64 = 2;

/// Most connections to a port that wait to be accepted: as many as the other end likes would be as much memory as it likes.
const BACKLOG: usize = 128;
/// Most answers that wait to be sent, for the same reason: who takes none of them and goes on asking has no more.
const ANSWERS: usize = 1024;

bitflags::bitflags! {
    /// Features of sockets.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Streams of bytes. Without any feature there are these.
        const STREAM = 1 << 0;
        /// Messages with ends.
        const SEQPACKET = 1 << 1;
    }
}

/// The context of the guest, from configuration space (section 5.10.4).
pub fn guest(config: &[u8]) -> Option<u64> {
    config.first_chunk().copied().map(u64::from_le_bytes)
}

/// What a packet is for (section 5.10.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks for a connection.
    Request,
    /// Accepts it.
    Response,
    /// Ends it at once, or refuses it.
    Reset,
    /// Says that no more is sent, or received.
    Shutdown,
    /// Carries bytes.
    Data,
    /// Tells how much room there is.
    Credit,
    /// Asks for that.
    AskCredit,
    /// One that is not known here.
    Other(u16),
}

impl Operation {
    /// Whether it is said because the other end said something.
    const fn may_answer(self) -> bool {
        matches!(self, Self::Response | Self::Reset | Self::Credit)
    }

    const fn number(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Reset => 3,
            Self::Shutdown => 4,
            Self::Data => 5,
            Self::Credit => 6,
            Self::AskCredit => 7,
            Self::Other(number) => number,
        }
    }

    const fn parse(number: u16) -> Self {
        match number {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Reset,
            4 => Self::Shutdown,
            5 => Self::Data,
            6 => Self::Credit,
            7 => Self::AskCredit,
            other => Self::Other(other),
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The machine: [`HOST`], or a guest.
    pub context: u64,
    /// The port.
    pub port: u32,
}

/// What precedes the bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sent it.
    pub from: Address,
    /// For whom it is.
    pub to: Address,
    /// Bytes that follow.
    pub length: u32,
    /// 1 for streams, 2 for messages.
    pub kind: u16,
    /// What it is for.
    pub operation: Operation,
    /// Of a shutdown: bit 0, no more is received; bit 1, no more is sent.
    pub flags: u32,
    /// Room that its sender has for what it receives.
    pub window: u32,
    /// Bytes that its sender has made room for again since the beginning, modulo 2^32.
    pub forwarded: u32,
}

/// The kind of streams.
const STREAM: u16 = 1;
/// Flags of a shutdown.
const NO_RECEIVE: u32 = 1;
const NO_SEND: u32 = 2;

impl Header {
    /// Its bytes.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut all = [0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| all[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.from.context.to_le_bytes());
        put(8, &self.to.context.to_le_bytes());
        put(16, &self.from.port.to_le_bytes());
        put(20, &self.to.port.to_le_bytes());
        put(24, &self.length.to_le_bytes());
        put(28, &self.kind.to_le_bytes());
        put(30, &self.operation.number().to_le_bytes());
        put(32, &self.flags.to_le_bytes());
        put(36, &self.window.to_le_bytes());
        put(40, &self.forwarded.to_le_bytes());
        all
    }

    /// From its bytes.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let number = |at| u32_at(bytes, at);
        Self {
            from: Address { context: u64_at(bytes, 0), port: number(16) },
            to: Address { context: u64_at(bytes, 8), port: number(20) },
            length: number(24),
            kind: u16_at(bytes, 28),
            operation: Operation::parse(u16_at(bytes, 30)),
            flags: number(32),
            window: number(36),
            forwarded: number(40),
        }
    }
}

/// Names a connection: the port here, and the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The port here.
    pub port: u32,
    /// The other end.
    pub peer: Address,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was asked for.
    Connecting,
    /// Bytes go both ways, unless one side has ended its own.
    Open,
    /// The other end refused it, or ended it at once. What came before can still be received.
    Reset,
}

/// There is no such connection, or none that can send.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not connected")]
pub struct NotConnected;

#[derive(Debug)]
struct Connection {
    state: State,
    /// Bytes sent, and those that the other end made room for again; modulo 2^32.
    sent: u32,
    forwarded: u32,
    /// Room of the other end.
    window: u32,
    received: VecDeque<u8>,
    /// Bytes that were taken out of `received`, and what the other end was told of it.
    taken: u32,
    told: u32,
    /// No more comes; no more goes.
    ends: (bool, bool),
    /// The other end was asked for its room, and has not answered.
    asked: bool,
}

impl Connection {
    const fn new(state: State) -> Self {
        Self {
            state,
            sent: 0,
            forwarded: 0,
            window: 0,
            received: VecDeque::new(),
            taken: 0,
            told: 0,
            ends: (false, false),
            asked: false,
        }
    }

    /// Bytes that the other end has room for.
    const fn room(&self) -> u32 {
        self.window.saturating_sub(self.sent.wrapping_sub(self.forwarded))
    }
}

/// The connections of a machine.
#[derive(Debug)]
pub struct Sockets {
    context: u64,
    /// Room for what each connection receives.
    window: u32,
    listening: BTreeSet<u32>,
    connections: BTreeMap<Name, Connection>,
    accepted: VecDeque<Name>,
    out: VecDeque<(Header, Vec<u8>)>,
    /// Those of `out` that may be answers.
    answers: usize,
}

impl Sockets {
    /// Those of the machine `context`, each of which keeps at most `window` bytes that nobody has received yet.
    pub const fn new(context: u64, window: u32) -> Self {
        Self {
            context,
            window,
            listening: BTreeSet::new(),
            connections: BTreeMap::new(),
            accepted: VecDeque::new(),
            out: VecDeque::new(),
            answers: 0,
        }
    }

    /// Accepts connections to a port from now on. Up to 128 of them wait for [`Sockets::accept`]; who comes beyond is refused.
    pub fn listen(&mut self, port: u32) {
        self.listening.insert(port);
    }

    /// The next connection that came to a port.
    pub fn accept(&mut self) -> Option<Name> {
        self.accepted.pop_front()
    }

    /// Asks for a connection. `None`: there is one between these ports.
    pub fn connect(&mut self, port: u32, peer: Address) -> Option<Name> {
        let name = Name { port, peer };
        if self.connections.contains_key(&name) {
            return None;
        }
        self.connections.insert(name, Connection::new(State::Connecting));
        self.say(name, Operation::Request, 0, Vec::new());
        Some(name)
    }

    /// How far a connection is; `None` if it is not there.
    pub fn state(&self, name: Name) -> Option<State> {
        self.connections.get(&name).map(|connection| connection.state)
    }

    /// Sends bytes: as many as the other end has room for, which is told.
    ///
    /// # Errors
    /// [`NotConnected`].
    pub fn send(&mut self, name: Name, bytes: &[u8]) -> Result<usize, NotConnected> {
        let connection = self.connections.get_mut(&name).ok_or(NotConnected)?;
        if connection.state != State::Open || connection.ends.1 {
            return Err(NotConnected);
        }
        let count = bytes.len().min(connection.room() as usize);
        connection.sent = connection.sent.wrapping_add(count as u32);
        let asks = count < bytes.len() && !connection.asked;
        connection.asked |= asks;
        for piece in bytes[..count].chunks(MOST) {
            self.say(name, Operation::Data, 0, piece.to_vec());
        }
        if asks {
            self.say(name, Operation::AskCredit, 0, Vec::new());
        }
        Ok(count)
    }

    /// Takes bytes that came; `Ok(0)` for a buffer with room: the other end has ended. `None`: there are none now.
    ///
    /// # Errors
    /// [`NotConnected`] where there is no connection, or it was reset and everything that came before was taken.
    pub fn receive(&mut self, name: Name, into: &mut [u8]) -> Result<Option<usize>, NotConnected> {
        let window = self.window;
        let connection = self.connections.get_mut(&name).ok_or(NotConnected)?;
        let count = into.len().min(connection.received.len());
        if count == 0 {
            return match connection.state {
                State::Reset => Err(NotConnected),
                _ if connection.ends.0 => Ok(Some(0)),
                _ => Ok(None),
            };
        }
        for (to, byte) in into.iter_mut().zip(connection.received.drain(..count)) {
            *to = byte;
        }
        connection.taken = connection.taken.wrapping_add(count as u32);
        // Half of the room is news to who goes on sending; less would cost a packet for little.
        let goes_on = connection.state == State::Open && !connection.ends.0;
        if goes_on && connection.taken.wrapping_sub(connection.told) >= window / 2 {
            self.say(name, Operation::Credit, 0, Vec::new());
        }
        Ok(Some(count))
    }

    /// Says that no more is sent.
    ///
    /// # Errors
    /// [`NotConnected`].
    pub fn finish(&mut self, name: Name) -> Result<(), NotConnected> {
        let connection = self.connections.get_mut(&name).ok_or(NotConnected)?;
        if connection.state != State::Open {
            return Err(NotConnected);
        }
        connection.ends.1 = true;
        self.say(name, Operation::Shutdown, NO_SEND, Vec::new());
        Ok(())
    }

    /// Ends a connection, at once; what came and was not received is lost.
    pub fn close(&mut self, name: Name) {
        if self.connections.get(&name).is_some_and(|connection| connection.state != State::Reset) {
            self.say(name, Operation::Reset, 0, Vec::new());
        }
        self.connections.remove(&name);
    }

    /// All connections are gone: the device was moved, and says so by an event.
    pub fn reset(&mut self) {
        self.out.clear();
        self.answers = 0;
        for connection in self.connections.values_mut() {
            connection.state = State::Reset;
        }
    }

    /// The next packet to be sent, on [`TRANSMIT`].
    pub fn outgoing(&mut self) -> Option<(Header, Vec<u8>)> {
        let next = self.out.pop_front();
        if next.as_ref().is_some_and(|(header, _)| header.operation.may_answer()) {
            self.answers -= 1;
        }
        next
    }

    /// A packet that came on [`RECEIVE`].
    pub fn packet(&mut self, header: &Header, bytes: &[u8]) {
        let name = Name { port: header.to.port, peer: header.from };
        if header.to.context != self.context {
            return;
        }
        if header.operation == Operation::Request && !self.connections.contains_key(&name) {
            return self.asked_for(name, header);
        }
        let Some(connection) = self.connections.get_mut(&name) else {
            // Who speaks to nobody is told, unless that is what it says itself.
            if header.operation != Operation::Reset {
                self.answer(name, Operation::Reset);
            }
            return;
        };
        (connection.window, connection.forwarded) = (header.window, header.forwarded);
        connection.asked = false;
        match header.operation {
            Operation::Response if connection.state == State::Connecting => connection.state = State::Open,
            Operation::Data if connection.state == State::Open => {
                // Who sends more than there is room for breaks the rule that keeps memory bounded.
                if connection.received.len() + bytes.len() > self.window as usize {
                    connection.state = State::Reset;
                    return self.say(name, Operation::Reset, 0, Vec::new());
                }
                connection.received.extend(bytes);
            }
            Operation::AskCredit => self.answer(name, Operation::Credit),
            Operation::Shutdown => {
                connection.ends.0 |= header.flags & NO_SEND != 0;
                connection.ends.1 |= header.flags & NO_RECEIVE != 0;
                // Both ways are closed: the answer is the end (section 5.10.6.4).
                if connection.ends == (true, true) {
                    connection.state = State::Reset;
                    self.answer(name, Operation::Reset);
                }
            }
            Operation::Reset => connection.state = State::Reset,
            _ => {}
        }
    }

    fn asked_for(&mut self, name: Name, header: &Header) {
        let waiting = self.accepted.iter().filter(|it| it.port == name.port).count();
        let has_room = waiting < BACKLOG && self.answers < ANSWERS;
        if header.kind != STREAM || !self.listening.contains(&name.port) || !has_room {
            return self.answer(name, Operation::Reset);
        }
        let mut connection = Connection::new(State::Open);
        (connection.window, connection.forwarded) = (header.window, header.forwarded);
        self.connections.insert(name, connection);
        self.accepted.push_back(name);
        self.say(name, Operation::Response, 0, Vec::new());
    }

    /// Says what the other end can have said as often as it likes.
    fn answer(&mut self, name: Name, operation: Operation) {
        if self.answers < ANSWERS {
            self.say(name, operation, 0, Vec::new());
        }
    }

    fn say(&mut self, name: Name, operation: Operation, flags: u32, bytes: Vec<u8>) {
        let forwarded = self.connections.get_mut(&name).map_or(0, |connection| {
            connection.told = connection.taken;
            connection.taken
        });
        let header = Header {
            from: Address { context: self.context, port: name.port },
            to: name.peer,
            length: bytes.len() as u32,
            kind: STREAM,
            operation,
            flags,
            window: self.window,
            forwarded,
        };
        self.answers += usize::from(operation.may_answer());
        self.out.push_back((header, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u64 = 3;
    const WINDOW: u32 = 10;

    /// Two machines, and everything that one says is heard by the other.
    fn exchange(one: &mut Sockets, other: &mut Sockets) {
        loop {
            match (one.outgoing(), other.outgoing()) {
                (None, None) => break,
                (from_one, from_other) => {
                    for (to, said) in [(&mut *other, from_one), (&mut *one, from_other)] {
                        if let Some((header, bytes)) = said {
                            let header = Header::parse(&header.bytes());
                            assert_eq!(header.length as usize, bytes.len());
                            to.packet(&header, &bytes);
                        }
                    }
                }
            }
        }
    }

    fn pair() -> (Sockets, Sockets, Name, Name) {
        let (mut here, mut host) = (Sockets::new(HERE, WINDOW), Sockets::new(HOST, 1000));
        host.listen(7);
        let name = here.connect(1000, Address { context: HOST, port: 7 }).unwrap();
        assert_eq!(here.state(name), Some(State::Connecting));
        exchange(&mut here, &mut host);
        assert_eq!(here.state(name), Some(State::Open));
        let peer = host.accept().unwrap();
        assert_eq!(peer, Name { port: 7, peer: Address { context: HERE, port: 1000 } });
        (here, host, name, peer)
    }

    #[test]
    fn no_more_is_sent_than_there_is_room_for() {
        let (mut here, mut host, name, peer) = pair();
        let text: Vec<u8> = (0..100).collect();
        let (mut sent, mut came) = (0, Vec::<u8>::new());
        while came.len() < text.len() {
            sent += host.send(peer, &text[sent..]).unwrap();
            exchange(&mut here, &mut host);
            assert!(sent - came.len() <= WINDOW as usize);
            let mut some = [0; 4];
            let count = here.receive(name, &mut some).unwrap().unwrap();
            came.extend(&some[..count]);
            exchange(&mut here, &mut host);
        }
        assert_eq!(came, text);
        assert_eq!(here.receive(name, &mut [0]), Ok(None));
    }

    #[test]
    fn who_sends_more_than_there_is_room_for_is_reset() {
        let (mut here, mut host, name, peer) = pair();
        let too_much = Header {
            from: Address { context: HOST, port: 7 },
            to: Address { context: HERE, port: 1000 },
            length: 11,
            kind: STREAM,
            operation: Operation::Data,
            flags: 0,
            window: 10,
            forwarded: 0,
        };
        here.packet(&too_much, &[0; 11]);
        assert_eq!(here.state(name), Some(State::Reset));
        exchange(&mut here, &mut host);
        assert_eq!(host.send(peer, &[1]), Err(NotConnected));
    }

    #[test]
    fn each_side_ends_by_itself_and_then_the_connection_does() {
        let (mut here, mut host, name, peer) = pair();
        here.send(name, b"last words").unwrap();
        here.finish(name).unwrap();
        assert_eq!(here.send(name, b"more"), Err(NotConnected));
        exchange(&mut here, &mut host);
        let mut heard = [0; 64];
        assert_eq!(host.receive(peer, &mut heard), Ok(Some(10)));
        assert_eq!(host.receive(peer, &mut heard), Ok(Some(0)));
        host.send(peer, b"answer").unwrap();
        host.finish(peer).unwrap();
        exchange(&mut here, &mut host);
        assert_eq!(here.receive(name, &mut heard), Ok(Some(6)));
        assert_eq!(here.receive(name, &mut heard), Err(NotConnected), "both have ended");
        here.close(name);
        assert_eq!((here.state(name), here.outgoing()), (None, None));
    }

    #[test]
    fn nobody_listens_and_nobody_is_there() {
        let (mut here, mut host) = (Sockets::new(HERE, WINDOW), Sockets::new(HOST, WINDOW));
        let name = here.connect(1, Address { context: HOST, port: 9 }).unwrap();
        exchange(&mut here, &mut host);
        assert_eq!(here.state(name), Some(State::Reset));
        // What is said to nobody is answered once, and not for ever.
        let (mut here, mut host, name, peer) = pair();
        here.connections.clear();
        host.send(peer, b"?").unwrap();
        exchange(&mut here, &mut host);
        assert_eq!(host.state(peer), Some(State::Reset));
        assert_eq!(here.state(name), None);
    }

    /// How many connections there are is not for the other end to say.
    #[test]
    fn who_comes_when_too_many_wait_is_refused() {
        let (mut here, mut host) = (Sockets::new(HERE, WINDOW), Sockets::new(HOST, WINDOW));
        host.listen(7);
        host.listen(8);
        let asks = |here: &mut Sockets, host: &mut Sockets, from: u32, port: u32| {
            let name = here.connect(from, Address { context: HOST, port }).unwrap();
            exchange(here, host);
            here.state(name)
        };
        for from in 0..128 {
            assert_eq!(asks(&mut here, &mut host, from, 7), Some(State::Open));
        }
        assert_eq!(asks(&mut here, &mut host, 128, 7), Some(State::Reset));
        assert_eq!(asks(&mut here, &mut host, 128, 8), Some(State::Open), "another port has room of its own");
        assert!(host.accept().is_some());
        assert_eq!(asks(&mut here, &mut host, 129, 7), Some(State::Open));
    }

    /// Nor is it how much is kept for somebody who takes nothing.
    #[test]
    fn who_takes_no_answer_has_an_end_of_them() {
        let (mut here, mut host, name, peer) = pair();
        let ask = |operation, port| Header {
            from: Address { context: HERE, port },
            to: Address { context: HOST, port: 7 },
            length: 0,
            kind: STREAM,
            operation,
            flags: 0,
            window: WINDOW,
            forwarded: 0,
        };
        for port in 2000..4000 {
            host.packet(&ask(Operation::Data, port), &[]);
            host.packet(&ask(Operation::AskCredit, 1000), &[]);
        }
        assert_eq!(host.out.len(), 1024);
        // When those are gone everything is as before.
        while host.outgoing().is_some() {}
        assert_eq!(host.answers, 0);
        here.send(name, b"hello").unwrap();
        here.finish(name).unwrap();
        exchange(&mut here, &mut host);
        let mut heard = [0; 64];
        assert_eq!(host.receive(peer, &mut heard), Ok(Some(5)));
        host.packet(&ask(Operation::Data, 2000), &[]);
        assert_eq!(host.outgoing().map(|(header, _)| header.operation), Some(Operation::Reset));
    }

    #[test]
    fn a_device_that_was_moved_ends_all() {
        let (mut here, _, name, _) = pair();
        here.send(name, b"lost").unwrap();
        here.reset();
        assert_eq!((here.state(name), here.outgoing()), (Some(State::Reset), None));
    }
}

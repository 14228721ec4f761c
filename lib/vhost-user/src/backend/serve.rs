//! A session over a socket.

use super::channel::Channel;
use super::guest::Guest;
use super::session::CHANNEL;
use super::{Device, Session, SessionError};
use crate::framing::Framing;
use crate::socket::{Canceller, Socket, SocketError};
use crate::wire::HeaderError;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use thiserror::Error;

/// How long a message that has begun may take, and an answer to be taken.
const MESSAGE: Duration = Duration::from_secs(10);

/// What a session's epoll tells of, beside rings by their number and the device's sources from [`SOURCES`] on.
const SOCKET: u64 = u64::MAX;
const CANCELLED: u64 = u64::MAX - 1;
const SOURCES: u64 = 1 << 32;

/// Why serving ended otherwise than by the front-end's leaving.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What the front-end did.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What it sent was no message.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The connection broke, or somebody ended it.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a front-end until it closes the connection, or `canceller` ends it from another thread. The device is as new for it.
///
/// Memory is the front-end's: one that makes its file shorter while it is mapped ends this process with `SIGBUS` at the next access.
///
/// # Errors
/// [`ServeError`].
pub fn serve<D: Device>(device: &mut D, stream: UnixStream, canceller: &Canceller) -> Result<(), ServeError> {
    let socket = Socket::new(stream, canceller.clone())?;
    let mut session = Session::new(device, canceller.clone())?;
    session.watch(&socket)?;
    let mut framing = Framing::default();
    let mut events = Vec::with_capacity(64);
    loop {
        session.wait(&mut events)?;
        let mut message = false;
        for event in events.drain(..) {
            match event {
                Event::Cancelled => return Err(SocketError::Cancelled.into()),
                Event::Message => message = true,
                Event::Other(told) => session.told(told),
            }
        }
        // Before the message, which may bring other descriptors.
        session.run();
        if message && !session.message(&socket, &mut framing)? {
            return Ok(());
        }
    }
}

enum Event {
    Cancelled,
    Message,
    Other(Told),
}

/// Something of a ring's, a source's or the channel's.
struct Told {
    of: u64,
    hung_up: bool,
    has_room: bool,
}

impl<D: Device> Session<'_, D> {
    fn watch(&self, socket: &Socket) -> io::Result<()> {
        let add = |descriptor, of| {
            epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(of), epoll::EventFlags::IN)
        };
        add(socket.as_fd(), SOCKET)?;
        add(self.canceller.as_fd(), CANCELLED)?;
        for (source, of) in self.device.sources().into_iter().zip(SOURCES..) {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&self.epoll, source, epoll::EventData::new_u64(of), flags)?;
        }
        Ok(())
    }

    /// Waits until something is to be done, unless there is already.
    fn wait(&self, into: &mut Vec<Event>) -> io::Result<()> {
        if let Some(channel) = &self.channel {
            epoll::modify(&self.epoll, channel, epoll::EventData::new_u64(CHANNEL), channel.wants())?;
        }
        let is_due = self.rings.iter().any(|ring| ring.due && ring.is_mapped() || self.is_polled(ring));
        let time = is_due.then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        let mut space = [MaybeUninit::uninit(); 32];
        let events = match epoll::wait(&self.epoll, &mut space, time.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        into.extend(events.iter().map(|event| {
            let flags = event.flags;
            match event.data.u64() {
                CANCELLED => Event::Cancelled,
                SOCKET => Event::Message,
                of => {
                    let has_room = flags.contains(epoll::EventFlags::OUT);
                    let hung_up = !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::OUT);
                    Event::Other(Told { of, hung_up, has_room })
                }
            }
        }));
        Ok(())
    }

    fn is_polled(&self, ring: &super::ring::Ring) -> bool {
        ring.is_polled() && !self.kicks_are_messages()
    }

    fn told(&mut self, Told { of, hung_up, has_room }: Told) {
        if of == CHANNEL {
            if hung_up || self.channel_told(has_room).is_err() {
                self.drop_channel();
            }
            return;
        }
        if let Some(source) = of.checked_sub(SOURCES) {
            let mut guest =
                Guest::new(&mut self.rings, &self.memory, self.log.as_ref(), self.channel.as_mut());
            self.device.ready(source as usize, &mut guest);
            guest.over();
            return;
        }
        if let Some(ring) = self.rings.get_mut(of as usize) {
            ring.due = true;
            if hung_up {
                ring.drop_kick(&self.epoll);
            }
        }
    }

    /// The front-end reads on, or has answered.
    fn channel_told(&mut self, has_room: bool) -> Result<(), SocketError> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        if has_room {
            channel.sent_on()?;
        }
        while let Some((request, answer)) = self.channel.as_mut().map_or(Ok(None), Channel::answered)? {
            let mut guest =
                Guest::new(&mut self.rings, &self.memory, self.log.as_ref(), self.channel.as_mut());
            self.device.answered(&request, answer, &mut guest);
            guest.over();
        }
        Ok(())
    }

    /// Gives each ring that may have something its turn.
    fn run(&mut self) {
        let messages = self.kicks_are_messages();
        let Self { device, rings, memory, log, channel, .. } = self;
        for index in 0..rings.len() {
            let Some(ring) = rings.get_mut(index) else { return };
            let is_due = std::mem::take(&mut ring.due) || ring.is_polled() && !messages;
            if !is_due || !ring.is_mapped() {
                continue;
            }
            let is_enabled = ring.can_run();
            let mut guest = Guest::new(rings, memory, log.as_ref(), channel.as_mut());
            if is_enabled {
                device.run(index as u16, &mut guest);
            } else {
                guest = guest.draining(index as u16);
                device.run_disabled(index as u16, &mut guest);
            }
            guest.over();
        }
    }

    /// Reads the rest of a message, and answers it; `false`: the front-end has left.
    fn message(&mut self, socket: &Socket, framing: &mut Framing) -> Result<bool, ServeError> {
        socket.expire_after(Some(MESSAGE))?;
        let mut buffer = [0; 4096];
        loop {
            let want = framing.want().min(buffer.len());
            let (count, descriptors) = match socket.receive(&mut buffer[..want]) {
                Ok(received) => received,
                Err(SocketError::Closed) if !framing.within() => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let Some(message) = framing.feed(&buffer[..count], descriptors)? else { continue };
            if let Some((answer, descriptors)) = self.handle(message)? {
                let descriptors: Vec<_> = descriptors.iter().map(|it| it.as_fd()).collect();
                socket.send(&answer, &descriptors)?;
            }
            return Ok(true);
        }
    }
}

//! Moves packets between two connections, through a gate.

use super::{Packet, Packets};
use libvirt_protocol::session::Transmit;
use libvirt_transport::Transport;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client.
    ToDaemon,
    /// To the client.
    FromDaemon,
}

/// What goes on in place of a packet.
#[derive(Debug)]
pub enum Piece {
    /// Bytes, in writes of at most so many.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// The most that goes in one write.
        at_once: usize,
    },
    /// A descriptor, with the byte that carries it.
    Descriptor(OwnedFd),
    /// Nothing for a while.
    Pause(Duration),
    /// The end of the connection, both ways.
    Cut,
}

impl Piece {
    /// Bytes, as fast as they go.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes { bytes, at_once: usize::MAX }
    }
}

/// Decides what becomes of packets.
pub trait Gate: Send {
    /// A packet wants to pass; what goes on in its place.
    fn pass(&mut self, direction: Direction, packet: Packet) -> Vec<Piece>;
}

/// Moves packets between two connections until one of them closes or the gate cuts them.
///
/// # Errors
/// When a connection breaks, or brings what is no packet.
pub async fn relay(client: impl Transport, daemon: impl Transport, gate: &mut impl Gate) -> io::Result<()> {
    let (mut client, mut daemon) = (Side::new(client), Side::new(daemon));
    std::future::poll_fn(|context| {
        loop {
            let up = client.read(context, Direction::ToDaemon, gate, &mut daemon)?;
            let down = daemon.read(context, Direction::FromDaemon, gate, &mut client)?;
            let wrote = [client.write(context)?, daemon.write(context)?];
            if wrote.contains(&Progress::Cut) {
                return Poll::Ready(Ok(()));
            }
            // Who has closed may still be owed what the other had sent.
            if up == Progress::Cut && daemon.queue.is_empty()
                || down == Progress::Cut && client.queue.is_empty()
            {
                return Poll::Ready(Ok(()));
            }
            if ![up, down, wrote[0], wrote[1]].contains(&Progress::Moved) {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Moved,
    Waits,
    Cut,
}

/// One connection, and what is to be written to it.
struct Side {
    transport: Box<dyn Transport>,
    packets: Packets,
    room: Vec<u8>,
    queue: VecDeque<Piece>,
    /// Bytes of the first piece that have gone.
    sent: usize,
    pause: Option<Pin<Box<Sleep>>>,
    closed: bool,
}

/// A side is not read while the other has so many pieces to write.
const QUEUE: usize = 64;

impl Side {
    fn new(transport: impl Transport) -> Self {
        Self {
            transport: Box::new(transport),
            packets: Packets::default(),
            room: vec![0; 65_536],
            queue: VecDeque::new(),
            sent: 0,
            pause: None,
            closed: false,
        }
    }

    fn read(
        &mut self,
        context: &mut Context<'_>,
        direction: Direction,
        gate: &mut impl Gate,
        other: &mut Self,
    ) -> io::Result<Progress> {
        if self.closed {
            return Ok(Progress::Cut);
        }
        if other.queue.len() >= QUEUE {
            return Ok(Progress::Waits);
        }
        let mut descriptors = Vec::new();
        let read = match self.transport.poll_read(context, &mut self.room, &mut descriptors) {
            Poll::Pending => return Ok(Progress::Waits),
            Poll::Ready(read) => read?,
        };
        if read == 0 {
            self.closed = true;
            return Ok(Progress::Cut);
        }
        self.packets.feed(&self.room[..read], descriptors);
        let flaw = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(packet) = self.packets.next_packet().map_err(flaw)? {
            other.queue.extend(gate.pass(direction, packet));
        }
        Ok(Progress::Moved)
    }

    fn write(&mut self, context: &mut Context<'_>) -> io::Result<Progress> {
        let mut progress = Progress::Waits;
        while let Some(piece) = self.queue.front() {
            let (what, length) = match piece {
                Piece::Cut => return Ok(Progress::Cut),
                Piece::Pause(time) => {
                    let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(*time)));
                    if pause.as_mut().poll(context).is_pending() {
                        return Ok(progress);
                    }
                    self.pause = None;
                    self.queue.pop_front();
                    continue;
                }
                Piece::Bytes { bytes, at_once } => {
                    let left = &bytes[self.sent..];
                    (Transmit::Bytes(&left[..left.len().min(*at_once)]), bytes.len())
                }
                Piece::Descriptor(descriptor) => (Transmit::Descriptor(descriptor.as_fd()), 1),
            };
            let written = match self.transport.poll_write(context, &what) {
                Poll::Pending => return Ok(progress),
                Poll::Ready(written) => written?,
            };
            progress = Progress::Moved;
            self.sent += written;
            if self.sent >= length {
                self.sent = 0;
                self.queue.pop_front();
            }
        }
        if let Poll::Ready(flushed) = self.transport.poll_flush(context) {
            flushed?;
        }
        Ok(progress)
    }
}

//! Faults on purpose, from a seed: the same seed does the same harm to the same conversation.

use super::{Direction, Gate, Packet, Piece};
use libvirt_protocol::packet::Kind;
use seeded::Random;
use std::time::Duration;

/// What goes wrong on the way from the daemon to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Everything comes in pieces of a few bytes.
    ShortReads,
    /// Everything comes late, by up to 5 ms a packet.
    Delay,
    /// Replies change places, where several calls wait.
    Reorder,
    /// The connection ends in the middle of a packet.
    Cut,
    /// A packet says that it is longer than packets may be.
    Oversize,
    /// A packet says that it is shorter than its own header.
    Undersize,
    /// In place of a packet comes noise.
    Garbage,
    /// A reply comes twice.
    Duplicate,
    /// A reply has the number of a call that nobody made, in place of its own.
    Stray,
    /// A stream stops after its first data; everything else goes on.
    StuckStream,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ShortReads,
        Self::Delay,
        Self::Reorder,
        Self::Cut,
        Self::Oversize,
        Self::Undersize,
        Self::Garbage,
        Self::Duplicate,
        Self::Stray,
        Self::StuckStream,
    ];

    /// Whether a client can go on as if nothing had happened.
    #[must_use]
    pub fn is_harmless(self) -> bool {
        match self {
            Self::ShortReads | Self::Delay | Self::Reorder | Self::Duplicate => true,
            Self::Cut
            | Self::Oversize
            | Self::Undersize
            | Self::Garbage
            | Self::Stray
            | Self::StuckStream => false,
        }
    }
}

/// A gate that does harm.
#[derive(Debug)]
pub struct Faults {
    fault: Fault,
    random: Random,
    /// Replies that pass before the connection is damaged.
    left: u64,
    /// Calls that wait for their replies.
    waiting: usize,
    /// A reply that another one overtakes.
    held: Option<Packet>,
    /// The stream that is stuck, by the serial of its call.
    stuck: Option<u32>,
}

impl Faults {
    /// A gate that does one kind of harm; from the seed comes where. The first `spared` replies pass unharmed.
    #[must_use]
    pub fn new(fault: Fault, seed: u64, spared: u64) -> Self {
        let mut random = Random::new(seed);
        let left = spared + random.below(8);
        Self { fault, random, left, waiting: 0, held: None, stuck: None }
    }

    /// Whether it is time for the one packet that is damaged.
    fn is_due(&mut self) -> bool {
        let due = self.left == 0;
        self.left = self.left.saturating_sub(1);
        due
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        // The first byte is no length that a packet has.
        std::iter::once(0xff)
            .chain(std::iter::repeat_with(|| self.random.number().to_be_bytes()[0]))
            .take(length)
            .collect()
    }

    fn damage(&mut self, packet: Packet) -> Vec<Piece> {
        let mut bytes = packet.encode();
        match self.fault {
            Fault::Cut => {
                let some = 1 + usize::try_from(self.random.below(bytes.len() as u64 - 1)).unwrap_or(0);
                bytes.truncate(some);
                vec![Piece::bytes(bytes), Piece::Cut]
            }
            Fault::Oversize => {
                bytes[..4].copy_from_slice(&0x0200_0005_u32.to_be_bytes());
                vec![Piece::bytes(bytes)]
            }
            Fault::Undersize => {
                let length = u32::try_from(self.random.below(28)).unwrap_or(0);
                bytes[..4].copy_from_slice(&length.to_be_bytes());
                vec![Piece::bytes(bytes)]
            }
            Fault::Garbage => vec![Piece::bytes(self.noise(bytes.len()))],
            Fault::Duplicate => vec![Piece::bytes(bytes.clone()), Piece::bytes(bytes)],
            Fault::Stray => {
                let mut stray = packet;
                stray.header.serial = u32::MAX - u32::try_from(self.random.below(1 << 30)).unwrap_or(0);
                whole(stray)
            }
            Fault::ShortReads | Fault::Delay | Fault::Reorder | Fault::StuckStream => {
                vec![Piece::bytes(bytes)]
            }
        }
    }
}

impl Gate for Faults {
    fn pass(&mut self, direction: Direction, packet: Packet) -> Vec<Piece> {
        let kind = packet.header.kind;
        if direction == Direction::ToDaemon {
            self.waiting += usize::from(matches!(kind, Kind::Call | Kind::CallWithFds));
            return whole(packet);
        }
        let reply = matches!(kind, Kind::Reply | Kind::ReplyWithFds);
        if reply {
            self.waiting = self.waiting.saturating_sub(1);
        }
        let fault = self.fault;
        match fault {
            Fault::ShortReads => {
                let at_once = 1 + usize::try_from(self.random.below(40)).unwrap_or(0);
                vec![Piece::Bytes { bytes: packet.encode(), at_once }]
            }
            Fault::Delay => {
                let pause = Duration::from_micros(self.random.below(5000));
                vec![Piece::Pause(pause), Piece::bytes(packet.encode())]
            }
            Fault::Reorder if reply => match self.held.take() {
                // As long as another call waits, a reply is sure to come that can go first.
                None if self.waiting > 0 => {
                    self.held = Some(packet);
                    Vec::new()
                }
                None => whole(packet),
                Some(held) => whole(packet).into_iter().chain(whole(held)).collect(),
            },
            Fault::StuckStream => {
                let stream = matches!(kind, Kind::Stream | Kind::StreamHole);
                if stream && self.stuck == Some(packet.header.serial) {
                    return Vec::new();
                }
                if stream && self.stuck.is_none() {
                    self.stuck = Some(packet.header.serial);
                }
                whole(packet)
            }
            _ if reply && self.is_due() => self.damage(packet),
            _ => whole(packet),
        }
    }
}

fn whole(packet: Packet) -> Vec<Piece> {
    let mut pieces = vec![Piece::bytes(packet.encode())];
    pieces.extend(packet.descriptors.into_iter().map(Piece::Descriptor));
    pieces
}

//! The control queue of network devices (section 5.1.6.5).

use crate::Fault;
use crate::cells::{PackedCells, SplitCells};
use crate::exchange::Exchanges;
use crate::memory::Shared;
use crate::ring::{AddError, Driver};
use alloc::vec::Vec;
use thiserror::Error;

/// Most addresses of a table.
pub const ADDRESSES: usize = 64;
const REQUEST_BYTES: u32 = (2 + 8 + 2 * ADDRESSES * 6) as u32;

/// What a device is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Receive everything, or not; with `CTRL_RX`.
    Promiscuous(bool),
    /// Receive all multicast, or not; with `CTRL_RX`.
    AllMulticast(bool),
    /// The addresses whose frames are received, at most [`ADDRESSES`] each; with `CTRL_RX`.
    Addresses {
        /// Those of a single receiver.
        unicast: Vec<[u8; 6]>,
        /// Those of groups.
        multicast: Vec<[u8; 6]>,
    },
    /// The address of its own; with `CTRL_MAC_ADDR`.
    Address([u8; 6]),
    /// Receive frames of a VLAN; with `CTRL_VLAN`.
    AddVlan(u16),
    /// Do not; with `CTRL_VLAN`.
    RemoveVlan(u16),
    /// The driver has announced itself; with `GUEST_ANNOUNCE`.
    Announced,
    /// Use so many pairs of queues; with `MQ`.
    Pairs(u16),
    /// Receive with these offloads, bits of [`super::Features`]; with `CTRL_GUEST_OFFLOADS`.
    Offloads(u64),
}

impl Command {
    /// Class, command, and what follows.
    fn encoded(&self) -> (u8, u8, Vec<u8>) {
        let table = |all: &[[u8; 6]]| -> Vec<u8> {
            let count = (all.len() as u32).to_le_bytes();
            count.into_iter().chain(all.iter().flatten().copied()).collect()
        };
        match self {
            Self::Promiscuous(on) => (0, 0, Vec::from([u8::from(*on)])),
            Self::AllMulticast(on) => (0, 1, Vec::from([u8::from(*on)])),
            Self::Addresses { unicast, multicast } => (1, 0, [table(unicast), table(multicast)].concat()),
            Self::Address(address) => (1, 1, address.to_vec()),
            Self::AddVlan(vlan) => (2, 0, vlan.to_le_bytes().to_vec()),
            Self::RemoveVlan(vlan) => (2, 1, vlan.to_le_bytes().to_vec()),
            Self::Announced => (3, 0, Vec::new()),
            Self::Pairs(pairs) => (4, 0, pairs.to_le_bytes().to_vec()),
            Self::Offloads(bits) => (5, 0, bits.to_le_bytes().to_vec()),
        }
    }
}

/// The device refuses a command.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the device refuses the command")]
pub struct Refused;

/// A command that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obeyed {
    /// What the caller calls it.
    pub tag: u64,
    /// Whether the device did it.
    pub result: Result<(), Refused>,
}

/// Commands of the control queue.
#[derive(Debug)]
pub struct Control(Exchanges);

impl Control {
    /// Bytes of memory for a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        Exchanges::bytes(size, REQUEST_BYTES, 1)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        Exchanges::new(size, REQUEST_BYTES, 1, slots, address).map(Self)
    }

    /// Sends a command. The device sees it when the ring is published.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        command: &Command,
        tag: u64,
    ) -> Result<(), AddError> {
        let (class, number, data) = command.encoded();
        self.0.send(ring, (&[&[class, number], &data], &[]), (1, &[]), tag)
    }

    /// A command that has ended; `None` if none has.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Obeyed>, Fault> {
        let Some(answered) = self.0.reap(ring)? else { return Ok(None) };
        let mut acknowledged = [u8::MAX];
        self.0.read(&answered, &mut acknowledged);
        let tag = answered.tag;
        self.0.release(answered);
        let result = if acknowledged == [0] { Ok(()) } else { Err(Refused) };
        Ok(Some(Obeyed { tag, result }))
    }
}

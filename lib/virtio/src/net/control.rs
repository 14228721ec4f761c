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
    /// From its bytes, as a device reads them; `None`: it is none of these.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        fn flag(data: &[u8]) -> Option<bool> {
            <[u8; 1]>::try_from(data).ok().map(|[on]| on != 0)
        }
        fn number(data: &[u8]) -> Option<u16> {
            data.try_into().ok().map(u16::from_le_bytes)
        }
        fn table(data: &[u8]) -> Option<(Vec<[u8; 6]>, &[u8])> {
            let (count, rest) = data.split_first_chunk()?;
            let bytes = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(6)?;
            let (addresses, rest) = rest.split_at_checked(bytes)?;
            Some((addresses.chunks_exact(6).filter_map(|it| it.try_into().ok()).collect(), rest))
        }
        let ([class, command], data) = bytes.split_first_chunk()?;
        Some(match (class, command) {
            (0, 0) => Self::Promiscuous(flag(data)?),
            (0, 1) => Self::AllMulticast(flag(data)?),
            (1, 0) => {
                let (unicast, rest) = table(data)?;
                let (multicast, rest) = table(rest)?;
                return rest.is_empty().then_some(Self::Addresses { unicast, multicast });
            }
            (1, 1) => Self::Address(data.try_into().ok()?),
            (2, 0) => Self::AddVlan(number(data)?),
            (2, 1) => Self::RemoveVlan(number(data)?),
            (3, 0) if data.is_empty() => Self::Announced,
            (4, 0) => Self::Pairs(number(data)?),
            (5, 0) => Self::Offloads(u64::from_le_bytes(data.try_into().ok()?)),
            _ => return None,
        })
    }

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
        let mut acknowledged = [u8::MAX];
        let Some((tag, _)) = self.0.answer(ring, &mut acknowledged)? else { return Ok(None) };
        let result = if acknowledged == [0] { Ok(()) } else { Err(Refused) };
        Ok(Some(Obeyed { tag, result }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_what_is_read() {
        let commands = [
            Command::Promiscuous(true),
            Command::AllMulticast(false),
            Command::Addresses { unicast: Vec::from([[1; 6], [2; 6]]), multicast: Vec::new() },
            Command::Address([7; 6]),
            Command::AddVlan(5),
            Command::RemoveVlan(0x1234),
            Command::Announced,
            Command::Pairs(3),
            Command::Offloads(1 << 63),
        ];
        for command in commands {
            let (class, number, data) = command.encoded();
            let bytes = [&[class, number][..], &data].concat();
            assert_eq!(Command::parse(&bytes).as_ref(), Some(&command));
            assert_eq!(Command::parse(&[&bytes[..], &[0]].concat()), None, "{command:?} and a byte more");
            for end in 0..bytes.len() {
                assert_eq!(Command::parse(&bytes[..end]), None, "{end} bytes of {command:?}");
            }
        }
        assert_eq!(Command::parse(&[1, 0, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(Command::parse(&[6, 0]), None);
    }
}

//! Consoles (section 5.3): text goes out on one queue of a port and comes in on another.

mod control;

pub use control::{CONTROL_RECEIVE, CONTROL_TRANSMIT, MESSAGE, News, closed, opened, queues, ready};

use crate::bytes::{u16_at, u32_at};

bitflags::bitflags! {
    /// Features of consoles.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Columns and rows are told.
        const SIZE = 1 << 0;
        /// Several ports, and a pair of queues to control them.
        const MULTIPORT = 1 << 1;
        /// A character can be written to configuration space.
        const EMERG_WRITE = 1 << 2;
    }
}

/// The queue on which the driver receives what comes in on the first port.
pub const RECEIVE: u16 = 0;
/// The queue on which it sends through the first port.
pub const TRANSMIT: u16 = 1;

/// Configuration space (section 5.3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// With [`Features::SIZE`].
    pub columns: u16,
    /// With [`Features::SIZE`].
    pub rows: u16,
    /// With [`Features::MULTIPORT`].
    pub most_ports: u32,
}

impl Config {
    /// Its bytes, with the emergency character behind.
    pub const BYTES: usize = 12;

    /// Its bytes.
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        let mut all = [0; Self::BYTES];
        all[..2].copy_from_slice(&self.columns.to_le_bytes());
        all[2..4].copy_from_slice(&self.rows.to_le_bytes());
        all[4..8].copy_from_slice(&self.most_ports.to_le_bytes());
        all
    }

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        Self { columns: u16_at(bytes, 0), rows: u16_at(bytes, 2), most_ports: u32_at(bytes, 4) }
    }
}

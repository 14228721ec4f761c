//! Identifiers that nobody chose, from a seed: the same calls give the same ones.

use libvirt_protocol::xdr::Uuid;
use seeded::Random;

/// A source of identifiers.
#[derive(Debug)]
pub(super) struct Ids(Random);

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// A UUID of version 4.
    pub(super) fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.number().to_be_bytes());
        bytes[8..].copy_from_slice(&self.0.number().to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }

    /// An Ethernet address out of the range that libvirt gives to guests.
    pub(super) fn mac(&mut self) -> String {
        let [a, b, c, ..] = self.0.number().to_be_bytes();
        format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
    }
}

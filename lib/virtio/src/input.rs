//! Input devices (section 5.8): events of keys, buttons and axes come in on one queue, and what the guest wants lit goes out on another.

/// The queue on which events come in.
pub const EVENTS: u16 = 0;
/// The queue on which the driver sends events of its own, such as lights.
pub const STATUS: u16 = 1;

/// An event as Linux's input layer has it; the numbers are those of `<linux/input-event-codes.h>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Event {
    /// What kind it is of: 0 ends what belongs together, 1 is a key, 2 a movement, 3 a place, 17 a light.
    pub kind: u16,
    /// Which key, axis or light.
    pub code: u16,
    /// Pressed or not, how far, where; negative ones as two's complement.
    pub value: u32,
}

impl Event {
    /// Its bytes.
    pub const BYTES: usize = 8;

    /// Its bytes.
    pub fn bytes(self) -> [u8; Self::BYTES] {
        let [a, b] = self.kind.to_le_bytes();
        let [c, d] = self.code.to_le_bytes();
        let [e, f, g, h] = self.value.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// From its bytes.
    pub const fn parse([a, b, c, d, e, f, g, h]: [u8; Self::BYTES]) -> Self {
        Self {
            kind: u16::from_le_bytes([a, b]),
            code: u16::from_le_bytes([c, d]),
            value: u32::from_le_bytes([e, f, g, h]),
        }
    }
}

/// What configuration space is to show. The driver writes [`Ask::bytes`] to its first two bytes, and reads the answer then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// The name, in UTF-8. QEMU's ends with a zero, which the specification does not have.
    Name,
    /// The serial number.
    Serial,
    /// Bus, vendor, product and version: four numbers of 16 bits.
    Ids,
    /// Properties, a bit each.
    Properties,
    /// The codes of a kind of events, a bit each; none where it has no such events.
    Codes(u8),
    /// The range of an axis: least, most, fuzz, flat and resolution, five numbers of 32 bits.
    Axis(u8),
}

impl Ask {
    /// Selector and what it is about (section 5.8.4).
    pub const fn bytes(self) -> [u8; 2] {
        match self {
            Self::Name => [0x01, 0],
            Self::Serial => [0x02, 0],
            Self::Ids => [0x03, 0],
            Self::Properties => [0x10, 0],
            Self::Codes(kind) => [0x11, kind],
            Self::Axis(axis) => [0x12, axis],
        }
    }
}

/// Bytes of configuration space.
pub const CONFIG_BYTES: usize = 136;

/// What configuration space shows: as many bytes as it says that it has.
pub fn shown(config: &[u8; CONFIG_BYTES]) -> &[u8] {
    let [_, _, size, _, _, _, _, _, all @ ..] = config;
    all.get(..usize::from(*size)).unwrap_or(all)
}

/// Whether a bit of what is shown is set: the code `at` of [`Ask::Codes`].
pub fn has(shown: &[u8], at: u16) -> bool {
    shown.get(usize::from(at / 8)).is_some_and(|byte| byte & 1 << (at % 8) != 0)
}

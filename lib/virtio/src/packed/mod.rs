//! Packed rings (section 2.8): one ring of descriptors that the driver makes available and the device overwrites when it has used them.
//!
//! Each side counts with a wrap counter how often it has gone round; the flags [`AVAILABLE`] and [`USED`] of a descriptor tell whose turn
//! it is: available if the first equals the driver's counter and the second does not, used if both equal the device's. In the first round
//! the counters are 1, so zeroes mean nothing and cells need no initial values.

mod device;
mod driver;

pub use device::Device;
pub use driver::Driver;

use crate::cells::{AVAILABLE, Suppression, USED};
use crate::event::passed;

/// A place in the ring, and how often the ring was gone round, modulo 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Below the size of the ring.
    pub place: u16,
    /// The wrap counter: `true` in the first round.
    pub wrap: bool,
}

impl Position {
    /// Where every ring begins.
    pub const START: Self = Self { place: 0, wrap: true };

    /// As in event structures: the place in bits 0 to 14, the counter in bit 15.
    pub const fn bits(self) -> u16 {
        self.place | (self.wrap as u16) << 15
    }

    /// From the same.
    pub const fn from_bits(bits: u16) -> Self {
        Self { place: bits & 0x7fff, wrap: bits >> 15 != 0 }
    }

    /// `count` places on, at most once round.
    #[inline]
    const fn plus(self, count: u16, size: u16) -> Self {
        let place = self.place + count;
        if place >= size {
            Self { place: place - size, wrap: !self.wrap }
        } else {
            Self { place, wrap: self.wrap }
        }
    }

    /// Flags of a descriptor that is available here.
    #[inline]
    const fn available(self) -> u16 {
        if self.wrap { AVAILABLE } else { USED }
    }

    /// Flags of one that is used here.
    #[inline]
    const fn used(self) -> u16 {
        if self.wrap { AVAILABLE | USED } else { 0 }
    }
}

/// Bits of a descriptor's flags that tell whose it is.
const TURN: u16 = AVAILABLE | USED;

/// Whether somebody who gave `event` wants to hear that `count` places up to `now` were published.
#[inline]
fn wanted(event: Suppression, event_index: bool, now: Position, count: u16, size: u16) -> bool {
    match event.flags {
        Suppression::DISABLE => false,
        Suppression::AT_PLACE if event_index => {
            let at = Position::from_bits(event.place);
            // A place of the other round lies before this one's first.
            let place = if at.wrap == now.wrap { at.place } else { at.place.wrapping_sub(size) };
            passed(place, now.place, now.place.wrapping_sub(count))
        }
        // Also what means nothing: a notification too many harms nobody.
        _ => true,
    }
}

/// Where both sides of a ring are: what vhost-user calls the base of a packed ring, in its 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Where the device takes the next chain.
    pub available: Position,
    /// Where it puts the next used one.
    pub used: Position,
}

impl Base {
    /// Where every ring begins.
    pub const START: Self = Self { available: Position::START, used: Position::START };

    /// Bits 0 to 15 the available, 16 to 31 the used position.
    pub const fn bits(self) -> u32 {
        self.available.bits() as u32 | (self.used.bits() as u32) << 16
    }

    /// From the same; `None` if a place is beyond the ring.
    pub fn from_bits(bits: u32, size: u16) -> Option<Self> {
        let [available, used] = [bits as u16, (bits >> 16) as u16].map(Position::from_bits);
        (available.place < size && used.place < size).then_some(Self { available, used })
    }
}

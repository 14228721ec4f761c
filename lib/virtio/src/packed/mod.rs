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

/// How often a ring was gone round, modulo 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// The first, the third and so on: the wrap counter is 1.
    Odd,
    /// The others: it is 0.
    Even,
}

impl From<bool> for Round {
    /// From the wrap counter.
    fn from(counter: bool) -> Self {
        if counter { Self::Odd } else { Self::Even }
    }
}

/// A place in the ring, and how often the ring was gone round, modulo 2, as in event structures: the place in bits 0 to 14, the wrap
/// counter in bit 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u16);

impl Position {
    /// Where every ring begins: the counter is 1 in the first round.
    pub const START: Self = Self(1 << 15);

    /// A place in a round.
    pub const fn new(place: u16, round: Round) -> Self {
        let counter = match round {
            Round::Odd => 1 << 15,
            Round::Even => 0,
        };
        Self(place & 0x7fff | counter)
    }

    /// From its bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The place.
    #[inline]
    pub const fn place(self) -> u16 {
        self.0 & 0x7fff
    }

    /// The wrap counter.
    #[inline]
    pub const fn wrap(self) -> bool {
        self.0 >> 15 != 0
    }

    /// `count` places on, at most once round.
    #[inline]
    const fn plus(self, count: u16, size: u16) -> Self {
        let place = self.place() + count;
        if place >= size { Self((place - size) | !self.0 & 1 << 15) } else { Self(place | self.0 & 1 << 15) }
    }

    /// `count` places back, at most once round.
    const fn minus(self, count: u16, size: u16) -> Self {
        match self.place().checked_sub(count) {
            Some(place) => Self(place | self.0 & 1 << 15),
            None => Self((self.place() + size - count) | !self.0 & 1 << 15),
        }
    }

    /// Whether a descriptor with these flags is used here.
    pub const fn is_used(self, flags: u16) -> bool {
        flags & TURN == self.used()
    }

    /// Flags of a descriptor that is available here.
    #[inline]
    pub const fn available(self) -> u16 {
        if self.wrap() { AVAILABLE } else { USED }
    }

    /// Flags of one that is used here.
    #[inline]
    const fn used(self) -> u16 {
        if self.wrap() { AVAILABLE | USED } else { 0 }
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
            let place = if at.wrap() == now.wrap() { at.place() } else { at.place().wrapping_sub(size) };
            passed(place, now.place(), now.place().wrapping_sub(count))
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

    /// The positions of all that the device has, those of the oldest chain first.
    pub fn places(self, size: u16) -> impl Iterator<Item = Position> {
        let count = if self.available == self.used {
            0
        } else if self.available.place() > self.used.place() {
            self.available.place() - self.used.place()
        } else {
            size - self.used.place() + self.available.place()
        };
        (0..count).map(move |offset| self.used.plus(offset, size))
    }

    /// From the same; `None` if a place is beyond the ring, or one position further from the other than the ring is long.
    pub fn from_bits(bits: u32, size: u16) -> Option<Self> {
        let [available, used] = [bits as u16, (bits >> 16) as u16].map(Position::from_bits);
        let within = available.place() < size && used.place() < size;
        // The device takes first and gives back later: at most once round.
        let ahead = if available.wrap() == used.wrap() {
            available.place() >= used.place()
        } else {
            available.place() <= used.place()
        };
        (within && ahead).then_some(Self { available, used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Of all pairs of places those in which the device is at most once round ahead of itself, and no other.
    #[test]
    fn a_base_is_at_most_once_round_ahead() {
        const SIZE: u16 = 3;
        let positions: Vec<_> = [Round::Even, Round::Odd]
            .into_iter()
            .flat_map(|round| (0..SIZE + 1).map(move |place| Position::new(place, round)))
            .collect();
        let mut bases = 0;
        for used in &positions {
            // Where the device is after taking so many places.
            let reached: Vec<_> = (0..=SIZE).map(|count| used.plus(count, SIZE)).collect();
            for available in &positions {
                let bits = Base { available: *available, used: *used }.bits();
                let is_one = used.place() < SIZE && available.place() < SIZE && reached.contains(available);
                assert_eq!(Base::from_bits(bits, SIZE).is_some(), is_one, "{available:?} and {used:?}");
                bases += usize::from(is_one);
            }
        }
        // Each of 2 * 3 used places with 0 to 3 taken ones.
        assert_eq!(bases, 2 * 3 * 4);
    }
}

//! Memory balloons (section 5.5): the driver gives up pages and takes them back.

mod driver;

pub use driver::{Hinted, Hints, PAGES_AT_ONCE, Pages, Statistics, Step, Wish, report};

use crate::bytes::{u16_at, u32_at, u64_at};
use crate::chain::Chain;

bitflags::bitflags! {
    /// Features of balloons.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// A page is taken back only when the device has acknowledged that.
        const MUST_TELL_HOST = 1 << 0;
        /// There is a queue of statistics.
        const STATS_VQ = 1 << 1;
        /// A guest that has no memory left may take pages back.
        const DEFLATE_ON_OOM = 1 << 2;
        /// Free pages are told while a migration looks for them.
        const FREE_PAGE_HINT = 1 << 3;
        /// Free pages are filled with a value that must stay.
        const PAGE_POISON = 1 << 4;
        /// Free pages are given up as they become free.
        const REPORTING = 1 << 5;
    }
}

/// Bytes of a page, whatever the size of the guest's own.
pub const PAGE: u64 = 4096;

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pages are given up.
    Inflate,
    /// Pages are taken back.
    Deflate,
    /// Statistics.
    Statistics,
    /// Hints of free pages.
    Hints,
    /// Free pages are given up as they become free.
    Reports,
}

/// What the queues are for. Those of features that were not negotiated are not there, and the others move up: so Linux and QEMU have it.
pub fn roles(features: Features) -> impl Iterator<Item = Role> {
    let optional = [
        (Features::STATS_VQ, Role::Statistics),
        (Features::FREE_PAGE_HINT, Role::Hints),
        (Features::REPORTING, Role::Reports),
    ];
    let optional = optional.into_iter().filter(move |(feature, _)| features.contains(*feature));
    [Role::Inflate, Role::Deflate].into_iter().chain(optional.map(|(_, role)| role))
}

/// Configuration space (section 5.5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Pages that the device wants to have.
    pub wanted: u32,
    /// Pages that it has, as the driver says.
    pub actual: u32,
    /// The command of free page hints: [`STOP`], [`DONE`], or the number of a round.
    pub hint_command: u32,
    /// What free pages are filled with.
    pub poison: u32,
}

/// Hints are not wanted now.
pub const STOP: u32 = 0;
/// All hints of the last round were used: their pages belong to the driver again.
pub const DONE: u32 = 1;

impl Config {
    /// Its bytes.
    pub const BYTES: usize = 16;
    /// Where the number of pages is that the driver writes.
    pub const ACTUAL: usize = 4;

    /// Its bytes.
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        let mut all = [0; Self::BYTES];
        let numbers = [self.wanted, self.actual, self.hint_command, self.poison];
        for (to, number) in all.chunks_exact_mut(4).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        all
    }

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        let number = |at| u32_at(bytes, at);
        Self { wanted: number(0), actual: number(4), hint_command: number(8), poison: number(12) }
    }
}

/// What a statistic counts (section 5.5.6.3, and what Linux adds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tag {
    /// Bytes swapped in.
    SwapIn,
    /// Bytes swapped out.
    SwapOut,
    /// Page faults that needed a disk.
    MajorFaults,
    /// Page faults that did not.
    MinorFaults,
    /// Bytes that nobody uses.
    FreeMemory,
    /// Bytes that there are.
    TotalMemory,
    /// Bytes that could be had without swapping.
    AvailableMemory,
    /// Bytes of caches that could be given up.
    Caches,
    /// Huge pages that were had.
    HugePages,
    /// Huge pages that could not be.
    HugePageFailures,
    /// Processes that were ended for want of memory.
    OomKills,
    /// Allocations that had to wait.
    AllocationStalls,
    /// Pages looked at in the background to be freed.
    AsyncScans,
    /// Pages looked at by who wanted memory.
    DirectScans,
    /// Pages freed in the background.
    AsyncReclaims,
    /// Pages freed by who wanted memory.
    DirectReclaims,
    /// One that is not known here.
    Other(u16),
}

impl Tag {
    const KNOWN: [Self; 16] = [
        Self::SwapIn,
        Self::SwapOut,
        Self::MajorFaults,
        Self::MinorFaults,
        Self::FreeMemory,
        Self::TotalMemory,
        Self::AvailableMemory,
        Self::Caches,
        Self::HugePages,
        Self::HugePageFailures,
        Self::OomKills,
        Self::AllocationStalls,
        Self::AsyncScans,
        Self::DirectScans,
        Self::AsyncReclaims,
        Self::DirectReclaims,
    ];

    /// By its number.
    pub fn from_number(number: u16) -> Self {
        Self::KNOWN.get(usize::from(number)).copied().unwrap_or(Self::Other(number))
    }

    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::Other(number) => number,
            known => Self::KNOWN
                .iter()
                .zip(0..)
                .find_map(|(other, number)| (*other == known).then_some(number))
                .unwrap_or(u16::MAX),
        }
    }
}

/// Bytes of a statistic: its tag and its value, without padding.
pub const STATISTIC: usize = 10;

/// A statistic's bytes.
pub fn statistic(tag: Tag, value: u64) -> [u8; STATISTIC] {
    let mut all = [0; STATISTIC];
    all[..2].copy_from_slice(&tag.number().to_le_bytes());
    all[2..].copy_from_slice(&value.to_le_bytes());
    all
}

/// Most statistics and page numbers of one buffer that are looked at. Linux gives 16 and 256; a buffer may have 4 GiB of them.
const MOST_STATISTICS: usize = 1024;
const MOST_PAGES: usize = 16 << 10;

/// The statistics of a buffer, the first 1,024 of them; bytes that are no whole one are left out.
pub fn statistics(chain: &Chain<'_>, mut each: impl FnMut(Tag, u64)) {
    let mut reader = chain.reader();
    let mut bytes = [0; STATISTIC];
    for _ in 0..MOST_STATISTICS {
        if reader.read(&mut bytes) != STATISTIC {
            return;
        }
        each(Tag::from_number(u16_at(&bytes, 0)), u64_at(&bytes, 2));
    }
}

/// The pages of a buffer of page numbers, those that follow each other together: address and bytes. Only the first 16,384 numbers count: a
/// page that is not looked at is one that was not given up.
pub fn pages(chain: &Chain<'_>, mut each: impl FnMut(u64, u64)) {
    let mut reader = chain.reader();
    let mut bytes = [0; 4];
    let mut run: Option<(u64, u64)> = None;
    for _ in 0..MOST_PAGES {
        if reader.read(&mut bytes) != 4 {
            break;
        }
        let address = u64::from(u32::from_le_bytes(bytes)) * PAGE;
        run = match run {
            Some((start, length)) if start + length == address => Some((start, length + PAGE)),
            // Linux gives them from the top down.
            Some((start, length)) if address + PAGE == start => Some((address, length + PAGE)),
            other => {
                if let Some((start, length)) = other {
                    each(start, length);
                }
                Some((address, PAGE))
            }
        };
    }
    if let Some((start, length)) = run {
        each(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn tags_have_their_numbers() {
        for number in (0..20).chain([u16::MAX]) {
            assert_eq!(Tag::from_number(number).number(), number);
        }
        assert_eq!((Tag::HugePageFailures.number(), Tag::OomKills.number()), (9, 10));
        assert_eq!(statistic(Tag::TotalMemory, 0x0102), [5, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn queues_that_are_not_there_leave_no_gap() {
        let all: Vec<_> = roles(Features::all()).collect();
        assert_eq!(all.len(), 5);
        let some: Vec<_> = roles(Features::REPORTING | Features::PAGE_POISON).collect();
        assert_eq!(some, [Role::Inflate, Role::Deflate, Role::Reports]);
    }
}

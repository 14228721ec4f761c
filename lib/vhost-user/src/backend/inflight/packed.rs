//! Of a packed ring: copies of the descriptors of every chain, since used entries overwrite those of others in the ring.

use super::{VERSION, VERSION_AT, get, set};
use std::collections::BTreeMap;
use virtio::cells;
use virtio::memory::Shared;
use virtio::packed::{Position, Round};

const DESCRIPTORS: usize = 10;
const FREE: usize = 12;
const OLD_FREE: usize = 14;
const USED: usize = 16;
const OLD_USED: usize = 18;
const WRAP: usize = 20;
const OLD_WRAP: usize = 21;
/// 29 bytes, and what aligns the entries.
const HEADER: usize = 32;

const ENTRY: usize = 32;
const NEXT: usize = 2;
const LAST: usize = 4;
const COUNT: usize = 6;
const COUNTER: usize = 8;
const ID: usize = 16;
const FLAGS: usize = 18;
const LENGTH: usize = 20;
const ADDRESS: usize = 24;

/// Where an entry begins.
pub(super) const fn place_of(at: u16) -> usize {
    HEADER + ENTRY * at as usize
}

pub(super) const fn bytes(size: u16) -> usize {
    HEADER + ENTRY * size as usize
}

/// A chain that was taken before a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub(in super::super) id: u16,
    pub(in super::super) descriptors: Vec<(u64, cells::Packed)>,
}

/// What is in flight of a packed ring.
#[derive(Debug)]
pub(in super::super) struct Packed {
    memory: Shared,
    size: u16,
    counter: u64,
    /// By the chain's id, which may be any number, the first of its entries.
    heads: BTreeMap<u16, u16>,
    /// Given back, and not told yet.
    batch: Vec<u16>,
}

impl Packed {
    /// Goes on with what the region says. `was_told` looks whether the driver saw a used entry at a
    /// position, which it has if what is there is not still offered; `used` is where a ring begins
    /// that the region knows nothing of. Gives where the next used entry goes, and the chains that were taken and not given back, oldest
    /// first.
    pub(in super::super) fn resumed(
        memory: Shared,
        size: u16,
        used: Position,
        was_told: impl FnOnce(Position) -> bool,
    ) -> (Self, Position, Vec<Entry>) {
        let all = memory.slice();
        if get::<u16>(&all, VERSION_AT) == 0 {
            set(&all, DESCRIPTORS, size);
            for (at, wrap_at) in [(USED, WRAP), (OLD_USED, OLD_WRAP)] {
                set(&all, at, used.place());
                set(&all, wrap_at, u8::from(used.wrap()));
            }
            for entry in 0..size {
                set(&all, place_of(entry) + NEXT, entry + 1);
            }
            set(&all, VERSION_AT, VERSION);
        }
        let position = |at, wrap_at| Position::new(get(&all, at), Round::from(get::<u8>(&all, wrap_at) != 0));
        let (old, new) = (position(OLD_USED, OLD_WRAP), position(USED, WRAP));
        let old = if old.place() < size { old } else { used };
        // The driver could see the last batch: it is done. Otherwise it never was.
        let is_done = new != old && new.place() < size && was_told(old);
        let (used, mut free): (_, u16) =
            if is_done { (new, get(&all, FREE)) } else { (old, get(&all, OLD_FREE)) };
        // Nothing that is free is in flight: neither that batch, nor a chain that was about to be taken.
        for _ in 0..size {
            if free >= size {
                break;
            }
            set(&all, place_of(free), 0_u8);
            free = get(&all, place_of(free) + NEXT);
        }
        let mut left: Vec<(u64, u16, Vec<u16>)> = Vec::new();
        let mut busy = vec![false; usize::from(size)];
        for head in (0..size).filter(|head| get::<u8>(&all, place_of(*head)) == 1) {
            let count: u16 = get(&all, place_of(head) + COUNT);
            let mut at = head;
            let mut chain = Vec::new();
            // A chain whose entries another has, or that leaves the region, was never written down whole.
            for _ in 0..count.min(size) {
                if at >= size || busy[usize::from(at)] {
                    break;
                }
                chain.push(at);
                at = get(&all, place_of(at) + NEXT);
            }
            if count > 0 && chain.len() == usize::from(count) {
                for at in &chain {
                    busy[usize::from(*at)] = true;
                }
                left.push((get(&all, place_of(head) + COUNTER), head, chain));
            } else {
                set(&all, place_of(head), 0_u8);
            }
        }
        left.sort_unstable();
        // What no chain has is free, whatever the list was in the middle of.
        let mut free = size;
        for entry in (0..size).rev().filter(|entry| !busy[usize::from(*entry)]) {
            set(&all, place_of(entry) + NEXT, free);
            free = entry;
        }
        for (at, wrap_at, free_at) in [(USED, WRAP, FREE), (OLD_USED, OLD_WRAP, OLD_FREE)] {
            set(&all, at, used.place());
            set(&all, wrap_at, u8::from(used.wrap()));
            set(&all, free_at, free);
        }
        let counter = left.last().map_or(0, |(counter, ..)| counter.wrapping_add(1));
        let mut heads = BTreeMap::new();
        let entries = left.into_iter().map(|(_, head, chain)| {
            let read = |at: u16| {
                let at = place_of(at);
                let state = cells::Packed {
                    length: get(&all, at + LENGTH),
                    id: get(&all, at + ID),
                    flags: get(&all, at + FLAGS),
                };
                (get(&all, at + ADDRESS), state)
            };
            let descriptors: Vec<_> = chain.into_iter().map(read).collect();
            let id = descriptors.last().map_or(0, |(_, state)| state.id);
            heads.insert(id, head);
            Entry { id, descriptors }
        });
        let entries = entries.collect();
        (Self { memory, size, counter, heads, batch: Vec::new() }, used, entries)
    }

    /// A chain of these descriptors was taken.
    pub(in super::super) fn taken(
        &mut self,
        id: u16,
        descriptors: impl Iterator<Item = (u64, cells::Packed)>,
    ) {
        let all = self.memory.slice();
        let head: u16 = get(&all, OLD_FREE);
        let (mut at, mut last, mut count) = (head, head, 0_u16);
        for (address, state) in descriptors {
            // A ring has no more descriptors out than it has entries.
            if at >= self.size {
                return;
            }
            let entry = place_of(at);
            set(&all, entry + ADDRESS, address);
            set(&all, entry + LENGTH, state.length);
            set(&all, entry + FLAGS, state.flags);
            // The name of a chain is in its last descriptor; all have it, so that the first tells too.
            set(&all, entry + ID, id);
            count += 1;
            last = at;
            at = get(&all, entry + NEXT);
        }
        set(&all, place_of(head) + COUNT, count);
        set(&all, place_of(head) + LAST, last);
        set(&all, place_of(head) + COUNTER, self.counter);
        self.counter = self.counter.wrapping_add(1);
        set(&all, FREE, at);
        set(&all, place_of(head), 1_u8);
        set(&all, OLD_FREE, at);
        self.heads.insert(id, head);
    }

    /// The chain that was taken last was not: its entries are the first free ones again, linked as they were.
    pub(in super::super) fn untaken(&mut self, id: u16) {
        let Some(head) = self.heads.remove(&id) else { return };
        let all = self.memory.slice();
        set(&all, OLD_FREE, head);
        set(&all, place_of(head), 0_u8);
        set(&all, FREE, head);
    }

    /// It is given back; [`Packed::told`] follows when the driver was.
    pub(in super::super) fn putting(&mut self, id: u16) {
        let Some(head) = self.heads.remove(&id) else { return };
        let all = self.memory.slice();
        let (last, count): (u16, u16) = (get(&all, place_of(head) + LAST), get(&all, place_of(head) + COUNT));
        set(&all, place_of(last.min(self.size - 1)) + NEXT, get::<u16>(&all, FREE));
        set(&all, FREE, head);
        let place = get::<u16>(&all, USED).wrapping_add(count);
        if place >= self.size {
            set(&all, WRAP, get::<u8>(&all, WRAP) ^ 1);
        }
        set(&all, USED, if place >= self.size { place - self.size } else { place });
        self.batch.push(head);
    }

    /// The driver was told.
    pub(in super::super) fn told(&mut self) {
        let all = self.memory.slice();
        for head in self.batch.drain(..) {
            set(&all, place_of(head), 0_u8);
        }
        set(&all, OLD_FREE, get::<u16>(&all, FREE));
        set(&all, OLD_USED, get::<u16>(&all, USED));
        set(&all, OLD_WRAP, get::<u8>(&all, WRAP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use virtio::memory::Heap;

    const SIZE: u16 = 8;

    fn region() -> Shared {
        Shared::whole(Arc::new(Heap::zeroed(bytes(SIZE))))
    }

    fn chain(id: u16, count: u16) -> Vec<(u64, cells::Packed)> {
        let one =
            |at| (u64::from(at) << 12, cells::Packed { length: 7, id, flags: u16::from(at + 1 < count) });
        (0..count).map(one).collect()
    }

    fn resumed(region: &Shared, is_used: bool) -> (Packed, Position, Vec<Entry>) {
        Packed::resumed(region.clone(), SIZE, Position::START, |_| is_used)
    }

    fn ids(entries: &[Entry]) -> Vec<(u16, usize)> {
        entries.iter().map(|entry| (entry.id, entry.descriptors.len())).collect()
    }

    #[test]
    fn what_was_taken_and_not_given_back_comes_again_in_its_order() {
        let region = region();
        let (mut queue, used, left) = resumed(&region, false);
        assert_eq!((used, left.len()), (Position::START, 0));
        for (id, count) in [(500, 2), (3, 1), (7, 3)] {
            queue.taken(id, chain(id, count).into_iter());
        }
        queue.putting(3);
        queue.told();
        let (mut queue, used, left) = resumed(&region, false);
        assert_eq!(used, Position::new(1, Round::Odd));
        assert_eq!(ids(&left), [(500, 2), (7, 3)]);
        assert_eq!(left[1].descriptors, chain(7, 3));
        // Round and round, so that entries are used again in another order.
        for round in 0..100 {
            queue.taken(round, chain(round, 2).into_iter());
            queue.putting(round);
            queue.told();
        }
        let (_, used, left) = resumed(&region, false);
        assert_eq!(used, Position::new(1, Round::Even), "201 places are 25 rounds and one");
        assert_eq!(ids(&left), [(500, 2), (7, 3)]);
    }

    #[test]
    fn a_chain_that_was_not_taken_after_all_leaves_no_trace() {
        let region = region();
        let (mut queue, ..) = resumed(&region, false);
        queue.taken(1, chain(1, 3).into_iter());
        for _ in 0..20 {
            queue.taken(2, chain(2, 2).into_iter());
            queue.taken(3, chain(3, 3).into_iter());
            queue.untaken(3);
            queue.untaken(2);
        }
        queue.taken(4, chain(4, 5).into_iter());
        let (_, _, left) = resumed(&region, false);
        assert_eq!(ids(&left), [(1, 3), (4, 5)]);
    }

    #[test]
    fn a_batch_counts_if_the_ring_says_so() {
        for (is_used, expected, place) in [(false, vec![(1, 1), (2, 2), (3, 1)], 0), (true, vec![(1, 1)], 3)]
        {
            let region = region();
            let (mut queue, ..) = resumed(&region, false);
            for (id, count) in [(1, 1), (2, 2), (3, 1)] {
                queue.taken(id, chain(id, count).into_iter());
            }
            queue.putting(3);
            queue.putting(2);
            for _ in 0..2 {
                let (_, used, left) = resumed(&region, is_used);
                assert_eq!((used, ids(&left)), (Position::new(place, Round::Odd), expected.clone()));
            }
        }
    }

    /// The specification marks a chain before it is written down whole, and takes its entries from the free ones last.
    #[test]
    fn a_chain_that_was_about_to_be_taken_was_not() {
        let region = region();
        let (mut queue, ..) = resumed(&region, false);
        queue.taken(1, chain(1, 2).into_iter());
        let all = region.slice();
        let next = place_of(get(&all, OLD_FREE));
        set(&all, next + COUNT, 2_u16);
        set(&all, next, 1_u8);
        let (_, _, left) = resumed(&region, false);
        assert_eq!(ids(&left), [(1, 2)]);
    }

    #[test]
    fn a_counter_at_its_end_begins_again() {
        let region = region();
        let (mut queue, ..) = resumed(&region, false);
        queue.taken(2, chain(2, 1).into_iter());
        set(&region.slice(), place_of(0) + COUNTER, u64::MAX);
        let (mut queue, _, left) = resumed(&region, false);
        assert_eq!(ids(&left), [(2, 1)]);
        queue.taken(3, chain(3, 1).into_iter());
        queue.taken(4, chain(4, 1).into_iter());
    }

    #[test]
    fn a_region_of_noise_harms_nobody() {
        for noise in [0xff, 1, 7] {
            let region = region();
            region.slice().fill(noise);
            let (mut queue, used, left) = resumed(&region, true);
            assert!(used.place() < SIZE && left.len() <= usize::from(SIZE));
            for id in 0..20 {
                queue.taken(id, chain(id, 2).into_iter());
            }
            for id in 0..20 {
                queue.putting(id);
            }
            queue.told();
        }
    }
}

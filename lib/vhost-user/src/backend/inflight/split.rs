//! Of a split ring: an entry for each head.

use super::{VERSION, VERSION_AT, get, set};
use virtio::memory::Shared;

const DESCRIPTORS: usize = 10;
const LAST_BATCH: usize = 12;
const USED: usize = 14;
const HEADER: usize = 16;

/// Bytes of an entry: whether it is in flight, the entry before it in its batch, when it was taken.
const ENTRY: usize = 16;
const NEXT: usize = 6;
const COUNTER: usize = 8;

/// Where an entry begins.
pub(super) const fn place_of(head: u16) -> usize {
    HEADER + ENTRY * head as usize
}

pub(super) const fn bytes(size: u16) -> usize {
    HEADER + ENTRY * size as usize
}

/// What is in flight of a split ring.
#[derive(Debug)]
pub(in super::super) struct Split {
    memory: Shared,
    size: u16,
    counter: u64,
    /// Given back, and not told yet.
    batch: Vec<u16>,
}

impl Split {
    /// Goes on with what the region says, where the ring itself says that `used` chains were given back. Gives the heads that were taken
    /// and not given back, oldest first.
    pub(in super::super) fn resumed(memory: Shared, size: u16, used: u16) -> (Self, Vec<u16>) {
        let all = memory.slice();
        if get::<u16>(&all, VERSION_AT) == 0 {
            set(&all, DESCRIPTORS, size);
            set(&all, USED, used);
            set(&all, VERSION_AT, VERSION);
        }
        // A batch that was told of, and not finished here. It is as long as the ring says.
        let told = used.wrapping_sub(get(&all, USED));
        let mut head: u16 = get(&all, LAST_BATCH);
        for _ in 0..told.min(size) {
            if head >= size {
                break;
            }
            set(&all, place_of(head), 0_u8);
            head = get(&all, place_of(head) + NEXT);
        }
        set(&all, USED, used);
        let mut left: Vec<(u64, u16)> = (0..size)
            .filter(|head| get::<u8>(&all, place_of(*head)) == 1)
            .map(|head| (get(&all, place_of(head) + COUNTER), head))
            .collect();
        left.sort_unstable();
        let counter = left.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        let heads = left.into_iter().map(|(_, head)| head).collect();
        (Self { memory, size, counter, batch: Vec::new() }, heads)
    }

    /// A chain was taken.
    pub(in super::super) fn taken(&mut self, head: u16) {
        if head < self.size {
            let all = self.memory.slice();
            set(&all, place_of(head) + COUNTER, self.counter);
            self.counter = self.counter.wrapping_add(1);
            set(&all, place_of(head), 1_u8);
        }
    }

    /// The chain that was taken last was not.
    pub(in super::super) fn untaken(&mut self, head: u16) {
        if head < self.size {
            set(&self.memory.slice(), place_of(head), 0_u8);
        }
    }

    /// It is given back; [`Split::told`] follows when the driver was.
    pub(in super::super) fn putting(&mut self, head: u16) {
        if head < self.size {
            let all = self.memory.slice();
            set(&all, place_of(head) + NEXT, get::<u16>(&all, LAST_BATCH));
            set(&all, LAST_BATCH, head);
            self.batch.push(head);
        }
    }

    /// The driver was told that so many chains were ever given back.
    pub(in super::super) fn told(&mut self, used: u16) {
        let all = self.memory.slice();
        for head in self.batch.drain(..) {
            set(&all, place_of(head), 0_u8);
        }
        set(&all, USED, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use virtio::memory::Heap;

    fn region(size: u16) -> Shared {
        Shared::whole(Arc::new(Heap::zeroed(bytes(size))))
    }

    #[test]
    fn what_was_taken_and_not_given_back_comes_again_in_its_order() {
        let region = region(8);
        let (mut queue, left) = Split::resumed(region.clone(), 8, 0);
        assert!(left.is_empty());
        for head in [5, 3, 7, 0] {
            queue.taken(head);
        }
        queue.putting(3);
        queue.told(1);
        let (mut queue, left) = Split::resumed(region.clone(), 8, 1);
        assert_eq!(left, [5, 7, 0]);
        // What is taken later is later, though its head is lower.
        queue.taken(3);
        let (_, left) = Split::resumed(region, 8, 1);
        assert_eq!(left, [5, 7, 0, 3]);
    }

    #[test]
    fn a_batch_counts_if_the_ring_says_so() {
        // Dead after the heads were written down, and before or after the driver could see them.
        for (used, expected) in [(0, vec![4, 6, 2]), (2, vec![2])] {
            let region = region(8);
            let (mut queue, _) = Split::resumed(region.clone(), 8, 0);
            for head in [4, 6, 2] {
                queue.taken(head);
            }
            queue.putting(6);
            queue.putting(4);
            let (_, left) = Split::resumed(region.clone(), 8, used);
            assert_eq!(left, expected);
            // And it stays so.
            let (_, left) = Split::resumed(region, 8, used);
            assert_eq!(left, expected);
        }
    }

    #[test]
    fn a_counter_at_its_end_begins_again() {
        let region = region(8);
        let (mut queue, _) = Split::resumed(region.clone(), 8, 0);
        queue.taken(2);
        set(&region.slice(), place_of(2) + COUNTER, u64::MAX);
        let (mut queue, left) = Split::resumed(region, 8, 0);
        assert_eq!(left, [2]);
        queue.taken(3);
        queue.taken(4);
    }

    #[test]
    fn a_region_of_noise_harms_nobody() {
        let region = region(8);
        region.slice().fill(0xff);
        let (mut queue, left) = Split::resumed(region, 8, 3);
        assert!(left.len() <= 8);
        queue.taken(9);
        queue.putting(9);
        queue.told(4);
    }
}

//! Whether requests come back in the order that the driver was promised: what a device wrote to its ring, beside what the driver made of it.
//!
//! One entry may close a batch: it stands where that of the first of the batch would, names the last, and the places of the others stay as
//! they were (VIRTIO 1.4: 2.7.9, 2.8.9). A driver takes no more from it than which are over, so that it cannot tell a batch from requests that
//! came back in another order and of which the last was first. The places that were written can.

use super::{Outcome, Trouble};
use crate::frontend::{Queue, Used};
use virtio::cells::{AVAILABLE, DESCRIPTOR_BYTES, USED};

/// The requests of a turn, and where their entries would be.
pub(super) struct Order {
    used: Used,
    size: u16,
    /// Where the entry of the next request would be.
    next: u16,
    /// Their places, and what names them.
    requests: Vec<(u16, u32)>,
}

/// What no request has for a name.
const BLANK: u32 = u32::MAX;

impl Order {
    /// Of a queue of which nothing was used yet.
    pub(super) fn of(queue: &Queue) -> Self {
        Self { used: queue.used_entries().clone(), size: queue.ring.size(), next: 0, requests: Vec::new() }
    }

    /// A request is added to the ring, of which it takes so many places. Nothing that was offered before is under way.
    pub(super) fn offered(&mut self, name: u16, places: u16) {
        if let Used::Split(entries) = &self.used {
            // A device only writes it. What the driver wrote to a packed ring says by itself that nobody used it.
            let _ = entries.slice().store(entry_of(self.next), BLANK);
        }
        self.requests.push((self.next, name.into()));
        let places = if matches!(self.used, Used::Split(_)) { 1 } else { places };
        self.next = (self.next + places) % self.size;
    }

    /// Looks at what was written for them.
    pub(super) fn look(&self) -> Outcome {
        let (names, found): (Vec<_>, Vec<_>) =
            self.requests.iter().map(|(place, name)| (*name, self.entry(*place))).unzip();
        kept(&names, &found).map_err(Trouble::Failed)
    }

    /// The next turn begins.
    pub(super) fn over(&mut self) {
        self.requests.clear();
    }

    /// What an entry names; `None`: nobody wrote it.
    fn entry(&self, place: u16) -> Option<u32> {
        match &self.used {
            Used::Split(entries) => entries.slice().load(entry_of(place)).filter(|name| *name != BLANK),
            Used::Packed(entries) => {
                // The id, then the flags, behind the address and the length.
                let at = usize::from(place) * DESCRIPTOR_BYTES as usize + 12;
                let [name, flags] = [at, at + 2].map(|at| entries.slice().load::<u16>(at).unwrap_or(0));
                ((flags & AVAILABLE != 0) == (flags & USED != 0)).then_some(name.into())
            }
        }
    }
}

/// Where an entry is in the device's part of a split ring: behind flags and index, 8 bytes each (section 2.7.8).
const fn entry_of(place: u16) -> usize {
    4 + 8 * place as usize
}

/// Whether these entries, each at the place of a request, use the requests of these names in this order.
fn kept(names: &[u32], found: &[Option<u32>]) -> Result<(), String> {
    let mut next = 0;
    while let (Some(rest), Some(entry)) = (names.get(next..), found.get(next)) {
        let Some(name) = entry else {
            return Err(format!("request {next} of {} came back without an entry", names.len()));
        };
        let Some(others) = rest.iter().position(|it| it == name) else {
            return Err(format!(
                "the entry after {next} of {} requests names none that is under way",
                names.len()
            ));
        };
        let last = next + others;
        let within = found.iter().take(last + 1).skip(next + 1);
        if within.flatten().next().is_some() {
            return Err(format!("of {} requests, {last} came back before {next}", names.len()));
        }
        next = last + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_told_from_another_order() {
        let names = [7, 3, 5, 1];
        let each = names.map(Some);
        assert_eq!(kept(&names, &each), Ok(()), "one by one");
        assert_eq!(kept(&names, &[Some(1), None, None, None]), Ok(()), "all at once");
        assert_eq!(kept(&names, &[Some(3), None, Some(1), None]), Ok(()), "two and two");
        assert_eq!(kept(&names, &[Some(7), Some(5), None, Some(1)]), Ok(()));
        assert_eq!(kept(&[], &[]), Ok(()));

        let told = |found: &[Option<u32>]| kept(&names, found).unwrap_err();
        assert_eq!(told(&[Some(1), Some(5), Some(3), Some(7)]), "of 4 requests, 3 came back before 0");
        assert_eq!(told(&[Some(7), Some(5), Some(3), Some(1)]), "of 4 requests, 2 came back before 1");
        assert_eq!(
            told(&[Some(3), None, Some(7), Some(1)]),
            "the entry after 2 of 4 requests names none that is under way"
        );
        assert_eq!(told(&[Some(7), None, Some(5), Some(1)]), "request 1 of 4 came back without an entry");
    }
}

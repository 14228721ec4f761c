//! What a volume holds: blocks of what was written, zeros everywhere else. A volume may be larger than memory.

use std::collections::BTreeMap;

/// Size of a block in bytes.
const BLOCK: u64 = 65_536;

/// The content of a volume of any size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// By the number of the block; each holds [`BLOCK`] bytes.
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// These bytes.
    Data(Vec<u8>),
    /// So many zeros that nobody wrote.
    Zeros(u64),
}

/// The parts of a span that lie in one block each: number of the block, place in it, length.
fn parts(from: u64, length: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = from.saturating_add(length);
    let mut place = from;
    std::iter::from_fn(move || {
        if place >= end {
            return None;
        }
        let (block, at) = (place / BLOCK, place % BLOCK);
        let length = (BLOCK - at).min(end - place);
        place += length;
        // Both are below a block's size.
        Some((block, at as usize, length as usize))
    })
}

impl Content {
    /// Writes bytes; whoever calls has checked that they lie in the volume.
    pub(crate) fn write(&mut self, from: u64, data: &[u8]) {
        let mut rest = data;
        for (block, at, length) in parts(from, data.len() as u64) {
            let (now, later) = rest.split_at(length);
            let block = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK as usize]);
            block[at..at + length].copy_from_slice(now);
            rest = later;
        }
    }

    /// Makes zeros of a span.
    pub(crate) fn clear(&mut self, from: u64, length: u64) {
        let end = from.saturating_add(length);
        let known: Vec<u64> =
            self.blocks.range(from / BLOCK..=end / BLOCK).map(|(number, _)| *number).collect();
        for number in known {
            let (first, last) =
                (from.max(number * BLOCK), end.min(number.saturating_add(1).saturating_mul(BLOCK)));
            if last - first.min(last) == BLOCK {
                self.blocks.remove(&number);
            } else if let (Some(block), true) = (self.blocks.get_mut(&number), first < last) {
                block[(first % BLOCK) as usize..][..(last - first) as usize].fill(0);
            }
        }
    }

    /// Makes zeros of everything from a place on.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.clear(size, u64::MAX - size);
    }

    /// What stands at a place: at most `most` bytes of data, or zeros up to the next block that was written or the end.
    pub(crate) fn read(&self, from: u64, end: u64, most: u64) -> Run {
        match self.blocks.range(from / BLOCK..).next() {
            Some((number, _)) if *number == from / BLOCK => {
                let mut data = Vec::new();
                for (block, at, length) in parts(from, most.min(end - from)) {
                    let Some(block) = self.blocks.get(&block) else { break };
                    data.extend_from_slice(&block[at..at + length]);
                }
                Run::Data(data)
            }
            Some((number, _)) => Run::Zeros((number * BLOCK).min(end) - from),
            None => Run::Zeros(end - from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: &Content, end: u64) -> (Vec<u8>, usize) {
        let (mut bytes, mut holes) = (Vec::new(), 0);
        while (bytes.len() as u64) < end {
            match content.read(bytes.len() as u64, end, 1000) {
                Run::Data(data) => bytes.extend(data),
                Run::Zeros(length) => {
                    bytes.resize(bytes.len() + length as usize, 0);
                    holes += 1;
                }
            }
        }
        (bytes, holes)
    }

    #[test]
    fn what_was_written_stands_where_it_was_written() {
        let end = 5 * BLOCK + 7;
        let (mut content, mut model) = (Content::default(), vec![0; end as usize]);
        for (from, length, value) in [(BLOCK - 10, 20, 1), (3 * BLOCK, 1, 2), (end - 3, 3, 3), (5, 5, 4)] {
            content.write(from, &vec![value; length]);
            model[from as usize..from as usize + length].fill(value);
        }
        assert_eq!(all(&content, end), (model.clone(), 2));
        for (from, length) in [(BLOCK - 5, 10), (3 * BLOCK, BLOCK), (7, 1)] {
            content.clear(from, length);
            model[from as usize..(from + length) as usize].fill(0);
        }
        assert_eq!(all(&content, end), (model, 1));
        content.truncate(0);
        assert_eq!(all(&content, end), (vec![0; end as usize], 1));
    }

    #[test]
    fn the_end_of_the_largest_volume_can_be_written_and_cleared() {
        let mut content = Content::default();
        content.write(u64::MAX - 4, &[1, 2, 3]);
        assert_eq!(content.read(u64::MAX - 4, u64::MAX, 10), Run::Data(vec![1, 2, 3, 0]));
        content.clear(u64::MAX - 3, 1);
        assert_eq!(content.read(u64::MAX - 4, u64::MAX, 3), Run::Data(vec![1, 0, 3]));
    }
}

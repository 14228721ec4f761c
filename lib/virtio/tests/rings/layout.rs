//! What is where in memory, byte by byte: two sides that are wrong alike understand each other.

use crate::pair::{DATA, Kind, pair};
use virtio::memory::Shared;
use virtio::{Options, Segment};

fn bytes(memory: &Shared, at: usize, count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    memory.piece(at, count).unwrap().slice().read(&mut all);
    all
}

/// An entry as the specification draws it: address, length, then two fields of 16 bits.
fn entry(segment: Segment, third: u16, fourth: u16) -> Vec<u8> {
    let mut all = segment.address.to_le_bytes().to_vec();
    all.extend(segment.length.to_le_bytes());
    all.extend(third.to_le_bytes());
    all.extend(fourth.to_le_bytes());
    all
}

const READ: Segment = Segment { address: DATA, length: 0x11 };
const WRITTEN: Segment = Segment { address: DATA + 0x20, length: 0x22 };

/// Sections 2.7.5, 2.7.6 and 2.7.8: flags before next; the available ring behind flags and index; used entries of two words.
#[test]
fn a_split_ring_lies_as_the_specification_says() {
    let mut pair = pair(Kind::Split, 4, Options::default(), false, 4096);
    let token = pair.driver.add(&[READ], &[WRITTEN]).unwrap();
    pair.driver.publish();
    assert_eq!(bytes(&pair.ring, 0, 32), [entry(READ, 1, 1), entry(WRITTEN, 2, 2)].concat());
    assert_eq!(bytes(&pair.ring, 0x80000, 6), [0, 0, 1, 0, token.0 as u8, 0]);
    let taken = pair.device.take(&&pair.regions, &mut virtio::Chain::new()).unwrap().unwrap();
    pair.device.put(taken, 0x22);
    pair.device.publish();
    assert_eq!(bytes(&pair.ring, 0xc0000, 12), [0, 0, 1, 0, token.0 as u8, 0, 0, 0, 0x22, 0, 0, 0]);
}

/// Section 2.8.5: the id before the flags; section 2.8.1: available in the first round is bit 7 without bit 15, used is both.
#[test]
fn a_packed_ring_lies_as_the_specification_says() {
    let mut pair = pair(Kind::Packed, 4, Options::default(), false, 4096);
    let token = pair.driver.add(&[READ], &[WRITTEN]).unwrap();
    pair.driver.publish();
    let [head, last] = [entry(READ, token.0, 0x80 | 1), entry(WRITTEN, token.0, 0x80 | 2)];
    assert_eq!(bytes(&pair.ring, 0, 32), [head, last].concat());
    let taken = pair.device.take(&&pair.regions, &mut virtio::Chain::new()).unwrap().unwrap();
    pair.device.put(taken, 0x22);
    pair.device.publish();
    let used = entry(Segment { length: 0x22, ..READ }, token.0, 0x8000 | 0x80 | 2);
    assert_eq!(bytes(&pair.ring, 0, 16), used);
}

/// Sections 2.7.5.3 and 2.8.8: a table has the entries of its ring's kind.
#[test]
fn the_entries_of_a_table_are_those_of_its_ring() {
    for kind in [Kind::Split, Kind::Packed] {
        let mut pair = pair(kind, 4, Options::default(), true, 4096);
        pair.driver.add(&[READ], &[WRITTEN]).unwrap();
        pair.driver.publish();
        let head = bytes(&pair.ring, 0, 16);
        assert_eq!(head[8..12], 32_u32.to_le_bytes());
        let address = u64::from_le_bytes(head[..8].try_into().unwrap());
        let table = pair.regions.shared(address, 32).unwrap();
        let expected = match kind {
            Kind::Split => {
                assert_eq!(head[12..14], [4, 0]);
                [entry(READ, 1, 1), entry(WRITTEN, 2, 0)]
            }
            Kind::Packed => {
                assert_eq!(head[14..16], [0x80 | 4, 0]);
                [entry(READ, 0, 0), entry(WRITTEN, 0, 2)]
            }
        };
        assert_eq!(bytes(&table, 0, 32), expected.concat());
    }
}

//! Rings that are nearly right: what a hostile side writes that knows the rules. Every case is made of fields, most of which make sense, so
//! that most of what is wrong lies deep in a chain; the tests count that it does.

use crate::pair::{DATA, Kind, TABLES, pair};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use virtio::cells::{AVAILABLE, Descriptor, INDIRECT, NEXT, Packed, PackedCells, SplitCells, USED, WRITE};
use virtio::memory::{Heap, Region, Shared};
use virtio::{Chain, Options, Segment, Token};

const SIZE: u16 = 8;
/// Entries of the table that indirect descriptors name.
const ENTRIES: u16 = 16;

/// A descriptor as a driver writes it that may mean harm.
#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

#[derive(Clone, Debug)]
enum Write {
    /// Into the table, or the ring of a packed one.
    Entry(u16, Entry),
    /// Into the indirect table.
    Indirect(u16, Entry),
    /// A head into the next slot of the driver's, or a turn to the next place of a packed ring.
    Offer(u16),
    /// The driver's index goes on by so many.
    Advance(u16),
}

fn entry() -> impl Strategy<Value = Entry> {
    let address = prop_oneof![
        8 => Just(DATA),
        2 => Just(DATA + 4090),
        2 => Just(TABLES),
        1 => prop_oneof![Just(0), Just(u64::MAX - 3)],
    ];
    let length = prop_oneof![
        8 => Just(16_u32),
        2 => (1..4_u32).prop_map(|entries| 16 * entries),
        1 => Just(0),
        1 => Just(u32::from(ENTRIES) * 16),
        1 => Just(u32::MAX),
    ];
    let flags = prop_oneof![6 => Just(0), 3 => Just(NEXT), 3 => Just(WRITE), 1 => Just(WRITE | NEXT), 2 => Just(INDIRECT),
        1 => Just(INDIRECT | NEXT), 1 => Just(NEXT | WRITE | INDIRECT)];
    (address, length, flags, 0..=SIZE).prop_map(|(address, length, flags, next)| Entry {
        // A table where tables are.
        address: if flags & INDIRECT != 0 && address == DATA { TABLES } else { address },
        length,
        flags,
        next,
    })
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let one = prop_oneof![
        4 => (0..SIZE, entry()).prop_map(|(at, entry)| Write::Entry(at, entry)),
        2 => (0..ENTRIES, entry()).prop_map(|(at, entry)| Write::Indirect(at, entry)),
        6 => prop_oneof![30 => (0..SIZE / 2).prop_map(|at| 2 * at), 10 => 0..SIZE, 1 => Just(SIZE), 1 => Just(u16::MAX)].prop_map(Write::Offer),
        1 => prop_oneof![6 => Just(1_u16), 1 => Just(SIZE), 1 => Just(SIZE + 1), 1 => Just(u16::MAX)].prop_map(Write::Advance),
    ];
    prop::collection::vec(one, 1..80)
}

fn options() -> impl Strategy<Value = (Kind, Options)> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(is_packed, event_index, indirect, in_order)| {
            (if is_packed { Kind::Packed } else { Kind::Split }, Options { event_index, indirect, in_order })
        },
    )
}

/// What cases reached, together.
#[derive(Default)]
struct Reached {
    taken: Cell<u32>,
    segments: Cell<u32>,
    faults: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// Many cases, the same each time for the same seed.
fn runner(seed: u64) -> TestRunner {
    TestRunner::new(Config { cases: 1000, rng_seed: RngSeed::Fixed(seed), ..Config::default() })
}

/// Descriptors in pairs, one read and one written, and a table of the same: the writes go from there.
fn begin_right(pair: &crate::pair::Pair, kind: Kind, table: &Shared) {
    for at in 0..SIZE.max(ENTRIES) {
        let is_first = at % 2 == 0;
        let (flags, next) = if is_first { (NEXT, at + 1) } else { (WRITE, 0) };
        let entry = Descriptor { address: DATA, length: 16, flags, next };
        match kind {
            Kind::Split if at < SIZE => pair.split().set_descriptor(at, entry),
            Kind::Packed if at < SIZE => {
                let cells = pair.packed();
                cells.set_address(at, DATA);
                // In the round before the first nothing is available.
                cells.set_state(at, Packed { length: 16, id: at, flags: flags | USED });
            }
            _ => {}
        }
        set_indirect(table, kind, at, entry);
    }
}

fn set_indirect(
    table: &Shared,
    kind: Kind,
    at: u16,
    Descriptor { address, length, flags, next }: Descriptor,
) {
    let rest = match kind {
        Kind::Split => u64::from(flags) << 32 | u64::from(next) << 48,
        // Those of a packed ring's table have an id where others have flags, and flags where others have what is next.
        Kind::Packed => u64::from(next) << 32 | u64::from(flags) << 48,
    };
    let place = table.piece(16 * usize::from(at), 16).unwrap();
    place.slice().write(&address.to_le_bytes());
    place.piece(8, 8).unwrap().slice().write(&(u64::from(length) | rest).to_le_bytes());
}

/// A device on a ring of which the driver writes anything: no panic, no chain longer than there is memory for, none taken twice, an end.
#[test]
fn a_device_survives_a_driver_that_knows_the_rules() {
    device_survives(1);
}

fn device_survives(seed: u64) {
    let reached = Reached::default();
    let cases = (options(), writes());
    runner(seed)
        .run(&cases, |((kind, options), writes)| {
            let mut pair = pair(kind, SIZE, options, false, 4096);
            let table = Shared::whole(Arc::new(Heap::zeroed(usize::from(ENTRIES) * 16)));
            pair.regions.add(Region { address: TABLES, memory: table.clone() }).unwrap();
            begin_right(&pair, kind, &table);
            let mut chain = Chain::new();
            let mut out = BTreeMap::new();
            // The driver's next slot, or its next place and wrap counter.
            let (mut next, mut wrap) = (0_u16, true);
            for write in writes {
                match (write, kind) {
                    (Write::Entry(at, Entry { address, length, flags, next }), Kind::Split) => {
                        pair.split().set_descriptor(at, Descriptor { address, length, flags, next });
                    }
                    (Write::Entry(at, Entry { address, length, flags, next: id }), Kind::Packed) => {
                        let cells = pair.packed();
                        let turn = cells.state(at).flags & (AVAILABLE | USED);
                        cells.set_address(at, address);
                        cells.set_state(at, Packed { length, id, flags: flags | turn });
                    }
                    (Write::Indirect(at, Entry { address, length, flags, next }), kind) => {
                        set_indirect(&table, kind, at, Descriptor { address, length, flags, next });
                    }
                    (Write::Offer(head), Kind::Split) => {
                        let cells = pair.split();
                        cells.set_avail_entry(next % SIZE, head);
                        next = next.wrapping_add(1);
                        cells.set_avail_index(next);
                    }
                    (Write::Offer(id), Kind::Packed) => {
                        let cells = pair.packed();
                        let state = cells.state(next);
                        let turn = if wrap { AVAILABLE } else { USED };
                        let flags = state.flags & !(AVAILABLE | USED) | turn;
                        cells.set_state(next, Packed { id, flags, ..state });
                        next += 1;
                        if next == SIZE {
                            (next, wrap) = (0, !wrap);
                        }
                    }
                    (Write::Advance(by), Kind::Split) => pair.split().set_avail_index(next.wrapping_add(by)),
                    (Write::Advance(_), Kind::Packed) => {}
                }
                for _ in 0..=SIZE {
                    let is_there = pair.device.has_chains();
                    match pair.device.take(&&pair.regions, &mut chain) {
                        Ok(Some(taken)) => {
                            count(&reached.taken);
                            prop_assert!(taken.places() >= 1 && taken.places() <= SIZE);
                            let pieces = chain.readable().len() + chain.writable().len();
                            // Each may lie in two regions.
                            prop_assert!(pieces <= 2 * usize::from(SIZE + ENTRIES));
                            if pieces > 1 {
                                count(&reached.segments);
                            }
                            let all = chain.readable().iter().chain(chain.writable());
                            let sum: usize = all.map(|piece| piece.len()).sum();
                            prop_assert_eq!(
                                sum as u64,
                                u64::from(chain.readable_bytes()) + u64::from(chain.writable_bytes())
                            );
                            prop_assert!(
                                out.insert(taken.id(), taken).is_none(),
                                "a name that the device has came again"
                            );
                        }
                        Ok(None) => {
                            prop_assert!(!is_there, "a device that looks would look for ever");
                            break;
                        }
                        Err(_) => {
                            count(&reached.faults);
                            return Ok(());
                        }
                    }
                }
                // Half of them stay with the device.
                if out.len() > 3
                    && let Some((_, taken)) = out.pop_first()
                {
                    pair.device.put(taken, 0);
                }
                pair.device.publish();
                pair.device.must_call();
                pair.device.want_kicks();
            }
            Ok(())
        })
        .unwrap();
    let Reached { taken, segments, faults } = reached;
    assert!(
        taken.get() > 1000 && segments.get() > 300 && faults.get() > 300,
        "{taken:?} {segments:?} {faults:?}"
    );
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The driver offers a chain, and publishes it or not.
    Add(bool),
    /// The device gives back the chain of this place among those that are out, or of any name.
    Used(Result<u8, u32>, u32),
    /// Its index goes on by so many, beside that.
    Advance(u16),
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let name = prop_oneof![
        20 => any::<u8>().prop_map(Ok),
        1 => (0..=u32::from(SIZE)).prop_map(Err),
        1 => Just(Err(u32::MAX)),
    ];
    let written = prop_oneof![Just(0), Just(1), Just(2), Just(3), Just(u32::MAX)];
    let one = prop_oneof![
        4 => prop_oneof![8 => Just(true), 1 => Just(false)].prop_map(Answer::Add),
        3 => (name, written).prop_map(|(name, written)| Answer::Used(name, written)),
        1 => prop_oneof![4 => Just(0_u16), 1 => Just(1), 1 => Just(SIZE), 1 => Just(SIZE + 1), 1 => Just(u16::MAX)].prop_map(Answer::Advance),
    ];
    prop::collection::vec(one, 1..80)
}

/// A driver on a ring of which the device writes anything: no panic, and only what the device was told of comes back, once.
#[test]
fn a_driver_survives_a_device_that_knows_the_rules() {
    driver_survives(1);
}

fn driver_survives(seed: u64) {
    let reached = Reached::default();
    let cases = (options(), answers());
    runner(seed)
        .run(&cases, |((kind, options), answers)| {
            let options = Options { indirect: false, ..options };
            let mut pair = pair(kind, SIZE, options, false, 4096);
            let (mut out, mut hidden): (BTreeSet<Token>, BTreeSet<Token>) = Default::default();
            let (mut next, mut wrap) = (0_u16, true);
            for answer in answers {
                match answer {
                    Answer::Add(publish) => {
                        let segment = |length| [Segment { address: DATA, length }];
                        if let Ok(token) = pair.driver.add(&segment(1), &segment(2)) {
                            prop_assert!(
                                hidden.insert(token) && !out.contains(&token),
                                "{token:?} names two"
                            );
                        }
                        if publish {
                            pair.driver.publish();
                            out.append(&mut hidden);
                        }
                    }
                    Answer::Used(name, written) => {
                        let known: Vec<_> = out.union(&hidden).collect();
                        let id = match name {
                            Ok(at) if !known.is_empty() => known[usize::from(at) % known.len()].0.into(),
                            Ok(at) => u32::from(at),
                            Err(id) => id,
                        };
                        match kind {
                            Kind::Split => {
                                let cells = pair.split();
                                cells.set_used_entry(next % SIZE, id, written);
                                next = next.wrapping_add(1);
                                cells.set_used_index(next);
                            }
                            Kind::Packed => {
                                let flags = if wrap { AVAILABLE | USED } else { 0 };
                                pair.packed()
                                    .set_state(next, Packed { length: written, id: id as u16, flags });
                                // Every chain takes two places.
                                next += 2;
                                if next >= SIZE {
                                    (next, wrap) = (next - SIZE, !wrap);
                                }
                            }
                        }
                    }
                    Answer::Advance(by) => {
                        if kind == Kind::Split {
                            pair.split().set_used_index(next.wrapping_add(by));
                        }
                    }
                }
                pair.driver.must_kick();
                for _ in 0..=SIZE {
                    let is_there = pair.driver.has_used(1);
                    match pair.driver.reap() {
                        Ok(Some(done)) => {
                            count(&reached.taken);
                            prop_assert!(is_there, "a driver that waits would not see {:?}", done.token);
                            prop_assert!(
                                out.remove(&done.token),
                                "{:?} came back and was not with the device",
                                done.token
                            );
                            prop_assert!(done.written <= 2);
                        }
                        Ok(None) => {
                            prop_assert!(!is_there, "a driver that looks would look for ever");
                            break;
                        }
                        Err(_) => {
                            count(&reached.faults);
                            return Ok(());
                        }
                    }
                }
                prop_assert_eq!(usize::from(pair.driver.in_flight()), out.len() + hidden.len());
                pair.driver.want_calls(1);
            }
            Ok(())
        })
        .unwrap();
    let Reached { taken, faults, .. } = reached;
    assert!(taken.get() > 1000 && faults.get() > 300, "{taken:?} {faults:?}");
}

/// As the long tests do it.
#[test]
#[ignore = "ten minutes"]
#[expect(clippy::disallowed_methods, reason = "the time is what is asked for")]
fn both_sides_survive_ten_minutes() {
    let begin = std::time::Instant::now();
    let mut cases = 0;
    while begin.elapsed() < std::time::Duration::from_secs(600) {
        cases += 1;
        device_survives(cases);
        driver_survives(cases);
    }
    println!("{cases} times 1,000 cases of each side");
}

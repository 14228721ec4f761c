//! What a request costs in ring work: no data is touched, one thread, everything in the cache.
//!
//! The device's side is measured alone, on chains that were offered before, beside the crate `virtio-queue` on the same ring in the same
//! memory; both resolve every segment to memory. Driver and device together are measured beside the least code that does the same.
//! Writes `target/bench/rings.json`.

use serde_json::{Value, json};
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering, fence};
use std::time::Instant;
use virtio::memory::{Backing as _, Heap, PackedMemory, Region, Regions, Shared, SplitMemory};
use virtio::{Chain, Options, Segment, packed, split};
use virtio_queue::{Queue, QueueT as _};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};

const SIZE: u16 = 256;
/// Chains that are offered at once: chains of three must fit.
const BATCH: u16 = 64;
const ROUNDS: usize = 400;
const BATCHES: u32 = 100;
/// One region of the driver's memory.
const REGION: usize = 1 << 20;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo test --all-targets` starts benchmarks too, without this flag; they are not tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let load: f64 = std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or("0").parse()?;
    let mut rows: Vec<Value> = Vec::new();
    for (regions, length) in [(1, 1), (1, 3), (4, 1), (4, 3)] {
        let mut contenders =
            (Ours::new(regions, length), OursPacked::new(regions, length), Peer::new(regions, length)?);
        let [split, packed, peer] =
            in_turns([&mut || contenders.0.batch(), &mut || contenders.1.batch(), &mut || {
                contenders.2.batch()
            }]);
        for (kind, value) in [("split", split), ("packed", packed)] {
            let goal = if (regions, length) == (4, 3) { (0.3 * peer).min(8.0) } else { 0.3 * peer };
            rows.push(json!({
                "name": format!("ring_device_{kind}_{regions}_regions_chain_{length}"), "unit": "ns/request", "better": "lower",
                "value": value, "peer": "virtio-queue 0.18 (split)", "peer_value": peer, "goal": goal, "load": load,
            }));
        }
    }
    for length in [1, 3] {
        let mut contenders = (Both::new(length), BothPacked::new(length), Floor::new(length));
        let [split, packed, floor] =
            in_turns([&mut || contenders.0.batch(), &mut || contenders.1.batch(), &mut || {
                contenders.2.batch()
            }]);
        for (kind, value) in [("split", split), ("packed", packed)] {
            rows.push(json!({
                "name": format!("ring_both_{kind}_chain_{length}"), "unit": "ns/request", "better": "lower", "value": value,
                "floor": "a split ring by hand, nothing checked", "floor_value": floor, "load": load,
            }));
        }
    }
    let mut out = std::io::stdout().lock();
    for row in &rows {
        let number = |name: &str| row[name].as_f64().map_or("-".into(), |number| format!("{number:.1}"));
        let name = row["name"].as_str().unwrap_or_default();
        let [value, peer, floor, goal] = ["value", "peer_value", "floor_value", "goal"].map(number);
        writeln!(out, "{name:<40} {value:>7} ns  peer {peer:>6}  floor {floor:>6}  goal {goal:>6}")?;
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join("rings.json"), serde_json::to_vec_pretty(&rows)?)?;
    Ok(())
}

/// Runs each in turn and gives the medians of nanoseconds per request. A contender gives the time of its batches.
fn in_turns<const N: usize>(mut contenders: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut all = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (contender, times) in contenders.iter_mut().zip(&mut all) {
            times.push(contender());
        }
    }
    all.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// Nanoseconds per request of `run`, which does a batch and is timed alone.
fn timed(mut prepare: impl FnMut(), mut run: impl FnMut()) -> f64 {
    let mut spent = 0;
    for _ in 0..BATCHES {
        prepare();
        let start = now();
        run();
        spent += start.elapsed().as_nanos();
    }
    spent as f64 / f64::from(BATCHES * u32::from(BATCH))
}

/// Where the segments of request `i` are: spread over the regions.
fn segment(i: u32, regions: usize) -> Segment {
    let region = i as usize % regions;
    Segment { address: (region * 2 * REGION) as u64 + u64::from(i % 64) * 4096 + 0x8000, length: 512 }
}

fn chain(i: u32, length: u32, regions: usize) -> Vec<Segment> {
    (0..length).map(|part| segment(i * 7 + part * 3 + 1, regions)).collect()
}

/// The ring is at the start of the first region.
const TABLE: u64 = 0;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x4000;

fn memory(count: usize) -> (Regions, Shared) {
    let mut regions = Regions::new();
    let mut first = None;
    for i in 0..count {
        let memory = Shared::whole(Arc::new(Heap::zeroed(REGION)));
        first.get_or_insert_with(|| memory.clone());
        let added = regions.add(Region { address: (i * 2 * REGION) as u64, memory });
        assert!(added.is_ok(), "they lie apart");
    }
    (regions, first.expect("there is at least one"))
}

fn split_cells(memory: &Shared) -> SplitMemory {
    let [table, avail, used] = SplitMemory::bytes(SIZE);
    let part = |at: u64, bytes| memory.piece(at as usize, bytes).expect("within the region");
    SplitMemory::new(SIZE, part(TABLE, table), part(AVAIL, avail), part(USED, used)).expect("aligned")
}

fn packed_cells(memory: &Shared) -> PackedMemory {
    let [table, driver, device] = PackedMemory::bytes(SIZE);
    let part = |at: u64, bytes| memory.piece(at as usize, bytes).expect("within the region");
    PackedMemory::new(SIZE, part(TABLE, table), part(AVAIL, driver), part(USED, device)).expect("aligned")
}

macro_rules! device_alone {
    ($name:ident, $ring:ident, $cells:ident, $memory:ty) => {
        /// Our device on chains that our driver offered.
        struct $name {
            driver: $ring::Driver<$memory>,
            device: $ring::Device<$memory>,
            regions: Regions,
            chains: Vec<Vec<Segment>>,
        }

        impl $name {
            fn new(regions: usize, length: u32) -> Self {
                let chains = (0..u32::from(BATCH)).map(|i| chain(i, length, regions)).collect();
                let (regions, first) = memory(regions);
                let driver = $ring::Driver::new($cells(&first), Options::default());
                let device = $ring::Device::new($cells(&first), Options::default());
                Self { driver, device, regions, chains }
            }

            fn batch(&mut self) -> f64 {
                let Self { driver, device, regions, chains } = self;
                let mut chain = Chain::new();
                let prepare = || {
                    while let Ok(Some(_)) = driver.reap() {}
                    for segments in chains.iter() {
                        driver.add(&[], segments).expect("the ring has room");
                    }
                    driver.publish();
                };
                timed(prepare, || {
                    while let Ok(Some(taken)) = device.take(&&*regions, &mut chain) {
                        black_box(chain.writable());
                        device.put(taken, 512);
                    }
                    device.publish();
                    black_box(device.must_call());
                })
            }
        }
    };
}

device_alone!(Ours, split, split_cells, SplitMemory);
device_alone!(OursPacked, packed, packed_cells, PackedMemory);

/// The peer's device on the same chains.
struct Peer {
    queue: Queue,
    memory: GuestMemoryMmap<()>,
    driver: split::Driver<SplitMemory>,
    chains: Vec<Vec<Segment>>,
    /// Our driver's ring, copied to and from where the peer sees it.
    ring: Shared,
}

impl Peer {
    fn new(regions: usize, length: u32) -> Result<Self, Box<dyn std::error::Error>> {
        let ranges: Vec<_> = (0..regions).map(|i| (GuestAddress((i * 2 * REGION) as u64), REGION)).collect();
        let memory = GuestMemoryMmap::<()>::from_ranges(&ranges)?;
        let mut queue = Queue::new(SIZE)?;
        queue.try_set_desc_table_address(GuestAddress(TABLE))?;
        queue.try_set_avail_ring_address(GuestAddress(AVAIL))?;
        queue.try_set_used_ring_address(GuestAddress(USED))?;
        queue.set_ready(true);
        let (_, ring) = crate::memory(1);
        let driver = split::Driver::new(split_cells(&ring), Options::default());
        let chains = (0..u32::from(BATCH)).map(|i| chain(i, length, regions)).collect();
        Ok(Self { queue, memory, driver, chains, ring })
    }

    fn batch(&mut self) -> f64 {
        let Self { queue, memory, driver, chains, ring } = self;
        let [table, avail, used] = SplitMemory::bytes(SIZE);
        let prepare = || {
            let copy = |at: u64, bytes: usize, back: bool| {
                let mut buffer = vec![0; bytes];
                let here = ring.piece(at as usize, bytes).expect("within the region");
                if back {
                    memory.read_slice(&mut buffer, GuestAddress(at)).expect("within the memory");
                    here.slice().write(&buffer);
                } else {
                    here.slice().read(&mut buffer);
                    memory.write_slice(&buffer, GuestAddress(at)).expect("within the memory");
                }
            };
            copy(USED, used, true);
            while let Ok(Some(_)) = driver.reap() {}
            for segments in chains.iter() {
                driver.add(&[], segments).expect("the ring has room");
            }
            driver.publish();
            copy(TABLE, table, false);
            copy(AVAIL, avail, false);
        };
        timed(prepare, || {
            while let Some(chain) = queue.pop_descriptor_chain(&*memory) {
                let head = chain.head_index();
                for entry in chain {
                    let slice = memory.get_slice(entry.addr(), entry.len() as usize);
                    black_box(slice.expect("within the memory"));
                }
                queue.add_used(&*memory, head, 512).expect("the ring is there");
            }
            black_box(queue.needs_notification(&*memory).expect("the ring is there"));
        })
    }
}

macro_rules! both_sides {
    ($name:ident, $ring:ident, $cells:ident, $memory:ty) => {
        /// Our driver and our device.
        struct $name {
            driver: $ring::Driver<$memory>,
            device: $ring::Device<$memory>,
            regions: Regions,
            chains: Vec<Vec<Segment>>,
        }

        impl $name {
            fn new(length: u32) -> Self {
                let chains = (0..u32::from(BATCH)).map(|i| chain(i, length, 1)).collect();
                let (regions, first) = memory(1);
                let driver = $ring::Driver::new($cells(&first), Options::default());
                let device = $ring::Device::new($cells(&first), Options::default());
                Self { driver, device, regions, chains }
            }

            fn batch(&mut self) -> f64 {
                let Self { driver, device, regions, chains } = self;
                let mut chain = Chain::new();
                timed(
                    || {},
                    || {
                        for segments in chains.iter() {
                            driver.add(&[], segments).expect("the ring has room");
                        }
                        driver.publish();
                        black_box(driver.must_kick());
                        while let Ok(Some(taken)) = device.take(&&*regions, &mut chain) {
                            black_box(chain.writable());
                            device.put(taken, 512);
                        }
                        device.publish();
                        black_box(device.must_call());
                        while let Ok(Some(done)) = driver.reap() {
                            black_box(done);
                        }
                    },
                )
            }
        }
    };
}

both_sides!(Both, split, split_cells, SplitMemory);
both_sides!(BothPacked, packed, packed_cells, PackedMemory);

/// Both sides of a split ring with nothing but the stores and loads that they need: descriptors stay where they are, nothing is checked.
struct Floor {
    table: Vec<[u64; 2]>,
    avail: Vec<u16>,
    used: Vec<[u32; 2]>,
    avail_index: AtomicU16,
    used_index: AtomicU16,
    length: u16,
    base: u64,
    chains: Vec<Vec<Segment>>,
    next: u16,
}

impl Floor {
    fn new(length: u32) -> Self {
        Self {
            table: vec![[0; 2]; SIZE.into()],
            avail: vec![0; SIZE.into()],
            used: vec![[0; 2]; SIZE.into()],
            avail_index: AtomicU16::new(0),
            used_index: AtomicU16::new(0),
            length: length as u16,
            base: Heap::zeroed(1).start().as_ptr() as u64,
            chains: (0..u32::from(BATCH)).map(|i| chain(i, length, 1)).collect(),
            next: 0,
        }
    }

    fn batch(&mut self) -> f64 {
        let mask = usize::from(SIZE - 1);
        let Self { table, avail, used, avail_index, used_index, length, base, chains, next } = self;
        timed(
            || {},
            || {
                let start = *next;
                for (i, segments) in (0..BATCH).zip(chains.iter()) {
                    let head = i * *length;
                    for (part, segment) in (0..*length).zip(segments) {
                        let at = usize::from(head + part);
                        let flags = if part + 1 < *length { 3 } else { 2 };
                        table[at & mask] = [
                            segment.address,
                            u64::from(segment.length) | flags << 32 | (at as u64 + 1) << 48,
                        ];
                    }
                    avail[usize::from(start.wrapping_add(i)) & mask] = head;
                }
                *next = start.wrapping_add(BATCH);
                avail_index.store(*next, Ordering::Release);
                fence(Ordering::SeqCst);
                let until = avail_index.load(Ordering::Acquire);
                let mut at = start;
                while at != until {
                    let head = avail[usize::from(at) & mask];
                    let mut index = usize::from(head);
                    loop {
                        let [address, rest] = *black_box(&table[index & mask]);
                        black_box((*base + address, rest as u32));
                        if rest >> 32 & 1 == 0 {
                            break;
                        }
                        index = (rest >> 48) as usize;
                    }
                    used[usize::from(at) & mask] = [u32::from(head), 512];
                    at = at.wrapping_add(1);
                }
                used_index.store(at, Ordering::Release);
                fence(Ordering::SeqCst);
                let until = used_index.load(Ordering::Acquire);
                let mut at = start;
                while at != until {
                    black_box(used[usize::from(at) & mask]);
                    at = at.wrapping_add(1);
                }
            },
        )
    }
}

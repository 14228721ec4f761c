//! The driver's side of the crate `virtio-driver` (the core of libblkio) with our device's side, in rings of both kinds: what it offers is
//! taken once and whole, and comes back to it once; and who sleeps is woken.
#![cfg(test)]

mod sys;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;
use vhost_user::backend::serve;
use vhost_user::devices::{Disk, InMemory};
use vhost_user::socket::Canceller;
use virtio::memory::{PackedMemory, Region, Regions, Shared, SplitMemory};
use virtio::ring::Device;
use virtio::{Chain, Options, Taken, packed, split};
use virtio_driver::virtqueue::{Virtqueue, VirtqueueLayout};
use virtio_driver::{VhostUser, VirtioBlkConfig, VirtioFeatureFlags, VirtioTransport as _, iovec};

const SIZE: u16 = 16;
const DATA: usize = 1 << 16;

/// A connection of theirs to a disk of ours: from it alone comes what turns their addresses into those of a device, which are the same.
struct Connection {
    transport: VhostUser<VirtioBlkConfig, u64>,
    served: JoinHandle<()>,
}

impl Connection {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("disk.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let served = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut disk = Disk::new(InMemory::new(8), 1);
            serve(&mut disk, stream, &Canceller::new().unwrap()).unwrap();
        });
        let features = VirtioFeatureFlags::VERSION_1.bits();
        let transport = VhostUser::new(&socket.display().to_string(), features).unwrap();
        Self { transport, served }
    }
}

/// Chains that are offered, by the lengths of what is read and of what is written, and the order in which they are used.
#[derive(Clone, Debug)]
struct Round {
    chains: Vec<(Vec<u8>, Vec<u8>)>,
    order: Vec<prop::sample::Index>,
    /// How many of those that the device has it gives back.
    used: usize,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let lengths = || prop::collection::vec(1..32_u8, 0..3);
    // One that has a single segment virtio-driver 0.6.1 publishes as if another followed in a packed ring.
    let chain = (lengths(), lengths()).prop_filter("two segments", |(a, b)| a.len() + b.len() > 1);
    let round = (
        prop::collection::vec(chain, 0..6),
        prop::collection::vec(any::<prop::sample::Index>(), 20),
        0..8_usize,
    );
    let round = round.prop_map(|(chains, order, used)| Round { chains, order, used });
    prop::collection::vec(round, 1..80)
}

fn device(
    queue: &Virtqueue<'_, u64>,
    memory: &Shared,
    is_packed: bool,
    options: Options,
) -> Device<SplitMemory, PackedMemory> {
    let base = memory.host_address();
    let bytes = if is_packed { PackedMemory::bytes(SIZE) } else { SplitMemory::bytes(SIZE) };
    let at = [queue.desc_table_ptr(), queue.driver_area_ptr(), queue.device_area_ptr()];
    let [table, driver, device] = [0, 1, 2].map(|i| {
        let start = (at[i] as u64 - base) as usize;
        memory.piece(start, bytes[i]).unwrap()
    });
    if is_packed {
        Device::Packed(packed::Device::new(PackedMemory::new(SIZE, table, driver, device).unwrap(), options))
    } else {
        Device::Split(split::Device::new(SplitMemory::new(SIZE, table, driver, device).unwrap(), options))
    }
}

fn run(connection: &Connection, rounds: &[Round], is_packed: bool, event_index: bool) {
    let mut features = VirtioFeatureFlags::VERSION_1;
    features.set(VirtioFeatureFlags::RING_PACKED, is_packed);
    features.set(VirtioFeatureFlags::RING_EVENT_IDX, event_index);
    let layout = VirtqueueLayout::new::<u64>(1, SIZE.into(), features).unwrap();
    let (theirs, ours) = sys::twice(layout.end_offset);
    let (_, data) = sys::twice(DATA);
    let mut regions = Regions::new();
    for memory in [&ours, &data] {
        regions.add(Region { address: memory.host_address(), memory: memory.clone() }).unwrap();
    }
    let mut queue =
        Virtqueue::<u64>::new(connection.transport.iova_translator(), theirs, SIZE, features).unwrap();
    let options = Options { event_index, ..Options::default() };
    let mut device = device(&queue, &ours, is_packed, options);

    // What was offered and has not come back, by its name: the number that it carries, the entries that it takes, and the bytes that are
    // to be written.
    let mut out: BTreeMap<u16, (u64, usize, u32)> = BTreeMap::new();
    let mut free = usize::from(SIZE);
    let mut kept: Vec<Taken> = Vec::new();
    let mut number = 0_u64;
    // Both sleep from the start.
    assert!(!device.want_kicks());
    queue.set_used_notif_enabled(true);
    for round in rounds {
        let mut offered = Vec::new();
        for (read, write) in &round.chains {
            // Where there is no room virtio-driver 0.6.1 takes back a half of what it has written.
            let entries = read.len() + write.len();
            if entries > free {
                continue;
            }
            free -= entries;
            number += 1;
            let mut at = number as usize % 64 * 256;
            let added = queue.add_request(|request, add| {
                *request = number;
                for (lengths, from_device) in [(read, false), (write, true)] {
                    for length in lengths {
                        let part = data.piece(at, usize::from(*length)).unwrap();
                        part.slice().fill(number as u8);
                        let iov_base = part.slice().as_ptr().cast();
                        add(iovec { iov_base, iov_len: usize::from(*length) }, from_device)?;
                        at += usize::from(*length);
                    }
                }
                Ok(())
            });
            let name = added.unwrap();
            let all = write.iter().copied().map(u32::from).sum();
            assert_eq!(out.insert(name, (number, entries, all)), None, "the name is taken");
            offered.push((name, number as u8, read, write));
        }
        // Without the event index it says so also when there is nothing to tell.
        assert!(queue.avail_notif_needed() || offered.is_empty(), "the device sleeps");

        let mut chain = Chain::new();
        for (name, content, read, write) in &offered {
            let taken = device.take(&&regions, &mut chain).unwrap().expect("it was offered");
            assert_eq!(taken.id(), *name);
            let own = |slices: &[virtio::memory::Slice<'_>]| {
                slices.iter().map(|it| it.len() as u8).collect::<Vec<_>>()
            };
            assert_eq!((&own(chain.readable()), &own(chain.writable())), (*read, *write));
            let mut bytes = vec![0; chain.readable_bytes() as usize];
            chain.reader().read(&mut bytes);
            assert!(bytes.iter().all(|byte| byte == content));
            kept.push(taken);
        }
        assert_eq!(device.take(&&regions, &mut chain).unwrap().map(|taken| taken.id()), None);
        assert!(!device.want_kicks());

        let mut given = Vec::new();
        for index in round.order.iter().take(round.used.min(kept.len())) {
            let taken = kept.swap_remove(index.index(kept.len()));
            given.push(taken.id());
            // They insist on every byte in packed rings.
            let (_, _, all) = out[&taken.id()];
            device.put(taken, all);
        }
        device.publish();
        assert_eq!(device.must_call(), !given.is_empty(), "the driver sleeps");
        queue.set_used_notif_enabled(false);
        let came: Vec<_> = queue.completions().map(|done| (done.id, done.req)).collect();
        queue.set_used_notif_enabled(true);
        let mut back = |name: &u16| {
            let (number, entries, _) = out.remove(name).unwrap();
            free += entries;
            (*name, number)
        };
        let expected: Vec<_> = given.iter().map(&mut back).collect();
        assert_eq!(came, expected);
    }
}

#[test]
fn what_a_foreign_driver_offers_comes_back_to_it() {
    let connection = Connection::new();
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let cases = (rounds(), any::<bool>(), any::<bool>());
    runner
        .run(&cases, |(rounds, is_packed, event_index)| {
            run(&connection, &rounds, is_packed, event_index);
            Ok(())
        })
        .unwrap();
    let Connection { transport, served } = connection;
    drop(transport);
    served.join().unwrap();
}

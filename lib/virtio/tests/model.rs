//! Both sides of a ring in every order that the memory model allows, found by loom: nothing is read before it is written, and nobody
//! sleeps through what was published; and a dirty log beside what is written. The same with one barrier taken away shows that the model would see it.
//!
//! Built only with `RUSTFLAGS="--cfg loom"`.
#![cfg(all(test, loom))]

use loom::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::cell::Cell;
use virtio::cells::{Descriptor, Packed, PackedCells, SplitCells, Suppression};
use virtio::memory::{Access, Slice, Translate};
use virtio::ring::{Device, Driver};
use virtio::{Chain, Fault, Options, Segment, packed, split};

/// What is left out of a model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The full barrier between publishing and looking whether to notify.
    Fence,
    /// The order between what is published and the index, or flags, that publish it.
    Release,
}

const SIZE: u16 = 2;

#[derive(Clone)]
struct Split {
    cells: Arc<SplitInner>,
    without: Without,
}

struct SplitInner {
    descriptors: [[AtomicU64; 2]; SIZE as usize],
    avail: [AtomicU16; SIZE as usize],
    used: [AtomicU64; SIZE as usize],
    avail_flags: AtomicU16,
    avail_index: AtomicU16,
    used_event: AtomicU16,
    used_flags: AtomicU16,
    used_index: AtomicU16,
    avail_event: AtomicU16,
}

fn release(without: Without) -> Ordering {
    if without == Without::Release { Ordering::Relaxed } else { Ordering::Release }
}

fn barrier(without: Without) {
    if without != Without::Fence {
        fence(Ordering::SeqCst);
    }
}

impl Split {
    fn new(without: Without) -> Self {
        let cells = SplitInner {
            descriptors: [0, 1].map(|_| [0, 1].map(|_| AtomicU64::new(0))),
            avail: [0, 1].map(|_| AtomicU16::new(0)),
            used: [0, 1].map(|_| AtomicU64::new(0)),
            avail_flags: AtomicU16::new(0),
            avail_index: AtomicU16::new(0),
            used_event: AtomicU16::new(0),
            used_flags: AtomicU16::new(0),
            used_index: AtomicU16::new(0),
            avail_event: AtomicU16::new(0),
        };
        Self { cells: Arc::new(cells), without }
    }
}

macro_rules! plain {
    ($($read:ident, $write:ident => $cell:ident;)*) => {$(
        fn $read(&self) -> u16 {
            self.cells.$cell.load(Ordering::Relaxed)
        }
        fn $write(&self, value: u16) {
            self.cells.$cell.store(value, Ordering::Relaxed);
        }
    )*};
}

impl SplitCells for Split {
    plain! {
        avail_flags, set_avail_flags => avail_flags;
        used_event, set_used_event => used_event;
        used_flags, set_used_flags => used_flags;
        avail_event, set_avail_event => avail_event;
    }
    fn size(&self) -> u16 {
        SIZE
    }
    fn descriptor(&self, index: u16) -> Descriptor {
        let [address, rest] = &self.cells.descriptors[usize::from(index)];
        let (address, rest) = (address.load(Ordering::Relaxed), rest.load(Ordering::Relaxed));
        Descriptor { address, length: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 }
    }
    fn set_descriptor(&self, index: u16, it: Descriptor) {
        let [address, rest] = &self.cells.descriptors[usize::from(index)];
        address.store(it.address, Ordering::Relaxed);
        let bits = u64::from(it.length) | u64::from(it.flags) << 32 | u64::from(it.next) << 48;
        rest.store(bits, Ordering::Relaxed);
    }
    fn avail_index(&self) -> u16 {
        self.cells.avail_index.load(Ordering::Acquire)
    }
    fn set_avail_index(&self, index: u16) {
        self.cells.avail_index.store(index, release(self.without));
    }
    fn avail_entry(&self, slot: u16) -> u16 {
        self.cells.avail[usize::from(slot)].load(Ordering::Relaxed)
    }
    fn set_avail_entry(&self, slot: u16, head: u16) {
        self.cells.avail[usize::from(slot)].store(head, Ordering::Relaxed);
    }
    fn used_index(&self) -> u16 {
        self.cells.used_index.load(Ordering::Acquire)
    }
    fn set_used_index(&self, index: u16) {
        self.cells.used_index.store(index, release(self.without));
    }
    fn used_entry(&self, slot: u16) -> (u32, u32) {
        let bits = self.cells.used[usize::from(slot)].load(Ordering::Relaxed);
        (bits as u32, (bits >> 32) as u32)
    }
    fn set_used_entry(&self, slot: u16, head: u32, written: u32) {
        let bits = u64::from(head) | u64::from(written) << 32;
        self.cells.used[usize::from(slot)].store(bits, Ordering::Relaxed);
    }
    fn fence(&self) {
        barrier(self.without);
    }
}

#[derive(Clone)]
struct PackedModel {
    cells: Arc<PackedInner>,
    without: Without,
}

struct PackedInner {
    descriptors: [[AtomicU64; 2]; SIZE as usize],
    driver: AtomicU32,
    device: AtomicU32,
}

impl PackedModel {
    fn new(without: Without) -> Self {
        let descriptors = [0, 1].map(|_| [0, 1].map(|_| AtomicU64::new(0)));
        let cells = PackedInner { descriptors, driver: AtomicU32::new(0), device: AtomicU32::new(0) };
        Self { cells: Arc::new(cells), without }
    }
}

fn event(cell: &AtomicU32) -> Suppression {
    let bits = cell.load(Ordering::Relaxed);
    Suppression { place: bits as u16, flags: (bits >> 16) as u16 }
}

fn set_event(cell: &AtomicU32, event: Suppression) {
    cell.store(u32::from(event.place) | u32::from(event.flags) << 16, Ordering::Relaxed);
}

impl PackedCells for PackedModel {
    fn size(&self) -> u16 {
        SIZE
    }
    fn state(&self, place: u16) -> Packed {
        let bits = self.cells.descriptors[usize::from(place)][1].load(Ordering::Acquire);
        Packed { length: bits as u32, id: (bits >> 32) as u16, flags: (bits >> 48) as u16 }
    }
    fn set_state(&self, place: u16, it: Packed) {
        let bits = u64::from(it.length) | u64::from(it.id) << 32 | u64::from(it.flags) << 48;
        self.cells.descriptors[usize::from(place)][1].store(bits, release(self.without));
    }
    fn address(&self, place: u16) -> u64 {
        self.cells.descriptors[usize::from(place)][0].load(Ordering::Relaxed)
    }
    fn set_address(&self, place: u16, address: u64) {
        self.cells.descriptors[usize::from(place)][0].store(address, Ordering::Relaxed);
    }
    fn driver_event(&self) -> Suppression {
        event(&self.cells.driver)
    }
    fn set_driver_event(&self, it: Suppression) {
        set_event(&self.cells.driver, it);
    }
    fn device_event(&self) -> Suppression {
        event(&self.cells.device)
    }
    fn set_device_event(&self, it: Suppression) {
        set_event(&self.cells.device, it);
    }
    fn fence(&self) {
        barrier(self.without);
    }
}

/// What an eventfd is to a ring.
#[derive(Default)]
struct Notification {
    count: Mutex<u32>,
    changed: Condvar,
}

impl Notification {
    fn notify(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_one();
    }
    fn wait(&self) {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.changed.wait(count).unwrap();
        }
        *count = 0;
    }
}

/// Memory of which only the addresses count.
struct Seen(Cell<u64>);

impl<'m> Translate<'m> for Seen {
    fn translate(&self, address: u64, _: u32, _: Access, _: &mut dyn FnMut(Slice<'m>)) -> Result<(), Fault> {
        self.0.set(address);
        Ok(())
    }
}

/// Address and length of the request of this number, none of them zero.
fn request(number: u64) -> Segment {
    Segment { address: 0x1000 + number, length: 7 + number as u32 }
}

type AnyDriver = Driver<Split, PackedModel>;
type AnyDevice = Device<Split, PackedModel>;

fn drive(mut driver: AnyDriver, kick: &Notification, call: &Notification, requests: u64) {
    let mut tokens = Vec::new();
    let mut done = 0;
    for number in 0..requests {
        tokens.push(driver.add(&[], &[request(number)]).unwrap());
        driver.publish();
        if driver.must_kick() {
            kick.notify();
        }
    }
    while done < requests {
        match driver.reap().unwrap() {
            Some(one) => {
                let segment = request(done);
                assert_eq!((one.token, one.written), (tokens[done as usize], segment.length));
                done += 1;
            }
            None if driver.want_calls(1) => {}
            None => call.wait(),
        }
    }
}

fn serve(mut device: AnyDevice, kick: &Notification, call: &Notification, requests: u64) {
    let seen = Seen(Cell::new(0));
    let mut chain = Chain::new();
    let mut done = 0;
    while done < requests {
        match device.take(&seen, &mut chain).unwrap() {
            Some(taken) => {
                let segment = request(done);
                assert_eq!((seen.0.get(), chain.writable_bytes()), (segment.address, segment.length));
                device.put(taken, segment.length);
                device.publish();
                if device.must_call() {
                    call.notify();
                }
                done += 1;
            }
            None if device.want_kicks() => {}
            None => kick.wait(),
        }
    }
}

fn ring(packed: bool, options: Options, without: Without) -> (AnyDriver, AnyDevice) {
    if packed {
        let cells = PackedModel::new(without);
        let driver = packed::Driver::new(cells.clone(), options);
        (AnyDriver::Packed(driver), AnyDevice::Packed(packed::Device::new(cells, options)))
    } else {
        let cells = Split::new(without);
        let driver = split::Driver::new(cells.clone(), options);
        (AnyDriver::Split(driver), AnyDevice::Split(split::Device::new(cells, options)))
    }
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(run);
}

/// Requests go through, and whoever has nothing to do sleeps until it is notified: who is forgotten sleeps for ever.
fn traffic(packed: bool, event_index: bool, without: Without) {
    const REQUESTS: u64 = 2;
    model(move || {
        let (driver, device) = ring(packed, Options { event_index, ..Options::default() }, without);
        let notifications = Arc::new((Notification::default(), Notification::default()));
        let other = Arc::clone(&notifications);
        let thread = thread::spawn(move || serve(device, &other.0, &other.1, REQUESTS));
        drive(driver, &notifications.0, &notifications.1, REQUESTS);
        thread.join().unwrap();
    });
}

/// One side publishes while the other is about to sleep: it sees what was published, or is notified.
fn nobody_is_forgotten(packed: bool, event_index: bool, without: Without) {
    model(move || {
        let (mut driver, mut device) = ring(packed, Options { event_index, ..Options::default() }, without);
        let mut chain = Chain::new();
        // Both ask to be told of the first request, and get it: what they ask for after that is new.
        device.want_kicks();
        driver.want_calls(1);
        driver.add(&[], &[request(0)]).unwrap();
        driver.publish();
        driver.must_kick();
        let taken = device.take(&Seen(Cell::new(0)), &mut chain).unwrap().unwrap();
        device.put(taken, 1);
        device.publish();
        device.must_call();
        driver.reap().unwrap().unwrap();

        let thread = thread::spawn(move || {
            let mut chain = Chain::new();
            let mut take = || device.take(&Seen(Cell::new(0)), &mut chain).unwrap().is_some();
            let saw = take();
            let saw = saw || device.want_kicks();
            (device, saw)
        });
        driver.add(&[], &[request(1)]).unwrap();
        driver.publish();
        let kicked = driver.must_kick();
        let (mut device, saw) = thread.join().unwrap();
        assert!(saw || kicked, "the device sleeps, and nobody kicks it");

        let mut chain = Chain::new();
        let seen = Seen(Cell::new(0));
        let Some(taken) = device.take(&seen, &mut chain).unwrap() else { return };
        let thread = thread::spawn(move || {
            let saw = driver.reap().unwrap().is_some() || driver.want_calls(1);
            (driver, saw)
        });
        device.put(taken, 1);
        device.publish();
        let called = device.must_call();
        let (_driver, saw) = thread.join().unwrap();
        assert!(saw || called, "the driver sleeps, and nobody calls it");
    });
}

/// A page of the driver's memory and its bit in the dirty log, as a device writes them (`Slice::set_bits`) and a migration takes them.
fn pages_are_copied(without: Without) {
    const WRITES: u64 = 2;
    model(move || {
        let page = Arc::new((AtomicU64::new(0), AtomicU8::new(0)));
        let device = Arc::clone(&page);
        let thread = thread::spawn(move || {
            let (data, bit) = &*device;
            for content in 1..=WRITES {
                data.store(content, Ordering::Relaxed);
                bit.fetch_or(1, release(without));
            }
        });
        let (data, bit) = &*page;
        let mut copied = 0;
        let mut copy = || {
            // Who takes the bit copies what was written before it was set. What is written while it is copied sets it again.
            if bit.swap(0, Ordering::Acquire) & 1 != 0 {
                copied = data.load(Ordering::Relaxed);
            }
        };
        copy();
        copy();
        // The device has stopped: what is in the log now is the last of it.
        thread.join().unwrap();
        copy();
        assert_eq!(copied, WRITES, "the destination never sees what was written");
    });
}

#[test]
fn what_is_written_is_copied_by_whoever_sees_its_bit() {
    pages_are_copied(Without::Nothing);
}

#[test]
#[should_panic(expected = "the destination never sees")]
fn what_is_written_is_lost_where_its_bit_may_be_seen_before() {
    pages_are_copied(Without::Release);
}

#[test]
fn requests_go_through_a_split_ring() {
    traffic(false, false, Without::Nothing);
    traffic(false, true, Without::Nothing);
}

#[test]
fn requests_go_through_a_packed_ring() {
    traffic(true, false, Without::Nothing);
    traffic(true, true, Without::Nothing);
}

#[test]
fn nobody_is_forgotten_at_a_split_ring() {
    nobody_is_forgotten(false, true, Without::Nothing);
}

#[test]
fn nobody_is_forgotten_at_a_packed_ring() {
    nobody_is_forgotten(true, true, Without::Nothing);
}

#[test]
#[should_panic(expected = "sleeps, and nobody")]
fn somebody_is_forgotten_at_a_split_ring_without_its_fence() {
    nobody_is_forgotten(false, true, Without::Fence);
}

#[test]
#[should_panic(expected = "sleeps, and nobody")]
fn somebody_is_forgotten_at_a_packed_ring_without_its_fence() {
    nobody_is_forgotten(true, true, Without::Fence);
}

#[test]
#[should_panic]
fn a_split_ring_that_publishes_without_order_is_misread() {
    traffic(false, false, Without::Release);
}

#[test]
#[should_panic]
fn a_packed_ring_that_publishes_without_order_is_misread() {
    traffic(true, false, Without::Release);
}

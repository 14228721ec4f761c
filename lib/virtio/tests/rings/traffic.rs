//! Ordinary traffic, at random.

use crate::pair::{AnyDevice, DATA, Kind, Pair, pair};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use virtio::{AddError, Chain, Options, Segment, Taken, Token};

/// Bytes of the data area that belong to a token.
const STRIDE: usize = 96;

#[derive(Clone, Debug)]
enum Step {
    /// A chain of segments of these lengths.
    Add {
        readable: Vec<u8>,
        writable: Vec<u8>,
    },
    Publish,
    /// The device takes up to so many chains.
    Take(u8),
    /// It gives back the one at this place among those it has (the oldest, in order).
    Put(u8),
    /// It lets the driver see them.
    Return,
    /// The driver reaps up to so many.
    Reap(u8),
    /// A side that finds nothing waits to be notified.
    DeviceSleeps,
    DriverSleeps(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lengths = |most| prop::collection::vec(0..16_u8, 0..=most);
    let step = prop_oneof![
        4 => (lengths(3), lengths(3)).prop_map(|(readable, writable)| Step::Add { readable, writable }),
        2 => Just(Step::Publish),
        2 => (1..5_u8).prop_map(Step::Take),
        3 => any::<u8>().prop_map(Step::Put),
        2 => Just(Step::Return),
        2 => (1..5_u8).prop_map(Step::Reap),
        1 => Just(Step::DeviceSleeps),
        1 => (1..3_u8).prop_map(Step::DriverSleeps),
    ];
    prop::collection::vec(step, 1..400)
}

/// What the test knows of a chain.
struct Offered {
    token: Token,
    read: Vec<u8>,
    writable: usize,
    /// What the device wrote of it, once it did.
    wrote: Vec<u8>,
}

struct Bench {
    pair: Pair,
    in_order: bool,
    count: u8,
    added: VecDeque<Offered>,
    published: VecDeque<Offered>,
    with_device: Vec<(Taken, Offered)>,
    put: VecDeque<Offered>,
    returned: VecDeque<Offered>,
    device_sleeps: bool,
    driver_sleeps: Option<u16>,
    names: BTreeMap<u16, ()>,
}

impl Bench {
    fn new(kind: Kind, size: u16, options: Options, indirect: bool) -> Self {
        Self {
            pair: pair(kind, size, options, indirect, usize::from(size) * STRIDE + STRIDE),
            in_order: options.in_order,
            count: 0,
            added: VecDeque::new(),
            published: VecDeque::new(),
            with_device: Vec::new(),
            put: VecDeque::new(),
            returned: VecDeque::new(),
            device_sleeps: false,
            driver_sleeps: None,
            names: BTreeMap::new(),
        }
    }

    fn add(&mut self, readable: &[u8], writable: &[u8]) {
        // The data of a chain begins where its token will tell: unknown before, so at a place of its own by turns.
        let slots = self.pair.data.len() / STRIDE;
        let taken: Vec<_> = self.all().map(|it| it.writable).collect();
        if taken.len() + 1 >= slots {
            return;
        }
        self.count = self.count.wrapping_add(1);
        let used: Vec<usize> = self.names_in_use();
        let slot = (0..slots).find(|slot| !used.contains(slot)).unwrap();
        let mut at = DATA + (slot * STRIDE) as u64;
        let mut segments = |lengths: &[u8]| -> Vec<Segment> {
            let place = |length: &u8| {
                let segment = Segment { address: at, length: u32::from(*length) };
                at += u64::from(*length);
                segment
            };
            lengths.iter().map(place).collect()
        };
        let (to_read, to_write) = (segments(readable), segments(writable));
        let bytes = readable.iter().map(|length| usize::from(*length)).sum();
        let read: Vec<u8> = (0..bytes).map(|i| self.count.wrapping_mul(31).wrapping_add(i as u8)).collect();
        self.pair.data.piece(slot * STRIDE, bytes).unwrap().slice().write(&read);
        let before = (self.pair.driver.free(), self.pair.driver.in_flight());
        match self.pair.driver.add(&to_read, &to_write) {
            Ok(token) => {
                assert!(self.names.insert(token.0, ()).is_none(), "{token:?} is in use");
                let writable = writable.iter().map(|length| usize::from(*length)).sum();
                self.added.push_back(Offered { token, read, writable, wrote: vec![slot as u8] });
            }
            Err(error) => {
                let segments = readable.len() + writable.len();
                match error {
                    AddError::Empty => assert_eq!(segments, 0),
                    AddError::Long { .. } => assert!(segments > usize::from(self.pair.driver.size())),
                    AddError::Full(_) => assert!(usize::from(before.0) < segments),
                    other => panic!("{other}"),
                }
                assert_eq!(before, (self.pair.driver.free(), self.pair.driver.in_flight()));
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Offered> {
        let device = self.with_device.iter().map(|(_, it)| it);
        let queues = [&self.added, &self.published, &self.put, &self.returned];
        device.chain(queues.into_iter().flatten())
    }

    /// The slots of the data area; each chain remembers its own as the first byte of what it wrote.
    fn names_in_use(&self) -> Vec<usize> {
        self.all().map(|it| usize::from(it.wrote[0])).collect()
    }

    fn publish(&mut self) {
        self.pair.driver.publish();
        self.published.append(&mut self.added);
        if self.pair.driver.must_kick() {
            self.device_sleeps = false;
        }
    }

    fn take(&mut self, most: u8) {
        let mut chain = Chain::new();
        for _ in 0..most {
            let is_there = self.pair.device.has_chains();
            let taken = self.pair.device.take(&&self.pair.regions, &mut chain).unwrap();
            assert_eq!(taken.is_some(), is_there);
            let Some(taken) = taken else {
                assert!(self.published.is_empty(), "what was published is there");
                return;
            };
            let mut it = self.published.pop_front().expect("nothing arrives that was not published");
            let mut read = vec![0; it.read.len() + 1];
            assert_eq!(chain.reader().read(&mut read), it.read.len());
            read.pop();
            assert_eq!(read, it.read);
            assert_eq!(chain.writable_bytes() as usize, it.writable);
            // In order, a used chain counts as wholly written where its entry was left out.
            let wrote: Vec<u8> = (0..it.writable).map(|i| self.count ^ (i as u8) ^ 0x5a).collect();
            assert_eq!(chain.writer().write(&wrote), it.writable);
            it.wrote.extend(wrote);
            self.with_device.push((taken, it));
        }
    }

    fn put(&mut self, which: u8) {
        if self.with_device.is_empty() {
            return;
        }
        let at = if self.in_order { 0 } else { usize::from(which) % self.with_device.len() };
        let (taken, it) = self.with_device.remove(at);
        self.pair.device.put(taken, it.writable as u32);
        self.put.push_back(it);
    }

    fn give_back(&mut self) {
        self.pair.device.publish();
        self.returned.append(&mut self.put);
        if self.pair.device.must_call() {
            self.driver_sleeps = None;
        }
    }

    fn reap(&mut self, most: u8) {
        for _ in 0..most {
            let is_there = self.pair.driver.has_used(1);
            let done = self.pair.driver.reap().unwrap();
            assert_eq!(done.is_some(), is_there);
            let Some(done) = done else {
                assert!(self.returned.is_empty(), "what was given back is there");
                return;
            };
            let it = self.returned.pop_front().expect("nothing comes back that was not given back");
            assert_eq!(done.token, it.token);
            assert!(!done.overlong);
            assert_eq!(done.written as usize, it.writable);
            let slot = usize::from(it.wrote[0]);
            let mut wrote = vec![0; it.writable];
            self.pair
                .data
                .piece(slot * STRIDE + it.read.len(), it.writable)
                .unwrap()
                .slice()
                .read(&mut wrote);
            assert_eq!(wrote, it.wrote[1..]);
            self.names.remove(&it.token.0);
        }
    }

    /// Where what is used shows by places: chains that are longer than others count for more.
    const fn is_packed(&self) -> bool {
        matches!(self.pair.device, AnyDevice::Packed(_))
    }

    /// Nobody sleeps while there is something to do that was not told.
    fn nobody_is_forgotten(&self) {
        assert!(!self.device_sleeps || self.published.is_empty(), "the device was not kicked");
        if let Some(enough) = self.driver_sleeps {
            assert!(self.returned.len() < usize::from(enough), "the driver was not called");
        }
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Add { readable, writable } => {
                    // Whoever waits for several in a packed ring asks anew when there are others.
                    let is_packed = self.is_packed();
                    self.driver_sleeps = self.driver_sleeps.filter(|more| !is_packed || *more <= 1);
                    self.add(readable, writable);
                }
                Step::Publish => self.publish(),
                Step::Take(most) if !self.device_sleeps => self.take(*most),
                Step::Put(which) => self.put(*which),
                Step::Return => self.give_back(),
                Step::Reap(most) if self.driver_sleeps.is_none() => self.reap(*most),
                Step::DeviceSleeps => self.device_sleeps = !self.pair.device.want_kicks(),
                Step::DriverSleeps(more) => {
                    let more = u16::from(*more);
                    let seen = self.pair.driver.has_used(more);
                    assert!(!seen || self.returned.len() >= usize::from(more) || self.is_packed());
                    self.driver_sleeps = (!self.pair.driver.want_calls(more)).then_some(more);
                }
                Step::Take(_) | Step::Reap(_) => {}
            }
            self.nobody_is_forgotten();
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.publish();
        self.device_sleeps = false;
        self.take(u8::MAX);
        while !self.with_device.is_empty() {
            self.put(0);
        }
        self.give_back();
        let left: Vec<_> = self.returned.iter().map(|it| it.token).collect();
        let mut outstanding = self.pair.driver.outstanding();
        if self.in_order {
            assert_eq!(outstanding, left);
        }
        outstanding.sort();
        let mut sorted = left;
        sorted.sort();
        assert_eq!(outstanding, sorted);
        self.reap(u8::MAX);
        assert!(self.all().next().is_none());
        assert_eq!(self.pair.driver.free(), self.pair.driver.size());
        assert_eq!(self.pair.driver.in_flight(), 0);
    }
}

fn options() -> impl Strategy<Value = (Options, bool)> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(event_index, in_order, tables)| {
        (Options { event_index, indirect: tables, in_order }, tables)
    })
}

proptest! {
    #[test]
    fn what_is_offered_arrives_once_and_comes_back_once_split(
        power in 0..7_u32, (options, tables) in options(), steps in steps(),
    ) {
        Bench::new(Kind::Split, 1 << power, options, tables).run(&steps);
    }

    #[test]
    fn what_is_offered_arrives_once_and_comes_back_once_packed(
        size in 1..70_u16, (options, tables) in options(), steps in steps(),
    ) {
        Bench::new(Kind::Packed, size, options, tables).run(&steps);
    }
}

/// Indices count modulo 2^16 and places modulo the size: several times round both.
#[test]
fn a_ring_goes_round_for_ever() {
    for (kind, size) in [(Kind::Split, 8), (Kind::Packed, 7)] {
        for event_index in [false, true] {
            let mut bench = Bench::new(kind, size, Options { event_index, ..Options::default() }, false);
            for round in 0..70_000_u32 {
                bench.device_sleeps = !bench.pair.device.want_kicks();
                bench.driver_sleeps = (!bench.pair.driver.want_calls(1)).then_some(1);
                bench.add(&[3, 1], if round % 3 == 0 { &[2] } else { &[] });
                bench.publish();
                bench.nobody_is_forgotten();
                bench.take(1);
                bench.put(0);
                bench.give_back();
                bench.nobody_is_forgotten();
                bench.reap(1);
            }
            bench.finish();
        }
    }
}

/// Who has asked for no notification gets few: one of 1,000 at most.
#[test]
fn who_polls_is_not_notified() {
    for kind in [Kind::Split, Kind::Packed] {
        for event_index in [false, true] {
            let mut bench = Bench::new(kind, 8, Options { event_index, ..Options::default() }, false);
            bench.pair.device.want_no_kicks();
            bench.pair.driver.want_no_calls();
            let mut notified = 0;
            for _ in 0..2_000 {
                bench.add(&[1], &[1]);
                bench.pair.driver.publish();
                bench.published.append(&mut bench.added);
                notified += u32::from(bench.pair.driver.must_kick());
                bench.take(1);
                bench.put(0);
                bench.pair.device.publish();
                bench.returned.append(&mut bench.put);
                notified += u32::from(bench.pair.device.must_call());
                bench.reap(1);
            }
            assert!(notified <= 4, "{kind:?}, event index {event_index}: {notified} notifications");
        }
    }
}

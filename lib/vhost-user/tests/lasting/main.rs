//! A device that outlives its back-ends: they are killed at any moment, and the driver goes on all the time.
//!
//! What is executed and what has come back is written to one file by both processes, in the order in which it happened: a request that is
//! executed after it came back was doubled, one that does not come back is lost.
#![cfg(test)]

use rustix::event::{EventfdFlags, eventfd};
use seeded::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{Deferred, Device, Guest, serve};
use vhost_user::frontend::{CallError, Lasting, Queue, Wanted};
use vhost_user::memory::Memory;
use vhost_user::socket::Canceller;
use virtio::features::Features;
use virtio::memory::Shared;
use virtio::{Chain, Segment};

const TIMEOUT: Duration = Duration::from_secs(60);
const SIZE: u16 = 64;
const DEPTH: usize = 20;
const SERVES: &str = "VHOST_USER_TEST_SERVES";

/// A back-end that is told so ends by itself, when it has executed [`HALF`] of what it has in hand and given none of it back.
const ENDS: &str = "VHOST_USER_TEST_ENDS";
const HALF: usize = 4;

/// Queues, each with a driver of its own.
const QUEUES: u16 = 2;

/// Writes down the number that each request carries, and gives it back: of several that it has at once, in any order, some of them together, and
/// some in a later turn, beside those of another queue.
struct Clerk {
    log: File,
    random: Random,
    later: Vec<Deferred>,
    ends: bool,
    /// Rung where there is something for later.
    bell: OwnedFd,
}

impl Clerk {
    fn new(log: File, random: Random, ends: bool) -> Self {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        Self { log, random, later: Vec::new(), ends, bell }
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.random.below(at as u64 + 1) as usize);
        }
    }

    /// Does what a chain asks for, and gives the bytes that it wrote.
    fn does(&self, chain: &Chain<'_>) -> u32 {
        let mut number = [0; 8];
        chain.reader().read(&mut number);
        wrote(&self.log, b'x', u64::from_le_bytes(number));
        chain.writer().write(&number) as u32
    }

    /// Ends in the middle of what the driver has asked for at once, out of its order.
    fn half(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let mut all: Vec<_> = std::iter::from_fn(|| guest.take(queue)).collect();
        if all.len() > HALF {
            self.shuffle(&mut all);
            for held in &all[..HALF] {
                self.does(held.chain());
            }
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        self.later.extend(all.into_iter().map(|held| guest.defer(queue, held)));
    }

    fn ring(&self) {
        if !self.later.is_empty() {
            rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).unwrap();
        }
    }
}

impl Device for Clerk {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        QUEUES
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        if self.ends {
            self.half(queue, guest);
        }
        loop {
            let mut all = Vec::new();
            for _ in 0..=self.random.below(16) {
                all.extend(guest.take(queue));
            }
            if all.is_empty() {
                return self.ring();
            }
            self.shuffle(&mut all);
            let now = self.random.below(all.len() as u64 + 1) as usize;
            self.later.extend(all.split_off(now).into_iter().map(|held| guest.defer(queue, held)));
            while !all.is_empty() {
                let together = 1 + self.random.below(all.len() as u64) as usize;
                let done = all.drain(..together).map(|held| {
                    let written = self.does(held.chain());
                    (held, written)
                });
                // All of them are done before the driver hears of any.
                let done: Vec<_> = done.collect();
                guest.put_together(queue, done);
            }
        }
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.bell.as_fd()]
    }
    fn ready(&mut self, _: usize, guest: &mut Guest<'_>) {
        rustix::io::read(&self.bell, &mut [0; 8]).unwrap();
        let mut later = std::mem::take(&mut self.later);
        self.shuffle(&mut later);
        let now = 1 + self.random.below(later.len() as u64) as usize;
        self.later = later.split_off(now);
        for deferred in later {
            let written = self.does(&deferred.chain());
            guest.finish(deferred, written);
        }
        self.ring();
    }
    fn reset(&mut self) {
        self.later.clear();
    }
}

/// One entry at the end of the file, whole or not at all: none goes beyond its page, where a process that is killed may stop writing.
const ENTRY: usize = 16;

fn wrote(mut file: &File, what: u8, number: u64) {
    let mut entry = [what; ENTRY];
    entry[8..].copy_from_slice(&number.to_le_bytes());
    file.write_all(&entry).unwrap();
}

fn appended(path: &Path) -> File {
    File::options().append(true).create(true).open(path).unwrap()
}

/// Not a test of its own: the back-end, in a process that can be killed.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test tells its own child where to serve")]
fn back_end() {
    let Some(directory) = std::env::var_os(SERVES).map(PathBuf::from) else { return };
    let ends = std::env::var_os(ENDS).is_some();
    let listener = UnixListener::bind(directory.join("socket")).unwrap();
    loop {
        let (stream, _) = listener.accept().unwrap();
        let random = Random::new(std::process::id().into());
        let mut device = Clerk::new(appended(&directory.join("log")), random, ends);
        let _ = serve(&mut device, stream, &Canceller::new().unwrap());
    }
}

fn started(directory: &Path) -> Child {
    back_end_with(directory, &[])
}

fn back_end_with(directory: &Path, environment: &[(&str, &str)]) -> Child {
    let _ = std::fs::remove_file(directory.join("socket"));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "back_end"])
        .envs(environment.iter().copied())
        .env(SERVES, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn killed(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The driver: as many requests under way as there can be, all the time.
struct Driver {
    queue: Queue,
    slots: Vec<Shared>,
    /// By token, the slot and the number that it carries.
    out: Vec<Option<(usize, u64)>>,
    free: Vec<usize>,
    /// The next number; every driver counts on by as many as there are.
    next: u64,
    log: File,
    sleeps: Random,
}

impl Driver {
    fn fill(&mut self) {
        while let Some(slot) = self.free.pop() {
            let part = &self.slots[slot];
            part.slice().write(&[self.next.to_le_bytes(), [0; 8]].concat());
            let segment = |at| [Segment { address: part.host_address() + at, length: 8 }];
            let token = self.queue.ring.add(&segment(0), &segment(8)).unwrap();
            let before = self.out[usize::from(token.0)].replace((slot, self.next));
            assert_eq!(before, None, "two requests have one name");
            self.next += u64::from(QUEUES);
        }
        self.queue.submit().unwrap();
    }

    /// What has come back, each once and with its own number.
    fn reap(&mut self) -> usize {
        let mut count = 0;
        while let Some(done) = self.queue.ring.reap().unwrap() {
            let taken = self.out[usize::from(done.token.0)].take();
            let (slot, number) = taken.expect("a request came back twice");
            assert_eq!(done.written, 8);
            let mut answer = [0; 8];
            self.slots[slot].piece(8, 8).unwrap().slice().read(&mut answer);
            assert_eq!(u64::from_le_bytes(answer), number, "another one's answer");
            wrote(&self.log, b'd', number);
            self.free.push(slot);
            count += 1;
        }
        count
    }

    fn run(&mut self, ends: &AtomicBool) {
        while !ends.load(Ordering::Relaxed) {
            self.fill();
            if self.reap() == 0 {
                // Sometimes asleep, sometimes not, when the back-end dies.
                self.queue.wait(Duration::from_micros(self.sleeps.below(3_000))).unwrap();
            }
        }
        while self.out.iter().any(Option::is_some) {
            if self.reap() == 0 {
                assert!(self.queue.wait(TIMEOUT).unwrap(), "a request is lost");
            }
        }
    }
}

/// Every request was executed, all of them came back, and none was executed after that. Gives how many were executed again, and the most of
/// them after one kill.
fn verified(log: &Path, requests: u64) -> (u64, u64) {
    let log = std::fs::read(log).unwrap();
    let (mut executed, mut done, mut again) = (BTreeMap::new(), BTreeSet::new(), 0);
    let (mut before, mut most) = (0, 0);
    for entry in log.chunks_exact(ENTRY) {
        let number = u64::from_le_bytes(entry[8..].try_into().unwrap());
        if entry[0] == b'k' {
            most = most.max(again - before);
            before = again;
        } else if entry[0] == b'x' {
            assert!(!done.contains(&number), "request {number} was executed again after it had come back");
            let times = executed.entry(number).or_insert(0_u64);
            *times += 1;
            again += u64::from(*times > 1);
        } else {
            assert!(executed.contains_key(&number), "request {number} came back and was not executed");
            assert!(done.insert(number), "request {number} came back twice");
        }
    }
    assert_eq!(done.len() as u64, requests);
    (again, most.max(again - before))
}

#[expect(clippy::disallowed_methods, reason = "gaps are measured, and shown")]
fn survives(features: Features, kills: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let mut child = back_end_with(&path, &[(ENDS, "")]);
    let wanted = Wanted {
        features,
        required: Features::VERSION_1 | features,
        protocol: ProtocolFeatures::MQ | ProtocolFeatures::CONFIGURE_MEM_SLOTS,
    };
    let canceller = Canceller::new().unwrap();
    let socket = path.join("socket");
    let connect = move || UnixStream::connect(&socket);
    let mut lasting = Lasting::new(connect, wanted, TIMEOUT, (QUEUES, SIZE), canceller.clone()).unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    lasting.add_memory(&memory).unwrap();
    let mut drivers: Vec<_> = (0..QUEUES)
        .map(|index| Driver {
            queue: lasting.start_queue(index.into(), SIZE, &mut memory).unwrap(),
            slots: (0..DEPTH).map(|_| memory.part(16, 16).unwrap()).collect(),
            out: vec![None; SIZE.into()],
            free: (0..DEPTH).collect(),
            next: index.into(),
            log: appended(&path.join("log")),
            sleeps: Random::new(7 + u64::from(index)),
        })
        .collect();
    let ends = AtomicBool::new(false);
    let mut gaps = Vec::new();
    std::thread::scope(|scope| {
        let (told, again) = std::sync::mpsc::channel();
        let keeping = scope.spawn(move || -> Result<(), CallError> {
            loop {
                lasting.gone()?;
                lasting.resume()?;
                told.send(Instant::now()).unwrap();
            }
        });
        let ends = &ends;
        let driving: Vec<_> =
            drivers.iter_mut().map(|driver| scope.spawn(move || driver.run(ends))).collect();
        let mut numbers = Random::new(features.bits() ^ kills);
        let marks = appended(&path.join("log"));
        for kill in 0..=kills {
            if kill == 0 {
                assert!(!child.wait().unwrap().success(), "it ends in the middle");
            } else {
                std::thread::sleep(Duration::from_micros(numbers.below(6_000)));
                killed(&mut child);
            }
            // Some die before they listen, or in the middle of the handshake.
            if kill % 3 == 1 {
                child = started(&path);
                std::thread::sleep(Duration::from_micros(numbers.below(12_000)));
                killed(&mut child);
            }
            wrote(&marks, b'k', kill);
            while again.try_recv().is_ok() {}
            child = started(&path);
            while !path.join("socket").exists() {
                std::thread::yield_now();
            }
            let listens = Instant::now();
            let resumed = again.recv_timeout(TIMEOUT).expect("it does not go on");
            gaps.push(resumed.saturating_duration_since(listens));
        }
        ends.store(true, Ordering::Relaxed);
        driving.into_iter().for_each(|driving| driving.join().unwrap());
        canceller.cancel();
        assert!(vhost_user::with_causes(&keeping.join().unwrap().unwrap_err()).ends_with("cancelled"));
    });
    killed(&mut child);
    let requests = (0..).zip(&drivers).map(|(index, driver)| (driver.next - index) / u64::from(QUEUES)).sum();
    let (again, at_once) = verified(&path.join("log"), requests);
    gaps.sort_unstable();
    let (median, most) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    println!(
        "{features:?}: {kills} kills after one in the middle, {requests} requests, {again} executed again before they came back, {at_once} of them at once; \
         from the socket to all queues: {median:?} (median), {most:?} (most)",
    );
    // Several were in flight, and half done: what is remembered of them, and in which order, is put to the test.
    assert!(at_once >= HALF as u64, "{features:?}: {at_once} at once");
}

const KINDS: [Features; 6] = [
    Features::EVENT_IDX,
    Features::INDIRECT_DESC,
    Features::RING_PACKED,
    Features::RING_PACKED.union(Features::EVENT_IDX),
    Features::IN_ORDER,
    Features::RING_PACKED.union(Features::IN_ORDER),
];

#[test]
fn a_device_outlives_its_back_ends() {
    for features in KINDS {
        survives(features, 12);
    }
}

#[test]
#[ignore = "a minute or two"]
fn a_device_outlives_a_thousand_back_ends() {
    for features in KINDS {
        survives(features, 170);
    }
}

/// Nobody waits longer than it wants to.
#[test]
fn who_waits_for_a_back_end_can_be_told_to_stop() {
    let canceller = Canceller::new().unwrap();
    let other = canceller.clone();
    let (tried, trying) = std::sync::mpsc::channel();
    let connect = move || {
        tried.send(()).unwrap();
        UnixStream::connect("/nowhere")
    };
    let wanted = Wanted {
        features: Features::empty(),
        required: Features::VERSION_1,
        protocol: ProtocolFeatures::empty(),
    };
    let waiting =
        std::thread::spawn(move || Lasting::new(connect, wanted, TIMEOUT, (1, SIZE), canceller).err());
    for _ in 0..3 {
        trying.recv_timeout(TIMEOUT).unwrap();
    }
    other.cancel();
    assert!(vhost_user::with_causes(&waiting.join().unwrap().unwrap()).ends_with("cancelled"));
}

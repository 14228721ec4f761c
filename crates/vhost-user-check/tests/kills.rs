//! A back-end that is killed under load, again and again: no request is lost, none comes back twice, and what was written is there.
#![cfg(test)]

mod served;

use seeded::Random;
use served::Served;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::devices::DirectDisk;
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use vhost_user::payload::Inflight;
use virtio::Segment;
use virtio::blk::Requests;
use virtio::features::Features;

const TIMEOUT: Duration = Duration::from_secs(60);
const SIZE: u16 = 64;
/// Requests under way at once: a ring without tables has three entries for each.
const DEPTH: usize = SIZE as usize / 3;
const SECTOR: usize = 512;
const SECTORS: u64 = 8192;

/// The program as a disk on a file, killed with the value.
struct Disk {
    served: Served,
    socket: PathBuf,
}

/// How its file is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    /// One request after the other.
    Through,
    /// All at once.
    Around,
}

impl Disk {
    fn start(directory: &Path, cache: Cache) -> Self {
        let socket = directory.join("socket");
        let file = directory.join("disk");
        let mut arguments = vec!["--type", "blk", "--file", file.to_str().unwrap()];
        arguments.extend((cache == Cache::Around).then_some("--direct"));
        let served = Served::start(&socket, &arguments);
        Self { served, socket }
    }

    /// In the middle of whatever it does.
    fn kill(&mut self) {
        self.served.0.kill().unwrap();
        self.served.0.wait().unwrap();
    }
}

struct Load {
    directory: PathBuf,
    cache: Cache,
    wanted: Wanted,
    memory: Memory,
    queue: Queue,
    requests: Requests,
    inflight: (Inflight, OwnedFd),
    data: Vec<virtio::memory::Shared>,
    /// What each request under way writes: its sector and what it writes there.
    pending: Vec<Option<(u64, u64)>>,
    /// What the disk has in each sector, as far as writes have ended.
    content: Vec<u64>,
    /// Sectors that a request under way writes.
    busy: Vec<bool>,
    written: u64,
    random: Random,
}

fn connect(wanted: Wanted, disk: &Disk) -> FrontEnd {
    let mut front = FrontEnd::new(UnixStream::connect(&disk.socket).unwrap(), TIMEOUT).unwrap();
    front.negotiate(wanted).unwrap();
    front
}

impl Load {
    fn start(directory: &Path, features: Features, cache: Cache) -> (Self, FrontEnd, Disk) {
        let disk = Disk::start(directory, cache);
        let protocol = ProtocolFeatures::REPLY_ACK
            | ProtocolFeatures::MQ
            | ProtocolFeatures::CONFIGURE_MEM_SLOTS
            | ProtocolFeatures::INFLIGHT_SHMFD;
        let wanted = Wanted { features, required: Features::VERSION_1 | features, protocol };
        let mut front = connect(wanted, &disk);
        let mut memory = Memory::new(1 << 20).unwrap();
        front.add_memory(&memory).unwrap();
        let inflight = front.inflight(1, SIZE).unwrap();
        front.set_inflight(inflight.0, inflight.1.as_fd()).unwrap();
        let queue = front.start_queue(0, SIZE, &mut memory).unwrap();
        let slots = memory.part(Requests::bytes(SIZE), 64).unwrap();
        let address = memory.address_of(&slots);
        let requests = Requests::new(SIZE, slots, address).unwrap();
        let data = (0..DEPTH).map(|_| memory.part(SECTOR, SECTOR).unwrap()).collect();
        let load = Self {
            directory: directory.to_owned(),
            cache,
            wanted,
            memory,
            queue,
            requests,
            inflight,
            data,
            pending: vec![None; DEPTH],
            content: vec![0; SECTORS as usize],
            busy: vec![false; SECTORS as usize],
            written: 0,
            random: Random::new(1),
        };
        (load, front, disk)
    }

    /// Keeps as many writes under way as there can be, each of its own content to a sector that no other writes.
    fn fill(&mut self) {
        for slot in 0..DEPTH {
            if self.pending[slot].is_some() {
                continue;
            }
            let sector = loop {
                let sector = self.random.below(SECTORS);
                if !std::mem::replace(&mut self.busy[sector as usize], true) {
                    break sector;
                }
            };
            self.written += 1;
            self.data[slot].slice().write(&self.written.to_le_bytes().repeat(SECTOR / 8));
            self.pending[slot] = Some((sector, self.written));
            let segment =
                Segment { address: self.memory.address_of(&self.data[slot]), length: SECTOR as u32 };
            self.requests.write(&mut self.queue.ring, sector, &[segment], slot as u64).unwrap();
        }
        self.queue.submit().unwrap();
    }

    /// What has ended, if anything; each once.
    fn reap(&mut self) -> usize {
        let mut count = 0;
        while let Some(done) = self.requests.reap(&mut self.queue.ring).unwrap() {
            done.result.unwrap();
            let (sector, content) =
                self.pending[done.tag as usize].take().expect("a request came back twice");
            self.content[sector as usize] = content;
            self.busy[sector as usize] = false;
            count += 1;
        }
        count
    }

    /// Goes on until so many have ended.
    fn run(&mut self, count: usize) {
        let mut ended = 0;
        loop {
            ended += self.reap();
            self.fill();
            if ended >= count {
                return;
            }
            assert!(self.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}");
        }
    }

    fn drain(&mut self) {
        while self.pending.iter().any(Option::is_some) {
            if self.reap() == 0 {
                assert!(self.queue.wait(TIMEOUT).unwrap(), "a request is lost");
            }
        }
    }

    fn reconnect(&mut self) -> (FrontEnd, Disk) {
        let disk = Disk::start(&self.directory, self.cache);
        let mut front = connect(self.wanted, &disk);
        front.add_memory(&self.memory).unwrap();
        front.set_inflight(self.inflight.0, self.inflight.1.as_fd()).unwrap();
        let base = self.queue.base();
        front.attach_queue(&self.queue, base).unwrap();
        (front, disk)
    }

    fn verify(&self) {
        let file = File::open(self.directory.join("disk")).unwrap();
        let mut bytes = [0; SECTOR];
        for (sector, content) in self.content.iter().enumerate() {
            file.read_exact_at(&mut bytes, (sector * SECTOR) as u64).unwrap();
            assert!(bytes == content.to_le_bytes().repeat(SECTOR / 8)[..], "sector {sector}");
        }
    }
}

fn killed(times: u64, features: Features, cache: Cache) {
    // Where there are direct transfers: the directory for temporary files may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file =
        File::options().create_new(true).read(true).write(true).open(directory.path().join("disk")).unwrap();
    file.set_len(SECTORS * SECTOR as u64).unwrap();
    if cache == Cache::Around
        && let Err(error) = DirectDisk::new(file, 1)
    {
        return println!(
            "not run: a disk around the page cache that is killed: no direct transfers: {error}"
        );
    }
    let (mut load, mut _front, mut disk) = Load::start(directory.path(), features, cache);
    for _ in 0..times {
        let count = load.random.below(200) as usize;
        load.run(count);
        disk.kill();
        (_front, disk) = load.reconnect();
    }
    load.drain();
    load.verify();
    println!("{times} kills, {} writes, {features:?}, {cache:?}", load.written);
}

const KINDS: [Features; 4] = [
    Features::EVENT_IDX,
    Features::empty(),
    Features::RING_PACKED,
    Features::RING_PACKED.union(Features::EVENT_IDX),
];

/// Of a disk that does many at once.
const AT_ONCE: [Features; 2] = [Features::EVENT_IDX, Features::RING_PACKED];

#[test]
fn a_back_end_that_is_killed_loses_and_doubles_nothing() {
    for features in KINDS {
        killed(10, features, Cache::Through);
    }
    for features in AT_ONCE {
        killed(10, features, Cache::Around);
    }
}

/// A thousand times, as the long tests do it.
#[test]
#[ignore = "a minute"]
fn a_back_end_that_is_killed_a_thousand_times_loses_and_doubles_nothing() {
    for features in KINDS {
        killed(250, features, Cache::Through);
    }
    for features in AT_ONCE {
        killed(250, features, Cache::Around);
    }
}

//! Many front-ends of one server at once, each with a disk of its own: none sees another's, none is forgotten, and nothing is left behind.
#![cfg(test)]

mod served;

use served::Served;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::frontend::{FrontEnd, Wanted};
use vhost_user::memory::Memory;
use virtio::Segment;
use virtio::blk::Requests;
use virtio::features::Features;

const TIMEOUT: Duration = Duration::from_secs(60);
const CLIENTS: u64 = 64;
const SIZE: u16 = 16;

/// A session from beginning to end: every sector that it writes is what it reads.
fn session(socket: &Path, client: u64, packed: bool, requests: u64) {
    let mut front = FrontEnd::new(UnixStream::connect(socket).unwrap(), TIMEOUT).unwrap();
    let rings = if packed { Features::RING_PACKED } else { Features::EVENT_IDX };
    let protocol = ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ | ProtocolFeatures::CONFIGURE_MEM_SLOTS;
    front.negotiate(Wanted { features: rings, required: Features::VERSION_1 | rings, protocol }).unwrap();
    let mut memory = Memory::new(1 << 16).unwrap();
    front.add_memory(&memory).unwrap();
    let mut queue = front.start_queue(0, SIZE, &mut memory).unwrap();
    let slots = memory.part(Requests::bytes(SIZE), 64).unwrap();
    let address = slots.host_address();
    let mut all = Requests::new(SIZE, slots, address).unwrap();
    let data = memory.part(512, 512).unwrap();
    let segment = [Segment { address: data.host_address(), length: 512 }];
    let mut once = |write: bool, sector| {
        if write {
            all.write(&mut queue.ring, sector, &segment, 0).unwrap();
        } else {
            all.read(&mut queue.ring, sector, &segment, 0).unwrap();
        }
        queue.submit().unwrap();
        loop {
            match all.reap(&mut queue.ring).unwrap() {
                Some(done) => break done.result.unwrap(),
                None => assert!(queue.wait(TIMEOUT).unwrap(), "client {client} is forgotten"),
            }
        }
    };
    for request in 0..requests {
        let content = (client << 32 | request).to_le_bytes().repeat(64);
        data.slice().write(&content);
        once(true, request % 2048);
        data.slice().fill(0);
        once(false, request % 2048);
        let mut read = vec![0; 512];
        data.slice().read(&mut read);
        assert!(read == content, "client {client} reads what another wrote");
    }
    front.stop_queue(0).unwrap();
}

/// Not the length of the list of threads, which Linux ends early at one that ends while it is listed (fs/proc/base.c, `next_tid`).
fn threads(process: &Path) -> usize {
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok()).unwrap()
}

fn crowd(go_on: impl FnMut(u64) -> bool + Clone + Send) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("blk");
    let served = Served::start(&socket, &["--type", "blk", "--size", "1"]);
    let held = || {
        let of = Path::new("/proc").join(served.0.id().to_string());
        let maps = std::fs::read_to_string(of.join("maps")).unwrap();
        let memory = maps.lines().filter(|line| line.contains("memfd:")).count();
        (std::fs::read_dir(of.join("fd")).unwrap().count(), memory, threads(&of))
    };
    // After the first has left there is one thread that takes front-ends, and the one that waits for signals.
    session(&socket, 0, false, 1);
    let mut before = held();
    while before.2 != 2 {
        std::thread::yield_now();
        before = held();
    }
    // Anew: threads are counted last, and what was counted before them may have been the first one's.
    before = held();
    let sessions = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (socket, mut go_on) = (&socket, go_on.clone());
                scope.spawn(move || {
                    let mut rounds = 0;
                    while go_on(rounds) {
                        session(socket, client, (client + rounds) % 2 == 0, 20);
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    // All of them have left, and are worked off.
    let mut after = held();
    for _ in 0..1_000 {
        if after == before {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        after = held();
    }
    assert_eq!(after, before, "descriptors, mappings and threads after {sessions} sessions");
    sessions
}

#[test]
fn a_crowd_is_served() {
    assert_eq!(crowd(|rounds| rounds < 5), 5 * CLIENTS);
}

#[test]
#[ignore = "a minute"]
#[expect(clippy::disallowed_methods, reason = "the time is what is asked for")]
fn a_crowd_is_served_for_a_minute() {
    let begin = std::time::Instant::now();
    let sessions = crowd(move |_| begin.elapsed() < Duration::from_secs(60));
    println!("{CLIENTS} front-ends at once, {sessions} sessions in a minute");
}

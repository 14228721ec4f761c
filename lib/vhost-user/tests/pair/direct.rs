//! A disk around the page cache, whose requests are done at once.

use crate::{Served, TIMEOUT, wanted};
use std::os::unix::fs::FileExt as _;
use tempfile::NamedTempFile;
use vhost_user::devices::DirectDisk;
use vhost_user::frontend::{FrontEnd, Queue};
use vhost_user::memory::Memory;
use virtio::Segment;
use virtio::blk::{self, Completed, Failure, Requests, SECTOR};
use virtio::features::Features;
use virtio::memory::Shared;

const BYTES: usize = 4 << 20;

fn pattern() -> Vec<u8> {
    (0..BYTES as u32).map(|at| (at >> 9) as u8 ^ at as u8).collect()
}

/// A file on a disk: the directory for temporary files may be memory.
fn file(test: &str) -> Option<NamedTempFile> {
    let file = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.as_file().write_all_at(&pattern(), 0).unwrap();
    match DirectDisk::new(file.reopen().unwrap(), 1) {
        Ok(_) => Some(file),
        Err(error) => {
            println!("not run: {test}: no direct transfers by io_uring: {error}");
            None
        }
    }
}

struct Client {
    front: FrontEnd,
    memory: Memory,
    queue: Queue,
    requests: Requests,
    served: Served,
}

fn segment(part: &Shared, from: usize, length: usize) -> Segment {
    Segment { address: part.host_address() + from as u64, length: length as u32 }
}

impl Client {
    fn new(file: &NamedTempFile, features: Features) -> Self {
        let (stream, served) = Served::with(DirectDisk::new(file.reopen().unwrap(), 2).unwrap());
        let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
        let blk = blk::Features::FLUSH | blk::Features::DISCARD | blk::Features::WRITE_ZEROES;
        front.negotiate(wanted(features | Features::from_bits_retain(blk.bits()))).unwrap();
        let mut memory = Memory::new(8 << 20).unwrap();
        front.add_memory(&memory).unwrap();
        let queue = front.start_queue(0, 256, &mut memory).unwrap();
        let slots = memory.part(Requests::bytes(256), 64).unwrap();
        let address = slots.host_address();
        let requests = Requests::new(256, slots, address).unwrap();
        Self { front, memory, queue, requests, served }
    }

    fn completed(&mut self, count: usize) -> Vec<Completed> {
        self.queue.submit().unwrap();
        let mut all = Vec::new();
        while all.len() < count {
            match self.requests.reap(&mut self.queue.ring).unwrap() {
                Some(one) => all.push(one),
                None => assert!(self.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}"),
            }
        }
        all.sort_by_key(|one| one.tag);
        all
    }

    fn one(&mut self) -> Result<(), Failure> {
        self.completed(1)[0].result
    }

    fn end(self) {
        drop(self.front);
        self.served.ended().unwrap();
    }
}

const KINDS: [Features; 5] = [
    Features::empty(),
    Features::EVENT_IDX.union(Features::INDIRECT_DESC),
    Features::RING_PACKED,
    Features::IN_ORDER,
    Features::RING_PACKED.union(Features::IN_ORDER),
];

/// A driver that was promised the order takes one that is used for all before it: none may come back before an earlier one is over. Others have what
/// is over when it is.
#[test]
fn what_is_quicker_does_not_come_back_earlier() {
    let Some(file) = file("what_is_quicker_does_not_come_back_earlier") else { return };
    for features in KINDS {
        let mut client = Client::new(&file, features);
        let part = client.memory.part(64 * 4096 + 512, 4096).unwrap();
        for _ in 0..20 {
            part.slice().fill(0xee);
            // Reads of the kernel's, then what is done without it, some of it from memory that the kernel cannot take.
            for tag in 0..48 {
                let (ring, from) = (&mut client.queue.ring, tag as usize * 4096);
                match tag % 3 {
                    0 => client.requests.read(ring, tag * 8, &[segment(&part, from, 4096)], tag),
                    1 => client.requests.flush(ring, tag),
                    _ => client.requests.read(ring, tag * 8, &[segment(&part, from + 8, 3584)], tag),
                }
                .unwrap();
            }
            client.queue.submit().unwrap();
            let mut came = Vec::new();
            let content = pattern();
            while came.len() < 48 {
                let Some(one) = client.requests.reap(&mut client.queue.ring).unwrap() else {
                    assert!(client.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}");
                    continue;
                };
                assert_eq!(one.result, Ok(()), "{features:?}");
                came.push(one.tag);
                if one.tag % 3 == 1 {
                    continue;
                }
                let (beside, length) = if one.tag % 3 == 2 { (8, 3584) } else { (0, 4096) };
                let at = one.tag as usize * 4096;
                let mut read = vec![0; length];
                part.slice().part(at + beside, length).unwrap().read(&mut read);
                assert!(read == content[at..at + length], "{features:?}: request {}", one.tag);
            }
            if !features.contains(Features::IN_ORDER) {
                came.sort_unstable();
            }
            assert!(came.iter().copied().eq(0..48), "{features:?}: {came:?}");
        }
        client.end();
    }
}

/// However their memory lies, and whether the kernel can move it directly or not.
#[test]
fn many_at_once_are_where_they_belong() {
    let Some(file) = file("many_at_once_are_where_they_belong") else { return };
    for features in KINDS {
        let mut client = Client::new(&file, features);
        // Requests of two pieces each, at every kind of address: on sectors, beside them, and with pieces of no whole sector.
        let part = client.memory.part(64 * 8192 + 4096, 4096).unwrap();
        let shapes = [(0, 4096), (0, 512), (8, 4096), (0, 700), (3, 1)];
        let place = |tag: u64| (tag * 37 % 512) * 16;
        for tag in 0..64 {
            let (beside, first) = shapes[tag as usize % shapes.len()];
            let from = tag as usize * 8192 + beside;
            let pieces = [segment(&part, from, first), segment(&part, from + first, 8192 - 512 - first)];
            client.requests.read(&mut client.queue.ring, place(tag), &pieces, tag).unwrap();
        }
        let all = client.completed(64);
        assert!(all.iter().zip(0..).all(|(one, tag)| *one == Completed { tag, result: Ok(()) }), "{all:?}");
        let content = pattern();
        for tag in 0..64 {
            let from = tag as usize * 8192 + shapes[tag as usize % shapes.len()].0;
            let mut read = vec![0; 8192 - 512];
            part.slice().part(from, read.len()).unwrap().read(&mut read);
            let at = (place(tag) * SECTOR) as usize;
            assert!(read == content[at..at + read.len()], "request {tag}");
        }
        client.end();
    }
}

#[test]
fn what_is_written_is_in_the_file() {
    let Some(file) = file("what_is_written_is_in_the_file") else { return };
    for (features, round) in KINDS.into_iter().zip(1_u8..) {
        let mut client = Client::new(&file, features);
        let part = client.memory.part(32 * 4096 + 512, 4096).unwrap();
        for tag in 0..32 {
            // Every second one lies where the kernel cannot take it from.
            let from = tag as usize * 4096 + (tag as usize % 2) * 24;
            part.slice().part(from, 4096).unwrap().fill(tag as u8 ^ round);
            let pieces = [segment(&part, from, 4096)];
            client.requests.write(&mut client.queue.ring, tag * 8 * 16, &pieces, tag).unwrap();
            assert_eq!(client.one(), Ok(()));
        }
        client.requests.flush(&mut client.queue.ring, 0).unwrap();
        client.requests.write_zeroes(&mut client.queue.ring, 1, 7, false, 1).unwrap();
        client.requests.discard(&mut client.queue.ring, 128, 8, 2).unwrap();
        assert!(client.completed(3).iter().all(|one| one.result == Ok(())));
        client.end();
        for tag in 0..32_u64 {
            let mut found = [0; 4096];
            file.as_file().read_exact_at(&mut found, tag * 8 * 16 * SECTOR).unwrap();
            match tag {
                0 => {
                    assert!(found[..512].iter().all(|byte| *byte == round));
                    assert!(found[512..].iter().all(|byte| *byte == 0));
                }
                1 => assert!(found.iter().all(|byte| *byte == 0)),
                _ => assert!(found.iter().all(|byte| *byte == tag as u8 ^ round), "request {tag}"),
            }
        }
    }
}

/// More requests than there is room for, of both queues, and longer ones than the device has memory for at once: segments that name the same bytes
/// again and again.
#[test]
fn however_much_is_asked_for_all_of_it_is_done() {
    const EACH: u32 = 100 << 10;
    const SEGMENTS: u32 = 5;
    let Some(file) = file("however_much_is_asked_for_all_of_it_is_done") else { return };
    for features in KINDS {
        let mut client = Client::new(&file, features);
        let mut second = client.front.start_queue(1, 1024, &mut client.memory).unwrap();
        let slots = client.memory.part(Requests::bytes(1024), 64).unwrap();
        let address = slots.host_address();
        let mut others = Requests::new(1024, slots, address).unwrap();
        let part = client.memory.part(EACH as usize + 8, 4096).unwrap();
        part.slice().part(8, EACH as usize).unwrap().write(&pattern()[..EACH as usize]);
        // Where the kernel cannot take it from.
        let again = [segment(&part, 8, EACH as usize); SEGMENTS as usize];
        for tag in 0..30 {
            client.requests.write(&mut client.queue.ring, 0, &again, tag).unwrap();
        }
        let small = client.memory.part(512 * 300 + 8, 4096).unwrap();
        for tag in 0..300 {
            let pieces = [segment(&small, 8 + 512 * tag as usize, 512)];
            others.read(&mut second.ring, 6000 + tag, &pieces, tag).unwrap();
        }
        second.submit().unwrap();
        let all = client.completed(30);
        assert!(all.iter().all(|one| one.result == Ok(())), "{features:?}: {all:?}");
        let mut came = 0;
        while came < 300 {
            match others.reap(&mut second.ring).unwrap() {
                Some(one) => {
                    assert_eq!(one.result, Ok(()), "{features:?}");
                    came += 1;
                }
                None => assert!(
                    second.wait(TIMEOUT).unwrap(),
                    "{features:?}: {came} ended, and no more in {TIMEOUT:?}"
                ),
            }
        }
        let mut read = vec![0; 512 * 300];
        small.slice().part(8, read.len()).unwrap().read(&mut read);
        assert!(read == pattern()[6000 * 512..6300 * 512], "{features:?}");
        // Read as it was written, and what is behind it is as it was.
        let mut found = vec![0; (SEGMENTS * EACH + 512) as usize];
        file.as_file().read_exact_at(&mut found, 0).unwrap();
        let (written, rest) = found.split_at((SEGMENTS * EACH) as usize);
        assert!(
            written.chunks(EACH as usize).all(|chunk| *chunk == pattern()[..EACH as usize]),
            "{features:?}"
        );
        assert!(*rest == pattern()[written.len()..][..512], "{features:?}");
        let back = client.memory.part(written.len() + 3, 4096).unwrap();
        let piece = segment(&back, 3, written.len());
        client.requests.read(&mut client.queue.ring, 0, &[piece], 0).unwrap();
        assert_eq!(client.one(), Ok(()));
        let mut read = vec![0; written.len()];
        back.slice().part(3, read.len()).unwrap().read(&mut read);
        assert!(read == written, "{features:?}");
        client.end();
    }
}

#[test]
fn what_cannot_be_done_fails_and_the_rest_is_done() {
    let Some(file) = file("what_cannot_be_done_fails_and_the_rest_is_done") else { return };
    let mut client = Client::new(&file, Features::empty());
    let part = client.memory.part(3 * 4096, 4096).unwrap();
    let sectors = BYTES as u64 / SECTOR;
    // The file becomes shorter than it said.
    file.as_file().set_len(BYTES as u64 / 2 + 512).unwrap();
    for (tag, sector) in [(0, 0), (1, sectors - 8), (2, sectors), (3, sectors / 2 - 4), (4, sectors / 2)] {
        let pieces = [segment(&part, 0, 4096)];
        client.requests.read(&mut client.queue.ring, sector, &pieces, tag).unwrap();
    }
    let results: Vec<_> = client.completed(5).iter().map(|one| one.result).collect();
    assert_eq!(results, [Ok(()), Err(Failure::Io), Err(Failure::Io), Err(Failure::Io), Err(Failure::Io)]);
    let pieces = [segment(&part, 4096, 4096)];
    client.requests.read(&mut client.queue.ring, 8, &pieces, 0).unwrap();
    assert_eq!(client.one(), Ok(()));
    let mut read = [0; 4096];
    part.slice().part(4096, 4096).unwrap().read(&mut read);
    assert!(read == pattern()[4096..8192]);
    client.end();
}

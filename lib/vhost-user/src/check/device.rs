//! What a type of device must do with requests of its own.

use super::session::pause;
use super::work::{Patience, served};
use super::{Check, Kind, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::frontend::{FrontEnd, Queue};
use crate::memory::Memory;
use virtio::Segment;
use virtio::blk::{Config, Features as Blk};
use virtio::features::Features;
use virtio::memory::Shared;

const READ: &str = "VIRTIO 1.4: 5.2.6";
const STATUS: &str = "VIRTIO 1.4: 5.2.6.2";
const CONFIG: &str = "VIRTIO 1.4: 5.2.4";

pub(super) fn checks(kind: Kind, writes: bool) -> Vec<Check> {
    match kind {
        Kind::Blk => blk(writes),
        Kind::Rng => rng(),
        Kind::Net => net(),
        Kind::Console => console(),
        Kind::Balloon => Vec::new(),
        Kind::Fs => Vec::new(),
    }
}

/// A queue, and memory to put requests in.
struct Bench {
    front: FrontEnd,
    queue: Queue,
    part: Shared,
    _memory: Memory,
    _others: Vec<Queue>,
    patience: Patience,
}

fn bench(run: &mut Run<'_>, features: Features) -> Result<Bench, Trouble> {
    let kind = served(run)?;
    let mut front = run.front(features)?;
    let mut memory = Memory::new(1 << 20)?;
    front.add_memory(&memory)?;
    let mut others = Vec::new();
    for index in 0..kind.queue() {
        others.push(front.start_queue(index, 64, &mut memory)?);
    }
    let queue = front.start_queue(kind.queue(), 64, &mut memory)?;
    front.driver_ok()?;
    let part = memory.part(1 << 17, 4096).ok_or_else(|| Trouble::Failed("no memory is left".to_owned()))?;
    Ok(Bench { front, queue, part, _memory: memory, _others: others, patience: run.patience.clone() })
}

impl Bench {
    fn segment(&self, at: usize, length: usize) -> Segment {
        Segment { address: self.part.host_address() + at as u64, length: length as u32 }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.part.piece(at, bytes.len()) {
            place.slice().write(bytes);
        }
    }

    fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        if let Some(place) = self.part.piece(at, length) {
            place.slice().read(&mut bytes);
        }
        bytes
    }

    /// A chain from beginning to end; gives how many bytes were written.
    fn done(&mut self, readable: &[Segment], writable: &[Segment]) -> Result<u32, Trouble> {
        self.queue.ring.add(readable, writable).map_err(|error| Trouble::Failed(error.to_string()))?;
        self.queue.submit()?;
        loop {
            match self
                .queue
                .ring
                .reap()
                .map_err(|fault| Trouble::Failed(format!("it broke the ring: {fault}")))?
            {
                Some(done) => return Ok(done.written),
                None if self.queue.wait(self.patience.time())? => {}
                None => return failed("the request is not served"),
            }
        }
    }

    /// A chain that makes no sense: it may come back or stay, and the back-end must live.
    fn nonsense(&mut self, readable: &[Segment], writable: &[Segment]) -> Outcome {
        self.queue.ring.add(readable, writable).map_err(|error| Trouble::Failed(error.to_string()))?;
        self.queue.submit()?;
        for _ in 0..5 {
            if self.front.call(&crate::front::Request::GetFeatures, &[]).is_err() {
                break;
            }
        }
        // Some look at their rings in a thread of its own.
        pause(std::time::Duration::from_millis(10));
        Ok(())
    }

    /// A request of a block device: its status, and how many bytes were written.
    fn request(&mut self, kind: u32, sector: u64, out: usize, into: usize) -> Result<(u8, u32), Trouble> {
        self.write(0, &[kind.to_le_bytes(), [0; 4]].concat());
        self.write(8, &sector.to_le_bytes());
        self.write(STATUS_AT, &[0xee]);
        let mut readable = vec![self.segment(0, 16)];
        let mut writable = Vec::new();
        if out > 0 {
            readable.push(self.segment(DATA, out));
        }
        if into > 0 {
            writable.push(self.segment(DATA, into));
        }
        writable.push(self.segment(STATUS_AT, 1));
        let written = self.done(&readable, &writable)?;
        let status = self.read(STATUS_AT, 1);
        Ok((status.first().copied().unwrap_or(0xff), written))
    }
}

const STATUS_AT: usize = 64;
const DATA: usize = 4096;

fn capacity(run: &Run<'_>) -> Result<u64, Trouble> {
    run.needs(ProtocolFeatures::CONFIG)?;
    let config = run.offer.config.as_deref().unwrap_or_default();
    if config.len() < 8 {
        not_applicable("its capacity is not known")
    } else {
        Ok(Config::parse(config).capacity)
    }
}

/// The same of a disk that has sectors.
fn sectors(run: &Run<'_>) -> Result<u64, Trouble> {
    match capacity(run)? {
        0 => not_applicable("it has no sector: blk.capacity"),
        sectors => Ok(sectors),
    }
}

fn expects(seen: (u8, u32), status: u8) -> Outcome {
    if seen.0 == status { Ok(()) } else { failed(format!("the status is {} and not {status}", seen.0)) }
}

fn blk(writes: bool) -> Vec<Check> {
    let must = |id: &str, section, title: &str, run: fn(&mut Run<'_>) -> Outcome| {
        Check::new(id, Level::Must, section, title, run)
    };
    let mut all = vec![
        must("blk.capacity", CONFIG, "the capacity is told, and not 0", |run| match capacity(run)? {
            0 => failed("it is 0"),
            _ => Ok(()),
        }),
        must("blk.read.last", READ, "the last sector can be read", |run| {
            let last = sectors(run)? - 1;
            expects(bench(run, Features::empty())?.request(0, last, 0, 512)?, 0)
        }),
        must("blk.read.beyond", STATUS, "a sector beyond the last is an error of that request", |run| {
            let end = sectors(run)?;
            let mut bench = bench(run, Features::empty())?;
            expects(bench.request(0, end, 0, 512)?, 1)?;
            expects(bench.request(0, 0, 0, 512)?, 0)
        }),
        must("blk.read.far", STATUS, "a sector whose bytes wrap around is an error of that request", |run| {
            let mut bench = bench(run, Features::empty())?;
            expects(bench.request(0, u64::MAX, 0, 512)?, 1)?;
            expects(bench.request(0, 1 << 55, 0, 512)?, 1)
        }),
        must(
            "blk.read.length",
            "VIRTIO 1.4: 2.7.8.2",
            "the used length of a read is its data and its status",
            |run| match bench(run, Features::empty())?.request(0, 0, 0, 4096)? {
                (0, 4097) => Ok(()),
                (status, written) => failed(format!("status {status}, {written} bytes of 4,097")),
            },
        ),
        must("blk.unknown", STATUS, "a request of an unknown type is not supported", |run| {
            expects(bench(run, Features::empty())?.request(0x7777, 0, 0, 512)?, 2)
        }),
        must("blk.header.pieces", "VIRTIO 1.4: 2.7.4", "a header may lie in several segments", |run| {
            let mut bench = bench(run, Features::empty())?;
            bench.write(0, &[0; 16]);
            bench.write(STATUS_AT, &[0xee]);
            let readable = [bench.segment(0, 4), bench.segment(4, 11), bench.segment(15, 1)];
            let writable = [bench.segment(DATA, 512), bench.segment(STATUS_AT, 1)];
            bench.done(&readable, &writable)?;
            match bench.read(STATUS_AT, 1).as_slice() {
                [0] => Ok(()),
                other => failed(format!("the status is {other:?}")),
            }
        }),
        must(
            "blk.data.pieces",
            "VIRTIO 1.4: 2.7.4",
            "data and status may share a segment, and data lie in several",
            |run| {
                let mut bench = bench(run, Features::empty())?;
                bench.write(0, &[0; 16]);
                bench.write(DATA + 512, &[0xee]);
                let readable = [bench.segment(0, 16)];
                let writable = [bench.segment(DATA, 100), bench.segment(DATA + 100, 413)];
                bench.done(&readable, &writable)?;
                match bench.read(DATA + 512, 1).as_slice() {
                    [0] => Ok(()),
                    other => failed(format!("the status is {other:?}")),
                }
            },
        ),
        must("blk.id", "VIRTIO 1.4: 5.2.6.1", "the name of the device has at most 20 bytes", |run| {
            match bench(run, Features::empty())?.request(8, 0, 0, 20)? {
                (0, written) if written <= 21 => Ok(()),
                (status, written) => failed(format!("status {status}, {written} bytes")),
            }
        }),
        must("blk.flush", "VIRTIO 1.4: 5.2.6", "a flush succeeds", |run| {
            run.needs_features(Features::from_bits_retain(Blk::FLUSH.bits()))?;
            expects(bench(run, Features::from_bits_retain(Blk::FLUSH.bits()))?.request(4, 0, 0, 0)?, 0)
        }),
    ];
    let robust = |id: &str, section, title: &str, run: fn(&mut Run<'_>) -> Outcome| {
        Check::new(id, Level::Robust, section, title, run)
    };
    all.extend([
        robust("blk.read.odd", READ, "a read of 100 bytes is an error of that request", |run| {
            let seen = bench(run, Features::empty())?.request(0, 0, 0, 100)?;
            if seen.0 == 0 { failed("it succeeded") } else { Ok(()) }
        }),
        robust("blk.read.nothing", READ, "a read of no bytes ends", |run| {
            bench(run, Features::empty())?.request(0, 0, 0, 0).map(drop)
        }),
        robust("blk.header.short", READ, "the back-end survives a header of 8 bytes", |run| {
            let mut bench = bench(run, Features::empty())?;
            let (readable, writable) =
                ([bench.segment(0, 8)], [bench.segment(DATA, 512), bench.segment(STATUS_AT, 1)]);
            bench.nonsense(&readable, &writable)
        }),
        robust("blk.header.none", READ, "the back-end survives a request without a header", |run| {
            let mut bench = bench(run, Features::empty())?;
            let writable = [bench.segment(DATA, 512), bench.segment(STATUS_AT, 1)];
            bench.nonsense(&[], &writable)
        }),
        robust("blk.status.none", READ, "the back-end survives a request without room for a status", |run| {
            let mut bench = bench(run, Features::empty())?;
            bench.write(0, &[0; 16]);
            let readable = [bench.segment(0, 16)];
            bench.nonsense(&readable, &[])
        }),
    ]);
    if writes {
        all.extend([
            must("blk.write", READ, "what is written is read again", |run| {
                let mut bench = bench(run, Features::empty())?;
                let content: Vec<u8> = (0..4096_u32).map(|at| (at * 7 + at / 256) as u8).collect();
                bench.write(DATA, &content);
                expects(bench.request(1, 0, 4096, 0)?, 0)?;
                bench.write(DATA, &[0; 4096]);
                expects(bench.request(0, 0, 0, 4096)?, 0)?;
                if bench.read(DATA, 4096) == content { Ok(()) } else { failed("it is another") }
            }),
            must(
                "blk.write.beyond",
                STATUS,
                "a write beyond the last sector is an error of that request",
                |run| {
                    let end = sectors(run)?;
                    expects(bench(run, Features::empty())?.request(1, end, 512, 0)?, 1)
                },
            ),
            must("blk.discard", "VIRTIO 1.4: 5.2.6", "sectors can be discarded", |run| {
                range(run, Blk::DISCARD, 11)
            }),
            must("blk.zeroes", "VIRTIO 1.4: 5.2.6", "sectors can be made zero", |run| {
                range(run, Blk::WRITE_ZEROES, 13)
            }),
        ]);
    }
    all
}

/// A discard or a write of zeroes of the first 8 sectors.
fn range(run: &mut Run<'_>, feature: Blk, kind: u32) -> Outcome {
    let feature = Features::from_bits_retain(feature.bits());
    run.needs_features(feature)?;
    let mut bench = bench(run, feature)?;
    bench.write(DATA, &[9; 4096]);
    expects(bench.request(1, 0, 4096, 0)?, 0)?;
    bench.write(DATA, &[0; 8]);
    bench.write(DATA + 8, &[8_u32.to_le_bytes(), [0; 4]].concat());
    expects(bench.request(kind, 0, 16, 0)?, 0)?;
    bench.write(DATA, &[1; 4096]);
    expects(bench.request(0, 0, 0, 4096)?, 0)?;
    // What was discarded may be anything; what was made zero is.
    if kind == 13 && bench.read(DATA, 4096).iter().any(|byte| *byte != 0) {
        return failed("it is not zero");
    }
    Ok(())
}

fn rng() -> Vec<Check> {
    const ENTROPY: &str = "VIRTIO 1.4: 5.4.6";
    vec![
        Check::new("rng.differs", Level::Must, ENTROPY, "what comes is not always the same", |run| {
            let mut bench = bench(run, Features::empty())?;
            let mut seen = Vec::new();
            for _ in 0..2 {
                let into = [bench.segment(DATA, 64)];
                if bench.done(&[], &into)? == 0 {
                    return failed("it wrote nothing");
                }
                seen.push(bench.read(DATA, 64));
            }
            if seen[0] == seen[1] { failed("twice the same 64 bytes") } else { Ok(()) }
        }),
        Check::new("rng.length", Level::Must, ENTROPY, "it writes as many bytes as it says", |run| {
            let mut bench = bench(run, Features::empty())?;
            bench.write(DATA, &[0; 8192]);
            let into = [bench.segment(DATA, 8192)];
            let written = bench.done(&[], &into)? as usize;
            let bytes = bench.read(DATA, 8192);
            if bytes[written.min(8192)..].iter().any(|byte| *byte != 0) {
                return failed(format!("it wrote behind the {written} bytes that it says"));
            }
            Ok(())
        }),
        Check::new("rng.pieces", Level::Must, ENTROPY, "what it fills may lie in several segments", |run| {
            let mut bench = bench(run, Features::empty())?;
            let into = [bench.segment(DATA, 10), bench.segment(DATA + 10, 22), bench.segment(DATA + 32, 32)];
            if bench.done(&[], &into)? == 0 { failed("it wrote nothing") } else { Ok(()) }
        }),
        Check::new(
            "rng.readable",
            Level::Robust,
            ENTROPY,
            "the back-end survives a chain in which nothing can be written",
            |run| {
                let mut bench = bench(run, Features::empty())?;
                let out = [bench.segment(DATA, 64)];
                bench.nonsense(&out, &[])
            },
        ),
    ]
}

fn net() -> Vec<Check> {
    const SEND: &str = "VIRTIO 1.4: 5.1.6";
    let nonsense = |id: &'static str, title: &'static str, length: usize| {
        Check::new(id, Level::Robust, SEND, title, move |run| {
            let mut bench = bench(run, Features::empty())?;
            let out = [bench.segment(DATA, length)];
            bench.nonsense(&out, &[])
        })
    };
    vec![
        nonsense("net.send.short", "the back-end survives a frame without a whole header", 5),
        nonsense("net.send.empty", "the back-end survives a header without a frame", 12),
        nonsense("net.send.large", "the back-end survives a frame of 100,000 bytes", 100_000),
        Check::new("net.send.pieces", Level::Must, SEND, "a frame may lie in several segments", |run| {
            let mut bench = bench(run, Features::empty())?;
            bench.write(DATA, &[0; 128]);
            bench.write(DATA + 12 + 12, &[0x88, 0xb5]);
            let out = [bench.segment(DATA, 3), bench.segment(DATA + 3, 20), bench.segment(DATA + 23, 49)];
            match bench.done(&out, &[])? {
                0 => Ok(()),
                other => failed(format!("it says that it wrote {other} bytes")),
            }
        }),
    ]
}

fn console() -> Vec<Check> {
    const SEND: &str = "VIRTIO 1.4: 5.3.6";
    vec![
        Check::new("console.send.pieces", Level::Must, SEND, "text may lie in several segments", |run| {
            let mut bench = bench(run, Features::empty())?;
            bench.write(DATA, b"vhost-user-check, in pieces\n");
            let out = [bench.segment(DATA, 10), bench.segment(DATA + 10, 18)];
            match bench.done(&out, &[])? {
                0 => Ok(()),
                other => failed(format!("it says that it wrote {other} bytes")),
            }
        }),
        Check::new("console.send.large", Level::Robust, SEND, "64 KiB of text are taken", |run| {
            let mut bench = bench(run, Features::empty())?;
            bench.write(DATA, &[b'.'; 65_536]);
            let out = [bench.segment(DATA, 65_536)];
            bench.done(&out, &[]).map(drop)
        }),
    ]
}

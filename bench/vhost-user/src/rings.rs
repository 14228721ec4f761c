//! The driver's side of a split ring: ours beside that of the crate `virtio-drivers`, both with our device on the other side, in one thread.

mod theirs;

use crate::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};
use virtio::memory::{Heap, Region, Regions, Shared, SplitMemory};
use virtio::{Chain, Options, Segment, split};

const SIZE: u16 = 256;
/// Requests that are offered, used and taken back together.
const BATCH: usize = 64;
const ROUNDS: usize = 400;

/// A driver whose work is measured.
trait Driver {
    /// Offers chains of so many segments, the last of which the device writes, and publishes them.
    fn offer(&mut self, segments: usize) -> Result<()>;
    /// Takes them back.
    fn reap(&mut self) -> Result<()>;
}

/// Nanoseconds per request of the driver's side, for chains of so many segments: ours, and the peer's. The device's work is not in it.
pub fn beside(segments: usize) -> Result<[f64; 2]> {
    let mut ours = Ours::new()?;
    let mut theirs = theirs::Theirs::new()?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let device = (&mut ours.device, &ours.regions);
        own.push(round(&mut ours.driver, device, segments)?);
        let device = (&mut theirs.device, &theirs.regions);
        other.push(round(&mut theirs.driver, device, segments)?);
    }
    Ok([own, other].map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2].as_nanos() as f64 / BATCH as f64
    }))
}

fn round(
    driver: &mut impl Driver,
    (device, regions): (&mut split::Device<SplitMemory>, &Regions),
    segments: usize,
) -> Result<Duration> {
    let start = Instant::now();
    driver.offer(segments)?;
    let offered = start.elapsed();
    let mut chain = Chain::new();
    while let Some(taken) = device.take(&regions, &mut chain)? {
        device.put(taken, chain.writable_bytes());
    }
    device.publish();
    let start = Instant::now();
    driver.reap()?;
    Ok(offered + start.elapsed())
}

/// Memory by the addresses that it has here.
fn memory(bytes: usize) -> Result<(Shared, Regions)> {
    let memory = Shared::whole(Arc::new(Heap::zeroed(bytes)));
    let mut regions = Regions::new();
    regions.add(Region { address: memory.host_address(), memory: memory.clone() })?;
    Ok((memory, regions))
}

struct Ours {
    driver: OurDriver,
    device: split::Device<SplitMemory>,
    regions: Regions,
}

struct OurDriver {
    ring: split::Driver<SplitMemory>,
    data: u64,
}

impl Ours {
    fn new() -> Result<Self> {
        let (memory, regions) = memory(1 << 16)?;
        let cells = || {
            let part = |at, index: usize| memory.piece(at, SplitMemory::bytes(SIZE)[index]).ok_or("memory");
            Ok::<_, Box<dyn std::error::Error>>(SplitMemory::new(
                SIZE,
                part(0, 0)?,
                part(8192, 1)?,
                part(16384, 2)?,
            )?)
        };
        let ring = split::Driver::new(cells()?, Options::default());
        let device = split::Device::new(cells()?, Options::default());
        let data = memory.host_address() + 32768;
        Ok(Self { driver: OurDriver { ring, data }, device, regions })
    }
}

impl Driver for OurDriver {
    fn offer(&mut self, segments: usize) -> Result<()> {
        let segment = Segment { address: self.data, length: 64 };
        let readable = [segment; 8];
        for _ in 0..BATCH {
            self.ring.add(&readable[..segments - 1], &[segment])?;
        }
        self.ring.publish();
        Ok(())
    }

    fn reap(&mut self) -> Result<()> {
        for _ in 0..BATCH {
            self.ring.reap()?.ok_or("nothing was used")?;
        }
        Ok(())
    }
}

//! What a back-end writes down of the requests that it has, and goes on with after a crash.

use super::peer::{PLAIN, message, payload};
use super::session::{file, pause};
use super::work::{SIZE, Work, served};
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::frontend::Used;
use crate::memory::Mapping;
use crate::payload::Inflight;
use crate::wire::Message as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use virtio::features::Features;
use virtio::memory::Shared;

const INFLIGHT: &str = "vhost-user: Inflight I/O tracking";

/// The part of a split ring: version, entries, the head that was given back last, how far the used ring was told. Each entry begins with
/// whether its chain is in flight, and ends with when it was taken.
const VERSION: usize = 8;
const ENTRIES: usize = 10;
const LAST: usize = 12;
const USED: usize = 14;
const ENTRY: usize = 16;
const HEADER: usize = 16;
const COUNTER: usize = 8;

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "state.inflight.get",
            Level::Must,
            INFLIGHT,
            "there is memory for what is in flight, as long as it says",
            |run| {
                inflight(run)?;
                let (said, descriptor) = run.front(Features::empty())?.inflight(1, 256)?;
                let size = rustix::fs::fstat(&descriptor).map_err(std::io::Error::from)?.st_size as u64;
                // A header, and 16 bytes for each entry.
                match said.mmap_offset.checked_add(said.mmap_size) {
                    Some(end) if end <= size && said.mmap_size >= 16 + 256 * 16 => Ok(()),
                    _ => failed(format!("{} bytes from {} on, of {size}", said.mmap_size, said.mmap_offset)),
                }
            },
        ),
        Check::new(
            "state.inflight.set",
            Level::Must,
            INFLIGHT,
            "it is taken back, and requests are served",
            |run| {
                inflight(run)?;
                let kind = served(run)?;
                let mut front = run.front(Features::empty())?;
                let queues = u16::try_from(kind.queue() + 1).unwrap_or(1);
                let (said, descriptor) = front.inflight(queues, SIZE)?;
                front.set_inflight(said, descriptor.as_fd())?;
                let mut work = Work::on(run, front, kind)?;
                work.batch(5)?;
                work.front.stop_queue(kind.queue())?;
                // What is between the queues is the back-end's: of another than the first it is not known where it is.
                if kind.queue() > 0 {
                    return Ok(());
                }
                none_in_flight(&mut work, &mapped(&said, &descriptor)?)
            },
        ),
        Check::new(
            "state.inflight.short",
            Level::Robust,
            INFLIGHT,
            "the back-end survives an inflight region that is longer than its file",
            |run| {
                inflight(run)?;
                let (mut said, _) = run.front(Features::empty())?.inflight(1, 64)?;
                said.mmap_size = 1 << 40;
                let file = file(4096)?;
                let request = Request::SetInflightFd(said);
                run.ordinary()?
                    .reaction(&message(request.number(), PLAIN, &payload(&request)), &[file.as_fd()])
                    .map(drop)
            },
        ),
        Check::new(
            "state.inflight.resubmitted",
            Level::Must,
            INFLIGHT,
            "what was in flight of a back-end that died is served, and what had come back is not served again",
            |run| run.builds_upon("state.inflight.set", resubmitted),
        ),
    ]
}

fn inflight(run: &Run<'_>) -> Outcome {
    run.needs(ProtocolFeatures::INFLIGHT_SHMFD)
}

fn mapped(said: &Inflight, descriptor: &OwnedFd) -> Result<Shared, Trouble> {
    let long = || Trouble::Failed("the region is longer than memory".to_owned());
    let end = said.mmap_offset.checked_add(said.mmap_size).and_then(|end| usize::try_from(end).ok());
    let whole = Shared::whole(Arc::new(Mapping::new(descriptor.as_fd(), 0, end.ok_or_else(long)?)?));
    let bytes = HEADER + usize::from(SIZE) * ENTRY;
    whole
        .piece(said.mmap_offset as usize, bytes)
        .ok_or_else(|| Trouble::Failed("the region is too short".to_owned()))
}

/// The back-end says that it has nothing, if not at once: it tells the driver first.
fn none_in_flight(work: &mut Work, region: &Shared) -> Outcome {
    let is_there = |entry: u16| region.slice().load::<u8>(HEADER + usize::from(entry) * ENTRY) == Some(1);
    for _ in 0..100 {
        if !(0..SIZE).any(is_there) {
            return Ok(());
        }
        work.call(&Request::GetFeatures, &[])?;
        pause(Duration::from_millis(1));
    }
    failed("requests that are done are still said to be in flight")
}

/// Two requests were offered, and the second came back before the back-end died: the first alone is in flight.
fn resubmitted(run: &mut Run<'_>) -> Outcome {
    inflight(run)?;
    if served(run)?.queue() > 0 {
        return not_applicable("it is not known where the part of its queue is");
    }
    let mut work = Work::laid_out(run)?;
    let (first, _) = work.offer_in_turn(0)?;
    let (second, _) = work.offer_in_turn(0)?;
    work.queue.ring.publish();
    work.pretend_done(second);
    let Used::Split(used) = work.queue.used_entries() else { return failed("the ring is not split") };
    let entry = used.slice();
    let (index, head, written) = (2, 4, 8);
    let _ = (entry.store(head, u32::from(second.0)), entry.store(written, 1_u32));
    let _ = entry.store(index, 1_u16);
    let (said, descriptor) = work.front.inflight(1, SIZE)?;
    let region = mapped(&said, &descriptor)?;
    let all = region.slice();
    let at = HEADER + usize::from(first.0) * ENTRY;
    let numbers = [(VERSION, 1), (ENTRIES, SIZE), (LAST, second.0), (USED, 1)];
    for (at, number) in numbers {
        let _ = all.store(at, number);
    }
    let _ = (all.store(at + COUNTER, 1_u64), all.store(at, 1_u8));
    work.front.place_queue(&work.queue, 1)?;
    work.front.set_inflight(said, descriptor.as_fd())?;
    work.front.attach_queue(&work.queue, 1)?;
    work.front.driver_ok()?;
    // That of the back-end before, and then the other.
    work.ended()?;
    work.ended()?;
    none_in_flight(&mut work, &region)?;
    match work.reap()? {
        None => Ok(()),
        Some(_) => failed("it came back twice"),
    }
}

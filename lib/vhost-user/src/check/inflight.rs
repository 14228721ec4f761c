//! What a back-end writes down of the requests that it has, and goes on with after a crash.

mod crash;

use super::peer::{PLAIN, message, payload};
use super::session::{file, pause};
use super::work::{SIZE, Work, served};
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::VringState;
use crate::wire::{Message as _, Reply};
use crash::{Batch, Crash, Kind, Region};
use std::os::fd::AsFd as _;
use std::time::Duration;
use virtio::features::Features;
use virtio::ring::Token;

const INFLIGHT: &str = "vhost-user: Inflight I/O tracking";

pub(super) fn checks() -> Vec<Check> {
    let mut all = vec![
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
            |run| taken(run, Kind::Split),
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
            "state.inflight.skip-drain",
            Level::Must,
            "vhost-user: VHOST_USER_GET_VRING_BASE_SKIP_DRAIN",
            "a ring that is stopped without being drained says where it was",
            |run| {
                run.needs(WITHOUT_DRAINING)?;
                let front = run.front_with(Features::empty(), WITHOUT_DRAINING)?;
                let kind = served(run)?;
                let mut work = Work::on(run, front, kind)?;
                work.batch(5)?;
                let request =
                    Request::GetVringBaseSkipDrain(VringState { index: work.queue.index(), num: 0 });
                match work.front.call(&request, &[])?.map(|answer| answer.reply) {
                    Some(Reply::VringState(VringState { num: 5, .. })) => Ok(()),
                    other => failed(format!("after 5 requests it answered {other:?}")),
                }
            },
        ),
        Check::new(
            "state.inflight.packed.set",
            Level::Must,
            INFLIGHT,
            "that of a packed ring is taken back, and requests are served",
            |run| run.builds_upon(PACKED, |run| taken(run, Kind::Packed)),
        ),
    ];
    for (kind, which, ring) in [(Kind::Split, "", "a split ring"), (Kind::Packed, "packed.", "a packed ring")]
    {
        let after = |name: &str, level, title: &str, resumes: fn(&mut Run<'_>, Kind) -> Outcome| {
            let set = format!("state.inflight.{which}set");
            Check::new(
                format!("state.inflight.{which}{name}"),
                level,
                INFLIGHT,
                format!("{ring}: {title}"),
                move |run| {
                    run.builds_upon(&set, |run| match kind {
                        Kind::Split => resumes(run, kind),
                        Kind::Packed => run.builds_upon(PACKED, |run| resumes(run, kind)),
                    })
                },
            )
        };
        all.extend([
            after(
                "resubmitted",
                Level::Must,
                "what was in flight of a back-end that died is served, and what had come back is not served again",
                resubmitted,
            ),
            after(
                "order",
                Level::Should,
                "what was in flight is served in the order in which it was taken",
                in_order,
            ),
            after(
                "commit",
                Level::Must,
                "what the driver has seen is done, though the back-end died before it wrote that down",
                committed,
            ),
            after(
                "rollback",
                Level::Must,
                "what was written down as done and never shown to the driver is done again",
                rolled_back,
            ),
            after("cleared", Level::Must, "what is done again is not in flight any more", cleared),
        ]);
    }
    all
}

/// Without which nothing can be asked of packed rings.
const PACKED: &str = "rings.traffic.packed";

const WITHOUT_DRAINING: ProtocolFeatures = ProtocolFeatures::INFLIGHT_SHMFD
    .union(ProtocolFeatures::GET_VRING_BASE_INFLIGHT)
    .union(ProtocolFeatures::GET_VRING_BASE_SKIP_DRAIN);

fn inflight(run: &Run<'_>) -> Outcome {
    run.needs(ProtocolFeatures::INFLIGHT_SHMFD)
}

/// Requests go through a ring of which the back-end writes down what is in flight.
fn taken(run: &mut Run<'_>, kind: Kind) -> Outcome {
    inflight(run)?;
    let device = served(run)?;
    let mut front = run.front(kind.features())?;
    let queues = u16::try_from(device.queue() + 1).unwrap_or(1);
    let (said, descriptor) = front.inflight(queues, SIZE)?;
    front.set_inflight(said, descriptor.as_fd())?;
    let mut work = Work::on(run, front, device)?;
    work.batch(5)?;
    work.front.stop_queue(device.queue())?;
    // What is between the queues is the back-end's: of another than the first it is not known where it is.
    if device.queue() > 0 {
        return Ok(());
    }
    none_in_flight(&mut work, &Region::of(kind, &said, &descriptor)?)
}

/// The back-end says that it has nothing, if not at once: it tells the driver first.
fn none_in_flight(work: &mut Work, region: &Region) -> Outcome {
    for _ in 0..100 {
        work.call(&Request::GetFeatures, &[])?;
        if !region.has_any() {
            return Ok(());
        }
        pause(Duration::from_millis(1));
    }
    failed("requests that are done are still said to be in flight")
}

/// A ring of a first queue with so many requests, of which a back-end died that had taken all of them.
fn crash(run: &mut Run<'_>, kind: Kind, requests: usize) -> Result<Crash, Trouble> {
    inflight(run)?;
    if served(run)?.queue() > 0 {
        return not_applicable("it is not known where the part of its queue is");
    }
    Crash::new(Work::laid_out(run, kind.features())?, kind, requests)
}

/// All requests come back, those that had come back before among them; gives them in the order in which they did.
fn all_come_back(crash: &mut Crash) -> Result<Vec<Token>, Trouble> {
    let mut came = Vec::new();
    for _ in 0..crash.requests() {
        came.push(crash.work.ended_as()?);
    }
    // Whatever else came would come before the next.
    crash.work.once()?;
    match crash.work.reap()? {
        None => Ok(came),
        Some(_) => failed("one came back twice"),
    }
}

/// Two requests were offered, and the second came back before the back-end died: the first alone is in flight.
fn resubmitted(run: &mut Run<'_>, kind: Kind) -> Outcome {
    let mut crash = crash(run, kind, 2)?;
    crash.given_back(&[1], Batch::Finished)?;
    crash.resumed()?;
    all_come_back(&mut crash).map(drop)
}

/// They were taken in another order than that of their places.
fn in_order(run: &mut Run<'_>, kind: Kind) -> Outcome {
    let mut crash = crash(run, kind, 3)?;
    let order = [2, 0, 1];
    crash.taken_in(&order)?;
    crash.resumed()?;
    let came = all_come_back(&mut crash)?;
    let places: Vec<_> = came.iter().map(|token| crash.place(*token)).collect();
    if places == order.map(Some) {
        return Ok(());
    }
    failed(format!("they were taken as {order:?} and came back as {places:?}"))
}

/// Two came back, and the back-end died before it wrote down that they had.
fn committed(run: &mut Run<'_>, kind: Kind) -> Outcome {
    let mut crash = crash(run, kind, 4)?;
    crash.given_back(&[2, 0], Batch::Shown)?;
    crash.resumed()?;
    all_come_back(&mut crash).map(drop)
}

/// Two were written down, and the back-end died before the driver could see them.
fn rolled_back(run: &mut Run<'_>, kind: Kind) -> Outcome {
    let mut crash = crash(run, kind, 5)?;
    crash.given_back(&[1, 0], Batch::Hidden)?;
    crash.resumed()?;
    all_come_back(&mut crash).map(drop)
}

fn cleared(run: &mut Run<'_>, kind: Kind) -> Outcome {
    let mut crash = crash(run, kind, 6)?;
    crash.resumed()?;
    all_come_back(&mut crash)?;
    let Crash { work, region, .. } = &mut crash;
    none_in_flight(work, region)
}

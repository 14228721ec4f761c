//! Rings that run: what goes through them, and how they stop, start again and change hands.

use super::super::order::Order;
use super::super::session::pause;
use super::super::work::{SIZE, Work, eventfd, served};
use super::super::{Check, Kind, Level, Outcome, Run, Trouble, failed, not_applicable};
use super::{BASE, CALL, KICK, PACKED, SPLIT, STATES};
use crate::front::Request;
use crate::payload::VringState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;
use virtio::features::Features;

pub(super) fn checks() -> Vec<Check> {
    let mut all = traffic();
    all.extend(states());
    all
}

fn traffic() -> Vec<Check> {
    let features = |name: &str, level, section, title: &str, features: Features| {
        Check::new(format!("rings.traffic.{name}"), level, section, title, move |run| {
            let mut work = Work::with(run, features)?;
            let room = work.room();
            work.once()?;
            // Some more than once round.
            (0..8).try_for_each(|_| work.batch(room / 2))
        })
    };
    let in_order = |name: &str, section, title: &str, features: Features| {
        let features = features | Features::IN_ORDER;
        Check::new(format!("rings.traffic.{name}"), Level::Must, section, title, move |run| {
            let mut work = Work::with(run, features)?;
            let mut order = Order::of(&work.queue);
            for _ in 0..8 {
                order.over();
                for number in 0..work.room() / 2 {
                    let (token, places) = work.offer_in_turn(number)?;
                    order.offered(token.0, places);
                }
                work.queue.submit()?;
                (0..work.room() / 2).try_for_each(|_| work.ended())?;
                order.look()?;
            }
            // What is written for the last of them comes before it stops. Who cannot stop is found by others.
            let _ = work.front.stop_queue(work.queue.index());
            order.look()
        })
    };
    vec![
        features("plain", Level::Must, SPLIT, "requests are served through a split ring", Features::empty()),
        features(
            "event-index",
            Level::Must,
            SPLIT,
            "requests are served with the event index",
            Features::EVENT_IDX,
        ),
        features(
            "indirect",
            Level::Must,
            SPLIT,
            "requests are served from indirect tables",
            Features::INDIRECT_DESC,
        ),
        features(
            "both",
            Level::Must,
            SPLIT,
            "requests are served from indirect tables with the event index",
            Features::INDIRECT_DESC | Features::EVENT_IDX,
        ),
        in_order(
            "in-order",
            "VIRTIO 1.4: 2.7.9",
            "requests are served in order where that was negotiated",
            Features::empty(),
        ),
        features(
            "packed",
            Level::Must,
            PACKED,
            "requests are served through a packed ring",
            Features::RING_PACKED,
        ),
        features(
            "packed.event-index",
            Level::Must,
            PACKED,
            "requests are served through a packed ring with the event index",
            Features::RING_PACKED | Features::EVENT_IDX,
        ),
        features(
            "packed.indirect",
            Level::Must,
            PACKED,
            "requests are served from indirect tables of a packed ring",
            Features::RING_PACKED | Features::INDIRECT_DESC,
        ),
        in_order(
            "packed.in-order",
            "VIRTIO 1.4: 2.8.9",
            "requests are served in order through a packed ring",
            Features::RING_PACKED,
        ),
        Check::new(
            "rings.traffic.length",
            Level::Must,
            "VIRTIO 1.4: 2.7.8.2",
            "no more is said to be written than is, and nothing where nothing can be",
            |run| {
                let mut work = Work::start(run)?;
                work.offer()?;
                work.queue.submit()?;
                loop {
                    match work.reap()? {
                        Some(done) if done.overlong => {
                            return failed("it says that it wrote more than was writable");
                        }
                        Some(done) => return work.right(done),
                        None if work.queue.wait(run.patience.time())? => {}
                        None => return failed("the request is not served"),
                    }
                }
            },
        ),
        Check::new("rings.traffic.full", Level::Must, SPLIT, "a ring that is full is served whole", |run| {
            let mut work = Work::start(run)?;
            let room = work.room();
            (0..3).try_for_each(|_| work.batch(room))
        }),
        Check::new(
            "rings.traffic.wrap",
            Level::Must,
            BASE,
            "a ring that had chains before goes on behind them, and from 65,535 to 0",
            |run| {
                let mut work = Work::after(run, u16::MAX - 2 * SIZE)?;
                let many = work.room() - 1;
                (0..16).try_for_each(|_| work.batch(many))
            },
        ),
        Check::new(
            "rings.traffic.long",
            Level::Must,
            SPLIT,
            "more requests go through a ring than its indices count",
            |run| {
                let mut work = Work::start(run)?;
                let room = work.room();
                (0..(1 << 16) / room + 2).try_for_each(|_| work.batch(room))
            },
        ),
        Check::new(
            "rings.traffic.second",
            Level::Must,
            "vhost-user: Multiple queue support",
            "the last queue is served as the first is",
            |run| {
                let kind = served(run)?;
                if !matches!(kind, Kind::Blk) || run.queues() < 2 {
                    return not_applicable("it has one queue for this");
                }
                let mut work = Work::start(run)?;
                work.once()?;
                let mut more = crate::memory::Memory::new(1 << 16)?;
                work.front.add_memory(&more)?;
                let last = run.queues().min(256) - 1;
                let queue = work.front.start_queue(last, SIZE, &mut more)?;
                work.once()?;
                let first = std::mem::replace(&mut work.queue, queue);
                (0..3).try_for_each(|_| work.once())?;
                work.queue = first;
                match work.front.stop_queue(last)? {
                    3 => work.once(),
                    other => failed(format!("after 3 requests the last queue stopped at {other}")),
                }
            },
        ),
    ]
}

fn states() -> Vec<Check> {
    vec![
        Check::new(
            "rings.stop.base",
            Level::Must,
            BASE,
            "a ring says where it stopped: behind what it served",
            |run| {
                let mut work = Work::start(run)?;
                work.batch(7)?;
                match work.front.stop_queue(work.queue.index())? {
                    7 => Ok(()),
                    other => failed(format!("after 7 requests it stopped at {other}")),
                }
            },
        ),
        Check::new(
            "rings.stop.twice",
            Level::Robust,
            BASE,
            "a ring that is stopped can be stopped again, and is where it was",
            |run| {
                let mut work = Work::start(run)?;
                work.batch(3)?;
                let index = work.queue.index();
                let (one, other) = (work.front.stop_queue(index)?, work.front.stop_queue(index)?);
                if one == other { Ok(()) } else { failed(format!("{one}, and then {other}")) }
            },
        ),
        Check::new(
            "rings.stop.drains",
            Level::Must,
            BASE,
            "a ring is stopped when what it took is done",
            |run| {
                let mut work = Work::start(run)?;
                let room = work.room();
                for _ in 0..room {
                    work.offer()?;
                }
                work.queue.submit()?;
                let base = work.front.stop_queue(work.queue.index())? as usize;
                let mut done = 0;
                while let Some(one) = work.reap()? {
                    work.right(one)?;
                    done += 1;
                }
                if done == base {
                    Ok(())
                } else {
                    failed(format!("it took {base} requests, and {done} are done"))
                }
            },
        ),
        Check::new("rings.stop.quiet", Level::Must, STATES, "a ring that is stopped is not served", |run| {
            let mut work = Work::start(run)?;
            work.once()?;
            work.front.stop_queue(work.queue.index())?;
            work.offer()?;
            work.queue.submit()?;
            work.queue.kick()?;
            still(&mut work)
        }),
        Check::new("rings.restart", Level::Must, BASE, "a ring goes on where it stopped", |run| {
            let mut work = Work::start(run)?;
            for _ in 0..5 {
                work.batch(5)?;
                let base = work.front.stop_queue(work.queue.index())?;
                work.front.attach_queue(&work.queue, base)?;
            }
            work.once()
        }),
        Check::new(
            "rings.restart.call",
            Level::Robust,
            CALL,
            "a ring that was stopped keeps its address and its descriptor for calls",
            |run| {
                let mut work = Work::start(run)?;
                work.once()?;
                let index = work.queue.index();
                let base = work.front.stop_queue(index)?;
                let kick = eventfd()?;
                work.call(&Request::SetVringBase(VringState { index, num: base }), &[])?;
                work.call(&Request::SetVringKick(index.into()), &[kick.as_fd()])?;
                enabled(&mut work)?;
                let call = work.queue.call().try_clone_to_owned()?;
                let kicks = || rustix::io::write(&kick, &1_u64.to_ne_bytes()).map_err(std::io::Error::from);
                rings(run, &mut work, &call, |_| Ok(kicks().map(drop)?))
            },
        ),
        Check::new(
            "rings.restart.waiting",
            Level::Should,
            KICK,
            "what waits in a ring when it starts is served though nobody kicks",
            |run| {
                let mut work = Work::start(run)?;
                work.once()?;
                let index = work.queue.index();
                let base = work.front.stop_queue(index)?;
                work.offer()?;
                work.queue.ring.publish();
                let kick = eventfd()?;
                work.front.place_queue(&work.queue, base)?;
                work.call(&Request::SetVringKick(index.into()), &[kick.as_fd()])?;
                enabled(&mut work)?;
                work.ended()
            },
        ),
        Check::new(
            "rings.disable.quiet",
            Level::Must,
            STATES,
            "a ring that is disabled is not served",
            |run| {
                if served(run)? == Kind::Net {
                    return not_applicable("a network device drops what is sent on a disabled ring");
                }
                let mut work = with_enable(run)?;
                work.once()?;
                enable(&mut work, 0)?;
                work.offer()?;
                work.queue.submit()?;
                work.queue.kick()?;
                still(&mut work)
            },
        ),
        Check::new(
            "rings.disable.kick",
            Level::Must,
            STATES,
            "a kick that comes while a ring is disabled is not lost",
            |run| {
                if served(run)? == Kind::Net {
                    return not_applicable("a network device drops what is sent on a disabled ring");
                }
                let mut work = with_enable(run)?;
                for _ in 0..5 {
                    work.once()?;
                    enable(&mut work, 0)?;
                    work.offer()?;
                    work.queue.submit()?;
                    work.queue.kick()?;
                    enable(&mut work, 1)?;
                    work.ended()?;
                }
                Ok(())
            },
        ),
        Check::new(
            "rings.enable.again",
            Level::Must,
            STATES,
            "enabling a ring that is enabled changes nothing",
            |run| {
                let mut work = with_enable(run)?;
                work.once()?;
                enable(&mut work, 1)?;
                work.once()
            },
        ),
        Check::new(
            "rings.call.other",
            Level::Must,
            CALL,
            "a new descriptor for calls takes the place of the one before",
            |run| {
                let mut work = Work::start(run)?;
                work.once()?;
                let call = eventfd()?;
                let index = work.queue.index();
                work.call(&Request::SetVringCall(index.into()), &[call.as_fd()])?;
                rings(run, &mut work, &call, |work| Ok(work.queue.submit()?))
            },
        ),
        Check::new(
            "rings.call.none",
            Level::Must,
            CALL,
            "a ring without calls is served all the same",
            |run| {
                let mut work = Work::start(run)?;
                work.once()?;
                let index = work.queue.index();
                work.call(&Request::SetVringCall(1 << 8 | u64::from(index)), &[])?;
                // Some serve the first, and end when they cannot call.
                for _ in 0..5 {
                    work.offer()?;
                    work.queue.submit()?;
                    soon(&mut work)?;
                }
                Ok(())
            },
        ),
        Check::new(
            "rings.kick.other",
            Level::Must,
            KICK,
            "a new descriptor for kicks takes the place of the one before",
            |run| {
                let mut work = Work::start(run)?;
                work.once()?;
                let kick = eventfd()?;
                let index = work.queue.index();
                work.call(&Request::SetVringKick(index.into()), &[kick.as_fd()])?;
                work.offer()?;
                work.queue.ring.publish();
                rustix::io::write(&kick, &1_u64.to_ne_bytes()).map_err(std::io::Error::from)?;
                work.ended()
            },
        ),
        Check::new("rings.kick.none", Level::Should, KICK, "a ring without kicks is polled", |run| {
            let mut work = Work::start(run)?;
            work.once()?;
            let index = work.queue.index();
            let base = work.front.stop_queue(index)?;
            work.front.place_queue(&work.queue, base)?;
            work.call(&Request::SetVringKick(1 << 8 | u64::from(index)), &[])?;
            enabled(&mut work)?;
            for _ in 0..5 {
                work.offer()?;
                work.queue.ring.publish();
                work.ended()?;
            }
            Ok(())
        }),
        Check::new(
            "rings.no-protocol-features",
            Level::Must,
            STATES,
            "without bit 30 rings are enabled from the start",
            |run| {
                let kind = served(run)?;
                run.needs_features(Features::VERSION_1)?;
                let stream = run.backend.connect().map_err(Trouble::Unreachable)?;
                let mut front = crate::frontend::FrontEnd::new(stream, run.options.timeout)?;
                front.call(&Request::GetFeatures, &[])?;
                front.call(&Request::SetOwner, &[])?;
                front.set_features(Features::VERSION_1)?;
                Work::on(run, front, kind)?.once()
            },
        ),
    ]
}

/// How long a ring is watched that must not be served.
const QUIET: Duration = Duration::from_millis(30);

fn with_enable(run: &mut Run<'_>) -> Result<Work, Trouble> {
    if run.offer.protocol.is_none() {
        return not_applicable("it offers no protocol features");
    }
    Work::start(run)
}

fn enable(work: &mut Work, num: u32) -> Outcome {
    let index = work.queue.index();
    work.call(&Request::SetVringEnable(VringState { index, num }), &[])
}

/// Whoever stopped a ring may have disabled it too.
fn enabled(work: &mut Work) -> Outcome {
    if work.front.negotiated().features.contains(Features::PROTOCOL_FEATURES) {
        return enable(work, 1);
    }
    Ok(())
}

/// Nothing is served, several answers later, nor by a thread that wakes up late.
fn still(work: &mut Work) -> Outcome {
    for _ in 0..5 {
        work.call(&Request::GetFeatures, &[])?;
    }
    pause(QUIET);
    match work.reap()? {
        None => Ok(()),
        Some(_) => failed("a request was served"),
    }
}

/// Something is served though nobody calls.
fn soon(work: &mut Work) -> Outcome {
    for _ in 0..100_000 {
        if let Some(done) = work.reap()? {
            return work.right(done);
        }
        work.call(&Request::GetFeatures, &[])?;
    }
    failed("the request is not served")
}

/// A request ends, and this descriptor is rung for it, once the driver has told of it.
fn rings(run: &Run<'_>, work: &mut Work, call: &OwnedFd, tell: impl Fn(&mut Work) -> Outcome) -> Outcome {
    let unrung = || rustix::io::read(call, &mut [0_u8; 8]);
    // It may have been rung already, for whoever missed one.
    let _ = unrung();
    work.queue.ring.want_calls(1);
    work.offer()?;
    work.queue.ring.publish();
    tell(work)?;
    // It may be rung for what was done before.
    while readable(call, run.patience.time())? {
        let _ = unrung();
        if let Some(done) = work.reap()? {
            return work.right(done);
        }
    }
    match work.reap()? {
        Some(_) => failed("it served the request and did not call"),
        None => failed("the request is not served"),
    }
}

fn readable(descriptor: &OwnedFd, time: Duration) -> Result<bool, Trouble> {
    let mut all = [PollFd::new(descriptor, PollFlags::IN)];
    let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 2, tv_nsec: 0 });
    let count = poll(&mut all, Some(&time)).map_err(std::io::Error::from)?;
    Ok(count > 0)
}

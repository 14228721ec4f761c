//! Rings: what starts, enables, stops and moves them.

use super::peer::{NEED_REPLY, PLAIN, message, payload};
use super::session::{file, give, region};
use super::work::{SIZE, Work, eventfd, known};
use super::{Check, Kind, Level, Outcome, Run, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::{VringAddress, VringState};
use crate::wire::Message as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd as _;
use virtio::features::Features;

const STATES: &str = "vhost-user: Ring states";
const KICK: &str = "vhost-user: VHOST_USER_SET_VRING_KICK";
const CALL: &str = "vhost-user: VHOST_USER_SET_VRING_CALL";
const NUM: &str = "vhost-user: VHOST_USER_SET_VRING_NUM";
const BASE: &str = "vhost-user: VHOST_USER_SET_VRING_BASE, VHOST_USER_GET_VRING_BASE";
const ADDRESS: &str = "vhost-user: VHOST_USER_SET_VRING_ADDR";
const SPLIT: &str = "VIRTIO 1.4: 2.7";
const PACKED: &str = "VIRTIO 1.4: 2.8";

pub(super) fn checks() -> Vec<Check> {
    let mut all = parameters();
    all.extend(traffic());
    all.extend(states());
    all
}

/// A request for a ring.
type OfRing = fn(u32) -> Request;

fn parameters() -> Vec<Check> {
    let mut all = Vec::new();
    let of_ring: [(&str, OfRing); 8] = [
        ("SET_VRING_NUM", |index| Request::SetVringNum(VringState { index, num: 8 })),
        ("SET_VRING_ADDR", |index| Request::SetVringAddr(VringAddress { index, ..VringAddress::default() })),
        ("SET_VRING_BASE", |index| Request::SetVringBase(VringState { index, num: 0 })),
        ("GET_VRING_BASE", |index| Request::GetVringBase(VringState { index, num: 0 })),
        ("SET_VRING_ENABLE", |index| Request::SetVringEnable(VringState { index, num: 0 })),
        ("SET_VRING_KICK", |index| Request::SetVringKick(1 << 8 | u64::from(index & 0xff))),
        ("SET_VRING_CALL", |index| Request::SetVringCall(1 << 8 | u64::from(index & 0xff))),
        ("SET_VRING_ERR", |index| Request::SetVringErr(1 << 8 | u64::from(index & 0xff))),
    ];
    for (name, make) in of_ring {
        // The last three name rings by 8 bits.
        let far = if name.ends_with("KICK") || name.ends_with("CALL") || name.ends_with("ERR") {
            255
        } else {
            0x7fff_ffff
        };
        for (which, index) in [("near", None), ("far", Some(far))] {
            let title = format!(
                "{name} for a ring {} is refused",
                if index.is_some() { "far beyond the last" } else { "beyond the last" }
            );
            all.push(Check::new(
                format!("rings.index.{which}.{name}"),
                Level::Robust,
                STATES,
                title,
                move |run| {
                    // Pairs may have been counted.
                    let index = index.unwrap_or_else(|| run.queues().saturating_mul(2).saturating_add(2));
                    if index > 255 && far == 255 {
                        return not_applicable("it has as many rings as can be named");
                    }
                    let request = make(index);
                    let bytes = message(request.number(), NEED_REPLY, &payload(&request));
                    let peer = run.ordinary()?;
                    if request.facts().reply.is_none() {
                        return peer.rejects(&bytes, &[], run.can_refuse());
                    }
                    peer.bytes(&message(request.number(), PLAIN, &payload(&request)), &[])?;
                    match peer.receive()? {
                        None => Ok(()),
                        Some(_) => failed("it answered as if there were such a ring"),
                    }
                },
            ));
        }
    }
    for (size, level, why) in [
        (0_u32, Level::Robust, "0"),
        (32_769, Level::Robust, "more than 32,768"),
        (65_536, Level::Robust, "65,536"),
        (u32::MAX, Level::Robust, "the largest number"),
    ] {
        let title = format!("a ring of {why} entries is refused");
        all.push(Check::new(format!("rings.size.{size}"), level, NUM, title, move |run| {
            refused(run, &Request::SetVringNum(VringState { index: 0, num: size }))
        }));
    }
    all.extend([
        Check::new(
            "rings.size.odd",
            Level::Robust,
            SPLIT,
            "a split ring whose size is no power of two is refused at the latest when it starts",
            |run| {
                let peer = run.ordinary()?;
                let file = file(1 << 16)?;
                let one = region(0, 1 << 16, 0);
                give(run, &peer, one, &file)?;
                let first = Request::SetVringNum(VringState { index: 0, num: 7 });
                if rejected_now(&peer, &first)? {
                    return Ok(());
                }
                let base = one.user_address;
                let address = VringAddress {
                    descriptors: base,
                    available: base + 4096,
                    used: base + 8192,
                    ..VringAddress::default()
                };
                if rejected_now(&peer, &Request::SetVringAddr(address))? {
                    return Ok(());
                }
                let kick = eventfd()?;
                let start = Request::SetVringKick(0);
                peer.rejects(
                    &message(start.number(), NEED_REPLY, &payload(&start)),
                    &[kick.as_fd()],
                    run.can_refuse(),
                )
            },
        ),
        Check::new("rings.base.far", Level::Robust, BASE, "the base of a split ring has 16 bits", |run| {
            let peer = run.ordinary()?;
            let request = Request::SetVringBase(VringState { index: 0, num: 0x0001_0000 });
            if rejected_now(&peer, &request)? {
                return Ok(());
            }
            // Who keeps the lower bits only says so when asked.
            let answer = peer.ask(&Request::GetVringBase(VringState { index: 0, num: 0 }), PLAIN, &[])?;
            match answer.payload.get(4..8) {
                Some([0, 0, 0, 0]) => Ok(()),
                other => failed(format!("the base is {other:?}")),
            }
        }),
        Check::new(
            "rings.base.never",
            Level::Robust,
            BASE,
            "a ring that never started can be stopped",
            |run| {
                let answer = run.ordinary()?.ask(
                    &Request::GetVringBase(VringState { index: 0, num: 0 }),
                    PLAIN,
                    &[],
                )?;
                if answer.payload.len() == 8 {
                    Ok(())
                } else {
                    failed(format!("its answer has {} bytes", answer.payload.len()))
                }
            },
        ),
        Check::new("rings.base.index", Level::Must, BASE, "the answer says which ring was stopped", |run| {
            let last = run.queues().saturating_sub(1).min(255);
            let answer = run.ordinary()?.ask(
                &Request::GetVringBase(VringState { index: last, num: 0 }),
                PLAIN,
                &[],
            )?;
            match answer.payload.first_chunk().map(|index| u32::from_ne_bytes(*index)) {
                Some(index) if index == last => Ok(()),
                other => failed(format!("it says {other:?} and not {last}")),
            }
        }),
        Check::new(
            "rings.base.given",
            Level::Must,
            BASE,
            "a ring that was not started has the base that it was given",
            |run| {
                let peer = run.ordinary()?;
                peer.send(&Request::SetVringNum(VringState { index: 0, num: 8 }), PLAIN, &[])?;
                peer.send(&Request::SetVringBase(VringState { index: 0, num: 5 }), PLAIN, &[])?;
                let answer = peer.ask(&Request::GetVringBase(VringState { index: 0, num: 0 }), PLAIN, &[])?;
                match answer.payload.get(4..8) {
                    Some([5, 0, 0, 0]) => Ok(()),
                    other => failed(format!("the base is {other:?} and not 5")),
                }
            },
        ),
        Check::new(
            "rings.enable.other",
            Level::Robust,
            STATES,
            "enabling with a number that is neither 0 nor 1 is refused",
            |run| {
                run.needs(ProtocolFeatures::REPLY_ACK)?;
                refused(run, &Request::SetVringEnable(VringState { index: 0, num: 2 }))
            },
        ),
        Check::new(
            "rings.enable.early",
            Level::Must,
            STATES,
            "a ring may be enabled before it has anything, as QEMU does it for networks",
            |run| {
                let peer = run.bare()?;
                peer.number(&Request::GetFeatures)?;
                if run.offer.protocol.is_none() {
                    return not_applicable("it offers no protocol features");
                }
                peer.number(&Request::GetProtocolFeatures)?;
                peer.send(
                    &Request::SetProtocolFeatures((run.offer.known() & ProtocolFeatures::MQ).bits()),
                    PLAIN,
                    &[],
                )?;
                peer.send(&Request::SetVringEnable(VringState { index: 0, num: 1 }), PLAIN, &[])?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "rings.kick.both",
            Level::Robust,
            KICK,
            "a kick that comes with a descriptor and says there is none is refused",
            |run| {
                let kick = eventfd()?;
                let request = Request::SetVringKick(1 << 8);
                let can_refuse = run.can_refuse();
                run.ordinary()?.rejects(
                    &message(request.number(), NEED_REPLY, &payload(&request)),
                    &[kick.as_fd()],
                    can_refuse,
                )
            },
        ),
        Check::new(
            "rings.kick.neither",
            Level::Robust,
            KICK,
            "a kick without a descriptor that does not say so is refused",
            |run| refused(run, &Request::SetVringKick(0)),
        ),
        Check::new(
            "rings.call.neither",
            Level::Robust,
            CALL,
            "a call without a descriptor that does not say so is refused",
            |run| refused(run, &Request::SetVringCall(0)),
        ),
        Check::new(
            "rings.address.unaligned",
            Level::Robust,
            ADDRESS,
            "parts of a ring that are not aligned are refused at the latest when it starts",
            |run| {
                let peer = run.ordinary()?;
                let file = file(1 << 16)?;
                let one = region(0, 1 << 16, 0);
                give(run, &peer, one, &file)?;
                peer.send(&Request::SetVringNum(VringState { index: 0, num: 8 }), PLAIN, &[])?;
                let base = one.user_address;
                let address = VringAddress {
                    descriptors: base + 1,
                    available: base + 4097,
                    used: base + 8193,
                    ..VringAddress::default()
                };
                if rejected_now(&peer, &Request::SetVringAddr(address))? {
                    return Ok(());
                }
                let kick = eventfd()?;
                let start = Request::SetVringKick(0);
                peer.rejects(
                    &message(start.number(), NEED_REPLY, &payload(&start)),
                    &[kick.as_fd()],
                    run.can_refuse(),
                )
            },
        ),
    ]);
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
        features(
            "in-order",
            Level::Must,
            SPLIT,
            "requests are served in order where that was negotiated",
            Features::IN_ORDER,
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
        features(
            "packed.in-order",
            Level::Must,
            PACKED,
            "requests are served in order through a packed ring",
            Features::RING_PACKED | Features::IN_ORDER,
        ),
        Check::new("rings.traffic.full", Level::Must, SPLIT, "a ring that is full is served whole", |run| {
            let mut work = Work::start(run)?;
            let room = work.room();
            (0..3).try_for_each(|_| work.batch(room))
        }),
        Check::new(
            "rings.traffic.wrap",
            Level::Must,
            SPLIT,
            "the indices of a ring go on from 65,535 to 0",
            |run| {
                let mut work = Work::with(run, Features::empty())?;
                let room = work.room();
                let rounds = (1 << 16) / room + 2;
                (0..rounds).try_for_each(|_| work.batch(room))
            },
        ),
        Check::new(
            "rings.traffic.second",
            Level::Must,
            "vhost-user: Multiple queue support",
            "the last queue is served as the first is",
            |run| {
                let kind = known(run)?;
                if !matches!(kind, Kind::Blk) || run.queues() < 2 {
                    return not_applicable("it has one queue for this");
                }
                let mut work = Work::start(run)?;
                work.once()?;
                let mut more = crate::memory::Memory::new(1 << 16)?;
                work.front.add_memory(&more)?;
                let last = run.queues().min(256) - 1;
                let _queue = work.front.start_queue(last, SIZE, &mut more)?;
                work.once()?;
                match work.front.stop_queue(last)? {
                    0 => work.once(),
                    other => failed(format!("a queue that was not used stopped at {other}")),
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
                work.offer()?;
                work.queue.ring.publish();
                rustix::io::write(&kick, &1_u64.to_ne_bytes()).map_err(std::io::Error::from)?;
                work.ended()
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
                if known(run)? == Kind::Net {
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
                if known(run)? == Kind::Net {
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
                // It may have been rung already, for whoever missed one.
                let _ = rustix::io::read(&call, &mut [0_u8; 8]);
                work.queue.ring.want_calls(1);
                work.offer()?;
                work.queue.submit()?;
                if !readable(&call, run.options.timeout)? {
                    return failed("the new one is not rung");
                }
                match work.reap()? {
                    Some(done) => work.right(done),
                    None => failed("it was rung, and no request is done"),
                }
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
                work.offer()?;
                work.queue.submit()?;
                soon(&mut work)
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
        Check::new("rings.kick.none", Level::Must, KICK, "a ring without kicks is polled", |run| {
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
                let kind = known(run)?;
                let stream = run.backend.connect().map_err(super::Trouble::Unreachable)?;
                let mut front = crate::frontend::FrontEnd::new(stream, run.options.timeout)?;
                front.call(&Request::GetFeatures, &[])?;
                front.call(&Request::SetOwner, &[])?;
                front.set_features(Features::VERSION_1)?;
                Work::on(run, front, kind)?.once()
            },
        ),
    ]
}

fn refused(run: &mut Run<'_>, request: &Request) -> Outcome {
    let can_refuse = run.can_refuse();
    run.ordinary()?.rejects(&message(request.number(), NEED_REPLY, &payload(request)), &[], can_refuse)
}

/// Whether a request is refused at once; some back-ends look at it when the ring starts.
fn rejected_now(peer: &super::peer::Peer, request: &Request) -> Result<bool, super::Trouble> {
    use super::peer::Reaction;
    let reaction = peer.reaction(&message(request.number(), NEED_REPLY, &payload(request)), &[])?;
    Ok(matches!(reaction, Reaction::Closed | Reaction::Refused(_)))
}

fn with_enable(run: &mut Run<'_>) -> Result<Work, super::Trouble> {
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

/// Nothing is served, several answers later.
fn still(work: &mut Work) -> Outcome {
    for _ in 0..5 {
        work.call(&Request::GetFeatures, &[])?;
    }
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

fn readable(descriptor: &std::os::fd::OwnedFd, time: std::time::Duration) -> Result<bool, super::Trouble> {
    let mut all = [PollFd::new(descriptor, PollFlags::IN)];
    let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 2, tv_nsec: 0 });
    let count = poll(&mut all, Some(&time)).map_err(std::io::Error::from)?;
    Ok(count > 0)
}

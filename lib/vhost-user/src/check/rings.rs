//! Rings: what starts, enables, stops and moves them.

mod running;

use super::peer::{NEED_REPLY, PLAIN, message, payload};
use super::session::{file, give, region};
use super::work::{Work, eventfd};
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::{VringAddress, VringState};
use crate::wire::Message as _;
use std::os::fd::AsFd as _;

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
    all.extend(running::checks());
    all
}

/// What everything else that is asked of rings builds upon.
pub(super) fn served() -> Check {
    Check::new("rings.served", Level::Must, SPLIT, "a request is served", |run| {
        let mut once = || Work::start(run)?.once();
        // Some lose a kick now and then, which is for checks of kicks to find: nothing of their rings would be asked.
        let outcome = match once() {
            Err(Trouble::Failed(_)) => once(),
            other => other,
        };
        run.serves_nothing = matches!(outcome, Err(Trouble::Failed(_)));
        outcome
    })
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
            let (peer, _kick) = run.started(last, 0)?;
            let answer = peer.ask(&Request::GetVringBase(VringState { index: last, num: 0 }), PLAIN, &[])?;
            match answer.payload.first_chunk().map(|index| u32::from_ne_bytes(*index)) {
                Some(index) if index == last => Ok(()),
                other => failed(format!("it says {other:?} and not {last}")),
            }
        }),
        Check::new(
            "rings.base.given",
            Level::Must,
            BASE,
            "a ring that did nothing stops at the base that it was given",
            |run| {
                let (peer, _kick) = run.started(0, 5)?;
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
            Level::Should,
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

//! Features: what is offered, and what may be set.

use super::peer::{NEED_REPLY, PLAIN, Reaction, message};
use super::session::names;
use super::{Check, Level, Outcome, Run, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use virtio::features::Features;

const FEATURES: &str = "vhost-user: VHOST_USER_GET_FEATURES, VHOST_USER_SET_FEATURES";
const PROTOCOL: &str = "vhost-user: Protocol features";
const MQ: &str = "vhost-user: Multiple queue support";
const SLOTS: &str = "vhost-user: VHOST_USER_GET_MAX_MEM_SLOTS";

pub(super) fn checks() -> Vec<Check> {
    let mut all = vec![
        Check::new(
            "negotiation.version-1",
            Level::Should,
            "VIRTIO 1.4: 6.1",
            "VIRTIO_F_VERSION_1 is offered: the device is not a legacy one only",
            |run| {
                if run.offer.features.contains(Features::VERSION_1) {
                    Ok(())
                } else {
                    failed("bit 32 is not offered")
                }
            },
        ),
        Check::new(
            "negotiation.protocol-features",
            Level::Should,
            PROTOCOL,
            "protocol features are offered (bit 30)",
            |run| {
                if run.offer.protocol.is_some() { Ok(()) } else { failed("bit 30 is not offered") }
            },
        ),
        Check::new(
            "negotiation.features.same",
            Level::Must,
            FEATURES,
            "the features are the same however often they are asked for",
            |run| {
                let peer = run.bare()?;
                same(&peer, &Request::GetFeatures, run.offer.features.bits())
            },
        ),
        Check::new(
            "negotiation.protocol.same",
            Level::Must,
            PROTOCOL,
            "the protocol features are the same however often they are asked for",
            |run| {
                let offered = protocol(run)?;
                let peer = run.bare()?;
                peer.number(&Request::GetFeatures)?;
                same(&peer, &Request::GetProtocolFeatures, offered)
            },
        ),
        Check::new(
            "negotiation.protocol.unknown-bits",
            Level::Should,
            PROTOCOL,
            "no protocol feature is offered that the specification does not have",
            |run| {
                let unknown = protocol(run)? & !ProtocolFeatures::all().bits();
                if unknown == 0 {
                    Ok(())
                } else {
                    failed(format!("{unknown:#x} is offered, by another numbering perhaps"))
                }
            },
        ),
        Check::new(
            "negotiation.protocol.prerequisites",
            Level::Must,
            PROTOCOL,
            "what an offered protocol feature needs is offered too",
            |run| {
                protocol(run)?;
                // What excludes another may be offered beside it: the front-end chooses.
                let offered = run.offer.known();
                for feature in offered.iter() {
                    if let Some((feature, lacks)) =
                        feature.union(offered.difference(ProtocolFeatures::PAGEFAULT)).contradiction()
                        && !offered.contains(lacks)
                    {
                        return failed(format!("{} needs {}", names(feature), names(lacks)));
                    }
                }
                Ok(())
            },
        ),
        Check::new(
            "negotiation.features.unknown",
            Level::Robust,
            FEATURES,
            "features that were not offered cannot be set",
            |run| {
                let free = (0..64).rev().map(|bit| 1 << bit).find(|bit| run.offer.features.bits() & bit == 0);
                let Some(free) = free else { return not_applicable("every feature is offered") };
                let bits = (run.features().bits() | free).to_ne_bytes();
                let can_refuse = run.can_refuse();
                run.ordinary()?.rejects(&message(2, NEED_REPLY, &bits), &[], can_refuse)
            },
        ),
        Check::new(
            "negotiation.protocol.unknown",
            Level::Robust,
            PROTOCOL,
            "protocol features that were not offered cannot be set",
            |run| {
                let offered = protocol(run)?;
                let free =
                    (24..64).rev().map(|bit| 1 << bit).find(|bit| offered & bit == 0).unwrap_or(1 << 63);
                let wanted = run.offer.known() & ProtocolFeatures::REPLY_ACK;
                let bits = (wanted.bits() | free).to_ne_bytes();
                let can_refuse = run.can_refuse();
                run.ordinary()?.rejects(&message(16, NEED_REPLY, &bits), &[], can_refuse)
            },
        ),
        Check::new(
            "negotiation.protocol.in-band",
            Level::Must,
            "vhost-user: In-band notifications",
            "in-band notifications cannot be set without what they need",
            |run| {
                run.needs(ProtocolFeatures::INBAND_NOTIFICATIONS | ProtocolFeatures::REPLY_ACK)?;
                let bits = ProtocolFeatures::INBAND_NOTIFICATIONS
                    .union(ProtocolFeatures::REPLY_ACK)
                    .bits()
                    .to_ne_bytes();
                run.ordinary()?.rejects(&message(16, NEED_REPLY, &bits), &[], true)
            },
        ),
        Check::new(
            "negotiation.protocol.skip-drain",
            Level::Must,
            PROTOCOL,
            "GET_VRING_BASE_SKIP_DRAIN cannot be set without what it needs",
            |run| {
                run.needs(ProtocolFeatures::GET_VRING_BASE_SKIP_DRAIN | ProtocolFeatures::REPLY_ACK)?;
                let bits = ProtocolFeatures::GET_VRING_BASE_SKIP_DRAIN
                    .union(ProtocolFeatures::REPLY_ACK)
                    .bits()
                    .to_ne_bytes();
                run.ordinary()?.rejects(&message(16, NEED_REPLY, &bits), &[], true)
            },
        ),
        Check::new(
            "negotiation.owner.twice",
            Level::Robust,
            "vhost-user: VHOST_USER_SET_OWNER",
            "SET_OWNER may come twice",
            |run| {
                let peer = run.ordinary()?;
                peer.send(&Request::SetOwner, PLAIN, &[])?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "negotiation.owner.late",
            Level::Should,
            "vhost-user: VHOST_USER_SET_OWNER",
            "SET_OWNER may come after the features, as QEMU sends it",
            |run| {
                let peer = run.bare()?;
                peer.number(&Request::GetFeatures)?;
                peer.send(&Request::SetFeatures(run.features().bits()), PLAIN, &[])?;
                peer.send(&Request::SetOwner, PLAIN, &[])?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "negotiation.owner.reset",
            Level::Robust,
            "vhost-user: VHOST_USER_RESET_OWNER",
            "RESET_OWNER, which is deprecated, does not end the session",
            |run| {
                let peer = run.ordinary()?;
                peer.send(&Request::ResetOwner, PLAIN, &[])?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "negotiation.features.again",
            Level::Must,
            FEATURES,
            "features may be set again, as migrations do",
            |run| {
                let peer = run.ordinary()?;
                for _ in 0..3 {
                    peer.send(&Request::SetFeatures(run.features().bits()), PLAIN, &[])?;
                }
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "negotiation.queues.some",
            Level::Must,
            MQ,
            "GET_QUEUE_NUM tells of at least one queue",
            |run| {
                run.needs(ProtocolFeatures::MQ)?;
                match run.offer.queues {
                    Some(1..=65_536) => Ok(()),
                    other => failed(format!("{other:?} queues")),
                }
            },
        ),
        Check::new(
            "negotiation.queues.same",
            Level::Must,
            MQ,
            "GET_QUEUE_NUM tells the same each time",
            |run| {
                run.needs(ProtocolFeatures::MQ)?;
                let peer = run.negotiated(ProtocolFeatures::MQ)?;
                same(&peer, &Request::GetQueueNum, run.offer.queues.unwrap_or(0))
            },
        ),
        Check::new(
            "negotiation.queues.offered",
            Level::Should,
            MQ,
            "MQ is offered, also by devices with one queue",
            |run| {
                protocol(run)?;
                if run.offer.known().contains(ProtocolFeatures::MQ) {
                    Ok(())
                } else {
                    failed("it is not offered")
                }
            },
        ),
        Check::new(
            "negotiation.slots.enough",
            Level::Should,
            SLOTS,
            "there are at least 8 slots for memory, as many as SET_MEM_TABLE has",
            |run| {
                run.needs(ProtocolFeatures::CONFIGURE_MEM_SLOTS)?;
                match run.offer.slots {
                    Some(slots) if slots >= 8 => Ok(()),
                    other => failed(format!("{other:?} slots")),
                }
            },
        ),
        Check::new(
            "negotiation.slots.same",
            Level::Must,
            SLOTS,
            "the slots for memory do not become fewer",
            |run| {
                run.needs(ProtocolFeatures::CONFIGURE_MEM_SLOTS)?;
                let peer = run.ordinary()?;
                same(&peer, &Request::GetMaxMemSlots, run.offer.slots.unwrap_or(0))
            },
        ),
    ];
    let lacks_one = [
        (ProtocolFeatures::BACKEND_SEND_FD, "BACKEND_SEND_FD", "BACKEND_REQ"),
        (ProtocolFeatures::HOST_NOTIFIER, "HOST_NOTIFIER", "BACKEND_REQ"),
        (ProtocolFeatures::SHARED_OBJECT, "SHARED_OBJECT", "BACKEND_REQ"),
        (ProtocolFeatures::SHMEM, "SHMEM", "BACKEND_REQ"),
    ];
    for (feature, name, needed) in lacks_one {
        let title = format!("the back-end survives that {name} is set without {needed}");
        all.push(Check::new(
            format!("negotiation.protocol.alone.{name}"),
            Level::Robust,
            PROTOCOL,
            title,
            move |run| {
                run.needs(feature)?;
                let bits = (feature | run.offer.known() & ProtocolFeatures::REPLY_ACK).bits().to_ne_bytes();
                // Nothing says what must come of it, but the back-end must live.
                run.ordinary()?.reaction(&message(16, NEED_REPLY, &bits), &[]).map(drop)
            },
        ));
    }
    all.push(Check::new(
        "negotiation.protocol.both",
        Level::Robust,
        "vhost-user: VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS",
        "postcopy and memory slots, which exclude each other, are not taken together",
        |run| {
            run.needs(
                ProtocolFeatures::PAGEFAULT
                    | ProtocolFeatures::CONFIGURE_MEM_SLOTS
                    | ProtocolFeatures::REPLY_ACK,
            )?;
            let both = ProtocolFeatures::PAGEFAULT
                | ProtocolFeatures::CONFIGURE_MEM_SLOTS
                | ProtocolFeatures::REPLY_ACK;
            match run.ordinary()?.reaction(&message(16, NEED_REPLY, &both.bits().to_ne_bytes()), &[])? {
                Reaction::Accepted => failed(Reaction::Accepted.in_words()),
                _ => Ok(()),
            }
        },
    ));
    all
}

fn protocol(run: &Run<'_>) -> Result<u64, super::Trouble> {
    run.offer.protocol.map_or_else(|| not_applicable("it offers no protocol features"), Ok)
}

fn same(peer: &super::peer::Peer, request: &Request, before: u64) -> Outcome {
    for _ in 0..3 {
        let now = peer.number(request)?;
        if now != before {
            return failed(format!("{before:#x}, and then {now:#x}"));
        }
    }
    Ok(())
}

//! What is wrong with features, and requests that should be acknowledged and are not.

use super::known::{Heard, Known};
use super::{Deed, Fault, spoil_number, upon};
use crate::ProtocolFeatures;
use virtio::features::Features;

pub(super) fn fault(name: &str) -> Option<Fault> {
    use ProtocolFeatures as P;
    let always = |_: &Known, _: &Heard| true;
    let number = |request, how: fn(u64) -> u64| upon(request, always, spoil_number(how));
    let again = |request, how: fn(u64) -> u64| {
        upon(request, move |known, _| known.count(request) > 0, spoil_number(how))
    };
    // Taken though it was not offered, or cannot be.
    let taken =
        |request, fits: fn(u64) -> bool, deed| upon(request, move |_, it| it.u64().is_some_and(fits), deed);
    Some(match name {
        "version-1" => {
            upon("GET_FEATURES", always, spoil_number(|offered| offered & !Features::VERSION_1.bits()))
        }
        "protocol-features" => upon(
            "GET_FEATURES",
            always,
            spoil_number(|offered| offered & !Features::PROTOCOL_FEATURES.bits()),
        ),
        "features.same" => upon(
            "GET_FEATURES",
            |known, _| known.numbers() == [1, 1],
            spoil_number(|offered| offered ^ Features::EVENT_IDX.bits()),
        ),
        "protocol.same" => again("GET_PROTOCOL_FEATURES", |offered| offered ^ P::STATUS.bits()),
        "protocol.unknown-bits" => number("GET_PROTOCOL_FEATURES", |offered| offered | 1 << 40),
        "protocol.prerequisites" => hidden(P::GET_VRING_BASE_INFLIGHT),
        "features.unknown" => taken("SET_FEATURES", |bits| bits >> 63 == 1, Deed::Acknowledge(0)),
        "protocol.unknown" => taken("SET_PROTOCOL_FEATURES", |bits| bits >> 63 == 1, Deed::Acknowledge(0)),
        "protocol.in-band" => taken(
            "SET_PROTOCOL_FEATURES",
            |bits| bits == (P::INBAND_NOTIFICATIONS | P::REPLY_ACK).bits(),
            Deed::Acknowledge(0),
        ),
        "protocol.skip-drain" => taken(
            "SET_PROTOCOL_FEATURES",
            |bits| bits == (P::GET_VRING_BASE_SKIP_DRAIN | P::REPLY_ACK).bits(),
            Deed::Acknowledge(0),
        ),
        "protocol.both" => added(P::PAGEFAULT).or(taken(
            "SET_PROTOCOL_FEATURES",
            |bits| bits & P::PAGEFAULT.bits() != 0,
            Deed::Acknowledge(0),
        )),
        "owner.twice" => {
            upon("SET_OWNER", |known, it| known.count("SET_OWNER") > 0 && !it.asks(), Deed::Close)
        }
        "owner.late" => upon(
            "SET_OWNER",
            |known, _| known.count("SET_OWNER") == 0 && known.count("SET_FEATURES") > 0,
            Deed::Close,
        ),
        "owner.reset" => upon("RESET_OWNER", always, Deed::Close),
        "features.again" => upon("SET_FEATURES", |known, _| known.count("SET_FEATURES") == 3, Deed::Close),
        "queues.some" => number("GET_QUEUE_NUM", |_| 0),
        "queues.same" => again("GET_QUEUE_NUM", |queues| queues.wrapping_add(1)),
        "queues.offered" => hidden(P::MQ),
        "slots.enough" => number("GET_MAX_MEM_SLOTS", |_| 4).or(upon(
            "ADD_MEM_REG",
            |known, _| known.count("ADD_MEM_REG").checked_sub(known.count("REM_MEM_REG")) == Some(4),
            Deed::Acknowledge(1),
        )),
        "slots.same" => again("GET_MAX_MEM_SLOTS", |slots| slots.wrapping_sub(1)),
        _ => {
            let feature = P::from_name(name.strip_prefix("protocol.alone.")?)?;
            added(feature).or(upon(
                "SET_PROTOCOL_FEATURES",
                move |_, it| {
                    it.u64()
                        .is_some_and(|bits| bits & feature.bits() != 0 && bits & P::BACKEND_REQ.bits() == 0)
                },
                Deed::Die,
            ))
        }
    })
}

/// It refuses what it should acknowledge, where nothing else is done than asking for that.
pub(super) fn unacknowledged(name: &str) -> Option<Fault> {
    const REFUSED: Deed = Deed::Acknowledge(1);
    let first = |request: &'static str, fits: fn(&Known, &Heard) -> bool| {
        upon(
            request,
            move |known, it| it.asks() && known.acknowledges && !known.has_memory() && fits(known, it),
            REFUSED,
        )
    };
    let region = |request, pages: u64| {
        // The size is the second number behind the padding.
        upon(request, move |_, it| it.asks() && number(it, 16) == Some(pages << 12), REFUSED)
    };
    Some(match name {
        "SET_OWNER" => first("SET_OWNER", |known, _| known.count("SET_OWNER") > 0),
        "SET_FEATURES" => first("SET_FEATURES", |known, it| {
            it.descriptors.is_empty() && it.u64().is_some() && known.count("SET_FEATURES") == 1
        }),
        "SET_PROTOCOL_FEATURES" => first("SET_PROTOCOL_FEATURES", |known, it| {
            let usual = ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK;
            known.count("SET_PROTOCOL_FEATURES") == 1 && it.u64() == Some(usual.bits())
        }),
        "SET_VRING_NUM" => first("SET_VRING_NUM", |_, it| is_state(it, 8)),
        "SET_VRING_BASE" => first("SET_VRING_BASE", |_, it| is_state(it, 0)),
        "SET_VRING_ENABLE" => first("SET_VRING_ENABLE", |_, it| is_state(it, 0)),
        "SET_STATUS" => {
            first("SET_STATUS", |known, it| it.u64() == Some(3) && known.count("SET_STATUS") == 0)
        }
        "RESET_DEVICE" => first("RESET_DEVICE", |_, it| it.descriptors.is_empty()),
        "SET_VRING_CALL" => first("SET_VRING_CALL", |_, it| it.descriptors.len() == 1),
        "SET_VRING_CALL.none" => first("SET_VRING_CALL", |_, it| it.u64() == Some(1 << 8)),
        "SET_VRING_ERR" => first("SET_VRING_ERR", |_, it| it.descriptors.len() == 1),
        "SET_VRING_ERR.none" => first("SET_VRING_ERR", |_, it| it.u64() == Some(1 << 8)),
        "SET_MEM_TABLE" => region("SET_MEM_TABLE", 16),
        "ADD_MEM_REG" => region("ADD_MEM_REG", 3),
        "REM_MEM_REG" => region("REM_MEM_REG", 5),
        "SET_BACKEND_REQ_FD" => first("SET_BACKEND_REQ_FD", |_, _| true),
        "not-negotiated" => {
            upon("SET_VRING_BASE", |known, it| it.asks() && !known.acknowledges, Deed::Answer(0))
        }
        "not-asked" => upon(
            "SET_VRING_BASE",
            |known, it| !it.asks() && known.acknowledges && !known.has_memory(),
            Deed::Answer(0),
        ),
        "own-answer" => upon("GET_FEATURES", |_, it| it.asks(), Deed::Also(0)),
        "config" => upon("SET_CONFIG", |_, it| it.word(0) == Some(1 << 20), Deed::Acknowledge(0)),
        _ => return None,
    })
}

/// The first ring, and this number.
fn is_state(it: &Heard, number: u32) -> bool {
    it.descriptors.is_empty() && (it.word(0), it.word(1)) == (Some(0), Some(number)) && it.payload.len() == 8
}

/// A number of eight bytes within a payload.
pub(super) fn number(it: &Heard, at: usize) -> Option<u64> {
    it.payload.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// A feature is not offered that could be.
pub(super) fn hidden(feature: ProtocolFeatures) -> Fault {
    let hides = spoil_number(move |offered| offered & !feature.bits());
    upon("GET_PROTOCOL_FEATURES", |_, _| true, hides)
}

/// One is offered that is not there.
pub(super) fn added(feature: ProtocolFeatures) -> Fault {
    let adds = spoil_number(move |offered| offered | feature.bits());
    upon("GET_PROTOCOL_FEATURES", |_, _| true, adds)
}

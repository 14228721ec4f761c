//! What is wrong with the requests for rings.

use super::known::{Heard, Known};
use super::negotiation::number;
use super::{Deed, Fault, overwrite, spoil, upon};
use crate::ProtocolFeatures;
use crate::check::peer::Received;
use virtio::features::Features;

const TAKEN: Deed = Deed::Acknowledge(0);

/// Entries of rings that checks start by hand, and of those that they use.
const BY_HAND: u32 = 8;
const USED: u32 = super::super::work::SIZE as u32;

pub(super) fn fault(name: &str) -> Option<Fault> {
    let kick = |fits: fn(&Known, &Heard) -> bool, deed| upon("SET_VRING_KICK", fits, deed);
    let call = |fits: fn(&Known, &Heard) -> bool, deed| upon("SET_VRING_CALL", fits, deed);
    let enable = |fits: fn(&Known, &Heard) -> bool, deed| upon("SET_VRING_ENABLE", fits, deed);
    Some(match name {
        "size.odd" => upon("SET_VRING_NUM", |_, it| it.word(1) == Some(7), Deed::Pretend),
        "base.far" => upon(
            "SET_VRING_BASE",
            |_, it| it.word(1) == Some(0x0001_0000),
            Deed::Change(|it| overwrite(&mut it.payload, 4, &1_u32.to_ne_bytes())),
        ),
        "base.never" => upon(
            "GET_VRING_BASE",
            |known, it| it.ring() == Some(0) && known.count("SET_VRING_KICK") == 0,
            Deed::Close,
        ),
        "base.index" => {
            let ring = spoil(|_, answer| overwrite(&mut answer.payload, 0, &[0; 4]));
            upon("GET_VRING_BASE", |known, it| of_size(known, it, BY_HAND), ring)
        }
        "base.given" => stops(|known, it, base| (of_size(known, it, BY_HAND) && base == 5).then_some(0)),
        "enable.other" => enable(|_, it| it.word(1) == Some(2), TAKEN),
        "enable.early" => enable(|known, _| known.count("SET_FEATURES") == 0, Deed::Close),
        "enable.again" => enable(
            |known, it| {
                let on = |it: &Heard| it.word(1) == Some(1);
                let before = known.since("GET_VRING_BASE").iter().rev();
                let before =
                    before.filter(|it| it.is("SET_VRING_ENABLE")).find(|other| other.ring() == it.ring());
                on(it) && before.is_some_and(on) && known.count("RESET_DEVICE") == 0
            },
            // The other way round.
            Deed::Change(|it| overwrite(&mut it.payload, 4, &0_u32.to_ne_bytes())),
        ),
        "kick.both" => kick(|_, it| it.brings_none() && !it.descriptors.is_empty(), TAKEN),
        "kick.neither" => kick(|_, it| it.u64() == Some(0) && it.descriptors.is_empty(), TAKEN),
        "kick.other" => kick(|known, it| it.ring().is_some_and(|ring| known.is_started(ring)), TAKEN),
        "kick.none" => kick(|known, it| it.brings_none() && known.count("GET_VRING_BASE") > 0, TAKEN),
        "call.neither" => call(|_, it| it.u64() == Some(0) && it.descriptors.is_empty(), TAKEN),
        "call.other" => {
            call(|known, it| !it.brings_none() && it.ring().is_some_and(|ring| known.is_started(ring)), TAKEN)
        }
        "call.none" => call(
            |known, it| {
                let is_started = it.ring().is_some_and(|ring| known.is_started(ring));
                // In-band calls are another check's.
                let in_band = ProtocolFeatures::INBAND_NOTIFICATIONS.bits();
                it.brings_none() && is_started && known.protocol() & in_band == 0
            },
            Deed::Close,
        ),
        "address.unaligned" => {
            upon("SET_VRING_ADDR", |_, it| number(it, 8).is_some_and(|at| at & 1 != 0), Deed::Pretend)
        }
        "stop.base" => stops(|known, it, base| (of_size(known, it, USED) && base == 7).then_some(8)),
        "stop.twice" => stops(|known, it, base| {
            let is_again =
                known.count("GET_VRING_BASE") > 0 && !it.ring().is_some_and(|ring| known.is_started(ring));
            is_again.then_some(base.wrapping_add(1))
        }),
        // All that were offered at once, or none of them.
        "stop.drains" => stops(|known, it, base| {
            let is_first = known.count("GET_VRING_BASE") == 0 && it.ring() == Some(0);
            (is_first && of_size(known, it, USED) && (base == 0 || base == USED / 3))
                .then_some(base.wrapping_add(1))
        }),
        "stop.quiet" => upon("GET_VRING_BASE", |known, it| of_size(known, it, USED), Deed::GoOn),
        // It begins anew, whatever it is told.
        "restart" => upon(
            "SET_VRING_BASE",
            |known, _| known.count("GET_VRING_BASE") == 3,
            Deed::Change(|it| overwrite(&mut it.payload, 4, &0_u32.to_ne_bytes())),
        ),
        "restart.call" => kick(
            |known, _| {
                let since = known.since("GET_VRING_BASE");
                known.count("GET_VRING_BASE") > 0 && !since.iter().any(|it| it.is("SET_VRING_ADDR"))
            },
            // It has forgotten where the ring is.
            TAKEN,
        ),
        "restart.waiting" => kick(
            |known, it| {
                let base = known.last("SET_VRING_BASE").and_then(|it| it.word(1));
                let waits = known.available(0).is_some_and(|offered| Some(u32::from(offered)) != base);
                let since = known.since("GET_VRING_BASE");
                let is_whole = since.iter().any(|it| it.is("SET_VRING_ADDR"));
                known.count("GET_VRING_BASE") > 0 && is_whole && !it.descriptors.is_empty() && waits
            },
            TAKEN,
        ),
        "disable.quiet" => enable(|known, it| it.word(1) == Some(0) && known.is_started(0), TAKEN),
        "disable.kick" => enable(
            |known, it| {
                let last = known.last("SET_VRING_ENABLE").and_then(|it| it.word(1));
                it.word(1) == Some(1) && last == Some(0)
            },
            TAKEN,
        ),
        "no-protocol-features" => kick(
            |known, _| {
                let features = known.last("SET_FEATURES").and_then(Heard::u64).unwrap_or(0);
                known.has_memory() && features & Features::PROTOCOL_FEATURES.bits() == 0
            },
            TAKEN,
        ),
        _ => return family(name),
    })
}

/// Checks of which there are several.
fn family(name: &str) -> Option<Fault> {
    if let Some(size) = name.strip_prefix("size.") {
        let size = size.parse().ok()?;
        return Some(upon("SET_VRING_NUM", move |_, it| it.word(1) == Some(size), TAKEN));
    }
    let (which, request) = name.strip_prefix("index.")?.split_once('.')?;
    let (is_far, request) = (which == "far", request.to_owned());
    Some(super::when(
        move |_, it| {
            let index = it.ring().unwrap_or(0);
            it.is(&request) && index > 1 && (index >= 255) == is_far && it.request().is_ok()
        },
        TAKEN,
    ))
}

fn of_size(known: &Known, it: &Heard, size: u32) -> bool {
    it.ring().and_then(|ring| known.size(ring)) == Some(size)
}

/// Where a ring stopped becomes another place, or stays.
fn stops(place: fn(&Known, &Heard, u32) -> Option<u32>) -> Fault {
    let spoilt = move |known: &Known, answer: &mut Received| {
        let bytes = answer.payload.clone();
        let asked = Heard {
            number: answer.number,
            flags: 1,
            announced: bytes.len() as u32,
            payload: bytes,
            descriptors: Vec::new(),
            header_in_pieces: false,
            payload_in_pieces: false,
            late: false,
        };
        if let Some(place) = asked.word(1).and_then(|base| place(known, &asked, base)) {
            overwrite(&mut answer.payload, 4, &place.to_ne_bytes());
        }
    };
    upon("GET_VRING_BASE", |_, it| it.request().is_ok(), spoil(spoilt))
}

//! Rings that break the rules, of which the back-end dies.

use super::known::{Entry, Heard, Known};
use super::{Deed, Fault, upon};
use virtio::cells::{INDIRECT, NEXT, WRITE};
use virtio::features::Features;

pub(super) fn fault(name: &str) -> Option<Fault> {
    // The check asks for the features once the driver has offered what breaks the rules.
    let sees = |fits: fn(&Known) -> bool| {
        upon("GET_FEATURES", move |known, _| known.size(0) == Some(8) && fits(known), Deed::Die)
    };
    let first = |fits: fn(&Entry) -> bool| {
        upon(
            "GET_FEATURES",
            move |known, _| is_one_offered(known) && known.entry(0, 0).as_ref().is_some_and(fits),
            Deed::Die,
        )
    };
    Some(match name {
        "loop.one" => first(|it| (it.flags, it.next) == (NEXT, 0)),
        "loop.two" => sees(|known| {
            let follows = |at| known.entry(0, at).map(|it| (it.flags, it.next));
            is_one_offered(known) && follows(0) == Some((NEXT, 1)) && follows(1) == Some((NEXT, 0))
        }),
        "next" => first(|it| it.next == 0xffff),
        "head" => sees(|known| known.head(0) == Some(0xffff)),
        "address.nowhere" => first(|it| (it.address, it.flags) == (0x1000, WRITE)),
        "address.wraps" => first(|it| it.address > 1 << 63),
        "length.large" => first(|it| it.length == u32::MAX),
        "length.zero" => first(|it| (it.length, it.flags) == (0, NEXT)),
        "order" => first(|it| it.flags == WRITE | NEXT),
        "indirect.not-negotiated" => sees(|known| is_indirect(known) && !takes_tables(known)),
        "indirect.length" => first(|it| (it.length, it.flags) == (7, INDIRECT)),
        "indirect.empty" => first(|it| (it.length, it.flags) == (0, INDIRECT)),
        "indirect.nowhere" => first(|it| (it.address, it.flags) == (0x1000, INDIRECT)),
        "indirect.nested" => sees(|known| {
            let within = known.entry(0, 0).and_then(|it| known.entry_at(it.address));
            is_indirect(known) && takes_tables(known) && within.is_some_and(|it| it.flags == INDIRECT)
        }),
        "index.near" => sees(|known| known.available(0) == Some(9)),
        "index.far" => sees(|known| known.available(0) == Some(0x8000)),
        "index.last" => sees(|known| known.available(0) == Some(0xffff)),
        "used" => sees(|known| known.used(0) == Some(0x7777)),
        "short" => first(|it| it.length == 1),
        _ => return None,
    })
}

fn is_one_offered(known: &Known) -> bool {
    known.size(0) == Some(8) && known.available(0) == Some(1)
}

fn is_indirect(known: &Known) -> bool {
    is_one_offered(known) && known.entry(0, 0).is_some_and(|it| it.flags == INDIRECT && it.length == 16)
}

fn takes_tables(known: &Known) -> bool {
    let features = known.last("SET_FEATURES").and_then(Heard::u64).unwrap_or(0);
    features & Features::INDIRECT_DESC.bits() != 0
}

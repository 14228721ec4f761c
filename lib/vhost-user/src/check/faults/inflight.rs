//! What is wrong with what was in flight: a region that is not looked at, or made into another before the back-end sees it.

use super::known::{Heard, Known};
use super::{Deed, Fault, overwrite, spoil, upon};
use rustix::io::{pread, pwrite};
use std::os::fd::OwnedFd;
use virtio::features::Features;

/// Entries that are looked at, and bytes of the header and of each entry: as many of a split ring as of a packed one.
const ENTRIES: u64 = 64;
const SPLIT: u64 = 16;
const PACKED: u64 = 32;

/// Requests that each check leaves in flight, by which it is known.
const RESUBMITTED: usize = 1;
const ORDER: usize = 3;
const COMMIT: usize = 4;
const ROLLBACK: usize = 5;
const CLEARED: usize = 6;

/// How many entries say that their chain is in flight, which is their first byte.
pub(super) fn in_flight(region: &OwnedFd, is_packed: bool) -> usize {
    entries(is_packed).filter(|at| number::<1>(region, *at) == Some([1])).count()
}

/// Where the entries of the first queue are.
fn entries(is_packed: bool) -> impl Iterator<Item = u64> {
    let bytes = if is_packed { PACKED } else { SPLIT };
    (1..=ENTRIES).map(move |entry| entry * bytes)
}

fn number<const N: usize>(region: &OwnedFd, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (pread(region, &mut bytes, at) == Ok(N)).then_some(bytes)
}

/// Whoever cannot write it leaves the region as it is, and the check passes, which it must not.
fn set(it: &Heard, at: u64, bytes: &[u8]) {
    if let Some(region) = it.descriptors.first() {
        let _ = pwrite(region, bytes, at);
    }
}

/// A region in which so many chains are in flight.
fn region(packed: bool, chains: usize, deed: Deed) -> Fault {
    upon(
        "SET_INFLIGHT_FD",
        move |known, it| {
            let found = it.descriptors.first().map(|region| in_flight(region, packed));
            is_packed(known) == packed && found == Some(chains)
        },
        deed,
    )
}

pub(super) fn is_packed(known: &Known) -> bool {
    let features = known.last("SET_FEATURES").and_then(Heard::u64);
    features.is_some_and(|bits| bits & Features::RING_PACKED.bits() != 0)
}

pub(super) fn fault(name: &str) -> Option<Fault> {
    Some(match name {
        "get" => upon(
            "GET_INFLIGHT_FD",
            // Queues and their entries, behind the size and the offset.
            |_, it| it.word(4) == Some(1 | 256 << 16),
            spoil(|_, answer| overwrite(&mut answer.payload, 0, &16_u64.to_ne_bytes())),
        ),
        "set" => upon(
            "SET_INFLIGHT_FD",
            |known, it| it.word(1) != Some(1 << 8) && !is_packed(known),
            Deed::Acknowledge(1),
        ),
        "packed.set" => upon("SET_INFLIGHT_FD", |known, _| is_packed(known), Deed::Acknowledge(1)),
        "short" => upon("SET_INFLIGHT_FD", |_, it| it.word(1) == Some(1 << 8), Deed::Die),
        "skip-drain" => upon(
            "GET_VRING_BASE_SKIP_DRAIN",
            |_, _| true,
            spoil(|_, answer| overwrite(&mut answer.payload, 4, &[0; 4])),
        ),
        // The region is not looked at.
        "resubmitted" => region(false, RESUBMITTED, Deed::Acknowledge(0)),
        "packed.resubmitted" => region(true, RESUBMITTED, Deed::Acknowledge(0)),
        // All were taken at once.
        "order" => region(false, ORDER, Deed::Change(|it| at_once(it, false))),
        "packed.order" => region(true, ORDER, Deed::Change(|it| at_once(it, true))),
        // As much came back as is written down.
        "commit" => region(false, COMMIT, Deed::Change(|it| set(it, 14, &2_u16.to_ne_bytes()))),
        "packed.commit" => region(
            true,
            COMMIT,
            Deed::Change(|it| {
                let Some(region) = it.descriptors.first() else { return };
                // What is free is what was free, and what was used is what is used.
                let (free, used) = (number::<2>(region, 14), number::<2>(region, 16));
                set(it, 12, &free.unwrap_or_default());
                set(it, 18, &used.unwrap_or_default());
            }),
        ),
        // What is written down came back.
        "rollback" => region(false, ROLLBACK, Deed::Change(|it| done(it, false))),
        "packed.rollback" => region(true, ROLLBACK, Deed::Change(|it| done(it, true))),
        "cleared" => stays(false),
        "packed.cleared" => stays(true),
        _ => return None,
    })
}

fn at_once(it: &Heard, is_packed: bool) {
    entries(is_packed).for_each(|at| set(it, at + 8, &[0; 8]));
}

/// The first that is in flight is no more.
fn done(it: &Heard, is_packed: bool) {
    let Some(region) = it.descriptors.first() else { return };
    if let Some(first) = entries(is_packed).find(|at| number::<1>(region, *at) == Some([1])) {
        set(it, first, &[0]);
    }
}

/// Something is in flight for ever.
fn stays(packed: bool) -> Fault {
    upon(
        "GET_FEATURES",
        move |known, _| known.in_flight == CLEARED && is_packed(known) == packed,
        spoil(move |known, _| {
            if let (Some(set_to), Some(last)) = (known.last("SET_INFLIGHT_FD"), entries(packed).last()) {
                set(set_to, last, &[1]);
            }
        }),
    )
}

//! What is wrong with what a device says it is.

use super::configuration::HEAD;
use super::known::{Heard, Known};
use super::negotiation::hidden;
use super::{Deed, Fault, spoil, spoil_number, upon};
use crate::ProtocolFeatures;
use virtio::{console, net};

/// Bits that no device of any of these types has.
const OF_NONE: [(&str, u64); 6] = [
    ("net", 1 << 4),
    ("blk", 1 << 20),
    ("console", 1 << 3),
    ("rng", 1 << 0),
    ("balloon", 1 << 6),
    ("fs", 1 << 1),
];

pub(super) fn fault(name: &str) -> Option<Fault> {
    let (kind, name) = name.split_once('.')?;
    Some(match (kind, name) {
        (_, "features") => {
            let (_, bit) = OF_NONE.into_iter().find(|(of, _)| *of == kind)?;
            offers(bit)
        }
        (_, "configuration.length") => configured(spoil(|_, answer| answer.payload.truncate(HEAD))),
        (_, "configuration.offered") => hidden(ProtocolFeatures::CONFIG),
        (_, "queues") => {
            upon("GET_QUEUE_NUM", |known, _| is_plain(known, ProtocolFeatures::MQ), spoil_number(|_| 1))
        }
        ("net", "requirements") => lacks(net::Features::CSUM),
        ("net", "configuration.pairs") => offers(net::Features::MQ.bits()).or(configured(says(8, &[0, 0]))),
        ("net", "configuration.mtu") => configured(says(10, &[67, 0])),
        ("net", "configuration.status") => configured(says(6, &[8, 0])),
        ("net", "configuration.speed") => {
            use net::Features as F;
            let only = |offered| offered & !(F::MTU | F::MQ).bits() | F::SPEED_DUPLEX.bits();
            upon("GET_FEATURES", |_, _| true, spoil_number(only)).or(configured(says(16, &[7])))
        }
        // None of what says that something is valid.
        ("net", "configuration.valid") => {
            use net::Features as F;
            lacks(F::MAC | F::STATUS | F::MQ | F::MTU)
        }
        ("console", "configuration.valid") => upon(
            "GET_FEATURES",
            |_, _| true,
            spoil_number(|offered| offered & !console::Features::all().bits()),
        ),
        ("blk", "configuration.flags") => configured(says(56, &[7])),
        ("blk", "configuration.sizes") => configured(says(20, &[1, 2, 0, 0])),
        ("console", "configuration.ports") => offers(console::Features::MULTIPORT.bits())
            .or(configured(says(4, &[0; 4])))
            .or(upon("GET_QUEUE_NUM", |known, _| is_plain(known, ProtocolFeatures::MQ), spoil_number(|_| 4))),
        ("balloon", "actual") => {
            upon("SET_CONFIG", |_, it| (it.word(0), it.word(1)) == (Some(4), Some(4)), Deed::Acknowledge(1))
        }
        ("fs", "configuration.queues") => configured(says(36, &[0; 4])),
        ("fs", "configuration.tag") => configured(says(35, b"!")),
        _ => return None,
    })
}

pub(super) fn device(check: &str) -> Option<Fault> {
    use net::Features as F;
    (check == "net.congestion").then(|| {
        let without = |offered| offered & !(F::HOST_TSO4 | F::HOST_TSO6).bits() | F::HOST_ECN.bits();
        upon("GET_FEATURES", |_, _| true, spoil_number(without))
    })
}

/// These bits are offered, too.
fn offers(bits: u64) -> Fault {
    upon("GET_FEATURES", |_, _| true, spoil_number(move |offered| offered | bits))
}

/// These are not.
fn lacks(features: net::Features) -> Fault {
    upon("GET_FEATURES", |_, _| true, spoil_number(move |offered| offered & !features.bits()))
}

/// Only this and acknowledgements were negotiated, as the checks of types do.
fn is_plain(known: &Known, feature: ProtocolFeatures) -> bool {
    known.protocol() == feature.union(ProtocolFeatures::REPLY_ACK).bits()
}

/// What is answered to who looks whether configuration space is that of its type.
fn configured(deed: Deed) -> Fault {
    let fits = |known: &Known, _: &Heard| is_plain(known, ProtocolFeatures::CONFIG);
    upon("GET_CONFIG", fits, deed)
}

/// It has these bytes there, and as many as were asked for.
fn says(at: usize, bytes: &'static [u8]) -> Deed {
    spoil(move |_, answer| {
        let end = HEAD + at + bytes.len();
        if answer.payload.len() < end {
            answer.payload.resize(end, 0);
        }
        super::overwrite(&mut answer.payload, HEAD + at, bytes);
    })
}

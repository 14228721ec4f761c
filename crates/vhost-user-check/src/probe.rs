//! What a back-end offers, in words.

use serde_json::{Value, json};
use std::fmt::Write as _;
use vhost_user::ProtocolFeatures;
use vhost_user::check::{Kind, Offer, doubts};
use virtio::features::Features;
use virtio::{balloon, blk, console, fs, net};

/// Names of the features of a type of device, and of rings.
fn features(features: Features, kind: Option<Kind>) -> (Vec<String>, u64) {
    let mut names: Vec<String> = features.iter_names().map(|(name, _)| name.to_owned()).collect();
    let ring: u64 = features.iter_names().map(|(_, feature)| feature.bits()).fold(0, |all, bit| all | bit);
    let mut rest = features.bits() & !ring;
    let of_type: Vec<(&str, u64)> = match kind {
        Some(Kind::Blk) => blk::Features::all().iter_names().map(|(name, it)| (name, it.bits())).collect(),
        Some(Kind::Net) => net::Features::all().iter_names().map(|(name, it)| (name, it.bits())).collect(),
        Some(Kind::Console) => {
            console::Features::all().iter_names().map(|(name, it)| (name, it.bits())).collect()
        }
        Some(Kind::Balloon) => {
            balloon::Features::all().iter_names().map(|(name, it)| (name, it.bits())).collect()
        }
        Some(Kind::Fs) => fs::Features::all().iter_names().map(|(name, it)| (name, it.bits())).collect(),
        Some(Kind::Rng) | None => Vec::new(),
    };
    for (name, bit) in of_type {
        if rest & bit != 0 {
            names.push(name.to_owned());
            rest &= !bit;
        }
    }
    (names, rest)
}

fn bits(mut rest: u64) -> Vec<u32> {
    let mut all = Vec::new();
    while rest != 0 {
        all.push(rest.trailing_zeros());
        rest &= rest - 1;
    }
    all
}

/// The configuration space of a type, as names and numbers.
fn configuration(bytes: &[u8], kind: Kind) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Blk => {
            let config = blk::Config::parse(bytes);
            vec![
                (
                    "capacity",
                    format!("{} sectors of 512 bytes ({} MiB)", config.capacity, config.capacity / 2048),
                ),
                ("block size", config.block_size.to_string()),
                ("segments", config.seg_max.to_string()),
                ("queues", config.queues.to_string()),
                (
                    "discard",
                    format!("{} sectors in {} ranges", config.discard_sectors, config.discard_segments),
                ),
                (
                    "write zeroes",
                    format!("{} sectors in {} ranges", config.zeroes_sectors, config.zeroes_segments),
                ),
            ]
        }
        Kind::Net => {
            let config = net::Config::parse(bytes);
            let mac: Vec<String> = config.mac.iter().map(|byte| format!("{byte:02x}")).collect();
            vec![
                ("address", mac.join(":")),
                ("link", if config.status & 1 != 0 { "up" } else { "down" }.to_owned()),
                ("pairs of queues", config.most_pairs.to_string()),
                ("MTU", config.mtu.to_string()),
            ]
        }
        Kind::Console => {
            let config = console::Config::parse(bytes);
            vec![
                ("size", format!("{} columns, {} rows", config.columns, config.rows)),
                ("ports", config.most_ports.to_string()),
            ]
        }
        Kind::Balloon => {
            let config = balloon::Config::parse(bytes);
            vec![("pages wanted", config.wanted.to_string()), ("pages given", config.actual.to_string())]
        }
        Kind::Fs => {
            let tag = bytes.get(..36).unwrap_or_default();
            let tag = String::from_utf8_lossy(tag).trim_end_matches('\0').to_owned();
            vec![("tag", tag)]
        }
        Kind::Rng => Vec::new(),
    }
}

/// For people.
pub(crate) fn words(offer: &Offer, kind: Option<Kind>) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<18} {value}");
    };
    let (names, rest) = features(offer.features, kind);
    line("features", &format!("{:#x}", offer.features.bits()));
    line("", &names.join(", "));
    let rest = bits(rest);
    if !rest.is_empty() {
        let label = if kind.is_some() { "unknown bits" } else { "bits of its type" };
        line(label, &rest.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
    }
    match offer.protocol {
        None => line("protocol", "no protocol features: bit 30 is not offered"),
        Some(protocol) => {
            line("protocol", &format!("{protocol:#x}"));
            line("", &offer.known().iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", "));
            let unknown = bits(protocol & !ProtocolFeatures::all().bits());
            if !unknown.is_empty() {
                line("unknown bits", &unknown.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
            }
        }
    }
    if let Some(queues) = offer.queues {
        line(
            "queues",
            &format!("{queues}{}", if kind == Some(Kind::Net) { " (DPDK counts pairs)" } else { "" }),
        );
    }
    if let Some(slots) = offer.slots {
        line("memory slots", &slots.to_string());
    }
    match (&offer.config, kind) {
        (None, _) => line("configuration", "none, or not with the back-end"),
        (Some(bytes), Some(kind)) => {
            for (name, value) in configuration(bytes, kind) {
                line(name, &value);
            }
        }
        (Some(bytes), None) => line("configuration", &format!("{} bytes: {}", bytes.len(), hex(bytes))),
    }
    if let Some((kind, doubts)) =
        kind.map(|kind| (kind, doubts(kind, offer))).filter(|(_, all)| !all.is_empty())
    {
        let _ = writeln!(text, "\nThis does not look like a {kind}: {}.", doubts.join("; "));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// For programs.
pub(crate) fn json(offer: &Offer, kind: Option<Kind>) -> String {
    format!("{:#}\n", value(offer, kind))
}

/// The same as a value.
pub(crate) fn value(offer: &Offer, kind: Option<Kind>) -> Value {
    let (names, rest) = features(offer.features, kind);
    json!({
        "features": offer.features.bits(),
        "feature_names": names,
        "unknown_feature_bits": bits(rest),
        "protocol_features": offer.protocol,
        "protocol_feature_names": offer.known().iter_names().map(|(name, _)| name).collect::<Vec<_>>(),
        "queues": offer.queues,
        "memory_slots": offer.slots,
        "config": offer.config.as_deref().map(hex),
        "doubts": kind.map(|kind| doubts(kind, offer)),
    })
}

//! What is wrong with status, reset, logs, device state and the back-end's own channel.

use super::known::{Heard, Known};
use super::negotiation::number;
use super::{Deed, Fault, beside, inflight, overwrite, spoil, upon};

pub(super) fn fault(name: &str) -> Option<Fault> {
    let status = |fits: fn(Option<u64>) -> bool, answer| {
        upon(
            "GET_STATUS",
            move |known, _| fits(known.last("SET_STATUS").and_then(Heard::u64)),
            Deed::Answer(answer),
        )
    };
    let log = |fits: fn(&Known, &Heard) -> bool, deed| upon("SET_LOG_BASE", fits, deed);
    Some(match name {
        "status.begin" => status(|last| last.is_none(), 1),
        "status.set" => status(|last| last == Some(0xb), 3),
        "status.zero" => status(|last| last == Some(0), 0xf),
        "status.stop" => upon(
            "GET_VRING_BASE",
            |known, _| known.last("SET_STATUS").and_then(Heard::u64) == Some(0),
            spoil(|_, answer| overwrite(&mut answer.payload, 4, &[0; 4])),
        ),
        "status.wide" => upon("SET_STATUS", |_, it| it.u64().is_some_and(|it| it > 0xffff), Deed::Die),
        "reset.session" => upon("RESET_DEVICE", |_, it| !it.asks(), Deed::Close),
        // Stopped for good.
        "reset.rings" => {
            upon("SET_VRING_KICK", |known, _| known.count("RESET_DEVICE") > 0, Deed::Acknowledge(0))
        }
        "log.taken" => log(
            |known, it| number(it, 0) == Some(1 << 20) && known.count("SET_LOG_BASE") == 0,
            spoil(|_, answer| answer.descriptors.extend(std::fs::File::open("/dev/null").map(Into::into))),
        ),
        // The first stays.
        "log.again" => log(|known, _| known.count("SET_LOG_BASE") > 0, Deed::Answer(0)),
        "log.short" => log(|_, it| number(it, 0) == Some(1 << 30), Deed::Die),
        "log.data" => log(|known, _| known.has_memory() && known.count("SET_LOG_BASE") == 0, Deed::Answer(0)),
        "log.used" => upon("SET_VRING_ADDR", |_, it| it.word(1) == Some(1), Deed::Acknowledge(0)),
        "device.save" => transfer(0, 0, 0x101),
        "device.load" => transfer(1, 0, 0x101),
        "device.phase" => transfer(0, 7, 0x100),
        "device.nothing" => {
            upon("CHECK_DEVICE_STATE", |known, _| known.count("SET_DEVICE_STATE_FD") == 0, Deed::Answer(0))
        }
        "channel.open" => upon(
            "GET_FEATURES",
            |known, _| known.count("SET_BACKEND_REQ_FD") == 1 && known.has_channel(),
            Deed::Close,
        ),
        "channel.closed" => upon(
            "GET_FEATURES",
            |known, _| known.count("SET_BACKEND_REQ_FD") == 1 && !known.has_channel(),
            Deed::Close,
        ),
        // The first stays.
        "channel.again" => upon(
            "SET_BACKEND_REQ_FD",
            |known, _| known.count("SET_BACKEND_REQ_FD") == 1,
            Deed::Acknowledge(0),
        ),
        _ => return name.strip_prefix("inflight.").map_or_else(|| beside::fault(name), inflight::fault),
    })
}

/// The answer to a transfer in a direction and a phase.
fn transfer(direction: u32, phase: u32, answer: u64) -> Fault {
    upon(
        "SET_DEVICE_STATE_FD",
        move |_, it| it.payload.len() == 8 && (it.word(0), it.word(1)) == (Some(direction), Some(phase)),
        Deed::Answer(answer),
    )
}

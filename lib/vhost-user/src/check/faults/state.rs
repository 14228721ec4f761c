//! What is wrong with status, reset, logs, inflight regions, device state and the back-end's own channel.

use super::known::{Heard, Known};
use super::negotiation::number;
use super::{Deed, Fault, overwrite, spoil, upon};

/// Whether an entry of the first queue says that its chain is in flight: the first byte of each of 16, behind as many.
fn has_flags(it: &Heard) -> bool {
    let mut bytes = [0; 16 + 64 * 16];
    let read = it.descriptors.first().and_then(|region| rustix::io::pread(region, &mut bytes, 0).ok());
    read == Some(bytes.len()) && bytes.chunks(16).skip(1).any(|entry| entry[0] == 1)
}

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
        "inflight.get" => upon(
            "GET_INFLIGHT_FD",
            // Queues and their entries, behind the size and the offset.
            |_, it| it.word(4) == Some(1 | 256 << 16),
            spoil(|_, answer| overwrite(&mut answer.payload, 0, &16_u64.to_ne_bytes())),
        ),
        "inflight.set" => {
            upon("SET_INFLIGHT_FD", |_, it| number(it, 0) != Some(1 << 40), Deed::Acknowledge(1))
        }
        // Where something is in flight, the region is not looked at.
        "inflight.resubmitted" => upon("SET_INFLIGHT_FD", |_, it| has_flags(it), Deed::Acknowledge(0)),
        "inflight.short" => upon("SET_INFLIGHT_FD", |_, it| number(it, 0) == Some(1 << 40), Deed::Die),
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
        _ => return None,
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

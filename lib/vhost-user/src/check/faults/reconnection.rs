//! What is left of a front-end for the next.

use super::known::Known;
use super::{Aftermath, Deed, End, Fault, at_end, overwrite, spoil, spoil_number, upon};
use crate::ProtocolFeatures;

/// How a handshake goes on behind the features and the protocol features, by step.
const HANDSHAKE: [u32; 7] = [3, 2, 37, 8, 9, 13, 12];

pub(super) fn fault(name: &str) -> Option<Fault> {
    let leaves = |known: &Known| {
        let is_running = known.is_started(0) && known.size(0) == Some(super::super::work::SIZE.into());
        known.available(0).filter(|_| is_running)
    };
    Some(match name {
        // The first session is that of the probe.
        "offer" => upon(
            "GET_QUEUE_NUM",
            |known, _| known.session > 1 && known.protocol() == probed(),
            spoil_number(|queues| queues.wrapping_add(1)),
        ),
        "forgets" => upon(
            "GET_VRING_BASE",
            |known, it| {
                it.request().is_ok()
                    && known.count("SET_VRING_BASE") == 0
                    && known.count("SET_VRING_KICK") > 0
            },
            spoil(|_, answer| overwrite(&mut answer.payload, 4, &5_u32.to_ne_bytes())),
        ),
        "running" => at_end(move |known, _| leaves(known) == Some(1), Aftermath::CloseNext),
        "busy" => at_end(move |known, _| leaves(known).is_some_and(|it| it > 20), Aftermath::CloseNext),
        "second" => upon(
            "GET_FEATURES",
            |known, it| !it.asks() && known.numbers() == [1, 15, 16, 3, 2, 1],
            Deed::CloseIfOthers,
        ),
        "resources" => at_end(
            |known, _| {
                known.size(0) == Some(8) && known.last("SET_VRING_BASE").and_then(|it| it.word(1)) == Some(0)
            },
            Aftermath::Leak,
        ),
        _ => {
            let step: usize = name.strip_prefix("step.")?.parse().ok()?;
            let mut said = vec![1, 15, 16];
            said.extend(HANDSHAKE.get(..step.checked_sub(2)?)?);
            // What was said before has been worked off with the answer.
            said.extend((step > 2).then_some(1));
            at_end(
                move |known: &Known, end: End| {
                    end == End::Between && known.numbers() == said && known.protocol() == probed()
                },
                Aftermath::Die,
            )
        }
    })
}

/// What a probe sets, and the handshake of this check.
fn probed() -> u64 {
    let usual = ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK;
    (usual | ProtocolFeatures::CONFIG | ProtocolFeatures::CONFIGURE_MEM_SLOTS).bits()
}

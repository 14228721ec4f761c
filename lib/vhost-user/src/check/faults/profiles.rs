//! What is wrong with what single front-ends say: each alone, with its own profile.

use super::negotiation::hidden;
use super::{Aftermath, Deed, Fault, at_end, upon};
use crate::ProtocolFeatures;
use crate::check::Profile;

pub(super) fn fault(name: &str) -> Option<Fault> {
    use ProtocolFeatures as P;
    let (profile, what) = name.split_once('.')?;
    Some(match (profile.parse::<Profile>().ok()?, what) {
        (Profile::Libblkio, "features") => hidden(P::CONFIGURE_MEM_SLOTS),
        (_, "features") => hidden(P::CONFIG),
        // Bytes that nobody else asks for among more features; calls before the features; the channel when rings run; a request that has an answer and asks for
        // an acknowledgement.
        (Profile::Qemu, "order") => upon(
            "GET_CONFIG",
            |known, it| it.word(1) == Some(57) && known.protocol() & P::CONFIGURE_MEM_SLOTS.bits() != 0,
            Deed::Close,
        ),
        (Profile::Dpdk, "order") => {
            upon("SET_VRING_CALL", |known, _| known.count("SET_FEATURES") == 0, Deed::Close)
        }
        (Profile::CloudHypervisor, "order") => {
            upon("SET_BACKEND_REQ_FD", |known, _| known.count("SET_VRING_ENABLE") > 0, Deed::Close)
        }
        (Profile::Libblkio, "order") => upon("GET_QUEUE_NUM", |_, it| it.asks(), Deed::Close),
        (Profile::Qemu, "stop") => upon(
            "SET_VRING_ENABLE",
            |known, it| {
                let status = known.last("SET_STATUS").and_then(|it| it.u64());
                it.word(1) == Some(0) && status == Some(0)
            },
            Deed::Close,
        ),
        (Profile::Dpdk, "stop") => upon(
            "SET_VRING_ENABLE",
            |known, it| it.word(1) == Some(0) && known.size(0) == Some(256),
            Deed::Close,
        ),
        (Profile::CloudHypervisor, "stop") => upon(
            "SET_VRING_ENABLE",
            |known, it| it.asks() && it.word(1) == Some(0) && known.size(0) == Some(128),
            Deed::Acknowledge(1),
        ),
        // The next front-end finds nobody once.
        (Profile::Libblkio, "stop") => at_end(
            |known, _| known.size(0) == Some(256) && known.count("GET_VRING_BASE") == 0,
            Aftermath::CloseNext,
        ),
        // As long as QEMU's rings are.
        (Profile::Qemu, "migration") => upon(
            "SET_VRING_ADDR",
            |known, it| it.word(1) == Some(1) && known.size(0) != Some(64),
            Deed::Close,
        ),
        // Answered without a descriptor, among more features than others take.
        (Profile::Qemu, "postcopy") => upon(
            "POSTCOPY_ADVISE",
            |known, _| known.protocol() & P::BACKEND_SEND_FD.bits() != 0,
            Deed::Answer(0),
        )
        .in_postcopy(),
        _ => return None,
    })
}

//! What a back-end offers.

use super::peer::{PLAIN, Peer};
use super::{Backend, Trouble};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::Config;
use std::time::Duration;
use thiserror::Error;
use virtio::features::Features;

/// What a back-end answers who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Virtio features, those of the device type and of vhost-user among them.
    pub features: Features,
    /// Protocol features, as they came; `None`: it does not speak of any.
    pub protocol: Option<u64>,
    /// Most queues; DPDK counts pairs.
    pub queues: Option<u64>,
    /// Most memory regions.
    pub slots: Option<u64>,
    /// The first bytes of configuration space.
    pub config: Option<Vec<u8>>,
}

impl Offer {
    /// The protocol features that are known here.
    pub fn known(&self) -> ProtocolFeatures {
        ProtocolFeatures::from_bits_truncate(self.protocol.unwrap_or(0))
    }
}

/// Why a back-end's offer is not known.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ProbeError(Trouble);

/// Asks for everything that can be asked without setting anything up.
///
/// # Errors
/// [`ProbeError`] where it cannot be reached or does not answer.
pub fn probe(backend: &mut dyn Backend, timeout: Duration) -> Result<Offer, ProbeError> {
    ask(backend, timeout).map_err(ProbeError)
}

fn ask(backend: &mut dyn Backend, timeout: Duration) -> Result<Offer, Trouble> {
    let peer = Peer::new(backend.connect().map_err(Trouble::Unreachable)?, timeout)?;
    let features = Features::from_bits_retain(peer.number(&Request::GetFeatures)?);
    let mut offer = Offer { features, ..Offer::default() };
    if !features.contains(Features::PROTOCOL_FEATURES) {
        return Ok(offer);
    }
    offer.protocol = Some(peer.number(&Request::GetProtocolFeatures)?);
    let known = offer.known();
    let wanted = known
        & (ProtocolFeatures::MQ
            | ProtocolFeatures::CONFIG
            | ProtocolFeatures::CONFIGURE_MEM_SLOTS
            | ProtocolFeatures::REPLY_ACK);
    peer.send(&Request::SetProtocolFeatures(wanted.bits()), PLAIN, &[])?;
    peer.send(&Request::SetOwner, PLAIN, &[])?;
    if wanted.contains(ProtocolFeatures::MQ) {
        offer.queues = Some(peer.number(&Request::GetQueueNum)?);
    }
    if wanted.contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
        offer.slots = Some(peer.number(&Request::GetMaxMemSlots)?);
    }
    if wanted.contains(ProtocolFeatures::CONFIG) {
        offer.config = config(backend, timeout, wanted, peer)?;
    }
    Ok(offer)
}

/// As much of configuration space as there is, from the longest that anybody has down: more is refused by some, cut off by others, and yet
/// others close the connection upon it, so that the next length has another.
fn config(
    backend: &mut dyn Backend,
    timeout: Duration,
    wanted: ProtocolFeatures,
    mut peer: Peer,
) -> Result<Option<Vec<u8>>, Trouble> {
    for size in [256, 96, 72, 60, 57, 44, 40, 36, 24, 16, 12, 8, 4] {
        let asked = Config { offset: 0, size, flags: 0, bytes: vec![0; size as usize] };
        let Ok(answer) = peer.ask(&Request::GetConfig(asked), PLAIN, &[]) else {
            peer = Peer::new(backend.connect().map_err(Trouble::Unreachable)?, timeout)?;
            peer.number(&Request::GetFeatures)?;
            peer.number(&Request::GetProtocolFeatures)?;
            peer.send(&Request::SetProtocolFeatures(wanted.bits()), PLAIN, &[])?;
            continue;
        };
        let bytes = answer.payload.get(12..).unwrap_or_default();
        if !bytes.is_empty() {
            return Ok(Some(bytes.to_vec()));
        }
    }
    Ok(None)
}

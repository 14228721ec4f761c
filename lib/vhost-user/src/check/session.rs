//! Connections of a check, from bare to negotiated.

use super::peer::{PLAIN, Peer};
use super::{Kind, Outcome, Resources, Run, Trouble, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::frontend::{FrontEnd, Wanted};
use crate::payload::{Region, SingleRegion, VringAddress, VringState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::pwrite;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;
use virtio::features::Features;

/// Protocol features that a check negotiates unless it is about others: none of them changes what other requests mean.
pub(super) const ORDINARY: ProtocolFeatures = ProtocolFeatures::MQ
    .union(ProtocolFeatures::REPLY_ACK)
    .union(ProtocolFeatures::CONFIG)
    .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS)
    .union(ProtocolFeatures::STATUS)
    .union(ProtocolFeatures::LOG_SHMFD)
    .union(ProtocolFeatures::INFLIGHT_SHMFD)
    .union(ProtocolFeatures::RESET_DEVICE)
    .union(ProtocolFeatures::BACKEND_REQ)
    .union(ProtocolFeatures::DEVICE_STATE);

impl Run<'_> {
    /// A connection on which nothing was said.
    pub(super) fn bare(&mut self) -> Result<Peer, Trouble> {
        let stream = self.backend.connect().map_err(Trouble::Unreachable)?;
        Peer::new(stream, self.options.timeout)
    }

    /// Whether a new connection is answered. Who listens anew for each front-end may lose one that comes in between.
    pub(super) fn still_serves(&mut self) -> bool {
        (0..3).any(|_| self.bare().and_then(|peer| peer.number(&Request::GetFeatures)).is_ok())
    }

    /// Does what another check is about. Where that one has failed, it has said so, and what builds upon it cannot be asked; anywhere else it
    /// is this check's failure.
    pub(super) fn builds_upon<T>(
        &mut self,
        check: &str,
        step: impl FnOnce(&mut Self) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        match step(self) {
            Err(Trouble::Failed(why)) if self.failed.contains(check) => {
                not_applicable(format!("{check} has failed: {why}"))
            }
            other => other,
        }
    }

    /// What the back-end's process holds when the sessions before are worked off: no more than `before`, or what it stays at.
    pub(super) fn settled(&mut self, before: Resources) -> Option<Resources> {
        let mut now = None;
        // Others may work off their sessions beside the next ones. Who is known to leave something behind is not waited for as long.
        let pauses = if self.leaves { 10 } else { 250 };
        self.still_serves();
        for _ in 0..pauses {
            now = self.backend.resources();
            if now.is_none_or(|now| now.descriptors <= before.descriptors && now.mappings <= before.mappings)
            {
                return now;
            }
            pause(Duration::from_millis(2));
        }
        self.leaves = true;
        now
    }

    /// Whether nobody writes to this pipe any more, once the session is worked off in which the other end was given. Who is known to leave
    /// something behind is not waited for as long.
    pub(super) fn is_over(&mut self, pipe: &OwnedFd) -> Result<bool, Trouble> {
        let time = Timespec::try_from(if self.leaves { LEFT } else { CLOSED });
        let time = time.map_err(std::io::Error::other)?;
        let count = poll(&mut [PollFd::new(pipe, PollFlags::empty())], Some(&time));
        let is_over = count.map_err(std::io::Error::from)? > 0;
        self.leaves |= !is_over;
        Ok(is_over)
    }

    /// A session in which this ring is started, with nothing in it, at a base; no type of device is needed for that.
    pub(super) fn started(&mut self, index: u32, base: u16) -> Result<(Peer, OwnedFd), Trouble> {
        self.started_at(index, Some(base))
    }

    /// The same of the first ring, which is told no base.
    pub(super) fn started_anew(&mut self) -> Result<(Peer, OwnedFd), Trouble> {
        self.started_at(0, None)
    }

    fn started_at(&mut self, index: u32, base: Option<u16>) -> Result<(Peer, OwnedFd), Trouble> {
        let peer = self.ordinary()?;
        let file = file(1 << 16)?;
        let one = region(0, 1 << 16, 0);
        give(self, &peer, one, &file)?;
        let (available, used) = (0x1000, 0x2000);
        // As many were offered and given back as there were before.
        for part in [available, used] {
            pwrite(&file, &base.unwrap_or(0).to_le_bytes(), part + 2).map_err(std::io::Error::from)?;
        }
        let user = one.user_address;
        let address = VringAddress {
            index,
            descriptors: user,
            available: user + available,
            used: user + used,
            ..VringAddress::default()
        };
        let kick = super::work::eventfd()?;
        peer.send(&Request::SetVringNum(VringState { index, num: 8 }), PLAIN, &[])?;
        if let Some(base) = base {
            peer.send(&Request::SetVringBase(VringState { index, num: base.into() }), PLAIN, &[])?;
        }
        peer.send(&Request::SetVringAddr(address), PLAIN, &[])?;
        peer.send(&Request::SetVringKick(index.into()), PLAIN, &[kick.as_fd()])?;
        if self.offer.protocol.is_some() {
            peer.send(&Request::SetVringEnable(VringState { index, num: 1 }), PLAIN, &[])?;
        }
        // An answer: what came before has been worked off.
        peer.number(&Request::GetFeatures)?;
        Ok((peer, kick))
    }

    /// Features that a check uses unless it is about others.
    pub(super) fn features(&self) -> Features {
        self.offer.features & (Features::VERSION_1 | Features::PROTOCOL_FEATURES)
    }

    /// One with these of the protocol features that are offered.
    pub(super) fn negotiated(&mut self, protocol: ProtocolFeatures) -> Result<Peer, Trouble> {
        let peer = self.bare()?;
        peer.number(&Request::GetFeatures)?;
        if self.offer.features.contains(Features::PROTOCOL_FEATURES) {
            peer.number(&Request::GetProtocolFeatures)?;
            let wanted = self.offer.known() & protocol;
            peer.send(&Request::SetProtocolFeatures(wanted.bits()), PLAIN, &[])?;
        }
        peer.send(&Request::SetOwner, PLAIN, &[])?;
        peer.send(&Request::SetFeatures(self.features().bits()), PLAIN, &[])?;
        // An answer: what came before has been worked off.
        peer.number(&Request::GetFeatures)?;
        Ok(peer)
    }

    /// One with everything ordinary.
    pub(super) fn ordinary(&mut self) -> Result<Peer, Trouble> {
        self.negotiated(ORDINARY)
    }

    /// A front-end with these virtio features, if they are offered.
    pub(super) fn front(&mut self, features: Features) -> Result<FrontEnd, Trouble> {
        self.front_with(features, ORDINARY)
    }

    pub(super) fn front_with(
        &mut self,
        features: Features,
        protocol: ProtocolFeatures,
    ) -> Result<FrontEnd, Trouble> {
        self.needs_features(features | Features::VERSION_1)?;
        let stream = self.backend.connect().map_err(Trouble::Unreachable)?;
        let mut front = FrontEnd::new(stream, self.options.timeout)?;
        let required = Features::VERSION_1;
        front.negotiate(Wanted {
            features,
            required,
            protocol: protocol.union(ProtocolFeatures::REPLY_ACK),
        })?;
        Ok(front)
    }

    /// Not applicable unless the back-end offers this.
    pub(super) fn needs(&self, feature: ProtocolFeatures) -> Outcome {
        let missing = feature.difference(self.offer.known());
        if missing.is_empty() {
            return Ok(());
        }
        not_applicable(format!("it does not offer {}", names(missing)))
    }

    pub(super) fn needs_features(&self, features: Features) -> Outcome {
        if self.offer.features.contains(features) {
            return Ok(());
        }
        let missing = features.difference(self.offer.features);
        let names: Vec<_> = missing.iter_names().map(|(name, _)| name).collect();
        not_applicable(format!("it does not offer {}", names.join(", ")))
    }

    /// Whether a request can be refused by an acknowledgement.
    pub(super) fn can_refuse(&self) -> bool {
        self.offer.known().contains(ProtocolFeatures::REPLY_ACK)
    }

    /// Whether it is known to be a device that writes.
    pub(super) const fn writes(&self) -> bool {
        !self.serves_nothing && matches!(self.options.kind, Some(Kind::Blk | Kind::Rng | Kind::Fs))
    }

    /// Queues that there are at least, and the first that there is not; where pairs are counted, as DPDK does, that is twice as many.
    pub(super) fn queues(&self) -> u32 {
        self.offer.queues.map_or(1, |queues| u32::try_from(queues).unwrap_or(u32::MAX))
    }
}

/// How long a descriptor may take to be closed when its session has ended, and how long by who did not close others.
const CLOSED: Duration = Duration::from_secs(2);
const LEFT: Duration = Duration::from_millis(50);

/// What must not happen has had the time to happen.
pub(super) fn pause(time: Duration) {
    if let Ok(time) = Timespec::try_from(time) {
        let _ = poll(&mut [], Some(&time));
    }
}

/// Names of protocol features.
pub(super) fn names(features: ProtocolFeatures) -> String {
    features.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

/// A memfd of so many bytes.
pub(super) fn file(bytes: u64) -> Result<OwnedFd, Trouble> {
    let file = memfd_create("vhost-user-check", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    ftruncate(&file, bytes).map_err(std::io::Error::from)?;
    Ok(file)
}

/// A region at an address that nobody else uses.
pub(super) const fn region(number: u64, size: u64, mmap_offset: u64) -> Region {
    let address = (number + 1) << 30;
    Region { guest_address: address, size, user_address: address, mmap_offset }
}

pub(super) const fn single(region: Region) -> SingleRegion {
    let Region { guest_address, size, user_address, mmap_offset } = region;
    SingleRegion { guest_address, size, user_address, mmap_offset }
}

/// Gives memory by whichever request was negotiated.
pub(super) fn give(run: &Run<'_>, peer: &Peer, region: Region, file: &OwnedFd) -> Outcome {
    if run.offer.known().contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
        let request = Request::AddMemReg(single(region));
        return if run.can_refuse() {
            peer.acknowledged(&request, &[file.as_fd()])
        } else {
            peer.send(&request, PLAIN, &[file.as_fd()]).map(drop)
        };
    }
    let request = Request::SetMemTable(crate::payload::MemoryTable { regions: vec![region] });
    if run.can_refuse() {
        peer.acknowledged(&request, &[file.as_fd()])
    } else {
        peer.send(&request, PLAIN, &[file.as_fd()]).map(drop)
    }
}

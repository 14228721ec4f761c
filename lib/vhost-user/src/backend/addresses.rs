//! Addresses of a session: memory that comes, goes and moves under its rings, an IOMMU before it, and memory that is not there yet.

use super::iotlb::{self, Iotlb};
use super::memory::Memory;
use super::ring::{Ring, Start};
use super::{Device, Failure, Outgoing, Session, SessionError};
use crate::front::Request;
use crate::payload::{self, MemoryTable, Region};
use crate::{ProtocolFeatures, back};
use std::os::fd::OwnedFd;

impl<D: Device> Session<'_, D> {
    /// With the driver's addresses for all there is one address of each byte.
    pub(super) fn may_have(&self, region: &Region) -> Result<(), Failure> {
        let Region { guest_address, user_address, .. } = *region;
        if self.negotiated.protocol.contains(ProtocolFeatures::GPA_ADDRESSES) && guest_address != user_address
        {
            let why = format!("it has another address, {user_address:#x}");
            return Err(Failure::Memory { address: guest_address, why });
        }
        Ok(())
    }

    /// An entry of the IOMMU comes or goes; `false`: it is none.
    pub(super) fn translation(&mut self, entry: &payload::Iotlb) -> Result<bool, Failure> {
        let Some(iotlb) = &mut self.memory.iotlb else { return Ok(false) };
        match entry.kind {
            iotlb::UPDATE => iotlb.update(entry),
            iotlb::INVALIDATE => {
                let last = iotlb::last(entry.iova, entry.size);
                iotlb.invalidate(entry.iova, last);
                let is_packed = self.is_packed();
                let lies = |ring: &Ring| ring.is_mapped() && ring.lies_in(entry.iova, last, is_packed);
                for index in 0..self.rings.len() {
                    if self.rings.get(index).is_some_and(lies) {
                        self.stopping(index as u16)?;
                        let Self { rings, log, .. } = self;
                        rings.get_mut(index).into_iter().for_each(|ring| ring.pause(log.as_ref()));
                    }
                }
            }
            _ => return Ok(false),
        }
        self.start_rings();
        // What was not there may be now.
        self.rings.iter_mut().for_each(|ring| ring.due = true);
        Ok(true)
    }

    /// The table is answered by where it lies here, so that the front-end knows which page is missing; when it says that it does, by a table
    /// without regions, pages that are touched are asked for.
    pub(super) fn postcopy_table(
        &mut self,
        table: &MemoryTable,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Outgoing>, SessionError> {
        let failed = |failure| SessionError::Failed { request: "SET_MEM_TABLE", failure };
        if table.regions.is_empty() {
            let registered = self.postcopy.as_mut().map(|it| it.register(&self.memory));
            registered.transpose().map_err(SessionError::Io)?;
            self.start_rings();
            return Ok(None);
        }
        let memory = Memory::of(&table.regions, descriptors).map_err(failed)?;
        let here =
            memory.places().map(|(region, here)| Region { user_address: here.host_address(), ..*region });
        let answer = Request::SetMemTable(MemoryTable { regions: here.collect() });
        self.memory = memory.with(self.memory.iotlb.take());
        Ok(Some((self.answering.answer_alike(&answer), Vec::new())))
    }

    /// What rings have of the memory before is not the memory that there is now. A ring whose memory is away goes on when it is back: front-ends
    /// take regions away and give them again while rings run.
    pub(super) fn move_rings(&mut self) {
        let Self { rings, log, .. } = self;
        rings.iter_mut().filter(|ring| ring.is_started()).for_each(|ring| ring.pause(log.as_ref()));
        self.start_rings();
    }

    /// Goes on with the rings that are started and have no memory, as far as there is some now.
    pub(super) fn start_rings(&mut self) {
        let Self { rings, memory, negotiated, inflight, .. } = self;
        let from = Start { memory, features: negotiated.features, inflight: inflight.as_ref() };
        for (ring, index) in rings.iter_mut().zip(0..) {
            if ring.is_started() && !ring.is_mapped() {
                let _ = ring.start(index, &from);
            }
        }
        self.tell_miss();
    }

    /// Asks for what a ring's memory lacks of the IOMMU's entries.
    pub(super) fn tell_miss(&mut self) {
        if let Some(missed) = self.memory.iotlb.as_ref().and_then(Iotlb::missed)
            && let Some(channel) = &mut self.channel
        {
            // Who has no channel, or has closed it, tells entries by itself.
            let _ = channel.tell(&back::Request::IotlbMsg(missed));
        }
    }
}

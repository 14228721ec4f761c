//! A ring of the front-end's, from stopped to running.

use super::memory::Memory;
use super::{Device, Failure};
use crate::payload::VringAddress;
use rustix::io::{read, write};
use std::os::fd::OwnedFd;
use virtio::cells::SplitCells as _;
use virtio::features::Features;
use virtio::memory::{PackedMemory, Regions, SplitMemory};
use virtio::ring::Device as Queue;
use virtio::{Chain, packed, split};

/// Chains that a ring may take before others have their turn.
const TURN: usize = 256;

/// What is known of a ring. It is started by its kick, enabled by a request of its own, and processed if it is both.
#[derive(Default)]
pub(super) struct Ring {
    pub(super) size: u16,
    pub(super) address: Option<VringAddress>,
    pub(super) base: u32,
    pub(super) enabled: bool,
    pub(super) call: Option<OwnedFd>,
    pub(super) error: Option<OwnedFd>,
    /// `Some(None)`: started without an eventfd, and polled.
    kick: Option<Option<OwnedFd>>,
    queue: Option<Queue<SplitMemory, PackedMemory>>,
}

/// What was left when a ring had its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: a kick tells of more.
    Nothing,
    /// Perhaps more.
    More,
}

impl Ring {
    pub(super) fn started(&mut self, kick: Option<OwnedFd>) {
        self.kick = Some(kick);
    }

    /// Its kicks, if it can run and there are any. Those of a ring that cannot are not read: they are there when it can.
    pub(super) fn kick(&self) -> Option<&OwnedFd> {
        self.kick.as_ref().filter(|_| self.enabled && self.queue.is_some())?.as_ref()
    }

    /// Its kicks have come to an end.
    pub(super) fn drop_kick(&mut self) {
        self.kick = None;
        self.pause();
    }

    /// Started without kicks.
    pub(super) fn is_polled(&self) -> bool {
        self.enabled && matches!(self.kick, Some(None))
    }

    /// It got its kick, whether its memory is there or not.
    pub(super) fn is_started(&self) -> bool {
        self.kick.is_some()
    }

    pub(super) fn start(&mut self, index: u32, memory: &Memory, features: Features) -> Result<(), Failure> {
        let wrong = |why: String| Failure::Ring { index, why };
        if self.queue.is_some() {
            // A new kick for a ring that runs.
            return Ok(());
        }
        let address = self.address.ok_or_else(|| wrong("nobody said where it is".to_owned()))?;
        let is_packed = features.contains(Features::RING_PACKED);
        let bytes = if is_packed { PackedMemory::bytes(self.size) } else { SplitMemory::bytes(self.size) };
        let part = |address, bytes| {
            memory.user(address, bytes).ok_or_else(|| wrong(format!("no memory at {address:#x}")))
        };
        let table = part(address.descriptors, bytes[0])?;
        let driver = part(address.available, bytes[1])?;
        let device = part(address.used, bytes[2])?;
        let layout = |error: virtio::memory::LayoutError| wrong(error.to_string());
        let options = features.options();
        self.queue = Some(if is_packed {
            let base = packed::Base::from_bits(self.base, self.size);
            let base = base.ok_or(Failure::Value { what: "ring base", value: self.base.into() })?;
            let cells = PackedMemory::new(self.size, table, driver, device).map_err(layout)?;
            Queue::Packed(packed::Device::resumed(cells, options, base))
        } else {
            let base = u16::try_from(self.base);
            let base = base.map_err(|_| Failure::Value { what: "ring base", value: self.base.into() })?;
            let cells = SplitMemory::new(self.size, table, driver, device).map_err(layout)?;
            // What was used is told by the ring itself.
            let used = cells.used_index();
            Queue::Split(split::Device::resumed(cells, options, base, used))
        });
        Ok(())
    }

    /// Lets go of the memory; [`Ring::start`] goes on where it was.
    pub(super) fn pause(&mut self) {
        self.base = match self.queue.take() {
            Some(Queue::Split(queue)) => queue.base().into(),
            Some(Queue::Packed(queue)) => queue.base().bits(),
            None => self.base,
        };
    }

    /// Stops it, and says where. Nothing of it is in flight: chains are handled one after the other, whole.
    pub(super) fn stop(&mut self) -> u32 {
        self.pause();
        self.kick = None;
        self.base
    }

    /// Reads the counter of its kicks.
    pub(super) fn kicked(&self) {
        if let Some(kick) = self.kick() {
            // Whatever it says, the ring itself says what there is to do.
            let _ = read(kick, &mut [0_u8; 8]);
        }
    }

    /// Takes what there is, at most for a turn.
    pub(super) fn run<D: Device>(&mut self, index: u16, device: &mut D, regions: &Regions) -> Left {
        let Some(queue) = self.queue.as_mut().filter(|_| self.enabled) else { return Left::Nothing };
        let mut chain = Chain::new();
        queue.want_no_kicks();
        let mut taken = 0;
        let fault = loop {
            if taken == TURN {
                break None;
            }
            match queue.take(&regions, &mut chain) {
                Ok(Some(one)) => {
                    let written = device.handle(index, &chain);
                    queue.put(one, written);
                    taken += 1;
                }
                Ok(None) if queue.want_kicks() => queue.want_no_kicks(),
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        queue.publish();
        if queue.must_call() {
            notify(self.call.as_ref());
        }
        if fault.is_some() {
            // It stays with the driver to set it up anew.
            self.enabled = false;
            notify(self.error.as_ref());
        }
        if taken == TURN { Left::More } else { Left::Nothing }
    }
}

fn notify(descriptor: Option<&OwnedFd>) {
    if let Some(descriptor) = descriptor {
        // A counter that is full has not been read yet, and will be; what else it may be is the front-end's, as is the harm.
        let _ = write(descriptor, &1_u64.to_ne_bytes());
    }
}

//! Addresses behind an IOMMU: what a back-end asks for, and what it makes of what it is told.

use super::work::{Work, served};
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::back::Request as Asks;
use crate::frontend::{Channel, Permission};
use crate::payload::Iotlb;
use std::time::Duration;
use virtio::features::Features;

const IOMMU: &str = "vhost-user: IOMMU support";

const PAGE: u64 = 4096;

/// Of what may be done: to write it.
const WRITE: u8 = 2;

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "state.iommu.miss",
            Level::Must,
            IOMMU,
            "what it has not been told of is asked for on its channel, and used when it is told",
            |run| {
                let mut behind = Behind::new(run)?;
                behind.open()?;
                // Where its rings are it is told before, as QEMU does it.
                let first = behind.region().0;
                behind.tell(first, PAGE, first, Permission::Both)?;
                behind.work.attach()?;
                behind.asks_once("it served a request and had not asked where that is")
            },
        ),
        Check::new(
            "state.iommu.update",
            Level::Must,
            IOMMU,
            "what it is told of an address takes the place of what it was told before",
            |run| {
                let mut behind = Behind::new(run)?;
                let (first, bytes) = behind.tell_others()?;
                // Memory that nobody uses, and then what is meant.
                behind.tell(first, bytes, behind.region().0 + (512 << 10), Permission::Both)?;
                behind.tell(first, bytes, first, Permission::Both)?;
                behind.open()?;
                behind.work.attach()?;
                behind.once()
            },
        ),
        Check::new(
            "state.iommu.invalidate",
            Level::Must,
            IOMMU,
            "what is taken back is asked for again before it is used",
            |run| {
                let mut behind = Behind::new(run)?;
                let (first, bytes) = behind.tell_others()?;
                behind.tell(first, bytes, first, Permission::Both)?;
                behind.open()?;
                behind.work.attach()?;
                behind.once()?;
                let (first, bytes) = behind.region();
                behind.work.front.unmap(first, bytes)?;
                behind.asks_once("it used what was taken back")
            },
        ),
        Check::new(
            "state.iommu.read-only",
            Level::Must,
            IOMMU,
            "what may only be read is asked for before it is written",
            |run| {
                let mut behind = Behind::new(run)?;
                if !run.writes() {
                    return not_applicable("it is not known to be a device that writes");
                }
                let (first, bytes) = behind.tell_others()?;
                behind.tell(first, bytes, first, Permission::Read)?;
                behind.open()?;
                behind.work.attach()?;
                behind.once()?;
                let is_it =
                    |it: &Iotlb| (first..first + bytes).contains(&it.iova) && it.permission & WRITE != 0;
                match behind.asked.iter().any(is_it) {
                    true => Ok(()),
                    false => failed("it wrote what it may only read"),
                }
            },
        ),
    ]
}

/// Queues behind an IOMMU, which calls all addresses as the front-end does. They have not started.
struct Behind {
    work: Work,
    channel: Option<Channel>,
    patience: Duration,
    asked: Vec<Iotlb>,
}

impl Behind {
    fn new(run: &mut Run<'_>) -> Result<Self, Trouble> {
        run.needs(ProtocolFeatures::BACKEND_REQ | ProtocolFeatures::REPLY_ACK)?;
        run.needs_features(Features::ACCESS_PLATFORM)?;
        served(run)?;
        let work = Work::laid_out(run, Features::ACCESS_PLATFORM)?;
        Ok(Self { work, channel: None, patience: run.patience.time(), asked: Vec::new() })
    }

    fn open(&mut self) -> Outcome {
        self.channel = Some(self.work.front.open_channel()?);
        Ok(())
    }

    /// The first byte of its memory, and how many there are.
    fn region(&self) -> (u64, u64) {
        let virtio::memory::Region { address, memory } = self.work.memory.region();
        (address, memory.len() as u64)
    }

    /// Tells of everything but the pages of the next request: those are given.
    fn tell_others(&mut self) -> Result<(u64, u64), Trouble> {
        let (start, all) = self.region();
        let (first, bytes) = self.work.next_pages();
        let behind = first + bytes;
        self.tell(start, first - start, start, Permission::Both)?;
        self.tell(behind, start + all - behind, behind, Permission::Both)?;
        Ok((first, bytes))
    }

    fn tell(&mut self, address: u64, bytes: u64, here: u64, may: Permission) -> Outcome {
        self.work.front.map(address, bytes, here, may).map_err(Into::into)
    }

    /// A request from beginning to end, for which it must ask something.
    fn asks_once(&mut self, otherwise: &str) -> Outcome {
        self.asked.clear();
        self.once()?;
        if self.asked.is_empty() { failed(otherwise) } else { Ok(()) }
    }

    /// The same, and tells it whatever it asks for.
    fn once(&mut self) -> Outcome {
        self.work.offer()?;
        self.work.queue.submit()?;
        let looks = self.patience.as_millis().max(1);
        for _ in 0..looks {
            if let Some(done) = self.work.reap()? {
                return self.work.right(done);
            }
            let Some(channel) = &mut self.channel else { return failed("there is no channel") };
            let Some(asked) = super::channel::heard(channel, Duration::from_millis(1))? else { continue };
            if let Asks::IotlbMsg(missing) = asked.request {
                let page = missing.iova / PAGE * PAGE;
                self.asked.push(missing);
                self.tell(page, PAGE, page, Permission::Both)?;
            }
        }
        match self.asked.last() {
            None => failed("the request is not served, and nothing is asked for"),
            Some(last) => failed(format!("the request is not served; it asked for {:#x} last", last.iova)),
        }
    }
}

//! Rings that break the rules, as a guest may write them: the device may stop, and the back-end must not.

use super::session::pause;
use super::work::{eventfd, served};
use super::{Check, Kind, Level, Outcome, Run, Trouble, failed};
use crate::front::Request;
use crate::frontend::FrontEnd;
use crate::memory::Memory;
use crate::payload::{VringAddress, VringState};
use std::os::fd::{AsFd as _, OwnedFd};
use virtio::cells::{Descriptor, INDIRECT, NEXT, SplitCells as _, WRITE};
use virtio::features::Features;
use virtio::memory::SplitMemory;

const CHAINS: &str = "VIRTIO 1.4: 2.7.5";
const TABLES: &str = "VIRTIO 1.4: 2.7.5.3";
const AVAILABLE: &str = "VIRTIO 1.4: 2.7.6";

const SIZE: u16 = 8;

/// A ring that the check writes by hand.
struct Hostile {
    front: FrontEnd,
    cells: SplitMemory,
    /// Memory that descriptors may name.
    data: u64,
    kick: OwnedFd,
    _memory: Memory,
    _call: OwnedFd,
    _others: Vec<crate::frontend::Queue>,
}

fn start(run: &mut Run<'_>, features: Features) -> Result<Hostile, Trouble> {
    let kind = served(run)?;
    let mut front = run.front(features)?;
    let mut memory = Memory::new(1 << 20)?;
    front.add_memory(&memory)?;
    let mut others = Vec::new();
    for index in 0..kind.queue() {
        others.push(front.start_queue(index, 64, &mut memory)?);
    }
    let mut part =
        |bytes| memory.part(bytes, 4096).ok_or_else(|| Trouble::Failed("no memory is left".to_owned()));
    let [table, driver, device] = SplitMemory::bytes(SIZE);
    let (table, driver, device) = (part(table)?, part(driver)?, part(device)?);
    let data = part(1 << 16)?.host_address();
    let index = kind.queue();
    let address = VringAddress {
        index,
        descriptors: table.host_address(),
        available: driver.host_address(),
        used: device.host_address(),
        ..VringAddress::default()
    };
    let cells =
        SplitMemory::new(SIZE, table, driver, device).map_err(|error| Trouble::Failed(error.to_string()))?;
    let (kick, call) = (eventfd()?, eventfd()?);
    front.call(&Request::SetVringNum(VringState { index, num: SIZE.into() }), &[])?;
    front.call(&Request::SetVringBase(VringState { index, num: 0 }), &[])?;
    front.call(&Request::SetVringAddr(address), &[])?;
    front.call(&Request::SetVringCall(index.into()), &[call.as_fd()])?;
    front.call(&Request::SetVringKick(index.into()), &[kick.as_fd()])?;
    if run.offer.protocol.is_some() {
        front.enable_queue(index)?;
    }
    front.driver_ok()?;
    Ok(Hostile { front, cells, data, kick, _memory: memory, _call: call, _others: others })
}

impl Hostile {
    /// Lets the device see this many chains, and waits until it had the chance to take them.
    fn offer(&mut self, index: u16) -> Outcome {
        self.cells.set_avail_index(index);
        rustix::io::write(&self.kick, &1_u64.to_ne_bytes()).map_err(std::io::Error::from)?;
        for _ in 0..5 {
            match self.front.call(&Request::GetFeatures, &[]) {
                Ok(_) => {}
                Err(crate::frontend::CallError::Socket {
                    error: crate::socket::SocketError::TimedOut,
                    ..
                }) => {
                    return failed("it does not answer any more");
                }
                // Ending the session is one way to be done with it.
                Err(_) => return Ok(()),
            }
        }
        // Some look at their rings in a thread of its own.
        pause(std::time::Duration::from_millis(10));
        Ok(())
    }

    fn entry(&self, flags: u16, next: u16) -> Descriptor {
        Descriptor { address: self.data, length: 16, flags, next }
    }
}

type Case = (&'static str, &'static str, &'static str, Features, fn(&Hostile));

/// Each lets the device see one chain.
const CASES: [Case; 14] = [
    ("loop.one", CHAINS, "a descriptor that is followed by itself", Features::empty(), |it| {
        it.cells.set_descriptor(0, it.entry(NEXT, 0))
    }),
    ("loop.two", CHAINS, "two descriptors that follow each other", Features::empty(), |it| {
        it.cells.set_descriptor(0, it.entry(NEXT, 1));
        it.cells.set_descriptor(1, it.entry(NEXT, 0));
    }),
    ("next", CHAINS, "a chain that leaves the table", Features::empty(), |it| {
        it.cells.set_descriptor(0, it.entry(NEXT, 0xffff))
    }),
    ("head", AVAILABLE, "a head beyond the table", Features::empty(), |it| {
        it.cells.set_avail_entry(0, 0xffff)
    }),
    ("address.nowhere", CHAINS, "an address where no memory is", Features::empty(), |it| {
        it.cells.set_descriptor(0, Descriptor { address: 0x1000, ..it.entry(WRITE, 0) });
    }),
    ("address.wraps", CHAINS, "a segment that goes beyond the last address", Features::empty(), |it| {
        it.cells.set_descriptor(0, Descriptor { address: u64::MAX - 7, ..it.entry(0, 0) });
    }),
    ("length.large", CHAINS, "a segment of 4 GiB", Features::empty(), |it| {
        it.cells.set_descriptor(0, Descriptor { length: u32::MAX, ..it.entry(WRITE, 0) });
    }),
    ("length.zero", CHAINS, "segments of no bytes", Features::empty(), |it| {
        it.cells.set_descriptor(0, Descriptor { length: 0, ..it.entry(NEXT, 1) });
        it.cells.set_descriptor(1, Descriptor { length: 0, ..it.entry(WRITE, 0) });
    }),
    ("order", "VIRTIO 1.4: 2.7.4.2", "a readable segment behind a writable one", Features::empty(), |it| {
        it.cells.set_descriptor(0, it.entry(WRITE | NEXT, 1));
        it.cells.set_descriptor(1, it.entry(0, 0));
    }),
    (
        "indirect.not-negotiated",
        TABLES,
        "an indirect table that was not negotiated",
        Features::empty(),
        |it| {
            it.cells.set_descriptor(0, it.entry(INDIRECT, 0));
        },
    ),
    ("indirect.length", TABLES, "an indirect table of 7 bytes", Features::INDIRECT_DESC, |it| {
        it.cells.set_descriptor(0, Descriptor { length: 7, ..it.entry(INDIRECT, 0) });
    }),
    ("indirect.empty", TABLES, "an indirect table of no bytes", Features::INDIRECT_DESC, |it| {
        it.cells.set_descriptor(0, Descriptor { length: 0, ..it.entry(INDIRECT, 0) });
    }),
    ("indirect.nowhere", TABLES, "an indirect table where no memory is", Features::INDIRECT_DESC, |it| {
        it.cells.set_descriptor(0, Descriptor { address: 0x1000, ..it.entry(INDIRECT, 0) });
    }),
    ("indirect.nested", TABLES, "an indirect table in an indirect table", Features::INDIRECT_DESC, |it| {
        // The ring's own first entry is what its table has in it.
        it.cells.set_descriptor(0, it.entry(INDIRECT, 0));
        let table = it.data;
        let nested = virtio::Segment { address: table, length: 16 };
        it.write_entry(nested, INDIRECT);
    }),
];

impl Hostile {
    /// The first entry of the table that `data` is.
    fn write_entry(&self, segment: virtio::Segment, flags: u16) {
        let rest = u64::from(segment.length) | u64::from(flags) << 32;
        let region = self._memory.region();
        let at = usize::try_from(self.data - region.address).unwrap_or(0);
        if let Some(place) = region.memory.piece(at, 16) {
            place.slice().write(&[segment.address.to_le_bytes(), rest.to_le_bytes()].concat());
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    let mut all: Vec<Check> = CASES
        .into_iter()
        .map(|(name, section, what, features, write)| {
            Check::new(
                format!("hostile.{name}"),
                Level::Robust,
                section,
                format!("the back-end survives {what}"),
                move |run| {
                    let mut hostile = start(run, features)?;
                    hostile.cells.set_avail_entry(0, 0);
                    write(&hostile);
                    hostile.offer(1)
                },
            )
        })
        .collect();
    for (name, index) in [("near", SIZE + 1), ("far", 0x8000), ("last", 0xffff)] {
        let title = format!("the back-end survives an index that is {index} ahead in a ring of {SIZE}");
        all.push(Check::new(format!("hostile.index.{name}"), Level::Robust, AVAILABLE, title, move |run| {
            start(run, Features::empty())?.offer(index)
        }));
    }
    all.push(Check::new(
        "hostile.used",
        Level::Robust,
        "VIRTIO 1.4: 2.7.8",
        "the back-end survives what the driver writes into the used ring",
        |run| {
            let mut hostile = start(run, Features::empty())?;
            hostile.cells.set_used_index(0x7777);
            hostile.cells.set_used_entry(0, 0xffff, 0xffff_ffff);
            hostile.offer(0)
        },
    ));
    all.push(Check::new(
        "hostile.short",
        Level::Robust,
        CHAINS,
        "the back-end survives a chain of one byte",
        |run| {
            let kind = served(run)?;
            let mut hostile = start(run, Features::empty())?;
            let flags = if kind == Kind::Rng { WRITE } else { 0 };
            hostile.cells.set_descriptor(0, Descriptor { length: 1, ..hostile.entry(flags, 0) });
            hostile.offer(1)
        },
    ));
    all
}

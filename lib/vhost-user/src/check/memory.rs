//! Memory regions.

use super::peer::{NEED_REPLY, PLAIN, Peer, message, payload};
use super::session::{file, give, region, single};
use super::work::Work;
use super::{Check, Level, Outcome, Run, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::{MemoryTable, Region, VringState};
use crate::wire::Message as _;
use std::os::fd::{AsFd as _, BorrowedFd};

const TABLE: &str = "vhost-user: VHOST_USER_SET_MEM_TABLE";
const SLOTS: &str = "vhost-user: VHOST_USER_ADD_MEM_REG, VHOST_USER_REM_MEM_REG";
const REGIONS: &str = "vhost-user: Memory regions description";

const PAGE: u64 = 4096;

pub(super) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    for count in [1, 2, 8] {
        let title = format!("a table of {count} regions is taken");
        all.push(Check::new(format!("memory.table.{count}"), Level::Must, TABLE, title, move |run| {
            let file = file(count * PAGE)?;
            let regions: Vec<Region> = (0..count).map(|number| region(number, PAGE, number * PAGE)).collect();
            let peer = table(run)?;
            let descriptors = vec![file.as_fd(); regions.len()];
            confirm(run, &peer, &Request::SetMemTable(MemoryTable { regions }), &descriptors)
        }));
    }
    for (name, regions, descriptors, bytes, title) in [
        ("missing", vec![region(0, PAGE, 0)], 0, PAGE, "a region without a descriptor is refused"),
        ("extra", vec![region(0, PAGE, 0)], 2, PAGE, "more descriptors than regions are refused"),
        ("short", vec![region(0, 16 * PAGE, 0)], 1, PAGE, "a region that is longer than its file is refused"),
        ("zero", vec![region(0, 0, 0)], 1, PAGE, "a region of no bytes is refused"),
        (
            "overlap",
            vec![region(0, 2 * PAGE, 0), Region { guest_address: (1 << 30) + PAGE, ..region(1, PAGE, 0) }],
            2,
            2 * PAGE,
            "regions that overlap are refused",
        ),
        ("offset", vec![region(0, PAGE, u64::MAX - 100)], 1, PAGE, "an offset that wraps around is refused"),
    ] {
        all.push(Check::new(format!("memory.table.{name}"), Level::Robust, TABLE, title, move |run| {
            let file = file(bytes)?;
            let peer = table(run)?;
            let request = Request::SetMemTable(MemoryTable { regions: regions.clone() });
            rejected(run, &peer, &request, &vec![file.as_fd(); descriptors])
        }));
    }
    all.extend([
        Check::new(
            "memory.table.count",
            Level::Robust,
            TABLE,
            "a table that says it has more regions than it has is refused",
            |run| {
                let mut bytes =
                    payload(&Request::SetMemTable(MemoryTable { regions: vec![region(0, PAGE, 0)] }));
                bytes[..4].copy_from_slice(&200_u32.to_ne_bytes());
                let file = file(PAGE)?;
                let can_refuse = run.can_refuse();
                table(run)?.rejects(&message(5, NEED_REPLY, &bytes), &[file.as_fd()], can_refuse)
            },
        ),
        Check::new(
            "memory.table.again",
            Level::Must,
            TABLE,
            "a table takes the place of the one before",
            |run| {
                let file = file(4 * PAGE)?;
                let peer = table(run)?;
                for offset in 0..4 {
                    let regions = (0..3).map(|number| region(number, PAGE, offset * PAGE)).collect();
                    let table = Request::SetMemTable(MemoryTable { regions });
                    confirm(run, &peer, &table, &[file.as_fd(); 3])?;
                }
                Ok(())
            },
        ),
        Check::new(
            "memory.offset.page",
            Level::Must,
            REGIONS,
            "a region may begin behind the first page of its file",
            |run| {
                let file = file(8 * PAGE)?;
                let peer = run.ordinary()?;
                give(run, &peer, region(0, 4 * PAGE, 4 * PAGE), &file)?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "memory.offset.odd",
            Level::Should,
            REGIONS,
            "a region may begin within a page of its file, as the memory below 1 MiB of a machine does",
            |run| {
                let file = file(8 * PAGE)?;
                let peer = run.ordinary()?;
                give(run, &peer, region(0, 4 * PAGE, PAGE + 0x800), &file)?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new("memory.slots.cycle", Level::Must, SLOTS, "a region may go and come back", |run| {
            slots(run)?;
            let file = file(PAGE)?;
            let peer = run.ordinary()?;
            for _ in 0..5 {
                confirm(run, &peer, &Request::AddMemReg(single(region(0, PAGE, 0))), &[file.as_fd()])?;
                confirm(run, &peer, &Request::RemMemReg(single(region(0, PAGE, 0))), &[])?;
            }
            Ok(())
        }),
        Check::new(
            "memory.slots.descriptor",
            Level::Robust,
            SLOTS,
            "a region may go with a descriptor beside it, which is closed",
            |run| {
                slots(run)?;
                let file = file(PAGE)?;
                let peer = run.ordinary()?;
                confirm(run, &peer, &Request::AddMemReg(single(region(0, PAGE, 0))), &[file.as_fd()])?;
                confirm(run, &peer, &Request::RemMemReg(single(region(0, PAGE, 0))), &[file.as_fd()])
            },
        ),
        Check::new(
            "memory.slots.all",
            Level::Must,
            SLOTS,
            "as many regions are taken as there are slots",
            |run| {
                slots(run)?;
                let count = run.offer.slots.unwrap_or(8).min(64);
                let file = file(count * PAGE)?;
                let peer = run.ordinary()?;
                for number in 0..count {
                    let request = Request::AddMemReg(single(region(number, PAGE, number * PAGE)));
                    confirm(run, &peer, &request, &[file.as_fd()])?;
                }
                Ok(())
            },
        ),
        Check::new(
            "memory.slots.beyond",
            Level::Robust,
            SLOTS,
            "one region more than there are slots is refused",
            |run| {
                slots(run)?;
                let count = run.offer.slots.unwrap_or(8);
                if count > 64 {
                    return not_applicable(format!("it has {count} slots"));
                }
                let file = file((count + 1) * PAGE)?;
                let peer = run.builds_upon("memory.slots.all", |run| {
                    let peer = run.ordinary()?;
                    for number in 0..count {
                        let request = Request::AddMemReg(single(region(number, PAGE, number * PAGE)));
                        confirm(run, &peer, &request, &[file.as_fd()])?;
                    }
                    Ok(peer)
                })?;
                let request = Request::AddMemReg(single(region(count, PAGE, count * PAGE)));
                rejected(run, &peer, &request, &[file.as_fd()])
            },
        ),
        Check::new(
            "memory.slots.unknown",
            Level::Robust,
            SLOTS,
            "a region that is not there cannot be taken away",
            |run| {
                slots(run)?;
                let peer = run.ordinary()?;
                rejected(run, &peer, &Request::RemMemReg(single(region(3, PAGE, 0))), &[])
            },
        ),
        Check::new(
            "memory.slots.part",
            Level::Robust,
            SLOTS,
            "a part of a region cannot be taken away",
            |run| {
                slots(run)?;
                let file = file(4 * PAGE)?;
                let peer = run.ordinary()?;
                confirm(run, &peer, &Request::AddMemReg(single(region(0, 4 * PAGE, 0))), &[file.as_fd()])?;
                rejected(run, &peer, &Request::RemMemReg(single(region(0, PAGE, 0))), &[])
            },
        ),
        Check::new(
            "memory.slots.overlap",
            Level::Robust,
            SLOTS,
            "a region that overlaps another is refused",
            |run| {
                slots(run)?;
                let file = file(4 * PAGE)?;
                let peer = run.ordinary()?;
                confirm(run, &peer, &Request::AddMemReg(single(region(0, 4 * PAGE, 0))), &[file.as_fd()])?;
                let inside = Region {
                    guest_address: (1 << 30) + PAGE,
                    user_address: (1 << 30) + PAGE,
                    size: PAGE,
                    mmap_offset: 0,
                };
                rejected(run, &peer, &Request::AddMemReg(single(inside)), &[file.as_fd()])
            },
        ),
        Check::new(
            "memory.slots.short",
            Level::Robust,
            SLOTS,
            "a region that is longer than its file is refused",
            |run| {
                slots(run)?;
                let file = file(PAGE)?;
                let peer = run.ordinary()?;
                rejected(run, &peer, &Request::AddMemReg(single(region(0, 64 * PAGE, 0))), &[file.as_fd()])
            },
        ),
        Check::new("memory.unmapped", Level::Robust, REGIONS, "memory that goes is unmapped", |run| {
            slots(run)?;
            let file = file(64 * PAGE)?;
            let peer = run.ordinary()?;
            peer.number(&Request::GetFeatures)?;
            let Some(before) = run.backend.resources() else {
                return not_applicable("its process cannot be looked into");
            };
            for number in 0..8 {
                let request = Request::AddMemReg(single(region(number, PAGE, number * 2 * PAGE)));
                confirm(run, &peer, &request, &[file.as_fd()])?;
            }
            for number in 0..8 {
                confirm(run, &peer, &Request::RemMemReg(single(region(number, PAGE, 0))), &[])?;
            }
            // A session before that ends only now may leave something else.
            const OTHERS: usize = 2;
            match run.backend.resources() {
                Some(after)
                    if after.mappings > before.mappings + OTHERS
                        || after.descriptors > before.descriptors + OTHERS =>
                {
                    failed(format!("{before:?}, and after eight regions that came and went {after:?}"))
                }
                _ => Ok(()),
            }
        }),
        Check::new(
            "memory.live",
            Level::Should,
            SLOTS,
            "a ring goes on when its memory went away and is back, as QEMU does it",
            |run| {
                slots(run)?;
                let mut work = Work::start(run)?;
                work.once()?;
                work.front.remove_memory(&work.memory)?;
                work.front.add_memory(&work.memory)?;
                work.once()
            },
        ),
        Check::new(
            "memory.more",
            Level::Must,
            SLOTS,
            "memory that comes while a ring runs can be used",
            |run| {
                slots(run)?;
                let mut work = Work::start(run)?;
                let more = crate::memory::Memory::new(1 << 17)?;
                work.front.add_memory(&more)?;
                work.use_memory(more)?;
                work.once()
            },
        ),
        Check::new(
            "memory.ring.unmapped",
            Level::Robust,
            "vhost-user: VHOST_USER_SET_VRING_ADDR",
            "a ring outside of all memory cannot be started",
            |run| {
                let peer = run.ordinary()?;
                let address = crate::payload::VringAddress {
                    descriptors: 1 << 40,
                    used: 1 << 41,
                    available: 1 << 42,
                    ..Default::default()
                };
                peer.send(&Request::SetVringNum(VringState { index: 0, num: 8 }), PLAIN, &[])?;
                let request = Request::SetVringAddr(address);
                let at_once =
                    peer.reaction(&message(request.number(), NEED_REPLY, &payload(&request)), &[])?;
                if matches!(at_once, super::peer::Reaction::Closed | super::peer::Reaction::Refused(_)) {
                    return Ok(());
                }
                let kick = super::work::eventfd()?;
                rejected(run, &peer, &Request::SetVringKick(0), &[kick.as_fd()])
            },
        ),
    ]);
    all
}

/// A session in which memory comes as a table.
fn table(run: &mut Run<'_>) -> Result<Peer, super::Trouble> {
    run.negotiated(ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ)
}

fn slots(run: &Run<'_>) -> Outcome {
    run.needs(ProtocolFeatures::CONFIGURE_MEM_SLOTS)
}

/// A request that must succeed: acknowledged where that can be asked for.
fn confirm(run: &Run<'_>, peer: &Peer, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Outcome {
    if run.can_refuse() {
        return peer.acknowledged(request, descriptors);
    }
    peer.send(request, PLAIN, descriptors)?;
    peer.number(&Request::GetFeatures).map(drop)
}

fn rejected(run: &Run<'_>, peer: &Peer, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Outcome {
    peer.rejects(&message(request.number(), NEED_REPLY, &payload(request)), descriptors, run.can_refuse())
}

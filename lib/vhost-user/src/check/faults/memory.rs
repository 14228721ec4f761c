//! What is wrong with memory.

use super::known::{Heard, Known};
use super::negotiation::number;
use super::{Deed, Fault, upon};
use crate::front::Request;
use crate::payload::{Region, SingleRegion};

const PAGE: u64 = 4096;
const TAKEN: Deed = Deed::Acknowledge(0);
const REFUSED: Deed = Deed::Acknowledge(1);

pub(super) fn fault(name: &str) -> Option<Fault> {
    let table = |fits: fn(&[Region], usize) -> bool, deed| {
        upon(
            "SET_MEM_TABLE",
            move |_, it| match it.request() {
                Ok(Request::SetMemTable(table)) => fits(&table.regions, it.descriptors.len()),
                _ => false,
            },
            deed,
        )
    };
    let comes = |fits: fn(&Known, &SingleRegion) -> bool, deed| {
        upon(
            "ADD_MEM_REG",
            move |known, it| matches!(it.request(), Ok(Request::AddMemReg(region)) if fits(known, &region)),
            deed,
        )
    };
    let goes = |fits: fn(&Known, &Heard) -> bool, deed| {
        upon("REM_MEM_REG", move |known, it| it.request().is_ok() && fits(known, it), deed)
    };
    Some(match name {
        "table.1" => table(|all, with| (all.len(), with) == (1, 1) && are_pages(all), REFUSED),
        "table.2" => table(|all, with| (all.len(), with) == (2, 2) && are_pages(all), REFUSED),
        "table.8" => table(|all, with| (all.len(), with) == (8, 8) && are_pages(all), REFUSED),
        "table.missing" => table(|all, with| all.len() == 1 && with == 0, TAKEN),
        "table.extra" => table(|all, with| all.len() == 1 && with == 2, TAKEN),
        "table.short" => table(|all, _| all.iter().any(|region| region.size == 16 * PAGE), TAKEN),
        "table.zero" => table(|all, _| all.iter().any(|region| region.size == 0), TAKEN),
        "table.overlap" => table(|all, _| matches!(all, [one, other] if one.size != other.size), TAKEN),
        "table.offset" => table(|all, _| all.iter().any(|region| region.mmap_offset > 1 << 63), TAKEN),
        "table.count" => upon("SET_MEM_TABLE", |_, it| it.word(0) == Some(200), TAKEN),
        "table.again" => upon("SET_MEM_TABLE", |known, _| known.count("SET_MEM_TABLE") > 0, REFUSED),
        "offset.page" => comes(|_, it| (it.size, it.mmap_offset) == (4 * PAGE, 4 * PAGE), REFUSED),
        "offset.odd" => comes(|_, it| it.mmap_offset % PAGE != 0, REFUSED),
        "slots.cycle" => {
            comes(|known, _| known.count("REM_MEM_REG") > 0 && known.count("SET_VRING_KICK") == 0, REFUSED)
        }
        "slots.descriptor" => goes(|_, it| !it.descriptors.is_empty(), REFUSED),
        "slots.all" => comes(|known, _| known.count("ADD_MEM_REG") == 31, REFUSED),
        "slots.beyond" => comes(|known, _| known.count("ADD_MEM_REG") == 32, TAKEN),
        "slots.unknown" => goes(|known, it| it.asks() && known.count("ADD_MEM_REG") == 0, TAKEN),
        "slots.part" => goes(
            |known, it| {
                let size = |it| number(it, 16);
                known
                    .last("ADD_MEM_REG")
                    .is_some_and(|came| size(came) == Some(4 * PAGE) && size(it) == Some(PAGE))
            },
            TAKEN,
        ),
        "slots.overlap" => comes(|_, it| it.guest_address == (1 << 30) + PAGE, TAKEN),
        "slots.short" => comes(|_, it| (it.guest_address, it.size) == (1 << 30, 64 * PAGE), TAKEN),
        "unmapped" => upon("REM_MEM_REG", |_, _| true, Deed::Leak),
        // It comes back for nobody.
        "live" => comes(|known, _| known.is_started(0) && known.count("REM_MEM_REG") > 0, TAKEN),
        "more" => comes(|known, it| known.is_started(0) && it.size == 1 << 17, REFUSED),
        "ring.unmapped" => upon("SET_VRING_ADDR", |_, it| number(it, 8) == Some(1 << 40), Deed::Pretend),
        _ => return None,
    })
}

fn are_pages(regions: &[Region]) -> bool {
    regions.iter().all(|region| region.size == PAGE)
}

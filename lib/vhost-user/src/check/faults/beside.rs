//! What is wrong beside rings and memory: translations, notifications that are messages, what is shared, postcopy.

use super::known::{Heard, Known};
use super::negotiation::number;
use super::{Deed, Fault, overwrite, spoil, spoil_number, upon};
use crate::ProtocolFeatures;
use crate::back;
use rustix::event::{EventfdFlags, eventfd};
use std::fs::File;
use virtio::features::Features;

/// Of a message of the IOMMU: the device's address, what may be done, which kind it is.
const IOVA: usize = 0;
const PERMISSION: usize = 24;
const KIND: usize = 25;
const UPDATE: u8 = 2;
const INVALIDATE: u8 = 3;
const READ: u8 = 1;
const BOTH: u8 = 3;

fn is(it: &Heard, at: usize, value: u8) -> bool {
    it.payload.get(at) == Some(&value)
}

fn messages(known: &Known, kind: u8) -> impl Iterator<Item = &Heard> {
    known.all("IOTLB_MSG").filter(move |it| is(it, KIND, kind))
}

fn has(known: &Known, feature: Features) -> bool {
    known.last("SET_FEATURES").and_then(Heard::u64).is_some_and(|bits| bits & feature.bits() != 0)
}

fn is_in_band(known: &Known) -> bool {
    known.protocol() & ProtocolFeatures::INBAND_NOTIFICATIONS.bits() != 0
}

/// It has a descriptor all the same, of which nobody hears.
fn bring(it: &mut Heard) {
    if let (Some(which), Ok(nobody)) = (it.u64(), eventfd(0, EventfdFlags::NONBLOCK)) {
        it.payload = (which & 0xff).to_ne_bytes().to_vec();
        it.descriptors.push(nobody);
    }
}

pub(super) fn fault(name: &str) -> Option<Fault> {
    let always = |_: &Known, _: &Heard| true;
    Some(match name {
        // Nothing is asked for, where nothing was told before.
        "iommu.miss" => upon(
            "SET_BACKEND_REQ_FD",
            |known, _| has(known, Features::ACCESS_PLATFORM) && known.count("IOTLB_MSG") == 0,
            Deed::Acknowledge(0),
        ),
        // What is known stays known.
        "iommu.update" => upon(
            "IOTLB_MSG",
            |known, it| {
                let same =
                    |other: &Heard| number(other, IOVA) == number(it, IOVA) && is(other, PERMISSION, BOTH);
                let is_new = messages(known, INVALIDATE).next().is_none();
                is(it, KIND, UPDATE) && is_new && messages(known, UPDATE).any(same)
            },
            Deed::Answer(0),
        ),
        "iommu.invalidate" => upon("IOTLB_MSG", |_, it| is(it, KIND, INVALIDATE), Deed::Answer(0)),
        "iommu.read-only" => upon(
            "IOTLB_MSG",
            |_, it| is(it, KIND, UPDATE) && is(it, PERMISSION, READ),
            Deed::Change(|it| overwrite(&mut it.payload, PERMISSION, &[BOTH])),
        ),
        "in-band.kick" => upon("VRING_KICK", always, Deed::Acknowledge(0)),
        "in-band.call" => {
            upon("SET_VRING_CALL", |known, it| it.brings_none() && is_in_band(known), Deed::Change(bring))
        }
        "in-band.error" => {
            upon("SET_VRING_ERR", |known, it| it.brings_none() && is_in_band(known), Deed::Change(bring))
        }
        "shmem.config" => upon(
            "GET_SHMEM_CONFIG",
            always,
            spoil(|_, answer| overwrite(&mut answer.payload, 0, &7_u32.to_ne_bytes())),
        ),
        // Behind the end of its region.
        "shmem.map" => Fault {
            asks: Some(|request| {
                if let back::Request::ShmemMap(what) = request {
                    what.offset = 1 << 30;
                }
            }),
            ..Fault::default()
        },
        "object.get" => upon("GET_SHARED_OBJECT", always, spoil(|_, answer| answer.descriptors.clear())),
        "object.unknown" => upon(
            "GET_SHARED_OBJECT",
            always,
            spoil(|_, answer| {
                if answer.descriptors.is_empty() {
                    answer.descriptors.extend(File::open("/dev/null").map(Into::into));
                }
            }),
        ),
        "postcopy.advise" => upon(
            "POSTCOPY_ADVISE",
            always,
            spoil(|_, answer| {
                answer.descriptors.clear();
                answer.descriptors.extend(File::open("/dev/null").map(Into::into));
            }),
        )
        .in_postcopy(),
        // It is nowhere.
        "postcopy.memory" => upon(
            "SET_MEM_TABLE",
            Known::is_postcopy_table,
            // The address of the first region, behind how many there are, its place and its size.
            spoil(|_, answer| overwrite(&mut answer.payload, 24, &[0; 8])),
        )
        .in_postcopy(),
        "postcopy.end" => upon("POSTCOPY_END", always, spoil_number(|_| 1)).in_postcopy(),
        _ => return None,
    })
}

//! Memory and objects that the back-end shares: what it says of them, and whether it is so.

use super::channel::heard;
use super::peer::PLAIN;
use super::session::ORDINARY;
use super::work::{Work, served};
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::back::Request as Asks;
use crate::front::Request;
use crate::frontend::Asked;
use crate::payload::{SharedMapping, SharedObject};
use std::time::Duration;
use virtio::features::Features;

const SHMEM: &str = "vhost-user: VHOST_USER_GET_SHMEM_CONFIG";
const MAPS: &str = "vhost-user: VHOST_USER_BACKEND_SHMEM_MAP";
const OBJECTS: &str = "vhost-user: VHOST_USER_GET_SHARED_OBJECT";

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "state.shmem.config",
            Level::Must,
            SHMEM,
            "as many regions have a size as it says that there are",
            |run| {
                run.needs(ProtocolFeatures::SHMEM)?;
                let peer = run.negotiated(ORDINARY | ProtocolFeatures::SHMEM)?;
                let answer = peer.ask(&Request::GetShmemConfig, PLAIN, &[])?;
                let said = answer.payload.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
                // Behind the number and what aligns them.
                let sizes = answer.payload.get(8..).unwrap_or_default().chunks_exact(8);
                let count = sizes.filter(|size| size.iter().any(|byte| *byte != 0)).count();
                match said {
                    Some(said) if said as usize == count => Ok(()),
                    said => failed(format!("it says {said:?}, and {count} have a size")),
                }
            },
        ),
        Check::new(
            "state.shmem.map",
            Level::Must,
            MAPS,
            "what it asks to be mapped is in a region, in a file that is as long, and where nothing else is",
            mapped,
        ),
        Check::new(
            "state.object.get",
            Level::Must,
            OBJECTS,
            "an object that it has told of is given",
            |run| {
                let (mut work, said) = shared(run, ProtocolFeatures::SHARED_OBJECT)?;
                let Some(SharedObject { uuid }) = said.iter().find_map(|asked| match &asked.request {
                    Asks::SharedObjectAdd(object) => Some(*object),
                    _ => None,
                }) else {
                    return not_applicable("it has told of no object");
                };
                match work.front.shared_object(uuid)? {
                    Some(_) => Ok(()),
                    None => failed("no descriptor came for it"),
                }
            },
        ),
        Check::new(
            "state.object.unknown",
            Level::Must,
            OBJECTS,
            "no descriptor comes for an object that it has not",
            |run| {
                run.needs(ProtocolFeatures::SHARED_OBJECT)?;
                let protocol = ORDINARY | ProtocolFeatures::SHARED_OBJECT;
                match run.front_with(Features::empty(), protocol)?.shared_object([0xff; 16])? {
                    None => Ok(()),
                    Some(_) => failed("one came"),
                }
            },
        ),
    ]
}

/// A device at work, and what it has said on its channel by the end of a request.
fn shared(run: &mut Run<'_>, feature: ProtocolFeatures) -> Result<(Work, Vec<Asked>), Trouble> {
    run.needs(feature | ProtocolFeatures::BACKEND_REQ)?;
    let kind = served(run)?;
    let front = run.front_with(Features::empty(), ORDINARY | feature | SENDS)?;
    let mut work = Work::laid_out_on(run, front, kind)?;
    let mut channel = work.front.open_channel()?;
    work.attach()?;
    work.once()?;
    let mut said = Vec::new();
    // What it says it may say beside the request.
    while let Some(asked) = heard(&mut channel, Duration::from_millis(20))? {
        said.push(asked);
    }
    Ok((work, said))
}

/// Descriptors go along with what it says.
const SENDS: ProtocolFeatures = ProtocolFeatures::BACKEND_SEND_FD;

fn mapped(run: &mut Run<'_>) -> Outcome {
    let (mut work, said) = shared(run, ProtocolFeatures::SHMEM)?;
    let mut regions = work.front.shared_regions()?;
    let mut count = 0;
    for asked in &said {
        let result = match (&asked.request, asked.descriptors.first()) {
            (Asks::ShmemMap(SharedMapping { offset, size, .. }), _) if (offset | size) % 4096 != 0 => {
                return failed(format!("{size:#x} bytes at {offset:#x} are no pages"));
            }
            (Asks::ShmemMap(what), Some(descriptor)) => regions.map(what, descriptor),
            (Asks::ShmemMap(_), None) => return failed("no descriptor comes with what is to be mapped"),
            (Asks::ShmemUnmap(what), _) => regions.unmap(what),
            _ => continue,
        };
        count += 1;
        result.map_err(|error| Trouble::Failed(crate::with_causes(&error)))?;
    }
    if count == 0 { not_applicable("it asks for nothing to be mapped") } else { Ok(()) }
}

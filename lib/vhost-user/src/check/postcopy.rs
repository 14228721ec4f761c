//! Postcopy, with the checks for the other side of a migration: memory that comes as the device touches it.

use super::peer::PLAIN;
use super::session::ORDINARY;
use super::work::{Work, served};
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::frontend::{FrontEnd, Missing};
use crate::memory::{Memory, Userfault};
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use virtio::features::Features;

const POSTCOPY: &str = "vhost-user: VHOST_USER_POSTCOPY_ADVISE";
const LISTEN: &str = "vhost-user: VHOST_USER_POSTCOPY_LISTEN, VHOST_USER_SET_MEM_TABLE";
const END: &str = "vhost-user: VHOST_USER_POSTCOPY_END";

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "state.postcopy.advise",
            Level::Must,
            POSTCOPY,
            "a userfaultfd comes with the answer to POSTCOPY_ADVISE",
            |run| run.builds_upon(ALONE, advised),
        ),
        Check::new(
            "state.postcopy.memory",
            Level::Must,
            LISTEN,
            "a page that is not there is asked for by its place in the table that was answered, and waited for",
            |run| {
                let mut work = advises(run, touched)?;
                // What comes of it is another check's; without it some wait for ever once the front-end is gone.
                let _ = work.front.postcopy_end();
                Ok(())
            },
        ),
        Check::new(
            "state.postcopy.end",
            Level::Must,
            END,
            "POSTCOPY_END is answered by success, and requests are served",
            |run| {
                let touched = |run: &mut Run<'_>| run.builds_upon("state.postcopy.memory", touched);
                let mut work = advises(run, touched)?;
                work.front.postcopy_end()?;
                work.once()
            },
        ),
    ]
}

/// Who takes postcopy and slots together has said nothing of postcopy alone.
const ALONE: &str = "negotiation.protocol.both";

/// What builds upon a userfaultfd.
fn advises<T>(
    run: &mut Run<'_>,
    step: impl FnOnce(&mut Run<'_>) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    match run.builds_upon(ALONE, advised) {
        Ok(()) => step(run),
        Err(Trouble::Failed(why)) => not_applicable(format!("state.postcopy.advise has failed: {why}")),
        Err(other) => Err(other),
    }
}

fn advised(run: &mut Run<'_>) -> Outcome {
    postcopy(run)?;
    let answer = run.negotiated(protocol())?.ask(&Request::PostcopyAdvise, PLAIN, &[])?;
    let [descriptor] = answer.descriptors.as_slice() else {
        return failed(format!("{} descriptors came and not 1", answer.descriptors.len()));
    };
    let what = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))?;
    match what.to_string_lossy().contains("userfaultfd") {
        true => Ok(()),
        false => failed(format!("what came is {}", what.display())),
    }
}

/// Slots and postcopy exclude each other.
fn protocol() -> ProtocolFeatures {
    ORDINARY.difference(ProtocolFeatures::CONFIGURE_MEM_SLOTS) | ProtocolFeatures::PAGEFAULT
}

fn postcopy(run: &Run<'_>) -> Outcome {
    run.needs(ProtocolFeatures::PAGEFAULT)?;
    match Userfault::new() {
        Ok(_) => Ok(()),
        Err(error) => not_applicable(format!("there is no userfaultfd for this user: {error}")),
    }
}

/// A request is served in memory that is somewhere else when it begins; gives what it was served by.
fn touched(run: &mut Run<'_>) -> Result<Work, Trouble> {
    postcopy(run)?;
    let kind = served(run)?;
    if !run.writes() {
        return not_applicable("it is not known to be a device that writes");
    }
    let mut front: FrontEnd = run.front_with(Features::empty(), protocol())?;
    let memory = Memory::new(1 << 20)?;
    let missing = front.postcopy(&[&memory])?;
    let mut work = Work::laid_out_in(run, front, kind, memory)?;
    // What a driver has written is here: all but what a request is to write.
    let (first, bytes) = work.next_pages();
    let region = work.memory.region();
    let here = |page: u64| {
        let place = region.memory.piece((page - region.address) as usize, 1);
        if let Some(place) = place {
            let mut byte = [0];
            place.slice().read(&mut byte);
            place.slice().write(&byte);
        }
    };
    (region.address..first).step_by(4096).for_each(here);
    work.attach()?;
    work.offer_in_turn(0)?;
    work.queue.submit()?;
    let asked = brought(run, &mut work, &missing, (first, bytes), &here);
    // Whatever came of it: nobody waits for a page any more.
    (region.address..).step_by(4096).take(region.memory.len() / 4096).for_each(here);
    missing.all_are_there()?;
    match asked {
        Ok(Asked::Yes) => Ok(work),
        Ok(Asked::No) => failed("it wrote what was not there, and asked nobody"),
        Err(trouble) => {
            let _ = work.front.postcopy_end();
            Err(trouble)
        }
    }
}

/// Whether a page was asked for that is not there.
enum Asked {
    Yes,
    No,
}

/// Brings every page that is waited for until the request has ended.
fn brought(
    run: &Run<'_>,
    work: &mut Work,
    missing: &Missing,
    (first, bytes): (u64, u64),
    here: &impl Fn(u64),
) -> Result<Asked, Trouble> {
    let mut asked = Asked::No;
    for _ in 0..run.patience.time().as_millis().max(1) {
        if let Some(done) = work.reap()? {
            work.right(done)?;
            return Ok(asked);
        }
        let Some(page) = missing.next(Duration::from_millis(1))? else { continue };
        if (first..first + bytes).contains(&page) {
            asked = Asked::Yes;
        }
        here(page);
        missing.is_there(page)?;
    }
    failed("the request is not served")
}

//! What the end of a machine's process would break off, and for how long it is waited for when the guest is off.

use super::{OperationError, backup::is_part_of_pulled};
use crate::{Vm, proc_fs};
use qmp::commands::{JobStatus, QueryBlockExports, QueryJobs};
use std::{collections::BTreeMap, time::Duration};

/// What goes on in a machine, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtWork {
    what: What,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Nothing,
    /// A job that waits to be told what to do: whoever began it may be gone.
    Waits,
    /// Something that comes to its end by itself, or is read by somebody.
    Goes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    /// Of jobs by their name, and of a migration.
    counted: BTreeMap<String, u64>,
    /// What the process has read where somebody reads its disks, of which QEMU counts nothing; `None` where that is not seen.
    read: Option<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { counted: BTreeMap::new(), read: Some(0) }
    }
}

impl Progress {
    /// Whether it is further than so many looks before. What is not seen is taken to be.
    fn is_beyond(&self, before: &Self, looks: u64) -> bool {
        let is_read = match (self.read, before.read) {
            (Some(now), Some(before)) => now >= before.saturating_add(LITTLE.saturating_mul(looks)),
            _ => true,
        };
        is_read || self.counted != before.counted
    }
}

fn what(status: &JobStatus) -> What {
    match status {
        JobStatus::Undefined | JobStatus::Null => What::Nothing,
        JobStatus::Ready | JobStatus::Standby | JobStatus::Pending | JobStatus::Concluded => What::Waits,
        _ => What::Goes,
    }
}

impl Vm {
    /// What is at work in it that the end of its process would break off. QEMU answers nothing at some moments of a move: what this process
    /// moves goes on then, and comes no further as far as is known.
    pub(crate) async fn at_work(&self) -> Result<AtWork, OperationError> {
        match self.asked_for_work().await {
            Err(_) if self.is_moved_here() && self.status().exit.is_none() => {
                Ok(AtWork { what: What::Goes, progress: Progress::default() })
            }
            asked => asked,
        }
    }

    async fn asked_for_work(&self) -> Result<AtWork, OperationError> {
        let (mut found, mut progress) = (What::Nothing, Progress::default());
        if let Some(sent) = self.is_moving().await? {
            found = What::Goes;
            progress.counted.insert("#migration".to_owned(), sent);
        }
        for job in self.ask("list the jobs", &QueryJobs {}).await? {
            found = found.max(what(&job.status));
            progress.counted.insert(job.id, super::figure(job.current_progress));
        }
        let (exports, nodes) =
            (self.ask("ask what is served", &QueryBlockExports {}).await?, self.named_nodes().await?);
        // Served from before its disks are there to be read until all that this took is closed.
        if !exports.is_empty() || nodes.iter().any(is_part_of_pulled) {
            found = What::Goes;
            // Linux counts nothing of what is received, and tells nobody who has no right to look.
            let is_seen = !nodes.iter().any(|node| node.drv == "nbd");
            progress.read = proc_fs::read_bytes(self.process.pid()).ok().filter(|_| is_seen);
        }
        Ok(AtWork { what: found, progress })
    }
}

/// How long a machine whose guest is off is waited for.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// How long what was at work last has been waiting, or has not come any further.
    waited: Duration,
    /// What it was when it came further last, and how often it was looked at since.
    last: Option<AtWork>,
    looks: u64,
}

impl Patience {
    /// Whether the machine can be ended, of which this is known now; it is looked at again after `pause` otherwise.
    pub(crate) fn is_over(&mut self, now: AtWork, pause: Duration) -> bool {
        let limit = match now.what {
            // Whoever has begun it closes what it used: it is looked at once more.
            What::Nothing => return self.last.take().is_none(),
            What::Waits => LEFT_TO_OTHERS,
            What::Goes => STALLED,
        };
        self.looks += 1;
        let is_further = self.last.as_ref().is_none_or(|last| {
            last.what != now.what
                || now.what == What::Goes && now.progress.is_beyond(&last.progress, self.looks)
        });
        if is_further {
            *self = Self { waited: Duration::ZERO, last: Some(now), looks: 0 };
        }
        let is_over = self.waited >= limit;
        self.waited += pause;
        is_over
    }
}

/// How long a job that waits to be told what to do may keep a machine whose guest is off.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(10);

/// The same of what goes on and comes no further, as a copy to a server that is silent, or a backup that nobody reads.
const STALLED: Duration = Duration::from_secs(600);

/// More than an idle process reads between two looks at it, which themselves have it read a few thousand bytes; far less than any reader.
const LITTLE: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(500);

    fn found(what: What, sent: u64, read: u64) -> AtWork {
        AtWork {
            what,
            progress: Progress { counted: BTreeMap::from([("job".to_owned(), sent)]), read: Some(read) },
        }
    }

    /// How long the same is waited for.
    fn waits(patience: &mut Patience, now: &AtWork) -> Duration {
        let mut waited = Duration::ZERO;
        while waited <= STALLED && !patience.is_over(now.clone(), LOOK) {
            waited += LOOK;
        }
        waited
    }

    #[test]
    fn what_comes_no_further_is_waited_for_no_longer_than_it_may_take() {
        for (what, limit) in [(What::Waits, LEFT_TO_OTHERS), (What::Goes, STALLED)] {
            let mut patience = Patience::default();
            assert_eq!(waits(&mut patience, &found(what, 7, 0)), limit);
        }
        // What waits has been going on before, or the other way round.
        let mut patience = Patience::default();
        assert!(!patience.is_over(found(What::Goes, 7, 0), STALLED));
        assert_eq!(waits(&mut patience, &found(What::Waits, 7, 0)), LEFT_TO_OTHERS);
        let mut patience = Patience::default();
        assert!(!patience.is_over(found(What::Waits, 7, 0), LEFT_TO_OTHERS));
        assert_eq!(waits(&mut patience, &found(What::Goes, 7, 0)), STALLED);
    }

    #[test]
    fn what_comes_further_is_waited_for() {
        let mut patience = Patience::default();
        for look in 0..5 {
            assert!(!patience.is_over(found(What::Goes, look, 0), STALLED), "a job, at {look}");
        }
        for look in 1..5 {
            assert!(!patience.is_over(found(What::Goes, 7, look * LITTLE), STALLED), "a reader, at {look}");
        }
        // Now and then, too.
        for read in [5, 5, 5, 5, 5, 10] {
            assert!(!patience.is_over(found(What::Goes, 7, read * LITTLE), LOOK), "a reader that pauses");
        }
        assert_eq!(patience.looks, 0, "it has come further");
        // Nothing is said of what is not seen.
        let mut unseen = found(What::Goes, 7, 0);
        unseen.progress.read = None;
        for look in 0..5 {
            assert!(!patience.is_over(unseen.clone(), STALLED), "unseen, at {look}");
        }
        assert!(!patience.is_over(found(What::Goes, 7, 10 * LITTLE), STALLED));
        // What looking at it makes is nothing.
        assert!(patience.is_over(found(What::Goes, 7, 11 * LITTLE - 1), STALLED));
    }

    #[test]
    fn a_machine_is_looked_at_once_more_when_its_work_is_done() {
        let nothing = || found(What::Nothing, 0, 0);
        assert!(Patience::default().is_over(nothing(), LOOK));
        let mut patience = Patience::default();
        assert!(!patience.is_over(found(What::Goes, 7, 0), LOOK));
        assert!(!patience.is_over(nothing(), LOOK));
        assert!(patience.is_over(nothing(), LOOK));
    }
}

//! What the end of a machine's process would break off, and for how long it is waited for when the guest is off.

use super::{OperationError, backup::is_part_of_pulled};
use crate::{Vm, proc_fs};
use qmp::commands::{JobStatus, QueryBlockExports, QueryJobs};
use std::{collections::BTreeMap, ffi::OsString, time::Duration};

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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Of jobs by their name, and of a migration.
    counted: BTreeMap<String, u64>,
    /// Of a process whose disks somebody may read, of which QEMU counts nothing.
    served: Option<Served>,
}

/// For how long its threads had run when it was looked at, and when that was over: a look costs it more than a slow reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Served {
    before: BTreeMap<OsString, u64>,
    after: BTreeMap<OsString, u64>,
}

impl Served {
    /// Nanoseconds that it ran since another look, but for threads that have ended.
    fn since(&self, last: &Self) -> u64 {
        let ran = |(thread, now): (&OsString, &u64)| Some(now.saturating_sub(*last.after.get(thread)?));
        self.before.iter().filter_map(ran).sum()
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
        let ran = || proc_fs::run_times(self.process.pid()).unwrap_or_default();
        let before = ran();
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
            progress.served = Some(Served { before, after: ran() });
        }
        Ok(AtWork { what: found, progress })
    }
}

/// How long a machine whose guest is off is waited for.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// How long what was at work last has been waiting, or has not come any further.
    waited: Duration,
    /// What it was when it was looked at last, and when it came further last.
    last: Option<AtWork>,
    counted: BTreeMap<String, u64>,
    /// Since then: how often it was looked at, and nanoseconds that it ran between.
    looks: u64,
    ran: u64,
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
        let last = self.last.replace(now.clone());
        if let (Some(now), Some(last)) =
            (&now.progress.served, last.as_ref().and_then(|last| last.progress.served.as_ref()))
        {
            self.ran += now.since(last);
        }
        // What is not seen is taken to come further; a kernel that counts nothing says 0.
        let is_unseen =
            now.progress.served.as_ref().is_some_and(|served| served.before.values().all(|ran| *ran == 0));
        let is_beyond = is_unseen
            || now.progress.counted != self.counted
            || self.ran >= LITTLE.saturating_mul(self.looks);
        if last.is_none_or(|last| last.what != now.what) || now.what == What::Goes && is_beyond {
            self.counted = now.progress.counted;
            (self.waited, self.looks, self.ran) = (Duration::ZERO, 0, 0);
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

/// Nanoseconds, from one look to the next (QEMU 7.2, half a second): an idle process runs 20 us, and 250 us for each question of others, of which
/// supervision has one in ten looks; one whose disks are read in four pieces of 64 KiB a second, allocated or not, 200 to 300 us. Who asks it
/// for more than its state all the time keeps it.
const LITTLE: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(500);

    fn found(what: What, sent: u64, ran: u64) -> AtWork {
        let times = BTreeMap::from([("7".into(), ran)]);
        let served = Some(Served { before: times.clone(), after: times });
        AtWork { what, progress: Progress { counted: BTreeMap::from([("job".to_owned(), sent)]), served } }
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
            assert_eq!(waits(&mut patience, &found(what, 7, 1)), limit);
        }
        // What waits has been going on before, or the other way round.
        let mut patience = Patience::default();
        assert!(!patience.is_over(found(What::Goes, 7, 1), STALLED));
        assert_eq!(waits(&mut patience, &found(What::Waits, 7, 1)), LEFT_TO_OTHERS);
        let mut patience = Patience::default();
        assert!(!patience.is_over(found(What::Waits, 7, 1), LEFT_TO_OTHERS));
        assert_eq!(waits(&mut patience, &found(What::Goes, 7, 1)), STALLED);
    }

    #[test]
    fn what_comes_further_is_waited_for() {
        let mut patience = Patience::default();
        for look in 0..5 {
            assert!(!patience.is_over(found(What::Goes, look, 0), STALLED), "a job, at {look}");
        }
        for look in 1..5 {
            assert!(!patience.is_over(found(What::Goes, 4, look * LITTLE), STALLED), "a reader, at {look}");
        }
        // Now and then, too.
        for ran in [5, 5, 5, 5, 5, 10] {
            assert!(!patience.is_over(found(What::Goes, 4, ran * LITTLE), LOOK), "a reader that pauses");
        }
        assert_eq!((patience.looks, patience.waited), (0, LOOK), "it has come further");
        // Nothing is said of what is not seen.
        let mut unseen = found(What::Goes, 4, 0);
        for look in 0..5 {
            assert!(!patience.is_over(unseen.clone(), STALLED), "not counted, at {look}");
        }
        unseen.progress.served = Some(Served::default());
        for look in 0..5 {
            assert!(!patience.is_over(unseen.clone(), STALLED), "unseen, at {look}");
        }
        // What it runs while it is looked at, or runs otherwise, is nothing.
        let mut patience = Patience::default();
        let mut looked_at = found(What::Goes, 4, 10 * LITTLE);
        looked_at.progress.served.as_mut().unwrap().after = BTreeMap::from([("7".into(), 30 * LITTLE)]);
        assert!(!patience.is_over(looked_at, STALLED));
        assert!(patience.is_over(found(What::Goes, 4, 31 * LITTLE - 1), STALLED));
    }

    #[test]
    fn threads_that_come_and_go_have_run_nothing_that_is_known() {
        let times = |threads: &[(&str, u64)]| threads.iter().map(|(id, ran)| ((*id).into(), *ran)).collect();
        let last = Served { after: times(&[("1", 10), ("2", 500)]), ..Served::default() };
        let now = Served { before: times(&[("1", 17), ("3", 900)]), ..Served::default() };
        assert_eq!(now.since(&last), 7);
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

//! The writer's half: commands in groups, each group one frame of the log.
//!
//! [`Engine::apply`] stages the commands in order over the newest state, writes the changes of all of them in one durable
//! commit, and only then shows them to readers and answers. If the commit fails, nothing of the group is ever seen.

use super::disk::Group;
use super::record::Item;
use super::state::{Lease, Shared, State};
use crate::check::check_ttl;
use crate::{Batch, Compare, Event, LeaseId, Op, Revision, StoreError, Txn, TxnOutcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Debug)]
pub(super) enum Command {
    Txn(Txn),
    Grant(Duration),
    KeepAlive(LeaseId),
    Revoke(LeaseId),
    Compact(Revision),
}

/// Whether anybody waits for the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Something,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Txn(TxnOutcome),
    Lease(LeaseId),
    Done,
}

pub(super) struct Engine {
    shared: Arc<Shared>,
    /// When each lease is over; a lease too long for the clock has no entry.
    deadlines: BTreeMap<LeaseId, Instant>,
    last_lease: u64,
    /// The revision of the base on disk: what is compacted above it waits to be folded.
    base: u64,
    /// Folding up to here is under way, or has been tried: a group that reaches beyond it cannot be split.
    folding: u64,
    /// How many revisions automatic compaction leaves, if it is wanted.
    retain: Option<u64>,
    /// After a failed write, when expiry and folding may be tried again.
    pause_until: Option<Instant>,
    /// How often folding has failed since it last succeeded, and when it may be tried again.
    fold_failures: u32,
    fold_pause_until: Option<Instant>,
    /// Scratch space for a frame.
    buffer: Vec<u8>,
}

/// Folding waits until nobody has asked for anything for this long, since it takes CPU and disk from commits.
const QUIET: Duration = Duration::from_millis(20);

/// With more revisions than this to fold, it waits no more, lest the log grow under steady load. In tests little is much.
const FOLD_BACKLOG: u64 = if cfg!(test) { 4 } else { 16_384 };

/// A log of more bytes than this is compacted and folded, however few revisions that leaves, if compaction is automatic. In
/// tests little is much.
const LOG_BYTES: u64 = if cfg!(test) { 128 << 10 } else { 256 << 20 };

/// How long the writer's own work (expiry, folding) rests after a failed commit, lest a full disk keep a core busy.
const PAUSE: Duration = Duration::from_secs(1);

/// Folding that goes on failing rests longer each time, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Engine {
    pub(super) fn new(
        shared: Arc<Shared>,
        base: u64,
        last_lease: u64,
        retain: Option<u64>,
        now: Instant,
    ) -> Self {
        let leases = shared.read().leases.iter().map(|(id, lease)| (*id, lease.ttl)).collect::<Vec<_>>();
        let deadlines =
            leases.into_iter().filter_map(|(id, ttl)| Some((id, now.checked_add(ttl)?))).collect();
        Self {
            shared,
            deadlines,
            last_lease,
            base,
            folding: base,
            retain,
            pause_until: None,
            fold_failures: 0,
            fold_pause_until: None,
            buffer: Vec::new(),
        }
    }

    /// When to call [`Engine::apply`] though nothing has been asked for.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let folding = (self.folding < self.shared.read().compacted)
            .then(|| self.fold_pause_until.map_or(now + QUIET, |pause| pause.max(now + QUIET)));
        let wake = self.deadlines.values().min().copied().into_iter().chain(folding).min()?;
        Some(self.pause_until.map_or(wake, |pause| wake.max(pause)))
    }

    /// Applies a group in order and durably; answers are in the order of the commands.
    pub(super) fn apply(&mut self, now: Instant, commands: Vec<Command>) -> Vec<Result<Answer, StoreError>> {
        let shared = self.shared.clone();
        let state = shared.read();
        let mut stage = Stage::new(&state, self.last_lease);
        let mut over: Vec<_> =
            self.deadlines.iter().filter(|(_, end)| **end <= now).map(|(id, end)| (*end, *id)).collect();
        over.sort();
        for (_, id) in over {
            // It exists, since it has a deadline.
            let _ = stage.revoke(id);
        }
        let mut answers: Vec<_> =
            commands.into_iter().map(|command| self.stage(now, &mut stage, command)).collect();
        if let Some(retain) = self.retain {
            let keep_from = stage.revision.saturating_sub(retain);
            // A little late, so that not every group compacts.
            if keep_from > stage.compacted + retain / 8 {
                stage.compacted = keep_from;
            }
            stage.compacted = stage.compacted.max(shared.disk.revision_beyond(LOG_BYTES));
        }
        let Stage { batches, granted, ended, last_lease, compacted, revision, .. } = stage;
        let group = Group {
            log: batches.into_iter().map(Arc::new).collect(),
            granted,
            ended: ended.into_iter().collect(),
            compacted: (compacted != state.compacted).then_some(compacted),
            last_lease: (last_lease != self.last_lease).then_some(last_lease),
        };
        drop(state);
        if group.is_empty() {
            return answers;
        }
        match shared.disk.commit(&group, revision, &mut self.buffer) {
            Ok(()) => {
                self.last_lease = last_lease;
                self.pause_until = None;
                self.publish(now, group);
            }
            Err(error) => {
                self.pause_until = now.checked_add(PAUSE);
                for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                    *answer = Err(error.clone());
                }
            }
        }
        answers
    }

    /// The revision to fold up to, if it is time to: with nothing asked for, whatever can be; otherwise what has piled up.
    /// Whoever gets an answer folds once, beside the writer if he wants, and tells [`Engine::folded`].
    pub(super) fn fold_due(&mut self, now: Instant, asked: Asked) -> Option<u64> {
        let compacted = self.shared.read().compacted;
        let backlog = match asked {
            Asked::Nothing => 0,
            Asked::Something if self.shared.disk.log_bytes() > LOG_BYTES => 0,
            Asked::Something => FOLD_BACKLOG,
        };
        let due = compacted > self.folding
            && compacted - self.base > backlog
            && [self.pause_until, self.fold_pause_until].iter().flatten().all(|pause| *pause <= now);
        due.then(|| {
            self.folding = compacted;
            compacted
        })
    }

    /// What came of folding.
    pub(super) fn folded(&mut self, now: Instant, result: Result<u64, StoreError>) {
        self.shared.set_fold_error(result.as_ref().err().map(ToString::to_string));
        match result {
            Ok(base) => {
                // There may be more to do, unless the next group reaches beyond what is compacted.
                if base > self.base {
                    self.folding = base;
                }
                self.base = base;
                (self.fold_failures, self.fold_pause_until) = (0, None);
            }
            Err(_) => {
                self.folding = self.base;
                let pause = PAUSE.saturating_mul(1 << self.fold_failures.min(6)).min(LONGEST_PAUSE);
                self.fold_failures += 1;
                self.fold_pause_until = now.checked_add(pause);
            }
        }
    }

    fn stage(&mut self, now: Instant, stage: &mut Stage<'_>, command: Command) -> Result<Answer, StoreError> {
        match command {
            Command::Txn(txn) => stage.txn(txn).map(Answer::Txn),
            Command::Grant(ttl) => stage.grant(ttl).map(Answer::Lease),
            Command::Revoke(id) => stage.revoke(id).map(|()| Answer::Done),
            Command::Compact(revision) => stage.compact(revision).map(|()| Answer::Done),
            Command::KeepAlive(id) => {
                let ttl = stage.ttl(id).ok_or(StoreError::LeaseNotFound(id))?;
                // Only in memory: after a restart every lease has its full time anyway.
                if let Some(end) = now.checked_add(ttl) {
                    self.deadlines.insert(id, end);
                }
                Ok(Answer::Done)
            }
        }
    }

    fn publish(&mut self, now: Instant, group: Group) {
        for (id, ttl) in &group.granted {
            if let Some(end) = now.checked_add(*ttl) {
                self.deadlines.insert(*id, end);
            }
        }
        for id in &group.ended {
            self.deadlines.remove(id);
        }
        self.shared.publish(|state| {
            for (id, ttl) in group.granted {
                state.leases.insert(id, Lease { ttl, keys: BTreeSet::new() });
            }
            for batch in group.log {
                state.record(batch);
            }
            for id in group.ended {
                state.leases.remove(&id);
            }
            if let Some(compacted) = group.compacted {
                state.compact(compacted);
            }
        });
    }
}

/// A group in the making: the newest state with the changes of the group's commands so far.
struct Stage<'a> {
    state: &'a State,
    keys: BTreeMap<String, Option<Item>>,
    batches: Vec<Batch>,
    granted: BTreeMap<LeaseId, Duration>,
    ended: BTreeSet<LeaseId>,
    last_lease: u64,
    revision: u64,
    compacted: u64,
}

impl<'a> Stage<'a> {
    fn new(state: &'a State, last_lease: u64) -> Self {
        Self {
            state,
            keys: BTreeMap::new(),
            batches: Vec::new(),
            granted: BTreeMap::new(),
            ended: BTreeSet::new(),
            last_lease,
            revision: state.revision,
            compacted: state.compacted,
        }
    }

    fn item(&self, key: &str) -> Option<&Item> {
        match self.keys.get(key) {
            Some(staged) => staged.as_ref(),
            None => self.state.keys.get(key),
        }
    }

    fn ttl(&self, id: LeaseId) -> Option<Duration> {
        if self.ended.contains(&id) {
            return None;
        }
        self.granted.get(&id).copied().or_else(|| Some(self.state.leases.get(&id)?.ttl))
    }

    fn txn(&mut self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { txn.then } else { txn.otherwise };
        for op in &ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && self.ttl(*lease).is_none()
            {
                return Err(StoreError::LeaseNotFound(*lease));
            }
        }
        let mut events = Vec::new();
        let mut reads = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => events.push(self.put(key, value, lease)),
                Op::Delete(key) => events.extend(self.delete(key)),
                Op::DeletePrefix(prefix) => {
                    let doomed = self.keys_under(&prefix);
                    events.extend(doomed.into_iter().filter_map(|key| self.delete(key)));
                }
                Op::Get(key) => reads.push(key),
            }
        }
        self.record(events);
        let gets = reads.into_iter().map(|key| self.item(&key).map(|item| item.with_key(&key))).collect();
        Ok(TxnOutcome { succeeded, revision: Revision(self.revision), gets })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let item = self.item(compare.key());
        match compare {
            Compare::Absent(_) => item.is_none(),
            Compare::Exists(_) => item.is_some(),
            Compare::ModRevision(_, revision) => item.is_some_and(|item| item.modified == revision.0),
            Compare::CreateRevision(_, revision) => item.is_some_and(|item| item.create == revision.0),
            Compare::Value(_, value) => item.is_some_and(|item| item.value == *value),
        }
    }

    fn put(&mut self, key: String, value: bytes::Bytes, lease: Option<LeaseId>) -> Event {
        let previous = self.item(&key);
        let modified = self.revision + 1;
        let item = Item {
            value,
            create: previous.map_or(modified, |previous| previous.create),
            modified,
            version: previous.map_or(1, |previous| previous.version + 1),
            lease,
        };
        let event = Event::Put {
            current: item.with_key(&key),
            previous: previous.map(|previous| previous.with_key(&key)),
        };
        self.keys.insert(key, Some(item));
        event
    }

    fn delete(&mut self, key: String) -> Option<Event> {
        let previous = self.item(&key)?.with_key(&key);
        self.keys.insert(key, None);
        Some(Event::Delete { previous })
    }

    fn keys_under(&self, prefix: &str) -> BTreeSet<String> {
        let under = |key: &&String| key.starts_with(prefix);
        let old = self.state.keys.range(prefix.to_owned()..).map(|(key, _)| key).take_while(under);
        let staged = self.keys.range(prefix.to_owned()..).map(|(key, _)| key).take_while(under);
        old.chain(staged).cloned().collect()
    }

    fn grant(&mut self, ttl: Duration) -> Result<LeaseId, StoreError> {
        check_ttl(ttl)?;
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.granted.insert(id, ttl);
        Ok(id)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<(), StoreError> {
        self.ttl(id).ok_or(StoreError::LeaseNotFound(id))?;
        let bound = self.state.leases.get(&id).into_iter().flat_map(|lease| lease.keys.iter());
        let keys: BTreeSet<String> = bound.chain(self.keys.keys()).cloned().collect();
        let keys = keys.into_iter().filter(|key| self.item(key).is_some_and(|item| item.lease == Some(id)));
        let keys: Vec<String> = keys.collect();
        let events = keys.into_iter().filter_map(|key| self.delete(key)).collect();
        self.record(events);
        self.granted.remove(&id);
        self.ended.insert(id);
        Ok(())
    }

    fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision.0 > self.revision {
            return Err(StoreError::FutureRevision { asked: revision, newest: Revision(self.revision) });
        }
        self.compacted = self.compacted.max(revision.0);
        Ok(())
    }

    fn record(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.revision += 1;
            self.batches.push(Batch { revision: Revision(self.revision), events });
        }
    }
}

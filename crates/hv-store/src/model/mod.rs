//! The store as a plain value: the oracle of the tests and the store of the simulator.
//!
//! [`Model`] has no clock, no lock, no task and no I/O: time is an argument, and nothing happens between calls.
//! [`MemoryStore`] puts it behind the [`Store`](crate::Store) trait.
//!
//! It is written to be obviously right, not fast: a listing at an older revision undoes the changes since, one by one.

mod memory;

pub use memory::MemoryStore;

use crate::check::check_ttl;
use crate::{
    Batch, Compare, Event, KeyValue, LeaseId, List, Op, Page, Revision, Snapshot, Status, StoreError, Txn,
    TxnOutcome,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A whole store in maps. `now` is any clock that never goes back, as the time since an origin of the caller's choice.
#[derive(Clone, Debug, Default)]
pub struct Model {
    revision: Revision,
    compacted: Revision,
    keys: BTreeMap<String, KeyValue>,
    /// One batch per revision, from `compacted + 1` to `revision`, without holes.
    history: VecDeque<Batch>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: u64,
    incarnation: String,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    expires: Duration,
}

/// A part of the history, as a watch reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Batches with at least one matching change, in revision order.
    pub batches: Vec<Batch>,
    /// Everything up to here has been looked at: ask for what comes after it next.
    pub upto: Revision,
}

impl Model {
    /// An empty store. The name of the incarnation is the caller's, so that equal runs are equal.
    pub fn new(incarnation: impl Into<String>) -> Self {
        Self { incarnation: incarnation.into(), ..Self::default() }
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One key at the newest revision.
    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.keys.get(key).cloned()
    }

    /// Keys under a prefix in key order, all at one revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::FutureRevision`], by `list.at`.
    pub fn list(&self, list: &List) -> Result<Page, StoreError> {
        let revision = list.at.unwrap_or(self.revision);
        self.kept(revision)?;
        let past;
        let keys = if revision == self.revision {
            &self.keys
        } else {
            past = self.keys_at(revision);
            &past
        };
        let mut matching = keys
            .range(list.prefix.clone()..)
            .map(|(_, item)| item)
            .take_while(|item| item.key.starts_with(&list.prefix))
            .filter(|item| list.after.as_ref().is_none_or(|after| item.key > *after));
        let limit = if list.limit == 0 { usize::MAX } else { list.limit };
        let items = matching.by_ref().take(limit).cloned().collect();
        Ok(Page { items, revision, more: matching.next().is_some() })
    }

    /// Checks all compares, then applies `then` or `otherwise`.
    ///
    /// A lease whose time is over counts until [`Model::expire`] has been called.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] by [`Txn::check`]; [`StoreError::LeaseNotFound`] when the branch that runs names a lease
    /// that does not exist. Nothing is changed then.
    pub fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        for op in ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.contains_key(lease)
            {
                return Err(StoreError::LeaseNotFound(*lease));
            }
        }
        let revision = self.revision.next();
        let mut events = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let previous = self.keys.get(key).cloned();
                    let current = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: previous
                            .as_ref()
                            .map_or(revision, |previous| previous.create_revision),
                        mod_revision: revision,
                        version: previous.as_ref().map_or(1, |previous| previous.version + 1),
                        lease: *lease,
                    };
                    self.keys.insert(key.clone(), current.clone());
                    events.push(Event::Put { current, previous });
                }
                Op::Delete(key) => events.extend(self.delete(|item| item.key == *key)),
                Op::DeletePrefix(prefix) => events.extend(self.delete(|item| item.key.starts_with(prefix))),
                Op::Get(_) => {}
            }
        }
        self.record(events);
        let gets = ops.iter().filter_map(|op| match op {
            Op::Get(key) => Some(self.get(key)),
            Op::Put { .. } | Op::Delete(_) | Op::DeletePrefix(_) => None,
        });
        Ok(TxnOutcome { succeeded, gets: gets.collect(), revision: self.revision })
    }

    /// Changes under `prefix` after revision `after`, from at most `limit` revisions (0: all of them).
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::FutureRevision`], by `after`.
    pub fn events_since(&self, prefix: &str, after: Revision, limit: usize) -> Result<Changes, StoreError> {
        self.kept(after)?;
        let skip = usize::try_from(after.0 - self.compacted.0).expect("the history is in memory");
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut changes = Changes { batches: Vec::new(), upto: after };
        for batch in self.history.iter().skip(skip).take(limit) {
            changes.upto = batch.revision;
            let events: Vec<_> =
                batch.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
            if !events.is_empty() {
                changes.batches.push(Batch { revision: batch.revision, events });
            }
        }
        Ok(changes)
    }

    /// Grants a lease that expires at `now + ttl`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a `ttl` under one millisecond.
    pub fn lease_grant(&mut self, now: Duration, ttl: Duration) -> Result<LeaseId, StoreError> {
        check_ttl(ttl)?;
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.leases.insert(id, Lease { ttl, expires: now.saturating_add(ttl) });
        Ok(id)
    }

    /// Starts a lease's time anew.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`], also when its time is over but [`Model::expire`] has not been called.
    pub fn lease_keep_alive(&mut self, now: Duration, id: LeaseId) -> Result<(), StoreError> {
        match self.leases.get_mut(&id) {
            Some(lease) if now < lease.expires => {
                lease.expires = now.saturating_add(lease.ttl);
                Ok(())
            }
            _ => Err(StoreError::LeaseNotFound(id)),
        }
    }

    /// Ends a lease and deletes its keys in one revision.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`].
    pub fn lease_revoke(&mut self, id: LeaseId) -> Result<(), StoreError> {
        self.leases.remove(&id).ok_or(StoreError::LeaseNotFound(id))?;
        let events = self.delete(|item| item.lease == Some(id));
        self.record(events);
        Ok(())
    }

    /// When [`Model::expire`] has something to do next.
    pub fn next_expiry(&self) -> Option<Duration> {
        self.leases.values().map(|lease| lease.expires).min()
    }

    /// Revokes every lease whose time is over, in the order of their ends, and returns them.
    pub fn expire(&mut self, now: Duration) -> Vec<LeaseId> {
        let mut over: Vec<_> = self.leases.iter().filter(|(_, lease)| lease.expires <= now).collect();
        over.sort_by_key(|(id, lease)| (lease.expires, **id));
        let over: Vec<LeaseId> = over.into_iter().map(|(id, _)| *id).collect();
        for id in &over {
            self.lease_revoke(*id).expect("it was just found");
        }
        over
    }

    /// Forgets history up to and including `revision`. Asking again for what is already forgotten changes nothing.
    ///
    /// # Errors
    /// [`StoreError::FutureRevision`].
    pub fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::FutureRevision { asked: revision, newest: self.revision });
        }
        while self.compacted < revision {
            self.history.pop_front();
            self.compacted = self.compacted.next();
        }
        Ok(())
    }

    /// A copy of everything at the newest revision.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            revision: self.revision,
            items: self.keys.values().cloned().collect(),
            leases: self.leases.iter().map(|(id, lease)| (*id, millis(lease.ttl))).collect(),
        }
    }

    /// A store that holds a snapshot: no history before it, every lease with its full time from `now`.
    pub fn restore(snapshot: &Snapshot, now: Duration, incarnation: impl Into<String>) -> Self {
        let leases = snapshot.leases.iter().map(|(id, ttl)| {
            let ttl = Duration::from_millis(*ttl);
            (*id, Lease { ttl, expires: now.saturating_add(ttl) })
        });
        Self {
            revision: snapshot.revision,
            compacted: snapshot.revision,
            keys: snapshot.items.iter().map(|item| (item.key.clone(), item.clone())).collect(),
            history: VecDeque::new(),
            leases: leases.collect(),
            last_lease: snapshot.leases.iter().map(|(id, _)| id.0).max().unwrap_or(0),
            incarnation: incarnation.into(),
        }
    }

    /// What a restart of the process does to a durable store: all stays, and every lease has its full time from `now`.
    pub fn restart(&mut self, now: Duration) {
        for lease in self.leases.values_mut() {
            lease.expires = now.saturating_add(lease.ttl);
        }
    }

    /// Figures; `disk_bytes` is 0.
    pub fn status(&self) -> Status {
        Status {
            revision: self.revision,
            compacted: self.compacted,
            keys: self.keys.len() as u64,
            disk_bytes: 0,
            incarnation: self.incarnation.clone(),
            fold_error: None,
        }
    }

    /// For tests that must tell apart what snapshots do not.
    #[cfg(test)]
    pub(crate) fn last_lease(&self) -> u64 {
        self.last_lease
    }

    fn holds(&self, compare: &Compare) -> bool {
        let item = self.keys.get(compare.key());
        match compare {
            Compare::Absent(_) => item.is_none(),
            Compare::Exists(_) => item.is_some(),
            Compare::ModRevision(_, revision) => item.is_some_and(|item| item.mod_revision == *revision),
            Compare::CreateRevision(_, revision) => {
                item.is_some_and(|item| item.create_revision == *revision)
            }
            Compare::Value(_, value) => item.is_some_and(|item| item.value == *value),
        }
    }

    fn delete(&mut self, doomed: impl Fn(&KeyValue) -> bool) -> Vec<Event> {
        self.keys
            .extract_if(.., |_, item| doomed(item))
            .map(|(_, previous)| Event::Delete { previous })
            .collect()
    }

    /// Raises the revision, unless nothing changed.
    fn record(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.revision = self.revision.next();
            self.history.push_back(Batch { revision: self.revision, events });
        }
    }

    fn kept(&self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::FutureRevision { asked: revision, newest: self.revision });
        }
        if revision < self.compacted {
            return Err(StoreError::Compacted { oldest: self.compacted });
        }
        Ok(())
    }

    fn keys_at(&self, revision: Revision) -> BTreeMap<String, KeyValue> {
        let mut keys = self.keys.clone();
        for batch in self.history.iter().rev().take_while(|batch| batch.revision > revision) {
            for event in batch.events.iter().rev() {
                match event {
                    Event::Put { previous: Some(previous), .. } | Event::Delete { previous } => {
                        keys.insert(previous.key.clone(), previous.clone());
                    }
                    Event::Put { current, previous: None } => {
                        keys.remove(&current.key);
                    }
                }
            }
        }
        keys
    }
}

/// Whole milliseconds, as leases are stored.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

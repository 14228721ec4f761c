//! What readers see: the newest state and the recent past, in memory.

use super::disk::{Disk, Loaded};
use super::record::Item;
use crate::{Batch, Event, KeyValue, LeaseId, List, Page, Revision, StoreError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::watch;

/// What the writer and all readers share.
pub(super) struct Shared {
    /// Written by the writer alone, and only after the disk has it.
    state: RwLock<State>,
    pub(super) disk: Disk,
    /// Told of each new revision, and dropped when the store closes.
    pub(super) newest: watch::Sender<Progress>,
    pub(super) incarnation: String,
    /// Why folding failed, if it did the last time.
    fold_error: Mutex<Option<String>>,
}

/// What watches wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) revision: u64,
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) compacted: u64,
    pub(super) keys: BTreeMap<String, Item>,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    /// The newest batches, without holes up to `revision`.
    recent: VecDeque<Arc<Batch>>,
    recent_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) keys: BTreeSet<String>,
}

/// How keys stood before the changes since some revision: absent keys did not exist.
pub(super) type Past = BTreeMap<String, Option<KeyValue>>;

/// The recent past is bounded by both.
const RECENT_BATCHES: usize = 8192;
const RECENT_BYTES: usize = 8 << 20;

impl Shared {
    pub(super) fn new(disk: Disk, loaded: Loaded) -> Self {
        let incarnation = uuid::Uuid::from_u128(loaded.incarnation).to_string();
        let newest = watch::Sender::new(Progress { revision: loaded.revision, closed: false });
        Self {
            state: RwLock::new(State::new(loaded)),
            disk,
            newest,
            incarnation,
            fold_error: Mutex::default(),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_fold_error(&self, error: Option<String>) {
        *self.fold_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn fold_error(&self) -> Option<String> {
        self.fold_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a durable group visible, all of it at once.
    pub(super) fn publish(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let before = state.revision;
        change(&mut state);
        let revision = state.revision;
        drop(state);
        if revision != before {
            self.newest.send_modify(|progress| progress.revision = revision);
        }
    }

    /// The changes `from..=to` from disk. They may have been compacted since the caller looked.
    pub(super) fn history(&self, from: u64, to: u64) -> Result<Vec<Batch>, StoreError> {
        let batches = self.disk.history(from, to);
        let compacted = self.read().compacted;
        match batches {
            Ok(batches) if batches.len() as u64 == to + 1 - from => Ok(batches),
            // What is missing may have been folded since.
            _ if compacted >= from => Err(StoreError::Compacted { oldest: Revision(compacted) }),
            Ok(_) => Err(StoreError::Corrupt(format!("revisions {from} to {to} are not all in the log"))),
            Err(error) => Err(error),
        }
    }
}

impl State {
    fn new(loaded: Loaded) -> Self {
        let leases = loaded.leases.iter().map(|(id, ttl)| (*id, Lease { ttl: *ttl, keys: BTreeSet::new() }));
        let mut state = Self {
            revision: loaded.revision,
            compacted: loaded.compacted,
            leases: leases.collect(),
            keys: BTreeMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
        };
        for (key, item) in &loaded.keys {
            if let Some(lease) = item.lease.and_then(|lease| state.leases.get_mut(&lease)) {
                lease.keys.insert(key.clone());
            }
        }
        state.keys = loaded.keys;
        state
    }

    pub(super) fn get(&self, key: &str) -> Option<KeyValue> {
        self.keys.get(key).map(|item| item.with_key(key))
    }

    pub(super) fn kept(&self, revision: u64) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::FutureRevision {
                asked: Revision(revision),
                newest: Revision(self.revision),
            });
        }
        if revision < self.compacted {
            return Err(StoreError::Compacted { oldest: Revision(self.compacted) });
        }
        Ok(())
    }

    /// Everything after this revision is in memory.
    pub(super) fn remembered(&self) -> u64 {
        self.revision - self.recent.len() as u64
    }

    /// The batches after a revision that is not older than [`State::remembered`].
    pub(super) fn recent(&self, after: u64) -> impl Iterator<Item = &Arc<Batch>> {
        let skip = after.saturating_sub(self.remembered());
        self.recent.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// One page, with the changes in `past` undone.
    pub(super) fn page(&self, list: &List, revision: u64, past: &Past) -> Page {
        let from = match &list.after {
            Some(after) if *after >= list.prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(list.prefix.as_str()),
        };
        let range = (from, Bound::Unbounded);
        let mut live =
            self.keys.range::<str, _>(range).take_while(|(key, _)| key.starts_with(&list.prefix)).peekable();
        let mut old =
            past.range::<str, _>(range).take_while(|(key, _)| key.starts_with(&list.prefix)).peekable();
        let limit = if list.limit == 0 { usize::MAX } else { list.limit };
        let mut page = Page { items: Vec::new(), revision: Revision(revision), more: false };
        loop {
            let undone = match (live.peek(), old.peek()) {
                (None, None) => return page,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((live, _)), Some((old, _))) => old <= live,
            };
            let item = if undone {
                let Some((key, item)) = old.next() else { return page };
                live.next_if(|(live, _)| *live == key);
                item.clone()
            } else {
                live.next().map(|(key, item)| item.with_key(key))
            };
            let Some(item) = item else { continue };
            if page.items.len() == limit {
                page.more = true;
                return page;
            }
            page.items.push(item);
        }
    }

    /// Takes over what a group has made durable.
    pub(super) fn record(&mut self, batch: Arc<Batch>) {
        for event in &batch.events {
            let previous = match event {
                Event::Put { current, previous } => {
                    self.keys.insert(current.key.clone(), Item::from(current.clone()));
                    previous.as_ref()
                }
                Event::Delete { previous } => {
                    self.keys.remove(&previous.key);
                    Some(previous)
                }
            };
            if let Some(lease) = previous.and_then(|previous| self.leases.get_mut(&previous.lease?)) {
                lease.keys.remove(event.key());
            }
            if let Event::Put { current: KeyValue { key, lease: Some(lease), .. }, .. } = event
                && let Some(lease) = self.leases.get_mut(lease)
            {
                lease.keys.insert(key.clone());
            }
        }
        self.revision = batch.revision.0;
        self.recent_bytes += weight(&batch);
        self.recent.push_back(batch);
        while self.recent.len() > RECENT_BATCHES || self.recent_bytes > RECENT_BYTES {
            self.forget_oldest();
        }
    }

    pub(super) fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
        while self.recent.front().is_some_and(|batch| batch.revision.0 <= self.compacted) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(batch) = self.recent.pop_front() {
            self.recent_bytes -= weight(&batch);
        }
    }
}

/// Undoes batches, which must come oldest first: what the first change of a key found is how the key stood.
pub(super) fn undo<'a>(past: &mut Past, prefix: &str, batches: impl IntoIterator<Item = &'a Batch>) {
    for event in batches.into_iter().flat_map(|batch| &batch.events) {
        if event.key().starts_with(prefix) && !past.contains_key(event.key()) {
            let previous = match event {
                Event::Put { previous, .. } => previous.clone(),
                Event::Delete { previous } => Some(previous.clone()),
            };
            past.insert(event.key().to_owned(), previous);
        }
    }
}

/// Roughly what a batch takes in memory.
fn weight(batch: &Batch) -> usize {
    let size = |item: &KeyValue| item.key.len() + item.value.len() + 128;
    let event = |event: &Event| match event {
        Event::Put { current, previous } => size(current) + previous.as_ref().map_or(0, size),
        Event::Delete { previous } => size(previous),
    };
    batch.events.iter().map(event).sum::<usize>() + 64
}

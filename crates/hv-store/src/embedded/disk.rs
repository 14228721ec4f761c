//! The store on disk: a base, and the log of what came after it.
//!
//! ```text
//!    store.redb: every key as of revision B      store.redb.log/: what each group after it changed
//!    ┌──────────────────────────────┐            ┌─────┬─────┬─────┬─────┐
//!    │ key -> item                  │  <──────── │ B+1 │ ... │ ... │ new │  <── one frame per group
//!    └──────────────────────────────┘    fold    └─────┴─────┴─────┴─────┘
//! ```
//!
//! A commit appends one frame to the log. Compaction folds the oldest part of the log into the base, beside the writer. The
//! newest state is in memory; what older revisions changed is read back from the log.

use super::base::{Base, FORMAT, Folding, Position};
use super::failure::Failure;
use super::file::Guard;
use super::log::{self, Directory, Log};
use super::record::{Entry, Item, Record, decode_group, encode_group};
use crate::{Batch, Event, LeaseId, Revision, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What is folded in one go is bounded in revisions, for the time it takes, and in bytes, for the memory.
const FOLD_REVISIONS: u64 = 16_384;
const FOLD_BYTES: usize = 16 << 20;

pub(super) struct Disk {
    /// What errors call the store.
    name: String,
    base: Base,
    log: Log,
}

/// What one commit makes durable.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) log: Vec<Arc<Batch>>,
    pub(super) granted: BTreeMap<LeaseId, Duration>,
    pub(super) ended: Vec<LeaseId>,
    pub(super) compacted: Option<u64>,
    /// The newest lease id, if it has changed: a lease may be granted and ended within one group.
    pub(super) last_lease: Option<u64>,
}

/// What the disk held when it was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    pub(super) keys: BTreeMap<String, Item>,
    pub(super) leases: BTreeMap<LeaseId, Duration>,
    pub(super) revision: u64,
    pub(super) compacted: u64,
    pub(super) base: u64,
    pub(super) last_lease: u64,
    pub(super) incarnation: u128,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.log.is_empty() && self.granted.is_empty() && self.ended.is_empty() && self.compacted.is_none()
    }
}

impl Loaded {
    /// Replays one group of the log.
    fn replay(&mut self, frame: &log::Frame) -> Result<(), Failure> {
        let records = decode_group(&frame.payload).ok_or_else(|| Failure::record(self.revision + 1))?;
        for record in records {
            match record {
                Record::Changes { revision, entries } => {
                    if revision != self.revision + 1 {
                        let last = self.revision;
                        return Err(Failure::Damaged(format!("revision {last} is followed by {revision}")));
                    }
                    for Entry { key, item, .. } in entries {
                        match item {
                            Some(item) => self.keys.insert(key, item),
                            None => self.keys.remove(&key),
                        };
                    }
                    self.revision = revision;
                }
                Record::Granted(id, ttl) => drop(self.leases.insert(id, ttl)),
                Record::Ended(id) => drop(self.leases.remove(&id)),
                Record::Compacted(revision) => self.compacted = revision,
                Record::LastLease(id) => self.last_lease = id,
            }
        }
        if self.revision == frame.revision { Ok(()) } else { Err(Failure::record(frame.revision)) }
    }
}

impl Disk {
    /// Writes a new store that holds `first`: the base onto an empty medium, an empty log into the directory.
    pub(super) fn create(
        guard: &Guard,
        directory: Box<dyn Directory>,
        name: &str,
        first: &Loaded,
    ) -> Result<(), StoreError> {
        Base::create(guard, first)
            .and_then(|()| Ok(Log::create(directory, first.incarnation, first.revision)?))
            .map(drop)
            .map_err(|failure| failure.explain(name, FORMAT))
    }

    /// Opens, checks and reads the store. The medium is changed only if all of it is sound.
    pub(super) fn open(
        guard: Guard,
        directory: impl Fn() -> Box<dyn Directory>,
        name: String,
    ) -> Result<(Self, Loaded), StoreError> {
        Self::read(guard, directory)
            .map(|(base, log, loaded)| (Self { name: name.clone(), base, log }, loaded))
            .map_err(|failure| failure.explain(&name, FORMAT))
    }

    fn read(
        guard: Guard,
        directory: impl Fn() -> Box<dyn Directory>,
    ) -> Result<(Base, Log, Loaded), Failure> {
        let base = Base::open(guard)?;
        if base.has_log()? {
            upgrade(&base, directory())?;
        }
        let mut loaded = base.load()?;
        let Position { frame, revision } = base.position()?;
        let log = Log::open(directory(), loaded.incarnation, frame, base.durable()?, |frame| {
            loaded.replay(&frame)
        })?;
        if loaded.compacted > loaded.revision || loaded.compacted < revision {
            return Err(Failure::Damaged("its revisions contradict each other".into()));
        }
        let log_directory = directory();
        if log_directory.names()?.iter().any(|name| name == UPGRADING) {
            log_directory.remove(UPGRADING)?;
        }
        // The log first: the base may not point beyond its durable end.
        log.persist()?;
        base.accept()?;
        Ok((base, log, loaded))
    }

    /// Makes a group durable. On an error it is not on disk, unless the error is that this cannot be told.
    ///
    /// `buffer` is scratch space.
    pub(super) fn commit(
        &self,
        group: &Group,
        revision: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        if self.base.sync_failed() {
            return Err(self.explain(Failure::Unknown));
        }
        log::start(buffer);
        encode_group(group, buffer);
        self.log.append(buffer, revision).map_err(|failure| self.explain(failure))
    }

    /// Folds some of the log into the base, whole groups up to revision `to`. Returns the base's revision afterwards: the one
    /// before, if the next group reaches beyond `to`.
    pub(super) fn fold(&self, to: u64) -> Result<u64, StoreError> {
        self.fold_some(to).map_err(|failure| self.explain(failure))
    }

    fn fold_some(&self, to: u64) -> Result<u64, Failure> {
        let from = self.base.position()?;
        let mut folding = Folding::new(from);
        let mut bytes = 0;
        self.log.frames_after(from.frame, |frame| {
            let enough = bytes > FOLD_BYTES || folding.to.revision - from.revision >= FOLD_REVISIONS;
            if frame.revision > to || enough {
                return Ok(false);
            }
            bytes += frame.payload.len();
            folding.add(&frame)?;
            Ok(true)
        })?;
        if folding.to != from {
            self.base.fold(&folding, self.log.newest())?;
        }
        // Also after a fold whose end has failed.
        self.log.drop_up_to(folding.to.frame)?;
        Ok(folding.to.revision)
    }

    /// The changes of the revisions `from..=to`, as far as they are still there.
    pub(super) fn history(&self, from: u64, to: u64) -> Result<Vec<Batch>, StoreError> {
        self.read_history(from, to).map_err(|failure| self.explain(failure))
    }

    fn read_history(&self, from: u64, to: u64) -> Result<Vec<Batch>, Failure> {
        let revisions = self.entries(from, to)?;
        let mut seen: HashMap<(u64, &str), &Item> = HashMap::new();
        let mut batches = Vec::new();
        for (revision, entries) in &revisions {
            let mut events = Vec::with_capacity(entries.len());
            for Entry { key, previous, item } in entries {
                let before = match (*previous, seen.get(&(*previous, key.as_str()))) {
                    (0, _) => None,
                    (_, Some(before)) => Some((*before).clone()),
                    (at, None) => Some(self.previous(at, key)?),
                };
                let before = before.map(|before| before.with_key(key));
                events.push(match (item, before) {
                    (Some(item), previous) => Event::Put { current: item.with_key(key), previous },
                    (None, Some(previous)) => Event::Delete { previous },
                    (None, None) => return Err(Failure::record(*revision)),
                });
                seen.extend(item.iter().map(|item| ((*revision, key.as_str()), item)));
            }
            batches.push(Batch { revision: Revision(*revision), events });
        }
        Ok(batches)
    }

    /// What the log holds of the revisions `from..=to`.
    fn entries(&self, from: u64, to: u64) -> Result<Vec<(u64, Vec<Entry>)>, Failure> {
        let mut found = Vec::new();
        self.log.frames_around(from, |frame| {
            if frame.revision < from {
                return Ok(true);
            }
            for record in decode_group(&frame.payload).ok_or_else(|| Failure::record(frame.revision))? {
                if let Record::Changes { revision, entries } = record
                    && (from..=to).contains(&revision)
                {
                    found.push((revision, entries));
                }
            }
            Ok(frame.revision < to)
        })?;
        Ok(found)
    }

    /// What a key held as of the revision that set it: the log has it, or it has been folded into the base.
    fn previous(&self, at: u64, key: &str) -> Result<Item, Failure> {
        let logged = match self.entries(at, at) {
            Ok(revisions) => {
                revisions.into_iter().flat_map(|(_, entries)| entries).find(|entry| entry.key == key)
            }
            Err(Failure::Gone) => None,
            Err(failure) => return Err(failure),
        };
        let item = match logged.and_then(|entry| entry.item) {
            Some(item) => Some(item),
            None => self.base.item(key)?,
        };
        item.filter(|item| item.modified == at).ok_or(Failure::Gone)
    }

    /// Leaves the files as cleanly closed ones, with the end of the log noted.
    pub(super) fn close(&self) {
        let noted = self.base.durable();
        // Without the note the log is read the same; only damage at its very end would go unnoticed.
        if !self.log.is_broken() && noted.is_ok_and(|noted| noted < self.log.newest()) {
            let _ = self.base.note_durable(self.log.newest());
        }
        self.base.close();
    }

    pub(super) fn bytes(&self) -> u64 {
        self.base.bytes() + self.log.bytes()
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// See [`Log::revision_beyond`].
    pub(super) fn revision_beyond(&self, most: u64) -> u64 {
        self.log.revision_beyond(most)
    }

    fn explain(&self, failure: Failure) -> StoreError {
        failure.explain(&self.name, FORMAT)
    }
}

/// A file in the log's directory for as long as the log is being taken out of a file of format 1.
const UPGRADING: &str = "upgrading";

/// Takes the log out of a file of format 1. Until the last step the file is one of format 1, and this starts over. A log that
/// is not of such a start is one of format 2 in use, beside an older file.
fn upgrade(base: &Base, directory: Box<dyn Directory>) -> Result<(), Failure> {
    let begun = directory.names()?.iter().any(|name| name == UPGRADING);
    if !begun && Log::holds_frames(&*directory)? {
        return Err(Failure::Mixed);
    }
    base.log_of_format_1(|_, _| Ok(()))?;
    base.accept()?;
    drop(directory.create(UPGRADING)?);
    directory.sync()?;
    let log = Log::create(directory, base.incarnation()?, base.revision()?)?;
    let mut frame = Vec::new();
    base.log_of_format_1(|revision, payload| {
        log::start(&mut frame);
        frame.extend_from_slice(payload);
        log.append(&mut frame, revision)
    })?;
    base.finish_upgrade(log.newest())
}

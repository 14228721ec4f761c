//! The store on disk: a base and the log of what came after it, in one redb file.
//!
//! ```text
//!    base: every key as of revision B        log: what each revision B+1..=newest changed
//!    ┌──────────────────────────────┐        ┌─────┬─────┬─────┬─────┐
//!    │ key -> item                  │  <──── │ B+1 │ B+2 │ ... │ new │  <── one commit per group
//!    └──────────────────────────────┘  fold  └─────┴─────┴─────┴─────┘
//! ```
//!
//! A commit only appends to the log, at the right edge of one tree: few pages, whatever keys it touches. Compaction
//! folds the oldest part of the log into the base, in slices that ride on commits. The newest state is in memory.

use super::file::Guard;
use super::record::{Entry, Item, encode_event};
use crate::{Batch, Event, LeaseId, Revision, StoreError};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    TableDefinition,
};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// The version of the tables and records; redb's own file format has its own number.
const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const BASE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("base");
const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");

/// Page cache. The newest state is in memory anyway, so this serves only the log's edge and the base being folded into.
const CACHE_BYTES: usize = 8 << 20;

/// Most revisions folded into the base by one commit.
pub(super) const FOLD_SLICE: u64 = 256;

pub(super) struct Disk {
    guard: Guard,
    /// What errors call the file.
    name: String,
    /// Absent while a failed write has made redb close, until it is opened again. Readers hold it for one read.
    database: RwLock<Option<Database>>,
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
#[derive(Debug, Default)]
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

impl Disk {
    /// Writes a new store that holds `first` onto an empty medium.
    pub(super) fn create(guard: &Guard, name: &str, first: &Loaded) -> Result<(), StoreError> {
        let failed = |error| explain(name, error);
        let database = builder().create_with_backend(guard.clone()).map_err(Failure::from).map_err(failed)?;
        write_first(&database, first).map_err(failed)
    }

    /// Opens, checks and reads the store. The medium is changed only if all of it is sound.
    pub(super) fn open(guard: Guard, name: String) -> Result<(Self, Loaded), StoreError> {
        let failed = |error| explain(&name, error);
        let database = open_checked(&guard, &name)?;
        let loaded = load(&database).map_err(failed)?;
        guard.accept().map_err(|error| failed(error.into()))?;
        Ok((Self { guard, name, database: RwLock::new(Some(database)) }, loaded))
    }

    /// Makes a group durable, and folds up to [`FOLD_SLICE`] revisions up to `fold` into the base. Returns the base's
    /// revision afterwards.
    ///
    /// On an error the group is not on disk, unless the error is that this cannot be told.
    pub(super) fn commit(&self, group: &Group, fold: u64) -> Result<u64, StoreError> {
        if self.guard.sync_failed() {
            let name = &self.name;
            return Err(StoreError::Unavailable(format!(
                "syncing {name} has failed; restart the program to read it anew"
            )));
        }
        self.reopen_if_closed()?;
        let result = match &*self.database() {
            Some(database) => write(database, group, fold),
            None => return Err(StoreError::Unavailable(format!("{} is closed", self.name))),
        };
        result.map_err(|error| {
            // redb refuses everything after a failed write. The next commit opens it anew, as a restart would.
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            explain(&self.name, error)
        })
    }

    /// The changes of the revisions `from..=to`, which must lie above the base.
    pub(super) fn history(&self, from: u64, to: u64) -> Result<Vec<Batch>, StoreError> {
        let database = self.database();
        let Some(database) = &*database else {
            return Err(StoreError::Unavailable(format!("{} is closed after a failed write", self.name)));
        };
        read_history(database, from, to).map_err(|error| explain(&self.name, error))
    }

    /// Leaves the file as a cleanly closed one.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.guard.len().unwrap_or(0)
    }

    fn reopen_if_closed(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            let opened = open_checked(&self.guard, &self.name)?;
            self.guard.accept().map_err(|error| explain(&self.name, error.into()))?;
            *database = Some(opened);
        }
        Ok(())
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Every page that is in use has been checked against its checksum when this returns.
fn open_checked(guard: &Guard, name: &str) -> Result<Database, StoreError> {
    let failed = |error| explain(name, error);
    guard.hold().map_err(|error| failed(error.into()))?;
    if guard.len().map_err(|error| failed(error.into()))? == 0 {
        return Err(StoreError::Corrupt(format!("{name} is empty")));
    }
    // A store that was not closed is walked and checked while it is opened; one that was closed is checked here.
    let repaired = Rc::new(Cell::new(false));
    let mut builder = builder();
    builder.set_repair_callback({
        let repaired = repaired.clone();
        move |_| repaired.set(true)
    });
    // While opening a store that was closed, redb interprets some pages before their checksums are known, and may panic.
    // Nothing but the guard outlives that, and its held writes are dropped by the next attempt.
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, Failure> {
        let mut database = builder.create_with_backend(guard.clone())?;
        let sound = repaired.get() || database.check_integrity()?;
        Ok(sound.then_some(database))
    }));
    let damaged = || StoreError::Corrupt(format!("{name} has a damaged page; restore it from a snapshot"));
    opened.map_err(|_| damaged())?.map_err(failed)?.ok_or_else(damaged)
}

fn write_first(database: &Database, first: &Loaded) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("base", first.base)?;
        meta.insert("compacted", first.compacted)?;
        meta.insert("last_lease", first.last_lease)?;
        meta.insert("incarnation_high", (first.incarnation >> 64) as u64)?;
        meta.insert("incarnation_low", first.incarnation as u64)?;
        transaction.open_table(LOG)?;
        let mut leases = transaction.open_table(LEASES)?;
        for (id, ttl) in &first.leases {
            leases.insert(id.0, millis(*ttl))?;
        }
        let mut base = transaction.open_table(BASE)?;
        let mut buffer = Vec::new();
        for (key, item) in &first.keys {
            buffer.clear();
            item.encode(&mut buffer);
            base.insert(key.as_str(), buffer.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn write(database: &Database, group: &Group, fold: u64) -> Result<u64, Failure> {
    let transaction = database.begin_write()?;
    let base;
    {
        let mut log = transaction.open_table(LOG)?;
        let mut buffer = Vec::new();
        if let Some(first) = group.log.first() {
            let base = number(&transaction.open_table(META)?, "base")?;
            let last = log.last()?.map_or(base, |(revision, _)| revision.value());
            if last + 1 != first.revision.0 {
                return Err(Failure::Ahead(last));
            }
        }
        for batch in &group.log {
            buffer.clear();
            batch.events.iter().for_each(|event| encode_event(event, &mut buffer));
            log.insert(batch.revision.0, buffer.as_slice())?;
        }
        if !group.granted.is_empty() || !group.ended.is_empty() {
            let mut leases = transaction.open_table(LEASES)?;
            for (id, ttl) in &group.granted {
                leases.insert(id.0, millis(*ttl))?;
            }
            for id in &group.ended {
                leases.remove(id.0)?;
            }
        }
        let mut meta = transaction.open_table(META)?;
        if let Some(last_lease) = group.last_lease {
            meta.insert("last_lease", last_lease)?;
        }
        if let Some(compacted) = group.compacted {
            meta.insert("compacted", compacted)?;
        }
        let from = number(&meta, "base")?;
        base = fold.min(from + FOLD_SLICE).max(from);
        if base > from {
            let mut table = transaction.open_table(BASE)?;
            // A key that changed often is written once.
            let mut folded = BTreeMap::new();
            for revision in from + 1..=base {
                let record = log.remove(revision)?.ok_or_else(|| Failure::record(revision))?;
                let entries = Entry::decode_all(record.value()).ok_or_else(|| Failure::record(revision))?;
                folded.extend(entries.into_iter().map(|entry| (entry.key, entry.item)));
            }
            for (key, item) in folded {
                if let Some(item) = item {
                    buffer.clear();
                    item.encode(&mut buffer);
                    table.insert(key.as_str(), buffer.as_slice())?;
                } else {
                    table.remove(key.as_str())?;
                }
            }
            meta.insert("base", base)?;
        }
    }
    transaction.commit()?;
    Ok(base)
}

fn load(database: &Database) -> Result<Loaded, Failure> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return Err(Failure::Damaged("it is a redb file, but not a store".into()));
        }
        Err(error) => return Err(error.into()),
    };
    let format = number(&meta, "format")?;
    if format != FORMAT {
        return Err(Failure::Format(format));
    }
    let base = number(&meta, "base")?;
    let incarnation =
        u128::from(number(&meta, "incarnation_high")?) << 64 | u128::from(number(&meta, "incarnation_low")?);
    let mut loaded = Loaded {
        base,
        revision: base,
        compacted: number(&meta, "compacted")?,
        last_lease: number(&meta, "last_lease")?,
        incarnation,
        ..Loaded::default()
    };
    for row in transaction.open_table(LEASES)?.iter()? {
        let (id, ttl) = row?;
        loaded.leases.insert(LeaseId(id.value()), Duration::from_millis(ttl.value()));
    }
    for row in transaction.open_table(BASE)?.iter()? {
        let (key, item) = row?;
        let item = Item::decode(&mut item.value())
            .ok_or_else(|| Failure::Damaged(format!("key {:?} is not a whole record", key.value())))?;
        loaded.keys.insert(key.value().to_owned(), item);
    }
    let log = transaction.open_table(LOG)?;
    for row in log.iter()? {
        let (revision, record) = row?;
        let revision = revision.value();
        if revision != loaded.revision + 1 {
            return Err(Failure::Damaged(format!("revision {} is followed by {revision}", loaded.revision)));
        }
        for entry in Entry::decode_all(record.value()).ok_or_else(|| Failure::record(revision))? {
            match entry.item {
                Some(item) => loaded.keys.insert(entry.key, item),
                None => loaded.keys.remove(&entry.key),
            };
        }
        loaded.revision = revision;
    }
    if loaded.compacted > loaded.revision || loaded.compacted < base || log.len()? != loaded.revision - base {
        return Err(Failure::Damaged("its revisions contradict each other".into()));
    }
    Ok(loaded)
}

fn read_history(database: &Database, from: u64, to: u64) -> Result<Vec<Batch>, Failure> {
    let transaction = database.begin_read()?;
    let log = transaction.open_table(LOG)?;
    let mut batches = Vec::new();
    for row in log.range(from..=to)? {
        let (revision, record) = row?;
        let revision = revision.value();
        let entries = Entry::decode_all(record.value()).ok_or_else(|| Failure::record(revision))?;
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries {
            let previous = previous(&transaction, &log, &entry)?.map(|item| item.with_key(&entry.key));
            events.push(match (entry.item, previous) {
                (Some(item), previous) => Event::Put { current: item.with_key(&entry.key), previous },
                (None, Some(previous)) => Event::Delete { previous },
                (None, None) => return Err(Failure::record(revision)),
            });
        }
        batches.push(Batch { revision: Revision(revision), events });
    }
    Ok(batches)
}

/// What an entry's key held before: the log has it, or it has been folded into the base.
fn previous(
    transaction: &ReadTransaction,
    log: &impl ReadableTable<u64, &'static [u8]>,
    entry: &Entry,
) -> Result<Option<Item>, Failure> {
    if entry.previous == 0 {
        return Ok(None);
    }
    let missing = || Failure::record(entry.previous);
    if let Some(record) = log.get(entry.previous)? {
        let entries = Entry::decode_all(record.value()).ok_or_else(missing)?;
        let found = entries.into_iter().find(|candidate| candidate.key == entry.key);
        return Ok(Some(found.and_then(|found| found.item).ok_or_else(missing)?));
    }
    let base = transaction.open_table(BASE)?;
    let record = base.get(entry.key.as_str())?.ok_or_else(missing)?;
    let item = Item::decode(&mut record.value()).ok_or_else(missing)?;
    if item.modified == entry.previous { Ok(Some(item)) } else { Err(missing()) }
}

fn number(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, Failure> {
    Ok(meta.get(name)?.ok_or_else(|| Failure::Damaged(format!("it has no {name:?}")))?.value())
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// Why the file could not be read or written, before it is known what the file is called.
enum Failure {
    Redb(redb::Error),
    Format(u64),
    Damaged(String),
    /// A write that failed has reached the disk all the same.
    Ahead(u64),
}

impl Failure {
    fn record(revision: u64) -> Self {
        Self::Damaged(format!("revision {revision} is missing or not a whole record"))
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

fn explain(name: &str, failure: Failure) -> StoreError {
    match failure {
        Failure::Format(found) => StoreError::WrongFormat { found, supported: FORMAT },
        Failure::Ahead(revision) => StoreError::Unavailable(format!(
            "{name} holds revision {revision}, whose write had failed; restart the program to read it anew"
        )),
        Failure::Damaged(what) => StoreError::Corrupt(format!("{name}: {what}; restore it from a snapshot")),
        Failure::Redb(redb::Error::Io(error)) => explain_io(name, &error),
        Failure::Redb(redb::Error::PreviousIo) => {
            StoreError::Unavailable(format!("{name}: an earlier write failed"))
        }
        Failure::Redb(error) => StoreError::Corrupt(format!("{name}: {error}; restore it from a snapshot")),
    }
}

pub(super) fn explain_io(name: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full,
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            StoreError::Corrupt(format!("{name}: {error}; restore it from a snapshot"))
        }
        _ => StoreError::Unavailable(format!("{name}: {error}")),
    }
}

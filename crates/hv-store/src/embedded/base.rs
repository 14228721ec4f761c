//! The base: every key as of some revision, in one redb file, with the store's numbers.
//!
//! A commit happens when a part of the log is folded in, when the store is closed, and never else. Format 1 kept
//! the log here too, in a table; it is read once, by the upgrade.

use super::disk::Loaded;
use super::failure::Failure;
use super::file::Guard;
use super::log::Frame;
use super::record::{Entry, Item, Record, decode_group, encode_changes, millis};
use crate::LeaseId;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// The version of tables, records and log; redb's own file format has its own number.
pub(super) const FORMAT: u64 = 2;

/// The log in a table of this file.
const FORMAT_WITH_LOG: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const BASE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("base");
const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");
/// Format 1 only.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// Page cache. The newest state is in memory anyway, so this serves only folding.
const CACHE_BYTES: usize = 8 << 20;

/// Revisions in one record of the log when it is taken over from format 1.
const UPGRADE_SLICE: usize = 256;

pub(super) struct Base {
    guard: Guard,
    /// Absent while a failed write has made redb close, until it is opened again. Readers hold it for one read.
    database: RwLock<Option<Database>>,
}

/// How far the base reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) revision: u64,
    /// The log's newest frame that is in it.
    pub(super) frame: u64,
}

/// A part of the log on its way into the base.
#[derive(Debug, Default)]
pub(super) struct Folding {
    pub(super) to: Position,
    /// What each key came to; a key that changed often is written once.
    keys: BTreeMap<String, Option<Item>>,
    leases: BTreeMap<LeaseId, Option<Duration>>,
    compacted: Option<u64>,
    last_lease: Option<u64>,
}

impl Folding {
    /// Nothing yet, for a base at `from`.
    pub(super) fn new(from: Position) -> Self {
        Self { to: from, ..Self::default() }
    }

    /// Takes in the next group.
    pub(super) fn add(&mut self, frame: &Frame) -> Result<(), Failure> {
        let records = decode_group(&frame.payload).ok_or_else(|| Failure::record(frame.revision))?;
        for record in records {
            match record {
                Record::Changes { entries, .. } => {
                    self.keys.extend(entries.into_iter().map(|entry| (entry.key, entry.item)));
                }
                Record::Granted(id, ttl) => drop(self.leases.insert(id, Some(ttl))),
                Record::Ended(id) => drop(self.leases.insert(id, None)),
                Record::Compacted(revision) => self.compacted = Some(revision),
                Record::LastLease(id) => self.last_lease = Some(id),
            }
        }
        self.to = Position { revision: frame.revision, frame: frame.number };
        Ok(())
    }
}

impl Base {
    /// Writes a new base that holds `first` onto an empty medium; its log begins with frame 1.
    pub(super) fn create(guard: &Guard, first: &Loaded) -> Result<(), Failure> {
        let database = builder().create_with_backend(guard.clone())?;
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let high = (first.incarnation >> 64) as u64;
            for (name, number) in [
                ("format", FORMAT),
                ("base", first.revision),
                ("frame", 0),
                ("durable", 0),
                ("compacted", first.compacted),
                ("last_lease", first.last_lease),
                ("incarnation_high", high),
                ("incarnation_low", first.incarnation as u64),
            ] {
                meta.insert(name, number)?;
            }
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

    /// Opens and checks the file. Writes are held back until [`Base::accept`].
    pub(super) fn open(guard: Guard) -> Result<Self, Failure> {
        let database = open_checked(&guard)?;
        Ok(Self { guard, database: RwLock::new(Some(database)) })
    }

    /// Makes durable what opening has read, and then lets through what it had to write, which leads to that.
    pub(super) fn accept(&self) -> Result<(), Failure> {
        self.guard.persist()?;
        Ok(self.guard.accept()?)
    }

    /// The format of the file, once it is known to be one this program can read.
    pub(super) fn has_log(&self) -> Result<bool, Failure> {
        let format = self.number("format")?;
        match format {
            FORMAT => Ok(false),
            FORMAT_WITH_LOG => Ok(true),
            other => Err(Failure::Format(other)),
        }
    }

    pub(super) fn incarnation(&self) -> Result<u128, Failure> {
        let (high, low) = (self.number("incarnation_high")?, self.number("incarnation_low")?);
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    /// The revision it holds.
    pub(super) fn revision(&self) -> Result<u64, Failure> {
        self.number("base")
    }

    pub(super) fn position(&self) -> Result<Position, Failure> {
        Ok(Position { revision: self.revision()?, frame: self.number("frame")? })
    }

    /// The log's newest frame that is known to have been durable.
    pub(super) fn durable(&self) -> Result<u64, Failure> {
        self.number("durable")
    }

    /// Everything in the base.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let mut loaded = Loaded {
            revision: self.revision()?,
            base: self.revision()?,
            compacted: self.number("compacted")?,
            last_lease: self.number("last_lease")?,
            incarnation: self.incarnation()?,
            ..Loaded::default()
        };
        self.read(|database| {
            let transaction = database.begin_read()?;
            for row in transaction.open_table(LEASES)?.iter()? {
                let (id, ttl) = row?;
                loaded.leases.insert(LeaseId(id.value()), Duration::from_millis(ttl.value()));
            }
            for row in transaction.open_table(BASE)?.iter()? {
                let (key, item) = row?;
                let item = Item::decode(&mut item.value()).ok_or_else(|| {
                    Failure::Damaged(format!("key {:?} is not a whole record", key.value()))
                })?;
                loaded.keys.insert(key.value().to_owned(), item);
            }
            Ok(loaded)
        })
    }

    /// One key of the base.
    pub(super) fn item(&self, key: &str) -> Result<Option<Item>, Failure> {
        self.read(|database| {
            let base = database.begin_read()?.open_table(BASE)?;
            let Some(record) = base.get(key)? else { return Ok(None) };
            let item = Item::decode(&mut record.value());
            Ok(Some(item.ok_or_else(|| Failure::Damaged(format!("key {key:?} is not a whole record")))?))
        })
    }

    /// Takes in a part of the log, and notes that frame `durable` is on disk.
    pub(super) fn fold(&self, folding: &Folding, durable: u64) -> Result<(), Failure> {
        self.write(|transaction| {
            let mut table = transaction.open_table(BASE)?;
            let mut buffer = Vec::new();
            for (key, item) in &folding.keys {
                if let Some(item) = item {
                    buffer.clear();
                    item.encode(&mut buffer);
                    table.insert(key.as_str(), buffer.as_slice())?;
                } else {
                    table.remove(key.as_str())?;
                }
            }
            let mut leases = transaction.open_table(LEASES)?;
            for (id, ttl) in &folding.leases {
                match ttl {
                    Some(ttl) => leases.insert(id.0, millis(*ttl))?,
                    None => leases.remove(id.0)?,
                };
            }
            let mut meta = transaction.open_table(META)?;
            meta.insert("base", folding.to.revision)?;
            meta.insert("frame", folding.to.frame)?;
            meta.insert("durable", durable)?;
            for (name, number) in [("compacted", folding.compacted), ("last_lease", folding.last_lease)] {
                if let Some(number) = number {
                    meta.insert(name, number)?;
                }
            }
            Ok(())
        })
    }

    /// Notes that frame `durable` is on disk: a log that ends before it has lost something.
    pub(super) fn note_durable(&self, durable: u64) -> Result<(), Failure> {
        self.write(|transaction| {
            transaction.open_table(META)?.insert("durable", durable)?;
            Ok(())
        })
    }

    /// The log of a file of format 1, as payloads of frames with the revision after each.
    pub(super) fn log_of_format_1(
        &self,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.read(|database| {
            let transaction = database.begin_read()?;
            let log = transaction.open_table(LOG)?;
            let mut last = self.revision()?;
            let mut payload = Vec::new();
            for (count, row) in log.iter()?.enumerate() {
                let (revision, record) = row?;
                let revision = revision.value();
                if revision != last + 1 {
                    return Err(Failure::Damaged(format!("revision {last} is followed by {revision}")));
                }
                Entry::decode_all(record.value()).ok_or_else(|| Failure::record(revision))?;
                if count % UPGRADE_SLICE == 0 && !payload.is_empty() {
                    visit(last, &payload)?;
                    payload.clear();
                }
                encode_changes(revision, &mut payload, |out| out.extend_from_slice(record.value()));
                last = revision;
            }
            if payload.is_empty() { Ok(()) } else { visit(last, &payload) }
        })
    }

    /// Makes a file of format 1 one of this format, whose log ends with frame `durable`.
    pub(super) fn finish_upgrade(&self, durable: u64) -> Result<(), Failure> {
        self.write(|transaction| {
            transaction.delete_table(LOG)?;
            let mut meta = transaction.open_table(META)?;
            for (name, number) in [("format", FORMAT), ("frame", 0), ("durable", durable)] {
                meta.insert(name, number)?;
            }
            Ok(())
        })
    }

    /// Leaves the file as a cleanly closed one.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a sync has failed: then the page cache may claim what the disk has lost.
    pub(super) fn sync_failed(&self) -> bool {
        self.guard.sync_failed()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.guard.len().unwrap_or(0)
    }

    fn number(&self, name: &str) -> Result<u64, Failure> {
        self.read(|database| {
            let meta = match database.begin_read()?.open_table(META) {
                Ok(meta) => meta,
                Err(redb::TableError::TableDoesNotExist(_)) => {
                    return Err(Failure::Damaged("it is a redb file, but not a store".into()));
                }
                Err(error) => return Err(error.into()),
            };
            Ok(meta.get(name)?.ok_or_else(|| Failure::Damaged(format!("it has no {name:?}")))?.value())
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, Failure> {
        read(self.opened()?.as_ref().ok_or(Failure::Redb(redb::Error::PreviousIo))?)
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.sync_failed() {
            return Err(Failure::Unknown);
        }
        let written = self.read(|database| {
            let transaction = database.begin_write()?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        });
        // redb refuses everything after a failed write. The next use opens it anew, as a restart would.
        written.inspect_err(|_| self.close())
    }

    /// The database, opened again if a failed write has closed it.
    fn opened(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, Failure> {
        loop {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if database.is_some() {
                return Ok(database);
            }
            drop(database);
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() {
                if self.sync_failed() {
                    return Err(Failure::Unknown);
                }
                let opened = open_checked(&self.guard)?;
                self.guard.accept()?;
                *database = Some(opened);
            }
        }
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Every page that is in use has been checked against its checksum when this returns.
fn open_checked(guard: &Guard) -> Result<Database, Failure> {
    guard.hold()?;
    if guard.len()? == 0 {
        return Err(Failure::Damaged("it is empty".into()));
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
    let damaged = || Failure::Damaged("it has a damaged page".into());
    opened.map_err(|_| damaged())??.ok_or_else(damaged)
}

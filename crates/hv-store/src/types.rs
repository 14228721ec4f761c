//! Requests, answers and errors of the store.

use bytes::Bytes;
use std::fmt;

/// Most operations in one transaction: compares, `then` and `otherwise` each. The limit is etcd's default
/// (`--max-txn-ops`), so that no caller depends on more.
pub const MAX_TXN_OPS: usize = 128;

/// Largest value in bytes: below etcd's default request limit of 1.5 MiB.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// A watch that has had nothing to deliver for this many revisions gets a progress notice, so that its token does not
/// grow old. Counted in revisions, not in time, so that equal runs are equal.
pub const PROGRESS_EVERY: u64 = 1000;

/// A point in the store's history. 0 is the empty store; every changing transaction adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease, unique within one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// One key as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key: a path such as `/hv1/instance/default/<uid>`.
    pub key: String,
    /// The value; opaque here.
    pub value: Bytes,
    /// When the key was last created.
    pub create_revision: Revision,
    /// When the key last changed.
    pub mod_revision: Revision,
    /// Puts since creation, from 1.
    pub version: u64,
    /// The lease that the key dies with.
    pub lease: Option<LeaseId>,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists.
    Exists(String),
    /// The key exists and last changed at exactly this revision.
    ModRevision(String, Revision),
    /// The key exists and was created at exactly this revision.
    CreateRevision(String, Revision),
    /// The key exists and holds exactly this value.
    Value(String, Bytes),
}

/// A change or a read inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key; binds it to the lease, or to none.
    Put {
        /// The key.
        key: String,
        /// The value, at most [`MAX_VALUE_BYTES`].
        value: Bytes,
        /// The lease the key dies with.
        lease: Option<LeaseId>,
    },
    /// Deletes a key; deleting an absent key changes nothing.
    Delete(String),
    /// Deletes all keys under a prefix.
    DeletePrefix(String),
    /// Reads a key as the transaction leaves it.
    Get(String),
}

/// An atomic step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold for `then`.
    pub compares: Vec<Compare>,
    /// Applied when all compares hold.
    pub then: Vec<Op>,
    /// Applied when one does not.
    pub otherwise: Vec<Op>,
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    /// Whether all compares held.
    pub succeeded: bool,
    /// The store's revision after the transaction; that of its changes, if it made any.
    pub revision: Revision,
    /// Answers of the [`Op::Get`]s of the branch that ran, in order.
    pub gets: Vec<Option<KeyValue>>,
}

/// A listing request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Keys that start with this.
    pub prefix: String,
    /// Only keys greater than this one: the last key of the page before.
    pub after: Option<String>,
    /// Most items to return; 0 is no limit.
    pub limit: usize,
    /// The revision to read at; the newest when absent. [`StoreError::Compacted`] when it is gone.
    pub at: Option<Revision>,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The items in key order.
    pub items: Vec<KeyValue>,
    /// The revision all items were read at; pass it as [`List::at`] for the next page, or as [`Watch::after`].
    pub revision: Revision,
    /// Whether more items follow.
    pub more: bool,
}

/// A watch request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Keys that start with this.
    pub prefix: String,
    /// Changes after this revision. [`StoreError::Compacted`] when they are no longer kept;
    /// [`StoreError::FutureRevision`] when it is greater than the store's own.
    pub after: Revision,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was set; `previous` is what it held before.
    Put {
        /// The key as it stands after the change.
        current: KeyValue,
        /// The key as it stood before, if it existed.
        previous: Option<KeyValue>,
    },
    /// The key was deleted.
    Delete {
        /// The key as it stood before.
        previous: KeyValue,
    },
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { current, .. } => &current.key,
            Self::Delete { previous } => &previous.key,
        }
    }
}

/// All changes of one revision that a watch asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The revision; also the token to resume after.
    pub revision: Revision,
    /// The changes, in the order of the transaction. Empty in a progress notice: everything up to `revision` has been
    /// delivered.
    pub events: Vec<Event>,
}

/// Everything in a store at one revision, for backup and for moving between back-ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// All keys in order.
    pub items: Vec<KeyValue>,
    /// Leases with their full time to live in milliseconds.
    pub leases: Vec<(LeaseId, u64)>,
}

/// Figures of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The newest revision.
    pub revision: Revision,
    /// Everything up to this revision is forgotten.
    pub compacted: Revision,
    /// Keys that exist.
    pub keys: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Changes with every restore or migration. A resume token of another incarnation means nothing.
    pub incarnation: String,
    /// Why the log could not be folded into the base the last time, if it could not: the log grows until that is mended.
    pub fold_error: Option<String>,
}

/// Why the store refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The history that was asked for is gone; list anew.
    #[error("revisions up to {oldest} have been compacted")]
    Compacted {
        /// The newest forgotten revision.
        oldest: Revision,
    },
    /// The revision does not exist yet: a token of another store, or of one since restored.
    #[error("revision {asked} is in the future: the store is at {newest}")]
    FutureRevision {
        /// What was asked for.
        asked: Revision,
        /// What there is.
        newest: Revision,
    },
    /// No such lease, or it has expired.
    #[error("lease {} does not exist", .0.0)]
    LeaseNotFound(LeaseId),
    /// The request breaks a limit of this module.
    #[error("invalid store request: {0}")]
    Invalid(String),
    /// The watcher read too slowly and was cut; resume after the last batch it got.
    #[error("the watch fell behind and was ended")]
    Lagged,
    /// The disk is full; nothing was written.
    #[error("the store's disk is full")]
    Full,
    /// A passing failure. A transaction that fails so may have been applied: look before repeating it.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// What is on disk is not what was written there.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The file was made by a version that this one cannot read.
    #[error(
        "the store has format {found}, this program reads {supported}: use the version that wrote it, or restore a snapshot"
    )]
    WrongFormat {
        /// The version found on disk.
        found: u64,
        /// The version this program reads and writes.
        supported: u64,
    },
}

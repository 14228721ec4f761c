//! The control plane's store: revisions, compare-and-set transactions, watches that resume, leases.
//!
//! ```text
//!   server ──> Store (trait) ──┬─> embedded   one machine: redb behind one writer task, groups of transactions per commit
//!                              ├─> model      the oracle: plain maps, used by tests and by the simulator
//!                              └─> etcd       a cluster (later)
//! ```
//!
//! Every write belongs to a [`Txn`]; every transaction that changes something raises the store's revision by one, and
//! all its changes carry that revision. A watch delivers the changes of one revision as one [`Batch`], in order,
//! without gaps, from any revision that has not been compacted.
//!
//! The store knows nothing of what its values mean.

mod check;
mod clock;
pub mod conformance;
pub mod embedded;
pub mod model;
pub mod snapshot_file;
mod types;

pub use types::*;

use async_trait::async_trait;
use futures::stream::BoxStream;
use std::time::Duration;

/// What a watch yields: batches in revision order, then an error if the watch cannot go on.
pub type WatchStream = BoxStream<'static, Result<Batch, StoreError>>;

/// A revisioned key-value store. All implementations pass the one suite of [`conformance`].
///
/// Every method may fail with [`StoreError::Unavailable`] (try again) or [`StoreError::Corrupt`] (do not).
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One key at the newest revision.
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError>;

    /// Keys under a prefix in key order, all at one revision.
    async fn list(&self, list: List) -> Result<Page, StoreError>;

    /// Checks all compares, then applies `then` or `otherwise`, atomically and durably.
    ///
    /// An outcome is returned only once it would survive a power failure. At most [`MAX_TXN_OPS`] operations.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Changes under a prefix with a revision greater than `watch.after`.
    async fn watch(&self, watch: Watch) -> Result<WatchStream, StoreError>;

    /// A lease: keys bound to it are deleted, in one revision, once it expires or is revoked.
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Starts the lease's time anew. [`StoreError::LeaseNotFound`] once it has expired.
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease now and deletes its keys.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Forgets history up to and including `revision`; the newest value of every key stays.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// A consistent copy of everything at the newest revision, in a form every back-end can restore.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// Finishes what has been asked for and lets go of files; later calls fail. Nothing to do for most.
    async fn close(&self) {}

    /// Figures for people and metrics.
    async fn status(&self) -> Result<Status, StoreError>;
}

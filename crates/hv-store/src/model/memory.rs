//! [`Model`] behind the [`Store`] trait: a store without a disk.

use super::Model;
use crate::check::{check_key, check_prefix};
use crate::{
    Batch, KeyValue, LeaseId, List, PROGRESS_EVERY, Page, Revision, Snapshot, Status, Store, StoreError, Txn,
    TxnOutcome, Watch, WatchStream, clock,
};
use async_trait::async_trait;
use futures::StreamExt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A store in memory, for tests that want one without a disk. Clones share the same store.
///
/// Leases follow tokio's clock. It needs no task of its own: each call first expires what is over, and each watch
/// sleeps until the next expiry, so nobody can observe a lease that has outlived its time.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held for single steps only, never across an await.
    model: Mutex<Model>,
    /// Told whenever history or a lease's end has changed.
    changed: watch::Sender<()>,
    origin: Instant,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(incarnation: impl Into<String>) -> Self {
        Self::from_model(|_| Model::new(incarnation))
    }

    /// A store that holds a snapshot. The incarnation must be another than the one the snapshot was taken from.
    pub fn restore(snapshot: &Snapshot, incarnation: impl Into<String>) -> Self {
        Self::from_model(|now| Model::restore(snapshot, now, incarnation))
    }

    fn from_model(make: impl FnOnce(Duration) -> Model) -> Self {
        let model = Mutex::new(make(Duration::ZERO));
        Self { shared: Arc::new(Shared { model, changed: watch::Sender::new(()), origin: clock::now() }) }
    }

    fn step<T>(&self, step: impl FnOnce(&mut Model, Duration) -> T) -> T {
        self.shared.step(step)
    }
}

impl Shared {
    fn step<T>(&self, step: impl FnOnce(&mut Model, Duration) -> T) -> T {
        let now = clock::now() - self.origin;
        let mut model = self.lock();
        let before = (model.revision(), model.next_expiry());
        model.expire(now);
        let result = step(&mut model, now);
        let after = (model.revision(), model.next_expiry());
        drop(model);
        if before != after {
            self.changed.send_replace(());
        }
        result
    }

    /// A panic inside a step is a bug in the model; the tests that share the store should still see their own failure.
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        check_key(key)?;
        Ok(self.step(|model, _| model.get(key)))
    }

    async fn list(&self, list: List) -> Result<Page, StoreError> {
        check_prefix(&list.prefix)?;
        self.step(|model, _| model.list(&list))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.step(|model, _| model.txn(&txn))
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream, StoreError> {
        check_prefix(&watch.prefix)?;
        self.step(|model, _| model.events_since(&watch.prefix, watch.after, 1))?;
        let cursor = Cursor {
            changed: self.shared.changed.subscribe(),
            shared: self.shared.clone(),
            prefix: watch.prefix,
            position: watch.after,
            told: watch.after,
            ready: VecDeque::new(),
        };
        let stream = futures::stream::unfold(Some(cursor), |cursor| async {
            let mut cursor = cursor?;
            match cursor.next().await {
                Ok(batch) => Some((Ok(batch), Some(cursor))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(stream.boxed())
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.step(|model, now| model.lease_grant(now, ttl))
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.step(|model, now| model.lease_keep_alive(now, lease))
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.step(|model, _| model.lease_revoke(lease))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.step(|model, _| model.compact(revision))
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(self.step(|model, _| model.snapshot()))
    }

    async fn status(&self) -> Result<Status, StoreError> {
        Ok(self.step(|model, _| model.status()))
    }
}

/// One watch: it pulls from the history at its own pace, so it can be slow without holding anything up.
struct Cursor {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    prefix: String,
    /// Looked at so far.
    position: Revision,
    /// The last revision the watcher knows of.
    told: Revision,
    ready: VecDeque<Batch>,
}

impl Cursor {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.told = batch.revision;
                return Ok(batch);
            }
            // Before looking, so that a change after the look ends the wait below.
            self.changed.mark_unchanged();
            let (changes, expiry) = self.shared.step(|model, _| {
                (
                    model.events_since(&self.prefix, self.position, PROGRESS_EVERY as usize),
                    model.next_expiry(),
                )
            });
            let changes = changes?;
            let moved = changes.upto > self.position;
            self.position = changes.upto;
            self.ready.extend(changes.batches);
            if !self.ready.is_empty() {
                continue;
            }
            if self.position.0 - self.told.0 >= PROGRESS_EVERY {
                self.told = self.position;
                return Ok(Batch { revision: self.position, events: Vec::new() });
            }
            if !moved {
                self.wait(expiry).await;
            }
        }
    }

    async fn wait(&mut self, expiry: Option<Duration>) {
        let changed = async {
            // The sender lives in `shared`, which this cursor holds.
            let _ = self.changed.changed().await;
        };
        match expiry.and_then(|expiry| self.shared.origin.checked_add(expiry)) {
            None => changed.await,
            Some(expiry) => {
                // Running out of time is as good a reason to look again as a change.
                let _ = tokio::time::timeout_at(expiry, changed).await;
            }
        }
    }
}

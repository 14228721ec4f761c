//! The store of a single machine: a write-ahead log in front of one redb file, one writer, reads from memory.
//!
//! ```text
//!   txn, lease ──> queue ──> writer: stage all that wait ──> one frame in the log ──> publish, answer all
//!                                                                                      │
//!   get, list  <──────────────────────── newest state in memory <──────────────────────┤
//!   watch      <── recent batches in memory, older ones from disk <────────────────────┘
//! ```
//!
//! Groups form by themselves: what arrives while one commit runs makes up the next, and nothing waits for company.
//! A watch pulls at its own pace, first from disk, then from memory; a slow one costs nothing and holds nothing up, and
//! ends with [`StoreError::Compacted`] only when what it has not read yet is compacted.

mod base;
mod disk;
mod engine;
mod failure;
mod file;
mod log;
mod open;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use crate::check::{check_key, check_prefix};
use crate::{
    Batch, KeyValue, LeaseId, List, PROGRESS_EVERY, Page, Revision, Snapshot, Status, Store, StoreError, Txn,
    TxnOutcome, Watch, WatchStream,
};
use async_trait::async_trait;
use engine::{Answer, Command, Engine};
use futures::StreamExt;
use state::{Past, Progress, Shared, undo};
use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use writer::Writer;

/// Settings of an embedded store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many of the newest revisions automatic compaction keeps; none: history grows until [`Store::compact`].
    /// With automatic compaction, history is also bounded in bytes (256 MiB of log), however few revisions that is.
    /// Each costs its changes' size on disk; a watch that resumes from further back has to list anew.
    pub retain_revisions: Option<u64>,
}

/// A store in one file and its log beside it. Clones share it.
///
/// Dropping the last clone ends the writer after what it has been given; [`Embedded::close`] also waits for that.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
}

enum Request {
    Apply(Command, Reply),
    Close(oneshot::Sender<()>),
}

type Reply = oneshot::Sender<Result<Answer, StoreError>>;

/// Requests that may wait before callers have to.
const QUEUE: usize = 4096;

/// Revisions that a watch or an old listing reads from disk in one go.
const READ_SLICE: u64 = 256;

impl Embedded {
    /// Starts the writer of an opened store. Must be called inside a tokio runtime.
    fn start(shared: Shared, engine: impl FnOnce(Arc<Shared>) -> Engine, lock: File) -> Self {
        let shared = Arc::new(shared);
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = Writer::new(engine(shared.clone()), requests, shared.clone()).run(lock);
        #[expect(
            clippy::disallowed_methods,
            reason = "the writer's life is the store's own: it ends with its queue"
        )]
        tokio::spawn(writer);
        Self { shared, queue }
    }

    async fn ask(&self, command: Command) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Request::Apply(command, reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// What has to be undone to see the store as of `revision`, as far as it is no longer in memory, and up to where
    /// that reaches.
    async fn past_from_disk(&self, prefix: &str, revision: u64) -> Result<(Past, u64), StoreError> {
        let mut past = Past::new();
        let mut undone = revision;
        loop {
            let remembered = self.shared.read().remembered();
            if undone >= remembered {
                return Ok((past, undone));
            }
            let to = remembered.min(undone + READ_SLICE);
            let batches = history(&self.shared, undone + 1, to).await?;
            undo(&mut past, prefix, &batches);
            undone = to;
        }
    }
}

#[async_trait]
impl Store for Embedded {
    /// Closes the file and releases its lock. Watches end.
    async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // An error means that it is closed already.
        if self.queue.send(Request::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        check_key(key)?;
        Ok(self.shared.read().get(key))
    }

    async fn list(&self, list: List) -> Result<Page, StoreError> {
        check_prefix(&list.prefix)?;
        let Some(Revision(at)) = list.at else {
            let state = self.shared.read();
            return Ok(state.page(&list, state.revision, &Past::new()));
        };
        self.shared.read().kept(at)?;
        loop {
            let (mut past, undone) = self.past_from_disk(&list.prefix, at).await?;
            let state = self.shared.read();
            state.kept(at)?;
            // Writers may have pushed more out of memory meanwhile.
            if undone >= state.remembered() {
                undo(&mut past, &list.prefix, state.recent(undone).map(|batch| &**batch));
                return Ok(state.page(&list, at, &past));
            }
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        match self.ask(Command::Txn(txn)).await? {
            Answer::Txn(outcome) => Ok(outcome),
            Answer::Lease(_) | Answer::Done => unreachable!("a transaction is answered with its outcome"),
        }
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream, StoreError> {
        check_prefix(&watch.prefix)?;
        self.shared.read().kept(watch.after.0)?;
        let cursor = Cursor {
            newest: self.shared.newest.subscribe(),
            shared: self.shared.clone(),
            prefix: watch.prefix,
            position: watch.after.0,
            told: watch.after.0,
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
        match self.ask(Command::Grant(ttl)).await? {
            Answer::Lease(id) => Ok(id),
            Answer::Txn(_) | Answer::Done => unreachable!("a grant is answered with a lease"),
        }
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(Command::KeepAlive(lease)).await.map(drop)
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(Command::Revoke(lease)).await.map(drop)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(Command::Compact(revision)).await.map(drop)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let state = self.shared.read();
        let ttl = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Ok(Snapshot {
            revision: Revision(state.revision),
            items: state.keys.iter().map(|(key, item)| item.with_key(key)).collect(),
            leases: state.leases.iter().map(|(id, lease)| (*id, ttl(lease.ttl))).collect(),
        })
    }

    async fn status(&self) -> Result<Status, StoreError> {
        let disk_bytes = self.shared.disk.bytes();
        let state = self.shared.read();
        Ok(Status {
            revision: Revision(state.revision),
            compacted: Revision(state.compacted),
            keys: state.keys.len() as u64,
            disk_bytes,
            incarnation: self.shared.incarnation.clone(),
            fold_error: self.shared.fold_error(),
        })
    }
}

async fn history(shared: &Arc<Shared>, from: u64, to: u64) -> Result<Vec<Batch>, StoreError> {
    let shared = shared.clone();
    let read = tokio::task::spawn_blocking(move || shared.history(from, to));
    read.await.map_err(|error| StoreError::Unavailable(format!("reading history: {error}")))?
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// One watch.
struct Cursor {
    shared: Arc<Shared>,
    newest: watch::Receiver<Progress>,
    prefix: String,
    /// Looked at so far.
    position: u64,
    /// The last revision the watcher knows of.
    told: u64,
    ready: VecDeque<Batch>,
}

impl Cursor {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.told = batch.revision.0;
                return Ok(batch);
            }
            // Before looking, so that a change after the look ends the wait below.
            let progress = *self.newest.borrow_and_update();
            if self.take_recent()? {
                continue;
            }
            let remembered = self.shared.read().remembered();
            if self.position < remembered {
                let to = remembered.min(self.position + READ_SLICE);
                let batches = history(&self.shared, self.position + 1, to).await?;
                self.ready.extend(batches.iter().filter_map(|batch| matching(batch, &self.prefix)));
                self.position = to;
                continue;
            }
            if self.position - self.told >= PROGRESS_EVERY {
                self.told = self.position;
                return Ok(Batch { revision: Revision(self.position), events: Vec::new() });
            }
            if progress.closed || self.newest.changed().await.is_err() {
                return Err(closed());
            }
        }
    }

    /// Moves on through what is in memory; whether there is something to deliver or to look at.
    fn take_recent(&mut self) -> Result<bool, StoreError> {
        let state = self.shared.read();
        state.kept(self.position)?;
        if self.position < state.remembered() {
            return Ok(false);
        }
        let before = self.position;
        for batch in state.recent(self.position).take(READ_SLICE as usize) {
            self.ready.extend(matching(batch, &self.prefix));
            self.position = batch.revision.0;
        }
        Ok(!self.ready.is_empty() || (self.position != before && self.position - self.told < PROGRESS_EVERY))
    }
}

fn matching(batch: &Batch, prefix: &str) -> Option<Batch> {
    let events: Vec<_> =
        batch.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
    (!events.is_empty()).then_some(Batch { revision: batch.revision, events })
}

//! Following the store: one watch, one in-memory [`Cluster`], any number of readers.
//!
//! Readers take a short lock, or subscribe to changes after a revision. Recent changes are kept in a ring, so that a
//! subscriber that comes back resumes where it was; one that is older than the ring is told to list anew. A subscriber that
//! reads slowly costs nothing but its own place in the ring.

use super::cluster::{Change, Cluster};
use super::keys;
use futures::StreamExt;
use hv_core::{Error, ErrorKind};
use hv_store::{Batch, Event, List, Revision, Store, StoreError, Watch};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Changes kept for subscribers that come back.
const RING: usize = 16 * 1024;
/// Items of one page while listing.
const PAGE: usize = 1000;

struct Ring {
    /// Changes after this revision are kept.
    floor: Revision,
    changes: VecDeque<Arc<Change>>,
}

struct Shared {
    cluster: RwLock<Cluster>,
    ring: Mutex<Ring>,
    revision: watch::Sender<Revision>,
}

/// The followed store; clones share it.
#[derive(Clone)]
pub struct Follower {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
}

impl Follower {
    /// Reads everything, and as much history as is kept, so that resume tokens outlive a restart of the server.
    pub async fn start(store: Arc<dyn Store>) -> Result<(Self, hv_store::WatchStream), Error> {
        let status = store.status().await.map_err(store_error)?;
        let oldest = status.compacted.max(Revision(status.revision.0.saturating_sub(RING as u64)));
        let (cluster, from) = match list(&*store, Some(oldest)).await {
            Ok(listed) => listed,
            // Compacted meanwhile: begin now.
            Err(_) => list(&*store, None).await?,
        };
        let watch =
            store.watch(Watch { prefix: keys::ROOT.to_owned(), after: from }).await.map_err(store_error)?;
        let shared = Shared {
            cluster: RwLock::new(cluster),
            ring: Mutex::new(Ring { floor: from, changes: VecDeque::new() }),
            revision: watch::channel(from).0,
        };
        let follower = Self { shared: Arc::new(shared), store };
        let mut watch = watch;
        // Up to date before anybody is served.
        while follower.revision() < status.revision {
            let batch = watch.next().await.ok_or_else(ended)?.map_err(store_error)?;
            follower.take(&batch)?;
        }
        Ok((follower, watch))
    }

    /// Follows until the watch ends; the error says why. The caller starts the server's end: a server that no longer
    /// follows must not decide.
    pub async fn follow(&self, mut watch: hv_store::WatchStream) -> Error {
        loop {
            match watch.next().await {
                Some(Ok(batch)) => {
                    if let Err(error) = self.take(&batch) {
                        return error;
                    }
                }
                Some(Err(StoreError::Lagged)) => {
                    // Nothing is lost: the history is in the store.
                    let again = Watch { prefix: keys::ROOT.to_owned(), after: self.revision() };
                    match self.store.watch(again).await {
                        Ok(new) => watch = new,
                        Err(error) => return store_error(error),
                    }
                }
                Some(Err(error)) => return store_error(error),
                None => return ended(),
            }
        }
    }

    fn take(&self, batch: &Batch) -> Result<(), Error> {
        let changes = self.shared.cluster.write().unwrap_or_else(PoisonError::into_inner).apply(batch)?;
        {
            let mut ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.changes.extend(changes.into_iter().map(Arc::new));
            while ring.changes.len() > RING {
                if let Some(oldest) = ring.changes.pop_front() {
                    ring.floor = oldest.revision;
                }
            }
        }
        self.shared.revision.send_replace(batch.revision);
        Ok(())
    }

    /// A look at everything. Short: the next change waits for it.
    pub fn cluster(&self) -> RwLockReadGuard<'_, Cluster> {
        self.shared.cluster.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision that [`Follower::cluster`] is at.
    pub fn revision(&self) -> Revision {
        *self.shared.revision.borrow()
    }

    /// Returns when everything up to `revision` is visible: a caller reads its own writes.
    pub async fn reached(&self, revision: Revision) {
        let mut follow = self.shared.revision.subscribe();
        // The sender lives in `self`.
        let _ = follow.wait_for(|now| *now >= revision).await;
    }

    /// Changes after a revision.
    pub fn subscribe(&self, after: Revision) -> Result<Subscription, Error> {
        let floor = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner).floor;
        if after < floor {
            return Err(expired(after));
        }
        if after > self.revision() {
            return Err(Error::new(
                ErrorKind::Expired,
                format!("revision {after} does not exist; the store is at {}: it was restored, or it is another one", self.revision()),
            )
            .with_hint("list anew, and watch from the revision of that answer"));
        }
        Ok(Subscription { shared: self.shared.clone(), revision: self.shared.revision.subscribe(), after })
    }

    /// The store, for what is not followed.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// A place in the stream of changes.
pub struct Subscription {
    shared: Arc<Shared>,
    revision: watch::Receiver<Revision>,
    after: Revision,
}

impl Subscription {
    /// The next changes, in order; waits for them. An error when this reader was too slow for the ring.
    ///
    /// Cancel-safe: a dropped call has taken nothing.
    pub async fn next(&mut self) -> Result<Vec<Arc<Change>>, Error> {
        loop {
            // Marked as seen before looking: a change in between shows at the next turn.
            let now = *self.revision.borrow_and_update();
            let changes = {
                let ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
                if self.after < ring.floor {
                    return Err(expired(self.after));
                }
                let first = ring.changes.partition_point(|change| change.revision <= self.after);
                let last = ring.changes.partition_point(|change| change.revision <= now);
                ring.changes.range(first..last.max(first)).cloned().collect::<Vec<_>>()
            };
            self.after = self.after.max(now);
            if !changes.is_empty() {
                return Ok(changes);
            }
            if self.revision.changed().await.is_err() {
                return Err(ended());
            }
        }
    }

    /// Everything up to here has been delivered.
    pub fn position(&self) -> Revision {
        self.after
    }
}

async fn list(store: &dyn Store, at: Option<Revision>) -> Result<(Cluster, Revision), Error> {
    let mut cluster = Cluster::default();
    let mut request = List { prefix: keys::ROOT.to_owned(), limit: PAGE, at, ..List::default() };
    loop {
        let page = store.list(request.clone()).await.map_err(store_error)?;
        let events =
            page.items.iter().map(|item| Event::Put { current: item.clone(), previous: None }).collect();
        cluster.apply(&Batch { revision: page.revision, events })?;
        request.at = Some(page.revision);
        request.after = page.items.last().map(|item| item.key.clone());
        if !page.more {
            return Ok((cluster, page.revision));
        }
    }
}

/// A store's error as the API's.
pub fn store_error(error: StoreError) -> Error {
    let kind = match &error {
        StoreError::Compacted { .. } | StoreError::FutureRevision { .. } => ErrorKind::Expired,
        StoreError::Full => ErrorKind::Exhausted,
        StoreError::Unavailable(_) | StoreError::Lagged => ErrorKind::Unavailable,
        StoreError::Invalid(_) => ErrorKind::Invalid,
        StoreError::LeaseNotFound(_) | StoreError::Corrupt(_) | StoreError::WrongFormat { .. } => {
            ErrorKind::Internal
        }
    };
    let hint = match &error {
        StoreError::Full => Some("free space on the server's disk; nothing was changed"),
        StoreError::Corrupt(_) => Some("restore the store from a snapshot"),
        _ => None,
    };
    let converted = Error::new(kind, error.to_string());
    match hint {
        Some(hint) => converted.with_hint(hint),
        None => converted,
    }
}

fn expired(after: Revision) -> Error {
    Error::new(ErrorKind::Expired, format!("changes after revision {after} are no longer kept"))
        .with_hint("list anew, and watch from the revision of that answer")
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the store's watch ended")
}

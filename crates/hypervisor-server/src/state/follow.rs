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

/// Changes kept for subscribers that come back, and the most bytes of them: every change holds its object as it was, and
/// an instance may carry a large user-data.
const RING: usize = 16 * 1024;
const RING_BYTES: usize = 16 << 20;
/// Items of one page while listing.
const PAGE: usize = 1000;

struct Ring {
    /// Changes after this revision are kept.
    floor: Revision,
    changes: VecDeque<Arc<Change>>,
    /// What the changes weigh together.
    bytes: usize,
}

impl Ring {
    fn push(&mut self, change: Change) {
        self.bytes += change.object.weight();
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > RING || self.bytes > RING_BYTES {
            let Some(oldest) = self.changes.pop_front() else { return };
            self.bytes -= oldest.object.weight();
            self.floor = oldest.revision;
        }
    }
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
            ring: Mutex::new(Ring { floor: from, changes: VecDeque::new(), bytes: 0 }),
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
            changes.into_iter().for_each(|change| ring.push(change));
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
        // What a caller has just seen there exists, though its changes may be on their way into the ring.
        let newest = self.cluster().revision();
        if after > newest {
            return Err(Error::new(
                ErrorKind::Expired,
                format!("revision {after} does not exist; the store is at {newest}: it was restored, or it is another one"),
            )
            .with_hint("list anew, and watch from the revision of that answer"));
        }
        let floor = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner).floor;
        if after < floor {
            return Err(expired(after));
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
        StoreError::Unavailable(_) | StoreError::InUse(_) | StoreError::Lagged => ErrorKind::Unavailable,
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

#[cfg(test)]
mod tests {
    use super::super::write::Writer;
    use super::*;
    use hv_core::instance::{Instance, InstanceSpec, InstanceStatus};
    use hv_core::{Labels, Metadata, Name, Timestamp};
    use hv_store::model::MemoryStore;

    fn instance(annotations: Labels) -> Instance {
        let name = |name| Name::parse("name", name).unwrap();
        Instance {
            id: "018f4e2a-0000-7000-8000-000000000002".parse().unwrap(),
            metadata: Metadata {
                name: name("demo"),
                project: name("default"),
                labels: Labels::new(),
                annotations,
                generation: 1,
                created_at: Timestamp(1),
                deletion_requested_at: None,
                finalizers: vec![],
            },
            spec: InstanceSpec { image: Some("/i".into()), ..InstanceSpec::default() },
            status: InstanceStatus::default(),
            placement: None,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_has_seen_a_revision_can_follow_from_it() {
        let store = Arc::new(MemoryStore::new("test"));
        let (follower, mut watch) = Follower::start(store.clone()).await.unwrap();
        let mut writer = Writer::default();
        writer.put_instance(&instance(Labels::new()));
        let created = store.txn(writer.finish()).await.unwrap().revision;
        let batch = watch.next().await.unwrap().unwrap();
        // The change stands before the ring, and is in the cluster already.
        let ring = follower.shared.ring.lock().unwrap();
        let (takes, subscribes) = std::thread::scope(|scope| {
            let takes = scope.spawn(|| follower.take(&batch));
            while follower.cluster().revision() < created {
                std::thread::yield_now();
            }
            let subscribes = scope.spawn(|| follower.subscribe(created).map(|place| place.position()));
            // It waits for the ring, or has ended before it.
            (0..10_000).take_while(|_| !subscribes.is_finished()).for_each(|_| std::thread::yield_now());
            drop(ring);
            (takes.join().unwrap(), subscribes.join().unwrap())
        });
        takes.unwrap();
        assert_eq!(subscribes.unwrap(), created);
    }

    #[tokio::test]
    async fn the_ring_holds_so_many_bytes_and_who_is_older_lists_anew() {
        const USER_DATA: usize = 256 << 10;
        let store = Arc::new(MemoryStore::new("test"));
        let (follower, watch) = Follower::start(store.clone()).await.unwrap();
        let following = follower.clone();
        let instance = instance(Labels::from([("note".into(), "x".repeat(USER_DATA))]));
        let mut writer = Writer::default();
        writer.put_instance(&instance);
        let created = store.txn(writer.finish()).await.unwrap().revision;
        // Each of these changes is a few bytes in the store, and another copy of the whole in memory.
        let changes = 4 * RING_BYTES / USER_DATA;
        let mut newest = created;
        for number in 0..changes {
            let status = InstanceStatus { message: number.to_string(), ..InstanceStatus::default() };
            let mut writer = Writer::default();
            writer.put_instance_status(instance.id, &status);
            newest = store.txn(writer.finish()).await.unwrap().revision;
        }
        let mut following = Box::pin(following.follow(watch));
        tokio::select! {
            error = &mut following => panic!("{error}"),
            () = follower.reached(newest) => {}
        }
        {
            let ring = follower.shared.ring.lock().unwrap();
            let held: usize = ring.changes.iter().map(|change| change.object.weight()).sum();
            assert_eq!(held, ring.bytes);
            assert!(
                ring.changes.iter().all(|change| change.object.weight() > USER_DATA),
                "the user-data is counted"
            );
            assert!(held <= RING_BYTES && held > RING_BYTES / 2, "{held} bytes");
        }
        let expired = follower.subscribe(created).err().expect("too old");
        assert_eq!(expired.kind, ErrorKind::Expired);
        let recent = follower.subscribe(Revision(newest.0 - 5)).unwrap().next().await.unwrap();
        assert_eq!(recent.len(), 5);
    }
}

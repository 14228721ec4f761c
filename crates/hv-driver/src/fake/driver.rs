//! The driver trait in front of a pretended machine.

use super::Host;
use crate::{
    Assignment, Capability, Console, Driver, DriverError, DriverErrorKind, DriverStatus, Guest, Handle,
    Observation, StartMode, Stats,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use hv_core::{InstanceId, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast};
use tokio_stream::wrappers::BroadcastStream;

/// What the next call of an operation meets.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails before doing anything.
    Fail(DriverError),
    /// It does its work and then fails: the answer is lost.
    FailAfter(DriverError),
    /// It waits until the gate is opened.
    Block(Arc<Notify>),
}

#[derive(Default)]
struct World {
    host: Host,
    /// Faults by operation and instance, taken in order; `None` is any instance.
    faults: BTreeMap<(&'static str, Option<InstanceId>), Vec<Fault>>,
    /// Every call, for tests that count.
    calls: Vec<(&'static str, InstanceId)>,
}

/// A driver whose guests are pretended. Clones share one machine; a clone made after a "restart" adopts what it finds.
#[derive(Clone)]
pub struct FakeDriver {
    world: Arc<Mutex<World>>,
    events: broadcast::Sender<InstanceId>,
    now: fn() -> Timestamp,
}

impl FakeDriver {
    /// A machine without instances. `now` dates the guests' starts.
    pub fn new(now: fn() -> Timestamp) -> Self {
        Self { world: Arc::default(), events: broadcast::channel(1024).0, now }
    }

    /// Makes the next call of `operation` (the trait's method name), for one instance or for any, meet a fault.
    pub fn inject(&self, operation: &'static str, id: Option<InstanceId>, fault: Fault) {
        self.world().faults.entry((operation, id)).or_default().push(fault);
    }

    /// Looks at the machine, or tampers with it; then tells subscribers that `changed` changed.
    pub fn tamper<T>(&self, changed: InstanceId, with: impl FnOnce(&mut Host) -> T) -> T {
        let result = with(&mut self.world().host);
        self.notify(changed);
        result
    }

    /// A copy of the machine.
    pub fn host(&self) -> Host {
        self.world().host.clone()
    }

    /// How often an operation was called for an instance.
    pub fn calls(&self, operation: &str, id: InstanceId) -> usize {
        self.world().calls.iter().filter(|(name, of)| *name == operation && *of == id).count()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panic of a test while it held the lock does not make the machine unusable.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, id: InstanceId) {
        // Nobody listening is fine: an event is a hint, and whoever comes later observes first.
        let _ = self.events.send(id);
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        id: InstanceId,
        work: impl FnOnce(&mut Host) -> Result<T, DriverError> + Send,
    ) -> Result<T, DriverError> {
        let fault = {
            let mut world = self.world();
            world.calls.push((operation, id));
            let key = [(operation, Some(id)), (operation, None)]
                .into_iter()
                .find(|key| world.faults.contains_key(key));
            key.and_then(|key| {
                let queue = world.faults.get_mut(&key)?;
                let fault = (!queue.is_empty()).then(|| queue.remove(0));
                if queue.is_empty() {
                    world.faults.remove(&key);
                }
                fault
            })
        };
        let after = match fault {
            Some(Fault::Fail(error)) => return Err(error),
            Some(Fault::FailAfter(error)) => Some(error),
            Some(Fault::Block(gate)) => {
                gate.notified().await;
                None
            }
            None => None,
        };
        let result = work(&mut self.world().host);
        if !matches!(operation, "observe" | "stats" | "console" | "admit") {
            self.notify(id);
        }
        match after {
            Some(error) => Err(error),
            None => result,
        }
    }
}

#[async_trait]
impl Driver for FakeDriver {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Vec<Capability> {
        vec![
            Capability::Pause,
            Capability::PowerDown,
            Capability::Console,
            Capability::Stats,
            Capability::Adopt,
        ]
    }

    async fn fingerprint(&self) -> DriverStatus {
        DriverStatus {
            name: self.name().to_owned(),
            instance_types: vec!["vm".into(), "container".into(), "microvm".into()],
            healthy: true,
            capabilities: self.capabilities().into_iter().map(|c| c.as_str().to_owned()).collect(),
            ..DriverStatus::default()
        }
    }

    async fn admit(&self, assignment: &Assignment) -> Result<(), DriverError> {
        self.call("admit", assignment.handle.id, |_| Ok(())).await
    }

    async fn prepare(&self, assignment: &Assignment) -> Result<(), DriverError> {
        self.call("prepare", assignment.handle.id, |host| {
            host.prepare(assignment);
            Ok(())
        })
        .await
    }

    async fn start(&self, assignment: &Assignment, mode: StartMode) -> Result<(), DriverError> {
        let now = (self.now)();
        self.call("start", assignment.handle.id, |host| host.start(assignment, mode, now)).await
    }

    async fn power_down(&self, handle: Handle) -> Result<(), DriverError> {
        self.call("power_down", handle.id, |host| host.power_down(handle)).await
    }

    async fn kill(&self, handle: Handle) -> Result<(), DriverError> {
        self.call("kill", handle.id, |host| {
            host.kill(handle);
            Ok(())
        })
        .await
    }

    async fn pause(&self, handle: Handle) -> Result<(), DriverError> {
        self.call("pause", handle.id, |host| host.set_paused(handle, true)).await
    }

    async fn resume(&self, handle: Handle) -> Result<(), DriverError> {
        self.call("resume", handle.id, |host| host.set_paused(handle, false)).await
    }

    async fn delete(&self, handle: Handle) -> Result<(), DriverError> {
        self.call("delete", handle.id, |host| host.delete(handle)).await
    }

    async fn observe(&self, handle: Handle) -> Result<Observation, DriverError> {
        self.call("observe", handle.id, |host| Ok(host.observe(handle))).await
    }

    async fn list_owned(&self) -> Result<Vec<InstanceId>, DriverError> {
        Ok(self.world().host.slots().keys().copied().collect())
    }

    fn events(&self) -> BoxStream<'static, InstanceId> {
        // A lagging subscriber loses hints; the owner's timer observes again.
        BroadcastStream::new(self.events.subscribe()).filter_map(|id| async { id.ok() }).boxed()
    }

    async fn stats(&self, handle: Handle) -> Result<Stats, DriverError> {
        self.call("stats", handle.id, |host| match host.observe(handle).guest {
            Guest::Running | Guest::Paused => Ok(Stats {
                cpu_time_ns: Some(1_000_000),
                memory_used_bytes: Some(1 << 20),
                ..Stats::default()
            }),
            Guest::Absent | Guest::Ended(_) => {
                Err(DriverError::new(DriverErrorKind::NotFound, "stats", "there is no guest"))
            }
        })
        .await
    }

    async fn console(&self, handle: Handle, replay_bytes: u64) -> Result<Console, DriverError> {
        self.call("console", handle.id, |host| {
            let slot = host
                .slots()
                .get(&handle.id)
                .filter(|slot| matches!(slot.guest, Guest::Running | Guest::Paused))
                .ok_or_else(|| DriverError::new(DriverErrorKind::NotFound, "console", "there is no guest"))?;
            let skip = slot.console.len().saturating_sub(usize::try_from(replay_bytes).unwrap_or(usize::MAX));
            let past = Bytes::copy_from_slice(&slot.console[skip..]);
            // The pretended guest echoes what it reads.
            let (ours, theirs) = tokio::io::duplex(4096);
            let echo = chunks(ours);
            Ok(Console {
                output: futures::stream::iter([Ok(past)]).chain(echo).boxed(),
                input: Box::new(theirs),
            })
        })
        .await
    }

    async fn resize_console(&self, handle: Handle, _columns: u16, _rows: u16) -> Result<(), DriverError> {
        self.call("resize_console", handle.id, |_| Ok(())).await
    }
}

/// Chunks read from a stream until its end.
fn chunks(
    from: tokio::io::DuplexStream,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures::stream::unfold(from, |mut from| async move {
        let mut buffer = vec![0; 1024];
        match tokio::io::AsyncReadExt::read(&mut from, &mut buffer).await {
            Ok(0) => None,
            Ok(n) => Some((Ok(Bytes::copy_from_slice(&buffer[..n])), from)),
            Err(error) => Some((Err(error), from)),
        }
    })
}

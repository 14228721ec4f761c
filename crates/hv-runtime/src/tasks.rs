//! Background tasks: every one has a name, is told to stop, and is waited for.

use std::fmt;
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a program's tasks are. One enum a program lists them, so that a reader finds all of them in one place.
pub trait TaskKind: Copy + fmt::Debug + Send + 'static {
    /// The name in logs.
    fn name(self) -> &'static str;

    /// Whether the program cannot go on without it: its end stops everything else.
    fn is_vital(self) -> bool;
}

/// The tasks of one program. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// Tasks were still running at the deadline of a drain.
#[derive(Debug, thiserror::Error)]
#[error("{0} tasks had not ended at the deadline")]
pub struct DrainTimeout(pub usize);

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells tasks to stop. Cancelled by [`Tasks::drain`], or by the end of a vital task.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task. When a vital one ends before it was told to, everything is told to stop.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<K: TaskKind, F>(&self, kind: K, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        tokio::spawn(self.tracker.track_future(async move {
            // Dropped on a panic too, so that a vital task's panic stops the program instead of crippling it.
            let guard = kind.is_vital().then(|| stop.drop_guard_ref());
            future.await;
            if kind.is_vital() && !stop.is_cancelled() {
                tracing::error!(task = kind.name(), "a vital task ended; stopping");
            }
            drop(guard);
        }))
    }

    /// Tells all tasks to stop and waits for them.
    pub async fn drain(&self, deadline: Duration) -> Result<(), DrainTimeout> {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .map_err(|_| DrainTimeout(self.tracker.len()))
    }
}

/// Runs blocking work, such as that on files, on a thread for it. The work goes on when this future is dropped.
///
/// # Panics
/// When the work does.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down, and this future with it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Kind {
        Vital,
        Other,
    }

    impl TaskKind for Kind {
        fn name(self) -> &'static str {
            "test"
        }
        fn is_vital(self) -> bool {
            matches!(self, Self::Vital)
        }
    }

    #[tokio::test]
    async fn the_end_of_a_vital_task_stops_the_rest() {
        let tasks = Tasks::new();
        let stop = tasks.stop_token();
        tasks.spawn(Kind::Other, async {}).await.unwrap();
        assert!(!stop.is_cancelled());
        let _ = tasks.spawn(Kind::Vital, async { panic!("broken on purpose") }).await;
        assert!(stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn drain_waits_and_names_how_many_did_not_end() {
        let tasks = Tasks::new();
        tasks.spawn(Kind::Other, std::future::pending());
        let error = tasks.drain(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.0, 1);
    }
}

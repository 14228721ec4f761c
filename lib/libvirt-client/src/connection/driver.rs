//! What moves a connection.

use super::{Shared, now};
use crate::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// What must run beside the calls: it moves a connection, or does work that takes several calls. Dropping it closes the connection, or leaves
/// the work undone.
#[must_use = "nothing moves until the driver runs"]
pub struct Driver(Pin<Box<dyn Future<Output = DriverEnd> + Send>>);

/// Why a driver has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DriverEnd {
    /// The connection that it moved is closed, for this reason.
    Closed(Error),
    /// The work is done that it was made for: a migration, or the making of a further connection. How it went hears who waits for it; no
    /// connection was lost.
    Done,
}

impl Driver {
    /// Moves a connection, until it is closed.
    pub(crate) fn new(connection: impl Future<Output = Error> + Send + 'static) -> Self {
        Self(Box::pin(async { DriverEnd::Closed(connection.await) }))
    }

    /// Does something beside the connections.
    pub(crate) fn work(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(async {
            work.await;
            DriverEnd::Done
        }))
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driver")
    }
}

impl Future for Driver {
    type Output = DriverEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<DriverEnd> {
        self.0.as_mut().poll(context)
    }
}

/// Moves one connection: reads, writes, keeps it alive.
pub(crate) struct Mover {
    shared: Arc<Shared>,
    /// Made when it is first needed: there may be no executor before the driver runs.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Mover {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, sleep: None }
    }

    /// Moves the connection while calls on it are waited for.
    pub(crate) async fn beside<T>(
        &mut self,
        calls: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut calls = pin!(calls);
        tokio::select! {
            biased;
            result = &mut calls => return result,
            _ = self => {}
        }
        // The connection is closed, and every call knows why.
        calls.await
    }
}

impl Future for Mover {
    type Output = Error;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Error> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        loop {
            if let Some(closed) = state.over().cloned() {
                state.close(&closed);
                return Poll::Ready(closed);
            }
            if let Err(reason) = state.turn(context) {
                state.close(&reason);
                continue;
            }
            if state.over().is_some() {
                continue;
            }
            let Some(deadline) = state.deadline() else { return Poll::Pending };
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            // Whatever comes puts the deadline off. The timer is not set again for that: it runs out, and then is.
            if deadline < sleep.deadline().into() {
                sleep.as_mut().reset(deadline.into());
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if now() < deadline {
                sleep.as_mut().reset(deadline.into());
                continue;
            }
            if let Err(silent) = state.tick(now()) {
                state.close(&silent.into());
            }
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.shared.lock().close(&Error::new(crate::error::ErrorKind::Closed));
    }
}

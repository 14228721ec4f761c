//! What moves a connection.

use super::{Shared, now};
use crate::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// The future that moves a connection: run it beside the calls. It ends, with the reason, when the connection does; dropping it
/// closes the connection.
#[must_use = "nothing moves until the driver runs"]
pub struct Driver {
    shared: Arc<Shared>,
    sleep: Pin<Box<Sleep>>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driver")
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, sleep: Box::pin(tokio::time::sleep_until(now().into())) }
    }
}

impl Future for Driver {
    type Output = Error;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Error> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        loop {
            if let Some(closed) = state.closed() {
                return Poll::Ready(closed.clone());
            }
            if let Err(reason) = state.turn(context) {
                state.close(&reason);
                continue;
            }
            let Some(deadline) = state.session.deadline() else { return Poll::Pending };
            if this.sleep.deadline() != deadline.into() {
                this.sleep.as_mut().reset(deadline.into());
            }
            if this.sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if let Err(silent) = state.session.tick(now()) {
                state.close(&silent.into());
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.lock().close(&Error::new(crate::error::ErrorKind::Closed));
    }
}

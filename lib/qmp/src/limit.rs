//! A time limit that may not have begun.

use std::{pin::Pin, time::Duration};
use tokio::time::Sleep;

#[derive(Debug, Default)]
pub(crate) struct Limit(Option<Pin<Box<Sleep>>>);

impl Limit {
    /// From now on, anew.
    pub(crate) fn begin(&mut self, after: Duration) {
        self.0 = Some(Box::pin(tokio::time::sleep(after)));
    }

    pub(crate) fn lift(&mut self) {
        self.0 = None;
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.is_some()
    }

    /// Its end; never, where it has not begun. Cancel safety: it goes on where it was.
    pub(crate) async fn passed(&mut self) {
        match &mut self.0 {
            Some(sleep) => sleep.await,
            None => std::future::pending().await,
        }
    }
}

//! Files that are there for what an operation has not finished yet.

use std::{fs, path::PathBuf};

/// A new file; it goes with this unless it is kept. Dropped where files may be waited for ([`qmp::aside`]).
#[derive(Debug)]
pub(super) struct Fresh(Option<PathBuf>);

impl Fresh {
    /// One that was just made.
    pub(super) fn of(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// Somebody else looks after it from here on.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // One that is gone is as good.
            let _ = fs::remove_file(path);
        }
    }
}

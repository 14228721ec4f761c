//! The store as a file, and a new store from it.
//!
//! A restored store has forgotten what came after its snapshot, and the nodes have not. So it becomes another incarnation,
//! its revisions go on far above the old ones, and a mark in it makes every instance wait until a node reports it
//! (`Cluster::missing`).

use crate::config::ServerConfig;
use crate::state::keys;
use hv_core::Timestamp;
use hv_runtime::clock;
use hv_runtime::files::{self, Draft};
use hv_store::embedded::{Embedded, Options};
use hv_store::snapshot_file::{self, SnapshotFileError};
use hv_store::{KeyValue, Revision, Snapshot, Store, StoreError};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// A restored store's revisions begin at the time of the restore, in 4096ths of a millisecond: above those of the former life,
/// and of whatever came of an earlier restore, since no store makes four million revisions in a second for long. So resume
/// tokens of former lives are older than anything that is kept, also where the caller does not name the incarnation, and no
/// epoch is given out twice.
const REVISIONS_PER_MS: u64 = 1 << 12;

/// Where the clock is not above the snapshot, or was never set, a restore skips this many instead: more than any store makes
/// between a snapshot and its loss.
const SKIPPED: u64 = 1 << 40;

/// Why there is no snapshot, or no restored store.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to take a snapshot of.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// A restore never replaces a store.
    #[error("{} exists: a restore needs an empty state directory; move the old store away, or name another --state-dir", .0.display())]
    StoreExists(PathBuf),
    /// The state directory cannot be made.
    #[error("{}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// A server has the store open.
    #[error("the server is running: `hypervisor-ctl cluster snapshot FILE` saves its store while it goes on")]
    InUse(#[source] StoreError),
    /// The store cannot be read or made.
    #[error("cannot use the store")]
    Store(#[from] StoreError),
    /// There is a file already; it is left as it is.
    #[error("{} exists; name another file, or move that one away", .0.display())]
    Exists(PathBuf),
    /// The snapshot cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The snapshot cannot be read.
    #[error("cannot use the snapshot")]
    Snapshot(#[from] SnapshotFileError),
}

/// Writes everything in the store to a new file. The server must not be running; guests and agents may be.
///
/// # Errors
/// When there is no store, when a server has it open, or when the file cannot be written.
pub async fn snapshot(config: &ServerConfig, to: &Path) -> Result<Snapshot, BackupError> {
    let path = crate::store_path(config);
    if !path.exists() {
        return Err(BackupError::NoStore(config.state_dir.clone()));
    }
    let writing = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => BackupError::Write { path: to.to_owned(), source },
    };
    let mut draft = Draft::new(to).map_err(writing)?;
    let store = Embedded::open(&path, options(config)).await.map_err(|error| match error {
        error @ StoreError::InUse(_) => BackupError::InUse(error),
        error => error.into(),
    })?;
    let taken = async {
        let (snapshot, status) = (store.snapshot().await?, store.status().await?);
        let out = BufWriter::new(&mut draft);
        snapshot_file::encode(&status.incarnation, &snapshot, out)
            .and_then(|()| draft.keep())
            .map_err(writing)?;
        Ok(snapshot)
    };
    let taken = taken.await;
    store.close().await;
    taken
}

/// Makes a new store of a snapshot, in a state directory that has none.
///
/// # Errors
/// When there is a store, or the file is not a whole and sound snapshot: then nothing is made.
pub async fn restore(config: &ServerConfig, from: &Path) -> Result<Snapshot, BackupError> {
    let path = crate::store_path(config);
    if path.exists() {
        return Err(BackupError::StoreExists(path));
    }
    let read = snapshot_file::read(from)?;
    let directory = |source| BackupError::Directory { path: config.state_dir.clone(), source };
    files::private_dir(&config.state_dir).map_err(directory)?;
    let snapshot = restored(read.snapshot, &read.incarnation, clock::wall());
    let store = Embedded::restore(&path, snapshot.clone(), options(config)).await?;
    store.close().await;
    Ok(snapshot)
}

/// The snapshot as a store restored at `now` begins with it: marked, and at a revision above all that may have been, also in
/// stores that were restored from it before.
pub fn restored(mut snapshot: Snapshot, incarnation: &str, now: Timestamp) -> Snapshot {
    let by_time = u64::try_from(now.0).unwrap_or(0).saturating_mul(REVISIONS_PER_MS);
    // A clock that is absurdly far ahead must leave some revisions.
    let usable = by_time > snapshot.revision.0.max(SKIPPED) && by_time < u64::MAX / 2;
    snapshot.revision = Revision(if usable { by_time } else { snapshot.revision.0 + SKIPPED });
    snapshot.items.retain(|item| item.key != keys::RESTORED);
    let at = snapshot.items.partition_point(|item| item.key.as_str() < keys::RESTORED);
    let mark = KeyValue {
        key: keys::RESTORED.to_owned(),
        value: format!("from incarnation {incarnation}").into(),
        create_revision: snapshot.revision,
        mod_revision: snapshot.revision,
        version: 1,
        lease: None,
    };
    snapshot.items.insert(at, mark);
    snapshot
}

fn options(config: &ServerConfig) -> Options {
    Options { retain_revisions: Some(config.retain_revisions) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restoring_a_snapshot_again_never_repeats_a_revision() {
        let snapshot = Snapshot { revision: Revision(7), ..Snapshot::default() };
        let start = 1_800_000_000_000;
        let at = |ms| restored(snapshot.clone(), "former", Timestamp(ms)).revision.0;
        assert!(at(start) > 7 + SKIPPED);
        let mut highest = 0;
        for second in 0..10 {
            let begun = at(start + second * 1000);
            assert!(begun > highest, "restore {second} begins at {begun}, the one before came to {highest}");
            // All that a store could do in between.
            highest = begun + 1_000_000;
        }
        // A restored store that is saved and restored again within the same instant.
        let first = restored(snapshot.clone(), "former", Timestamp(start));
        assert!(
            restored(first.clone(), "second", Timestamp(start)).revision.0 > first.revision.0 + 1_000_000
        );
        // The first restore was saved and restored in turn, and then the old snapshot is taken again.
        let mut saved = first;
        saved.revision.0 += 1_000_000;
        let second = restored(saved.clone(), "second", Timestamp(start + 3_600_000)).revision;
        assert!(second > saved.revision && at(start + 7_200_000) > second.0 + 1_000_000);
        // A clock that was never set.
        assert_eq!(at(0), 7 + SKIPPED);
        assert_eq!(at(-1), 7 + SKIPPED);
    }
}

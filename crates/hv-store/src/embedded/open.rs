//! Opening, creating and restoring the file.

use super::disk::{Disk, Loaded};
use super::engine::Engine;
use super::failure::explain_io;
use super::file::{DiskFile, Guard};
use super::log::{Directory, Log, OsDirectory};
use super::record::Item;
use super::state::Shared;
use super::{Embedded, Options};
use crate::{Snapshot, StoreError, clock};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

impl Embedded {
    /// Opens the store in the file at `path`, or creates it there (mode 0600, in directories of mode 0700). Its log is in a
    /// directory beside it, which has `.log` appended to its name: the two belong together.
    ///
    /// A store of format 1 becomes one of the present format. Must be called inside a tokio runtime. Every lease starts its full time anew.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::WrongFormat`],
    /// [`StoreError::Corrupt`]; a file that cannot be opened is left as it was.
    pub async fn open(path: impl Into<PathBuf>, options: Options) -> Result<Self, StoreError> {
        let path = path.into();
        Self::prepare(options, move || {
            if !exists(&path)? {
                create(&path, &Loaded { incarnation: Uuid::new_v4().as_u128(), ..Loaded::default() })?;
            }
            read(&path)
        })
        .await
    }

    /// Creates a store at `path` that holds a snapshot: a new incarnation, and no history before the snapshot.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when there is a file already; otherwise as [`Embedded::open`].
    pub async fn restore(
        path: impl Into<PathBuf>,
        snapshot: Snapshot,
        options: Options,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        Self::prepare(options, move || {
            if exists(&path)? {
                let path = path.display();
                return Err(StoreError::Invalid(format!(
                    "{path} exists; move it away before restoring a snapshot there"
                )));
            }
            create(&path, &from_snapshot(snapshot))?;
            read(&path)
        })
        .await
    }

    async fn prepare(
        options: Options,
        prepare: impl FnOnce() -> Result<(Disk, Loaded, File), StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let (disk, loaded, lock) =
            prepared.map_err(|error| StoreError::Unavailable(format!("opening the store: {error}")))??;
        let (base, last_lease) = (loaded.base, loaded.last_lease);
        let now = clock::now();
        let engine = move |shared| Engine::new(shared, base, last_lease, options.retain_revisions, now);
        Ok(Self::start(Shared::new(disk, loaded), engine, lock))
    }
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(|error| explain_io(&path.display().to_string(), &error))
}

fn read(path: &Path) -> Result<(Disk, Loaded, File), StoreError> {
    let name = path.display().to_string();
    let failed = |error| explain_io(&name, &error);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    lock(&file, &name)?;
    let held = file.try_clone().map_err(failed)?;
    // A process that died while it made them may not have made their names durable.
    File::open(directory_of(path)).and_then(|directory| directory.sync_all()).map_err(failed)?;
    let guard = Guard::new(Box::new(DiskFile(file)));
    let (disk, loaded) = Disk::open(guard, || log_directory(path), name)?;
    Ok((disk, loaded, held))
}

/// Builds the file beside its place and moves it there, so that a crash leaves either none or a whole one.
fn create(path: &Path, first: &Loaded) -> Result<(), StoreError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| explain_io(&name, &error);
    let directory = directory_of(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&draft);
    let file = file.map_err(failed)?;
    lock(&file, &name)?;
    if exists(path)? {
        // Another process was faster; opening it will tell.
        return Ok(());
    }
    if Log::holds_frames(&*log_directory(path)).map_err(failed)? {
        let log = log_path(path);
        let log = log.display();
        return Err(StoreError::Corrupt(format!(
            "{name} is missing, but its log {log} is there: put the file back, or move the log away to start anew"
        )));
    }
    file.set_len(0).map_err(failed)?;
    let held = file.try_clone().map_err(failed)?;
    let guard = Guard::new(Box::new(DiskFile(file)));
    let created = Disk::create(&guard, log_directory(path), &name, first).and_then(|()| {
        held.sync_all().map_err(failed)?;
        fs::rename(&draft, path).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    });
    if created.is_err() {
        // It is only a draft; the error to report is the first one.
        let _ = fs::remove_file(&draft);
    }
    created
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where the log of the store at `path` is.
fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push(".log");
    log.into()
}

fn log_directory(path: &Path) -> Box<dyn Directory> {
    Box::new(OsDirectory(log_path(path)))
}

fn lock(file: &File, name: &str) -> Result<(), StoreError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::InUse(name.to_owned()),
        TryLockError::Error(error) => explain_io(name, &error),
    })
}

fn from_snapshot(snapshot: Snapshot) -> Loaded {
    let revision = snapshot.revision.0;
    Loaded {
        keys: snapshot.items.into_iter().map(|item| (item.key.clone(), Item::from(item))).collect(),
        last_lease: snapshot.leases.iter().map(|(id, _)| id.0).max().unwrap_or(0),
        leases: snapshot.leases.into_iter().map(|(id, ttl)| (id, Duration::from_millis(ttl))).collect(),
        revision,
        compacted: revision,
        base: revision,
        incarnation: Uuid::new_v4().as_u128(),
    }
}

//! Where the log's files are: what the log needs of a directory, and the real one.

use super::super::file::DiskFile;
use redb::StorageBackend;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A directory of files. What [`Directory::sync`] has not covered may be undone by a power failure: creations, renames and
/// removals alike. What a file holds is synced by the file.
pub(in super::super) trait Directory: Debug + Send + Sync {
    /// The names of all files, in no order; none if the directory is missing.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A new and empty file of mode 0600; one of that name is emptied. Makes the directory if it is missing.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;
    /// Replaces a file called `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub(in super::super) struct OsDirectory(pub(in super::super) PathBuf);

impl Directory for OsDirectory {
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        // The log's own names are plain; others are not its own.
        Ok(entries
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        match fs::DirBuilder::new().mode(0o700).create(&self.0) {
            Ok(()) => {
                let parent = self.0.parent().filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(DiskFile(file.open(self.0.join(name))?)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let file = OpenOptions::new().read(true).write(true).open(self.0.join(name))?;
        Ok(Box::new(DiskFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

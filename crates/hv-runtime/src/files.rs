//! Files that hold secrets or state: private, and replaced whole or not at all.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Makes a directory, and those above it, that only this user can enter.
pub fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Replaces a file durably: after a crash it holds the old bytes or the new ones. Mode 0600.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent(path))?.sync_all()
    })();
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A new file that appears at its place once it is whole and durable, and not at all before. Mode 0600.
///
/// ```
/// use std::io::Write;
/// # let directory = tempfile::tempdir()?;
/// let place = directory.path().join("report");
/// let mut draft = hv_runtime::files::Draft::new(&place)?;
/// draft.write_all(b"whole")?;
/// assert!(!place.exists());
/// draft.keep()?;
/// assert_eq!(std::fs::read(&place)?, b"whole");
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Draft {
    file: File,
    beside: PathBuf,
    place: PathBuf,
}

impl Draft {
    /// Begins a file beside its place.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a file at the place, which is left as it is.
    pub fn new(place: &Path) -> io::Result<Self> {
        if place.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut beside = place.as_os_str().to_owned();
        beside.push(format!(".{}", crate::ids::uuid()));
        let beside = PathBuf::from(beside);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        Ok(Self { file, beside, place: place.to_owned() })
    }

    /// Puts the file at its place.
    ///
    /// # Errors
    /// `AlreadyExists` when another one came there meanwhile; then, and after any other error, there is nothing of this one.
    pub fn keep(self) -> io::Result<()> {
        self.file.sync_all()?;
        match renameat_with(CWD, &self.beside, CWD, &self.place, RenameFlags::NOREPLACE) {
            // Not known to every file system; that nothing was there has been looked at.
            Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&self.beside, &self.place)?,
            moved => moved?,
        }
        let synced = File::open(parent(&self.place)).and_then(|directory| directory.sync_all());
        if synced.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_file(&self.place);
        }
        synced
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Kept, it is there no more; nothing depends on it.
        let _ = fs::remove_file(&self.beside);
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a file that only this user may read, or says who else can.
pub fn read_private(path: &Path) -> io::Result<String> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} can be read by others (mode {:o}): run `chmod 600` on it",
                path.display(),
                mode & 0o777
            ),
        ));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_files_are_private_and_leave_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/token");
        private_dir(path.parent().unwrap()).unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_private(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_private(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_draft_becomes_a_private_file_that_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("file");
        let draft = |bytes: &[u8]| {
            let mut draft = Draft::new(&place)?;
            draft.write_all(bytes)?;
            Ok::<_, io::Error>(draft)
        };
        let (first, second) = (draft(b"first").unwrap(), draft(b"second").unwrap());
        first.keep().unwrap();
        assert_eq!(second.keep().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(draft(b"third").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&place).unwrap(), b"first");
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
    }
}

//! Unix sockets at paths of any length.
//!
//! A socket address holds 107 bytes. Naming the socket through an open descriptor of its directory
//! (`/proc/self/fd/<n>/<name>`) keeps the address short wherever the directory is.

use rustix::fs::{Mode, OFlags};
use std::{
    fs::{File, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
};

/// Binds and listens, mode 0600, replacing a socket left at this place. The caller makes sure that nobody serves it.
///
/// # Errors
/// Those of the file system.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let (directory, short) = shorten(path)?;
    match std::fs::remove_file(&short) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&short)?;
    std::fs::set_permissions(&short, Permissions::from_mode(0o600))?;
    drop(directory);
    Ok(listener)
}

/// Connects. QEMU serves one client per socket; a further one is queued and hears nothing until the first leaves.
///
/// # Errors
/// Those of the file system and of `connect`.
pub async fn connect(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let (directory, short) = shorten(path)?;
    let stream = tokio::net::UnixStream::connect(short).await;
    drop(directory);
    stream
}

/// The short path is valid as long as the descriptor is open.
fn shorten(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let invalid =
        || io::Error::new(io::ErrorKind::InvalidInput, "a socket path needs a directory and a name");
    let (directory, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((directory, short))
}

/// Opens a log for appending, mode 0600. Whoever holds it writes at its end, also after it was trimmed.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().append(true).create(true).mode(0o600).open(path)
}

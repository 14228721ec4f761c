//! Unix sockets at paths of any length.
//!
//! A socket address holds 107 bytes. Naming the socket through an open descriptor of its directory
//! (`/proc/self/fd/<n>/<name>`) keeps the address short wherever the directory is.

use qmp::open::shortened;
use std::{
    fs::{File, Permissions},
    io,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
};

/// Binds and listens, mode 0600, replacing a socket left at this place. The caller makes sure that nobody serves it.
///
/// # Errors
/// Those of the file system.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let (directory, short) = shortened(path)?;
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
    qmp::open::dial(path).await
}

/// Opens a log for appending, mode 0600. Whoever holds it writes at its end, also after it was trimmed.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().append(true).create(true).mode(0o600).open(path)
}

//! Paths at which somebody is to listen.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Takes away a socket at which nobody listens any more, and nothing else.
///
/// # Errors
/// Where there is another file, or somebody listens.
pub(crate) fn make_room(path: &Path) -> io::Result<()> {
    let named = |kind, text: &str| Err(io::Error::new(kind, format!("{}: {text}", path.display())));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return named(error.kind(), &error.to_string()),
        Ok(found) if !found.file_type().is_socket() => {
            return named(io::ErrorKind::AlreadyExists, "it exists and is no socket");
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => named(io::ErrorKind::AddrInUse, "somebody listens there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => named(error.kind(), &error.to_string()),
    }
}

//! Where the server listens: a unix socket of its own user's, and loopback. Nowhere else.

use hv_runtime::files;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::unix::SocketAddr as UnixAddr;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is not of this host.
    #[error(
        "grpc_addr `{0}`: until TLS is set up the server listens on loopback only, such as 127.0.0.1:50051"
    )]
    NotLoopback(String),
    /// The address cannot be read.
    #[error("grpc_addr `{0}` is not HOST:PORT")]
    BadAddress(String),
    /// The address is taken, or not allowed.
    #[error("cannot listen on {addr}")]
    Bind {
        /// Where.
        addr: String,
        /// Why.
        source: io::Error,
    },
    /// Another server has the socket.
    #[error("another server listens on {0}; stop it first, or set another `socket`")]
    InUse(PathBuf),
    /// Something else has the path; it is left alone.
    #[error("{0} exists and is no socket; move it away, or set another `socket`")]
    NotASocket(PathBuf),
}

/// A unix socket whose callers are this user or root.
pub(crate) struct PrivateSocket {
    listener: UnixListener,
    path: PathBuf,
    uid: u32,
}

impl PrivateSocket {
    /// Binds the socket, in place of one that a dead server left.
    pub(crate) async fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { addr: path.display().to_string(), source };
        // In a directory of our own nobody else reaches the socket between its making and its mode; in one that was there
        // before, `accept` still refuses them.
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
            && !parent.try_exists().map_err(failed)?
        {
            files::private_dir(parent).map_err(failed)?;
        }
        let present = match path.symlink_metadata() {
            Ok(present) => Some(present),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(present) = present {
            if !present.file_type().is_socket() {
                return Err(ListenError::NotASocket(path.to_owned()));
            }
            if UnixStream::connect(path).await.is_ok() {
                return Err(ListenError::InUse(path.to_owned()));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), uid: rustix::process::geteuid().as_raw() })
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        // A socket left behind is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl axum::serve::Listener for PrivateSocket {
    type Io = UnixStream;
    type Addr = UnixAddr;

    async fn accept(&mut self) -> (UnixStream, UnixAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, addr)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == self.uid || peer.uid() == 0 => return (stream, addr),
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a caller of another user"),
                    Err(error) => tracing::warn!(%error, "refused a caller without credentials"),
                },
                // Out of descriptors, most likely: others must be closed first.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<UnixAddr> {
        self.listener.local_addr()
    }
}

/// Binds loopback.
pub(crate) async fn loopback(addr: &str) -> Result<TcpListener, ListenError> {
    let addrs: Vec<SocketAddr> =
        addr.to_socket_addrs().map_err(|_| ListenError::BadAddress(addr.to_owned()))?.collect();
    let Some(loopback) = addrs.iter().find(|addr| addr.ip().is_loopback()) else {
        return Err(ListenError::NotLoopback(addr.to_owned()));
    };
    if addrs.iter().any(|addr| !addr.ip().is_loopback()) {
        return Err(ListenError::NotLoopback(addr.to_owned()));
    }
    TcpListener::bind(loopback).await.map_err(|source| ListenError::Bind { addr: addr.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_anything_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(PrivateSocket::bind(&path).await, Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

        let link = dir.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(PrivateSocket::bind(&link).await, Err(ListenError::NotASocket(_))));

        let dead = dir.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let alive = PrivateSocket::bind(&dead).await.unwrap();
        assert!(matches!(PrivateSocket::bind(&dead).await, Err(ListenError::InUse(_))));
        drop(alive);
        assert!(!dead.exists());
    }

    #[tokio::test]
    async fn the_socket_and_the_directories_made_for_it_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/hypervisor/server.sock");
        let socket = PrivateSocket::bind(&path).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&dir.path().join("run")), 0o700);
        drop(socket);
        // A directory that was there keeps its mode.
        let shared = dir.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o755)).unwrap();
        let _socket = PrivateSocket::bind(&shared.join("server.sock")).await.unwrap();
        assert_eq!(mode(&shared), 0o755);
    }
}

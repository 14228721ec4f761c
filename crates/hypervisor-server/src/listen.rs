//! Where the server listens: a unix socket of its own user's, and loopback. Nowhere else.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
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
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        if path.exists() {
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

//! An in-memory libvirt daemon: what tests of libvirt clients talk to instead of a real one.
//!
//! ```text
//!   virsh, python3-libvirt, libvirt-client ...
//!        │ unix socket, TCP, TLS, or any byte stream
//!   connection task ── ServerSession (bytes <-> requests)
//!        │ requests                ^ effects
//!        v                         │
//!   one task that owns the Hypervisor: a pure value, request in, effects out
//! ```
//!
//! The default state is that of libvirt's `test:///default`, and stock virsh prints the same against both. [`Scope::Complete`] adds what
//! libvirt's test driver refuses: contents of volumes, secrets, devices that come and go.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let socket = directory.path().join("sock");
//! let server = libvirt_server::Server::builder().build();
//! // Run it on any tokio runtime; it ends when it is dropped.
//! let running = tokio::spawn(server.serve_unix(socket.clone()));
//! # while !socket.exists() && !running.is_finished() {
//! #     tokio::task::yield_now().await;
//! # }
//! let uri = format!("test+unix:///default?socket={}", socket.display());
//! let connect = libvirt_client::Connect::open(&uri).await?;
//! assert_eq!(connect.domain_by_name("test").await?.name(), "test");
//! running.abort();
//! # Ok(()) }
//! ```
//!
//! It is a double, not a hypervisor: no guest runs, and everything is gone with the process.

#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc)]

mod connection;
pub mod hypervisor;
mod outward;
mod peer;
pub mod proxy;
mod server;
mod tls;
mod xml;

pub use hypervisor::{
    Answer, Form, Guest, Happening, Hypervisor, Mechanism, Peer, PeerProcess, Refusal, Sasl, Scope, Service,
    StandIn,
};
pub use server::{Builder, Handle, Server};
pub use tls::{Clients, Tls, TlsError};

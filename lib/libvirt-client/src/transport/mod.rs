//! How bytes and descriptors travel: what both sides have in common, and what only a client does to get to its daemon.

mod host;
mod nowhere;
mod priority;
mod program;
mod signatures;
mod tls;

pub use libvirt_transport::{Privacy, Stream, Traits, Transport, Unix};
pub(crate) use nowhere::Nowhere;
pub use priority::Priority;
pub use program::Program;
pub use tls::{Tls, Verify};

//! All that is unsafe here: what the kernel is asked for that Rust cannot see through. Everything else forbids itself unsafe code.
//!
//! Each module has one reason for it, and says at each place why it is sound. None knows of messages, rings or devices: what they are given is
//! checked by who calls them.

pub(crate) mod mapping;
#[cfg(feature = "tokio")]
pub(crate) mod reactor;
pub(crate) mod tap;
#[cfg(feature = "io-uring")]
pub(crate) mod uring;

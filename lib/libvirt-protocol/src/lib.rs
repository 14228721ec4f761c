//! libvirt's remote procedure call protocol, as values: no I/O, no runtime, no unsafe.
//!
//! - [`xdr`] is the encoding, [`packet`] the framing.
//! - [`types`], [`flags`], [`enums`], [`remote`], [`qemu`], [`lxc`], [`admin`] are all structures, constants and procedures of the four programs.
//!   They are generated from the description of facts in `schema/`, which `cargo xtask codegen libvirt` reads out of libvirt's sources.
//! - [`procedure`] has what is known of each procedure: its number, the release that brought it, its stream.
//! - [`session`] has the client's side of a connection as a value.
//! - [`scram`] has the client's side of proving that one knows a password, and the hashes for that of both sides.
//! - [`event`] has everything a daemon sends without being asked.
//!
//! ```
//! use libvirt_protocol::{remote, xdr};
//! let args = remote::DomainLookupByNameArgs { name: "web".into() };
//! assert_eq!(xdr::encode(&args)?, b"\0\0\0\x03web\0");
//! # Ok::<(), xdr::LimitError>(())
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc)]

mod constants;
mod generated;
pub mod packet;
pub mod params;
pub mod procedure;
pub mod scram;
pub mod session;
pub mod xdr;

pub use constants::{NoFlags, Wide};
pub use generated::{admin, enums, event, flags, lxc, parameters, qemu, remote, types};

#[cfg(test)]
mod tests;

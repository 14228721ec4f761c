//! vhost-user: how a virtual machine's devices live in processes of their own.
//!
//! - [`front`] and [`back`] are the requests of the two directions, [`payload`] what they carry, [`wire`] how that looks on the wire. All of it
//!   comes from one table, `schema/protocol.toml`.
//! - [`framing`] and [`session`] are the protocol without a socket: bytes and descriptors in, bytes and descriptors out.
//! - [`frontend`] drives a device over a [`socket`], on [`memory`] that the back-end sees.
//! - [`backend`] serves a device, which is one small trait; [`devices`] has some.
//! - [`proxy`] stands between a front-end and a back-end, tells what they say, and makes it harder.
//! - [`clock`] tells the time, here and nowhere else.
//! - [`check`] asks a back-end of anybody's whether it does as it should.

pub mod backend;
pub mod check;
pub mod clock;
pub mod devices;
mod errors;
pub mod framing;
pub mod frontend;
mod generated;
pub mod memory;
mod polling;
pub mod proxy;
pub mod session;
pub mod socket;
mod sys;
pub mod wire;

pub use errors::with_causes;
pub use generated::features::ProtocolFeatures;
pub use generated::{back, front, payload};

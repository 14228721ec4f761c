//! QEMU Machine Protocol: session without I/O, async client, typed commands and events.
//!
//! ```text
//!   Client (clone) --calls--> driver future --Session--> socket
//!     ^   ^                       |  (the socket's only owner)
//!     |   '------ replies --------'
//!     '-- Subscription / Waiter <- events
//! ```
//!
//! - [`codec`] cuts the byte stream into messages.
//! - [`session`] is the protocol as a value: negotiation, ids, what may be in flight.
//! - [`Client`] and the future from [`client()`] join the session to any byte stream; [`open`] makes the usual ones. The caller runs
//!   the future; dropping a call, even half written, never harms the connection.
//! - [`aside`] waits for the host's file systems in threads of its own.
//! - [`descriptors`] passes file descriptors, [`schema`] tells what the connected program has, [`deadline`] how long calls may take.
//! - [`commands`] and [`events`] hold typed forms of the whole interface of QEMU 7.2 and 10.0 and their storage daemons;
//!   [`Client::execute`] reaches what is newer. [`wire`] is what they stand on.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, driver) = qmp::open::unix("/run/guest/qmp.sock".as_ref(), qmp::Options::default()).await?;
//! let work = async {
//!     client.ready().await?;
//!     client.call(&qmp::commands::QueryStatus {}).await.map_err(Box::<dyn std::error::Error>::from)
//! };
//! tokio::select! {
//!     status = work => println!("{}", status?.status),
//!     reason = driver => println!("connection lost: {reason}"),
//! }
//! # Ok(()) }
//! ```
//!
//! Not here: starting QEMU, reconnecting (crate `qemu`).

pub mod agent;
pub mod aside;
mod client;
pub mod codec;
pub mod commands;
#[cfg(test)]
mod conformance;
pub mod deadline;
pub mod descriptors;
pub mod events;
mod generated;
mod legible;
mod limit;
mod message;
mod mutex;
#[cfg(test)]
#[path = "../tests/support/observed.rs"]
mod observed;
pub mod open;
mod open_enum;
pub mod schema;
pub mod scripted;
pub mod session;
pub mod share;
mod transport;
pub mod wire;

pub use client::{CallError, Client, CloseReason, Options, client, client_unix, with_causes};
pub use events::{EventError, Filter, Subscription, Waiter};
pub use legible::Illegible;
pub use message::{ErrorClass, Event, Greeting, Malformed, Refusal, Timestamp, Triple, Version};
pub use session::Execution;
pub use wire::DecodeError;

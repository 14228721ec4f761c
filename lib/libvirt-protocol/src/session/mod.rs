//! Sessions as values: bytes, descriptors and time in; bytes, descriptors, what has arrived and the next deadline out.
//!
//! ```text
//!          space/filled                 next
//!   socket ───────────> Inbox ─packets─> ClientSession ──> replies, events, stream data
//!          <─────────── Outbox <────────     ^
//!       outgoing/sent                        └── call, abandon, stream_*
//! ```

mod client;
mod hole;
mod inbox;
mod incoming;
mod outbox;
#[cfg(test)]
mod pair;
mod serials;
mod server;
mod step;
#[cfg(test)]
mod tests;

pub use client::{Abandoned, ClientSession, Keepalive, Limits, Serial, StreamError};
pub use hole::HoleError;
pub use inbox::Inbox;
pub use incoming::{Failure, Incoming, SessionError};
pub use outbox::{Outbox, Transmit};
pub use serials::{SerialHasher, Serials};
pub use server::{CallId, Request, ServerSession};

/// The keepalive program (`virkeepaliveprotocol.x`): "keep" in ASCII.
pub(crate) mod keepalive {
    /// Its number.
    pub(crate) const PROGRAM: u32 = 0x6b65_6570;
    /// Its version.
    pub(crate) const VERSION: u32 = 1;
    /// Asks.
    pub(crate) const PING: i32 = 1;
    /// Answers.
    pub(crate) const PONG: i32 = 2;
}

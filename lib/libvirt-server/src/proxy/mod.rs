//! Proxies between a client and a daemon: one that records, one that does harm.
//!
//! ```text
//!   client ──bytes──> Packets ──packet──> Gate ──pieces──> Queue ──bytes──> daemon
//!          <──bytes── Queue <──pieces── Gate <──packet── Packets <──bytes──
//! ```
//!
//! A [`Gate`] decides what becomes of each packet, as a value without I/O: [`Recorder`] lets everything through in the form that this
//! library gives it, and keeps it; [`Faults`] damages what it was told to.

mod faults;
mod packet;
mod record;
mod relay;
mod replay;

pub use faults::{Fault, Faults};
pub use packet::{Packet, Packets};
pub use record::{Message, NoRecording, Recorder, Recording, Summary};
pub use relay::{Direction, Gate, Piece, relay};
pub use replay::{Mismatch, replay};

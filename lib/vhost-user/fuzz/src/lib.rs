//! What the fuzzer feeds: each target takes bytes, and panics when something that must hold does not. Messages are those of the protocol's table:
//! the code that makes them of bytes, and what both directions go through, is generated from it.

mod generated;
mod messages;
mod rings;
mod session;
mod steps;

pub use messages::{codec, front};
pub use rings::{device, driver};
pub use session::{Ran, back, session};
pub use steps::{FRONT, KICK, RAW, TURN, USER, WRITE};

/// A target.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by name.
pub const TARGETS: &[Target] =
    &[("codec", codec), ("back", back), ("front", front), ("device", device), ("driver", driver)];

/// Bytes of every file that comes with a message.
pub const FILE_BYTES: u64 = 1 << 16;

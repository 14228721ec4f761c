//! A security context of GSSAPI's, with Kerberos as its mechanism (RFC 2743, RFC 4121), through MIT's library, which is loaded when the first
//! context is made: nothing is linked, and no header is needed to build.
//!
//! ```text
//!   Context::new ──> step, until both know each other ──> limit, wrap, unwrap
//! ```
//!
//! It is a crate of its own so that `libvirt-client`, which uses it under its feature `gssapi`, has no unsafe code in it at all. It does not
//! know SASL: what the pieces mean that are wrapped here is said there.

#![warn(clippy::missing_errors_doc)]

mod error;
mod sys;

pub use error::Error;
pub use sys::Context;

/// What comes of a step ([`Context::step`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to say to the service; it may be nothing.
    pub token: Vec<u8>,
    /// How far the context is.
    pub stage: Stage,
}

/// How far a context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The service has something to say yet.
    Begun,
    /// Both sides know each other.
    Standing,
}

/// What becomes of bytes that travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nobody can change them.
    Integrity,
    /// Nobody else can read them either.
    Privacy,
}

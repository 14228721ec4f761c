//! A security context of GSSAPI's, with Kerberos as its mechanism (RFC 2743, RFC 4121), through MIT's library, which is loaded when the first
//! context is made: nothing is linked, and no header is needed to build.
//!
//! ```text
//!   Context::new ──> step, until both know each other ──> seal, open
//! ```
//!
//! It is a crate of its own so that `libvirt-client`, which uses it under its feature `gssapi`, has no unsafe code in it at all. It does not
//! know SASL: what the pieces mean that are wrapped here is said there.

mod sys;

pub use sys::Context;

/// What becomes of bytes that travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nobody can change them.
    Integrity,
    /// Nobody else can read them either.
    Privacy,
}

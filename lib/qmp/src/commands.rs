//! Typed commands: a type per command, its fields the arguments, its [`Command::Reply`] the answer; and all types of
//! arguments, answers and events.
//!
//! They are generated from what QEMU 7.2 and 10.0 and their storage daemons say of themselves, and hold all of it. A member
//! that an older server may lack is an [`Option`], so one set of types serves them all. Members, values, variants and events that
//! these types do not know are ignored or kept, never an error; commands that are missing are reached by
//! [`crate::Client::execute`], or as types of one's own that implement [`Command`] with [`crate::wire::Json`] as reply.
//!
//! ```
//! use qmp::commands::{BlockdevAdd, BlockdevOptions, BlockdevOptionsFile, BlockdevOptionsVariant};
//!
//! let file = BlockdevOptionsFile::new("/srv/a,b=c.img");
//! let disk = BlockdevOptions {
//!     node_name: Some("disk".to_owned()),
//!     read_only: Some(true),
//!     ..BlockdevOptions::new(BlockdevOptionsVariant::File(file))
//! };
//! let json = serde_json::to_string(&BlockdevAdd(disk)).unwrap();
//! assert_eq!(json, r#"{"node-name":"disk","read-only":true,"driver":"file","filename":"/srv/a,b=c.img"}"#);
//! ```

pub use crate::generated::*;

use crate::{
    session::Execution,
    wire::{Decode, Object, object},
};

/// A command of the protocol. Its members are its arguments.
pub trait Command: Object {
    /// What is known of it.
    const FACTS: &'static Facts;
    /// Out of band where the schema allows it: these commands are for a server whose main loop hangs.
    const EXECUTION: Execution = Execution::InBand;
    /// What the server answers.
    type Reply: Decode;
}

/// What the servers' own schemas say of a command or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Name on the wire.
    pub name: &'static str,
    /// The releases of QEMU that have it, among 7.2 and 10.0.
    pub system: &'static [&'static str],
    /// The releases of the storage daemon that have it, among the same.
    pub storage_daemon: &'static [&'static str],
    /// Whether it may run out of band.
    pub allow_oob: bool,
    /// Whether one of them calls it deprecated.
    pub deprecated: bool,
    /// Whether one of them reserves the right to change it.
    pub unstable: bool,
}

impl Facts {
    /// The facts of a command of ours that QEMU's own schema lacks: a downstream extension, or one newer than these types.
    #[must_use]
    pub const fn unlisted(name: &'static str) -> Self {
        Self { name, system: &[], storage_daemon: &[], allow_oob: false, deprecated: false, unstable: false }
    }
}

object! {
    /// The answer of commands that only succeed, and other objects without members.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct Done {}
}

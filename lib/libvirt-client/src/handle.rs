//! What the handles of all objects have in common.

use crate::Connect;
use libvirt_protocol::xdr::{self, Text, Wire};
use std::sync::Arc;

/// Whether something starts with its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autostart {
    /// It does.
    On,
    /// It does not.
    Off,
}

impl From<Autostart> for i32 {
    fn from(autostart: Autostart) -> Self {
        Self::from(autostart == Autostart::On)
    }
}

/// A text that may be missing.
pub(crate) fn text(text: Option<Text<'_>>) -> Option<String> {
    text.map(Into::into)
}

/// What named some objects, and the connection over which it came: what a handle holds on to.
///
/// Neighbours of a list share it, so that a list of thousands does not cost two allocations for each. A handle that is kept keeps the bytes that named
/// [`SHARED`] objects at most, some 3 kB.
pub(crate) struct Origin {
    pub(crate) connect: Connect,
    /// Encodings of what names them, one after the other.
    pub(crate) names: Vec<u8>,
}

/// How many handles of a list share one [`Origin`].
pub(crate) const SHARED: usize = 64;

impl Origin {
    pub(crate) fn of<'a>(connect: &Connect, wire: &impl Wire<'a>) -> Arc<Self> {
        let names = xdr::encode(wire).expect("what named an object came in a message, within its limits");
        Arc::new(Self { connect: connect.clone(), names })
    }
}

/// Declares a handle: a connection and what names the object on the wire.
macro_rules! handle {
    ($(#[$meta:meta])* $name:ident = $wire:ident) => {
        $(#[$meta])*
        #[derive(Clone)]
        pub struct $name {
            origin: std::sync::Arc<$crate::handle::Origin>,
            /// Where in its names this one begins.
            at: usize,
        }

        impl $name {
            pub(crate) fn new(connect: &$crate::Connect, wire: libvirt_protocol::types::$wire<'_>) -> Self {
                Self { origin: $crate::handle::Origin::of(connect, &wire), at: 0 }
            }

            /// A handle of each that a list names.
            pub(crate) fn list<'a, const MAX: u32>(
                connect: &$crate::Connect,
                list: &libvirt_protocol::xdr::List<'a, libvirt_protocol::types::$wire<'a>, MAX>,
            ) -> Vec<Self> {
                let bytes = list.encoded();
                let mut names = libvirt_protocol::xdr::Input::new(&bytes);
                let mut handles = Vec::with_capacity(list.len());
                while handles.len() < list.len() {
                    let begin = names.offset();
                    let mut starts = [0; $crate::handle::SHARED];
                    let count = starts.len().min(list.len() - handles.len());
                    for at in &mut starts[..count] {
                        *at = names.offset() - begin;
                        <libvirt_protocol::types::$wire<'_> as libvirt_protocol::xdr::Wire<'_>>::skip(&mut names)
                            .expect("the list was checked when it was taken from its message");
                    }
                    let names = bytes[begin..names.offset()].to_vec();
                    let origin = std::sync::Arc::new($crate::handle::Origin { connect: connect.clone(), names });
                    let shared = |&at: &usize| Self { origin: std::sync::Arc::clone(&origin), at };
                    handles.extend(starts[..count].iter().map(shared));
                }
                handles
            }

            /// What names it in calls of [`crate::raw`].
            #[must_use]
            pub fn wire(&self) -> libvirt_protocol::types::$wire<'_> {
                let mut name = libvirt_protocol::xdr::Input::new(&self.origin.names[self.at..]);
                libvirt_protocol::xdr::Wire::take(&mut name).expect("it was encoded or checked when the handle was made")
            }

            /// The connection it belongs to.
            #[must_use]
            pub fn connect(&self) -> &$crate::Connect {
                &self.origin.connect
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.wire().fmt(f)
            }
        }
    };
}
pub(crate) use handle;

/// Declares methods that are one call each: `name(arguments) -> what = program::Procedure(Args { fields }) => |result| value;`. The
/// handle is `this` in all expressions, under whatever name stands behind its type.
macro_rules! methods {
    ($handle:ident($this:ident) { $($(#[$meta:meta])* $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?
        = $module:ident::$procedure:ident($($args:expr)?) $(=> |$found:pat_param| $map:expr)?;)* }) => {
        impl $handle {
            $(
                $(#[$meta])*
                ///
                /// # Errors
                /// As every call.
                pub async fn $name(&self, $($arg: $type),*) -> Result<$crate::handle::methods!(@out $($out)?), $crate::Error> {
                    let $this = self;
                    let args = $crate::handle::methods!(@args $($args)?);
                    let reply = $this.connect().call::<libvirt_protocol::$module::$procedure>(&args).await?;
                    $crate::handle::methods!(@map $this reply $(|$found| $map)?)
                }
            )*
        }
    };
    (@out) => { () };
    (@out $out:ty) => { $out };
    (@args) => { () };
    (@args $args:expr) => { $args };
    (@map $this:ident $reply:ident) => {{ drop($reply); Ok(()) }};
    (@map $this:ident $reply:ident |$found:pat_param| $map:expr) => {{
        let $found = $reply.result()?;
        Ok($map)
    }};
}
pub(crate) use methods;

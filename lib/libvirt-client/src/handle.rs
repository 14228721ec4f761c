//! What the handles of all objects have in common.

use libvirt_protocol::xdr::Text;

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

/// Declares a handle: a connection and what names the object on the wire. `text` fields are borrowed for a call, `copy` fields
/// copied, `whole` ones cloned.
macro_rules! handle {
    ($(#[$meta:meta])* $name:ident = $wire:ident { $($field:ident: $how:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone)]
        pub struct $name {
            connect: $crate::Connect,
            wire: std::sync::Arc<libvirt_protocol::types::$wire<'static>>,
        }

        impl $name {
            pub(crate) fn new(connect: &$crate::Connect, wire: libvirt_protocol::types::$wire<'_>) -> Self {
                let wire = libvirt_protocol::xdr::IntoOwned::into_owned(wire);
                Self { connect: connect.clone(), wire: std::sync::Arc::new(wire) }
            }

            /// What names it in calls of [`crate::raw`].
            #[must_use]
            pub fn wire(&self) -> libvirt_protocol::types::$wire<'_> {
                libvirt_protocol::types::$wire {
                    $($field: $crate::handle::handle!(@$how self.wire.$field),)*
                }
            }

            /// The connection it belongs to.
            #[must_use]
            pub fn connect(&self) -> &$crate::Connect {
                &self.connect
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.wire.fmt(f)
            }
        }
    };
    (@text $value:expr) => { $value.borrowed() };
    (@copy $value:expr) => { $value };
    (@whole $value:expr) => { $value.clone() };
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

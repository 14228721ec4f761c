//! Enumerations of the interface: a value that a newer server added is kept and shown, never a decoding failure.

/// Declares an enumeration of strings with an `Unknown` arm, its text form and its serde forms.
macro_rules! open_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$arm_meta:meta])* $arm:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$arm_meta])* $arm,)+
            /// A value these bindings do not know.
            Unknown(String),
        }

        impl $name {
            /// The value as it stands on the wire.
            #[must_use]
            #[inline]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$arm => $text,)+
                    Self::Unknown(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            #[inline]
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$arm,)+
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            #[inline]
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::wire::Encode for $name {
            #[inline]
            fn encode(&self) -> serde_json::Value {
                serde_json::Value::from(self.as_str())
            }
        }

        impl $crate::wire::Decode for $name {
            #[inline]
            fn decode(value: serde_json::Value) -> Result<Self, $crate::wire::DecodeError> {
                match value {
                    serde_json::Value::String(text) => Ok(Self::from(text.as_str())),
                    other => Err($crate::wire::DecodeError::expected("a string", &other)),
                }
            }
        }

        $crate::wire::serde_forms!($name);
    };
}

pub(crate) use open_enum;

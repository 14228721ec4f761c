//! What the generated sets of flags and enumerations are made of.

use crate::xdr::{DecodeError, Input, IntoOwned, LimitError, Wire};

/// An enumeration: known constants as variants, the rest as `Unknown`. It travels as a word with a sign.
macro_rules! enumeration {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A value that this library does not know.
            Unknown(i32),
        }

        impl From<i32> for $name {
            fn from(value: i32) -> Self {
                match value {
                    $($value => Self::$variant,)*
                    unknown => Self::Unknown(unknown),
                }
            }
        }

        impl From<$name> for i32 {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => $value,)*
                    $name::Unknown(unknown) => unknown,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from(0)
            }
        }

        $crate::xdr::owned!($name);

        impl $crate::xdr::Wire<'_> for $name {
            const MIN: usize = 4;

            #[inline]
            fn measure(&self) -> Result<usize, $crate::xdr::LimitError> {
                Ok(4)
            }

            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                i32::from(*self).put(out);
            }

            #[inline]
            fn take(input: &mut $crate::xdr::Input<'_>) -> Result<Self, $crate::xdr::DecodeError> {
                i32::take(input).map(Self::from)
            }

            #[cfg(test)]
            fn sample(sampler: &mut $crate::xdr::Sampler) -> Self {
                Self::from(i32::sample(sampler) % 16)
            }
        }
    };
}
pub(crate) use enumeration;

/// A set of flags. Bits without a name are kept.
macro_rules! flags {
    ($(#[$($meta:tt)*])* $name:ident { $($(#[$($doc:tt)*])* $flag:ident = $value:literal;)* }) => {
        bitflags::bitflags! {
            $(#[$($meta)*])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name: u32 {
                $($(#[$($doc)*])* const $flag = $value;)*
                const _ = !0;
            }
        }

        $crate::xdr::owned!($name);

        impl $crate::xdr::Wire<'_> for $name {
            const MIN: usize = 4;

            #[inline]
            fn measure(&self) -> Result<usize, $crate::xdr::LimitError> {
                Ok(4)
            }

            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                self.bits().put(out);
            }

            #[inline]
            fn take(input: &mut $crate::xdr::Input<'_>) -> Result<Self, $crate::xdr::DecodeError> {
                u32::take(input).map(Self::from_bits_retain)
            }

            #[cfg(test)]
            fn sample(sampler: &mut $crate::xdr::Sampler) -> Self {
                Self::from_bits_retain(u32::sample(sampler))
            }
        }
    };
}
pub(crate) use flags;

flags! {
    /// Flags of a call that knows none yet. Pass the default; a bit that a later release names can be set by its number.
    NoFlags {}
}

/// Flags that travel in 64 bits, as some old calls have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wide<F> {
    /// The flags.
    pub low: F,
    /// The upper half of the word; no flag lies there.
    pub high: u32,
}

impl<F> From<F> for Wide<F> {
    fn from(low: F) -> Self {
        Self { low, high: 0 }
    }
}

impl<F: 'static> IntoOwned for Wide<F> {
    type Owned = Self;

    fn into_owned(self) -> Self {
        self
    }
}

impl<'a, F: Wire<'a>> Wire<'a> for Wide<F> {
    const MIN: usize = 8;

    fn measure(&self) -> Result<usize, LimitError> {
        Ok(8)
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.high.put(out);
        self.low.put(out);
    }

    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let high = u32::take(input)?;
        Ok(Self { low: F::take(input)?, high })
    }

    #[cfg(test)]
    fn sample(sampler: &mut crate::xdr::Sampler) -> Self {
        Self { low: F::sample(sampler), high: 0 }
    }
}

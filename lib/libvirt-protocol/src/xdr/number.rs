//! Numbers. What is shorter than a word travels as a word.

use super::{DecodeError, Input, LimitError, Wire};

macro_rules! number {
    ($($type:ty as $wire:ty;)*) => {$(
        impl Wire<'_> for $type {
            const MIN: usize = size_of::<$wire>();

            #[inline]
            fn measure(&self) -> Result<usize, LimitError> {
                Ok(size_of::<$wire>())
            }

            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&<$wire>::from(*self).to_be_bytes());
            }

            #[inline]
            #[expect(clippy::allow_attributes, reason = "one macro for types that lose bits and types that do not")]
            fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                // C keeps the low bytes of a word that holds a shorter type; so do we.
                #[allow(clippy::cast_possible_truncation, trivial_numeric_casts)]
                input.array().map(|bytes| <$wire>::from_be_bytes(bytes) as $type)
            }

            #[cfg(test)]
            #[expect(clippy::allow_attributes, reason = "one macro for types that lose bits and types that do not")]
            fn sample(sampler: &mut super::Sampler) -> Self {
                #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_possible_wrap, trivial_numeric_casts)]
                let value = sampler.number() as $type;
                value
            }
        }
    )*};
}

number! {
    i32 as i32;
    u32 as u32;
    i64 as i64;
    u64 as u64;
    f64 as f64;
    u8 as u32;
    u16 as u32;
}

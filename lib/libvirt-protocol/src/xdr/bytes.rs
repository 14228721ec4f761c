//! Byte strings: opaque data, UUIDs, and arrays of C's char, which spend a word on every byte.

use super::{DecodeError, Flaw, Input, IntoOwned, LimitError, Wire, padded, put_length, put_padded, within};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Opaque data of at most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes<'a, const MAX: u32>(pub Cow<'a, [u8]>);

impl<const MAX: u32> fmt::Debug for Bytes<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Contents may be secret values or 4 MiB of guest memory.
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'a, const MAX: u32> From<&'a [u8]> for Bytes<'a, MAX> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }
}

impl<const MAX: u32> From<Vec<u8>> for Bytes<'_, MAX> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Cow::Owned(bytes))
    }
}

impl<const MAX: u32> IntoOwned for Bytes<'_, MAX> {
    type Owned = Bytes<'static, MAX>;

    fn into_owned(self) -> Self::Owned {
        Bytes(Cow::Owned(self.0.into_owned()))
    }
}

impl<'a, const MAX: u32> Wire<'a> for Bytes<'a, MAX> {
    const MIN: usize = 4;

    fn measure(&self) -> Result<usize, LimitError> {
        within(self.0.len(), MAX)?;
        Ok(4 + padded(self.0.len()))
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        put_padded(&self.0, out);
    }

    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let length = input.length(MAX)?;
        Ok(Self(Cow::Borrowed(input.padded(length)?)))
    }

    #[cfg(test)]
    fn sample(sampler: &mut super::Sampler) -> Self {
        let length = sampler.length(MAX, 9);
        sampler.noise(length).into()
    }
}

/// An array of at most `MAX` of C's char, each in a word of its own, with its sign.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Words<const MAX: u32>(pub Vec<u8>);

impl<const MAX: u32> fmt::Debug for Words<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SASL exchanges travel in these.
        write!(f, "{} chars", self.0.len())
    }
}

impl<const MAX: u32> Words<MAX> {
    /// The text before the first NUL, as C reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        before_nul(&self.0)
    }
}

impl<const MAX: u32> From<&[u8]> for Words<MAX> {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<const MAX: u32> IntoOwned for Words<MAX> {
    type Owned = Self;

    fn into_owned(self) -> Self {
        self
    }
}

impl<const MAX: u32> Wire<'_> for Words<MAX> {
    const MIN: usize = 4;

    fn measure(&self) -> Result<usize, LimitError> {
        within(self.0.len(), MAX)?;
        Ok(4 + 4 * self.0.len())
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        put_words(&self.0, out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = input.length(MAX)?;
        take_words(input, length).map(Self)
    }

    #[cfg(test)]
    fn sample(sampler: &mut super::Sampler) -> Self {
        let length = sampler.length(MAX, 9);
        Self(sampler.noise(length))
    }
}

/// Exactly `N` of C's char, each in a word of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FixedWords<const N: usize>(pub [u8; N]);

impl<const N: usize> FixedWords<N> {
    /// The text before the first NUL, as C reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        before_nul(&self.0)
    }
}

impl<const N: usize> From<&str> for FixedWords<N> {
    /// What does not fit, with a NUL behind it, is cut off.
    fn from(text: &str) -> Self {
        let mut words = [0; N];
        let fitting = text.len().min(N - 1);
        words[..fitting].copy_from_slice(&text.as_bytes()[..fitting]);
        Self(words)
    }
}

impl<const N: usize> Default for FixedWords<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Debug for FixedWords<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

impl<const N: usize> IntoOwned for FixedWords<N> {
    type Owned = Self;

    fn into_owned(self) -> Self {
        self
    }
}

impl<const N: usize> Wire<'_> for FixedWords<N> {
    const MIN: usize = 4 * N;

    fn measure(&self) -> Result<usize, LimitError> {
        Ok(4 * N)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_words(&self.0, out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let mut words = [0; N];
        words.copy_from_slice(&take_words(input, N)?);
        Ok(Self(words))
    }

    #[cfg(test)]
    fn sample(sampler: &mut super::Sampler) -> Self {
        Self(std::array::from_fn(|_| sampler.number().to_le_bytes()[0]))
    }
}

fn before_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn put_words(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        // C's char has a sign where libvirt runs most, and xdr_char keeps it.
        out.extend_from_slice(&i32::from(byte.cast_signed()).to_be_bytes());
    }
}

fn take_words(input: &mut Input<'_>, count: usize) -> Result<Vec<u8>, DecodeError> {
    let Some(words) = input.rest.get(..4 * count) else {
        return Err(input.error(Flaw::Truncated { wanted: 4 * count, left: input.rest.len() }));
    };
    input.rest = &input.rest[4 * count..];
    Ok(words.iter().skip(3).step_by(4).copied().collect())
}

/// A UUID: 16 bytes as they are.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Wire<'_> for Uuid {
    const MIN: usize = 16;

    #[inline]
    fn measure(&self) -> Result<usize, LimitError> {
        Ok(16)
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    #[inline]
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        input.array().map(Self)
    }

    #[cfg(test)]
    fn sample(sampler: &mut super::Sampler) -> Self {
        Self(std::array::from_fn(|_| sampler.number().to_le_bytes()[0]))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a UUID has 32 hexadecimal digits, with or without hyphens between them")]
pub struct NoUuid;

impl FromStr for Uuid {
    type Err = NoUuid;

    /// Hyphens and blanks may stand anywhere, as in libvirt's own reader (`virUUIDParse`).
    fn from_str(text: &str) -> Result<Self, NoUuid> {
        let mut digits = text.chars().filter(|c| *c != '-' && !c.is_whitespace());
        let mut uuid = [0; 16];
        for byte in &mut uuid {
            let mut digit = || digits.next().and_then(|c| c.to_digit(16)).ok_or(NoUuid);
            let value = digit()? * 16 + digit()?;
            *byte = u8::try_from(value).map_err(|_| NoUuid)?;
        }
        digits.next().map_or(Ok(Self(uuid)), |_| Err(NoUuid))
    }
}

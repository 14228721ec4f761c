//! Texts: UTF-8 by convention, bytes by the protocol.

use super::{
    DecodeError, Input, IntoOwned, LimitError, TEXT_LIMIT, Wire, padded, put_length, put_padded, within,
};
use std::borrow::Cow;
use std::fmt;

/// A text of at most [`TEXT_LIMIT`] bytes. It may borrow from the message; it may hold any bytes.
///
/// ```
/// use libvirt_protocol::xdr::Text;
/// let name = Text::from("web");
/// assert_eq!(name, "web");
/// assert_eq!(name.to_string(), "web");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    ///
    /// # Errors
    /// As [`std::str::from_utf8`].
    pub fn to_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.0)
    }

    /// The text, with U+FFFD in place of what is not UTF-8.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The same text, borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }
}

impl<'a> From<&'a String> for Text<'a> {
    fn from(text: &'a String) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Text<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Cow::Owned(bytes))
    }
}

impl From<Text<'_>> for String {
    /// What is not UTF-8 becomes U+FFFD.
    fn from(text: Text<'_>) -> Self {
        match text.0 {
            Cow::Borrowed(bytes) => Self::from_utf8_lossy(bytes).into_owned(),
            Cow::Owned(bytes) => Self::from_utf8(bytes)
                .unwrap_or_else(|error| Self::from_utf8_lossy(error.as_bytes()).into_owned()),
        }
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_str_lossy().fmt(f)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str_lossy(), f)
    }
}

impl IntoOwned for Text<'_> {
    type Owned = Text<'static>;

    fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl<'a> Wire<'a> for Text<'a> {
    const MIN: usize = 4;

    #[inline]
    fn measure(&self) -> Result<usize, LimitError> {
        within(self.0.len(), TEXT_LIMIT)?;
        Ok(4 + padded(self.0.len()))
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        put_padded(&self.0, out);
    }

    #[inline]
    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let length = input.length(TEXT_LIMIT)?;
        Ok(Self(Cow::Borrowed(input.padded(length)?)))
    }

    #[inline]
    fn skip(input: &mut Input<'a>) -> Result<(), DecodeError> {
        let length = input.length(TEXT_LIMIT)?;
        input.padded(length).map(drop)
    }

    #[cfg(test)]
    fn sample(sampler: &mut super::Sampler) -> Self {
        let length = sampler.length(TEXT_LIMIT, 8);
        sampler.noise(length).into()
    }
}

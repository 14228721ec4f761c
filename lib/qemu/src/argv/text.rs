//! Options that are lists of `key=value`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Doubles commas, for options that are lists of `key=value`.
#[must_use]
pub fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// A list of `key=value` of any bytes.
#[derive(Clone, Debug)]
pub(super) struct Pairs(Vec<u8>);

impl Pairs {
    /// Begins with a word.
    pub(super) fn new(first: &str) -> Self {
        Self(first.into())
    }

    /// Appends a pair; the value may hold anything but NUL.
    #[must_use]
    pub(super) fn with(self, key: &str, value: impl AsRef<OsStr>) -> Self {
        let Self(mut bytes) = self;
        if !bytes.is_empty() {
            bytes.push(b',');
        }
        bytes.extend(key.bytes());
        bytes.push(b'=');
        escape_bytes(value.as_ref().as_bytes(), &mut bytes);
        Self(bytes)
    }

    /// Appends a pair if there is a value.
    #[must_use]
    pub(super) fn maybe(self, key: &str, value: Option<impl AsRef<OsStr>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

impl From<Pairs> for OsString {
    fn from(pairs: Pairs) -> Self {
        Self::from_vec(pairs.0)
    }
}

fn escape_bytes(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        out.push(*byte);
        if *byte == b',' {
            out.push(b',');
        }
    }
}

//! XDR (RFC 4506) as libvirt uses it: every value is a multiple of four bytes, and every length has a limit.
//!
//! A type implements [`Wire`]. Encoding is two passes: [`Wire::measure`] checks limits and gives the exact size, then [`Wire::put`]
//! cannot fail. Decoding borrows from the message: texts and byte strings point into it, and a [`List`] stays encoded until it is
//! iterated, so that a reply of 16,384 domains costs no allocation.
//!
//! ```text
//!   u32        | text           | list<limit>      | optional
//!   4 bytes BE | length, bytes, | count, elements  | 0, or 1 and the value
//!              | zeros to 4     |                  |
//! ```
//!
//! Two things differ from what one expects of XDR, and both come from C: a `char` takes a whole word ([`Words`]), and a boolean that is
//! no optional's mark is an `int`.

mod bytes;
mod list;
mod number;
#[cfg(test)]
mod sample;
mod text;

pub use bytes::{Bytes, FixedWords, Uuid, Words};
pub use list::{List, ListIter};
#[cfg(test)]
pub use sample::Sampler;
pub use text::Text;

/// Limit of every text (`REMOTE_STRING_MAX` in `remote_protocol.x`), in bytes.
pub const TEXT_LIMIT: u32 = 4_194_304;

/// A value that travels. `'a` is the life of the message that it was decoded from.
pub trait Wire<'a>: Sized {
    /// Size of the shortest encoding, in bytes. Never 0 for what can stand in a list.
    const MIN: usize;

    /// Exact size of the encoding in bytes.
    ///
    /// # Errors
    /// When a length exceeds its limit: the other side would drop the connection.
    fn measure(&self) -> Result<usize, LimitError>;

    /// Appends the encoding. Call it after [`Wire::measure`] has succeeded.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes the value from the front of the input.
    ///
    /// # Errors
    /// When the input ends, exceeds a limit, or is no encoding of this type.
    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError>;

    /// Moves over an encoding without building the value; accepts exactly what [`Wire::take`] accepts.
    ///
    /// # Errors
    /// As [`Wire::take`].
    fn skip(input: &mut Input<'a>) -> Result<(), DecodeError> {
        Self::take(input).map(drop)
    }

    /// A value for tests.
    #[cfg(test)]
    fn sample(sampler: &mut Sampler) -> Self;
}

/// What can be held beyond the life of the message that it was decoded from.
pub trait IntoOwned {
    /// The same type, borrowing nothing.
    type Owned: 'static;

    /// The same value, held by itself.
    fn into_owned(self) -> Self::Owned;
}

/// Values that never borrow are their own owned form.
macro_rules! owned {
    ($($type:ty),*) => {$(
        impl $crate::xdr::IntoOwned for $type {
            type Owned = Self;

            fn into_owned(self) -> Self {
                self
            }
        }
    )*};
}
pub(crate) use owned;
owned!((), i32, u32, i64, u64, f64, u8, u16, Uuid);

impl<T: IntoOwned> IntoOwned for Option<T> {
    type Owned = Option<T::Owned>;

    fn into_owned(self) -> Self::Owned {
        self.map(T::into_owned)
    }
}

/// Encodes a value into a buffer of exactly its size.
///
/// # Errors
/// When a length exceeds its limit.
pub fn encode<'a, T: Wire<'a>>(value: &T) -> Result<Vec<u8>, LimitError> {
    let mut out = Vec::with_capacity(value.measure()?);
    value.put(&mut out);
    Ok(out)
}

/// Decodes a value that fills the whole input.
///
/// # Errors
/// As [`Wire::take`], and when something follows the value.
pub fn decode<'a, T: Wire<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut input = Input::new(bytes);
    let value = T::take(&mut input)?;
    input.finish()?;
    Ok(value)
}

/// Decodes a value and encodes it again, lists element by element: the same bytes, if there is one encoding only.
///
/// # Errors
/// As [`decode`].
pub fn recode<'a, T>(bytes: &'a [u8]) -> Result<Vec<u8>, DecodeError>
where
    T: Wire<'a> + IntoOwned<Owned: Wire<'static>>,
{
    let value = decode::<T>(bytes)?.into_owned();
    Ok(encode(&value).expect("what was decoded is within its limits"))
}

/// What is left to decode.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, whole: bytes.len() }
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes lie behind.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.whole - self.rest.len()
    }

    /// Demands that nothing is left.
    ///
    /// # Errors
    /// With the number of bytes that are.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Flaw::Trailing { bytes: self.rest.len() })) }
    }

    fn error(&self, flaw: Flaw) -> DecodeError {
        DecodeError { offset: self.offset(), flaw }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((found, rest)) => {
                self.rest = rest;
                Ok(*found)
            }
            None => Err(self.error(Flaw::Truncated { wanted: N, left: self.rest.len() })),
        }
    }

    #[inline]
    fn word(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// `length` bytes and their padding; the padding's content is not looked at, as in C.
    #[inline]
    fn padded(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let wanted = padded(length);
        if wanted > self.rest.len() {
            return Err(self.error(Flaw::Truncated { wanted, left: self.rest.len() }));
        }
        let (found, rest) = self.rest.split_at(wanted);
        self.rest = rest;
        Ok(&found[..length])
    }

    /// A length word, checked against its limit.
    #[inline]
    fn length(&mut self, limit: u32) -> Result<usize, DecodeError> {
        let before = self.offset();
        let length = self.word()?;
        if length > limit {
            return Err(DecodeError { offset: before, flaw: Flaw::TooLong { length, limit } });
        }
        Ok(length as usize)
    }
}

/// `length` rounded up to a multiple of four.
#[inline]
const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[inline]
fn put_padded(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    out.extend_from_slice(&[0; 3][..padded(bytes.len()) - bytes.len()]);
}

/// A length as a word. Callers have checked it against a limit, which is a word.
#[inline]
fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

#[inline]
fn within(length: usize, limit: u32) -> Result<(), LimitError> {
    if length > limit as usize { Err(LimitError { length, limit, of: Limited::Value }) } else { Ok(()) }
}

/// What is too long to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{of}, where libvirt's protocol allows {limit}", of = .of.counted(*.length))]
pub struct LimitError {
    /// How long it is.
    pub length: usize,
    /// How long it may be.
    pub limit: u32,
    /// What it is.
    pub of: Limited,
}

/// What has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limited {
    /// A list by its elements, a text or data by its bytes.
    Value,
    /// A message as a whole, in bytes.
    Message,
    /// The file descriptors that travel with one message.
    Descriptors,
}

impl Limited {
    fn counted(self, length: usize) -> String {
        match self {
            Self::Value => format!("{length} elements or bytes"),
            Self::Message => format!("a message of {length} bytes"),
            Self::Descriptors => format!("{length} file descriptors with one message"),
        }
    }
}

/// Input that is no encoding of what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {flaw}")]
pub struct DecodeError {
    /// Where, from the start of the input.
    pub offset: usize,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// What can be wrong with an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The input ends inside the value.
    #[error("{wanted} bytes expected, {left} left")]
    Truncated {
        /// How many bytes the value needs.
        wanted: usize,
        /// How many there are.
        left: usize,
    },
    /// A length above its limit.
    #[error("length {length} where {limit} is the limit")]
    TooLong {
        /// What the length word says.
        length: u32,
        /// The limit.
        limit: u32,
    },
    /// The mark of an optional value is neither 0 nor 1.
    #[error("{0} in place of 0 or 1")]
    NoMark(u32),
    /// A typed parameter of a type that does not exist.
    #[error("no typed parameter has type {0}")]
    ParameterType(i32),
    /// Something follows the value.
    #[error("{bytes} bytes after the end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    const MIN: usize = 4;

    fn measure(&self) -> Result<usize, LimitError> {
        self.as_ref().map_or(Ok(4), |value| Ok(4 + value.measure()?))
    }

    fn put(&self, out: &mut Vec<u8>) {
        u32::from(self.is_some()).put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let before = input.offset();
        match input.word()? {
            0 => Ok(None),
            1 => T::take(input).map(Some),
            mark => Err(DecodeError { offset: before, flaw: Flaw::NoMark(mark) }),
        }
    }

    fn skip(input: &mut Input<'a>) -> Result<(), DecodeError> {
        let before = input.offset();
        match input.word()? {
            0 => Ok(()),
            1 => T::skip(input),
            mark => Err(DecodeError { offset: before, flaw: Flaw::NoMark(mark) }),
        }
    }

    #[cfg(test)]
    fn sample(sampler: &mut Sampler) -> Self {
        (sampler.choice(2) == 1).then(|| T::sample(sampler))
    }
}

/// The argument of a call that takes none.
impl Wire<'_> for () {
    const MIN: usize = 0;

    fn measure(&self) -> Result<usize, LimitError> {
        Ok(0)
    }

    fn put(&self, _out: &mut Vec<u8>) {}

    fn take(_input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok(())
    }

    #[cfg(test)]
    fn sample(_sampler: &mut Sampler) -> Self {}
}

/// A structure: its fields one after the other. The macro writes out the straight-line code.
macro_rules! structure {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Default)]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }
        $crate::xdr::owned!($name);
        $crate::xdr::structure!(@impl 'a $name $name { $($field: $type,)* });
    };
    ($(#[$meta:meta])* $name:ident<'a> { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Default)]
        pub struct $name<'a> { $($(#[$doc])* pub $field: $type,)* }

        impl $crate::xdr::IntoOwned for $name<'_> {
            type Owned = $name<'static>;

            fn into_owned(self) -> $name<'static> {
                $name { $($field: $crate::xdr::IntoOwned::into_owned(self.$field),)* }
            }
        }

        $crate::xdr::structure!(@impl 'a $name ($name<'a>) { $($field: $type,)* });
    };
    (@impl $life:lifetime $plain:ident $name:tt { $($field:ident: $type:ty,)* }) => {
        #[allow(unused_parens)]
        impl<$life> $crate::xdr::Wire<$life> for $name {
            const MIN: usize = 0 $(+ <$type as $crate::xdr::Wire<$life>>::MIN)*;

            fn measure(&self) -> Result<usize, $crate::xdr::LimitError> {
                Ok(0 $(+ $crate::xdr::Wire::measure(&self.$field)?)*)
            }

            fn put(&self, out: &mut Vec<u8>) {
                $($crate::xdr::Wire::put(&self.$field, out);)*
            }

            fn take(input: &mut $crate::xdr::Input<$life>) -> Result<Self, $crate::xdr::DecodeError> {
                $(let $field = $crate::xdr::Wire::take(input)?;)*
                Ok($plain { $($field,)* })
            }

            fn skip(input: &mut $crate::xdr::Input<$life>) -> Result<(), $crate::xdr::DecodeError> {
                $(<$type as $crate::xdr::Wire<$life>>::skip(input)?;)*
                Ok(())
            }

            #[cfg(test)]
            fn sample(sampler: &mut $crate::xdr::Sampler) -> Self {
                $plain { $($field: $crate::xdr::Wire::sample(sampler),)* }
            }
        }
    };
}
pub(crate) use structure;

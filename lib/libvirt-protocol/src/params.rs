//! Typed parameters: named values of seven types, the protocol's way to carry what later releases add.

use crate::xdr::{DecodeError, Flaw, Input, IntoOwned, LimitError, Text, Wire};
use std::fmt;

/// A named value (`remote_typed_param` in `remote_protocol.x`).
///
/// ```
/// use libvirt_protocol::params::TypedParam;
/// let weight = TypedParam::new("weight", 500_u32);
/// assert_eq!(weight.to_string(), "weight=500");
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TypedParam<'a> {
    /// Its name.
    pub field: Text<'a>,
    /// Its value.
    pub value: TypedValue<'a>,
}

impl<'a> TypedParam<'a> {
    /// A parameter.
    pub fn new(field: impl Into<Text<'a>>, value: impl Into<TypedValue<'a>>) -> Self {
        Self { field: field.into(), value: value.into() }
    }
}

impl fmt::Display for TypedParam<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.field, self.value)
    }
}

/// A value of a typed parameter; the numbers of the types are those of `virTypedParameterType`.
#[derive(Clone, Debug, PartialEq)]
pub enum TypedValue<'a> {
    /// Type 1.
    Int(i32),
    /// Type 2.
    UInt(u32),
    /// Type 3.
    LLong(i64),
    /// Type 4.
    ULLong(u64),
    /// Type 5.
    Double(f64),
    /// Type 6; a C int, of which 0 is false.
    Boolean(i32),
    /// Type 7.
    String(Text<'a>),
}

impl Default for TypedValue<'_> {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl TypedValue<'_> {
    fn tag(&self) -> i32 {
        match self {
            Self::Int(_) => 1,
            Self::UInt(_) => 2,
            Self::LLong(_) => 3,
            Self::ULLong(_) => 4,
            Self::Double(_) => 5,
            Self::Boolean(_) => 6,
            Self::String(_) => 7,
        }
    }

    /// The number, of any of the four integer types and of a boolean, when it fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(n) | Self::Boolean(n) => Some(i64::from(*n)),
            Self::UInt(n) => Some(i64::from(*n)),
            Self::LLong(n) => Some(*n),
            Self::ULLong(n) => i64::try_from(*n).ok(),
            Self::Double(_) | Self::String(_) => None,
        }
    }

    /// As [`TypedValue::as_i64`], for what cannot be negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::ULLong(n) => Some(*n),
            other => other.as_i64().and_then(|n| u64::try_from(n).ok()),
        }
    }

    /// The boolean; also a number of type int, which old daemons send in its place.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(n) | Self::Int(n) => Some(*n != 0),
            _ => None,
        }
    }

    /// The double.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Double(n) => Some(*n),
            _ => None,
        }
    }

    /// The text.
    #[must_use]
    pub fn as_text(&self) -> Option<&Text<'_>> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl IntoOwned for TypedValue<'_> {
    type Owned = TypedValue<'static>;

    fn into_owned(self) -> TypedValue<'static> {
        match self {
            Self::Int(n) => TypedValue::Int(n),
            Self::UInt(n) => TypedValue::UInt(n),
            Self::LLong(n) => TypedValue::LLong(n),
            Self::ULLong(n) => TypedValue::ULLong(n),
            Self::Double(n) => TypedValue::Double(n),
            Self::Boolean(n) => TypedValue::Boolean(n),
            Self::String(text) => TypedValue::String(text.into_owned()),
        }
    }
}

impl IntoOwned for TypedParam<'_> {
    type Owned = TypedParam<'static>;

    fn into_owned(self) -> TypedParam<'static> {
        TypedParam { field: self.field.into_owned(), value: self.value.into_owned() }
    }
}

impl fmt::Display for TypedValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::UInt(n) => n.fmt(f),
            Self::LLong(n) => n.fmt(f),
            Self::ULLong(n) => n.fmt(f),
            Self::Double(n) => n.fmt(f),
            Self::Boolean(n) => (*n != 0).fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident;)*) => {$(
        impl From<$type> for TypedValue<'_> {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
from! {
    i32 => Int;
    u32 => UInt;
    i64 => LLong;
    u64 => ULLong;
    f64 => Double;
    bool => Boolean;
    String => String;
}

impl<'a> From<&'a str> for TypedValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text.into())
    }
}

impl<'a> Wire<'a> for TypedValue<'a> {
    const MIN: usize = 8;

    fn measure(&self) -> Result<usize, LimitError> {
        Ok(4 + match self {
            Self::Int(_) | Self::UInt(_) | Self::Boolean(_) => 4,
            Self::LLong(_) | Self::ULLong(_) | Self::Double(_) => 8,
            Self::String(text) => text.measure()?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.tag().put(out);
        match self {
            Self::Int(n) | Self::Boolean(n) => n.put(out),
            Self::UInt(n) => n.put(out),
            Self::LLong(n) => n.put(out),
            Self::ULLong(n) => n.put(out),
            Self::Double(n) => n.put(out),
            Self::String(text) => text.put(out),
        }
    }

    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let offset = input.offset();
        Ok(match i32::take(input)? {
            1 => Self::Int(Wire::take(input)?),
            2 => Self::UInt(Wire::take(input)?),
            3 => Self::LLong(Wire::take(input)?),
            4 => Self::ULLong(Wire::take(input)?),
            5 => Self::Double(Wire::take(input)?),
            6 => Self::Boolean(Wire::take(input)?),
            7 => Self::String(Wire::take(input)?),
            tag => return Err(DecodeError { offset, flaw: Flaw::ParameterType(tag) }),
        })
    }

    #[cfg(test)]
    fn sample(sampler: &mut crate::xdr::Sampler) -> Self {
        match sampler.choice(7) {
            0 => Self::Int(Wire::sample(sampler)),
            1 => Self::UInt(Wire::sample(sampler)),
            2 => Self::LLong(Wire::sample(sampler)),
            3 => Self::ULLong(Wire::sample(sampler)),
            4 => Self::Double(Wire::sample(sampler)),
            5 => Self::Boolean(Wire::sample(sampler)),
            _ => Self::String(Wire::sample(sampler)),
        }
    }
}

impl<'a> Wire<'a> for TypedParam<'a> {
    const MIN: usize = 4 + TypedValue::MIN;

    fn measure(&self) -> Result<usize, LimitError> {
        Ok(self.field.measure()? + self.value.measure()?)
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.field.put(out);
        self.value.put(out);
    }

    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        Ok(Self { field: Wire::take(input)?, value: Wire::take(input)? })
    }

    #[cfg(test)]
    fn sample(sampler: &mut crate::xdr::Sampler) -> Self {
        Self { field: Wire::sample(sampler), value: Wire::sample(sampler) }
    }
}

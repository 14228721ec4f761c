//! Between typed values and JSON: the small part by hand on which the generated types stand.
//!
//! Types are decoded from parsed JSON by two traits without type parameters, so that their code exists once and not once for each
//! serde format: that keeps eight hundred types cheap to compile. Every type also implements serde's traits on top.
//!
//! What a newer server adds is never an error: unknown members are left aside, unknown values of enumerations and unknown variants
//! are kept.

use serde_json::{Map, Value};
use thiserror::Error;

/// A typed value that has a JSON form.
pub trait Encode {
    /// The JSON form.
    fn encode(&self) -> Value;

    /// Whether a member with this value is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// A typed value that can be made from JSON.
pub trait Decode: Sized {
    /// The value of this JSON form.
    ///
    /// # Errors
    /// [`DecodeError`] with the place inside and what is wrong there.
    fn decode(value: Value) -> Result<Self, DecodeError>;

    /// The value that stands for a member that was left out, if that is allowed.
    fn absent() -> Option<Self> {
        None
    }
}

/// An object whose members are known: a structure or a union.
pub trait Object: Sized {
    /// Adds the members to an object.
    fn put(&self, into: &mut Map<String, Value>);

    /// Takes the members out of an object.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn take(members: &mut Members) -> Result<Self, DecodeError>;
}

/// The part of a union that depends on the value of its tag.
pub(crate) trait Variants: Sized {
    fn tag(&self) -> &str;
    fn put(&self, into: &mut Map<String, Value>);
    fn take(tag: String, members: &mut Members) -> Result<Self, DecodeError>;
}

/// JSON that has not the declared form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{problem}", place(path))]
pub struct DecodeError {
    /// From the innermost member outwards.
    path: Vec<String>,
    problem: String,
}

fn place(path: &[String]) -> String {
    if path.is_empty() {
        return String::new();
    }
    let path: String = path.iter().rev().map(String::as_str).collect();
    format!("{}: ", path.strip_prefix('.').unwrap_or(&path))
}

impl DecodeError {
    fn new(problem: impl Into<String>) -> Self {
        Self { path: Vec::new(), problem: problem.into() }
    }

    pub(crate) fn of_json(error: &serde_json::Error) -> Self {
        Self::new(error.to_string())
    }

    pub(crate) fn expected(what: &str, found: &Value) -> Self {
        let kind = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Self::new(format!("expected {what}, found {kind}"))
    }

    fn inside(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }
}

/// The members of an object that have not been taken yet.
#[derive(Debug)]
pub struct Members(Map<String, Value>);

impl Members {
    /// The members of a JSON object.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of(value: Value) -> Result<Self, DecodeError> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            other => Err(DecodeError::expected("an object", &other)),
        }
    }

    /// Takes one member.
    ///
    /// # Errors
    /// When it is missing and may not be, or has another form.
    pub fn take<T: Decode>(&mut self, name: &str) -> Result<T, DecodeError> {
        match self.0.swap_remove(name) {
            Some(value) => T::decode(value).map_err(|error| error.inside(format!(".{name}"))),
            None => T::absent().ok_or_else(|| DecodeError::new(format!("the member {name} is missing"))),
        }
    }

    /// Takes the tag of a union and what it brings; last, because an unknown variant keeps all that is left.
    pub(crate) fn take_variant<T: Variants>(&mut self, tag: &str) -> Result<T, DecodeError> {
        let value = self.take(tag)?;
        T::take(value, self)
    }

    /// The same where older servers know one variant only and send no tag.
    pub(crate) fn take_variant_or<T: Variants>(&mut self, tag: &str, only: &str) -> Result<T, DecodeError> {
        let value: Option<String> = self.take(tag)?;
        T::take(value.unwrap_or_else(|| only.to_owned()), self)
    }
}

/// Adds a member, unless it is to be left out.
pub(crate) fn put(into: &mut Map<String, Value>, name: &str, value: &impl Encode) {
    if !value.is_absent() {
        into.insert(name.to_owned(), value.encode());
    }
}

/// Adds the tag of a union and what it brings.
pub(crate) fn put_variant(into: &mut Map<String, Value>, tag: &str, variant: &impl Variants) {
    into.insert(tag.to_owned(), Value::from(variant.tag()));
    variant.put(into);
}

/// A variant of a union that these bindings do not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariant {
    /// The value of the tag.
    pub tag: String,
    /// The members that came with it.
    pub members: Map<String, Value>,
}

impl UnknownVariant {
    pub(crate) fn put(&self, into: &mut Map<String, Value>) {
        into.extend(self.members.clone());
    }

    pub(crate) fn take(tag: String, members: &mut Members) -> Self {
        Self { tag, members: std::mem::take(&mut members.0) }
    }
}

/// Any serde type as a reply, for commands of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: serde::de::DeserializeOwned> Decode for Json<T> {
    fn decode(value: Value) -> Result<Self, DecodeError> {
        serde_json::from_value(value).map(Self).map_err(|error| DecodeError::new(error.to_string()))
    }
}

impl Decode for Value {
    fn decode(value: Value) -> Result<Self, DecodeError> {
        Ok(value)
    }
}

impl Encode for Value {
    fn encode(&self) -> Value {
        self.clone()
    }
}

macro_rules! plain {
    ($($type:ty: $what:literal, $value:ident => $decoded:expr;)+) => {$(
        impl Decode for $type {
            fn decode($value: Value) -> Result<Self, DecodeError> {
                $decoded.ok_or_else(|| DecodeError::expected($what, &$value))
            }
        }

        impl Encode for $type {
            fn encode(&self) -> Value {
                Value::from(*self)
            }
        }
    )+};
}

plain! {
    bool: "a boolean", value => value.as_bool();
    i64: "a signed 64-bit number", value => value.as_i64();
    u64: "an unsigned 64-bit number", value => value.as_u64();
    f64: "a number", value => value.as_f64();
}

impl Decode for String {
    fn decode(value: Value) -> Result<Self, DecodeError> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(DecodeError::expected("a string", &other)),
        }
    }
}

impl Encode for String {
    fn encode(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(value: Value) -> Result<Self, DecodeError> {
        let Value::Array(items) = value else { return Err(DecodeError::expected("a list", &value)) };
        let item = |(index, item)| T::decode(item).map_err(|error| error.inside(format!("[{index}]")));
        items.into_iter().enumerate().map(item).collect()
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self) -> Value {
        self.iter().map(Encode::encode).collect()
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(value: Value) -> Result<Self, DecodeError> {
        T::decode(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self) -> Value {
        self.as_ref().map_or(Value::Null, Encode::encode)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Object> Decode for T {
    fn decode(value: Value) -> Result<Self, DecodeError> {
        Self::take(&mut Members::of(value)?)
    }
}

impl<T: Object> Encode for T {
    fn encode(&self) -> Value {
        let mut members = Map::new();
        self.put(&mut members);
        Value::Object(members)
    }
}

impl<T: Object> Object for Box<T> {
    fn put(&self, into: &mut Map<String, Value>) {
        (**self).put(into);
    }

    fn take(members: &mut Members) -> Result<Self, DecodeError> {
        T::take(members).map(Self::new)
    }
}

/// serde's traits for a type that has ours.
macro_rules! serde_forms {
    ($name:ty) => {
        impl serde::Serialize for $name {
            #[inline]
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::wire::Encode::encode(self).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            #[inline]
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                $crate::wire::Decode::decode(value).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Declares a structure: each field with its name on the wire, at last the variant of a union with the name of its tag.
macro_rules! object {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty = $wire:literal,)*
        $(; $(#[$variant_meta:meta])* $variant:ident: $variant_type:ty = $tag:literal $(or $only:literal)?)?
    }) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $($(#[$variant_meta])* pub $variant: $variant_type,)?
        }

        impl $crate::wire::Object for $name {
            #[inline]
            fn put(&self, into: &mut serde_json::Map<String, serde_json::Value>) {
                let _ = &into;
                $($crate::wire::put(into, $wire, &self.$field);)*
                $($crate::wire::put_variant(into, $tag, &self.$variant);)?
            }

            #[inline]
            fn take(members: &mut $crate::wire::Members) -> Result<Self, $crate::wire::DecodeError> {
                let _ = &members;
                Ok(Self {
                    $($field: members.take($wire)?,)*
                    $($variant: $crate::wire::object!(@take members $tag $($only)?)?,)?
                })
            }
        }

        $crate::wire::serde_forms!($name);
    };
    (@take $members:ident $tag:literal) => { $members.take_variant($tag) };
    (@take $members:ident $tag:literal $only:literal) => { $members.take_variant_or($tag, $only) };
}

/// The JSON forms of a union that has no members but its tag and what comes with it.
macro_rules! tagged {
    ($name:ty, $tag:literal) => {
        impl $crate::wire::Object for $name {
            #[inline]
            fn put(&self, into: &mut serde_json::Map<String, serde_json::Value>) {
                $crate::wire::put_variant(into, $tag, self);
            }

            #[inline]
            fn take(members: &mut $crate::wire::Members) -> Result<Self, $crate::wire::DecodeError> {
                members.take_variant($tag)
            }
        }

        $crate::wire::serde_forms!($name);
    };
}

pub(crate) use {object, serde_forms, tagged};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_names_the_place() {
        let error = Vec::<Vec<u64>>::decode(json!([[1], [2, -3]])).unwrap_err();
        assert_eq!(error.to_string(), "[1][1]: expected an unsigned 64-bit number, found a number");
        let mut members = Members::of(json!({"a": true})).unwrap();
        assert_eq!(
            members.take::<String>("a").unwrap_err().to_string(),
            "a: expected a string, found a boolean"
        );
        assert_eq!(members.take::<String>("b").unwrap_err().to_string(), "the member b is missing");
        assert_eq!(members.take::<Option<String>>("b").unwrap(), None);
    }

    #[test]
    fn integers_keep_all_64_bits() {
        assert_eq!(u64::decode(json!(u64::MAX)).unwrap(), u64::MAX);
        assert_eq!(i64::decode(json!(i64::MIN)).unwrap(), i64::MIN);
        assert!(i64::decode(json!(u64::MAX)).is_err());
        assert!(i64::decode(json!(1.0)).is_err());
    }

    #[test]
    fn ones_own_reply_is_any_serde_type() {
        assert_eq!(Json::<Vec<u8>>::decode(json!([1, 2])).unwrap().0, [1, 2]);
    }
}

//! Typed parameters, as they are read and made.

use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::TypedParameterFlags;
pub use libvirt_protocol::params::{TypedParam, TypedValue};
use libvirt_protocol::xdr::{IntoOwned, List};

/// Daemons leave texts out for who does not say that it takes them (`VIR_TYPED_PARAM_STRING_OKAY`); libvirt's own library says so too.
pub(crate) const TEXTS_TOO: NoFlags =
    NoFlags::from_bits_retain(TypedParameterFlags::PARAM_STRING_OKAY.bits());

/// Typed parameters in their order. Names are the constants of [`libvirt_protocol::parameters`].
///
/// ```
/// use libvirt_client::Params;
/// use libvirt_client::protocol::parameters::{DOMAIN_SCHEDULER_CPU_SHARES, DOMAIN_SCHEDULER_VCPU_QUOTA};
/// let params = Params::new().with(DOMAIN_SCHEDULER_CPU_SHARES, 2048_u64).with(DOMAIN_SCHEDULER_VCPU_QUOTA, -1_i64);
/// assert_eq!(params.u64("cpu_shares"), Some(2048));
/// assert_eq!(params.i64("vcpu_quota"), Some(-1));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Vec<TypedParam<'static>>);

impl Params {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one more. libvirt takes most names only with the type that its reference gives.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<TypedValue<'static>>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds one.
    pub fn push(&mut self, name: &str, value: impl Into<TypedValue<'static>>) {
        self.0.push(TypedParam::new(name.to_owned(), value));
    }

    /// The first with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TypedValue<'static>> {
        self.0.iter().find(|param| param.field == name).map(|param| &param.value)
    }

    /// A number that cannot be negative.
    #[must_use]
    pub fn u64(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(TypedValue::as_u64)
    }

    /// A number.
    #[must_use]
    pub fn i64(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(TypedValue::as_i64)
    }

    /// A double.
    #[must_use]
    pub fn f64(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(TypedValue::as_f64)
    }

    /// A boolean.
    #[must_use]
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(TypedValue::as_bool)
    }

    /// A text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(TypedValue::as_text).map(ToString::to_string)
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[TypedParam<'static>] {
        &self.0
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, TypedParam<'static>> {
        self.0.iter()
    }

    /// Elements of a numbered group, such as `block.0.name`, `block.1.name`: as many as `<group>.count` says, each with the rest of its
    /// names. Used by statistics and by what the guest's agent tells.
    #[must_use]
    pub fn group(&self, group: &str) -> Vec<Self> {
        let count = self.u64(&format!("{group}.count")).and_then(|count| usize::try_from(count).ok());
        let mut found: Vec<Self> = Vec::new();
        for param in &self.0 {
            let name = param.field.to_str_lossy();
            let Some(rest) = name.strip_prefix(group).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let Some((index, rest)) = rest.split_once('.') else { continue };
            let Ok(index) = index.parse::<usize>() else { continue };
            // A wild number in a name makes no long list.
            if index >= count.unwrap_or(0).min(self.0.len()) {
                continue;
            }
            if found.len() <= index {
                found.resize_with(index + 1, Self::default);
            }
            found[index].0.push(TypedParam { field: rest.to_owned().into(), value: param.value.clone() });
        }
        found
    }
}

impl Params {
    /// As an argument of a call.
    pub(crate) fn into_list<'a, const MAX: u32>(self) -> List<'a, TypedParam<'a>, MAX> {
        self.0.into()
    }

    /// Those whose names are none of these.
    pub(crate) fn without(self, names: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|param| !names.iter().any(|name| param.field == *name)).collect())
    }
}

/// A type that a parameter's value can have.
pub(crate) trait Value: Sized {
    fn read(value: &TypedValue<'static>) -> Option<Self>;
}

macro_rules! values {
    ($($type:ty: $read:expr;)*) => {$(
        impl Value for $type {
            fn read(value: &TypedValue<'static>) -> Option<Self> {
                let read: fn(&TypedValue<'static>) -> Option<$type> = $read;
                read(value)
            }
        }
    )*};
}
values! {
    u32: |value: &TypedValue<'static>| value.as_u64().and_then(|n| u32::try_from(n).ok());
    i32: |value: &TypedValue<'static>| value.as_i64().and_then(|n| i32::try_from(n).ok());
    u64: TypedValue::as_u64;
    i64: TypedValue::as_i64;
    bool: TypedValue::as_bool;
    String: |value: &TypedValue<'static>| value.as_text().map(ToString::to_string);
}

/// Declares a structure whose fields are typed parameters. What libvirt sends beyond them is in `extra`; it is sent back with them.
macro_rules! parameters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $parameter:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$doc])* pub $field: Option<$type>,)*
            /// Parameters without a field, as newer daemons have, and those whose type is not that of their field.
            pub extra: $crate::Params,
        }

        impl From<$crate::Params> for $name {
            fn from(params: $crate::Params) -> Self {
                let mut read = Vec::new();
                $(let $field = params.get($parameter).and_then(<$type as $crate::params::Value>::read);
                if $field.is_some() {
                    read.push($parameter);
                })*
                Self { $($field,)* extra: params.without(&read) }
            }
        }

        impl From<&$name> for $crate::Params {
            fn from(from: &$name) -> Self {
                let mut params = from.extra.clone();
                $(if let Some(value) = &from.$field {
                    params.push($parameter, value.clone());
                })*
                params
            }
        }
    };
}
pub(crate) use parameters;

impl<'a> FromIterator<TypedParam<'a>> for Params {
    fn from_iter<I: IntoIterator<Item = TypedParam<'a>>>(params: I) -> Self {
        Self(params.into_iter().map(IntoOwned::into_owned).collect())
    }
}

impl<'a> IntoIterator for &'a Params {
    type Item = &'a TypedParam<'static>;
    type IntoIter = std::slice::Iter<'a, TypedParam<'static>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "number";
    const TEXT: &str = "text";

    parameters! {
        /// Two of them.
        Two {
            /// A number.
            number: u32 = NUMBER,
            /// A text.
            text: String = TEXT,
        }
    }

    #[test]
    fn what_has_another_type_than_its_field_is_kept() {
        let params = Params::new().with("number", -1_i32).with("text", "x").with("new", true);
        let two = Two::from(params.clone());
        assert_eq!((two.number, two.text.as_deref()), (None, Some("x")));
        assert_eq!(two.extra, Params::new().with("number", -1_i32).with("new", true));
        let back = Params::from(&two);
        assert!(params.iter().all(|param| back.get(&param.field.to_string()) == Some(&param.value)));
    }

    #[test]
    fn groups_come_apart_by_their_numbers() {
        let params = Params::new()
            .with("block.count", 2_u32)
            .with("block.0.name", "vda")
            .with("block.1.name", "vdb")
            .with("block.1.rd.bytes", 7_u64)
            .with("block.99999999.name", "wild")
            .with("blocked.0.name", "other");
        let disks = params.group("block");
        assert_eq!(disks.len(), 2);
        assert_eq!(disks[1].text("name").as_deref(), Some("vdb"));
        assert_eq!(disks[1].u64("rd.bytes"), Some(7));
        assert!(params.group("net").is_empty());
    }
}

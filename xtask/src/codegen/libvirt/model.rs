//! The checked-in description of libvirt's interface: facts only, in TOML, one file for each program and one for constants.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// One of the programs that a daemon serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    /// Short name: `remote`, `qemu`, `lxc`, `admin`.
    pub name: String,
    /// Program number.
    pub number: u32,
    /// Version of the program.
    pub version: u32,
    /// The libvirt release that it was read from.
    pub origin: String,
    /// Structures that several procedures share.
    #[serde(default, rename = "struct")]
    pub structs: Vec<Structure>,
    /// Procedures in the order of their numbers.
    #[serde(default, rename = "procedure")]
    pub procedures: Vec<Procedure>,
}

/// A structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Structure {
    /// Its name, without the prefix of the program.
    pub name: String,
    /// Its fields in the order of the wire.
    pub fields: Vec<Field>,
}

/// A procedure: a call or an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Procedure {
    /// Number in its program.
    pub number: i32,
    /// Its name, without the prefix of the program.
    pub name: String,
    /// The release of libvirt that brought it.
    pub since: String,
    /// C function that stands for it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Whether the daemon's reserved workers take it.
    #[serde(default, skip_serializing_if = "Priority::is_low")]
    pub priority: Priority,
    /// The data stream that a successful call opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamKind>,
    /// The bit of `flags` that allows holes in its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse: Option<u32>,
    /// File descriptors that travel with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<Descriptors>,
    /// Permissions that the daemon asks for: object, permission, and the condition where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acl: Vec<String>,
    /// Arguments; absent when it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<Field>>,
    /// Result; absent when it returns none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Vec<Field>>,
    /// Content, of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Vec<Field>>,
    /// What subscribes to an event: `domain VIR_DOMAIN_EVENT_ID_REBOOT`, or the call's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
}

/// How urgent the daemon takes a procedure to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Priority {
    /// Ordinary workers only.
    #[default]
    Low,
    /// Reserved workers too.
    High,
}

impl Priority {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_low(&self) -> bool {
        *self == Self::Low
    }
}

/// Direction of a data stream, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StreamKind {
    /// From the daemon.
    Read,
    /// To the daemon.
    Write,
    /// Both ways.
    Both,
}

/// Direction of file descriptors, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Descriptors {
    /// With the call.
    Send,
    /// With the reply.
    Receive,
    /// With both.
    Both,
}

/// A field: `name: type`, and after `=` the C type of constants that give its number a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Name as in the protocol.
    pub name: String,
    /// Type of one.
    pub of: Type,
    /// How many.
    pub many: Many,
    /// Constants, for a number.
    pub meaning: Option<String>,
}

/// The type of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// 32 bits with sign.
    I32,
    /// 32 bits.
    U32,
    /// 64 bits with sign.
    I64,
    /// 64 bits.
    U64,
    /// Double.
    F64,
    /// C's char, in a word of its own.
    Char,
    /// C's unsigned char, in a word of its own.
    UChar,
    /// C's unsigned short, in a word of its own.
    UShort,
    /// Text of at most 4 MiB.
    Text,
    /// 16 bytes.
    Uuid,
    /// Bytes.
    Opaque,
    /// A structure, by name.
    Named(String),
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Many {
    /// One.
    One,
    /// None or one.
    Optional,
    /// So many.
    Fixed(u32),
    /// At most so many.
    UpTo(u32),
}

const WORDS: [(&str, Type); 11] = [
    ("i32", Type::I32),
    ("u32", Type::U32),
    ("i64", Type::I64),
    ("u64", Type::U64),
    ("f64", Type::F64),
    ("char", Type::Char),
    ("uchar", Type::UChar),
    ("ushort", Type::UShort),
    ("text", Type::Text),
    ("uuid", Type::Uuid),
    ("opaque", Type::Opaque),
];

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = WORDS.iter().find(|(_, known)| *known == self.of).map(|(word, _)| *word);
        let of = match &self.of {
            Type::Named(name) => name.as_str(),
            _ => of.expect("every type but a named one has a word"),
        };
        write!(f, "{}: {of}", self.name)?;
        match self.many {
            Many::One => {}
            Many::Optional => f.write_str("?")?,
            Many::Fixed(n) => write!(f, "[{n}]")?,
            Many::UpTo(n) => write!(f, "<{n}>")?,
        }
        self.meaning.as_ref().map_or(Ok(()), |meaning| write!(f, " = {meaning}"))
    }
}

impl FromStr for Field {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once(": ").with_context(|| format!("no type in `{text}`"))?;
        let (rest, meaning) = match rest.split_once(" = ") {
            Some((rest, meaning)) => (rest, Some(meaning.to_owned())),
            None => (rest, None),
        };
        let (of, many) = if let Some(of) = rest.strip_suffix('?') {
            (of, Many::Optional)
        } else if let Some((of, n)) = rest.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
            (of, Many::Fixed(n.parse()?))
        } else if let Some((of, n)) = rest.strip_suffix('>').and_then(|rest| rest.split_once('<')) {
            (of, Many::UpTo(n.parse()?))
        } else {
            (rest, Many::One)
        };
        if of.is_empty() || !of.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            bail!("no type in `{text}`");
        }
        let known = WORDS.iter().find(|(word, _)| *word == of);
        let of = known.map_or_else(|| Type::Named(of.to_owned()), |(_, known)| known.clone());
        Ok(Self { name: name.to_owned(), of, many, meaning })
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Constants that are not bound to one program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Constants {
    /// The libvirt release that they were read from.
    pub origin: String,
    /// Functions of the C interface: `NAME since`.
    pub functions: Vec<String>,
    /// Flag arguments of the C interface: function, and the constants it takes (empty: none yet).
    pub flag_arguments: std::collections::BTreeMap<String, String>,
    /// Sets of flags and enumerations.
    #[serde(default, rename = "set")]
    pub sets: Vec<ConstantSet>,
    /// Names of typed parameters: `MACRO text since`.
    #[serde(default)]
    pub parameters: Vec<String>,
}

/// A set of flags or an enumeration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConstantSet {
    /// C name of its type.
    pub name: String,
    /// What its values are.
    pub kind: SetKind,
    /// `NAME value since`.
    pub constants: Vec<String>,
}

/// What the values of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SetKind {
    /// Bits to combine.
    Flags,
    /// One of them at a time.
    Enum,
}

impl ConstantSet {
    /// The constants, taken apart: name, value, since.
    ///
    /// # Errors
    /// When a line has another form.
    pub(super) fn parsed(&self) -> Result<Vec<(String, i64, String)>> {
        self.constants
            .iter()
            .map(|line| {
                let mut words = line.split(' ');
                match (words.next(), words.next(), words.next(), words.next()) {
                    (Some(name), Some(value), Some(since), None) => {
                        Ok((name.to_owned(), value.parse()?, since.to_owned()))
                    }
                    _ => bail!("`{line}` is not `NAME value since`"),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_as_it_is_written() {
        for text in [
            "dom: domain",
            "name: text?",
            "params: typed_param<64>",
            "model: char[32]",
            "flags: u32 = virDomainXMLFlags",
            "cookie: opaque<4194304>",
        ] {
            assert_eq!(text.parse::<Field>().unwrap().to_string(), text);
        }
        assert!("dom domain".parse::<Field>().is_err());
        assert!("dom: <4>".parse::<Field>().is_err());
    }
}

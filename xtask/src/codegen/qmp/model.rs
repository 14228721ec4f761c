//! The checked-in description of QEMU's interface: facts only, in TOML.
//!
//! Types stand under our own names, because introspection masks QEMU's. Every fact says in which recordings it was seen; one that says
//! nothing was seen wherever the thing around it was.

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What introspection was asked of, the newest first: the order in which members are listed.
pub(super) const RECORDINGS: [Recording; 4] = [
    Recording { name: "system-10.0", program: "qemu-system-x86_64", release: "10.0" },
    Recording { name: "storage-10.0", program: "qemu-storage-daemon", release: "10.0" },
    Recording { name: "system-7.2", program: "qemu-system-x86_64", release: "7.2" },
    Recording { name: "storage-7.2", program: "qemu-storage-daemon", release: "7.2" },
];

/// One program of one release.
#[derive(Debug)]
pub(super) struct Recording {
    /// Its name in the description.
    pub name: &'static str,
    /// The program.
    pub program: &'static str,
    /// The release.
    pub release: &'static str,
}

/// A set of recordings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At(u8);

impl At {
    /// Everywhere.
    pub(super) const ALL: Self = Self((1 << RECORDINGS.len()) - 1);

    pub(super) fn insert(&mut self, recording: usize) {
        self.0 |= 1 << recording;
    }

    pub(super) fn has(self, recording: usize) -> bool {
        self.0 & (1 << recording) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..RECORDINGS.len()).filter(move |index| self.has(*index))
    }

    /// The oldest release in which it was seen.
    pub(super) fn since(self) -> &'static str {
        self.iter().last().map_or("", |oldest| {
            // The order is by release, so the last one has the oldest.
            RECORDINGS[oldest].release
        })
    }

    fn names(self) -> Vec<&'static str> {
        self.iter().map(|index| RECORDINGS[index].name).collect()
    }

    fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut at = Self::default();
        for name in names {
            let index = RECORDINGS.iter().position(|recording| recording.name == name);
            at.insert(index.with_context(|| format!("no recording is called {name}"))?);
        }
        Ok(at)
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.names().join(" "))
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text.split(' ')).map_err(serde::de::Error::custom)
    }
}

/// A mark that QEMU gives to a part of its interface, e.g. `deprecated`; `unstable system-10.0` when only some recordings have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Feature {
    pub name: String,
    /// Absent when every recording has it that has the thing.
    pub at: Option<At>,
}

impl Serialize for Feature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.at.map(At::names).unwrap_or_default();
        let words: Vec<&str> = std::iter::once(self.name.as_str()).chain(at).collect();
        serializer.serialize_str(&words.join(" "))
    }
}

impl<'de> Deserialize<'de> for Feature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (name, at) = text.split_once(' ').map_or((text.as_str(), None), |(name, at)| (name, Some(at)));
        let at = at.map(|at| At::parse(at.split(' '))).transpose().map_err(serde::de::Error::custom)?;
        Ok(Self { name: name.to_owned(), at })
    }
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    #[serde(default, rename = "command", skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    #[serde(default, rename = "event", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    #[serde(default, rename = "struct", skip_serializing_if = "Vec::is_empty")]
    pub structs: Vec<Structure>,
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub enums: Vec<Enumeration>,
    #[serde(default, rename = "alternate", skip_serializing_if = "Vec::is_empty")]
    pub alternates: Vec<Alternate>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    pub name: String,
    pub at: At,
    /// The structure of its arguments; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// What it answers; absent when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    #[serde(default, rename = "allow-oob", skip_serializing_if = "std::ops::Not::not")]
    pub allow_oob: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub name: String,
    pub at: At,
    /// The structure of its data; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
}

/// An object: members, and in a union more of them, by the value of the member `tag`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Structure {
    pub name: String,
    pub at: At,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub name: String,
    /// `int`, `str`, ..., a type of this description, or either in brackets.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
    /// Where it may be left out.
    #[serde(default, skip_serializing_if = "Optional::is_never")]
    pub optional: Optional,
    /// Where it is a plain string in place of an enumeration.
    #[serde(default, rename = "string-at", skip_serializing_if = "Option::is_none")]
    pub string_at: Option<At>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
}

/// Where a member may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Optional {
    /// Nowhere.
    #[default]
    Never,
    /// Wherever it exists.
    Always,
    /// In these recordings.
    At(At),
}

impl Optional {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_never(&self) -> bool {
        *self == Self::Never
    }

    pub(super) fn has(self, recording: usize) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::At(at) => at.has(recording),
        }
    }
}

impl Serialize for Optional {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => serializer.serialize_bool(false),
            Self::Always => serializer.serialize_bool(true),
            Self::At(at) => at.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Optional {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Plain(bool),
            At(At),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Plain(true) => Self::Always,
            Form::Plain(false) => Self::Never,
            Form::At(at) => Self::At(at),
        })
    }
}

/// The members that a value of the tag brings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub case: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
    /// Whether they lie in a member called `data` and not beside the tag.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wrapped: bool,
}

/// An enumeration of strings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enumeration {
    pub name: String,
    pub at: At,
    /// Values that every recording has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
}

/// A value of an enumeration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub name: String,
    pub at: Option<At>,
    pub features: Vec<Feature>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ValueForm {
    Plain(String),
    Marked {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<At>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        features: Vec<Feature>,
    },
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, at, features } = self.clone();
        if at.is_none() && features.is_empty() {
            return serializer.serialize_str(&name);
        }
        ValueForm::Marked { name, at, features }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match ValueForm::deserialize(deserializer)? {
            ValueForm::Plain(name) => Self { name, at: None, features: Vec::new() },
            ValueForm::Marked { name, at, features } => Self { name, at, features },
        })
    }
}

/// One of several types, told apart by the kind of JSON value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alternate {
    pub name: String,
    pub at: At,
    pub arms: Vec<Arm>,
}

/// An arm of an alternate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arm {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
}

/// A type as it is written in the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type<'a> {
    /// Of JSON or of this description.
    Plain(&'a str),
    /// A list.
    List(&'a str),
}

impl<'a> Type<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        match text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => Self::List(inner),
            None => Self::Plain(text),
        }
    }

    pub(super) fn name(&self) -> &'a str {
        match self {
            Self::Plain(name) | Self::List(name) => name,
        }
    }
}

/// Types that JSON brings along, under the names that introspection gives them.
pub(super) const BUILTIN: [&str; 6] = ["int", "str", "bool", "number", "null", "any"];

/// An object without members, where an object must be named.
pub(super) const EMPTY: &str = "empty";

/// The table of names and other decisions of ours, `schema/names.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    /// Name of a type by the place where it is used: `query-status=`, `blockdev-add:`, `BlockdevOptions.cache`,
    /// `SocketAddress<inet>`, `BlockdevRef|object`.
    pub types: std::collections::BTreeMap<String, String>,
    /// Values of enumerations whose name would be no word, under `*` for all types.
    pub values: std::collections::BTreeMap<String, String>,
    /// Members of unsigned 64-bit numbers: introspection says `int` of all.
    pub unsigned: std::collections::BTreeMap<String, Vec<String>>,
    /// Unions that older servers send without a tag, with the variant that it then is.
    #[serde(rename = "without-tag")]
    pub without_tag: std::collections::BTreeMap<String, String>,
    /// Commands and events by topic: names, with `*` at the end for all that begin so. The first that fits counts.
    pub topics: Vec<Topic>,
}

/// A part of the interface, in a file of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topic {
    pub name: String,
    pub about: String,
    pub has: Vec<String>,
}

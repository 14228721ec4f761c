//! What the connected program has, by its own word (`query-qmp-schema`).
//!
//! Distributions carry features back to older releases, so a version number proves nothing; the schema does, for commands, events,
//! their members and the values of enumerations. It says nothing of devices' properties, machine types and CPU models.

use crate::commands::{SchemaEntry, SchemaEntryObject, SchemaEntryVariant};
use std::collections::HashMap;

mod read;

/// A program's schema; see [`crate::Client::schema`].
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// By name; types have numbers for names, commands and events their own.
    entries: HashMap<String, SchemaEntry>,
}

/// A command in a [`Schema`].
#[derive(Clone, Copy, Debug)]
pub struct CommandEntry<'a> {
    schema: &'a Schema,
    entry: &'a SchemaEntry,
    arguments: &'a str,
    reply: &'a str,
    allow_oob: bool,
}

impl<'a> CommandEntry<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.entry.name
    }

    /// Whether it may run out of band.
    #[must_use]
    pub fn allow_oob(&self) -> bool {
        self.allow_oob
    }

    /// Features, such as `deprecated` and `unstable`.
    #[must_use]
    pub fn features(&self) -> &'a [String] {
        self.entry.features.as_deref().unwrap_or_default()
    }

    /// Its arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<Member<'a>> {
        self.schema.members(self.arguments)
    }

    /// The members of its reply, or of the objects in the list that it replies with.
    #[must_use]
    pub fn reply(&self) -> Vec<Member<'a>> {
        self.schema.members(self.reply)
    }
}

/// A member of an object in a [`Schema`].
#[derive(Clone, Debug)]
pub struct Member<'a> {
    schema: &'a Schema,
    /// Its name.
    pub name: &'a str,
    /// Whether it may be left out.
    pub optional: bool,
    /// Present only where the object's tag has this value.
    pub case: Option<&'a str>,
    kind: &'a str,
}

impl<'a> Member<'a> {
    /// The values that it may have, where it is an enumeration.
    #[must_use]
    pub fn values(&self) -> Vec<&'a str> {
        self.schema.values(self.kind)
    }

    /// Its members, where it is an object or a list of objects.
    #[must_use]
    pub fn members(&self) -> Vec<Member<'a>> {
        self.schema.members(self.kind)
    }

    /// What it is, for people: `str`, `int`, `one of a, b`, `object`, `list of str`.
    #[must_use]
    pub fn form(&self) -> String {
        self.schema.form(self.kind, 0)
    }
}

impl Schema {
    /// Of the message that answers `query-qmp-schema` ([`crate::session::Output::Text`]), straight from its bytes: what these bindings
    /// do not know is left aside.
    ///
    /// # Errors
    /// When it has another form.
    pub fn read(message: &[u8]) -> serde_json::Result<Self> {
        let entries: Vec<read::Entry> = crate::message::answer(message)?;
        Ok(Self::new(entries.into_iter().filter_map(read::Entry::typed).collect()))
    }

    /// Of a reply to `query-qmp-schema`.
    #[must_use]
    pub fn new(entries: Vec<SchemaEntry>) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect() }
    }

    /// A command.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<CommandEntry<'_>> {
        let entry = self.entries.get(name)?;
        let SchemaEntryVariant::Command(command) = &entry.meta_type else { return None };
        Some(CommandEntry {
            schema: self,
            entry,
            arguments: &command.arg_type,
            reply: &command.ret_type,
            allow_oob: command.allow_oob == Some(true),
        })
    }

    /// All commands, in no order.
    pub fn commands(&self) -> impl Iterator<Item = CommandEntry<'_>> {
        self.entries.keys().filter_map(|name| self.command(name))
    }

    /// The members of an event, if the program has it.
    #[must_use]
    pub fn event(&self, name: &str) -> Option<Vec<Member<'_>>> {
        match &self.entries.get(name)?.meta_type {
            SchemaEntryVariant::Event(event) => Some(self.members(&event.arg_type)),
            _ => None,
        }
    }

    /// The names of all events, in no order.
    pub fn events(&self) -> impl Iterator<Item = &str> {
        let events = self.entries.values();
        let events = events.filter(|entry| matches!(entry.meta_type, SchemaEntryVariant::Event(_)));
        events.map(|entry| entry.name.as_str())
    }

    /// Whether there is something at a place: a command or an event, then members `.name`, variants `<value of the tag>`, at last
    /// perhaps `=value` of an enumeration. `:reply` after a command leads to its reply. Lists and alternatives are passed through.
    ///
    /// `blockdev-add<file>.aio=io_uring`, `migrate.channels`, `query-migrate:reply.status=device`, `SHUTDOWN.reason`
    #[must_use]
    pub fn has(&self, place: &str) -> bool {
        let end = place.find(['.', '<', '=', ':']).unwrap_or(place.len());
        let (root, mut rest) = place.split_at(end);
        let Some(entry) = self.entries.get(root) else { return false };
        let mut kind = match &entry.meta_type {
            SchemaEntryVariant::Command(command) => match rest.strip_prefix(":reply") {
                Some(after) => {
                    rest = after;
                    command.ret_type.as_str()
                }
                None => command.arg_type.as_str(),
            },
            SchemaEntryVariant::Event(event) => event.arg_type.as_str(),
            _ => return false,
        };
        while let Some(first) = rest.chars().next() {
            let step = &rest[first.len_utf8()..];
            let found = match first {
                '=' => return self.values(kind).contains(&step),
                '.' => {
                    let (name, after) = step.split_at(step.find(['.', '<', '=']).unwrap_or(step.len()));
                    rest = after;
                    let members = self.members(kind).into_iter();
                    members.filter(|member| member.case.is_none()).find(|member| member.name == name)
                }
                '<' => {
                    let Some((case, after)) = step.split_once('>') else { return false };
                    rest = after;
                    let Some(variant) = self.variant(kind, case) else { return false };
                    kind = variant;
                    continue;
                }
                _ => return false,
            };
            let Some(member) = found else { return false };
            kind = member.kind;
        }
        true
    }

    fn kind(&self, name: &str) -> Option<&SchemaEntryVariant> {
        self.entries.get(name).map(|entry| &entry.meta_type)
    }

    /// The types that a value of this one may be when lists and alternatives are opened.
    fn open<'a>(&'a self, kind: &'a str, depth: usize, into: &mut Vec<&'a SchemaEntryVariant>) {
        match self.kind(kind) {
            // QEMU's own go no deeper than two; a program that is none may name a type that holds itself.
            _ if depth > DEPTH => {}
            Some(SchemaEntryVariant::Array(array)) => self.open(&array.element_type, depth + 1, into),
            Some(SchemaEntryVariant::Alternate(alternate)) => {
                alternate.members.iter().for_each(|arm| self.open(&arm.kind, depth + 1, into));
            }
            Some(kind) => into.push(kind),
            None => {}
        }
    }

    fn opened<'a>(&'a self, kind: &'a str) -> Vec<&'a SchemaEntryVariant> {
        let mut kinds = Vec::new();
        self.open(kind, 0, &mut kinds);
        kinds
    }

    fn members<'a>(&'a self, kind: &'a str) -> Vec<Member<'a>> {
        let mut found = Vec::new();
        for kind in self.opened(kind) {
            let SchemaEntryVariant::Object(object) = kind else { continue };
            found.extend(self.own_members(object, None));
            for variant in object.variants.iter().flatten() {
                // What a variant brings has no variants itself.
                if let Some(SchemaEntryVariant::Object(inner)) = self.kind(&variant.kind) {
                    found.extend(self.own_members(inner, Some(&variant.case)));
                }
            }
        }
        found
    }

    fn own_members<'a>(
        &'a self,
        object: &'a SchemaEntryObject,
        case: Option<&'a str>,
    ) -> impl Iterator<Item = Member<'a>> {
        object.members.iter().map(move |member| Member {
            schema: self,
            name: &member.name,
            optional: member.default.is_some(),
            case,
            kind: &member.kind,
        })
    }

    fn variant<'a>(&'a self, kind: &'a str, case: &str) -> Option<&'a str> {
        let objects = self.opened(kind).into_iter().filter_map(|kind| match kind {
            SchemaEntryVariant::Object(object) => object.variants.as_ref(),
            _ => None,
        });
        let mut variants = objects.flatten();
        variants.find(|variant| variant.case == case).map(|variant| variant.kind.as_str())
    }

    fn values<'a>(&'a self, kind: &'a str) -> Vec<&'a str> {
        let enumerations = self.opened(kind).into_iter().filter_map(|kind| match kind {
            SchemaEntryVariant::Enum(enumeration) => Some(&enumeration.members),
            _ => None,
        });
        enumerations.flatten().map(|member| member.name.as_str()).collect()
    }

    fn form(&self, kind: &str, depth: usize) -> String {
        match self.kind(kind) {
            _ if depth > DEPTH => "more".to_owned(),
            Some(SchemaEntryVariant::Enum(_)) => format!("one of {}", self.values(kind).join(", ")),
            Some(SchemaEntryVariant::Array(array)) => {
                format!("list of {}", self.form(&array.element_type, depth + 1))
            }
            Some(SchemaEntryVariant::Object(_)) => "object".to_owned(),
            Some(SchemaEntryVariant::Alternate(alternate)) => {
                let arms = alternate.members.iter().map(|arm| self.form(&arm.kind, depth + 1));
                arms.collect::<Vec<_>>().join(" or ")
            }
            _ => kind.to_owned(),
        }
    }
}

/// How deep lists and alternatives are opened.
const DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Decode as _;
    use serde_json::json;

    fn schema() -> Schema {
        let member = |name: &str, kind: &str| json!({"name": name, "type": kind});
        let entries = json!([
            {"name": "add", "meta-type": "command", "arg-type": "1", "ret-type": "2", "features": ["unstable"]},
            {"name": "DONE", "meta-type": "event", "arg-type": "2"},
            {"name": "1", "meta-type": "object", "members": [
                member("driver", "3"), {"name": "backing", "type": "4", "default": null}],
                "tag": "driver", "variants": [{"case": "file", "type": "5"}, {"case": "null", "type": "2"}]},
            {"name": "2", "meta-type": "object", "members": []},
            {"name": "3", "meta-type": "enum", "members": [{"name": "file"}, {"name": "null"}], "values": ["file", "null"]},
            {"name": "4", "meta-type": "alternate", "members": [{"type": "1"}, {"type": "str"}]},
            {"name": "5", "meta-type": "object", "members": [member("names", "[str]"), member("aio", "[3]")]},
            {"name": "[str]", "meta-type": "array", "element-type": "str"},
            {"name": "[3]", "meta-type": "array", "element-type": "3"},
            {"name": "str", "meta-type": "builtin", "json-type": "string"},
            {"name": "9", "meta-type": "of-tomorrow", "x": 1}
        ]);
        Schema::new(Vec::decode(entries).unwrap())
    }

    #[test]
    fn places_are_found_through_variants_lists_and_alternatives() {
        let schema = schema();
        for place in [
            "add",
            "add.driver",
            "add.driver=null",
            "add<file>.aio=null",
            "add.backing<file>.names",
            "add.backing.backing.driver=file",
            "add:reply",
            "DONE",
        ] {
            assert!(schema.has(place), "{place}");
        }
        for place in [
            "none",
            "1",
            "9",
            "add.none",
            "add.aio",
            "add<none>",
            "add<file",
            "add.driver=none",
            "add<null>.aio",
            "add:reply\u{e9}",
            "add\u{e9}",
            "add.driver=\u{e9}",
            "add:reply.driver",
            "DONE.x",
            "add.driver.more",
            "add:other",
        ] {
            assert!(!schema.has(place), "{place}");
        }
    }

    #[test]
    fn members_tell_what_they_are() {
        let schema = schema();
        let add = schema.command("add").unwrap();
        assert_eq!((add.allow_oob(), add.features()), (false, &["unstable".to_owned()][..]));
        let members: Vec<_> = add
            .arguments()
            .into_iter()
            .map(|member| (member.name, member.optional, member.case, member.form()))
            .collect();
        let expected = [
            ("driver", false, None, "one of file, null".to_owned()),
            ("backing", true, None, "object or str".to_owned()),
            ("names", false, Some("file"), "list of str".to_owned()),
            ("aio", false, Some("file"), "list of one of file, null".to_owned()),
        ];
        assert_eq!(members, expected);
        assert!(schema.command("DONE").is_none() && schema.event("add").is_none());
        assert_eq!(schema.events().collect::<Vec<_>>(), ["DONE"]);
        assert_eq!(schema.commands().map(|command| command.name().to_owned()).collect::<Vec<_>>(), ["add"]);
    }
}

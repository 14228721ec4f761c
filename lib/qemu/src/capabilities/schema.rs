//! The types of a program's commands, as `query-qmp-schema` gives them.
//!
//! Names of types are masked there, so nothing is looked up by the name of a type: every question starts at a command or an
//! event and walks along members.

use serde_json::Value;
use std::collections::HashMap;

/// Commands and events of a program with their types.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// By name: commands and events by their own, types by numbers.
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Command { arguments: String, reply: String },
    Event { data: String },
    Object { members: HashMap<String, String>, variants: HashMap<String, String> },
    Enumeration(Vec<String>),
    Array(String),
    Alternate(Vec<String>),
    Builtin,
}

impl Schema {
    /// Reads the reply to `query-qmp-schema`. Entries of an unknown kind are left out: nothing leads through them.
    #[must_use]
    pub fn of(reply: &Value) -> Self {
        let entries = reply.as_array().into_iter().flatten();
        Self { entries: entries.filter_map(|entry| Some((text(entry, "name")?, parse(entry)?))).collect() }
    }

    /// Number of commands.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry, Entry::Command { .. })).count()
    }

    /// Whether there is this:
    ///
    /// | question | asks for |
    /// |---|---|
    /// | `migrate` | the command |
    /// | `migrate/channels` | a member of its arguments |
    /// | `blockdev-add/driver=nbd` | a value of an enumeration |
    /// | `blockdev-add+qcow2/encrypt` | a member of the variant for `qcow2` |
    /// | `query-status>running` | a member of the reply |
    /// | `event:SHUTDOWN/reason=guest-panic` | the same of an event |
    ///
    /// Lists and alternates are looked through. A question of another form is answered with no.
    #[must_use]
    pub fn has(&self, question: &str) -> bool {
        let (question, value) = match question.split_once('=') {
            Some((question, value)) => (question, Some(value)),
            None => (question, None),
        };
        let (event, question) = match question.strip_prefix("event:") {
            Some(rest) => (true, rest),
            None => (false, question),
        };
        let end = question.find(['/', '>', '+']).unwrap_or(question.len());
        let (name, mut path) = question.split_at(end);
        let start = match self.entries.get(name) {
            Some(Entry::Command { reply, .. }) if !event && path.starts_with('>') => reply,
            Some(Entry::Command { arguments, .. }) if !event => arguments,
            Some(Entry::Event { data }) if event => data,
            _ => return false,
        };
        let mut types = vec![start.as_str()];
        while !path.is_empty() {
            let (kind, rest) = path.split_at(1);
            let end = rest.find(['/', '+']).unwrap_or(rest.len());
            let (step, rest) = rest.split_at(end);
            types = types.into_iter().flat_map(|name| self.step(name, kind, step)).collect();
            path = rest;
        }
        match value {
            None => !types.is_empty(),
            Some(value) => types.into_iter().any(|name| self.values(name).iter().any(|known| known == value)),
        }
    }

    /// Types that a step leads to.
    fn step<'s>(&'s self, from: &'s str, kind: &str, step: &str) -> Vec<&'s str> {
        match self.entries.get(from) {
            Some(Entry::Array(of)) => self.step(of, kind, step),
            Some(Entry::Alternate(of)) => of.iter().flat_map(|of| self.step(of, kind, step)).collect(),
            Some(Entry::Object { variants, .. }) if kind == "+" => {
                variants.get(step).map(String::as_str).into_iter().collect()
            }
            Some(Entry::Object { members, variants }) => match members.get(step) {
                Some(member) => vec![member],
                None => variants.values().flat_map(|variant| self.step(variant, kind, step)).collect(),
            },
            _ => Vec::new(),
        }
    }

    fn values<'s>(&'s self, name: &'s str) -> &'s [String] {
        match self.entries.get(name) {
            Some(Entry::Enumeration(values)) => values,
            Some(Entry::Array(of)) => self.values(of),
            Some(Entry::Alternate(of)) => {
                of.iter().map(|of| self.values(of)).find(|values| !values.is_empty()).unwrap_or(&[])
            }
            _ => &[],
        }
    }
}

fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member)?.as_str().map(str::to_owned)
}

fn parse(entry: &Value) -> Option<Entry> {
    let pairs = |list: &str, key: &str| -> HashMap<String, String> {
        let list = entry.get(list).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| Some((text(item, key)?, text(item, "type")?))).collect()
    };
    Some(match entry.get("meta-type")?.as_str()? {
        "command" => Entry::Command { arguments: text(entry, "arg-type")?, reply: text(entry, "ret-type")? },
        "event" => Entry::Event { data: text(entry, "arg-type")? },
        "object" => Entry::Object { members: pairs("members", "name"), variants: pairs("variants", "case") },
        "enum" => {
            let values = entry.get("values")?.as_array()?.iter();
            Entry::Enumeration(values.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        "array" => Entry::Array(text(entry, "element-type")?),
        "alternate" => {
            let members = entry.get("members")?.as_array()?.iter();
            Entry::Alternate(members.filter_map(|member| text(member, "type")).collect())
        }
        "builtin" => Entry::Builtin,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::of(&json!([
            {"meta-type": "command", "name": "add", "arg-type": "1", "ret-type": "[4]"},
            {"meta-type": "event", "name": "GONE", "arg-type": "4"},
            {"meta-type": "object", "name": "1", "members": [{"name": "driver", "type": "2"}, {"name": "below", "type": "5"}],
             "tag": "driver", "variants": [{"case": "qcow2", "type": "3"}, {"case": "raw", "type": "0"}]},
            {"meta-type": "enum", "name": "2", "values": ["qcow2", "raw"], "members": []},
            {"meta-type": "object", "name": "3", "members": [{"name": "lazy", "type": "bool"}]},
            {"meta-type": "object", "name": "0", "members": []},
            {"meta-type": "object", "name": "4", "members": [{"name": "state", "type": "2"}]},
            {"meta-type": "array", "name": "[4]", "element-type": "4"},
            {"meta-type": "alternate", "name": "5", "members": [{"type": "str"}, {"type": "1"}]},
            {"meta-type": "builtin", "name": "bool", "json-type": "boolean"},
            {"meta-type": "builtin", "name": "str", "json-type": "string"},
            {"meta-type": "of tomorrow", "name": "9"},
        ]))
    }

    #[test]
    fn questions_are_answered_from_commands_and_events_on() {
        let schema = schema();
        for yes in [
            "add",
            "add/driver",
            "add/driver=raw",
            "add/lazy",
            "add+qcow2/lazy",
            "add/below/lazy",
            "add/below/driver=qcow2",
            "add>state",
            "add>state=raw",
            "event:GONE",
            "event:GONE/state=raw",
            "add/below/below/below",
        ] {
            assert!(schema.has(yes), "{yes}");
        }
        for no in [
            "",
            "1",
            "GONE",
            "event:add",
            "add/state",
            "add/driver=vmdk",
            "add+raw/lazy",
            "add+vmdk",
            "add>driver",
            "add=raw",
            "event:GONE/driver",
            "add/",
            "add//driver",
            "/driver",
            "add/driver/driver",
            "9",
        ] {
            assert!(!schema.has(no), "{no}");
        }
        assert_eq!(schema.commands(), 1);
    }
}

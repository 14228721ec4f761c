//! Events by name, and the tables of everything.

use super::super::model::Event;
use super::super::words::pascal;
use super::{HEAD, Printer, facts, marks};
use anyhow::Result;
use std::fmt::Write as _;

impl Printer<'_> {
    pub(super) fn events(&self) -> Result<String> {
        let mut text = format!(
            "{HEAD}//! Events by name.\n\nuse super::*;\nuse crate::{{message::Event, wire::{{Decode, DecodeError}}}};\nuse serde_json::{{Map, Value}};\n\n"
        );
        let (mut arms, mut names, mut takes) = (String::new(), String::new(), String::new());
        for event in &self.description.events {
            let Event { name, at, data, features } = event;
            let arm = pascal(name);
            writeln!(arms, "/// `{name}`.{}", marks(*at, features))?;
            match data {
                None => {
                    writeln!(arms, "{arm},")?;
                    writeln!(names, "Self::{arm} => {name:?},")?;
                    writeln!(takes, "{name:?} => Self::{arm},")?;
                }
                Some(kind) => {
                    writeln!(arms, "{arm}({kind}),")?;
                    writeln!(names, "Self::{arm}(_) => {name:?},")?;
                    writeln!(takes, "{name:?} => Self::{arm}(Decode::decode(Value::Object(data))?),")?;
                }
            }
        }
        writeln!(
            text,
            "/// What an event says.\n#[derive(Clone, Debug, PartialEq)]\n#[non_exhaustive]\npub enum EventData {{\n{arms}
            /// An event that these bindings do not know.\nUnknown {{\n/// Its name.\nname: String,\n/// Its members.\ndata: Map<String, Value>,\n}},\n}}\n
            impl EventData {{
                /// The event's name.\n#[must_use]\n#[inline]\npub fn name(&self) -> &str {{ match self {{ {names} Self::Unknown {{ name, .. }} => name, }} }}
                /// The typed form of an event.\n///\n/// # Errors\n/// When a known event has not its declared form.
                pub fn of(event: &Event) -> Result<Self, DecodeError> {{ Self::parse(&event.name, event.data.clone()) }}
                /// The typed form of an event of this name with these members.\n///\n/// # Errors\n/// As [`EventData::of`].\n#[inline]
                pub fn parse(name: &str, data: Map<String, Value>) -> Result<Self, DecodeError> {{
                    Ok(match name {{ {takes} other => Self::Unknown {{ name: other.to_owned(), data }}, }})
                }}
            }}\n"
        )?;
        Ok(text)
    }

    pub(super) fn tables(&self, text: &mut String) -> Result<()> {
        writeln!(text, "use crate::commands::{{Command as _, Facts}};\n")?;
        writeln!(text, "/// All commands, by name.\npub static COMMANDS: &[&Facts] = &[")?;
        for command in &self.description.commands {
            writeln!(text, "{}::FACTS,", pascal(&command.name))?;
        }
        writeln!(text, "];\n\n/// All events, by name.\npub static EVENTS: &[&Facts] = &[")?;
        for event in &self.description.events {
            writeln!(text, "&{},", facts(&event.name, event.at, &event.features, false))?;
        }
        writeln!(text, "];\n")?;
        Ok(())
    }

    /// For the tests: decoding and encoding by name.
    pub(super) fn checks(&self) -> Result<String> {
        let mut text = format!(
            "{HEAD}//! Typed forms by name, for tests.\n\nuse super::*;\nuse crate::{{commands::Done, wire::{{Decode, DecodeError, Encode}}}};\nuse serde_json::Value;\n\n"
        );
        writeln!(
            text,
            "/// Decodes and encodes again.\npub(crate) type ThereAndBack = fn(Value) -> Result<Value, DecodeError>;\n"
        )?;
        writeln!(
            text,
            "fn through<T: Decode + Encode>(value: Value) -> Result<Value, DecodeError> {{ T::decode(value).map(|typed| typed.encode()) }}\n"
        )?;
        writeln!(
            text,
            "/// Name, arguments, reply.\npub(crate) static ALL: &[(&str, ThereAndBack, ThereAndBack)] = &["
        )?;
        for command in &self.description.commands {
            let reply = command.reply.as_ref().map_or("Done".to_owned(), |reply| self.kind("", reply, false));
            writeln!(
                text,
                "({:?}, through::<{}>, through::<{reply}>),",
                command.name,
                pascal(&command.name)
            )?;
        }
        writeln!(text, "];")?;
        Ok(text)
    }
}

//! What makes messages of a fuzzer's bytes: every request of either side, and every answer to the front-end, with fields of any value.

use super::{HEAD, Request, Schema, pascal};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;

impl Schema {
    /// Functions that take a number of the table and what is left of the input.
    pub(super) fn constructors(&self) -> Result<String> {
        let mut text = format!(
            "{HEAD}//! Messages of the table, made of bytes.\n\nuse super::steps::Steps;\nuse vhost_user::{{back, front}};\n\
             use vhost_user::payload::*;\n\n"
        );
        requests("request", "front::Request", &self.front, &mut text)?;
        requests("asked", "back::Request", &self.back, &mut text)?;
        text.push_str(
            "/// An answer to the front-end's request of this number: its own, or an acknowledgement.\n\
             pub(crate) fn reply(number: u32, from: &mut Steps<'_>) -> Option<Reply> {\nSome(match number {\n",
        );
        for it in &self.front {
            let number = it.number;
            match it.reply.as_deref() {
                None | Some("u64") => {}
                Some("none") => writeln!(text, "{number} => Reply::None,")?,
                Some(reply) => writeln!(text, "{number} => Reply::{reply}({}),", value(reply))?,
            }
        }
        writeln!(
            text,
            "1..={} => Reply::U64(from.number()),\n_ => return None,\n}})\n}}\n",
            self.front.len()
        )?;
        for name in self.carried() {
            self.constructor(name, &mut text)?;
        }
        Ok(text)
    }

    /// Structures that these messages are made of.
    fn carried(&self) -> BTreeSet<&str> {
        let direct =
            self.front.iter().chain(&self.back).flat_map(|it| std::iter::once(&it.payload).chain(&it.reply));
        let direct: BTreeSet<_> =
            direct.map(String::as_str).filter(|it| self.payload.contains_key(*it)).collect();
        let within = direct.iter().filter_map(|name| self.payload.get(*name)?.tail.as_deref());
        let within: Vec<_> = within.filter(|it| self.payload.contains_key(*it)).collect();
        direct.into_iter().chain(within).collect()
    }

    fn constructor(&self, name: &str, text: &mut String) -> Result<()> {
        let payload = self.payload.get(name).with_context(|| format!("no payload {name}"))?;
        let counted = matches!(payload.tail.as_deref(), Some(tail) if tail != "bytes");
        writeln!(text, "fn {}(from: &mut Steps<'_>) -> {name} {{\n{name} {{", snake(name))?;
        for [field, kind, _] in &payload.fields {
            match (field.as_str(), kind.as_str()) {
                ("pad", _) => {}
                ("count", _) if counted => {}
                (field, "uuid") => writeln!(text, "{field}: from.array(),")?,
                (field, "u64") => writeln!(text, "{field}: from.number(),")?,
                (field, kind) => writeln!(text, "{field}: from.number() as {kind},")?,
            }
        }
        let most = payload.most.unwrap_or(0);
        match payload.tail.as_deref() {
            None => {}
            Some("bytes") => writeln!(text, "bytes: from.several({most}, |from| from.byte().unwrap_or(0)),")?,
            Some("sizes") => writeln!(text, "sizes: from.several({most}, Steps::number),")?,
            Some(other) => writeln!(text, "regions: from.several({most}, {}),", snake(other))?,
        }
        text.push_str("}\n}\n\n");
        Ok(())
    }
}

/// A function that makes the requests of one side.
fn requests(name: &str, kind: &str, all: &[Request], text: &mut String) -> Result<()> {
    writeln!(
        text,
        "/// The request of this number.\npub(crate) fn {name}(number: u32, from: &mut Steps<'_>) -> Option<{kind}> {{\nSome(match number {{"
    )?;
    for it in all {
        let (number, variant) = (it.number, pascal(&it.name));
        match it.payload.as_str() {
            "none" => writeln!(text, "{number} => {kind}::{variant},")?,
            payload => writeln!(text, "{number} => {kind}::{variant}({}),", value(payload))?,
        }
    }
    text.push_str("_ => return None,\n})\n}\n\n");
    Ok(())
}

fn value(payload: &str) -> String {
    match payload {
        "u64" => "from.number()".to_owned(),
        other => format!("{}(from)", snake(other)),
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::snake;

    #[test]
    fn names_of_functions_are_those_of_structures() {
        assert_eq!(snake("VringState"), "vring_state");
        assert_eq!(snake("Log"), "log");
    }
}

//! What a message says, in words: the names of the specification's fields, and their values.

use super::{Request, Schema, pascal};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const HEAD: &str = "fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {\n";

impl Schema {
    /// How structures and answers are shown.
    pub(super) fn shown(&self, text: &mut String) -> Result<()> {
        for (name, payload) in &self.payload {
            let counted = matches!(payload.tail.as_deref(), Some(tail) if tail != "bytes");
            writeln!(text, "impl fmt::Display for {name} {{\n{HEAD}")?;
            let (mut form, mut values) = (Vec::new(), Vec::new());
            for [field, kind, _] in &payload.fields {
                let value = match (field.as_str(), kind.as_str()) {
                    ("pad", _) => continue,
                    ("count", _) if counted => continue,
                    (field, "uuid") => format!("Bytes(&self.{field})"),
                    (field, "u64") => format!("Number(self.{field})"),
                    (field, _) => format!("Number(self.{field}.into())"),
                };
                form.push(format!("{} {{}}", field.replace('_', " ")));
                values.push(value);
            }
            match payload.tail.as_deref() {
                Some("bytes") => {
                    form.push("bytes {}".to_owned());
                    values.push("Bytes(&self.bytes)".to_owned());
                }
                Some("sizes") => {
                    form.push("{} regions".to_owned());
                    values.push("self.sizes.len()".to_owned());
                }
                Some(_) => {
                    form.push("{} regions".to_owned());
                    values.push("self.regions.len()".to_owned());
                }
                None => {}
            }
            writeln!(text, "write!(f, \"{}\", {})?;", form.join(", "), values.join(", "))?;
            match payload.tail.as_deref() {
                None | Some("bytes") => {}
                Some("sizes") => {
                    text.push_str("for size in &self.sizes { write!(f, \"; {}\", Number(*size))?; }\n")
                }
                Some(_) => text.push_str("for region in &self.regions { write!(f, \"; {region}\")?; }\n"),
            }
            text.push_str("Ok(())\n}\n}\n\n");
        }
        let all = self.front.iter().chain(&self.back);
        let replies: BTreeSet<_> = all.filter_map(|it| it.reply.as_deref()).collect();
        writeln!(
            text,
            "impl fmt::Display for Reply {{\n{HEAD}match self {{\nSelf::None => Ok(()),\nSelf::U64(it) => Number(*it).fmt(f),"
        )?;
        for name in replies.into_iter().filter(|name| !matches!(*name, "none" | "u64")) {
            writeln!(text, "Self::{name}(it) => it.fmt(f),")?;
        }
        text.push_str("}\n}\n}\n");
        Ok(())
    }
}

/// How requests are.
pub(super) fn shown(requests: &[Request], text: &mut String) -> Result<()> {
    writeln!(text, "impl fmt::Display for Request {{\n{HEAD}match self {{")?;
    for it in requests {
        let variant = pascal(&it.name);
        match it.payload.as_str() {
            "none" => writeln!(text, "Self::{variant} => Ok(()),")?,
            "u64" => writeln!(text, "Self::{variant}(it) => Number(*it).fmt(f),")?,
            _ => writeln!(text, "Self::{variant}(it) => it.fmt(f),")?,
        }
    }
    text.push_str("}\n}\n}\n");
    Ok(())
}

//! Sets of flags, enumerations, names of typed parameters.

use super::super::model::{ConstantSet, SetKind};
use super::super::names;
use super::{HEAD, Printer, reference};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fmt::Write;

impl Printer<'_> {
    pub(super) fn sets(&self, kind: SetKind) -> Result<String> {
        let mut out = String::from(HEAD);
        let (about, macro_name) = match kind {
            SetKind::Flags => ("Sets of flags. Bits without a name are kept.", "flags"),
            SetKind::Enum => ("Enumerations. Values without a name are kept.", "enumeration"),
        };
        writeln!(out, "//! {about}\n\nuse crate::constants::{macro_name};\n")?;
        for set in self.constants.sets.iter().filter(|set| set.kind == kind) {
            let (name, _) = &self.sets[&set.name];
            let parsed = set.parsed()?;
            let long: Vec<&str> = parsed.iter().map(|(name, ..)| name.as_str()).collect();
            let short = match set.name.as_str() {
                // Errors and warnings share the numbers, but not the prefix.
                "virErrorNumber" => long
                    .iter()
                    .map(|name| name.trim_start_matches("VIR_ERR_").trim_start_matches("VIR_").to_owned())
                    .collect(),
                _ => names::constants(&set.name, &long),
            };
            writeln!(out, "{macro_name}! {{\n/// [`{}`]({})", set.name, reference(&set.name))?;
            writeln!(out, "{name} {{")?;
            let mut values = BTreeSet::new();
            let mut aliases = Vec::new();
            for ((constant, value, since), short) in parsed.iter().zip(&short) {
                let about = format!("`{constant}`, since {since}.");
                match kind {
                    SetKind::Flags => {
                        let bits = u32::try_from(*value).with_context(|| format!("{constant} is no bit"))?;
                        writeln!(out, "/// {about}\n{short} = {bits:#x};")?;
                    }
                    SetKind::Enum if values.insert(*value) => {
                        writeln!(out, "/// {about}\n{} = {value},", names::variant(short))?;
                    }
                    SetKind::Enum => aliases.push((about, short, *value)),
                }
            }
            out.push_str("}\n}\n\n");
            if !aliases.is_empty() {
                writeln!(out, "impl {name} {{")?;
                for (about, short, value) in aliases {
                    let same = parsed.iter().position(|(_, known, _)| *known == value).context("no twin")?;
                    writeln!(
                        out,
                        "/// {about} The same as [`Self::{}`].",
                        names::variant(&self.shorts(set)?[same])
                    )?;
                    writeln!(
                        out,
                        "pub const {short}: Self = Self::{};",
                        names::variant(&self.shorts(set)?[same])
                    )?;
                }
                out.push_str("}\n\n");
            }
        }
        Ok(out)
    }

    fn shorts(&self, set: &ConstantSet) -> Result<Vec<String>> {
        let parsed = set.parsed()?;
        let long: Vec<&str> = parsed.iter().map(|(name, ..)| name.as_str()).collect();
        Ok(names::constants(&set.name, &long))
    }

    pub(super) fn parameters(&self) -> Result<String> {
        let mut out = String::from(HEAD);
        out.push_str("//! Names of typed parameters and other strings of the interface, under the names of their C macros.\n\n");
        for line in &self.constants.parameters {
            let mut words = line.splitn(3, ' ');
            let (Some(name), Some(text), Some(since)) = (words.next(), words.next(), words.next()) else {
                bail!("`{line}` is not `MACRO text since`");
            };
            let short = name.strip_prefix("VIR_").unwrap_or(name);
            writeln!(out, "/// `{name}`, since {since}.\npub const {short}: &str = {text:?};")?;
        }
        Ok(out)
    }
}

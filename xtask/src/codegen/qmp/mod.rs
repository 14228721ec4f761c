//! `codegen qmp`: from what QEMU says of its own interface to a description, and from the description to Rust.
//!
//! ```text
//!   query-qmp-schema of four programs ──merge──> schema/{commands,events,types}.toml ──print──> src/generated/
//!        ^ recording                     ^
//!        '- or of the description        schema/names.toml
//! ```
//!
//! The description is checked in and holds facts only. A program that is not installed is represented by what the description says of
//! it, so that any of them can be compared alone.

mod merge;
mod model;
mod print;
mod recording;
mod replay;
mod words;

use super::{Mode, Output};
use crate::sh;
use anyhow::{Context, Result};
use model::{Description, Names, RECORDINGS};
use recording::Meta;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

const SCHEMA: &str = "lib/qmp/schema";

/// Whether to ask the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Print from the description alone.
    Nobody,
    /// Ask those that are installed.
    Installed,
}

/// What the installed emulator says that it has.
#[derive(Debug)]
pub struct Installed {
    /// Its version, such as `7.2.22`.
    pub version: String,
    /// The names of its commands.
    pub commands: BTreeSet<String>,
    /// The names of its events.
    pub events: BTreeSet<String>,
}

/// The emulator whose package the tests install.
pub const EMULATOR: &str = "qemu-system-x86_64";

/// Asks the installed emulator, whatever its release; `None` when there is none.
///
/// # Errors
/// When it cannot be started or does not answer as QEMU does.
pub fn installed() -> Result<Option<Installed>> {
    let Some(program) = sh::find(EMULATOR) else { return Ok(None) };
    let asked = recording::ask(&mut Command::new(&program), false);
    let (version, schema) = asked.with_context(|| format!("asking {}", program.display()))?;
    let names = |meta: Meta| {
        schema.values().filter(|entry| entry.meta_type == meta).map(|entry| entry.name.clone()).collect()
    };
    let (commands, events) = (names(Meta::Command), names(Meta::Event));
    Ok(Some(Installed { version, commands, events }))
}

/// Prints the Rust files, after renewing the description if wished. Answers what could not be asked.
///
/// # Errors
/// With everything that is unnamed, unused or different.
pub fn run(ask: Ask, mode: Mode) -> Result<Vec<String>> {
    let mut output = Output::default();
    let mut not_run = Vec::new();
    let names: Names = toml::from_str(&read("names")?).context("in names.toml")?;
    let mut description = load();
    if ask == Ask::Installed {
        let mut schemas = Vec::new();
        for (index, recording) in RECORDINGS.iter().enumerate() {
            let schema = match crate::qemu_root::command(recording.program, recording.release)? {
                Some(mut program) => {
                    let asked = recording::ask(&mut program, recording.program == "qemu-storage-daemon");
                    let (version, schema) = asked.with_context(|| format!("asking {}", recording.name))?;
                    sh::say(&format!("{}: {version}, {} entries", recording.name, schema.len()));
                    schema
                }
                None => {
                    let (name, program) = (recording.name, recording.program);
                    not_run.push(format!("not run: codegen qmp of {name}: there is no such {program}"));
                    let description = description.as_ref();
                    let description = description.map_err(|error| anyhow::anyhow!("{error:#}"))?;
                    replay::schema(description, index)
                }
            };
            schemas.push(schema);
        }
        let merged = merge::merge(&schemas, &names)?;
        let whole = merged.clone();
        let head = |about: &str| {
            format!("# {about}\n# Recorded from the programs by `cargo xtask codegen qmp`.\n\n")
        };
        let commands = Description { commands: merged.commands, ..Description::default() };
        let events = Description { events: merged.events, ..Description::default() };
        let types = Description {
            structs: merged.structs,
            enums: merged.enums,
            alternates: merged.alternates,
            ..Description::default()
        };
        for (name, about, part) in [
            ("commands", "Commands of QEMU's monitor.", commands),
            ("events", "Events of QEMU's monitor.", events),
            ("types", "Types of arguments, replies and events.", types),
        ] {
            output.text(format!("{SCHEMA}/{name}.toml"), head(about) + &print_toml(&part)?);
        }
        description = Ok(whole);
    }
    print::all(&description?, &names, &mut output)?;
    output.finish(mode)?;
    Ok(not_run)
}

/// TOML with one line for each member, value and variant.
fn print_toml(part: &Description) -> Result<String> {
    let mut text = String::new();
    for (kind, items) in toml::Table::try_from(part)? {
        for item in items.as_array().context("a description is made of lists")? {
            writeln!(text, "[[{kind}]]")?;
            for (key, value) in in_order(item.as_table().context("of tables")?) {
                match value.as_array() {
                    Some(list) if list.iter().any(toml::Value::is_table) => {
                        writeln!(text, "{key} = [")?;
                        list.iter().try_for_each(|line| writeln!(text, "    {},", inline(line)))?;
                        writeln!(text, "]")?;
                    }
                    _ => writeln!(text, "{key} = {value}")?,
                }
            }
            writeln!(text)?;
        }
    }
    Ok(text)
}

/// A table in one line.
fn inline(value: &toml::Value) -> String {
    let Some(table) = value.as_table() else { return value.to_string() };
    let pairs: Vec<_> = in_order(table).map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// What a thing is called comes first.
fn in_order(table: &toml::Table) -> impl Iterator<Item = (&String, &toml::Value)> {
    let mut pairs: Vec<_> = table.iter().collect();
    let rank = |key: &str| ["name", "case", "type", "at"].iter().position(|first| *first == key);
    pairs.sort_by_key(|(key, _)| rank(key).unwrap_or(usize::MAX));
    pairs.into_iter()
}

fn load() -> Result<Description> {
    let mut whole: Description = parse("commands")?;
    whole.events = parse("events")?.events;
    let types = parse("types")?;
    Ok(Description { structs: types.structs, enums: types.enums, alternates: types.alternates, ..whole })
}

fn parse(name: &str) -> Result<Description> {
    toml::from_str(&read(name)?).with_context(|| format!("in {name}.toml"))
}

fn read(name: &str) -> Result<String> {
    let path = sh::root().join(SCHEMA).join(format!("{name}.toml"));
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        toml::from_str(&read("names").unwrap()).unwrap()
    }

    fn replayed() -> Vec<recording::Schema> {
        let description = load().unwrap();
        (0..RECORDINGS.len()).map(|index| replay::schema(&description, index)).collect()
    }

    #[test]
    fn the_description_replayed_gives_itself() {
        assert_eq!(merge::merge(&replayed(), &names()).unwrap(), load().unwrap());
    }

    #[test]
    fn a_type_without_a_name_and_a_name_without_a_type_fail() {
        let mut lacking = names();
        lacking.types.remove("BlockNode.image");
        let error = merge::merge(&replayed(), &lacking).unwrap_err().to_string();
        assert!(error.contains("no name for BlockNode.image"), "{error}");
        let mut more = names();
        more.types.insert("BlockNode.of-tomorrow".to_owned(), "Tomorrow".to_owned());
        let error = merge::merge(&replayed(), &more).unwrap_err().to_string();
        assert!(error.contains("nothing is at BlockNode.of-tomorrow"), "{error}");
    }

    #[test]
    fn what_a_program_lost_is_noticed() {
        let mut schemas = replayed();
        schemas[0].get_mut("StatusInfo").unwrap().members.pop();
        let merged = merge::merge(&schemas, &names()).unwrap();
        assert_ne!(merged, load().unwrap());
    }
}

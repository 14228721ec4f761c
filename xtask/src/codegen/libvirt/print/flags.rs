//! Flags in the table: sent to our server, taken by it, able to do something there, taken by libvirt's daemon.
//!
//! What is said by hand stands in `schema/flags.toml`, by groups: flags that our server takes and that can do nothing in memory, flags
//! that it refuses, flags that libvirtd takes and nobody looks at what comes of them, flags that no test sees it take. Each group is compared
//! with what was seen, and may neither lack a flag nor have one too many.

use super::super::model::{ConstantSet, Procedure, Program};
use super::Printer;
use super::groups::{self, Group};
use crate::observed::{Answer, By, Effects, Observed};
use anyhow::{Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is said by hand, of `program.procedure FLAG`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    idle: Vec<Group>,
    refused: Vec<Group>,
    unlooked: Vec<Group>,
    unobserved: Vec<Group>,
}

/// One flag of one call.
struct Flag {
    /// `program.procedure FLAG`.
    name: String,
    sent: bool,
    taken: bool,
    /// Libvirt's daemon took it, in a test of more than the answer.
    by_daemon: bool,
    /// And what came of it was looked at.
    observed: bool,
}

/// What is printed of them.
pub(super) struct Flags {
    all: Vec<Flag>,
    said: Said,
}

const FILE: &str = "flags.toml";

impl Printer<'_> {
    /// All flags of all calls, with what was seen of them.
    pub(super) fn flags<'p>(
        &self,
        procedures: impl Iterator<Item = (&'p Program, &'p Procedure)>,
        observed: &Observed,
        effects: &Effects,
    ) -> Result<Flags> {
        let said: Said = groups::read(FILE)?;
        let is_unlooked = |name: &str| said.unlooked.iter().any(|group| group.has(name));
        let (mut all, mut takers) = (Vec::new(), Vec::new());
        for (program, procedure) in procedures {
            let Some((field, bits)) = self.flags_of(procedure) else { continue };
            let set = self.constants.sets.iter().find(|set| Some(&set.name) == field.meaning.as_ref());
            let names = set.map(named).unwrap_or_default();
            let server = observed.get(&program.name, &procedure.name, By::Server);
            for bit in bits {
                let has =
                    |of: fn(&Answer) -> u32| server.is_some_and(|answer: &Answer| of(answer) & bit != 0);
                let name = names.get(&bit).cloned().unwrap_or_default();
                let name = format!("{}.{} {name}", program.name, procedure.name);
                let tests = observed.flags(&program.name, &procedure.name);
                let tests: Vec<&str> =
                    tests.filter(|(_, flags)| flags & bit != 0).map(|(test, _)| test).collect();
                takers.extend(tests.iter().map(|test| (name.clone(), *test)));
                all.push(Flag {
                    sent: has(|answer| answer.sent),
                    taken: has(|answer| answer.taken),
                    by_daemon: !tests.is_empty(),
                    observed: tests.iter().any(|test| effects.look_at_flag(test, &name))
                        && !is_unlooked(&name),
                    name,
                });
            }
        }
        let takers: Vec<_> = takers.iter().map(|(flag, test)| (&**flag, *test)).collect();
        effects.fit_flags(&takers)?;
        effects.fit_unlooked(&takers, is_unlooked)?;
        Ok(Flags { all, said })
    }
}

/// The names of single bits; where two mean the same, the first.
fn named(set: &ConstantSet) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for (name, value, _) in set.parsed().unwrap_or_default() {
        if let Some(bit) = u32::try_from(value).ok().filter(|value| value.is_power_of_two()) {
            names.entry(bit).or_insert(name.to_owned());
        }
    }
    names
}

impl Flags {
    fn count(&self, of: impl Fn(&Flag) -> bool) -> usize {
        self.all.iter().filter(|flag| of(flag)).count()
    }

    /// All, exercised against our server, looked at on libvirt's daemon. A flag that our server does not take is exercised too, when a test
    /// sees it refuse it with the words that drivers of libvirt's have for that, and a group says why they do.
    pub(super) fn counts(&self) -> [usize; 3] {
        let as_specified =
            |flag: &Flag| flag.sent && self.said.refused.iter().any(|group| group.has(&flag.name));
        let exercised = self.count(|flag| flag.taken || as_specified(flag));
        [self.all.len(), exercised, self.count(|flag| flag.observed)]
    }

    /// The part of the page that is about them.
    pub(super) fn print(&self) -> Result<String> {
        let taken: Vec<&Flag> = self.all.iter().filter(|flag| flag.taken).collect();
        let refused: Vec<&Flag> = self.all.iter().filter(|flag| !flag.taken).collect();
        let (unlooked, unobserved): (Vec<&Flag>, Vec<&Flag>) =
            self.all.iter().filter(|flag| !flag.observed).partition(|flag| flag.by_daemon);
        let idle: Vec<&Flag> = taken
            .iter()
            .copied()
            .filter(|flag| self.said.idle.iter().any(|group| group.has(&flag.name)))
            .collect();
        if let Some(silent) = refused.iter().find(|flag| !flag.sent) {
            bail!("no test sends {} to our server", silent.name);
        }
        let counted = |groups, flags: &[&Flag], what| {
            let names: Vec<&str> = flags.iter().map(|flag| flag.name.as_str()).collect();
            groups::counted(groups, &names, FILE, what)
        };
        let idle = counted(&self.said.idle, &idle, "are taken by our server")?;
        let refused = counted(&self.said.refused, &refused, "are refused by our server")?;
        let unlooked = counted(&self.said.unlooked, &unlooked, "are taken by libvirtd and not looked at")?;
        let unobserved = counted(&self.said.unobserved, &unobserved, "no test sees libvirtd take")?;
        let sum = |groups: &[(&Group, usize)]| groups.iter().map(|(_, count)| count).sum::<usize>();
        let mut out = String::from("\n## Flags\n\n| of our server | flags |\n|---|--:|\n");
        let rows = [
            ("sent to it", self.count(|flag| flag.sent)),
            (
                "taken, with an effect: a test makes the call with the flag, and looks at what came of it that does not come without",
                taken.len() - sum(&idle),
            ),
            (
                "accepted, without an effect: a test sees that the call is done as it is without the flag",
                sum(&idle),
            ),
            (
                "refused with the error that drivers of libvirt's refuse it with, which a test sees",
                sum(&refused),
            ),
        ];
        for (what, count) in rows {
            writeln!(out, "| {what} | {count} |")?;
        }
        writeln!(out, "\n| of libvirtd | flags |\n|---|--:|")?;
        let rows = [
            (
                "taken, in a test that looks at what came of its call, or is named for the flag: observed",
                self.count(|flag| flag.observed),
            ),
            ("taken, and what came of it is not looked at", sum(&unlooked)),
            ("not seen to be taken", sum(&unobserved)),
        ];
        for (what, count) in rows {
            writeln!(out, "| {what} | {count} |")?;
        }
        let accepted = "What it means that our server accepts one of these is that a client which sends it is served. It says nothing of what \
                        the flag does where guests, memory and files are.\n\n";
        for (head, words, groups) in [
            ("Accepted, without an effect in memory", accepted, &idle),
            ("Refused by our server", "", &refused),
            ("Taken by libvirtd, and not looked at", "", &unlooked),
            ("Not seen to be taken by libvirtd", "", &unobserved),
        ] {
            writeln!(out, "\n### {head}\n\n{words}| reason | flags | which |\n|---|--:|---|")?;
            for (group, count) in groups {
                let of: Vec<_> = group.of.iter().map(|pattern| format!("`{pattern}`")).collect();
                writeln!(out, "| {} | {count} | {} |", group.text, of.join(", "))?;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(name: &str, taken: bool) -> Flag {
        Flag { name: name.to_owned(), sent: true, taken, by_daemon: taken, observed: taken }
    }

    #[test]
    fn a_refusal_that_is_said_exercises_a_flag() {
        let group = |of: &str| Group { text: "why".into(), of: vec![of.to_owned()] };
        let silent = Flag { sent: false, ..flag("r.c Z", false) };
        let refused = vec![group("r.b *"), group("r.c *")];
        let said = Said { idle: Vec::new(), refused, unlooked: Vec::new(), unobserved: Vec::new() };
        let all = vec![flag("r.a X", true), flag("r.b Y", false), silent, flag("r.d W", false)];
        assert_eq!(Flags { all, said }.counts(), [4, 2, 1]);
    }
}

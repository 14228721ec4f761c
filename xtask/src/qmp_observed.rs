//! Which commands and events of QEMU's monitor the tests have seen, and from whom.
//!
//! ```text
//!   tests --HV_QMP_OBSERVED--> lines of each program of tests --> docs/protocols/qmp-observed.txt
//!                                        lib/qmp/schema/*.toml --'--> docs/protocols/qmp-coverage.md
//! ```

use crate::codegen::qmp::{EMULATOR, Installed, installed};
use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Where it is written down.
const FILE: &str = "docs/protocols/qmp-observed.txt";

/// Where the table is.
const TABLE: &str = "docs/protocols/qmp-coverage.md";

const HEAD: &str = "# What the tests have seen of QEMU's monitor; written by `cargo xtask coverage qmp`.\n\
    # kind, name, by whom, `ok` or the class of the refusal, test\n";

/// Tests that make every call or every query, and look at the form of the answers alone: any other test says more.
const SWEEPS: [&str; 2] = [
    "real_replies_lose_nothing_in_their_typed_form",
    "every_command_and_event_passes_between_client_and_server",
];

/// The best that was seen of a command or an event from one side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    refused: bool,
    swept: bool,
    outcome: String,
    test: String,
}

/// By kind, name and side.
#[derive(Debug, Default, PartialEq, Eq)]
struct Observed(BTreeMap<(String, String, String), Seen>);

impl Observed {
    fn read(&mut self, text: &str) -> Result<()> {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, name, by, outcome, test] = words[..] else { bail!("`{line}` is no observation") };
            let swept = SWEEPS.iter().any(|sweep| test.ends_with(sweep));
            let (outcome, test) = (outcome.to_owned(), test.to_owned());
            let seen = Seen { refused: outcome != "ok", swept, outcome, test };
            let key = (kind.to_owned(), name.to_owned(), by.to_owned());
            // The least is the one that says most.
            let best = self.0.entry(key).or_insert_with(|| seen.clone());
            *best = seen.min(best.clone());
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for ((kind, name, by), seen) in &self.0 {
            let _ = writeln!(text, "{kind} {name} {by} {} {}", seen.outcome, seen.test);
        }
        text
    }

    /// Seen from our own server, if it was.
    fn exercised(&self, kind: &str, name: &str) -> Option<&Seen> {
        self.0.get(&(kind.to_owned(), name.to_owned(), "server".to_owned()))
    }

    /// Seen from real programs, in tests that look at more than the form of the answer.
    fn real(&self, kind: &str, name: &str) -> impl Iterator<Item = (&str, &Seen)> {
        let these =
            self.0.iter().filter(move |((of, named, by), _)| of == kind && named == name && by != "server");
        let these = these.filter(|(_, seen)| !seen.swept && !seen.refused);
        these.map(|((.., by), seen)| (by.as_str(), seen))
    }

    /// The first of them.
    fn observed(&self, kind: &str, name: &str) -> Option<(&str, &Seen)> {
        self.real(kind, name).min_by_key(|(_, seen)| *seen)
    }

    /// Whether it was seen from the emulator of this release.
    fn observed_by(&self, kind: &str, name: &str, release: &str) -> bool {
        self.real(kind, name).any(|(by, _)| by == format!("qemu-{release}"))
    }
}

#[derive(Debug, Deserialize)]
struct Description {
    #[serde(default)]
    command: Vec<Entry>,
    #[serde(default)]
    event: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    at: String,
}

fn described() -> Result<Vec<(&'static str, Entry)>> {
    let mut entries = Vec::new();
    for file in ["commands", "events"] {
        let path = sh::root().join(format!("lib/qmp/schema/{file}.toml"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let description: Description = toml::from_str(&text).with_context(|| path.display().to_string())?;
        entries.extend(description.command.into_iter().map(|entry| ("command", entry)));
        entries.extend(description.event.into_iter().map(|entry| ("event", entry)));
    }
    Ok(entries)
}

/// Commands that have a type (`name: "stop"` in its facts) and events that have one (`"STOP"` among those that are told apart), as the
/// generated files spell them.
fn typed() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let directory = sh::root().join("lib/qmp/src/generated");
    for file in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = file?.path();
        let text = std::fs::read_to_string(&path)?;
        let facts = text.split("name: \"").skip(1).filter_map(|rest| rest.split('"').next());
        names.extend(facts.map(str::to_owned));
        if path.ends_with("event.rs") {
            names.extend(text.split('"').map(str::to_owned));
        }
    }
    Ok(names)
}

fn table(entries: &[(&'static str, Entry)], observed: &Observed, typed: &BTreeSet<String>) -> String {
    let mut text = "# What the tests see of QEMU's monitor\n\n\
        <!-- @generated by `cargo xtask coverage qmp` from lib/qmp/schema/ and docs/protocols/qmp-observed.txt. -->\n\n\
        - **typed**: it has a type of its own, and the test of conformance has compared that with the schema of the real program.\n\
        - **exercised**: our own server (`qmp::scripted`) took it from a client with arguments that the real program's schema allows,\n  \
          and answered by that schema; of an event, sent it.\n\
        - **observed**: a real QEMU did it, in a test that looks at more than the form of the answer; of an event, raised it. The test\n  \
          that asks everything which needs no argument does not count. Counted for the release that did it; the storage daemon tells\n  \
          the same version as the emulator, so what it did is not counted apart.\n\n\
        | | all | typed | exercised | observed |\n|---|--:|--:|--:|--:|\n"
        .to_owned();
    for release in ["system-7.2", "system-10.0", "storage-7.2", "storage-10.0"] {
        for kind in ["command", "event"] {
            let these: Vec<&Entry> = entries
                .iter()
                .filter(|(of, entry)| *of == kind && entry.at.split(' ').any(|at| at == release))
                .map(|(_, entry)| entry)
                .collect();
            let count = |seen: &dyn Fn(&Entry) -> bool| these.iter().filter(|entry| seen(entry)).count();
            let exercised = count(&|entry| observed.exercised(kind, &entry.name).is_some());
            let seen = match release.strip_prefix("system-") {
                Some(release) => count(&|entry| observed.observed_by(kind, &entry.name, release)).to_string(),
                None => "not told apart".to_owned(),
            };
            let (all, typed) = (these.len(), count(&|entry| typed.contains(&entry.name)));
            let _ = writeln!(text, "| {kind}s of {release} | {all} | {typed} | {exercised} | {seen} |");
        }
    }
    for (kind, title) in [("command", "Commands"), ("event", "Events")] {
        let _ = writeln!(text, "\n## {title}\n\n| {kind} | at | exercised | observed |\n|---|---|---|---|");
        for (_, entry) in entries.iter().filter(|(of, _)| *of == kind) {
            let name = |test: &str| test.rsplit("::").next().unwrap_or_default().to_owned();
            let exercised = observed.exercised(kind, &entry.name).map(|_| "yes");
            let seen = observed.observed(kind, &entry.name);
            let seen = seen.map(|(by, seen)| format!("`{}` ({by})", name(&seen.test)));
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                entry.name,
                entry.at,
                exercised.unwrap_or("never"),
                seen.as_deref().unwrap_or("never")
            );
        }
    }
    text
}

/// The same columns of what an installed program says that it has, and what of that the description does not know.
fn of_installed(
    installed: &Installed,
    entries: &[(&'static str, Entry)],
    observed: &Observed,
    typed: &BTreeSet<String>,
) -> String {
    let release =
        installed.version.rsplit_once('.').map_or(installed.version.as_str(), |(release, _)| release);
    let mut text = format!("by the schema of the installed {EMULATOR} {} itself:\n", installed.version);
    for (kind, names) in [("command", &installed.commands), ("event", &installed.events)] {
        let count = |seen: &dyn Fn(&String) -> bool| names.iter().filter(|name| seen(name)).count();
        let exercised = count(&|name| observed.exercised(kind, name).is_some());
        let seen = count(&|name| observed.observed_by(kind, name, release));
        let (all, typed) = (names.len(), count(&|name| typed.contains(name)));
        let _ = writeln!(text, "  {kind}s: {all}, typed {typed}, exercised {exercised}, observed {seen}");
        let is_known = |name: &&String| entries.iter().any(|(of, entry)| *of == kind && entry.name == **name);
        for name in names.iter().filter(|name| !is_known(name)) {
            let _ = writeln!(text, "  unknown to the description: {kind} {name} (cargo xtask codegen qmp)");
        }
    }
    text
}

/// Runs the tests, writes down what they saw, and prints the table anew.
///
/// # Errors
/// When a test fails: what it would have seen is then missing.
pub fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    // The unit tests hold the conformance of the types; the real ones talk to QEMU.
    let types = ["--workspace", "--lib", "conformance"];
    let real = [&["--workspace"][..], &crate::qemu_root::TESTS].concat();
    let newer = crate::qemu_root::root().map(|_| "10.0");
    let runs =
        [(&types[..], None), (&real, None)].into_iter().chain(newer.map(|newer| (&real[..], Some(newer))));
    for (tests, release) in runs {
        let mut test = sh::cargo();
        test.args(["test", "--locked"]).args(tests).env("HV_QMP_OBSERVED", directory.path());
        if let Some(release) = release {
            test.env(crate::qemu_root::RELEASE, release);
        }
        sh::run(&mut test)?;
    }
    let mut observed = Observed::default();
    for entry in std::fs::read_dir(directory.path())? {
        observed.read(&std::fs::read_to_string(entry?.path())?)?;
    }
    std::fs::write(sh::root().join(FILE), observed.text())?;
    let (entries, typed) = (described()?, typed()?);
    let table = table(&entries, &observed, &typed);
    std::fs::write(sh::root().join(TABLE), &table)?;
    say(table.split("\n## ").next().unwrap_or_default());
    match installed()? {
        Some(installed) => say(&of_installed(&installed, &entries, &observed, &typed)),
        None => say(&format!("not run: coverage of the installed QEMU: there is no {EMULATOR}")),
    }
    say(&format!("the rest: {TABLE}; written: {FILE}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_observations() {
        let mut observed = Observed::default();
        observed.read(&std::fs::read_to_string(sh::root().join(FILE)).unwrap()).unwrap();
        let table = table(&described().unwrap(), &observed, &typed().unwrap());
        let written = std::fs::read_to_string(sh::root().join(TABLE)).unwrap();
        assert_eq!(table, written, "run cargo xtask coverage qmp");
    }

    #[test]
    fn what_an_installed_program_has_is_counted_by_its_own_schema() {
        let mut observed = Observed::default();
        observed.read("command stop qemu-9.9 ok b::stops\ncommand stop server ok b::x\n").unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let (commands, events) = (names(&["stop", "x-of-tomorrow"]), names(&["STOP"]));
        let installed = Installed { version: "9.9.1".to_owned(), commands, events };
        let text = of_installed(&installed, &described().unwrap(), &observed, &typed().unwrap());
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        let expected = [
            "commands: 2, typed 1, exercised 1, observed 1",
            "unknown to the description: command x-of-tomorrow (cargo xtask codegen qmp)",
            "events: 1, typed 1, exercised 0, observed 0",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_answer_that_says_most_is_kept() {
        let mut observed = Observed::default();
        let lines = format!(
            "command stop qemu-7.2 GenericError a::refused\ncommand stop qemu-7.2 ok qmp::conformance::{}\n\
             command stop qemu-7.2 ok b::stops\ncommand cont qemu-7.2 ok a::{}\ncommand cont server ok a::x\n",
            SWEEPS[0], SWEEPS[0]
        );
        observed.read(&lines).unwrap();
        assert_eq!(observed.observed("command", "stop").unwrap().1.test, "b::stops");
        assert_eq!(observed.observed("command", "cont"), None, "its form alone was looked at");
        assert!(observed.exercised("command", "cont").is_some());
        let mut again = Observed::default();
        again.read(&observed.text()).unwrap();
        assert_eq!(again, observed);
        assert!(again.read("command x").is_err());
    }
}

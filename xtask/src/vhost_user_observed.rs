//! Which messages, features and devices of vhost-user the tests have seen, and with whom.
//!
//! ```text
//!   tests --HV_VHOST_USER_OBSERVED, a relay--> lines of each connection --> docs/protocols/vhost-user-observed.txt
//!                                  lib/vhost-user/schema/*.toml --'--> docs/protocols/vhost-user-coverage.md
//! ```

mod reasons;

use crate::sh::{self, say};
use anyhow::{Context, Result, bail, ensure};
use reasons::Reasons;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where it is written down.
const FILE: &str = "docs/protocols/vhost-user-observed.txt";

/// Where the table is.
const TABLE: &str = "docs/protocols/vhost-user-coverage.md";

const HEAD: &str = "# What the tests have seen of vhost-user; written by `cargo xtask coverage vhost-user`.\n\
    # kind, name, with whom, `ok` or `refused`, test\n";

/// Our own other side, and those that others made, each with the role that is ours there.
const OURS: &str = "ours";
const FRONT_ENDS: [&str; 4] = ["libblkio", "qemu", "vhost", "virtio-user"];

/// Types of devices, each with the module of lib/virtio that has what is said in its rings, if one does.
const DEVICES: [(&str, Option<&str>); 13] = [
    ("balloon", Some("balloon")),
    ("blk", Some("blk")),
    ("console", Some("console")),
    ("fs", Some("fs")),
    ("gpio", None),
    ("gpu", Some("gpu")),
    ("i2c", None),
    ("input", Some("input")),
    ("net", Some("net")),
    // Buffers that are filled are all that there is to it.
    ("rng", Some("post")),
    ("scsi", Some("scsi")),
    ("sound", Some("sound")),
    ("vsock", Some("vsock")),
];

/// A test that saw it: one that saw it succeed if there is one, and of those the one that looks at what comes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    refused: bool,
    /// No test is known that looks at it: it went there, and was taken.
    is_only_sent: bool,
    test: String,
}

impl Seen {
    /// Without where it is.
    fn name(&self) -> &str {
        name_of(&self.test)
    }
}

fn name_of(test: &str) -> &str {
    test.rsplit("::").next().unwrap_or_default()
}

/// What was seen.
#[derive(Debug, Default)]
struct Observed {
    /// By kind, name, and with whom.
    best: BTreeMap<(String, String, String), Seen>,
    /// The program that others made which a test, by its name alone, speaks with.
    peers: BTreeMap<String, String>,
}

impl Observed {
    /// # Errors
    /// What is no observation, and a test that speaks with two programs: what it looks at is said of the test, not of one of them.
    fn read(&mut self, text: &str, reasons: &Reasons) -> Result<()> {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, name, with, outcome, test] = words[..] else { bail!("`{line}` is no observation") };
            if with != OURS {
                let peer = self.peers.entry(name_of(test).to_owned()).or_insert_with(|| with.to_owned());
                ensure!(
                    peer == with,
                    "{} speaks with {peer} and with {with}: {} says which test looks at what by its name alone, so that each of them needs \
                     a test of its own with a name of its own",
                    name_of(test),
                    reasons::FILE
                );
            }
            let is_only_sent = !reasons.look(name_of(test), kind, name);
            let seen = Seen { refused: outcome != "ok", is_only_sent, test: test.to_owned() };
            let key = (kind.to_owned(), name.to_owned(), with.to_owned());
            // The least is the one that says most.
            let best = self.best.entry(key).or_insert_with(|| seen.clone());
            *best = seen.min(best.clone());
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for ((kind, name, with), Seen { refused, test, .. }) in &self.best {
            let outcome = if *refused { "refused" } else { "ok" };
            let _ = writeln!(text, "{kind} {name} {with} {outcome} {test}");
        }
        text
    }

    fn exercised(&self, kind: &str, name: &str) -> Option<&Seen> {
        let seen = self.best.get(&(kind.to_owned(), name.to_owned(), OURS.to_owned()));
        seen.filter(|seen| !seen.refused)
    }

    /// With programs that others made, in one role of ours or the other.
    fn observed(&self, kind: &str, name: &str, role: Role) -> Vec<(&str, &Seen)> {
        let these = self.best.iter().filter(|((of, named, with), seen)| {
            of == kind
                && named == name
                && with != OURS
                && FRONT_ENDS.contains(&with.as_str()) == (role == Role::BackEnd)
                && !seen.refused
        });
        these.map(|((.., with), seen)| (with.as_str(), seen)).collect()
    }
}

/// What ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    FrontEnd,
    BackEnd,
}

impl Role {
    const fn others(self) -> &'static str {
        match self {
            Self::FrontEnd => "back-ends of others",
            Self::BackEnd => "front-ends of others",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Protocol {
    feature: Vec<Named>,
    front: Vec<Named>,
    back: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(sh::root().join(path)).with_context(|| path.to_owned())
}

/// Everything that there is, as kind and name, and whether it has a type of its own: the generated files say so.
fn described() -> Result<Vec<(&'static str, String, bool)>> {
    let protocol: Protocol = toml::from_str(&read("lib/vhost-user/schema/protocol.toml")?)?;
    let generated = |file: &str| read(&format!("lib/vhost-user/src/generated/{file}.rs"));
    let (front, back, features) = (generated("front")?, generated("back")?, generated("features")?);
    let mut all = Vec::new();
    for (kind, these, text) in [
        ("front", protocol.front, front),
        ("back", protocol.back, back),
        ("feature", protocol.feature, features),
    ] {
        for Named { name } in these {
            let is_typed = match kind {
                "feature" => text.contains(&format!("const {name} = ")),
                _ => text.contains(&format!("name: \"{name}\"")),
            };
            all.push((kind, name, is_typed));
        }
    }
    all.extend(DEVICES.map(|(name, module)| ("device", name.to_owned(), module.is_some())));
    Ok(all)
}

/// # Errors
/// Reasons that are missing, or not needed.
fn table(all: &[(&'static str, String, bool)], observed: &Observed, reasons: &Reasons) -> Result<String> {
    reasons.fit(all, observed)?;
    let mut text = "# What the tests see of vhost-user\n\n\
        <!-- @generated by `cargo xtask coverage vhost-user` from lib/vhost-user/schema/ and docs/protocols/vhost-user-observed.txt. -->\n\n\
        - **typed**: it has a type of its own in the generated code; of a device, its driver is in lib/virtio.\n\
        - **exercised**: it went between our front-end and our back-end, through a relay that wrote it down, and succeeded; of a feature,\n  \
          it was negotiated.\n\
        - **observed**: the same with a program that others made, our front-end with their back-end, our back-end with their front-end, in a\n  \
        test that looks at what comes of it, and fails without. What it looks at is said at the end. What was only *sent*, and taken, in the\n  \
        test that is named is counted behind a plus. What was not has its reason (`lib/vhost-user/schema/unobserved.toml`, which also says\n  \
        which test looks at what).\n\n\
        | | all | typed | exercised | observed, our front-end | observed, our back-end |\n|---|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let kinds = [
        ("front", "messages of the front-end", "Messages of the front-end"),
        ("back", "messages of the back-end", "Messages of the back-end"),
        ("feature", "protocol features", "Protocol features"),
        ("device", "device types", "Device types"),
    ];
    for (kind, title, _) in kinds {
        let these: Vec<_> = all.iter().filter(|(of, ..)| *of == kind).collect();
        let typed = these.iter().filter(|(.., is_typed)| *is_typed).count();
        let exercised = these.iter().filter(|(_, name, _)| observed.exercised(kind, name).is_some()).count();
        let with = |role| {
            let all: Vec<_> = these.iter().map(|(_, name, _)| observed.observed(kind, name, role)).collect();
            let looked_at = |seen: &&Vec<(&str, &Seen)>| seen.iter().any(|(_, seen)| !seen.is_only_sent);
            let (seen, looked_at) =
                (all.iter().filter(|seen| !seen.is_empty()).count(), all.iter().filter(looked_at).count());
            format!("{looked_at} + {}", seen - looked_at)
        };
        let _ = writeln!(
            text,
            "| {title} | {} | {typed} | {exercised} | {} | {} |",
            these.len(),
            with(Role::FrontEnd),
            with(Role::BackEnd)
        );
    }
    for (kind, _, title) in kinds {
        let _ = writeln!(
            text,
            "\n## {title}\n\n| | exercised | observed, our front-end | observed, our back-end |\n|---|---|---|---|"
        );
        for (_, name, _) in all.iter().filter(|(of, ..)| *of == kind) {
            let exercised = observed.exercised(kind, name).map(|seen| format!("`{}`", seen.name()));
            let with = |role| {
                let seen = observed.observed(kind, name, role);
                let one = |(with, seen): &(&str, &Seen)| {
                    let sent = if seen.is_only_sent { "sent in " } else { "" };
                    format!("{sent}`{}` ({with})", seen.name())
                };
                let all: Vec<_> = seen.iter().map(one).collect();
                let reason = reasons.of(role, kind, name).unwrap_or_default();
                if all.is_empty() { format!("never: {reason}") } else { all.join(", ") }
            };
            let _ = writeln!(
                text,
                "| `{name}` | {} | {} | {} |",
                exercised.as_deref().unwrap_or("never"),
                with(Role::FrontEnd),
                with(Role::BackEnd)
            );
        }
    }
    text.push_str("\n## What the tests with others look at\n\n| test | what came of it |\n|---|---|\n");
    for (test, looks_at) in reasons.effects() {
        let _ = writeln!(text, "| `{test}` | {looks_at} |");
    }
    Ok(text)
}

/// Runs the tests, writes down what they saw, and prints the table anew.
///
/// # Errors
/// When a test fails: what it would have seen is then missing.
pub fn run() -> Result<()> {
    let (directory, reasons) = (tempfile::tempdir()?, Reasons::read()?);
    let mut test = sh::cargo();
    // With packages whose features are those of every other build, so that nothing is built for this alone.
    test.args([
        "test",
        "--locked",
        "-p",
        "virtio",
        "-p",
        "vhost-user",
        "-p",
        "vhost-user-check",
        "-p",
        "xtask",
    ])
    .args(["--test", "pair", "--test", "storage", "--test", "peers", "--test", "guest"])
    .env("HV_VHOST_USER_OBSERVED", directory.path());
    sh::run(&mut test)?;
    let mut observed = Observed::default();
    for entry in std::fs::read_dir(directory.path())? {
        observed.read(&std::fs::read_to_string(entry?.path())?, &reasons)?;
    }
    std::fs::write(sh::root().join(FILE), observed.text())?;
    let table = table(&described()?, &observed, &reasons)?;
    std::fs::write(sh::root().join(TABLE), &table)?;
    say(table.split("\n## ").next().unwrap_or_default());
    say(&format!("the rest: {TABLE}; written: {FILE}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::functions;
    use std::collections::BTreeSet;

    /// What is checked in; the tests that it names are there.
    fn load(reasons: &Reasons) -> Observed {
        let mut observed = Observed::default();
        observed.read(&read(FILE).unwrap(), reasons).unwrap();
        let mut known = BTreeSet::new();
        functions(&sh::root().join("lib/vhost-user/tests"), "", &mut known).unwrap();
        // Of their programs nothing is written down.
        let known: BTreeSet<_> = known.iter().filter_map(|test| Some(test.split_once("::")?.1)).collect();
        for Seen { test, .. } in observed.best.values() {
            assert!(known.contains(test.as_str()), "{test} is gone: run cargo xtask coverage vhost-user");
        }
        observed
    }

    #[test]
    fn the_table_is_that_of_the_observations() {
        let reasons = Reasons::read().unwrap();
        let table = table(&described().unwrap(), &load(&reasons), &reasons).unwrap();
        assert_eq!(table, read(TABLE).unwrap(), "run cargo xtask coverage vhost-user");
    }

    /// Every message is typed and was exercised.
    #[test]
    fn no_message_is_missing() {
        let observed = load(&Reasons::read().unwrap());
        for (kind, name, is_typed) in described().unwrap() {
            if kind == "front" || kind == "back" {
                assert!(is_typed, "{name} has no type");
                assert!(observed.exercised(kind, &name).is_some(), "{name} was not exercised");
            }
        }
    }

    #[test]
    fn drivers_are_where_they_are_said_to_be() {
        for (name, module) in DEVICES {
            let is_there = |module: &str| {
                let path = sh::root().join("lib/virtio/src").join(module);
                path.with_extension("rs").is_file() || path.join("mod.rs").is_file()
            };
            assert_eq!(is_there(module.unwrap_or(name)), module.is_some(), "{name}");
        }
    }

    #[test]
    fn success_says_more_than_a_refusal_and_a_test_that_looks_more_than_one_that_does_not() {
        let reasons = "reason = []\n[[effect]]\ntest = 'f'\nlooks_at = 'it'\nof = ['front.SET_OWNER']\n";
        let reasons = Reasons::parse(reasons).unwrap();
        let mut observed = Observed::default();
        let lines = "front SET_OWNER ours refused a::b\nfront SET_OWNER ours ok c::d\nfront SET_OWNER qemu ok a::b\n\
                     front SET_OWNER qemu ok e::f\nfront SET_OWNER qemu ok e::g\nfront SET_OWNER vhost refused e::h\n\
                     front SET_OWNER vhost ok e::i\n";
        observed.read(lines, &reasons).unwrap();
        assert_eq!(observed.exercised("front", "SET_OWNER").unwrap().test, "c::d");
        let seen = observed.observed("front", "SET_OWNER", Role::BackEnd);
        let seen: Vec<_> =
            seen.iter().map(|(with, seen)| (*with, seen.test.as_str(), seen.is_only_sent)).collect();
        assert_eq!(seen, [("qemu", "e::f", false), ("vhost", "e::i", true)]);
        assert!(observed.observed("front", "SET_OWNER", Role::FrontEnd).is_empty());
        let mut again = Observed::default();
        again.read(&observed.text(), &reasons).unwrap();
        assert_eq!(again.best, observed.best);
        assert!(again.read("front x", &reasons).is_err());
    }

    #[test]
    fn a_test_speaks_with_one_program_of_others() {
        let reasons = Reasons::parse("reason = []\neffect = []\n").unwrap();
        let read = |files: &[&str]| {
            let mut observed = Observed::default();
            files.iter().try_for_each(|text| observed.read(text, &reasons))
        };
        let first =
            "front SET_OWNER ours ok a::b\nfront SET_OWNER qemu ok a::b\nfront GET_FEATURES qemu ok a::b\n";
        read(&[first, "front SET_OWNER vhost ok a::c\n"]).unwrap();
        // Whatever came of it, in another run of the same test or in one of the same name.
        for second in ["feature MQ vhost refused a::b\n", "front SET_OWNER vhost ok d::b\n"] {
            let error = read(&[first, second]).unwrap_err().to_string();
            assert!(error.starts_with("b speaks with qemu and with vhost: "), "{error}");
        }
    }
}

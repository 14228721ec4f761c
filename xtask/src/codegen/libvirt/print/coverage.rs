//! The table of what is typed, exercised against our own server, and observed on libvirt's daemon.

use super::super::model::{Procedure, Program};
use super::documents::{NOTE, list, methods};
use super::{Printer, raw};
use crate::codegen::libvirt::SCHEMA;
use crate::observed::{Answer, By, Effects, FILE, Observed};
use crate::sh;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The ways to a daemon that a URI can name.
const TRANSPORTS: [&str; 7] = ["unix", "tcp", "tls", "ssh", "libssh", "libssh2", "ext"];

/// Why libvirtd was not seen to do something: written by hand, and compared with what was seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unobserved {
    reason: Vec<Reason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// The end of a sentence that begins with "not observed:".
    text: String,
    /// `program.procedure`, or `transport.name`.
    of: BTreeSet<String>,
}

/// One line of the summary.
#[derive(Default)]
struct Count {
    all: usize,
    /// A function, a type, a method: what "typed" means of this kind.
    typed: usize,
    exercised: usize,
    observed: usize,
}

impl Count {
    fn add(&mut self, typed: bool, exercised: bool, observed: bool) {
        self.all += 1;
        self.typed += usize::from(typed);
        self.exercised += usize::from(exercised);
        self.observed += usize::from(observed);
    }
}

impl Printer<'_> {
    pub(super) fn coverage(&self, observed: &Observed) -> Result<String> {
        let methods = methods()?;
        let (reasons, effects) = (reasons()?, Effects::read()?);
        self.check(observed, &reasons, &effects)?;
        let mut counts: BTreeMap<(u8, String), Count> = BTreeMap::new();
        let mut refused = Vec::new();
        let mut rows = String::new();
        for (program, procedure) in self.every_procedure() {
            let name = format!("{}.{}", program.name, procedure.name);
            let server = observed.get(&program.name, &procedure.name, By::Server);
            let daemon = observed.daemon(&program.name, &procedure.name, &effects);
            let seen = !reasons.contains_key(&name);
            let event = procedure.event.is_some();
            let mut count = |order: u8, of: String| {
                counts.entry((order, of)).or_default().add(true, server.is_some(), seen);
            };
            if event {
                count(1, "events".to_owned());
            } else {
                count(0, format!("calls of the program `{}`", program.name));
                let never = server.is_some_and(|answer| answer.refused.is_some());
                refused.extend(never.then(|| format!("`{}`", procedure.name)));
            }
            if procedure.stream.is_some() {
                count(3, "calls with a stream".to_owned());
            }
            if procedure.descriptors.is_some() {
                count(4, "calls with file descriptors".to_owned());
            }
            let function = if event {
                "`Connect::subscribe`".to_owned()
            } else {
                let method = procedure.function.as_ref().and_then(|function| methods.get(function));
                method.map_or_else(|| format!("`raw::{}`", raw::path(program, procedure)), list)
            };
            writeln!(
                rows,
                "| {} {} | `{}` | {} | {function} | {} | {} |",
                program.name,
                procedure.number,
                procedure.name,
                procedure.since,
                server.map_or_else(|| "never asked".to_owned(), exercise),
                observation(daemon.as_ref(), seen, reasons.get(&name).map(String::as_str)),
            )?;
        }
        let mut transports = String::new();
        for transport in TRANSPORTS {
            let server = observed.get("transport", transport, By::Server);
            let daemon = observed.daemon("transport", transport, &effects);
            let reason = reasons.get(&format!("transport.{transport}"));
            let count = counts.entry((5, "transports".to_owned())).or_default();
            count.add(true, server.is_some(), reason.is_none());
            writeln!(
                transports,
                "| {transport} | {} | {} |",
                server.map_or_else(|| "never".to_owned(), exercise),
                observation(daemon.as_ref(), reason.is_none(), reason.map(String::as_str)),
            )?;
        }
        let flags = self.flags(self.every_procedure(), observed, &effects)?;
        let [all, exercised, seen] = flags.counts();
        let count = Count { all, typed: all, exercised, observed: seen };
        counts.insert((2, "flags, counted once for each call that takes them".to_owned()), count);
        let note = NOTE.replace("lib/libvirt-client.", &format!("lib/libvirt-client and {FILE}."));
        let mut out = format!("# What the tests see of the protocol\n\n{note}{ABOUT}\n");
        out.push_str("| | all | typed | exercised | observed |\n|---|--:|--:|--:|--:|\n");
        for ((_, name), count) in &counts {
            let Count { all, typed, exercised, observed } = count;
            writeln!(out, "| {name} | {all} | {typed} | {exercised} | {observed} |")?;
        }
        writeln!(
            out,
            "\nOf the calls that our server was asked, it refuses {} in every test{}.\n{}\n## Not observed\n\n| reason | procedures |\n|---|---|",
            refused.len(),
            if refused.is_empty() { String::new() } else { format!(": {}", refused.join(", ")) },
            flags.print()?,
        )?;
        for reason in unobserved()?.reason {
            let of: Vec<_> = reason.of.iter().map(|name| format!("`{name}`")).collect();
            writeln!(out, "| {} | {} |", reason.text, of.join(", "))?;
        }
        writeln!(
            out,
            "\n## Transports\n\n| transport | exercised | observed |\n|---|---|---|\n{transports}"
        )?;
        out.push_str("## Procedures\n\n| procedure | name | since | function | exercised | observed |\n|---|---|---|---|---|---|\n");
        out.push_str(&rows);
        Ok(out)
    }

    fn every_procedure(&self) -> impl Iterator<Item = (&Program, &Procedure)> {
        self.programs
            .iter()
            .flat_map(|program| program.procedures.iter().map(move |procedure| (program, procedure)))
    }

    /// What is said by hand must fit what was seen.
    fn check(
        &self,
        observed: &Observed,
        reasons: &BTreeMap<String, String>,
        effects: &Effects,
    ) -> Result<()> {
        let transports = TRANSPORTS.map(|name| ("transport", name));
        let procedures =
            self.every_procedure().map(|(program, procedure)| (&*program.name, &*procedure.name));
        let all: Vec<(&str, &str)> = procedures.chain(transports).collect();
        for (program, procedure, _) in observed.all() {
            if !all.contains(&(program, procedure)) {
                bail!("{FILE}: there is no {program} {procedure}");
            }
        }
        effects.fit(&all, observed, &reasons.keys().map(String::as_str).collect())
    }
}

const ABOUT: &str = "`cargo xtask coverage libvirt` runs the tests, with libvirtd 9.0.0 and 11.3.0, writes down what they saw, and prints this anew; with `--testing` it runs those of what came later with the libvirtd of Debian's testing (12.8.0 on 22 November 2026).\n\n\
    - **typed**: a call has a function with its own types (and most a method on a handle), an event a variant, a flag a constant.\n\
    - **exercised**: of a call, our own server (`lib/libvirt-server`) decoded it and answered; of a flag, it took it, in a test that looks at \
    more than the answer, or refused it with the error of libvirt's drivers that do not take it, which a test sees (both are counted apart \
    below): one that was only sent does not count; of an event, it sent it.\n\
    - **observed**: libvirtd did it, in the run that this page is made of, in a test that looks at what came of it, which the page names and \
    `lib/libvirt-protocol/schema/effects.toml` lists: what a call does is seen by another call or from outside, what it tells is compared with \
    what is known from elsewhere, an event is waited for, a transport carries such calls. Of a flag, libvirtd took it in the test \
    that looks at that very call, or in one that `effects.toml` names for the flag; flags that such a test gives and does not look at are counted \
    apart, below. What only the test that makes every call has seen does not count.\n";

fn unobserved() -> Result<Unobserved> {
    let path = sh::root().join(SCHEMA).join("unobserved.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).context("in unobserved.toml")
}

fn reasons() -> Result<BTreeMap<String, String>> {
    let mut reasons = BTreeMap::new();
    for reason in unobserved()?.reason {
        for name in reason.of {
            if reasons.insert(name.clone(), reason.text.clone()).is_some() {
                bail!("unobserved.toml has two reasons for {name}");
            }
        }
    }
    Ok(reasons)
}

fn exercise(answer: &Answer) -> String {
    match &answer.refused {
        Some(code) => format!("refused {code}: {}", name(&answer.test)),
        None => name(&answer.test),
    }
}

fn observation(daemon: Option<&(By, Answer)>, seen: bool, reason: Option<&str>) -> String {
    match daemon {
        Some((By::Newer, answer)) if seen => format!("{} (11.3.0)", name(&answer.test)),
        Some((By::Testing, answer)) if seen => format!("{} (12.8.0)", name(&answer.test)),
        Some((_, answer)) if seen => name(&answer.test),
        Some((_, Answer { refused: Some(code), .. })) => {
            format!("{}; refused {code}", reason.unwrap_or_default())
        }
        Some(_) => format!("{}; answered", reason.unwrap_or_default()),
        None => reason.unwrap_or_default().to_owned(),
    }
}

/// A test without the program that it is in, which each side has one of, or few.
fn name(test: &str) -> String {
    match test.rsplit("::").next().unwrap_or(test) {
        // Work in a task of its own, of the program's whichever test.
        "-" => format!("`{}`", test.trim_end_matches("::-")),
        name => format!("`{name}`"),
    }
}

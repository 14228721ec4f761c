//! Which test looks at what came of a call, a flag or an event: written by hand, and compared with what was seen.

use super::{By, Observed, is_like};
use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const FILE: &str = "lib/libvirt-protocol/schema/effects.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    test: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    /// `program::module::name`.
    name: String,
    /// `program.procedure`, or `transport.name`.
    #[serde(default)]
    looks_at: Vec<String>,
    /// `program.procedure FLAG`, with `*` for anything: of calls that another test looks at.
    #[serde(default)]
    flags: Vec<String>,
}

/// What the file says.
#[derive(Debug, Default)]
pub struct Effects {
    /// The one test that each is looked at in.
    tests: BTreeMap<String, String>,
    /// Flags that are looked at in a test, and the test.
    flags: Vec<(String, String)>,
}

impl Effects {
    /// What is checked in.
    ///
    /// # Errors
    /// When it cannot be read, or names something twice.
    pub fn read() -> Result<Self> {
        let text =
            std::fs::read_to_string(sh::root().join(FILE)).with_context(|| format!("reading {FILE}"))?;
        Self::parse(&text).with_context(|| format!("in {FILE}"))
    }

    fn parse(text: &str) -> Result<Self> {
        let said: Said = toml::from_str(text)?;
        let (mut tests, mut all_flags) = (BTreeMap::new(), Vec::new());
        for Test { name, looks_at, flags } in said.test {
            all_flags.extend(flags.into_iter().map(|pattern| (pattern, name.clone())));
            for what in looks_at {
                if let Some(other) = tests.insert(what.clone(), name.clone()) {
                    bail!("{what} is looked at by {other} already: {name} is not needed");
                }
            }
        }
        Ok(Self { tests, flags: all_flags })
    }

    /// Every test that is named.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.tests.values().chain(self.flags.iter().map(|(_, test)| test)).map(String::as_str)
    }

    #[cfg(test)]
    pub(super) fn of(said: &[(&str, &str)]) -> Self {
        let said = said.iter().map(|(what, test)| ((*what).to_owned(), (*test).to_owned()));
        Self { tests: said.collect(), flags: Vec::new() }
    }

    /// Whether a test is the one that looks at what came of this.
    #[must_use]
    pub fn look(&self, test: &str, program: &str, procedure: &str) -> bool {
        self.tests.get(&format!("{program}.{procedure}")).is_some_and(|looks| looks == test)
    }

    /// Whether a test looks at what comes of a flag, `program.procedure FLAG`: it is the one that looks at the call, or is named for the flag.
    #[must_use]
    pub fn look_at_flag(&self, test: &str, flag: &str) -> bool {
        self.look_at_call_of(test, flag)
            || self.flags.iter().any(|(pattern, looks)| looks == test && is_like(flag, pattern))
    }

    fn look_at_call_of(&self, test: &str, flag: &str) -> bool {
        let call = flag.split(' ').next().unwrap_or_default();
        self.tests.get(call).is_some_and(|looks| looks == test)
    }

    /// Each test that is named for flags has seen a daemon take them, with calls that another test looks at; `taken`: flags, and who took
    /// them.
    ///
    /// # Errors
    /// What is named for nothing.
    pub fn fit_flags(&self, taken: &[(&str, &str)]) -> Result<()> {
        let idle = self.flags.iter().find(|(pattern, test)| {
            let mut of_test = taken.iter().filter(|(_, taker)| taker == test);
            !of_test.any(|(flag, _)| is_like(flag, pattern) && !self.look_at_call_of(test, flag))
        });
        match idle {
            None => Ok(()),
            Some((pattern, test)) => bail!(
                "{FILE} names {test} for `{pattern}`: libvirtd took no such flag there, or they count with the calls that it looks at"
            ),
        }
    }

    /// No flag has both a test that is named for it and took it, and a reason why nobody looks at it; `taken`: flags, and who took them. That a
    /// test looks at a call of which it gives flags beside the point is no contradiction.
    ///
    /// # Errors
    /// What has both.
    pub fn fit_unlooked(&self, taken: &[(&str, &str)], is_unlooked: impl Fn(&str) -> bool) -> Result<()> {
        let unlooked = taken.iter().filter(|(flag, _)| is_unlooked(flag));
        // Each once, though several daemons took it.
        let both: BTreeSet<String> = unlooked
            .filter_map(|(flag, taker)| {
                let named = self.flags.iter().find(|(pattern, test)| test == taker && is_like(flag, pattern));
                named.map(|(pattern, test)| format!("{flag} (`{pattern}` of {test})"))
            })
            .collect();
        ensure!(
            both.is_empty(),
            "{FILE} names tests for these flags, of which flags.toml says that nobody looks at what comes of them: {}; where the test does \
             look, they are to leave `unlooked`, and otherwise the name is to mean fewer flags",
            both.into_iter().collect::<Vec<_>>().join(", ")
        );
        Ok(())
    }

    /// Each of `all` has either a test that looks at it, and has seen it done by a daemon, or a reason; and nothing else is said.
    ///
    /// # Errors
    /// What is too much or too little.
    pub fn fit(&self, all: &[(&str, &str)], observed: &Observed, reasons: &BTreeSet<&str>) -> Result<()> {
        let (mut missing, mut unseen, mut twice) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = BTreeSet::new();
        for (program, procedure) in all {
            let name = format!("{program}.{procedure}");
            match (self.tests.get(&name), reasons.contains(name.as_str())) {
                (None, false) => missing.push(name.clone()),
                (Some(_), true) => twice.push(name.clone()),
                (None, true) => {}
                (Some(test), false) => {
                    let done = |by| {
                        let answer = observed.get(program, procedure, by);
                        answer.is_some_and(|answer| answer.refused.is_none() && answer.test == *test)
                    };
                    if !By::DAEMONS.into_iter().any(done) {
                        unseen.push(format!("{name} ({test})"));
                    }
                }
            }
            known.insert(name);
        }
        let named = self.tests.keys().map(String::as_str).chain(reasons.iter().copied());
        let unknown: Vec<&str> = named.filter(|name| !known.contains(*name)).collect();
        ensure!(
            missing.is_empty(),
            "no test looks at these, and unobserved.toml has no reason: {}",
            missing.join(" ")
        );
        ensure!(
            unseen.is_empty(),
            "{FILE} names tests that saw no daemon do it (cargo xtask coverage libvirt): {}",
            unseen.join(" ")
        );
        ensure!(
            twice.is_empty(),
            "a test looks at these, so that they need no reason in unobserved.toml: {}",
            twice.join(" ")
        );
        ensure!(
            unknown.is_empty(),
            "{FILE} or unobserved.toml names what there is not: {}",
            unknown.join(" ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[[test]]\nname = 't::a_is_done'\nlooks_at = ['remote.a', 'remote.b']\n";

    fn fits(text: &str, reasons: &[&str]) -> Result<()> {
        let effects = Effects::parse(text)?;
        let mut observed = Observed::default();
        let lines = "Remote a ok 0x0 t::a_is_done\nRemote a ok 0x0 t::a_is_called\nRemote b ok 0x0 t::a_is_done\n\
                     Remote c ok 0x0 t::a_is_done\nRemote d NoSupport 0x0 t::a_is_done\n";
        observed.read(lines, By::Daemon, &effects)?;
        let all = ["a", "b", "c", "d"].map(|name| ("remote", name));
        effects.fit(&all, &observed, &reasons.iter().copied().collect())
    }

    #[test]
    fn everything_is_looked_at_or_has_a_reason_and_nothing_has_both() {
        let reasons = ["remote.c", "remote.d"];
        fits(TEXT, &reasons).unwrap();
        for (from, to, reasons, why) in [
            ("", "", &reasons[..1], "no test looks at these, and unobserved.toml has no reason: remote.d"),
            (", 'remote.b'", "", &reasons, "no reason: remote.b"),
            // It was refused there.
            ("'remote.b'", "'remote.b', 'remote.d'", &reasons[..1], "saw no daemon do it"),
            ("a_is_done", "a_is_undone", &reasons, "remote.a (t::a_is_undone) remote.b"),
            ("'remote.b'", "'remote.b', 'remote.c'", &reasons, "need no reason in unobserved.toml: remote.c"),
            ("'remote.b'", "'remote.b', 'remote.x'", &reasons, "names what there is not: remote.x"),
            ("'remote.b'", "'remote.b', 'remote.a'", &reasons, "looked at by t::a_is_done already"),
            ("looks_at", "looks", &reasons, "unknown field"),
        ] {
            let error = format!("{:#}", fits(&TEXT.replacen(from, to, 1), reasons).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_flag_is_looked_at_with_its_call_or_by_its_name() {
        let text =
            format!("{TEXT}flags = ['remote.c X_*']\n[[test]]\nname = 't::others'\nflags = ['*.a X_ONE']\n");
        let effects = Effects::parse(&text).unwrap();
        for (test, flag, looks) in [
            ("t::a_is_done", "remote.a X_TWO", true),
            ("t::a_is_done", "remote.c X_ONE", true),
            ("t::a_is_done", "remote.d X_ONE", false),
            ("t::others", "remote.a X_ONE", true),
            ("t::others", "remote.a X_TWO", false),
            ("t::others", "remote.b X_ONE", false),
        ] {
            assert_eq!(effects.look_at_flag(test, flag), looks, "{test} {flag}");
        }
        assert_eq!(effects.named().collect::<BTreeSet<_>>(), ["t::a_is_done", "t::others"].into());
        let taken = [("remote.c X_TWO", "t::a_is_done"), ("remote.a X_ONE", "t::others")];
        effects.fit_flags(&taken).unwrap();
        // Another test took it, which nobody says looks at it.
        let error = effects.fit_flags(&[taken[0], ("remote.a X_ONE", "t::a_is_done")]).unwrap_err();
        assert!(error.to_string().contains("t::others for `*.a X_ONE`"), "{error}");
        // It counts with its call.
        let text = text.replace("remote.c X_*", "remote.b *");
        let error = Effects::parse(&text).unwrap().fit_flags(&[("remote.b X", "t::a_is_done"), taken[1]]);
        assert!(error.unwrap_err().to_string().contains("t::a_is_done for `remote.b *`"));
    }

    #[test]
    fn a_flag_that_a_test_is_named_for_is_not_said_to_be_passed_over() {
        let effects = Effects::parse(&format!("{TEXT}flags = ['remote.c X_*']\n")).unwrap();
        let done = "t::a_is_done";
        let taken = [("remote.a X_ONE", done), ("remote.c X_ONE", done), ("remote.c X_TWO", "t::others")];
        let taken = [taken, taken].concat();
        let fits = |unlooked: &[&str]| effects.fit_unlooked(&taken, |flag| unlooked.contains(&flag));
        // Given with a call that the test looks at, and taken by a test that is not named for it.
        fits(&["remote.a X_ONE", "remote.c X_TWO"]).unwrap();
        let error = fits(&["remote.a X_ONE", "remote.c X_ONE"]).unwrap_err().to_string();
        assert!(error.contains("comes of them: remote.c X_ONE (`remote.c X_*` of t::a_is_done);"), "{error}");
    }
}

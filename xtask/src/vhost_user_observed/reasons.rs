//! Why something was not seen with a program that others made, and what the tests look at of what was.

use super::{Observed, Role, read};
use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const FILE: &str = "lib/vhost-user/schema/unobserved.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    reason: Vec<Reason>,
    effect: Vec<Effect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    text: String,
    /// `kind.name` of what our front-end was not seen to say to, or hear of, back-ends of others.
    #[serde(default)]
    with_back_ends: Vec<String>,
    /// The same of our back-end and front-ends of others.
    #[serde(default)]
    with_front_ends: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    test: String,
    /// For people.
    looks_at: String,
    /// `kind.name` of what it would fail without.
    of: BTreeSet<String>,
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Reasons {
    reasons: BTreeMap<(Role, String), String>,
    effects: BTreeMap<String, (String, BTreeSet<String>)>,
}

impl Reasons {
    pub(super) fn read() -> Result<Self> {
        Self::parse(&read(FILE)?)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let said: Said = toml::from_str(text)?;
        let mut reasons = BTreeMap::new();
        for Reason { text, with_back_ends, with_front_ends } in said.reason {
            let of = with_back_ends.into_iter().map(|name| (Role::FrontEnd, name));
            for key in of.chain(with_front_ends.into_iter().map(|name| (Role::BackEnd, name))) {
                if let Some(other) = reasons.insert(key.clone(), text.clone()) {
                    bail!("two reasons for {}: {other:?} and {text:?}", key.1);
                }
            }
        }
        let mut effects = BTreeMap::new();
        for Effect { test, looks_at, of } in said.effect {
            ensure!(effects.insert(test.clone(), (looks_at, of)).is_none(), "two effects of {test}");
        }
        Ok(Self { reasons, effects })
    }

    pub(super) fn of(&self, role: Role, kind: &str, name: &str) -> Option<&str> {
        self.reasons.get(&(role, format!("{kind}.{name}"))).map(String::as_str)
    }

    /// By test.
    pub(super) fn effects(&self) -> impl Iterator<Item = (&str, &str)> {
        self.effects.iter().map(|(test, (looks_at, _))| (test.as_str(), looks_at.as_str()))
    }

    /// Whether a test, by its name alone, looks at what comes of something.
    pub(super) fn look(&self, test: &str, kind: &str, name: &str) -> bool {
        self.effects.get(test).is_some_and(|(_, of)| of.contains(&format!("{kind}.{name}")))
    }

    /// Every reason is needed and none is missing, and so it is with the tests that saw something; what a test looks at it has seen, and no
    /// other test looks at it with the same program. A test speaks with one program: what it looks at is asked by its name alone.
    ///
    /// # Errors
    /// What is too much or too little.
    pub(super) fn fit(&self, all: &[(&'static str, String, bool)], observed: &Observed) -> Result<()> {
        let (mut missing, mut needless) = (Vec::new(), Vec::new());
        let (mut known, mut tests, mut looked_at) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut programs = BTreeMap::<String, BTreeSet<String>>::new();
        for (kind, name, _) in all {
            for role in [Role::FrontEnd, Role::BackEnd] {
                let seen = observed.observed(kind, name, role);
                tests.extend(seen.iter().map(|(_, seen)| seen.name().to_owned()));
                for (with, seen) in &seen {
                    programs.entry(seen.name().to_owned()).or_default().insert((*with).to_owned());
                }
                let these = seen.iter().filter(|(_, seen)| !seen.is_only_sent);
                looked_at.extend(these.map(|(_, seen)| (seen.name().to_owned(), format!("{kind}.{name}"))));
                let key = (role, format!("{kind}.{name}"));
                match (seen.is_empty(), self.reasons.contains_key(&key)) {
                    (true, false) => missing.push(format!("{} ({})", key.1, role.others())),
                    (false, true) => needless.push(format!("{} ({})", key.1, role.others())),
                    _ => {}
                }
                known.insert(key);
            }
        }
        let unknown = self.reasons.keys().filter(|key| !known.contains(key));
        needless
            .extend(unknown.map(|(role, name)| format!("{name} ({}), which there is not", role.others())));
        let without = tests.iter().filter(|test| !self.effects.contains_key(*test));
        missing.extend(without.map(|test| format!("the effect that {test} looks at")));
        let idle = self.effects.keys().filter(|test| !tests.contains(*test));
        needless.extend(idle.map(|test| format!("the effect of {test}, which saw nothing first")));
        for (test, (_, of)) in &self.effects {
            let unseen = of.iter().filter(|name| !looked_at.contains(&(test.clone(), (*name).clone())));
            needless.extend(unseen.map(|name| {
                format!("{name} in {test}, which has not seen it taken, or not as the first that looks at it")
            }));
        }
        if let Some((test, programs)) = programs.into_iter().find(|(_, programs)| programs.len() > 1) {
            let programs: Vec<_> = programs.into_iter().collect();
            bail!("{test} speaks with {}: make a test for each", programs.join(" and "));
        }
        ensure!(missing.is_empty(), "{FILE} says nothing of {}", missing.join(", "));
        ensure!(needless.is_empty(), "{FILE} need not say of {}", needless.join(", "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        [[reason]]
        text = 'nobody has it'
        with_back_ends = ['front.A']
        with_front_ends = ['front.A', 'front.B']
        [[effect]]
        test = 'b_is_heard'
        looks_at = 'b'
        of = ['front.B']
    ";

    fn fits(text: &str) -> Result<()> {
        fit(text, "")
    }

    /// With lines of observations beside the usual ones.
    fn fit(text: &str, more: &str) -> Result<()> {
        let all = [("front", "A".to_owned(), true), ("front", "B".to_owned(), true)];
        let (mut observed, reasons) = (Observed::default(), Reasons::parse(text)?);
        let lines = "front B some-daemon ok group::b_is_heard\nfront B some-daemon ok group::b_is_said\n\
                     front A some-daemon refused group::a\n";
        observed.read(&format!("{lines}{more}"), &reasons)?;
        reasons.fit(&all, &observed)
    }

    /// It would be taken to look at the one where it looks at the other.
    #[test]
    fn a_test_speaks_with_one_program() {
        let error = fit(TEXT, "front B some-other ok group::b_is_heard\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "b_is_heard speaks with some-daemon and some-other: make a test for each"
        );
    }

    #[test]
    fn every_reason_is_needed_and_none_is_missing() {
        fits(TEXT).unwrap();
        // Another has seen it, too.
        fits(&TEXT.replacen("b_is_heard", "b_is_said", 1)).unwrap();
        for (from, to, why) in [
            ("'front.A', 'front.B'", "'front.A'", "says nothing of front.B (front-ends of others)"),
            ("['front.A']", "['front.A', 'front.B']", "need not say of front.B (back-ends of others)"),
            ("['front.A']", "['front.A', 'front.C']", "which there is not"),
            ("b_is_heard", "a_is_heard", "says nothing of the effect that b_is_heard looks at"),
            ("['front.A', 'front.B']", "['front.A', 'front.B', 'front.B']", "two reasons for front.B"),
            ("looks_at", "look_at", "unknown field"),
            ("['front.B']", "['front.B', 'front.A']", "need not say of front.A in b_is_heard"),
            ("['front.B']", "['front.B', 'front.X']", "need not say of front.X in b_is_heard"),
            ("of = ['front.B']", "", "missing field `of`"),
        ] {
            let error = format!("{:#}", fits(&TEXT.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}

//! Which procedures of libvirt's the tests have seen answered, by whom, and with which flags.
//!
//! ```text
//!   tests ──HV_LIBVIRT_OBSERVED──> lines of each program of tests ──> docs/protocols/libvirt-observed.txt
//!                                                                       │ codegen, with schema/unobserved.toml
//!                                                                       └──> docs/protocols/libvirt-coverage.md
//! ```

use crate::codegen::{self, Mode};
use crate::libvirtd::{self, Suite};
use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Where it is written down.
pub const FILE: &str = "docs/protocols/libvirt-observed.txt";

/// Where the table is.
pub const TABLE: &str = "docs/protocols/libvirt-coverage.md";

const HEAD: &str = "# What the tests have seen answered, by libvirtd and by our own server; written by `cargo xtask coverage libvirt`.\n\
    # program, procedure, by whom, `ok` or the code of the refusal, flags that were taken, all flags that were sent, test\n";

/// Programs of tests that call libvirt's procedures, each with the side that it names in the files that it writes.
const TESTS: [&str; 4] = ["daemon", "client", "virsh", "shell"];

/// Tests of what came after the newest libvirt of a stable Debian.
const NEWEST: &str = "newest::";

/// Tests that make every call, most of them with nothing to act on: any other test says more.
const SWEEP: &str = "every_call_is_understood_and_answered";

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// libvirt's own daemon, of Debian 12.
    Daemon,
    /// That of Debian 13.
    Newer,
    /// That of Debian's testing, of what the others do not have.
    Testing,
    /// The server of `lib/libvirt-server`.
    Server,
}

impl By {
    const ALL: [(Self, &str); 4] = [
        (Self::Daemon, "libvirtd"),
        (Self::Newer, "libvirtd-13"),
        (Self::Testing, "libvirtd-testing"),
        (Self::Server, "server"),
    ];
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(by, _)| by == self).map(|(_, name)| *name);
        f.write_str(name.expect("everybody has a name"))
    }
}

impl FromStr for By {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let by = Self::ALL.iter().find(|(_, name)| *name == text).map(|(by, _)| *by);
        by.with_context(|| format!("`{text}` is nobody"))
    }
}

/// How, and in which test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The code of the refusal, when it was one.
    pub refused: Option<String>,
    /// Flags of calls that were not refused, in tests of more than the answer.
    pub taken: u32,
    /// Flags of all calls.
    pub sent: u32,
    /// `program::module::name`.
    pub test: String,
}

impl Answer {
    /// Whether a test that makes every call is all that has seen it.
    #[must_use]
    pub fn swept(&self) -> bool {
        self.test.ends_with(SWEEP)
    }

    /// The smaller, the more it says.
    fn rank(&self) -> (bool, bool, bool, &str) {
        (self.refused.is_some(), self.swept(), self.test.ends_with('-'), &self.test)
    }

    fn merge(&mut self, other: Self) {
        let (taken, sent) = (self.taken | other.taken, self.sent | other.sent);
        if other.rank() < self.rank() {
            *self = other;
        }
        (self.taken, self.sent) = (taken, sent);
    }
}

/// The best answer of each procedure and each side.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Observed(BTreeMap<(String, String, By), Answer>);

impl Observed {
    /// How one side answered a procedure.
    #[must_use]
    pub fn get(&self, program: &str, procedure: &str, by: By) -> Option<&Answer> {
        self.0.get(&(program.to_owned(), procedure.to_owned(), by))
    }

    /// How libvirt's daemon answered it, and which: the older one where it says as much.
    #[must_use]
    pub fn daemon(&self, program: &str, procedure: &str) -> Option<(By, Answer)> {
        let answer = |by| Some((by, self.get(program, procedure, by)?.clone()));
        match (answer(By::Daemon), answer(By::Newer)) {
            (Some((_, older)), Some((by, newer))) => {
                let better =
                    (newer.refused.is_some(), newer.swept()) < (older.refused.is_some(), older.swept());
                let (taken, sent) = (older.taken | newer.taken, older.sent | newer.sent);
                let (by, best) = if better { (by, newer) } else { (By::Daemon, older) };
                Some((by, Answer { taken, sent, ..best }))
            }
            (one, other) => one.or(other).or_else(|| answer(By::Testing)),
        }
    }

    /// All that is written down: program, procedure, test.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().map(|((program, procedure, _), answer)| (&**program, &**procedure, &*answer.test))
    }

    fn add(&mut self, key: (String, String, By), answer: Answer) {
        match self.0.get_mut(&key) {
            Some(known) => known.merge(answer),
            None => drop(self.0.insert(key, answer)),
        }
    }

    /// Adds what one program of tests wrote: `program procedure refusal flags test`.
    fn read(&mut self, text: &str, by: By) -> Result<()> {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [program, procedure, refused, flags, test] = words[..] else {
                bail!("`{line}` is no observation")
            };
            // `-`: it failed, and nobody refused it.
            if program.is_empty() || procedure.is_empty() || refused == "-" {
                continue;
            }
            let refused = (refused != "ok").then(|| refused.to_owned());
            let mut answer = Answer { refused, taken: 0, sent: hex(flags)?, test: test.to_owned() };
            if answer.refused.is_none() && !answer.swept() {
                answer.taken = answer.sent;
            }
            self.add((program.to_lowercase(), procedure.to_lowercase(), by), answer);
        }
        Ok(())
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for ((program, procedure, by), answer) in &self.0 {
            let Answer { refused, taken, sent, test } = answer;
            let refused = refused.as_deref().unwrap_or("ok");
            writeln!(f, "{program} {procedure} {by} {refused} {taken:#x} {sent:#x} {test}")?;
        }
        Ok(())
    }
}

impl FromStr for Observed {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut observed = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [program, procedure, by, refused, taken, sent, test] = words[..] else {
                bail!("`{line}` is no observation")
            };
            let refused = (refused != "ok").then(|| refused.to_owned());
            observed.add(
                (program.to_owned(), procedure.to_owned(), by.parse()?),
                Answer { refused, taken: hex(taken)?, sent: hex(sent)?, test: test.to_owned() },
            );
        }
        Ok(observed)
    }
}

fn hex(text: &str) -> Result<u32> {
    let digits = text.strip_prefix("0x").with_context(|| format!("`{text}` are no flags"))?;
    u32::from_str_radix(digits, 16).with_context(|| format!("`{text}` are no flags"))
}

/// What is checked in.
///
/// # Errors
/// When it cannot be read, or names a test that is gone.
pub fn load() -> Result<Observed> {
    let path = sh::root().join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let observed: Observed = text.parse().with_context(|| format!("in {FILE}"))?;
    let mut known = BTreeSet::new();
    for tests in ["lib/libvirt-client/tests", "lib/libvirt-server/tests"] {
        functions(&sh::root().join(tests), &mut known)?;
    }
    for (_, procedure, test) in observed.all() {
        let name = test.rsplit("::").next().unwrap_or_default();
        if name != "-" && !known.contains(name) {
            bail!("{FILE}: {procedure}: the test {test} is gone; run cargo xtask coverage libvirt");
        }
    }
    Ok(observed)
}

fn functions(directory: &Path, known: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            functions(&path, known)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let names = text.lines().filter_map(|line| line.split_once("fn ")?.1.split(['(', '<']).next());
            known.extend(names.map(str::to_owned));
        }
    }
    Ok(())
}

/// Runs the tests, those against a daemon with both daemons, writes down what they saw, and prints the table anew.
///
/// # Errors
/// When a test fails, or a daemon is missing: what would have been seen is then missing too.
pub fn run() -> Result<()> {
    // What only that of Debian's testing has is not seen by the others.
    let mut observed = kept()?;
    observed.0.retain(|(_, _, by), _| *by == By::Testing);
    observe(&mut observed, &TESTS, By::Daemon, None)?;
    // What was seen so far stays, whatever comes of the rest.
    std::fs::write(sh::root().join(FILE), observed.to_string())?;
    run_newer()
}

/// The same with the newer daemon alone: what the others did is taken from the last time.
///
/// # Errors
/// As [`run`].
pub fn run_newer() -> Result<()> {
    let mut observed = kept()?;
    observed.0.retain(|(_, _, by), _| *by != By::Newer);
    let root = Suite::Trixie.root().with_context(|| "run `cargo xtask libvirtd` first, as root")?;
    observe(&mut observed, &["daemon"], By::Newer, Some((&root, "")))?;
    keep(&observed)
}

/// What no stable Debian has yet, with the daemon of its testing: the other sides are taken from the last time.
///
/// # Errors
/// As [`run`].
pub fn run_testing() -> Result<()> {
    let mut observed = kept()?;
    observed.0.retain(|(_, _, by), _| *by != By::Testing);
    let root =
        Suite::Testing.root().with_context(|| "run `cargo xtask libvirtd --testing` first, as root")?;
    let mut seen = Observed::default();
    observe(&mut seen, &["daemon"], By::Testing, Some((&root, NEWEST)))?;
    // Of the rest the others say as much.
    seen.0.retain(|(program, procedure, _), answer| {
        answer.refused.is_none()
            && observed.daemon(program, procedure).is_none_or(|(_, known)| known.refused.is_some())
    });
    observed.0.extend(seen.0);
    keep(&observed)
}

/// What was written down the last time.
fn kept() -> Result<Observed> {
    let path = sh::root().join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    text.parse().with_context(|| format!("in {FILE}"))
}

/// The same of our own server's tests alone: what libvirt's daemons did is taken from the last time.
///
/// # Errors
/// As [`run`].
pub fn run_ours() -> Result<()> {
    let mut observed = kept()?;
    observed.0.retain(|(_, _, by), _| *by != By::Server);
    observe(&mut observed, &TESTS[1..], By::Daemon, None)?;
    keep(&observed)
}

fn keep(observed: &Observed) -> Result<()> {
    std::fs::write(sh::root().join(FILE), observed.to_string())?;
    say(&format!("written: {FILE}"));
    codegen::libvirt::run(None, Mode::Write)?;
    let table = std::fs::read_to_string(sh::root().join(TABLE))?;
    // Down to the row for each procedure.
    say(table.split("\n| procedure |").next().unwrap_or_default());
    say(&format!("the rest: {TABLE}"));
    Ok(())
}

/// The tests with these names in their own, of programs of tests; those of a daemon in another root.
fn observe(observed: &mut Observed, tests: &[&str], daemon: By, other: Option<(&Path, &str)>) -> Result<()> {
    // A test whose parts are missing sees nothing.
    crate::unpacked::fetch()?;
    let directory = tempfile::tempdir()?;
    let mut test = sh::cargo();
    test.args(["test", "-p", "libvirt-client", "-p", "libvirt-server", "--locked"])
        .args(tests.iter().flat_map(|name| ["--test", name]));
    test.env("HV_LIBVIRT_OBSERVED", directory.path());
    if let Some((root, name)) = other {
        test.env(libvirtd::VARIABLE, root).args(["--", name]);
    }
    sh::run(&mut test)?;
    for entry in std::fs::read_dir(directory.path())? {
        let entry = entry?;
        let name = entry.file_name();
        let by = if name.to_string_lossy().starts_with("libvirt_server") { By::Server } else { daemon };
        observed.read(&std::fs::read_to_string(entry.path())?, by)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_that_says_most_is_kept() {
        let mut observed = Observed::default();
        let lines = format!(
            "Remote domain_create NoDomain 0x1 daemon::raw::{SWEEP}\nRemote domain_create ok 0x2 daemon::raw::{SWEEP}\n\
             Remote domain_create ok 0x4 daemon::b::starts\nRemote domain_create ok 0x8 daemon::a::starts\n\
             Remote domain_destroy - 0x0 daemon::a::starts\n"
        );
        observed.read(&lines, By::Daemon).unwrap();
        let answer = observed.get("remote", "domain_create", By::Daemon).unwrap();
        let expected = Answer { refused: None, taken: 0xc, sent: 0xf, test: "daemon::a::starts".to_owned() };
        assert_eq!(*answer, expected);
        assert_eq!(observed.get("remote", "domain_create", By::Server), None);
        assert_eq!(observed.get("remote", "domain_destroy", By::Daemon), None, "nobody answered");
        assert_eq!(observed.to_string().parse::<Observed>().unwrap(), observed);
        assert!("remote domain_create nobody ok 0x0 0x0 a::b".parse::<Observed>().is_err());
    }

    #[test]
    fn the_newer_daemon_counts_where_it_says_more() {
        let mut observed = Observed::default();
        observed.read("Remote a ok 0x1 t::looks\nRemote b NoSupport 0x0 t::looks\n", By::Daemon).unwrap();
        observed
            .read("Remote a ok 0x2 t::looks\nRemote b ok 0x0 t::looks\nRemote c ok 0x0 t::looks\n", By::Newer)
            .unwrap();
        let by = |name| observed.daemon("remote", name).map(|(by, answer)| (by, answer.taken));
        assert_eq!(by("a"), Some((By::Daemon, 3)));
        assert_eq!(by("b"), Some((By::Newer, 0)));
        assert_eq!(by("c"), Some((By::Newer, 0)));
        assert_eq!(by("d"), None);
    }
}

//! Which procedures of libvirt's the tests have seen answered, by whom, and with which flags.
//!
//! ```text
//!   tests ──HV_LIBVIRT_OBSERVED──> lines of each program of tests ──> docs/protocols/libvirt-observed.txt
//!                                       schema/effects.toml ─┘          │ codegen, with schema/effects.toml, schema/unobserved.toml
//!                                                                       └──> docs/protocols/libvirt-coverage.md
//! ```

mod effects;
mod pattern;

pub use effects::Effects;
pub use pattern::is_like;

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
    # Of each procedure: program, procedure, by whom, `ok` or the code of the refusal, flags that were taken, all flags that were sent, test.\n\
    # Of flags that a libvirtd took: program, procedure, by whom, `flags`, those that it took in one test, the test.\n";

/// The word of lines with what was taken in one test.
const FLAGS: &str = "flags";

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

    /// libvirt's own, those first that say as much as others and have done so for longer.
    const DAEMONS: [Self; 3] = [Self::Daemon, Self::Newer, Self::Testing];
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
    /// Flags of calls that were not refused, in all tests of more than the answer.
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

    /// The smaller, the more it says; `looks`: whether a test is the one that looks at what came of it.
    fn rank(&self, looks: impl Fn(&str) -> bool) -> [bool; 4] {
        [self.refused.is_some(), self.swept(), !looks(&self.test), self.test.ends_with('-')]
    }

    /// The one that says more, this one where both say as much, with the flags of both.
    fn merged(self, other: Self, looks: impl Fn(&str) -> bool) -> Self {
        let (taken, sent) = (self.taken | other.taken, self.sent | other.sent);
        let best = if other.rank(&looks) < self.rank(&looks) { other } else { self };
        Self { taken, sent, ..best }
    }
}

/// What was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The best answer of each procedure and each side.
    answers: BTreeMap<(String, String, By), Answer>,
    /// Flags of a procedure that one of libvirt's daemons took in one test, which looks at more than the answer.
    flags: BTreeMap<(String, String, By, String), u32>,
}

impl Observed {
    /// How one side answered a procedure.
    #[must_use]
    pub fn get(&self, program: &str, procedure: &str, by: By) -> Option<&Answer> {
        self.answers.get(&(program.to_owned(), procedure.to_owned(), by))
    }

    /// Flags of a procedure that libvirt's daemons took, with the test that each of them took these in.
    pub fn flags(&self, program: &str, procedure: &str) -> impl Iterator<Item = (&str, u32)> {
        let of = self.flags.iter().filter(move |((of, name, ..), _)| of == program && name == procedure);
        of.map(|((.., test), flags)| (&**test, *flags))
    }

    /// How libvirt's daemon answered it, and which: the oldest that says as much as the others.
    #[must_use]
    pub fn daemon(&self, program: &str, procedure: &str, effects: &Effects) -> Option<(By, Answer)> {
        let looks = |test: &str| effects.look(test, program, procedure);
        let answers = By::DAEMONS.into_iter().filter_map(|by| Some((by, self.get(program, procedure, by)?)));
        answers.map(|(by, answer)| (by, answer.clone())).reduce(|(older, old), (newer, new)| {
            let by = if new.rank(looks) < old.rank(looks) { newer } else { older };
            (by, old.merged(new, looks))
        })
    }

    /// All that is written down: program, procedure, test.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let answers = self.answers.iter();
        let answers =
            answers.map(|((program, procedure, _), answer)| (&**program, &**procedure, &*answer.test));
        answers
            .chain(self.flags.keys().map(|(program, procedure, _, test)| (&**program, &**procedure, &**test)))
    }

    /// Forgets what the others saw.
    fn retain(&mut self, whose: impl Fn(By) -> bool) {
        self.answers.retain(|(_, _, by), _| whose(*by));
        self.flags.retain(|(_, _, by, _), _| whose(*by));
    }

    /// Adds of what another daemon has done that which none does of those that are known: calls that these do not answer, and flags that these
    /// do not take.
    fn add_new(&mut self, seen: Self, effects: &Effects) {
        let Self { mut answers, mut flags } = seen;
        answers.retain(|(program, procedure, _), answer| {
            let known = self.daemon(program, procedure, effects);
            answer.refused.is_none() && known.is_none_or(|(_, known)| known.refused.is_some())
        });
        flags.retain(|(program, procedure, ..), taken| {
            *taken &= !self.flags(program, procedure).fold(0, |known, (_, flags)| known | flags);
            *taken != 0
        });
        self.answers.extend(answers);
        self.flags.extend(flags);
    }

    /// Adds what one program of tests wrote: `program procedure refusal flags test`. Where tests say as much as each other, the first by
    /// name is kept, and before all the one that looks at what came of it.
    fn read(&mut self, text: &str, by: By, effects: &Effects) -> Result<()> {
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
            let (program, procedure) = (program.to_lowercase(), procedure.to_lowercase());
            if answer.refused.is_none() && !answer.swept() {
                answer.taken = answer.sent;
                if by != By::Server && answer.taken != 0 {
                    let key = (program.clone(), procedure.clone(), by, test.to_owned());
                    *self.flags.entry(key).or_default() |= answer.taken;
                }
            }
            let key = (program.clone(), procedure.clone(), by);
            let best = match self.answers.remove(&key) {
                None => answer,
                Some(known) => {
                    let (first, second) =
                        if answer.test < known.test { (answer, known) } else { (known, answer) };
                    first.merged(second, |test| effects.look(test, &program, &procedure))
                }
            };
            self.answers.insert(key, best);
        }
        Ok(())
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for ((program, procedure, by), answer) in &self.answers {
            let Answer { refused, taken, sent, test } = answer;
            let refused = refused.as_deref().unwrap_or("ok");
            writeln!(f, "{program} {procedure} {by} {refused} {taken:#x} {sent:#x} {test}")?;
        }
        for ((program, procedure, by, test), flags) in &self.flags {
            writeln!(f, "{program} {procedure} {by} {FLAGS} {flags:#x} {test}")?;
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
            match words[..] {
                [program, procedure, by, FLAGS, taken, test] => {
                    let key = (program.to_owned(), procedure.to_owned(), by.parse()?, test.to_owned());
                    observed.flags.insert(key, hex(taken)?);
                }
                [program, procedure, by, refused, taken, sent, test] => {
                    let refused = (refused != "ok").then(|| refused.to_owned());
                    let answer =
                        Answer { refused, taken: hex(taken)?, sent: hex(sent)?, test: test.to_owned() };
                    observed.answers.insert((program.to_owned(), procedure.to_owned(), by.parse()?), answer);
                }
                _ => bail!("`{line}` is no observation"),
            }
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
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {}, which cargo xtask coverage libvirt writes", path.display()))?;
    let observed: Observed = text.parse().with_context(|| format!("in {FILE}"))?;
    let mut known = BTreeSet::new();
    for tests in ["lib/libvirt-client/tests", "lib/libvirt-server/tests"] {
        let directory = sh::root().join(tests);
        functions(&directory, "", &mut known)?;
    }
    for (_, procedure, test) in observed.all() {
        if !test.ends_with("::-") && !known.contains(test) {
            bail!("{FILE}: {procedure}: the test {test} is gone; run cargo xtask coverage libvirt");
        }
    }
    for test in Effects::read()?.named() {
        if !known.contains(test) {
            bail!("effects.toml: the test {test} is gone");
        }
    }
    Ok(observed)
}

/// Tests in a directory, and below it, as `program::module::name`.
pub(crate) fn functions(directory: &Path, module: &str, known: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let inner = if name == "main" { module.to_owned() } else { format!("{module}{name}::") };
        if path.is_dir() {
            functions(&path, &inner, known)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            known.extend(tests_of(&text).map(|name| format!("{inner}{name}")));
        }
    }
    Ok(())
}

/// Names of functions with the attribute of a test.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim).filter_map(move |line| {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        let (_, rest) =
            line.split_once("fn ").filter(|_| !line.starts_with('#') && !line.starts_with("//"))?;
        std::mem::take(&mut is_test).then(|| rest.split(['(', '<']).next()).flatten()
    })
}

/// Runs the tests, those against a daemon with both daemons, writes down what they saw, and prints the table anew.
///
/// # Errors
/// When a test fails, or a daemon is missing: what would have been seen is then missing too.
pub fn run() -> Result<()> {
    // What only that of Debian's testing has is not seen by the others.
    let mut observed = kept()?;
    observed.retain(|by| by == By::Testing);
    let effects = Effects::read()?;
    observe(&mut observed, &TESTS, By::Daemon, None, &effects)?;
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
    observed.retain(|by| by != By::Newer);
    let root = Suite::Trixie.root().with_context(|| "run `cargo xtask libvirtd` first, as root")?;
    observe(&mut observed, &["daemon"], By::Newer, Some((&root, "")), &Effects::read()?)?;
    keep(&observed)
}

/// What no stable Debian has yet, with the daemon of its testing: the other sides are taken from the last time.
///
/// # Errors
/// As [`run`].
pub fn run_testing() -> Result<()> {
    let mut observed = kept()?;
    observed.retain(|by| by != By::Testing);
    let root =
        Suite::Testing.root().with_context(|| "run `cargo xtask libvirtd --testing` first, as root")?;
    let (mut seen, effects) = (Observed::default(), Effects::read()?);
    observe(&mut seen, &["daemon"], By::Testing, Some((&root, NEWEST)), &effects)?;
    observed.add_new(seen, &effects);
    keep(&observed)
}

/// What was written down the last time; nothing, when there was none.
fn kept() -> Result<Observed> {
    kept_in(&sh::root().join(FILE))
}

fn kept_in(path: &Path) -> Result<Observed> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Observed::default()),
        read => {
            let text = read.with_context(|| format!("reading {}", path.display()))?;
            text.parse().with_context(|| format!("in {}", path.display()))
        }
    }
}

/// The same of our own server's tests alone: what libvirt's daemons did is taken from the last time.
///
/// # Errors
/// As [`run`].
pub fn run_ours() -> Result<()> {
    let mut observed = kept()?;
    observed.retain(|by| by != By::Server);
    observe(&mut observed, &TESTS[1..], By::Daemon, None, &Effects::read()?)?;
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
fn observe(
    observed: &mut Observed,
    tests: &[&str],
    daemon: By,
    other: Option<(&Path, &str)>,
    effects: &Effects,
) -> Result<()> {
    // A test whose parts are missing sees nothing.
    crate::unpacked::fetch()?;
    let directory = tempfile::tempdir()?;
    let mut test = sh::cargo();
    // The whole workspace, as everywhere: alone, these packages would be built anew. Others' tests of the same name note nothing.
    test.args(["test", "--workspace", "--locked"]).args(tests.iter().flat_map(|name| ["--test", name]));
    test.env("HV_LIBVIRT_OBSERVED", directory.path());
    if let Some((root, name)) = other {
        test.env(libvirtd::VARIABLE, root).args(["--", name]);
    }
    sh::run(&mut test)?;
    for entry in std::fs::read_dir(directory.path())? {
        let entry = entry?;
        let name = entry.file_name();
        let by = if name.to_string_lossy().starts_with("libvirt_server") { By::Server } else { daemon };
        observed.read(&std::fs::read_to_string(entry.path())?, by, effects)?;
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
             Remote domain_create ok 0x10 daemon::c::looks\nRemote domain_destroy - 0x0 daemon::a::starts\n"
        );
        let effects = |test: &str| Effects::of(&[("remote.domain_create", test)]);
        observed.read(&lines, By::Daemon, &effects("daemon::c::looks")).unwrap();
        let answer = observed.get("remote", "domain_create", By::Daemon).unwrap();
        let expected = Answer { refused: None, taken: 0x1c, sent: 0x1f, test: "daemon::c::looks".to_owned() };
        assert_eq!(*answer, expected);
        assert_eq!(observed.get("remote", "domain_create", By::Server), None);
        assert_eq!(observed.get("remote", "domain_destroy", By::Daemon), None, "nobody answered");
        let expected = [("daemon::a::starts", 0x8), ("daemon::b::starts", 0x4), ("daemon::c::looks", 0x10)];
        assert!(observed.flags("remote", "domain_create").eq(expected), "{observed}");
        assert_eq!(observed.to_string().parse::<Observed>().unwrap(), observed);
        for wrong in
            ["remote domain_create nobody ok 0x0 0x0 a::b", "remote domain_create libvirtd ok 0x0 a::b"]
        {
            assert!(wrong.parse::<Observed>().is_err(), "{wrong}");
        }
        // Where none looks, the first by name says as much as any.
        let mut observed = Observed::default();
        observed.read(&lines, By::Daemon, &effects("daemon::d::looks")).unwrap();
        let answer = observed.get("remote", "domain_create", By::Daemon).unwrap();
        assert_eq!((answer.test.as_str(), answer.taken), ("daemon::a::starts", 0x1c));
        // Which flags our own server took in which test nobody asks.
        let mut observed = Observed::default();
        observed.read(&lines, By::Server, &effects("daemon::c::looks")).unwrap();
        assert_eq!(observed.flags("remote", "domain_create").count(), 0);
    }

    #[test]
    fn a_newer_daemon_counts_where_it_says_more() {
        let effects = Effects::of(&[("remote.a", "t::looks"), ("remote.f", "t::looks")]);
        let mut observed = Observed::default();
        let older = "Remote a ok 0x1 t::looks\nRemote b NoSupport 0x0 t::looks\nRemote e NoSupport 0x0 t::looks\nRemote f ok 0x0 t::calls\n";
        observed.read(older, By::Daemon, &effects).unwrap();
        let newer = "Remote a ok 0x2 t::looks\nRemote b ok 0x0 t::looks\nRemote c ok 0x0 t::looks\nRemote e NoSupport 0x0 t::looks\n";
        observed.read(newer, By::Newer, &effects).unwrap();
        let newest = "Remote a ok 0x4 t::looks\nRemote e ok 0x0 t::looks\nRemote f ok 0x0 t::looks\n";
        observed.read(newest, By::Testing, &effects).unwrap();
        let by = |name| observed.daemon("remote", name, &effects).map(|(by, answer)| (by, answer.taken));
        assert_eq!(by("a"), Some((By::Daemon, 7)));
        assert_eq!(by("b"), Some((By::Newer, 0)));
        assert_eq!(by("c"), Some((By::Newer, 0)));
        assert_eq!(by("d"), None);
        assert_eq!(by("e"), Some((By::Testing, 0)), "the others refuse it");
        assert_eq!(by("f"), Some((By::Testing, 0)), "its effect is looked at there alone");
    }

    #[test]
    fn the_newest_daemon_adds_what_no_other_does() {
        let effects = Effects::default();
        let read = |lines: &str, by| {
            let mut observed = Observed::default();
            observed.read(lines, by, &effects).unwrap();
            observed
        };
        let mut observed = read(
            "Remote a ok 0x1 t::calls\nRemote a ok 0x2 t::looks\nRemote b NoSupport 0x1 t::calls\n",
            By::Daemon,
        );
        let seen = "Remote a ok 0x5 newest::t::one\nRemote a ok 0x2 newest::t::two\nRemote b ok 0x1 newest::t::one\n\
                    Remote c NoSupport 0x1 newest::t::one\n";
        observed.add_new(read(seen, By::Testing), &effects);
        // Of a call that others answer, the flag that they do not take.
        let of_a = [("newest::t::one", 0x4), ("t::calls", 0x1), ("t::looks", 0x2)];
        let mut taken: Vec<_> = observed.flags("remote", "a").collect();
        taken.sort_unstable();
        assert_eq!(taken, of_a);
        assert!(observed.to_string().contains("remote a libvirtd-testing flags 0x4 newest::t::one\n"));
        assert_eq!(observed.get("remote", "a", By::Testing), None);
        // And all of one that they do not.
        assert!(observed.flags("remote", "b").eq([("newest::t::one", 0x1)]));
        assert!(observed.get("remote", "b", By::Testing).is_some_and(|answer| answer.refused.is_none()));
        assert_eq!(observed.get("remote", "c", By::Testing), None, "it refuses that, too");
    }

    #[test]
    fn a_test_is_known_by_its_module_and_its_attribute() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("daemon/inner")).unwrap();
        let text = "fn helps() {}\n\n#[tokio::test(flavor = \"x\")]\n// Of fn others.\n#[ignore = \"fn\"]\nasync fn looks() {}\n\nfn helps_too() {}\n#[test]\nfn sees() {}\n";
        for name in ["daemon/main.rs", "daemon/inner/deep.rs"] {
            std::fs::write(at(name), text).unwrap();
        }
        let mut known = BTreeSet::new();
        functions(directory.path(), "", &mut known).unwrap();
        let expected =
            ["daemon::inner::deep::looks", "daemon::inner::deep::sees", "daemon::looks", "daemon::sees"];
        assert!(known.iter().eq(expected), "{known:?}");
    }

    #[test]
    fn before_the_first_run_nothing_was_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("observed.txt");
        assert_eq!(kept_in(&path).unwrap(), Observed::default());
        std::fs::write(&path, "nonsense").unwrap();
        assert!(kept_in(&path).is_err());
    }
}

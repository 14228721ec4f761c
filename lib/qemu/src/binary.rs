//! The QEMU program: where it is and what it can do.

pub(crate) mod build_id;

use crate::{capabilities::Capabilities, mutex::guarded};
use qmp::{CallError, Triple, aside::ask};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use thiserror::Error;

/// What one QEMU program can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// Its version.
    pub version: Triple,
    /// Versioned machine types, as it lists them.
    pub machines: Vec<String>,
    /// The machine type that `q35` stands for today; store this name with a machine.
    pub q35: String,
}

/// Why there is no usable QEMU.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// Not where it was said to be, or nowhere on the path.
    #[error("no QEMU at {looked_at}; install the Debian package qemu-system-x86")]
    Missing {
        /// Where it was looked for.
        looked_at: String,
    },
    /// It cannot be run.
    #[error("cannot run {}", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ran and did not tell.
    #[error("{} does not tell what it can do", path.display())]
    Silent {
        /// The program.
        path: PathBuf,
        /// What was asked, and why there is no answer.
        #[source]
        source: CallError,
    },
    /// It ran and is not what was expected.
    #[error("{} does not answer like QEMU: {reason}", path.display())]
    Foreign {
        /// The program.
        path: PathBuf,
        /// What was missing in its answer.
        reason: &'static str,
    },
}

/// Finds the program: `explicit` if given, else in the directories of `search_path` (the form of `PATH`).
///
/// # Errors
/// [`BinaryError::Missing`].
pub fn find(explicit: Option<&Path>, search_path: &OsStr) -> Result<PathBuf, BinaryError> {
    if let Some(path) = explicit {
        let missing = || BinaryError::Missing { looked_at: path.display().to_string() };
        return if path.is_file() { Ok(path.to_owned()) } else { Err(missing()) };
    }
    std::env::split_paths(search_path)
        .map(|directory| directory.join(NAME))
        .find(|path| path.is_file())
        .ok_or_else(|| BinaryError::Missing {
            looked_at: format!("{NAME} in {}", search_path.to_string_lossy()),
        })
}

/// Remembers what programs can do for as long as their file is the same (device, inode, time of change and build id) and the
/// directory of their modules is as it was.
#[derive(Debug, Default)]
pub struct BinaryCache {
    /// Held for short sections without await.
    known: Mutex<HashMap<Key, Arc<Binary>>>,
    /// Likewise.
    capabilities: Mutex<HashMap<Key, Arc<Capabilities>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Device and inode.
    file: (u64, u64),
    /// Seconds and nanoseconds.
    changed: (i64, i64),
    build_id: Option<String>,
    /// A package of modules that comes or goes changes what the same program can do.
    modules_changed: Option<(i64, i64)>,
}

impl Key {
    async fn asked(path: &Path) -> Result<Self, BinaryError> {
        let program = path.to_owned();
        let key = ask(path, ANSWER, move |_| Self::with_modules(&program, Path::new(MODULES))).await;
        key.map_err(|error| BinaryError::Run { path: path.to_owned(), source: error.into() })?
    }

    fn with_modules(path: &Path, modules: &Path) -> Result<Self, BinaryError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => BinaryError::Missing { looked_at: path.display().to_string() },
            _ => BinaryError::Run { path: path.to_owned(), source: error },
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        let modules = fs::metadata(modules).ok();
        Ok(Self {
            file: (metadata.dev(), metadata.ino()),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            build_id: build_id::of(path).map_err(failed)?,
            modules_changed: modules.map(|modules| (modules.mtime(), modules.mtime_nsec())),
        })
    }
}

impl BinaryCache {
    /// What the program at `path` can do. Runs it twice (about 100 ms) when it is new or was replaced.
    ///
    /// # Errors
    /// [`BinaryError`].
    pub async fn inspect(&self, path: &Path) -> Result<Arc<Binary>, BinaryError> {
        let key = Key::asked(path).await?;
        if let Some(known) = guarded(&self.known).get(&key) {
            return Ok(known.clone());
        }
        let binary = Arc::new(inspect(path).await?);
        guarded(&self.known).insert(key, binary.clone());
        Ok(binary)
    }

    /// All that the program at `path` can do. Starts it once when it is new or was replaced.
    ///
    /// # Errors
    /// [`BinaryError`].
    pub async fn capabilities(&self, path: &Path) -> Result<Arc<Capabilities>, BinaryError> {
        let key = Key::asked(path).await?;
        if let Some(known) = guarded(&self.capabilities).get(&key) {
            return Ok(known.clone());
        }
        let capabilities = Arc::new(Capabilities::probe(path).await?);
        guarded(&self.capabilities).insert(key, capabilities.clone());
        Ok(capabilities)
    }
}

async fn inspect(path: &Path) -> Result<Binary, BinaryError> {
    let foreign = |reason| BinaryError::Foreign { path: path.to_owned(), reason };
    let version = output(path, &["--version"]).await?;
    let version = parse_version(&version).ok_or_else(|| foreign("no version"))?;
    let help = output(path, &["-machine", "help"]).await?;
    let (machines, q35) = parse_machines(&help);
    let q35 = q35.ok_or_else(|| foreign("no machine type q35"))?;
    Ok(Binary { path: path.to_owned(), version, machines, q35 })
}

async fn output(path: &Path, args: &[&str]) -> Result<String, BinaryError> {
    let run = |source| BinaryError::Run { path: path.to_owned(), source };
    let output = tokio::process::Command::new(path)
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(ANSWER, output).await {
        Ok(output) => Ok(String::from_utf8_lossy(&output.map_err(run)?.stdout).into_owned()),
        Err(_) => Err(run(io::ErrorKind::TimedOut.into())),
    }
}

/// `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`
fn parse_version(text: &str) -> Option<Triple> {
    let numbers = text.strip_prefix("QEMU emulator version ")?.split_ascii_whitespace().next()?;
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Triple { major: next()?, minor: next()?, micro: next()? })
}

/// Lines of `<name> <description>`, aliases as `q35 ... (alias of pc-q35-7.2)`.
fn parse_machines(text: &str) -> (Vec<String>, Option<String>) {
    let lines = || text.lines().skip(1).filter_map(|line| line.split_once(' '));
    let alias = |rest: &str| Some(rest.split_once("(alias of ")?.1.split(')').next()?.to_owned());
    let machines =
        lines().filter(|(_, rest)| alias(rest).is_none()).map(|(name, _)| name.to_owned()).collect();
    let q35 = lines().find(|(name, _)| *name == "q35").and_then(|(_, rest)| alias(rest));
    (machines, q35)
}

const NAME: &str = "qemu-system-x86_64";

/// Where Debian's programs look for modules.
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/qemu";

/// A program that takes longer to print its version is stuck.
const ANSWER: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_machine_types_are_read_from_the_programs_own_lists() {
        let version = parse_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright");
        assert_eq!(version, Some(Triple { major: 7, minor: 2, micro: 22 }));
        assert_eq!(parse_version("GNU bash, version 5.2"), None);
        let help = "Supported machines are:\nmicrovm              microvm (i386)\n\
            pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)\n\
            q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)\n";
        let (machines, q35) = parse_machines(help);
        assert_eq!(machines, ["microvm", "pc-q35-7.2"]);
        assert_eq!(q35.as_deref(), Some("pc-q35-7.2"));
    }

    #[test]
    fn a_missing_program_names_the_package_to_install() {
        for (explicit, path) in [(Some(Path::new("/nowhere/qemu")), ""), (None, "/nowhere:/nothing")] {
            let error = find(explicit, OsStr::new(path)).unwrap_err().to_string();
            assert!(error.contains("qemu-system-x86") && error.contains("/nowhere"), "{error}");
        }
    }

    #[test]
    fn whatever_changes_what_a_program_can_do_makes_it_another() {
        let directory = tempfile::tempdir().unwrap();
        let (program, modules) = (directory.path().join("qemu"), directory.path().join("modules"));
        fs::create_dir(&modules).unwrap();
        fs::write(&program, fs::read("/bin/true").unwrap()).unwrap();
        let key = || Key::with_modules(&program, &modules).unwrap();
        let mut last = key();
        assert_eq!(key(), last);
        let mut is_another = |what: &str| {
            let now = key();
            assert!(now != last, "{what}");
            last = now;
        };
        let file = fs::File::options().write(true).open(&program).unwrap();
        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
        file.set_modified(long_ago).unwrap();
        is_another("a time of change");
        // Another build, at the same place and of the same time.
        fs::write(&program, fs::read("/bin/false").unwrap()).unwrap();
        file.set_modified(long_ago).unwrap();
        is_another("a build id");
        fs::File::open(&modules).unwrap().set_modified(long_ago).unwrap();
        is_another("a module");
        fs::remove_dir(&modules).unwrap();
        is_another("all modules");
        fs::rename(&program, directory.path().join("old")).unwrap();
        fs::write(&program, fs::read("/bin/false").unwrap()).unwrap();
        fs::File::options().write(true).open(&program).unwrap().set_modified(long_ago).unwrap();
        is_another("a file");
    }
}

//! One program at a time in a state directory: a locked file that names it.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock, held as long as the value lives; the kernel lets go of it when the program dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// What taking the lock came to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is ours.
    Lock(Lock),
    /// The process with this id has it.
    HeldBy(u32),
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(dir: &Path) -> anyhow::Result<Taken> {
        let mut file = open(dir)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Taken::Lock(Self(file)))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                let Ok(pid) = text.trim().parse() else {
                    bail!("the lock in {} names no process", dir.display())
                };
                Ok(Taken::HeldBy(pid))
            }
            Err(error) => Err(error).context("cannot lock the state directory"),
        }
    }

    /// Takes the lock once whoever has it lets go. Blocks.
    pub(crate) fn wait(dir: &Path) -> anyhow::Result<Self> {
        let file = open(dir)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }
}

fn open(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(&path).with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let Taken::Lock(lock) = Lock::take(dir.path()).unwrap() else { panic!("free") };
        let Taken::HeldBy(pid) = Lock::take(dir.path()).unwrap() else { panic!("held") };
        assert_eq!(pid, std::process::id());
        drop(lock);
        assert!(matches!(Lock::take(dir.path()).unwrap(), Taken::Lock(_)));
    }
}

//! What the tests of this crate share.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether `program` can be run; if not, says that `test` was not run.
pub(crate) fn have(test: &str, program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("not run: {test}: {program} is missing");
    }
    found
}

/// Runs a program that must succeed and returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let mut output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    // qemu-img measures how fast it derives keys, and gives up where the clock of a busy host is too coarse for that.
    for _ in 0..5 {
        if !String::from_utf8_lossy(&output.stderr).contains("Unable to get accurate CPU usage") {
            break;
        }
        output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    }
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tmpfs that is unmounted when dropped.
pub(crate) struct TinyFs(tempfile::TempDir);

impl TinyFs {
    /// Mounts one of `size`; `None`, with a `not run` line, where that is not permitted.
    pub(crate) fn mount(test: &str, size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(directory.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        println!("not run: {test}: mounting a tmpfs is not permitted");
        None
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for TinyFs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

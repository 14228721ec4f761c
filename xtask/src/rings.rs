//! The rings of `lib/virtio` in ways that take a build of their own: every order that the memory model allows, optimised, under valgrind.

use crate::sh::{self, say};
use anyhow::Result;

/// Runs all of it; what is missing is added to `not_run`.
///
/// # Errors
/// The first that fails.
pub fn run(not_run: &mut Vec<String>) -> Result<()> {
    // The crate alone: others know this setting as well, and mean something else by it.
    let cargo = |arguments: &[&str]| {
        let mut command = sh::cargo();
        command.args(["test", "--locked", "--release", "--package", "virtio", "--target-dir"]);
        command.arg(sh::root().join("target/rings")).args(arguments);
        command
    };
    say("== rings: in every order");
    sh::run(cargo(&["--test", "model"]).env("RUSTFLAGS", "--cfg loom"))?;
    say("== rings: optimised");
    sh::run(cargo(&["--test", "rings"]).env_remove("RUSTFLAGS"))?;
    if sh::find("valgrind").is_none() {
        not_run.push("not run: the rings under valgrind: valgrind is missing".to_owned());
        return Ok(());
    }
    say("== rings: under valgrind");
    let mut command = cargo(&["--lib", "--test", "rings", "--", "--test-threads=1"]);
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "valgrind --quiet --error-exitcode=9");
    // Some fifty times slower.
    sh::run(command.env("PROPTEST_CASES", "16"))
}

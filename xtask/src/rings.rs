//! The rings of `lib/virtio` in ways that take a build of their own: every order that the memory model allows, optimised, under valgrind, and under
//! the compiler's sanitizer of addresses and leaks. Its sanitizer of threads tells of races in the standard library's test harness, which is not
//! built with it, and of nothing else: these tests have one thread each, and orders are what the model is for. Miri comes with unreleased
//! compilers alone.

use crate::fuzz::PLATFORM;
use crate::sh::{self, say};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Runs all of it; what is missing is added to `not_run`.
///
/// # Errors
/// The first that fails.
pub fn run(not_run: &mut Vec<String>) -> Result<()> {
    say("== rings: in every order");
    sh::run(cargo("rings", &["--test", "model"]).env("RUSTFLAGS", "--cfg loom"))?;
    say("== rings: optimised");
    sh::run(cargo("rings", &["--test", "rings"]).env_remove("RUSTFLAGS"))?;
    sanitized(not_run)?;
    if sh::find("valgrind").is_none() {
        not_run.push("not run: the rings under valgrind: valgrind is missing".to_owned());
        return Ok(());
    }
    say("== rings: under valgrind");
    let mut command = cargo("rings", &["--lib", "--test", "rings", "--", "--test-threads=1"]);
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "valgrind --quiet --error-exitcode=9");
    // Some fifty times slower.
    sh::run(command.env("PROPTEST_CASES", "16"))
}

/// The tests of the crate alone: others know the settings of these builds as well, and mean something else by them.
fn cargo(directory: &str, arguments: &[&str]) -> Command {
    let mut command = sh::cargo();
    command.args(["test", "--locked", "--release", "--package", "virtio", "--target-dir"]);
    command.arg(sh::root().join("target").join(directory)).args(arguments);
    command
}

/// The unit tests and those of the rings, with every access to memory looked at.
fn sanitized(not_run: &mut Vec<String>) -> Result<()> {
    let mut compiler = Command::new("rustc");
    let libraries = sh::output(compiler.args(["--print", "target-libdir"]).current_dir(sh::root()))?;
    if !has_runtime(Path::new(libraries.trim()), "asan") {
        let text = "not run: the rings under the address sanitizer: the compiler comes without its runtime";
        not_run.push(text.to_owned());
        return Ok(());
    }
    say("== rings: under the address sanitizer");
    // A platform is named so that build scripts are left as they are.
    let mut command = cargo("rings-address", &["--target", PLATFORM, "--lib", "--test", "rings"]);
    // Released compilers have it, and ask who wants it whether he means it.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    sh::run(command.env("PROPTEST_CASES", "64"))
}

/// Whether a compiler whose libraries are there has this runtime of a sanitizer.
fn has_runtime(libraries: &Path, runtime: &str) -> bool {
    let files = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    let mut names = files.filter_map(|file| file.file_name().into_string().ok());
    names.any(|name| name.starts_with("librustc") && name.ends_with(&format!("_rt.{runtime}.a")))
}

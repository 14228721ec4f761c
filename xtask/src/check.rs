//! `check`, `lint` and `test`: one command before every push, the same that CI runs.

use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Which tests to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Unit tests only: no programs started.
    Short,
    /// All that run on every push.
    Normal,
    /// Also those marked `#[ignore]` because they take minutes.
    Long,
}

/// Everything that needs no test run: format, rules, lints, documentation.
///
/// # Errors
/// The first check that fails, by name.
pub fn lint() -> Result<Vec<String>> {
    let mut not_run = Vec::new();
    step("fmt", || sh::run(sh::cargo().args(["fmt", "--all", "--check"])))?;
    step("deps", crate::deps::check)?;
    step("tidy", crate::tidy::check)?;
    step("codegen", || {
        not_run.extend(crate::codegen::all(crate::codegen::Mode::Check)?);
        Ok(())
    })?;
    step("clippy", || {
        sh::run(sh::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            KERBEROS,
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    // Who only blocks, or has no io_uring, leaves those out.
    step("features", || {
        let parts = [
            "clippy",
            "--package",
            "vhost-user",
            "--no-default-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        sh::run(sh::cargo().args(parts))
    })?;
    step("no_std", || {
        not_run.extend(crate::no_std::check()?);
        Ok(())
    })?;
    step("doc", || {
        let mut doc = sh::cargo();
        doc.args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"]);
        sh::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    if sh::output(sh::cargo().args(["deny", "--version"])).is_ok() {
        step("deny", || sh::run(sh::cargo().args(["deny", "check", "bans", "licenses", "sources"])))?;
    } else {
        not_run.push("not run: deny: cargo-deny is missing (cargo install cargo-deny)".to_owned());
    }
    Ok(not_run)
}

/// [`lint`], then the tests.
///
/// # Errors
/// The first check that fails, by name.
pub fn check() -> Result<()> {
    let is_incremental = sh::env("CARGO_INCREMENTAL").as_deref() != Some("0");
    let is_first = !sh::root().join("target/peers").exists();
    if let Some(warning) = free().and_then(|free| room(is_first, is_incremental, free)) {
        say(&warning);
    }
    let checked = lint().and_then(|not_run| test(Extent::Normal, &[], not_run));
    checked.map_err(|error| match free() {
        Some(free) if free < 256 => error.context(format!("the disk is full ({free} MiB are free here)")),
        _ => error,
    })
}

/// What a first run writes below `target/`, in MiB, with and without what `CARGO_INCREMENTAL=0` leaves out.
const WRITTEN: [u64; 2] = [13 << 10, 6 << 10];

/// A warning, where a first run would fill the disk: what the compiler then says names no way out.
fn room(is_first: bool, is_incremental: bool, free: u64) -> Option<String> {
    let [all, less] = WRITTEN;
    let wanted = if is_incremental { all } else { less };
    (is_first && free < wanted).then(|| {
        let [free, all, less] = [free, all, less].map(|megabytes| megabytes >> 10);
        format!(
            "Only {free} GiB are free here. A first run writes about {all} GiB below target/, {less} with CARGO_INCREMENTAL=0; \
             CARGO_TARGET_DIR names another place"
        )
    })
}

/// MiB that are free where we build; `None`: nobody tells.
fn free() -> Option<u64> {
    let free = sh::output(Command::new("df").args(["--output=avail", "-BM"]).arg(sh::root())).ok()?;
    free.lines().nth(1)?.trim().trim_end_matches('M').parse().ok()
}

/// Runs the tests; the last lines tell what was not run and why. `rest` goes to `cargo test`.
///
/// # Errors
/// When a test fails.
pub fn test(extent: Extent, rest: &[&str], mut not_run: Vec<String>) -> Result<()> {
    if extent != Extent::Short {
        // Tests that miss them say so. First, as what they are built from goes again.
        let demo = || crate::demo_image::build(&sh::root().join("target/demo")).map(drop);
        for prepared in [crate::unpacked::fetch(), crate::peers::build(), demo()] {
            if let Err(error) = prepared {
                say(&format!("{error:#}"));
            }
        }
        // End-to-end tests start the programs, which `cargo test` builds only where a package has tests of its own. The tests are built with
        // them: alone, the programs would have other features of their dependencies, and all of those would be built twice.
        let targets = ["--bins", "--tests"];
        step("build", || sh::run(sh::cargo().args(["build", "--workspace", "--locked"]).args(targets)))?;
    }
    if extent == Extent::Long
        && let Err(error) = crate::qemu_root::build()
    {
        say(&format!("{error:#}"));
    }
    say("== test");
    let mut command = sh::cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    if extent == Extent::Short {
        command.args(["--lib", "--bins"]);
    }
    // A test that could not run passes and says so; its output must be shown for us to see it.
    command.args(rest).args(["--", "--show-output", "--test-threads", &threads()]);
    if extent == Extent::Long {
        command.arg("--include-ignored");
    }
    let mut passed = run_and_collect(&mut command, &mut not_run)?;
    if extent == Extent::Long && rest.is_empty() {
        if let Err(error) = crate::rings::run(&mut not_run) {
            say(&format!("{error:#}"));
            passed = false;
        }
        passed &= newer_qemu(&mut not_run)?;
        passed &= newer_libvirt(&mut not_run)?;
        passed &= kerberos(&mut not_run)?;
    }
    not_run.sort();
    not_run.dedup();
    say("");
    for line in &not_run {
        say(line);
    }
    if !passed {
        bail!("tests failed; {} not run", not_run.len());
    }
    say(&format!("all tests passed; {} not run", not_run.len()));
    Ok(())
}

/// Tests wait for guests and daemons more than they compute: two for each processor.
fn threads() -> String {
    (2 * std::thread::available_parallelism().map_or(1, usize::from)).to_string()
}

/// A feature that is off unless somebody wants it.
const KERBEROS: &str = "libvirt-client/gssapi";

/// What the libvirt client has only with that feature, against this host's daemon and that of Debian 13 where it is.
fn kerberos(not_run: &mut Vec<String>) -> Result<bool> {
    let mut passed = true;
    let roots = std::iter::once(None).chain(crate::libvirtd::Suite::Trixie.root().map(Some));
    for root in roots {
        say("== test: libvirt with Kerberos");
        let mut command = sh::cargo();
        command.args(["test", "--workspace", "--locked", "--features", KERBEROS, "--test", "daemon"]);
        command.args(["--", "--show-output", "kerberos", "password"]);
        command.envs(root.map(|root| (crate::libvirtd::VARIABLE, root)));
        passed &= run_and_collect(&mut command, not_run)?;
    }
    Ok(passed)
}

/// The tests of the QEMU library again, with the emulator of Debian 13.
fn newer_qemu(not_run: &mut Vec<String>) -> Result<bool> {
    say("== test: QEMU of Debian 13");
    if crate::qemu_root::root().is_none() {
        not_run.push("not run: the QEMU library with Debian 13's QEMU: cargo xtask qemu-root".to_owned());
        return Ok(true);
    }
    let mut command = sh::cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(crate::qemu_root::TESTS).args(["--", "--include-ignored", "--show-output"]);
    run_and_collect(command.env(crate::qemu_root::RELEASE, "10.0"), not_run)
}

/// The tests of the libvirt client again, against the daemon of Debian 13.
fn newer_libvirt(not_run: &mut Vec<String>) -> Result<bool> {
    say("== test: libvirt of Debian 13");
    let root = match crate::libvirtd::build(crate::libvirtd::Suite::Trixie) {
        Ok(root) => root,
        Err(error) => {
            not_run.push(format!("not run: the libvirt client against Debian 13's libvirt: {error:#}"));
            return Ok(true);
        }
    };
    let mut command = sh::cargo();
    command.args([
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--test",
        "daemon",
        "--",
        "--show-output",
    ]);
    run_and_collect(command.env(crate::libvirtd::VARIABLE, root), not_run)
}

/// Line coverage through whichever of the two programs is installed.
///
/// # Errors
/// When neither is there, or the tests fail.
pub fn coverage() -> Result<()> {
    for (probe, run) in [
        (
            ["llvm-cov", "--version"],
            &["llvm-cov", "--workspace", "--html", "--output-dir", "target/coverage"][..],
        ),
        (
            ["tarpaulin", "--version"],
            &[
                "tarpaulin",
                "--workspace",
                "--engine",
                "ptrace",
                "--out",
                "Html",
                "--output-dir",
                "target/coverage",
            ],
        ),
    ] {
        if sh::output(sh::cargo().args(probe)).is_ok() {
            return sh::run(sh::cargo().args(run));
        }
    }
    bail!(
        "no coverage tool: run `cargo install cargo-tarpaulin`, or cargo-llvm-cov with the llvm-tools component"
    )
}

fn step(name: &'static str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("== {name}"));
    check().with_context(|| format!("{name} failed"))
}

/// Passes the output on and keeps its `not run:` lines.
fn run_and_collect(command: &mut Command, not_run: &mut Vec<String>) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let output = child.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    let mut terminal = std::io::stdout();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let _ = terminal.write_all(&line);
        let text = String::from_utf8_lossy(&line);
        if let Some(at) = text.find("not run: ") {
            not_run.push(text[at..].trim_end().to_owned());
        }
        line.clear();
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_too_little_room_hears_how_much_it_takes() {
        assert_eq!(room(true, true, 20 << 10), None);
        assert_eq!(room(true, false, 7 << 10), None);
        assert_eq!(room(false, true, 1), None, "what is written by then is there");
        let told = room(true, true, 12 << 10).unwrap();
        assert!(told.starts_with("Only 12 GiB are free") && told.contains("about 13 GiB"), "{told}");
        assert!(room(true, false, 5 << 10).is_some());
    }
}

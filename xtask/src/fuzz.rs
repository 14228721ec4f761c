//! `fuzz`: a library's fuzz targets, guided by coverage, with the compiler that builds everything else.
//!
//! ```text
//!   lib/NAME/fuzz --cargo build, instrumented by LLVM--> target/fuzz/<target> --libFuzzer--> target/fuzz/NAME/corpus
//!                                                                               '--a finding--> target/fuzz/NAME/found
//! ```
//! What is unsafe is looked at elsewhere (`rings.rs`): by valgrind, and by the sanitizers whose runtimes come with the compiler.

use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// What libFuzzer follows: counters of every edge, their places, and what is compared with what.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg=fuzzing";

/// The only platform that this workspace is built for; named, so that build scripts are not instrumented.
pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Runs each target of `lib/<library>/fuzz` for so many seconds, one after the other. What one run finds out of the input's form the next
/// begins with.
///
/// # Errors
/// An input that makes a target panic, hang or take too much memory; where it lies is printed.
pub fn run(library: &str, seconds: u64) -> Result<()> {
    let fuzz = sh::root().join("lib").join(library).join("fuzz");
    let output = sh::root().join("target/fuzz");
    let mut build = sh::cargo();
    build.args(["build", "--release", "--target", PLATFORM, "--target-dir"]).arg(&output);
    build.arg("--manifest-path").arg(fuzz.join("Cargo.toml")).env("RUSTFLAGS", INSTRUMENTED);
    sh::run(&mut build).context("building the fuzz targets; libFuzzer needs a C++ compiler (package g++)")?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(fuzz.join("fuzz_targets"))? {
        names.extend(entry?.path().file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let own = |kind: &str| output.join(library).join(kind).join(&name);
        for kind in ["corpus", "found"] {
            std::fs::create_dir_all(own(kind))?;
        }
        let mut target = Command::new(output.join(PLATFORM).join("release").join(&name));
        target.arg(own("corpus"));
        if fuzz.join("seeds").exists() {
            target.arg(fuzz.join("seeds"));
        }
        target.arg(format!("-max_total_time={seconds}")).args(LIMITS);
        target.arg(format!("-artifact_prefix={}/", own("found").display()));
        let ran = target.stdin(Stdio::null()).output().with_context(|| format!("starting {name}"))?;
        let said = String::from_utf8_lossy(&ran.stderr);
        let units = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let covered = said.lines().rev().find_map(|line| line.split("cov: ").nth(1)?.split(' ').next());
        let (units, covered) = (units.map_or("?", str::trim), covered.unwrap_or("?"));
        say(&format!("{library}: {name}: {units} inputs in {seconds} s, {covered} edges"));
        if !ran.status.success() {
            say(&said
                .lines()
                .rev()
                .take(40)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n"));
            found.push(name);
        }
    }
    if !found.is_empty() {
        bail!("found by {}: see target/fuzz/{library}/found", found.join(", "));
    }
    Ok(())
}

const LIMITS: [&str; 4] = ["-max_len=8192", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"];

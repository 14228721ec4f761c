//! Commands for developers: `cargo xtask <command>`.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use xtask::check::{self, Extent};
use xtask::codegen::libvirt::From;
use xtask::codegen::qmp::Ask;
use xtask::codegen::{self, Mode};
use xtask::debian_image::Variant;
use xtask::packages::{self, Purpose};
use xtask::{
    bare, bench, debian_image, demo_image, deps, fuzz, libvirtd, observed, qemu_root, qmp_observed, sh, tidy,
    vhost_user_observed,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check::check(),
        ["lint"] => check::lint().map(print_lines),
        ["test", "--short", rest @ ..] => check::test(Extent::Short, rest, Vec::new()),
        ["test", "--long", rest @ ..] => check::test(Extent::Long, rest, Vec::new()),
        ["test", rest @ ..] => check::test(Extent::Normal, rest, Vec::new()),
        ["coverage"] => check::coverage(),
        ["coverage", "libvirt"] => observed::run(),
        ["coverage", "libvirt", "--server"] => observed::run_ours(),
        ["coverage", "libvirt", "--newer"] => observed::run_newer(),
        ["coverage", "libvirt", "--testing"] => observed::run_testing(),
        ["coverage", "qmp"] => qmp_observed::run(),
        ["coverage", "vhost-user"] => vhost_user_observed::run(),
        ["deps"] => deps::check(),
        ["tidy"] => tidy::check(),
        ["codegen"] => codegen::all(Mode::Write).map(print_lines),
        ["codegen", "--check"] => codegen::all(Mode::Check).map(print_lines),
        ["codegen", "qmp"] => codegen::qmp::run(Ask::Installed, Mode::Write).map(print_lines),
        ["codegen", "qmp", "--check"] => codegen::qmp::run(Ask::Installed, Mode::Check).map(print_lines),
        ["qemu-root"] => qemu_root::build().map(|root| sh::say(&root.display().to_string())),
        ["codegen", "libvirt", "--source", source] => {
            // Where Debian's libvirt-dev has it.
            let from = From { source: source.into(), api: "/usr/share/libvirt/api".into() };
            codegen::libvirt::run(Some(&from), Mode::Write)
        }
        ["codegen", "libvirt", "--source", source, "--api", api] => {
            let from = From { source: source.into(), api: api.into() };
            codegen::libvirt::run(Some(&from), Mode::Write)
        }
        ["fuzz", library] => fuzz::run(library, 120),
        ["fuzz", library, seconds] => fuzz::run(library, seconds.parse().context("seconds for each target")?),
        ["bench"] => bench::run(),
        ["libvirtd"] => libvirtd::build(libvirtd::Suite::Trixie).map(drop),
        ["libvirtd", "--testing"] => libvirtd::build(libvirtd::Suite::Testing).map(drop),
        ["bare"] => bare::run("demo"),
        ["bare", target] => bare::run(target),
        ["packages"] => {
            packages::list();
            Ok(())
        }
        ["packages", word] => {
            packages::install(Purpose::named(word).context("packages: build, run or test")?)
        }
        ["demo-image"] => demo_image::build(&sh::root().join("target/demo")).map(drop),
        ["demo-image", "--out", out] => demo_image::build(&PathBuf::from(out)).map(drop),
        ["rings"] => {
            let mut not_run = Vec::new();
            xtask::rings::run(&mut not_run)?;
            print_lines(not_run);
            Ok(())
        }
        ["debian-image"] => debian_images(&sh::root().join("target/debian")),
        ["debian-image", "--out", out] => debian_images(&PathBuf::from(out)),
        [] | ["help" | "--help" | "-h"] => {
            sh::say(HELP);
            Ok(())
        }
        other => bail!("no such command: {}\n{HELP}", other.join(" ")),
    }
}

fn print_lines(lines: Vec<String>) {
    lines.iter().for_each(|line| sh::say(line));
}

fn debian_images(out: &Path) -> Result<()> {
    debian_image::build(out, Variant::Guest)?;
    debian_image::build(out, Variant::Host).map(drop)
}

const HELP: &str = "\
usage: cargo xtask <command>
  check                    all below up to test: what CI runs, one command before every push
  lint                     fmt, deps, tidy, codegen, clippy, features, no_std, doc, deny
  test [--short|--long] [ARGS]  tests; the last lines name what was not run; ARGS go to cargo test
  coverage                 line coverage as HTML in target/coverage
  coverage libvirt [--server|--newer|--testing]  what of libvirt's protocol the tests see answered, in
                           docs/protocols/libvirt-coverage.md; by our own server, by the newer daemon, or what only
                           that of Debian's testing has
  coverage qmp             the same of QEMU's monitor, in docs/protocols/qmp-coverage.md
  coverage vhost-user      the same of vhost-user, in docs/protocols/vhost-user-coverage.md
  rings                    the rings of lib/virtio in every order (loom), optimised, under valgrind; part of test --long
  deps                     edges between crates against the rules
  tidy                     paths in documents, left-overs, unsafe, long files, inherited lints
  codegen [--check]        Rust files from the checked-in descriptions of protocols; --check compares only
  codegen libvirt --source TREE [--api DIR]  also the description, from a libvirt source tree and the directory of its
                           *-api.xml (of the package libvirt-dev unless it is said: /usr/share/libvirt/api)
  codegen qmp [--check]    also the description, from the QEMU of Debian 12 that is installed and that of Debian 13 (qemu-root)
  qemu-root                unpacks the QEMU of Debian 13 outside the workspace
  fuzz LIBRARY [SECONDS]   the fuzz targets of lib/LIBRARY, guided by coverage, each so long (default: 120); needs g++
  bench                    all benchmarks, one table in target/bench/table.md
  bare [TARGET]            `make TARGET` (default: demo) inside a fresh Debian; needs root
  packages [build|run|test|bench]  the list of Debian packages; with a word, installs what is missing
  libvirtd [--testing]     Debian 13, or testing, with its libvirt in a root file system of its own, for tests;
                           needs root
  demo-image [--out DIR]   the demo guest from Debian packages (default: target/demo)
  debian-image [--out DIR] two Debian images from Debian packages, one with QEMU (default: target/debian); needs root";

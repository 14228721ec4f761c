//! `qemu-root`: the QEMU of Debian 13 unpacked beside that of Debian 12, for recordings and tests. Nothing is installed.
//!
//! ```text
//!   apt-get --download-only with lists and state of its own ──> *.deb ──dpkg-deb -x──> /var/cache/hypervisor/qemu-trixie
//!                                                                       │ HV_QEMU_ROOT
//!   usr/lib64/ld-linux-x86-64.so.2 --library-path usr/lib/... usr/bin/qemu-... <─┘
//! ```
//!
//! Its programs run through its own loader, so neither root nor a chroot is needed to use it. It lies outside the workspace: `cargo clean`
//! keeps it, and it is the same for all work trees.

use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says where it is, to us and to the tests.
pub const VARIABLE: &str = "HV_QEMU_ROOT";

/// Has the tests that know of it use another release than the installed one: `10.0`.
pub const RELEASE: &str = "HV_QEMU_RELEASE";

/// Those tests.
pub const TESTS: [&str; 6] = ["--test", "qmp_real", "--test", "real_qemu", "--test", "operations"];

const PLACE: &str = "/var/cache/hypervisor/qemu-trixie";

const SOURCE: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                      http://deb.debian.org/debian trixie main";

/// Each with a file that is there when it is.
const PACKAGES: [(&str, &str); 5] = [
    ("qemu-system-x86", "usr/bin/qemu-system-x86_64"),
    ("qemu-system-modules-spice", "usr/lib/x86_64-linux-gnu/qemu/ui-spice-core.so"),
    ("qemu-system-modules-opengl", "usr/lib/x86_64-linux-gnu/qemu/ui-dbus.so"),
    ("qemu-utils", "usr/bin/qemu-img"),
    ("qemu-guest-agent", "usr/sbin/qemu-ga"),
];

/// Where it is, if it was made.
#[must_use]
pub fn root() -> Option<PathBuf> {
    let root = sh::env(VARIABLE).map_or_else(|| PathBuf::from(PLACE), PathBuf::from);
    root.join("usr/bin/qemu-system-x86_64").exists().then_some(root)
}

/// How to start a program of a release of QEMU (`7.2`): the installed one or the unpacked one, whichever is of that release.
///
/// # Errors
/// When a program that is there cannot be started.
pub fn command(program: &str, release: &str) -> Result<Option<Command>> {
    let installed = sh::find(program).map(Command::new);
    let unpacked = root().map(|root| unpacked(&root, program));
    for mut candidate in [installed, unpacked].into_iter().flatten() {
        let mut asked = Command::new(candidate.get_program());
        asked.args(candidate.get_args()).arg("--version");
        if sh::output(&mut asked)?.contains(&format!("version {release}.")) {
            // The data files of the unpacked one are found by their place only when they are named.
            if let (Some(root), true) = (root(), candidate.get_args().len() > 0 && program.contains("system"))
            {
                candidate.arg("-L").arg(root.join("usr/share/qemu"));
                candidate.arg("-L").arg(root.join("usr/share/seabios"));
            }
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

fn unpacked(root: &Path, program: &str) -> Command {
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    // Modules of another build would end it.
    command.env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
    command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu"));
    command.arg(root.join("usr/bin").join(program));
    command
}

/// Makes it, or adds what it lacks; answers its place.
///
/// # Errors
/// When the packages cannot be downloaded or unpacked, or the place cannot be written.
pub fn build() -> Result<PathBuf> {
    let place = sh::env(VARIABLE).map_or_else(|| PathBuf::from(PLACE), PathBuf::from);
    let there = root().is_some();
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, program)| !there || !place.join(program).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(place);
    }
    let parent = place.parent().context("it has no parent directory")?;
    std::fs::create_dir_all(parent)
        .with_context(|| format!("creating {}; {VARIABLE} names another place", parent.display()))?;
    // Renamed when it is whole.
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(parent)?;
    let at = |name: &str| work.path().join(name);
    for directory in ["state/lists/partial", "cache/archives/partial", "root"] {
        std::fs::create_dir_all(at(directory))?;
    }
    std::fs::write(at("sources.list"), SOURCE)?;
    // As if nothing were installed: the C library is needed as well.
    std::fs::write(at("status"), "")?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        let settings = [
            ("Dir::State", at("state")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("cache")),
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
        ];
        for (name, value) in settings {
            apt.arg("-o").arg(format!("{name}={}", value.display()));
        }
        apt.args(["-qq", "-o", "Debug::NoLocking=true"]);
        if sh::is_root() {
            // Else apt tries to write here as its own user and warns that it may not.
            apt.args(["-o", "APT::Sandbox::User=root"]);
        }
        apt
    };
    say("unpacking Debian 13's QEMU");
    sh::run(apt().arg("update"))?;
    let download = ["install", "--download-only", "-y", "--no-install-recommends"];
    sh::run(apt().args(download).args(&missing))?;
    for file in std::fs::read_dir(at("cache/archives"))? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            sh::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(at("root")))?;
        }
    }
    if !at("root/usr/lib64/ld-linux-x86-64.so.2").exists() {
        bail!("the packages hold no loader");
    }
    if there {
        // The same release: files that both have are the same.
        return sh::run(Command::new("cp").arg("-a").arg(at("root/.")).arg(&place)).map(|()| place);
    }
    std::fs::rename(at("root"), &place).with_context(|| format!("creating {}", place.display()))?;
    Ok(place)
}

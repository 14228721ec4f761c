//! Programs from the package index that the tests meet as the other side, built without their being dependencies of anything here.

use crate::sh::{self, say};
use anyhow::{Result, bail};

/// Crates, each with its version, whether it builds with its default features, and the reason.
const PROGRAMS: &[(&str, &str, bool, &str)] = &[
    ("vhost-device-rng", "0.1.0", true, "a vhost-user back-end, for the front-end and the checker"),
    // Its source does not compile without them.
    ("vhost-device-vsock", "0.3.0", true, "the host's end of sockets of a machine, for their driver"),
    // They are libraries of the host's.
    ("vhost-device-sound", "0.3.0", false, "a sound device without loudspeakers, for its driver"),
];

/// Builds what is missing into `target/peers/bin`.
///
/// # Errors
/// The programs that cannot be fetched or built, each with the reason; the others are there all the same.
pub fn build() -> Result<()> {
    let root = sh::root().join("target/peers");
    let installed = std::fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
    let builds = root.join("build");
    let mut failed = Vec::new();
    for (name, version, features, reason) in PROGRAMS {
        if installed.contains(&format!("\"{name} {version} ")) {
            continue;
        }
        say(&format!("building {name} {version}: {reason}"));
        let mut cargo = sh::cargo();
        // Not optimised, and nothing to look into it with: tests of behaviour do not wait for it.
        cargo.args(["install", "--quiet", "--locked", "--debug", "--version", version]);
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "false").env("CARGO_INCREMENTAL", "0");
        if !features {
            cargo.arg("--no-default-features");
        }
        cargo.arg("--root").arg(&root).arg("--target-dir").arg(&builds).arg(name);
        if let Err(error) = sh::run(&mut cargo) {
            failed.push(format!("{error:#}"));
        }
    }
    if builds.exists() {
        std::fs::remove_dir_all(builds)?;
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

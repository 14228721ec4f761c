//! Programs from the package index that the tests meet as the other side, built without their being dependencies of anything here.

use crate::sh::{self, say};
use anyhow::Result;

/// Crates, each with its version and the reason. None of their features is wanted: those of sound are libraries of the host's.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("vhost-device-rng", "0.1.0", "a vhost-user back-end, for the front-end and the checker"),
    ("vhost-device-vsock", "0.3.0", "the host's end of sockets of a machine, for their driver"),
    ("vhost-device-sound", "0.3.0", "a sound device without loudspeakers, for its driver"),
];

/// Builds what is missing into `target/peers/bin`.
///
/// # Errors
/// When a program cannot be fetched or built.
pub fn build() -> Result<()> {
    let root = sh::root().join("target/peers");
    let installed = std::fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
    let builds = root.join("build");
    for (name, version, reason) in PROGRAMS {
        if installed.contains(&format!("\"{name} {version} ")) {
            continue;
        }
        say(&format!("building {name} {version}: {reason}"));
        let mut cargo = sh::cargo();
        // Not optimised: tests of behaviour do not wait for it.
        cargo.args([
            "install",
            "--quiet",
            "--locked",
            "--debug",
            "--no-default-features",
            "--version",
            version,
        ]);
        cargo.arg("--root").arg(&root).arg("--target-dir").arg(&builds).arg(name);
        sh::run(&mut cargo)?;
    }
    if builds.exists() {
        std::fs::remove_dir_all(builds)?;
    }
    Ok(())
}

//! Debian packages that tests and benchmarks use without their being installed: an installed sshd would listen on the developer's machine.

use crate::sh::{self, say};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages that are unpacked, each with the reason.
const PACKAGES: &[(&str, &str)] = &[
    ("openssh-server", "a private sshd, through which the libvirt client reaches its daemon"),
    ("qemu-guest-agent", "runs in a guest that the libvirt client asks through it"),
    ("shim-signed", "a program that a firmware with Secure Boot's usual keys starts"),
    ("openvswitch-common", "the database of a switch"),
    ("openvswitch-switch", "what the switch is configured by"),
    ("openvswitch-switch-dpdk", "a switch whose vhost-user ports the front-end meets"),
    ("sasl2-bin", "makes users for a daemon of libvirt that demands passwords"),
];

/// Unpacks what is missing into `target/unpacked/<package>`.
///
/// # Errors
/// When a package cannot be downloaded or unpacked.
pub fn fetch() -> Result<()> {
    for (package, reason) in PACKAGES {
        let at = directory(package);
        if at.exists() {
            continue;
        }
        say(&format!("unpacking {package}: {reason}"));
        let parent = sh::root().join("target/unpacked");
        std::fs::create_dir_all(&parent)?;
        // Renamed when it is whole.
        let work = tempfile::tempdir_in(&parent)?;
        if download(package, work.path()).is_err() {
            // The lists may name a file that is gone.
            crate::packages::update()?;
            download(package, work.path()).with_context(|| format!("cannot download {package}"))?;
        }
        let file = std::fs::read_dir(work.path())?.next().context("apt-get download left no file")??;
        let tree = work.path().join("tree");
        sh::run(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(&tree))?;
        std::fs::rename(&tree, &at)?;
    }
    Ok(())
}

fn download(package: &str, into: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    if sh::is_root() {
        // Else apt tries to write here as its own user and warns that it may not.
        apt.args(["-o", "APT::Sandbox::User=root"]);
    }
    sh::run(apt.args(["-qq", "download", package]).current_dir(into))
}

fn directory(package: &str) -> PathBuf {
    sh::root().join("target/unpacked").join(package)
}

//! `libvirtd`: the libvirt of Debian 13, or of Debian's testing, in a root file system of its own, for the tests of the client. Needs root.
//!
//! ```text
//!   debootstrap trixie ──> apt-get install libvirt-daemon ... ──> /var/cache/hypervisor/libvirtd-trixie (or -testing)
//!                                                                    │ HV_LIBVIRTD_ROOT
//!   tests: unshare --mount, /tmp /dev /sys /proc bound, chroot <─────┘ libvirtd as nobody
//! ```
//!
//! It lies outside the workspace: `cargo clean` keeps it, and it is the same for all work trees.

use crate::bare::{apt_sources, debootstrap};
use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells the tests where it is.
pub const VARIABLE: &str = "HV_LIBVIRTD_ROOT";

/// Whose libvirt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 13.
    Trixie,
    /// What will be the next Debian, whose libvirt changes from month to month: for what no stable one has yet.
    Testing,
}

impl Suite {
    /// Debian's word for it.
    fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Testing => "testing",
        }
    }

    /// Owned by root, unlike a place below `/var/tmp`, where anybody could have put another one.
    fn place(self) -> PathBuf {
        Path::new("/var/cache/hypervisor").join(format!("libvirtd-{}", self.name()))
    }

    /// Where it is, if it was made.
    #[must_use]
    pub fn root(self) -> Option<PathBuf> {
        Some(self.place()).filter(|root| root.is_dir())
    }
}

const PACKAGES: &[&str] = &[
    "busybox-static",
    "e2fsprogs",
    "ebtables",
    "libsasl2-modules-gssapi-mit",
    "libvirt-daemon",
    "libvirt-daemon-driver-lxc",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-driver-storage",
    "libvirt-daemon-driver-network",
    "libvirt-daemon-driver-nodedev",
    "libvirt-daemon-driver-nwfilter",
    "libvirt-daemon-driver-secret",
    "libvirt-daemon-driver-interface",
    "libsasl2-modules",
    "qemu-system-x86",
    "qemu-utils",
    "udev",
];

/// Installs the packages below `$1`: nothing is started there, and what is downloaded is not kept.
const INSTALL: &str = "root=$1; shift; mount -t proc proc \"$root/proc\" && mount --rbind /dev \"$root/dev\" || exit 1
    printf '#!/bin/sh\\nexit 101\\n' >\"$root/usr/sbin/policy-rc.d\" && chmod +x \"$root/usr/sbin/policy-rc.d\" || exit 1
    export DEBIAN_FRONTEND=noninteractive
    chroot \"$root\" apt-get install -y -q --no-install-recommends \"$@\" && chroot \"$root\" apt-get clean";

/// Makes it unless it is there, with what the tests have come to need since; answers its place.
///
/// # Errors
/// Without root, without a tool, or without the packages; the text says what to do.
pub fn build(suite: Suite) -> Result<PathBuf> {
    let present = suite.root();
    if let Some(root) = present.as_ref().filter(|root| is_complete(root)) {
        say(&format!("{}: {}", root.display(), version(root)?.trim()));
        return Ok(root.clone());
    }
    if !sh::is_root() {
        bail!("debootstrap needs root: run `sudo -E cargo xtask libvirtd`");
    }
    for tool in ["debootstrap", "unshare", "chroot"] {
        if sh::find(tool).is_none() {
            bail!("{tool} is missing: run `cargo xtask packages test`");
        }
    }
    if let Some(root) = present {
        install(&root)?;
        say(&format!("{}: {}, with what it lacked", root.display(), version(&root)?.trim()));
        return Ok(root);
    }
    let place = suite.place();
    let parent = place.parent().context("it has a parent")?;
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    // Renamed when it is whole.
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(parent)?;
    let made = work.path().join("root");
    say(&format!("Debian ({}) with libvirt: debootstrap; this takes minutes", suite.name()));
    debootstrap(suite.name(), &made, &["ca-certificates"], &apt_sources()?)?;
    install(&made)?;
    let version = version(&made)?;
    std::fs::rename(&made, &place)?;
    say(&format!("{}: {}", place.display(), version.trim()));
    Ok(place)
}

/// Whether all packages are in it.
fn is_complete(root: &Path) -> bool {
    let mut query = Command::new("chroot");
    query.arg(root).args(["dpkg-query", "--show", "--showformat", "${db:Status-Status}\n"]).args(PACKAGES);
    // It fails for a package that it has never heard of.
    sh::output(&mut query).is_ok_and(|states| states.lines().all(|state| state == "installed"))
}

fn install(root: &Path) -> Result<()> {
    std::fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).context("copying /etc/resolv.conf")?;
    let log = tempfile::NamedTempFile::new()?;
    // In a mount namespace of its own, or a run that is killed leaves the mounts behind.
    let mut install = Command::new("unshare");
    install.args(["--mount", "sh", "-c", INSTALL, "sh"]).arg(root).args(PACKAGES).stdout(log.reopen()?);
    sh::run(&mut install).with_context(|| {
        let text = std::fs::read_to_string(log.path()).unwrap_or_default();
        format!("apt-get said: {}", text.lines().rev().take(3).collect::<Vec<_>>().join("; "))
    })?;
    // A daemon that is asked for the host's name asks name servers, where it can, and waits for them.
    std::fs::remove_file(root.join("etc/resolv.conf")).context("removing etc/resolv.conf")
}

fn version(root: &Path) -> Result<String> {
    sh::output(Command::new("chroot").arg(root).args(["/usr/sbin/libvirtd", "--version"]))
}

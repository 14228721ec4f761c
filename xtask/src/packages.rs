//! `packages`: the one list of Debian packages, each with the reason, and their installation.

use crate::sh::{self, say};
use anyhow::{Result, bail};
use std::process::Command;

/// What a package is needed for. A later one includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// To compile.
    Build,
    /// To run virtual machines.
    Run,
    /// To run all tests.
    Test,
    /// To measure beside others.
    Bench,
}

impl Purpose {
    /// The purpose that a word on the command line stands for.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "build" => Self::Build,
            "run" => Self::Run,
            "test" => Self::Test,
            "bench" => Self::Bench,
            _ => return None,
        })
    }
}

/// Prints the list.
pub fn list() {
    for (purpose, package, reason) in PACKAGES {
        say(&format!("{purpose:<6?} {package:<22} {reason}"));
    }
}

/// Installs what is missing for `purpose`, through sudo when we are not root; says which.
///
/// # Errors
/// When apt-get fails or may not be run; the text has the command to run by hand.
pub fn install(purpose: Purpose) -> Result<()> {
    // A package of another origin (qemu-utils of the backports) leaves when one is installed that does not go with it.
    for _ in 0..ROUNDS {
        let missing = missing(purpose);
        if missing.is_empty() {
            return Ok(());
        }
        install_these(&missing)?;
    }
    match missing(purpose).as_slice() {
        [] => Ok(()),
        [(_, first, _), ..] => bail!("{first} is not installed after all: see what apt-get says above"),
    }
}

type Package = (Purpose, &'static str, &'static str);

/// How often it is looked whether all are there at last.
const ROUNDS: usize = 3;

fn missing(purpose: Purpose) -> Vec<&'static Package> {
    let wanted = PACKAGES.iter().filter(|(when, ..)| *when <= purpose);
    wanted.filter(|(_, package, _)| !installed(package)).collect()
}

fn install_these(missing: &[&Package]) -> Result<()> {
    say("These Debian packages are missing and will be installed:");
    for (_, package, reason) in missing {
        say(&format!("  {package:<22} {reason}"));
    }
    let names: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let by_hand = format!("apt-get install --no-install-recommends {}", names.join(" "));
    if sh::find("apt-get").is_none() {
        bail!("this is no Debian; install what corresponds to: {}", names.join(" "));
    }
    if !sh::is_root() && sh::find("sudo").is_none() {
        bail!("neither root nor sudo: run as root: {by_hand}");
    }
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    // Lists may be absent (fresh machine) or too old to name files that still exist.
    if sh::run(apt().args(install).args(&names)).is_err() {
        update()?;
        sh::run(apt().args(install).args(&names))
            .map_err(|error| error.context(format!("try: {by_hand}")))?;
    }
    Ok(())
}

/// Reads the lists of packages anew.
///
/// # Errors
/// When apt-get fails or may not be run.
pub fn update() -> Result<()> {
    sh::run(apt().args(["update", "-q"]))
}

fn apt() -> Command {
    let mut command = if sh::is_root() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

fn installed(package: &str) -> bool {
    let query = sh::output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    query.is_ok_and(|status| status == "installed")
}

/// The Makefile installs the first ones by itself, because without them this program cannot be built.
const PACKAGES: &[Package] = &[
    (Purpose::Build, "gcc", "the linker, and C parts of dependencies"),
    (Purpose::Build, "libc6-dev", "start files and headers for the linker"),
    (Purpose::Run, "qemu-system-x86", "runs the virtual machines"),
    (Purpose::Run, "qemu-utils", "qemu-img makes overlays and disks"),
    (Purpose::Run, "e2fsprogs", "mke2fs makes the demo guest's disk"),
    (Purpose::Run, "ovmf", "UEFI firmware for instances that ask for it"),
    (Purpose::Test, "swtpm", "the TPM that configurations of the QEMU library name"),
    (Purpose::Test, "libunbound8", "a library of the switch that is unpacked for the tests"),
    (Purpose::Test, "dpdk-dev", "dpdk-testpmd, whose vhost-user back-end and front-end ours meet"),
    (Purpose::Test, "openssl", "answers the challenges of VNC displays"),
    (Purpose::Test, "git", "tidy checks the files that git tracks"),
    (Purpose::Test, "xorriso", "reads our cloud-init seeds as an independent peer"),
    (Purpose::Test, "util-linux", "blkid and mount as further peers"),
    (Purpose::Test, "iproute2", "ip makes bridges and taps in namespaces of the tests"),
    (Purpose::Test, "openssh-client", "logs in to the Debian guest of the tests"),
    (Purpose::Test, "libvirt-daemon", "libvirtd, which the libvirt client is tested against"),
    (Purpose::Test, "libvirt-clients", "virsh, which the libvirt server is compared with libvirtd by"),
    (Purpose::Test, "libvirt-daemon-driver-qemu", "qemu:///session of that libvirtd"),
    (Purpose::Test, "libvirt-daemon-driver-lxc", "containers of that libvirtd"),
    (Purpose::Test, "dnsmasq-base", "leases of that libvirtd's networks"),
    (Purpose::Test, "iptables", "rules of those networks"),
    (Purpose::Test, "ebtables", "rules of that libvirtd's filters"),
    (Purpose::Test, "udev", "its node devices"),
    (Purpose::Test, "dmidecode", "what it says of the machine; its place is taken by a stub"),
    (Purpose::Test, "busybox-static", "all that is in these containers"),
    (Purpose::Test, "libsasl2-modules", "SCRAM of that libvirtd"),
    (Purpose::Test, "libsasl2-modules-gssapi-mit", "Kerberos of that libvirtd"),
    (Purpose::Test, "krb5-kdc", "a realm of Kerberos for it"),
    (Purpose::Test, "krb5-admin-server", "who is in that realm"),
    (Purpose::Test, "krb5-user", "tickets of that realm"),
    (Purpose::Test, "python3-libvirt", "the same comparison, call by call"),
    (Purpose::Test, "libwrap0", "a library of the sshd that is unpacked for the tests"),
    (Purpose::Test, "polkitd", "says who may come in to that libvirtd, on a bus of its own"),
    (Purpose::Test, "dbus-daemon", "that bus"),
    (Purpose::Test, "dbus-bin", "dbus-send, which tells when polkitd is on it"),
    (Purpose::Test, "netcat-openbsd", "the remote end of an ssh connection to libvirtd"),
    (
        Purpose::Test,
        "systemd-boot-efi",
        "the stub that makes a kernel, its initrd and its command line one UEFI program",
    ),
    (Purpose::Test, "binutils", "strip and objcopy make small programs for guests"),
    (Purpose::Test, "mtools", "makes the FAT file system that a UEFI firmware boots from"),
    (Purpose::Test, "valgrind", "what the rings of lib/virtio touch (make test-long)"),
    (Purpose::Test, "debootstrap", "makes the Debian image and the bare machine of the tests"),
    (
        Purpose::Bench,
        "python3-venv",
        "the place of python's qemu.qmp, which the monitor's client is measured beside",
    ),
    (
        Purpose::Bench,
        "libvirt-dev",
        "a program on libvirt's own library, which the libvirt client is measured beside",
    ),
];

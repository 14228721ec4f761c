//! `debian-image`: what a user would bring, an image of Debian 12 with cloud-init, made from Debian packages. Needs root.
//!
//! ```text
//!   debootstrap ──> root/ ── mke2fs -d ──> ext4 ──┐
//!                    └─ grub-mkimage ─> core.img ─┼─> disk ── qemu-img ──> debian-12.qcow2
//!                                       boot.img ─┘                        manifest.json
//!
//!   disk, in sectors of 512 bytes:
//!     0       boot.img (440 bytes), then the partition table
//!     1..     core.img: reads file systems, then /boot/grub/grub.cfg
//!     2048..  the one partition, ext4
//! ```
//!
//! boot.img expects what it loads in sector 1, and that loads the rest from sector 2 on, unless an installer patched them
//! (grub-core/boot/i386/pc: `kernel_sector` in boot.S, `blocklist_default_start` in diskboot.S). So no installer, no
//! mounting and no loop device is needed.
//!
//! The image is kept as long as this recipe is the same: it is a test's input, not something to be secured or updated.

use crate::bare::{apt_sources, debootstrap};
use crate::files::{self, checksum, hex};
use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What a user would bring.
    Guest,
    /// A host for the platform itself: the same with QEMU and without its programs, which the test of an installation
    /// brings.
    Host,
}

impl Variant {
    /// Name of the image in its directory.
    #[must_use]
    pub fn image(self) -> &'static str {
        match self {
            Self::Guest => "debian-12.qcow2",
            Self::Host => "debian-12-host.qcow2",
        }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Guest => "manifest.json",
            Self::Host => "manifest-host.json",
        }
    }

    fn packages(self) -> Vec<&'static str> {
        let host: &[&str] = if self == Self::Host { HOST_PACKAGES } else { &[] };
        PACKAGES.iter().chain(host).copied().collect()
    }

    fn disk_mib(self) -> u64 {
        match self {
            Self::Guest => 2048,
            Self::Host => 4096,
        }
    }
}

/// What `manifest.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Checksum of the recipe.
    recipe: String,
    /// File name to SHA-256, in hexadecimal digits.
    files: BTreeMap<String, String>,
}

/// Builds the image in `out` unless it is there already; answers its path.
///
/// # Errors
/// Without root, without a tool, or without the packages; the text says what to do.
pub fn build(out: &Path, variant: Variant) -> Result<PathBuf> {
    let image = out.join(variant.image());
    if present(out, variant) {
        say(&format!("Debian image: up to date in {}", out.display()));
        return Ok(image);
    }
    if !sh::is_root() {
        bail!("debootstrap needs root: run `sudo -E cargo xtask debian-image`");
    }
    for tool in ["debootstrap", "unshare", "chroot", "mke2fs", "qemu-img"] {
        if sh::find(tool).is_none() {
            bail!("{tool} is missing: run `cargo xtask packages test`");
        }
    }
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(out)?;
    let root = work.path().join("root");
    say("Debian image: debootstrap bookworm; this takes minutes");
    debootstrap("bookworm", &root, &variant.packages(), &apt_sources()?)?;
    configure(&root)?;
    let core = core_image(&root)?;
    let boot = std::fs::read(root.join(GRUB).join("boot.img")).context("reading GRUB's boot.img")?;
    for entry in WASTE {
        remove_below(&root.join(entry))?;
    }
    let raw = work.path().join("disk.raw");
    write_disk(&raw, variant.disk_mib(), &root, &boot, &core)?;
    let finished = work.path().join(variant.image());
    sh::run(
        Command::new("qemu-img").args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).args([&raw, &finished]),
    )?;
    let files = BTreeMap::from([(variant.image().to_owned(), checksum(&finished)?)]);
    let manifest = Manifest { recipe: recipe(variant), files };
    std::fs::rename(finished, &image)?;
    std::fs::write(out.join(variant.manifest()), serde_json::to_vec_pretty(&manifest)?)?;
    let bytes = std::fs::metadata(&image)?.len();
    say(&format!("Debian image: {} {:.0} MiB", image.display(), bytes as f64 / 1_048_576.0));
    Ok(image)
}

/// Whether the image of this recipe is there and intact.
fn present(out: &Path, variant: Variant) -> bool {
    let manifest = std::fs::read(out.join(variant.manifest())).ok();
    let manifest = manifest.and_then(|text| serde_json::from_slice(&text).ok());
    manifest.is_some_and(|manifest: Manifest| {
        manifest.recipe == recipe(variant) && files::intact(out, &manifest.files)
    })
}

fn recipe(variant: Variant) -> String {
    let (packages, disk_mib) = (variant.packages(), variant.disk_mib());
    let text =
        format!("{packages:?}{FILES:?}{ENABLED:?}{MASKED:?}{WASTE:?}{CORE_MODULES:?}{disk_mib}{RECIPE}");
    hex(&Sha256::digest(text))
}

fn configure(root: &Path) -> Result<()> {
    for (name, content) in FILES {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().context("a file has a directory")?)?;
        std::fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
    }
    sh::output(chroot(root).args(["systemctl", "enable"]).args(ENABLED))?;
    sh::output(chroot(root).args(["systemctl", "mask"]).args(MASKED))?;
    // Host keys and the machine's id are made at the first boot: no two guests may share them.
    remove_matching(&root.join("etc/ssh"), "ssh_host_")?;
    std::fs::write(root.join("etc/machine-id"), "")?;
    let _ = std::fs::remove_file(root.join("var/lib/dbus/machine-id"));
    // Again, with the few modules that this image needs.
    sh::output(chroot(root).args(["update-initramfs", "-u"])).map(drop)
}

/// GRUB's second stage, which knows MBR partitions and ext4.
fn core_image(root: &Path) -> Result<Vec<u8>> {
    let arguments = ["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", "/core.img"];
    sh::output(chroot(root).arg("grub-mkimage").args(arguments).args(CORE_MODULES))?;
    let file = root.join("core.img");
    let core = std::fs::read(&file)?;
    std::fs::remove_file(file)?;
    if core.len() as u64 > (PARTITION_START - 1) * SECTOR {
        bail!("GRUB's core.img has {} bytes and does not fit before the partition", core.len());
    }
    Ok(core)
}

fn write_disk(raw: &Path, disk_mib: u64, root: &Path, boot: &[u8], core: &[u8]) -> Result<()> {
    let mut disk = std::fs::File::create(raw)?;
    disk.set_len(disk_mib << 20)?;
    let kib = (disk_mib << 10) - PARTITION_START * SECTOR / 1024;
    sh::run(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "root", "-m", "0", "-d"])
            .arg(root)
            .args(["-E", &format!("offset={},root_owner=0:0,lazy_itable_init=1", PARTITION_START * SECTOR)])
            .arg(raw)
            .arg(format!("{kib}k")),
    )?;
    disk.write_all(&boot[..BOOT_CODE])?;
    disk.seek(SeekFrom::Start(446))?;
    disk.write_all(&partition(u32::try_from(PARTITION_START)?, u32::try_from(kib * 2)?))?;
    disk.seek(SeekFrom::Start(510))?;
    disk.write_all(&[0x55, 0xaa])?;
    disk.seek(SeekFrom::Start(SECTOR))?;
    disk.write_all(core)?;
    Ok(disk.sync_all()?)
}

/// An active Linux partition as the MBR's table has it. Cylinders, heads and sectors say "see the sector numbers".
fn partition(start: u32, sectors: u32) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..8].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&sectors.to_le_bytes());
    entry
}

fn chroot(root: &Path) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    command
}

fn remove_below(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        let removed = if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn remove_matching(directory: &Path, prefix: &str) -> Result<()> {
    for entry in std::fs::read_dir(directory)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

const GRUB: &str = "usr/lib/grub/i386-pc";

/// Raised when this file's way of building changes the result.
const RECIPE: u32 = 1;

const SECTOR: u64 = 512;
/// 1 MiB, where partitions begin by custom.
const PARTITION_START: u64 = 2048;
/// What precedes the disk's signature and the partition table in the first sector.
const BOOT_CODE: usize = 440;
const CORE_MODULES: &[&str] = &["biosdisk", "part_msdos", "ext2", "linux", "normal"];

const PACKAGES: &[&str] = &[
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "grub-pc-bin",
    "systemd-sysv",
    "dbus",
    "udev",
    "iproute2",
    "openssh-server",
    "cloud-init",
    // Satisfies a virtual package, which debootstrap does not resolve.
    "python3-cffi-backend",
];

/// What a host of virtual machines has more.
const HOST_PACKAGES: &[&str] = &["qemu-system-x86", "qemu-utils"];

const FILES: &[(&str, &str)] = &[
    // Else it would be this host's.
    ("etc/hostname", "debian\n"),
    // The name server of QEMU's user network.
    ("etc/resolv.conf", "nameserver 10.0.2.3\n"),
    ("etc/fstab", "LABEL=root / ext4 errors=remount-ro 0 0\n"),
    ("boot/grub/grub.cfg", "linux /vmlinuz root=LABEL=root ro console=ttyS0\ninitrd /initrd.img\nboot\n"),
    ("etc/initramfs-tools/conf.d/image", "MODULES=list\n"),
    ("etc/initramfs-tools/modules", "virtio_pci\nvirtio_blk\next4\n"),
    // One kind of host key: making the others takes seconds under emulation.
    (
        "etc/cloud/cloud.cfg.d/90-image.cfg",
        "datasource_list: [NoCloud]\nssh_genkeytypes: [ed25519]\nlocale: C.UTF-8\n",
    ),
];

const ENABLED: &[&str] = &["systemd-networkd.service"];

/// What a guest that lives for a test does not need.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "grub-common.service",
    "systemd-binfmt.service",
];

/// Directories of which nothing is needed to boot.
const WASTE: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/lib/grub",
    "var/cache/apt",
    "var/lib/apt/lists",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_active_linux_and_little_endian() {
        let entry = partition(2048, 0x0102_0304);
        assert_eq!((entry[0], entry[4]), (0x80, 0x83));
        assert_eq!(entry[8..], [0, 8, 0, 0, 4, 3, 2, 1]);
    }
}

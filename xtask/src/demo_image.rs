//! `demo-image`: the demo guest, made from Debian packages without root.
//!
//! ```text
//!   linux-image-*-cloud-amd64.deb ──> vmlinuz
//!                     └── modules ──┐
//!   busybox-static.deb ── busybox ──┼──> initrd.img   (newc archive, gzip, same bytes for same input)
//!   xtask/guest/* ──────────────────┘
//!   mke2fs ──> ext4 ── qemu-img ──────> demo.qcow2    (empty; the guest counts its boots there)
//!                                       manifest.json (what it was made from, and the checksum of each file)
//! ```
//!
//! The key of the cache is the checksum of everything that goes in: package checksums as apt states them and the files
//! of `xtask/guest`. With the key unchanged and the files intact nothing is done.

use crate::cpio::{Entry, Writer};
use crate::files::{self, checksum, hex};
use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `manifest.json` holds: how to boot the guest and how to tell that the files are intact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Checksum of all that went in.
    pub key: String,
    /// Checksum of what went in from this repository.
    pub recipe: String,
    /// The packages, as `name=version`.
    pub packages: Vec<String>,
    /// The kernel's command line for a serial console.
    pub cmdline: String,
    /// File name to SHA-256, in hexadecimal digits.
    pub files: BTreeMap<String, String>,
}

/// Builds the guest in `out` unless it is there already.
///
/// # Errors
/// When a package cannot be had or a tool is missing; the text says what to do.
pub fn build(out: &Path) -> Result<Manifest> {
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let present = intact(out);
    // Asking apt takes seconds; it has no news while its lists are older than our result.
    if let Some(manifest) = &present
        && manifest.recipe == recipe()
        && newer(&out.join(MANIFEST), Path::new("/var/lib/apt/lists"))
    {
        say(&format!("demo guest: up to date in {}", out.display()));
        return Ok(manifest.clone());
    }
    let packages = match Package::resolve() {
        Ok(packages) => packages,
        Err(error) => {
            let Some(manifest) = present else { return Err(error) };
            say(&format!("demo guest: kept as built before; apt could not be asked: {error:#}"));
            return Ok(manifest);
        }
    };
    let key = key(&packages);
    if let Some(manifest) = present
        && manifest.key == key
    {
        // Marks that apt has been asked since its lists changed.
        std::fs::write(out.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        say(&format!("demo guest: up to date in {}", out.display()));
        return Ok(manifest);
    }
    for tool in ["dpkg-deb", "mke2fs", "qemu-img"] {
        if sh::find(tool).is_none() {
            bail!("{tool} is missing: run `cargo xtask packages run`");
        }
    }
    // Beside the target, so that the finished files can be renamed into place.
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(out)?;
    let root = work.path().join("root");
    for package in &packages {
        let deb = package.fetch(&out.join("packages"))?;
        sh::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
    }
    let kernel = &packages[0].name.trim_start_matches("linux-image-").to_owned();
    let release = root.join("lib/modules").join(kernel);
    std::fs::copy(root.join(format!("boot/vmlinuz-{kernel}")), work.path().join(VMLINUZ))
        .context("taking the kernel out of its package")?;
    write_initrd(&work.path().join(INITRD), &root, &release)?;
    write_disk(work.path())?;

    let mut files = BTreeMap::new();
    for name in [VMLINUZ, INITRD, DISK] {
        files.insert(name.to_owned(), checksum(&work.path().join(name))?);
        std::fs::rename(work.path().join(name), out.join(name))?;
    }
    let packages = packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
    let manifest = Manifest { key, recipe: recipe(), packages, cmdline: CMDLINE.to_owned(), files };
    std::fs::write(out.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
    for name in [VMLINUZ, INITRD, DISK] {
        let bytes = std::fs::metadata(out.join(name))?.len();
        say(&format!("demo guest: {} {:.1} MiB", out.join(name).display(), bytes as f64 / 1_048_576.0));
    }
    Ok(manifest)
}

/// The manifest, if every file it names has the checksum it states.
fn intact(out: &Path) -> Option<Manifest> {
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(out.join(MANIFEST)).ok()?).ok()?;
    files::intact(out, &manifest.files).then_some(manifest)
}

/// A Debian package as apt knows it.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    sha256: String,
}

impl Package {
    /// The kernel behind `linux-image-cloud-amd64`, then busybox-static.
    fn resolve() -> Result<Vec<Self>> {
        let meta = show("linux-image-cloud-amd64")?;
        let depends = field(&meta, "Depends").context("linux-image-cloud-amd64 depends on nothing")?;
        let kernel = depends
            .split(',')
            .filter_map(|one| one.split_whitespace().next())
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("no kernel among the dependencies {depends:?}"))?;
        Ok(vec![Self::named(kernel)?, Self::named("busybox-static")?])
    }

    fn named(name: &str) -> Result<Self> {
        let record = show(name)?;
        let get = |key: &str| {
            field(&record, key).with_context(|| format!("apt does not state the {key} of {name}"))
        };
        Ok(Self { name: name.to_owned(), version: get("Version")?, sha256: get("SHA256")? })
    }

    /// The package file, downloaded through apt unless an intact copy is in `cache`.
    fn fetch(&self, cache: &Path) -> Result<PathBuf> {
        let kept = cache.join(format!("{}.deb", self.sha256));
        if checksum(&kept).is_ok_and(|sum| sum == self.sha256) {
            return Ok(kept);
        }
        say(&format!("demo guest: downloading {} {}", self.name, self.version));
        std::fs::create_dir_all(cache)?;
        let download = tempfile::tempdir_in(cache)?;
        let mut apt = Command::new("apt-get");
        if sh::is_root() {
            // Else apt tries to write here as its own user and warns that it may not.
            apt.args(["-o", "APT::Sandbox::User=root"]);
        }
        apt.args(["-qq", "download", &format!("{}={}", self.name, self.version)]);
        sh::run(apt.current_dir(download.path())).with_context(|| {
            format!("cannot download {}: run `apt-get update` as root and try again", self.name)
        })?;
        let file = std::fs::read_dir(download.path())?.next().context("apt-get download left no file")??;
        let sum = checksum(&file.path())?;
        if sum != self.sha256 {
            bail!("{} has checksum {sum}, apt states {}", self.name, self.sha256);
        }
        std::fs::rename(file.path(), &kept)?;
        Ok(kept)
    }
}

fn show(package: &str) -> Result<String> {
    let shown = sh::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]));
    shown.with_context(|| {
        format!("apt knows no package {package}: run `apt-get update` as root (Debian 12, section main) and try again")
    })
}

fn field(record: &str, key: &str) -> Option<String> {
    let line = record.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
    Some(line.trim().to_owned())
}

fn key(packages: &[Package]) -> String {
    let mut hash = Sha256::new();
    for package in packages {
        hash.update(format!("{}={} {}\n", package.name, package.version, package.sha256));
    }
    hash.update(recipe());
    hex(&hash.finalize())
}

fn recipe() -> String {
    let mut hash = Sha256::new();
    for (path, mode, content) in GUEST_FILES {
        hash.update(format!("{path} {mode:o} {}\n", content.len()));
        hash.update(content);
    }
    hash.update(format!(
        "{MODULES:?}{SEED_MODULES:?}{MEMORY_MODULES:?}{APPLETS:?}{DIRECTORIES:?}{CMDLINE}{DISK_MIB}{RECIPE}"
    ));
    hex(&hash.finalize())
}

fn newer(file: &Path, than: &Path) -> bool {
    let time = |path: &Path| std::fs::metadata(path)?.modified();
    matches!((time(file), time(than)), (Ok(file), Ok(than)) if file > than)
}

fn write_initrd(path: &Path, root: &Path, release: &Path) -> Result<()> {
    let gzip = GzBuilder::new().mtime(0).write(std::fs::File::create(path)?, Compression::best());
    let mut archive = Writer::new(gzip);
    for (name, mode) in DIRECTORIES {
        archive.add(name, *mode, Entry::Directory)?;
    }
    archive.add("dev/console", 0o600, Entry::CharDevice(5, 1))?;
    archive.add("bin/busybox", 0o4755, Entry::File(&std::fs::read(root.join("bin/busybox"))?))?;
    for applet in APPLETS {
        archive.add(&format!("bin/{applet}"), 0o777, Entry::Symlink("busybox"))?;
    }
    let mut added = BTreeSet::new();
    for (list, wanted) in [("order", MODULES), ("order-seed", SEED_MODULES), ("order-memory", MEMORY_MODULES)]
    {
        let mut order = String::new();
        for module in crate::modules::in_load_order(release, wanted)? {
            let name = module.file_name().and_then(|name| name.to_str()).context("module name")?;
            if added.insert(name.to_owned()) {
                archive.add(&format!("lib/modules/{name}"), 0o644, Entry::File(&std::fs::read(&module)?))?;
                order.push_str(name);
                order.push('\n');
            }
        }
        archive.add(&format!("lib/modules/{list}"), 0o644, Entry::File(order.as_bytes()))?;
    }
    archive.add("etc/resolv.conf", 0o777, Entry::Symlink("/run/resolv.conf"))?;
    for (name, mode, content) in GUEST_FILES {
        archive.add(name, *mode, Entry::File(content.as_bytes()))?;
    }
    archive.finish()?.finish()?;
    Ok(())
}

fn write_disk(work: &Path) -> Result<()> {
    let raw = work.join("demo.raw");
    std::fs::File::create(&raw)?.set_len(DISK_MIB << 20)?;
    // Fixed identity and time: the same tools give the same bytes.
    let uuid = "d3e30000-0000-4000-8000-000000000001";
    sh::run(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "demo", "-m", "0", "-U", uuid])
            .args(["-E", &format!("hash_seed={uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0")])
            .env("E2FSPROGS_FAKE_TIME", "1700000000")
            .arg(&raw),
    )?;
    let disk = work.join(DISK);
    sh::run(Command::new("qemu-img").args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&disk))
}

const VMLINUZ: &str = "vmlinuz";
const INITRD: &str = "initrd.img";
const DISK: &str = "demo.qcow2";
const MANIFEST: &str = "manifest.json";

/// Raised when this file's way of building changes the result.
const RECIPE: u32 = 1;

/// Size of the demo disk as the guest sees it.
const DISK_MIB: u64 = 64;

/// Console on the first serial port, few messages, reboot at once on panic.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1";

const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_balloon",
    "virtio_rng",
    "button",
    "evdev",
];

/// Loaded only when a second disk, which may be a cloud-init seed, is there: half a second under emulation.
const SEED_MODULES: &[&str] = &["isofs"];

/// Loaded by who gives a guest memory while it runs.
const MEMORY_MODULES: &[&str] = &["virtio_mem"];

const DIRECTORIES: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("data", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/acpi", 0o755),
    ("etc/acpi/PWRF", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("lib/modules", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("seed", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("www", 0o755),
    ("www/cgi-bin", 0o755),
];

const GUEST_FILES: &[(&str, u32, &str)] = &[
    ("init", 0o755, include_str!("../guest/init")),
    ("bin/status", 0o755, include_str!("../guest/status")),
    ("etc/acpi/PWRF/00000080", 0o755, include_str!("../guest/power-button")),
    ("etc/group", 0o644, include_str!("../guest/group")),
    ("etc/inittab", 0o644, include_str!("../guest/inittab")),
    ("etc/issue", 0o644, include_str!("../guest/issue")),
    ("etc/passwd", 0o644, include_str!("../guest/passwd")),
    ("etc/shadow", 0o600, include_str!("../guest/shadow")),
    ("etc/udhcpc.script", 0o755, include_str!("../guest/udhcpc.script")),
    ("www/cgi-bin/index.cgi", 0o755, include_str!("../guest/index.cgi")),
];

/// Commands of busybox that have a name in the guest's /bin.
const APPLETS: &[&str] = &[
    "acpid",
    "ash",
    "awk",
    "blkid",
    "cat",
    "chmod",
    "clear",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dmesg",
    "du",
    "echo",
    "env",
    "false",
    "find",
    "free",
    "getty",
    "grep",
    "head",
    "hostname",
    "httpd",
    "id",
    "ifconfig",
    "init",
    "insmod",
    "ip",
    "kill",
    "killall",
    "less",
    "ln",
    "login",
    "ls",
    "lsmod",
    "lsscsi",
    "md5sum",
    "mkdir",
    "more",
    "mount",
    "mv",
    "nc",
    "netstat",
    "nslookup",
    "od",
    "ping",
    "poweroff",
    "printf",
    "ps",
    "pwd",
    "rm",
    "rmdir",
    "route",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "tar",
    "test",
    "time",
    "top",
    "touch",
    "tr",
    "true",
    "udhcpc",
    "umount",
    "uname",
    "uptime",
    "vi",
    "watch",
    "wc",
    "wget",
    "which",
    "whoami",
    "xargs",
];

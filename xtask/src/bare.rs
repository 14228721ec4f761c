//! `bare`: a make target on a machine that has nothing but git, make and cargo.
//!
//! ```text
//!   debootstrap ──> <temporary directory>/          chroot in mount, pid and ipc namespaces of its own,
//!     src/hypervisor   clone of HEAD                so that mounts and processes end with it
//!     <rustup home>    the host's, read-only
//!     <cargo home>     bin read-only, registry as an overlay: what is downloaded stays inside
//! ```

use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `make <target>` in a fresh Debian. Needs root and the package debootstrap.
///
/// # Errors
/// When the target fails, or the machine cannot be made.
pub fn run(target: &str) -> Result<()> {
    if !sh::is_root() {
        bail!("a fresh root file system needs root: run `sudo -E make test-bare`");
    }
    for tool in ["debootstrap", "unshare", "chroot"] {
        if sh::find(tool).is_none() {
            bail!("{tool} is missing: run `cargo xtask packages test`");
        }
    }
    let rustup = PathBuf::from(
        sh::output(Command::new("rustup").args(["show", "home"]))
            .context("the toolchain is found through rustup")?
            .trim(),
    );
    let cargo = match (sh::env("CARGO_HOME"), sh::env("HOME")) {
        (Some(cargo), _) => PathBuf::from(cargo),
        (None, Some(user)) => Path::new(&user).join(".cargo"),
        (None, None) => bail!("neither CARGO_HOME nor HOME is set"),
    };
    // Not in /tmp, which may be small or refuse programs.
    let machine = tempfile::Builder::new().prefix("hypervisor-bare-").tempdir_in("/var/tmp")?;
    let root = machine.path();
    let result = make(root).and_then(|()| enter(root, [rustup.as_ref(), cargo.as_ref(), target.as_ref()]));
    // All mounts were in the namespace that has ended; what is left are plain files.
    machine.close().context("removing the bare machine")?;
    result
}

fn make(root: &Path) -> Result<()> {
    let sources = apt_sources()?;
    say("bare machine: debootstrap bookworm");
    debootstrap("bookworm", root, &["ca-certificates", "git", "make"], &sources)?;
    for (name, text) in &sources {
        std::fs::write(root.join("etc/apt/sources.list.d").join(name), text)?;
    }
    if !sources.is_empty() {
        std::fs::write(root.join("etc/apt/sources.list"), "")?;
    }
    for file in ["etc/resolv.conf", "etc/hosts"] {
        let _ = std::fs::remove_file(root.join(file));
        std::fs::copy(Path::new("/").join(file), root.join(file))
            .with_context(|| format!("copying /{file}"))?;
    }
    let source = root.join("src/hypervisor");
    std::fs::create_dir_all(root.join("src"))?;
    sh::run(Command::new("git").args(["clone", "-q", "--no-hardlinks"]).arg(sh::root()).arg(&source))?;
    for directory in [".registry/upper", ".registry/workdir"] {
        std::fs::create_dir_all(root.join(directory))?;
    }
    Ok(())
}

/// Unpacks a Debian with some packages more than the least into `root`.
pub(crate) fn debootstrap(
    suite: &str,
    root: &Path,
    packages: &[&str],
    sources: &[(String, String)],
) -> Result<()> {
    let mirror = mirror(sources).unwrap_or("http://deb.debian.org/debian");
    let log = tempfile::NamedTempFile::new()?;
    // It mounts /proc and /sys in there: never in our namespace, or a run that is killed leaves them behind.
    let made = sh::run(
        Command::new("unshare")
            .args(["--mount", "debootstrap", "--variant=minbase"])
            .arg(format!("--include={}", packages.join(",")))
            .arg(suite)
            .arg(root)
            .arg(mirror)
            .stdout(log.reopen()?),
    );
    made.with_context(|| {
        let text = std::fs::read_to_string(log.path()).unwrap_or_default();
        let last = text.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
        format!("debootstrap from {mirror} said: {}", last.join("\n"))
    })
}

/// The host's source files that speak of a Debian archive; others would bring keys and packages of third parties.
pub(crate) fn apt_sources() -> Result<Vec<(String, String)>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?);
    }
    files.sort();
    let debian = |text: &str| text.lines().any(|line| !line.starts_with('#') && line.contains("/debian"));
    let named = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).ok()?;
        debian(&text).then_some((file.file_name()?.to_str()?.to_owned(), text))
    };
    Ok(files.into_iter().filter_map(named).collect())
}

/// The first archive that is not the one for security updates.
fn mirror(sources: &[(String, String)]) -> Option<&str> {
    let words = sources.iter().flat_map(|(_, text)| {
        text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace)
    });
    words.into_iter().find(|word| {
        word.contains("://") && word.trim_end_matches('/').ends_with("/debian") && !word.contains("snapshot")
    })
}

fn enter(root: &Path, arguments: [&OsStr; 3]) -> Result<()> {
    let target = arguments[2].display();
    say(&format!("bare machine: make {target}"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-euc", ENTER, "bare"]);
    let status = command.arg(root).args(arguments).status().context("starting unshare")?;
    if !status.success() {
        bail!("make {target} failed on the bare machine");
    }
    Ok(())
}

/// Arguments: root, rustup home, cargo home, target. What is mounted read-only belongs to the host. The toolchain has the
/// same path inside, because rustup's toolchains may be links with absolute targets.
const ENTER: &str = r#"
root=$1 rustup=$2 cargo=$3 target=$4
# A machine's root is a mount, whose propagation can be changed.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
install -d -m 1777 "$root/run/lock"
mkdir -p "$root$rustup" "$root$cargo/bin" "$root$cargo/registry" "$cargo/registry"
for directory in "$rustup" "$cargo/bin"; do
    mount --bind "$directory" "$root$directory"
    mount -o remount,bind,ro "$root$directory"
done
mount -t overlay -o "lowerdir=$cargo/registry,upperdir=$root/.registry/upper,workdir=$root/.registry/workdir" \
    registry "$root$cargo/registry"
if [ -f "$cargo/config.toml" ]; then cp "$cargo/config.toml" "$root$cargo/"; fi
exec chroot "$root" env -i HOME=/root TERM="${TERM:-dumb}" RUSTUP_HOME="$rustup" CARGO_HOME="$cargo" \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    ${no_proxy:+no_proxy="$no_proxy"} \
    PATH="$cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    make -C /src/hypervisor "$target"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_main_archive() {
        let deb822 = "# http://snapshot.debian.org/archive/debian/2025\nURIs: http://deb.debian.org/debian-security\n\
                      Suites: x\nURIs: http://mirror.example/debian/\n";
        let sources = [("a.sources".to_owned(), deb822.to_owned())];
        assert_eq!(mirror(&sources), Some("http://mirror.example/debian/"));
        assert_eq!(mirror(&[]), None);
    }
}

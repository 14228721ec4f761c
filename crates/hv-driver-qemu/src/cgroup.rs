//! A control group for each guest: its memory and its threads are counted and limited, whoever else suffers.
//!
//! ```text
//!   v2 (unified)   /sys/fs/cgroup/system.slice/hypervisor-guests.service/   delegated by its unit, holds no process
//!                      hypervisor-<uid of the instance>/                    memory.max, pids.max
//!   v1, hybrid     /sys/fs/cgroup/memory/<the driver's own group>/hypervisor-<uid>/   memory.limit_in_bytes
//!                  /sys/fs/cgroup/pids/<the driver's own group>/hypervisor-<uid>/     pids.max
//! ```
//!
//! - On v2 a group whose children have controllers may hold no process of its own (cgroups(7), "no internal processes"):
//!   systemd could not start the agent again in its unit's. So a unit beside the agent's holds the groups of guests.
//! - Where there is no place, guests run without, and the node's report says why.
//! - A group is removed with its guest's end. Blocking, all of it.

use hv_core::InstanceId;
use qemu::Accelerator;
use std::{
    fmt,
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where guests get their groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Where this host has a place for them.
    Auto,
    /// Nowhere.
    Off,
    /// Below this directory of a v2 hierarchy, which holds no process.
    Below(PathBuf),
}

/// The place for groups of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below one directory of the unified hierarchy.
    V2(PathBuf),
    /// Below one directory for each controller, which stands beside it.
    V1(Vec<(Controller, PathBuf)>),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// What is counted and limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
}

/// What a guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: u64,
    pub(crate) pids: u64,
}

/// A guest's group.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its directories, one for each hierarchy.
    pub(crate) paths: Vec<PathBuf>,
    /// What its process joins by.
    pub(crate) doors: Vec<OwnedFd>,
}

impl Limits {
    /// For a guest of this size. A limit is there for a QEMU that leaks or is abused; one that works stays far below it.
    pub(crate) fn of(memory_bytes: u64, cpus: u32, accelerator: Accelerator) -> Self {
        let translator = if accelerator == Accelerator::Tcg { TRANSLATOR_BYTES } else { 0 };
        Self {
            memory_bytes: memory_bytes + memory_bytes / 16 + QEMU_BYTES + translator,
            pids: u64::from(cpus) + THREADS,
        }
    }
}

impl Place {
    /// Looks for a place, and tries it.
    pub(crate) fn find(choice: &Choice) -> Self {
        if *choice == Choice::Off {
            return Self::Nowhere("switched off".into());
        }
        if !rustix::process::geteuid().is_root() {
            return Self::Nowhere("the agent is not root".into());
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let found = match choice {
            Choice::Below(directory) => Self::V2(directory.clone()),
            _ => Self::of_host(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), Path::is_dir),
        };
        found.tried()
    }

    /// By /proc/self/mountinfo and /proc/self/cgroup. Controllers are with v1 as long as it has them: a hybrid host's unified
    /// hierarchy has none.
    fn of_host(mountinfo: &str, own: &str, exists: impl Fn(&Path) -> bool) -> Self {
        let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
        let v1 = |controller: Controller| {
            let name = controller.name();
            let mount = mounts.iter().find(|mount| mount.kind == "cgroup" && mount.has(name))?;
            // `4:memory:/path`
            let group = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                fields.next()?.split(',').any(|one| one == name).then(|| fields.next())?
            })?;
            // In a container, the path may lead from a root that is not mounted there.
            let inside = [group, "/"].map(|group| mount.at.join(group.trim_start_matches('/')));
            Some((controller, inside.into_iter().find(|path| exists(path))?))
        };
        let found: Vec<_> = [Controller::Memory, Controller::Pids].into_iter().filter_map(v1).collect();
        if !found.is_empty() {
            return Self::V1(found);
        }
        let Some(unified) = mounts.iter().find(|mount| mount.kind == "cgroup2") else {
            return Self::Nowhere("no control groups are mounted".into());
        };
        let unit = unified.at.join(UNIT);
        if exists(&unit) {
            return Self::V2(unit);
        }
        Self::Nowhere(format!("nobody has delegated a control group: {UNIT} is not there"))
    }

    /// The same, if groups can be made there.
    fn tried(self) -> Self {
        let attempt = || -> io::Result<()> {
            if let Self::V2(parent) = &self {
                enable(parent)?;
            }
            for parent in self.parents() {
                let probe = parent.join(format!("{PREFIX}probe-{}", std::process::id()));
                fs::create_dir(&probe)?;
                fs::remove_dir(&probe)?;
            }
            Ok(())
        };
        match attempt() {
            Ok(()) => self,
            Err(error) => {
                let parents: Vec<_> = self.parents().map(|path| path.display().to_string()).collect();
                Self::Nowhere(format!("cannot make control groups in {}: {error}", parents.join(" and ")))
            }
        }
    }

    fn parents(&self) -> impl Iterator<Item = &Path> {
        let (one, many): (Option<&PathBuf>, &[_]) = match self {
            Self::V2(parent) => (Some(parent), &[]),
            Self::V1(parents) => (None, parents),
            Self::Nowhere(_) => (None, &[]),
        };
        one.into_iter().chain(many.iter().map(|(_, path)| path)).map(PathBuf::as_path)
    }

    /// Makes a guest's group, or takes the one that is there; `None` where there is no place.
    pub(crate) fn make(&self, id: InstanceId, limits: Limits) -> io::Result<Option<Group>> {
        let mut group = Group { paths: Vec::new(), doors: Vec::new() };
        let made = match self {
            Self::Nowhere(_) => return Ok(None),
            Self::V2(parent) => (|| {
                // Made anew with the unit, should that have been stopped and started.
                enable(parent)?;
                let path = group.add(parent, id, "cgroup.procs")?;
                fs::write(path.join("memory.max"), limits.memory_bytes.to_string())?;
                fs::write(path.join("pids.max"), limits.pids.to_string())
            })(),
            Self::V1(parents) => parents.iter().try_for_each(|(controller, parent)| {
                let path = group.add(parent, id, "tasks")?;
                match controller {
                    Controller::Memory => {
                        fs::write(path.join("memory.limit_in_bytes"), limits.memory_bytes.to_string())
                    }
                    Controller::Pids => fs::write(path.join("pids.max"), limits.pids.to_string()),
                }
            }),
        };
        if let Err(error) = made {
            remove(&group.paths);
            return Err(error);
        }
        Ok(Some(group))
    }
}

impl Group {
    /// A process that names itself joins by `tasks` in microseconds: nobody is held up, where `cgroup.procs`, which is all that
    /// v2 has, waits for a grace period of the kernel (6 ms on a host at rest).
    fn add(&mut self, parent: &Path, id: InstanceId, join: &str) -> io::Result<PathBuf> {
        let path = parent.join(format!("{PREFIX}{id}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => self.paths.push(path.clone()),
        }
        self.doors.push(File::options().write(true).open(path.join(join))?.into());
        Ok(path)
    }
}

/// Removes a group whose process has ended. What cannot be removed is empty, costs next to nothing, and is taken by the
/// guest's next start.
pub(crate) fn remove(paths: &[PathBuf]) {
    for path in paths {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match fs::remove_dir(path) {
                // A process counts as ended when its first thread has, and others may be a moment behind.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempts < REMOVE_ATTEMPTS => {
                    std::thread::sleep(REMOVE_PAUSE);
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(group = %path.display(), %error, "cannot remove a control group");
                    break;
                }
                Ok(()) | Err(_) => break,
            }
        }
    }
}

/// How many processes of this group the kernel has killed for want of memory since the group was made. That may be before its
/// newest guest's start: a group that could not be removed is taken again.
pub(crate) fn memory_kills(paths: &[PathBuf]) -> u64 {
    let kills = |path: &PathBuf| {
        // v2, v1; in both a line `oom_kill 1`.
        let counts = ["memory.events", "memory.oom_control"].into_iter().map(|name| {
            let text = fs::read_to_string(path.join(name)).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
            count.unwrap_or(0)
        });
        counts.sum::<u64>()
    };
    paths.iter().map(kills).sum()
}

/// Lets children of a v2 group be counted and limited. The process that keeps our unit's group alive steps aside for that,
/// into a child of its own.
fn enable(parent: &Path) -> io::Result<()> {
    let write = || fs::write(parent.join("cgroup.subtree_control"), "+memory +pids");
    match write() {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && parent.ends_with(UNIT) => {
            let aside = parent.join("unit");
            if !aside.is_dir() {
                fs::create_dir(&aside)?;
            }
            for pid in fs::read_to_string(parent.join("cgroup.procs"))?.lines() {
                fs::write(aside.join("cgroup.procs"), pid)?;
            }
            write()
        }
        result => result,
    }
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V2(parent) => write!(f, "v2: {}", parent.display()),
            Self::V1(parents) => {
                f.write_str("v1:")?;
                parents.iter().try_for_each(|(_, path)| write!(f, " {}", path.display()))
            }
            Self::Nowhere(why) => write!(f, "none: {why}"),
        }
    }
}

/// A line of mountinfo (proc(5)): `31 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids`.
struct Mount<'a> {
    at: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let at = PathBuf::from(before.split(' ').nth(4)?);
        let mut after = after.split(' ');
        Some(Self { at, kind: after.next()?, options: after.nth(1)? })
    }

    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }
}

/// Of a group's name; the instance's uid follows.
const PREFIX: &str = "hypervisor-";

/// The group that systemd makes for guests, by a unit of ours.
const UNIT: &str = "system.slice/hypervisor-guests.service";

/// QEMU's own memory, its device buffers, and the pages of disks that it has in flight.
const QEMU_BYTES: u64 = 256 << 20;

/// Translated code: QEMU's default on 64-bit hosts (`DEFAULT_CODE_GEN_BUFFER_SIZE` in `tcg/region.c`).
const TRANSLATOR_BYTES: u64 = 1 << 30;

/// How often a group's removal is tried, and the time between: a second in all.
const REMOVE_ATTEMPTS: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// Threads beside those of the virtual CPUs: up to 64 for file work in QEMU's pool, the rest for rarer things.
const THREADS: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_place_follows_from_what_is_mounted() {
        let own = "8:pids:/\n4:memory:/jobs/one\n1:name=systemd:/jobs\n0::/\n";
        let memory = |path: &str| (Controller::Memory, PathBuf::from(path));
        let pids = |path: &str| (Controller::Pids, PathBuf::from(path));
        let all = |_: &Path| true;
        assert_eq!(
            Place::of_host(HYBRID, own, all),
            Place::V1(vec![memory("/sys/fs/cgroup/memory/jobs/one"), pids("/sys/fs/cgroup/pids/")])
        );
        // A container sees its own group as the root of the mount, and by its path outside in /proc.
        let inside = |path: &Path| !path.ends_with("one");
        assert_eq!(
            Place::of_host(HYBRID, own, inside),
            Place::V1(vec![memory("/sys/fs/cgroup/memory/"), pids("/sys/fs/cgroup/pids/")])
        );
        let unit = "/sys/fs/cgroup/system.slice/hypervisor-guests.service";
        assert_eq!(Place::of_host(UNIFIED, "0::/x\n", all), Place::V2(unit.into()));
        let why = Place::of_host(UNIFIED, "0::/x\n", |_| false).to_string();
        assert!(why.starts_with("none: nobody has delegated") && why.contains("hypervisor-guests"), "{why}");
        assert_eq!(Place::of_host("", "", all).to_string(), "none: no control groups are mounted");
    }

    #[test]
    fn a_place_that_cannot_be_used_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent");
        let why = Place::V2(absent.clone()).tried().to_string();
        assert!(why.contains(absent.to_str().unwrap()) && why.contains("No such file"), "{why}");
        assert_eq!(Place::find(&Choice::Off).to_string(), "none: switched off");
    }

    #[test]
    fn limits_leave_room_for_qemu_itself() {
        let gib = 1 << 30;
        let limits = Limits::of(16 * gib, 4, Accelerator::Kvm);
        assert_eq!(limits, Limits { memory_bytes: 17 * gib + (256 << 20), pids: 260 });
        assert_eq!(Limits::of(16 * gib, 4, Accelerator::Tcg).memory_bytes, limits.memory_bytes + gib);
    }
}

//! Facts about processes from /proc. [`stat`], [`owner`], [`run_times`] and [`boot_id`] are answered at once; the command line of a process
//! may have to wait for its memory map, and what it has open lies anywhere ([`qmp::aside`]).

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
use std::{collections::BTreeMap, ffi::OsString, fs, io, path::Path};

/// Parts of /proc/pid/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// State letter.
    pub(crate) state: char,
    /// Its parent.
    pub(crate) parent: u32,
    /// CPU time in user and kernel mode, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Start in clock ticks since boot; with the process number it names one process per boot.
    pub(crate) start_ticks: u64,
    /// Resident memory in pages.
    pub(crate) rss_pages: u64,
}

pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected form of /proc/pid/stat"))
}

/// The command name, in parentheses, may hold spaces and parentheses itself: fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5) numbers the fields from 1; the state is field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: number(4)?.try_into().ok()?,
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
        rss_pages: number(24)?,
    })
}

/// Device and inode of the program that a process executes, also after the file was replaced.
pub(crate) fn exe(pid: u32) -> io::Result<(u64, u64)> {
    identity(format!("/proc/{pid}/exe").as_ref())
}

/// Device and inode of a file, as far as the kernel knows them by itself: a server that is gone is not asked.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let known = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok((makedev(known.stx_dev_major, known.stx_dev_minor), known.stx_ino))
}

/// The command line, program name first.
pub(crate) fn cmdline(pid: u32) -> io::Result<Vec<Vec<u8>>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline"))?;
    Ok(bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

/// Whether a process has this file open.
pub(crate) fn holds(pid: u32, file: &Path) -> io::Result<bool> {
    let wanted = identity(file)?;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor that is closed meanwhile is none that is held.
        if identity(&entry?.path()).is_ok_and(|open| open == wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// User and group with which a process reaches files.
pub(crate) fn owner(pid: u32) -> io::Result<(u32, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_owner(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected form of /proc/pid/status"))
}

/// Each line has four ids: real, effective, saved, and that of the file system (proc(5)).
fn parse_owner(status: &str) -> Option<(u32, u32)> {
    let id = |name: &str| {
        let ids = status.lines().find_map(|line| line.strip_prefix(name))?;
        ids.split_ascii_whitespace().nth(3)?.parse().ok()
    };
    Some((id("Uid:")?, id("Gid:")?))
}

/// For how long each thread of a process has run, in nanoseconds (schedstats in Linux's documentation of the scheduler). Linux may leave
/// one out.
pub(crate) fn run_times(pid: u32) -> io::Result<BTreeMap<OsString, u64>> {
    let mut times = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        // One that has just ended is of no interest.
        if let Ok(text) = fs::read_to_string(thread.path().join("schedstat"))
            && let Some(time) = parse_run_time(&text)
        {
            times.insert(thread.file_name(), time);
        }
    }
    Ok(times)
}

fn parse_run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// Names this boot of the host.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a) b (c) T 1 42 42 0 -1 4194560 9 0 0 0 7 5 0 0 20 0 3 0 1234 1000 77 0";
        let expected = Stat { state: 'T', parent: 1, cpu_ticks: 12, start_ticks: 1234, rss_pages: 77 };
        assert_eq!(parse_stat(text), Some(expected));
    }

    #[test]
    fn a_thread_has_run_for_the_first_of_its_figures() {
        assert_eq!(parse_run_time("1700 42 3\n"), Some(1700));
        assert_eq!(parse_run_time("\n"), None);
        let times = run_times(rustix::process::getpid().as_raw_pid().try_into().unwrap()).unwrap();
        assert!(times.values().any(|time| *time > 0), "{times:?}");
    }

    #[test]
    fn a_process_owns_what_its_file_system_ids_say() {
        let text = "Name:\tUid: 1\nUmask:\t0077\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n";
        assert_eq!(parse_owner(text), Some((4, 8)));
        assert_eq!(parse_owner("Uid:\t1\n"), None);
    }
}

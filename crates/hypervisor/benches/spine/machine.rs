//! What the kernel says of this machine and its processes.

use anyhow::Context;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The load over the last minute.
pub(crate) fn load() -> anyhow::Result<f64> {
    Ok(fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or("").parse()?)
}

/// What each thread of a process has used so far.
#[derive(Debug)]
pub(crate) struct Usage(BTreeMap<OsString, Thread>);

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    cpu_ns: f64,
    /// How often it went to sleep, and so was woken.
    sleeps: f64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?;
            // A thread may end in between.
            if let Ok(usage) = Thread::of(&thread.path()) {
                threads.insert(thread.file_name(), usage);
            }
        }
        Ok(Self(threads))
    }

    /// Nanoseconds of CPU and number of wake-ups since an earlier moment; threads that have ended since are not counted.
    pub(crate) fn since(&self, before: &Self) -> (f64, f64) {
        self.0.iter().fold((0.0, 0.0), |(cpu, woken), (thread, now)| {
            let before = before.0.get(thread).copied().unwrap_or_default();
            (cpu + now.cpu_ns - before.cpu_ns, woken + now.sleeps - before.sleeps)
        })
    }
}

impl Thread {
    fn of(directory: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(directory.join("schedstat"))?;
        let cpu_ns = text.split(' ').next().unwrap_or("").parse()?;
        Ok(Self { cpu_ns, sleeps: field(&directory.join("status"), "voluntary_ctxt_switches:")? })
    }
}

/// Resident and proportional memory in MB (10^6 bytes).
pub(crate) fn memory(pid: u32) -> anyhow::Result<(f64, f64)> {
    let rollup = Path::new("/proc").join(pid.to_string()).join("smaps_rollup");
    let mb = |name| Ok::<_, anyhow::Error>(field(&rollup, name)? * 1024.0 / 1e6);
    Ok((mb("Rss:")?, mb("Pss:")?))
}

fn field(file: &Path, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    Ok(word.with_context(|| format!("{} has no {name}", file.display()))?.parse()?)
}

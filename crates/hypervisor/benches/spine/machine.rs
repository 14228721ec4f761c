//! What the kernel says of this machine and its processes.

use anyhow::Context;
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

/// Nanoseconds of CPU that the process's present threads have used.
pub(crate) fn cpu_ns(pid: u32) -> anyhow::Result<f64> {
    of_threads(pid, |thread| {
        let text = fs::read_to_string(thread.join("schedstat"))?;
        Ok(text.split(' ').next().unwrap_or("").parse()?)
    })
}

/// How often the process's present threads have gone to sleep, and so been woken.
pub(crate) fn sleeps(pid: u32) -> anyhow::Result<f64> {
    of_threads(pid, |thread| field(&thread.join("status"), "voluntary_ctxt_switches:"))
}

/// Resident and proportional memory in MB (10^6 bytes).
pub(crate) fn memory(pid: u32) -> anyhow::Result<(f64, f64)> {
    let rollup = Path::new("/proc").join(pid.to_string()).join("smaps_rollup");
    let mb = |name| Ok::<_, anyhow::Error>(field(&rollup, name)? * 1024.0 / 1e6);
    Ok((mb("Rss:")?, mb("Pss:")?))
}

fn of_threads(pid: u32, value: impl Fn(&Path) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end in between.
        sum += value(&thread?.path()).unwrap_or(0.0);
    }
    Ok(sum)
}

fn field(file: &Path, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    Ok(word.with_context(|| format!("{} has no {name}", file.display()))?.parse()?)
}

//! How time is taken, and what a row of the result holds.

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Seconds since some moment.
pub(crate) fn now() -> f64 {
    seconds(ClockId::Monotonic)
}

/// CPU time of this process, of its threads and its system calls, in seconds.
pub(crate) fn cpu() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that this process ever had, in bytes.
pub(crate) fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    let kib: Option<f64> = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok());
    kib.unwrap_or_default() * 1024.0
}

/// Makes the most memory so far that of now (proc(5), `clear_refs`).
pub(crate) fn forget_peak() {
    // Without it the figure is that of the whole benchmark, which is more.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What some commands cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Commands per second.
    pub(crate) rate: f64,
    /// CPU time of the client for each, in seconds.
    pub(crate) cpu: f64,
}

/// Runs `count` commands.
pub(crate) fn cost(count: usize, run: impl FnOnce()) -> Cost {
    let (begin, before) = (now(), cpu());
    run();
    Cost { rate: count as f64 / (now() - begin), cpu: (cpu() - before) / count as f64 }
}

/// The medians over the rounds.
pub(crate) fn medians(costs: &[Cost]) -> Cost {
    Cost {
        rate: median(costs.iter().map(|cost| cost.rate).collect()),
        cpu: median(costs.iter().map(|cost| cost.cpu).collect()),
    }
}

/// A row of `xtask bench`, without peer and floor.
pub(crate) fn row(name: &str, value: f64, unit: &str, better: &str, load: Option<f64>) -> Value {
    json!({"name": name, "value": value, "unit": unit, "better": better, "load": load})
}

/// The row with more in it.
pub(crate) fn with(mut row: Value, more: Value) -> Value {
    if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
        row.extend(more);
    }
    row
}

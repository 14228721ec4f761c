//! 4 KiB random reads through vhost-user against qemu-storage-daemon, ours beside the crate `blkio` (the core of libblkio), in turns.
//!
//! Both keep a number of requests in flight on one queue, once waiting for calls (eventfd), once polling. The processor time is that of the
//! thread that drives the queue. Writes `target/bench/vhost-user.json` of the workspace.

mod daemon;
mod ours;
mod peer;

use daemon::Daemon;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Anything that goes wrong ends the benchmark.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bytes of the disk, and of a request.
const DISK: u64 = 1 << 30;
const REQUEST: usize = 4096;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(400);

/// A queue that is kept full.
trait Client {
    /// Waits for requests that ended, puts as many in their place, and says how many that were.
    fn turn(&mut self) -> Result<u64>;
}

/// Sectors at random, the same for everybody.
struct Places(u64);

impl Places {
    /// The first byte of the next request.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % (DISK / REQUEST as u64) * REQUEST as u64
    }
}

#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    cpu_ns: f64,
}

fn measure(client: &mut dyn Client) -> Result<Rate> {
    let (start, cpu) = (Instant::now(), thread_time());
    let mut done = 0;
    while start.elapsed() < ROUND {
        for _ in 0..16 {
            done += client.turn()?;
        }
    }
    let (took, cpu) = (start.elapsed(), thread_time() - cpu);
    Ok(Rate { per_second: done as f64 / took.as_secs_f64(), cpu_ns: cpu.as_nanos() as f64 / done as f64 })
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut all: Vec<Rate>) -> Rate {
    let mut middle = |by: fn(&Rate) -> f64| {
        all.sort_by(|one, other| by(one).total_cmp(&by(other)));
        by(&all[all.len() / 2])
    };
    Rate { per_second: middle(|rate| rate.per_second), cpu_ns: middle(|rate| rate.cpu_ns) }
}

fn main() -> Result<()> {
    let load: f64 = std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or("0").parse()?;
    let directory = tempfile::tempdir()?;
    let mut rows: Vec<Value> = Vec::new();
    let mut out = std::io::stdout().lock();
    for polls in [false, true] {
        for depth in [1, 8, 32, 128] {
            let (mut own, mut other) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let daemon = Daemon::start(directory.path(), DISK)?;
                own.push(measure(&mut ours::Ours::new(daemon.socket(), depth, polls)?)?);
                other.push(measure(&mut peer::Peer::new(daemon.socket(), depth, polls)?)?);
            }
            let (own, other) = (median(own), median(other));
            let mode = if polls { "polled" } else { "called" };
            let name = format!("vhost_user_blk_null_4k_{mode}_depth_{depth}");
            writeln!(
                out,
                "{name:<44} {:>10.0}/s  peer {:>10.0}/s  {:>4.2}x   CPU {:>6.0} ns  peer {:>6.0} ns  {:>4.2}x",
                own.per_second,
                other.per_second,
                own.per_second / other.per_second,
                own.cpu_ns,
                other.cpu_ns,
                own.cpu_ns / other.cpu_ns
            )?;
            rows.push(json!({
                "name": name, "unit": "requests/s", "better": "higher", "value": own.per_second, "peer": "blkio 0.5.1",
                "peer_value": other.per_second, "goal": 1.1 * other.per_second, "cpu_ns_per_op": own.cpu_ns, "load": load,
            }));
            rows.push(json!({
                "name": format!("{name}_cpu"), "unit": "ns/request", "better": "lower", "value": own.cpu_ns, "peer": "blkio 0.5.1",
                "peer_value": other.cpu_ns, "goal": 0.4 * other.cpu_ns, "load": load,
            }));
        }
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join("vhost-user.json"), serde_json::to_vec_pretty(&rows)?)?;
    Ok(())
}

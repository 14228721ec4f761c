//! 4 KiB random reads through vhost-user, ours beside the crate `blkio` (the core of libblkio), in turns: with qemu-storage-daemon's null
//! device and a file, and each with a null device of its own side; connecting; coming back.
//!
//! Both keep a number of requests in flight on one queue, once waiting for calls (eventfd), once polling. The processor time is that of the
//! thread that drives the queue. A word as argument chooses those whose name has it. Writes `target/bench/vhost-user.json` of the workspace.

mod connect;
mod ours;
mod peer;
mod servers;

use serde_json::{Value, json};
use servers::{Kind, Server};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use virtio::features::Features;

/// Anything that goes wrong ends the benchmark.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bytes of the disk, and of a request.
const DISK: u64 = 256 << 20;
const REQUEST: usize = 4096;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(400);

/// What it is measured beside.
const PEER: &str = "blkio 0.5.1";

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

/// What is measured beside what.
struct Contest<'a> {
    name: &'a str,
    /// The back-end of ours, and the peer's.
    servers: [Kind<'a>; 2],
    /// Of our rings.
    features: Features,
    /// What ours is to have of the peer's rate, and of its processor time.
    goals: Option<(f64, f64)>,
}

impl Contest<'_> {
    /// A round of each in turn, again and again; medians.
    fn hold(&self, directory: &Path, depth: usize, polls: bool) -> Result<[Rate; 2]> {
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let server = Server::start(directory, self.servers[0])?;
            own.push(measure(&mut ours::Ours::new(server.socket(), depth, polls, self.features)?)?);
            drop(server);
            let server = Server::start(directory, self.servers[1])?;
            other.push(measure(&mut peer::Peer::new(server.socket(), depth, polls)?)?);
        }
        Ok([median(own), median(other)])
    }
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, command, which, socket] = arguments.as_slice()
        && command == "serve"
    {
        return servers::run(which, socket);
    }
    let load: f64 = std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or("0").parse()?;
    let directory = tempfile::tempdir()?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let file = memory.path().join("disk.raw");
    std::fs::write(&file, vec![1; DISK as usize])?;
    let null = [Kind::DaemonNull; 2];
    let pair = [Kind::Ours, Kind::Theirs];
    let split = Features::empty();
    let contests = [
        Contest { name: "null", servers: null, features: split, goals: Some((1.1, 0.4)) },
        Contest { name: "file", servers: [Kind::DaemonFile(&file); 2], features: split, goals: None },
        Contest { name: "pair", servers: pair, features: split, goals: Some((4.0, 0.4)) },
        Contest {
            name: "pair_packed",
            servers: pair,
            features: Features::RING_PACKED,
            goals: Some((4.0, 0.4)),
        },
    ];
    let mut rows: Vec<Value> = Vec::new();
    let mut out = std::io::stdout().lock();
    let chosen = |name: &str| arguments.get(1).is_none_or(|word| name.contains(word.as_str()));
    for contest in contests.iter().filter(|contest| chosen(contest.name)) {
        for polls in [false, true] {
            for depth in [1, 8, 32, 128] {
                let [own, other] = contest.hold(directory.path(), depth, polls)?;
                let mode = if polls { "polled" } else { "called" };
                let name = format!("vhost_user_blk_{}_4k_{mode}_depth_{depth}", contest.name);
                writeln!(
                    out,
                    "{name:<48} {:>10.0}/s  peer {:>10.0}/s  {:>5.2}x   CPU {:>6.0} ns  peer {:>6.0} ns  {:>4.2}x",
                    own.per_second,
                    other.per_second,
                    own.per_second / other.per_second,
                    own.cpu_ns,
                    other.cpu_ns,
                    own.cpu_ns / other.cpu_ns
                )?;
                let goal = |by: fn((f64, f64)) -> f64, of: f64| contest.goals.map(|goals| by(goals) * of);
                rows.push(json!({
                    "name": name, "unit": "requests/s", "better": "higher", "value": own.per_second, "peer": PEER,
                    "peer_value": other.per_second, "goal": goal(|goals| goals.0, other.per_second),
                    "cpu_ns_per_op": own.cpu_ns, "load": load,
                }));
                rows.push(json!({
                    "name": format!("{name}_cpu"), "unit": "ns/request", "better": "lower", "value": own.cpu_ns, "peer": PEER,
                    "peer_value": other.cpu_ns, "goal": goal(|goals| goals.1, other.cpu_ns), "load": load,
                }));
            }
        }
    }
    let (own, other) = connect::handshake(directory.path())?;
    writeln!(
        out,
        "{:<48} {own:>10.0} us peer {other:>10.0} us {:>5.2}x",
        "vhost_user_handshake",
        own / other
    )?;
    rows.push(json!({
        "name": "vhost_user_handshake", "unit": "us", "better": "lower", "value": own, "peer": PEER, "peer_value": other, "load": load,
    }));
    for (kind, features) in [("split", split), ("packed", Features::RING_PACKED)] {
        let gap = connect::gap(directory.path(), features)?;
        let name = format!("vhost_user_reconnect_gap_{kind}");
        writeln!(out, "{name:<48} {gap:>10.0} us")?;
        rows.push(json!({ "name": name, "unit": "us", "better": "lower", "value": gap, "goal": 10_000.0, "load": load }));
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join("vhost-user.json"), serde_json::to_vec_pretty(&rows)?)?;
    Ok(())
}

//! 4 KiB random reads through vhost-user, ours beside the crate `blkio` (the core of libblkio), in turns: with qemu-storage-daemon's null
//! device and a file, and each with a null device of its own side; connecting; coming back.
//!
//! Both keep a number of requests in flight on one queue, waiting for calls (eventfd) for the next request or for half of them, or polling.
//! Processor time and system calls are those of the thread that drives the queue. A word as argument chooses those whose name has it. Writes `target/bench/vhost-user.json` of the workspace.

mod connect;
mod direct;
mod ours;
mod packets;
mod peer;
mod rings;
mod servers;
mod watch;

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
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

/// How a client waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// For a call, until a request has ended.
    Called,
    /// For a call, until half of those in flight have.
    Half,
    /// The same, and ours sleeps at once where it otherwise looks for a while.
    Asleep,
    /// It looks.
    Polled,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Called => "called",
            Self::Half => "half",
            Self::Asleep => "half_asleep",
            Self::Polled => "polled",
        }
    }

    /// Requests that are to have ended when it goes on.
    fn least(self, depth: usize) -> usize {
        if matches!(self, Self::Half | Self::Asleep) { (depth / 2).max(1) } else { 1 }
    }
}

#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    cpu_ns: f64,
    /// System calls per request; `None` where the kernel does not count them.
    calls: Option<f64>,
}

/// Counts the system calls of this thread, where the kernel lets us (tracefs is mounted, and we may read it).
fn counter() -> Option<Counter> {
    let number = std::fs::read_to_string("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id").ok()?;
    let entered = Tracepoint::with_id(number.trim().parse().ok()?);
    Builder::new(entered).exclude_kernel(false).build().ok()
}

fn measure(client: &mut dyn Client) -> Result<Rate> {
    let mut counter = counter();
    if let Some(counter) = &mut counter {
        counter.enable()?;
    }
    let (start, cpu) = (Instant::now(), thread_time());
    let mut done = 0;
    while start.elapsed() < ROUND {
        for _ in 0..16 {
            done += client.turn()?;
        }
    }
    let (took, cpu) = (start.elapsed(), thread_time() - cpu);
    let calls = counter.as_mut().map(Counter::read).transpose()?.map(|calls| calls as f64 / done as f64);
    Ok(Rate {
        per_second: done as f64 / took.as_secs_f64(),
        cpu_ns: cpu.as_nanos() as f64 / done as f64,
        calls,
    })
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut all: Vec<Rate>) -> Rate {
    let counts = all[0].calls.is_some();
    let mut middle = |by: fn(&Rate) -> f64| {
        all.sort_by(|one, other| by(one).total_cmp(&by(other)));
        by(&all[all.len() / 2])
    };
    Rate {
        per_second: middle(|rate| rate.per_second),
        cpu_ns: middle(|rate| rate.cpu_ns),
        calls: counts.then(|| middle(|rate| rate.calls.unwrap_or_default())),
    }
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
    fn hold(&self, directory: &Path, depth: usize, mode: Mode) -> Result<[Rate; 2]> {
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let server = Server::start(directory, self.servers[0])?;
            own.push(measure(&mut ours::Ours::new(server.socket(), depth, mode, self.features)?)?);
            drop(server);
            let server = Server::start(directory, self.servers[1])?;
            other.push(measure(&mut peer::Peer::new(server.socket(), depth, mode)?)?);
        }
        Ok([median(own), median(other)])
    }
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, command, which, socket, file @ ..] = arguments.as_slice()
        && command == "serve"
    {
        return servers::run(which, socket, file.first().map(String::as_str));
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
    if counter().is_none() {
        writeln!(out, "not run: system calls of each request: tracefs is not mounted, or may not be read")?;
    }
    let chosen = |name: &str| arguments.get(1).is_none_or(|word| name.contains(word.as_str()));
    for contest in &contests {
        for mode in [Mode::Called, Mode::Half, Mode::Asleep, Mode::Polled] {
            for depth in [1, 8, 32, 128] {
                if depth == 1 && matches!(mode, Mode::Half | Mode::Asleep) {
                    continue;
                }
                let name = format!("vhost_user_blk_{}_4k_{}_depth_{depth}", contest.name, mode.name());
                if !chosen(&name) {
                    continue;
                }
                let [own, other] = contest.hold(directory.path(), depth, mode)?;
                let calls = own.calls.zip(other.calls);
                writeln!(
                    out,
                    "{name:<48} {:>10.0}/s  peer {:>10.0}/s  {:>5.2}x   CPU {:>6.0} ns  peer {:>6.0} ns  {:>4.2}x{}",
                    own.per_second,
                    other.per_second,
                    own.per_second / other.per_second,
                    own.cpu_ns,
                    other.cpu_ns,
                    own.cpu_ns / other.cpu_ns,
                    calls.map_or_else(String::new, |(own, other)| format!("   calls {own:>6.3}  peer {other:>6.3}")),
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
                rows.extend(calls.map(|(own, other)| {
                    json!({
                        "name": format!("{name}_system_calls"), "unit": "calls/request", "better": "lower", "value": own, "peer": PEER,
                        "peer_value": other, "load": load,
                    })
                }));
            }
        }
    }
    for depth in [1, 8, 32, 128].into_iter().filter(|_| chosen("direct")) {
        let [own, other, cached] = direct::beside(directory.path(), depth)?;
        let name = format!("vhost_user_blk_direct_4k_depth_{depth}");
        writeln!(
            out,
            "{name:<48} {:>10.0}/s  peer {:>10.0}/s  {:>5.2}x   with the page cache, cold {:>10.0}/s",
            own.per_second,
            other.per_second,
            own.per_second / other.per_second,
            cached.per_second,
        )?;
        rows.push(json!({
            "name": name, "unit": "requests/s", "better": "higher", "value": own.per_second,
            "peer": "qemu-storage-daemon, aio=io_uring", "peer_value": other.per_second, "floor_value": cached.per_second, "load": load,
        }));
    }
    for segments in [1, 3].into_iter().filter(|_| chosen("virtio_driver_side")) {
        let name = format!("virtio_driver_side_split_chain_{segments}");
        let [own, other] = rings::beside(segments)?;
        writeln!(out, "{name:<48} {own:>10.1} ns peer {other:>10.1} ns {:>5.2}x", own / other)?;
        rows.push(json!({
            "name": name, "unit": "ns/request", "better": "lower", "value": own, "peer": "virtio-drivers 0.13", "peer_value": other,
            "load": load,
        }));
    }
    let frames = [
        ("split", Features::empty(), "packed_vq=0,in_order=0"),
        ("split_in_order", Features::IN_ORDER, "packed_vq=0,in_order=1"),
        ("packed", Features::RING_PACKED, "packed_vq=1,in_order=0"),
        ("packed_in_order", Features::RING_PACKED.union(Features::IN_ORDER), "packed_vq=1,in_order=1"),
    ];
    for (kind, features, options) in frames {
        let name = format!("vhost_user_net_64_bytes_{kind}");
        if !chosen(&name) {
            continue;
        }
        let [own, other] = packets::beside(directory.path(), features, options)?;
        let ratio = own.per_second / other.per_second;
        writeln!(
            out,
            "{name:<48} {:>10.0}/s  peer {:>10.0}/s  {ratio:>5.2}x   CPU {:>6.1} ns  peer {:>6.1} ns",
            own.per_second, other.per_second, own.cpu_ns, other.cpu_ns,
        )?;
        rows.push(json!({
            "name": name, "unit": "frames/s", "better": "higher", "value": own.per_second, "peer": "DPDK virtio-user",
            "peer_value": other.per_second, "goal": 1.05 * other.per_second, "cpu_ns_per_op": own.cpu_ns, "load": load,
        }));
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

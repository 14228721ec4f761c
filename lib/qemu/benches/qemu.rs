//! From spawn to ready beside a bare spawn with the same arguments; a refused argument; how soon a death is known; many machines of
//! which some are stopped.
//!
//! Writes `target/bench/qemu.json`. Ours and the bare form take turns; the figures are medians.
#![expect(clippy::unwrap_used, reason = "a benchmark: what fails ends it with its reason")]

#[path = "../../qmp/benches/qmp/measure.rs"]
#[expect(dead_code, reason = "shared with the benchmarks of the client, which use all of it")]
mod measure;

use measure::{load, median, now, row, with};
use qemu::{
    Config, Exit, StartSpec, Supervision, Vm,
    argv::{Descriptors, argv},
    start,
};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const BINARY: &str = "/usr/bin/qemu-system-x86_64";
const ROUNDS: usize = 15;
const MACHINES: usize = 200;

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this flag; they are not tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut output = std::io::stdout();
    if !Path::new(BINARY).exists() {
        let _ = writeln!(output, "not run: qemu benchmarks: {BINARY} (Debian package qemu-system-x86)");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows: Vec<Value> =
        runtime.block_on(async { [starts().await, refusals().await, deaths().await, many().await] }).concat();
    let text = serde_json::to_string_pretty(&rows).unwrap();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&target).unwrap();
    std::fs::write(target.join("qemu.json"), &text).unwrap();
    let _ = writeln!(output, "{text}");
}

fn config() -> Config {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    Config::new("bench", Uuid::parse_str(text.trim()).unwrap(), "pc-q35-7.2", 1, 256)
}

fn spec(config: Config, directory: &Path) -> StartSpec {
    // No probe disturbs what is measured.
    let supervision = Supervision { interval: Duration::from_secs(600), patience: Duration::from_secs(600) };
    StartSpec { supervision, ..StartSpec::new(BINARY.into(), config, directory.join("run")) }
}

async fn started(tasks: &mut JoinSet<Exit>, config: Config, directory: &Path) -> Vm {
    let (vm, supervisor) = start(spec(config, directory)).await.unwrap();
    tasks.spawn(supervisor);
    vm
}

/// The same arguments without all that stands between a configuration and a supervised process.
fn bare(config: &Config, directory: &Path) -> (Child, UnixStream) {
    let path = directory.join("bare");
    let listen = |name: &str| OwnedFd::from(UnixListener::bind(path.with_extension(name)).unwrap());
    let descriptors =
        [listen("qmp"), listen("console"), File::create(path.with_extension("log")).unwrap().into()];
    for descriptor in &descriptors {
        fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
    }
    let [qmp, console, console_log] = descriptors.each_ref().map(|descriptor| descriptor.as_raw_fd());
    let line = argv(config, &Descriptors { qmp, console, console_log, keyed: BTreeMap::new() }).unwrap();
    let child = Command::new(BINARY)
        .args(line)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    (child.unwrap(), UnixStream::connect(path.with_extension("qmp")).unwrap())
}

/// To the answer to a first question.
fn bare_start(config: &Config, directory: &Path) -> f64 {
    let begin = now();
    let (mut child, stream) = bare(config, directory);
    let (mut writer, mut lines) = (stream.try_clone().unwrap(), BufReader::new(stream).lines());
    lines.next().unwrap().unwrap();
    for command in ["qmp_capabilities", "query-status"] {
        writer.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes()).unwrap();
        lines.next().unwrap().unwrap();
    }
    let taken = now() - begin;
    child.kill().unwrap();
    child.wait().unwrap();
    taken
}

async fn starts() -> Vec<Value> {
    let before = load();
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let mut tasks = JoinSet::new();
        let begin = now();
        let vm = started(&mut tasks, config(), directory.path()).await;
        ours.push(now() - begin);
        vm.kill().await.unwrap();
        bares.push(bare_start(&config(), directory.path()));
    }
    let peer = json!({"floor": "bare spawn, same arguments", "floor_value": median(bares) * 1e3});
    vec![with(row("qemu_spawn_to_ready", median(ours) * 1e3, "ms", "lower", before), peer)]
}

async fn refusals() -> Vec<Value> {
    let before = load();
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let faulty = || Config { machine: "pc-q35-99.9".into(), ..config() };
        let begin = now();
        start(spec(faulty(), directory.path())).await.map(drop).unwrap_err();
        ours.push(now() - begin);
        let begin = now();
        let (mut child, stream) = bare(&faulty(), directory.path());
        child.wait().unwrap();
        bares.push(now() - begin);
        drop(stream);
    }
    let peer = json!({"floor": "bare spawn and wait", "floor_value": median(bares) * 1e3});
    vec![with(row("qemu_refused_argument_reported", median(ours) * 1e3, "ms", "lower", before), peer)]
}

/// From the signal until every watcher knows, beside the kernel's own word on a pidfd.
async fn deaths() -> Vec<Value> {
    let before = load();
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let mut tasks = JoinSet::new();
        let vm = started(&mut tasks, config(), directory.path()).await;
        let mut status = vm.watch();
        let pid = rustix::process::Pid::from_raw(vm.record().pid.try_into().unwrap()).unwrap();
        let begin = now();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        status.wait_for(|status| status.exit.is_some()).await.unwrap();
        ours.push(now() - begin);
        let (mut child, _stream) = bare(&config(), directory.path());
        bare_ready(&_stream);
        let begin = now();
        child.kill().unwrap();
        child.wait().unwrap();
        bares.push(now() - begin);
    }
    let peer = json!({"floor": "kill and waitpid", "floor_value": median(bares) * 1e3});
    vec![with(row("qemu_death_known", median(ours) * 1e3, "ms", "lower", before), peer)]
}

fn bare_ready(stream: &UnixStream) {
    BufReader::new(stream).lines().next().unwrap().unwrap();
}

/// The slowest hundredth of the answers of those that answer, with and without others that are stopped.
async fn many() -> Vec<Value> {
    let directories: Vec<_> = (0..MACHINES).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut tasks = JoinSet::new();
    let mut vms = Vec::new();
    for directory in &directories {
        let config = Config { machine: "microvm".into(), ..config() };
        vms.push(started(&mut tasks, config, directory.path()).await);
    }
    let before = load();
    let all = slowest(&vms).await;
    let stopped: Vec<Vm> = vms.drain(..MACHINES / 10).collect();
    for vm in &stopped {
        let pid = rustix::process::Pid::from_raw(vm.record().pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }
    // Questions to these are under way all the time.
    let mut asking = JoinSet::new();
    for vm in &stopped {
        let client = vm.qmp();
        asking.spawn(async move { client.call(&qmp::commands::QueryStatus {}).await.map(drop) });
    }
    let rest = slowest(&vms).await;
    for vm in stopped.iter().chain(&vms) {
        vm.kill().await.unwrap();
    }
    let peer = json!({"peer": "none stopped", "peer_value": all * 1e3});
    vec![with(row("qemu_status_p99_of_180_with_20_stopped", rest * 1e3, "ms", "lower", before), peer)]
}

/// 99 of 100 answers come within this time, each machine being asked one question at a time, eight at once.
async fn slowest(vms: &[Vm]) -> f64 {
    let mut times = Vec::new();
    for _ in 0..5 {
        for some in vms.chunks(8) {
            let mut asked = JoinSet::new();
            for vm in some {
                let client = vm.qmp();
                asked.spawn(async move {
                    let begin = now();
                    client.call(&qmp::commands::QueryStatus {}).await.unwrap();
                    now() - begin
                });
            }
            times.extend(asked.join_all().await);
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

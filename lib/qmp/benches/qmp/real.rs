//! Against QEMU.

use crate::{
    local,
    measure::{Cost, cost, cpu, load, median, medians, row, with},
};
use qmp::{
    Client, Options,
    commands::{QueryStatus, SchemaEntry},
    schema::Schema,
    session::{CallId, Execution, Limits, Output, Session},
    wire::Decode as _,
};
use serde_json::{Map, Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};
use tokio::task::JoinSet;

const BINARY: &str = "/usr/bin/qemu-system-x86_64";

const ROUNDS: usize = 7;

struct Qemu {
    child: Child,
    _directory: tempfile::TempDir,
    monitor: Option<UnixStream>,
    /// A second monitor, which listens.
    server: std::path::PathBuf,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Qemu {
    fn start() -> Option<Self> {
        let report = |reason: &str| writeln!(std::io::stdout(), "not run: qmp benchmarks: {reason}");
        if !Path::new(BINARY).exists() {
            let _ = report("no qemu-system-x86_64 (Debian package qemu-system-x86)");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory of ours");
        let (path, server) = (directory.path().join("monitor"), directory.path().join("server"));
        let listener = UnixListener::bind(&path).expect("a socket of ours");
        let mut command = Command::new(BINARY);
        // Made before the one by which we learn that it is up.
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", server.display()));
        command.args([
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-m",
            "256",
            "-S",
            "-nodefaults",
            "-no-user-config",
        ]);
        command.args(["-display", "none", "-mon", "chardev=monitor,mode=control", "-chardev"]);
        command.arg(format!("socket,id=monitor,path={}", path.display()));
        let child = command.stdin(Stdio::null()).spawn().expect("QEMU starts");
        let (monitor, _) = listener.accept().expect("QEMU connects");
        Some(Self { child, _directory: directory, monitor: Some(monitor), server })
    }

    fn client(&mut self, runtime: &tokio::runtime::Runtime) -> (Client, JoinSet<()>) {
        let monitor = self.monitor.take().expect("taken once");
        monitor.set_nonblocking(true).expect("a socket can");
        let _inside = runtime.enter();
        let stream = tokio::net::UnixStream::from_std(monitor).expect("a socket of ours");
        let (client, driver) = qmp::client_unix(stream, Options::default());
        let mut tasks = JoinSet::new();
        tasks.spawn_on(async move { drop(driver.await) }, runtime.handle());
        runtime.block_on(client.ready()).expect("QEMU greets");
        (client, tasks)
    }
}

/// A loop that writes and reads and does nothing else.
struct Bare {
    stream: UnixStream,
    buffer: Vec<u8>,
}

const REQUEST: &[u8] = b"{\"execute\":\"query-status\",\"id\":1}\n";

impl Bare {
    fn new(mut stream: UnixStream) -> Self {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor more"));
        let mut line = String::new();
        reader.read_line(&mut line).expect("QEMU greets");
        let negotiation = b"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}";
        stream.write_all(negotiation).expect("QEMU reads");
        reader.read_line(&mut line).expect("QEMU answers");
        Self { stream, buffer: vec![0; 65_536] }
    }

    /// Keeps `depth` commands under way.
    fn run(&mut self, count: usize, depth: usize) {
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            let more = (count - sent).min(depth - (sent - answered));
            self.stream.write_all(&REQUEST.repeat(more)).expect("QEMU reads");
            sent += more;
            let read = self.stream.read(&mut self.buffer).expect("QEMU answers");
            answered += memchr::memchr_iter(b'\n', &self.buffer[..read]).count();
        }
    }
}

/// python's qemu.qmp.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _qemu: Qemu,
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Python {
    fn start() -> Option<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = here.join("../../target/bench/python/bin/python3");
        let program = if own.exists() { own } else { "python3".into() };
        let qemu = Qemu::start()?;
        let mut command = Command::new(program);
        command.arg(here.join("benches/qmp/peer.py")).arg(&qemu.server);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().ok()?;
        let (input, output) = (child.stdin.take()?, child.stdout.take()?);
        let mut python = Self { child, input, output: BufReader::new(output), _qemu: qemu };
        let mut line = String::new();
        if python.output.read_line(&mut line).ok()? == 0 {
            let _ = writeln!(std::io::stdout(), "not run: python's qemu.qmp: it is not installed");
            return None;
        }
        Some(python)
    }

    fn run(&mut self, how: &str, count: usize) -> Option<Cost> {
        writeln!(self.input, "{how} {count}").ok()?;
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        let (took, cpu) = line.trim().split_once(' ')?;
        let (took, cpu): (f64, f64) = (took.parse().ok()?, cpu.parse().ok()?);
        Some(Cost { rate: count as f64 / took, cpu: cpu / count as f64 })
    }
}

/// `query-status`, one after the other and many at once.
pub(crate) fn commands(runtime: &tokio::runtime::Runtime) -> Vec<Value> {
    let Some(mut qemu) = Qemu::start() else { return Vec::new() };
    let Some(mut other) = Qemu::start() else { return Vec::new() };
    let mut python = Python::start();
    let (client, _tasks) = qemu.client(runtime);
    let mut bare = Bare::new(other.monitor.take().expect("taken once"));
    let mut rows = Vec::new();
    for (how, depth, count) in [("serial", 1, 5_000), ("pipelined", 8, 10_000)] {
        let load = load();
        let (mut ours, mut floor, mut peer) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(cost(count, || match depth {
                1 => runtime.block_on(async {
                    for _ in 0..count {
                        client.call(&QueryStatus {}).await.expect("QEMU answers");
                    }
                }),
                _ => local::pipelined(runtime, &client, count, 16),
            }));
            floor.push(cost(count, || bare.run(count, depth)));
            peer.extend(python.as_mut().and_then(|python| python.run(how, count / 16 * 16 / 2)));
        }
        let (ours, floor) = (medians(&ours), medians(&floor));
        let peer = (!peer.is_empty()).then(|| medians(&peer));
        let name = "python's qemu.qmp, 16 tasks";
        let ratio = if how == "serial" { json!({}) } else { json!({"goal": floor.rate * 0.95}) };
        rows.push(with(
            with(row(&format!("qmp_{how}_commands"), ours.rate, "commands/s", "higher", load), ratio),
            json!({
                "peer": if how == "serial" { "python's qemu.qmp" } else { name },
                "peer_value": peer.map(|cost| cost.rate),
                "floor": format!("bare loop, {depth} under way"),
                "floor_value": floor.rate,
                "cpu_ns_per_op": ours.cpu * 1e9,
            }),
        ));
        rows.push(with(
            row(&format!("qmp_{how}_cpu_per_command"), ours.cpu * 1e6, "us", "lower", load),
            json!({
                "peer": "python's qemu.qmp",
                "peer_value": peer.map(|cost| cost.cpu * 1e6),
                "floor": "bare loop",
                "floor_value": floor.cpu * 1e6,
                "goal": 5.0,
            }),
        ));
    }
    rows
}

/// A reply to `query-qmp-schema`, from bytes to typed entries and their index; CPU time, since others share the processor.
pub(crate) fn schema() -> Vec<Value> {
    let Some(qemu) = Qemu::start() else { return Vec::new() };
    let load = load();
    let mut reply = Vec::new();
    let mut stream = UnixStream::connect(&qemu.server).expect("QEMU listens");
    stream
        .write_all(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-qmp-schema\",\"id\":0}")
        .expect("QEMU reads");
    let mut lines = BufReader::new(stream);
    for _ in 0..3 {
        reply.clear();
        lines.read_until(b'\n', &mut reply).expect("QEMU answers");
    }
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..51 {
        let mut session = Session::new(Limits::default());
        let hello =
            b"{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":0}},\"capabilities\":[]}}\n\
            {\"return\":{},\"id\":\"negotiation\"}\n";
        session.handle_bytes(hello).expect("that is a greeting");
        session.submit(CallId(0), "query-qmp-schema", Map::new(), Execution::InBand);
        while session.poll_output().is_some() {}
        let begin = cpu();
        // As it comes from the socket.
        for piece in reply.chunks(16 * 1024) {
            session.handle_bytes(piece).expect("that is a reply");
        }
        let Some(Output::Reply(_, Ok(value))) = session.poll_output() else { panic!("no reply") };
        let entries: Vec<SchemaEntry> = Vec::decode(value).expect("a schema");
        let schema = Schema::new(entries);
        ours.push((cpu() - begin) * 1e3);
        assert!(schema.command("query-status").is_some());
        let begin = cpu();
        let value: Value = serde_json::from_slice(&reply).expect("JSON");
        floor.push((cpu() - begin) * 1e3);
        assert!(value["return"].is_array());
    }
    let peer = python_parse(&reply);
    let row = row("qmp_schema_parse", median(ours), "ms", "lower", load);
    let compared = json!({
        "goal": 3.0,
        "peer": "python's json.loads, untyped",
        "peer_value": peer,
        "floor": "serde_json, untyped",
        "floor_value": median(floor),
    });
    vec![with(row, compared)]
}

fn python_parse(reply: &[u8]) -> Option<f64> {
    let file = tempfile::NamedTempFile::new().ok()?;
    std::fs::write(file.path(), reply).ok()?;
    let script = "import json,sys,time\ntext=open(sys.argv[1]).read()\ntook=[]\nfor _ in range(51):\n  \
        t=time.process_time(); json.loads(text); took.append(time.process_time()-t)\nprint(sorted(took)[25]*1000)";
    let output = Command::new("python3").args(["-c", script]).arg(file.path()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

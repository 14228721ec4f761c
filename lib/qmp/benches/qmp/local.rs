//! Against a thread of this process: what the client costs when the server costs nothing to wait for.

use crate::measure::{cost, cpu, forget_peak, load, median, medians, now, peak, row, with};
use qmp::{
    Client, Execution, Filter, Options,
    commands::{Command, HumanMonitorCommand, QueryJobs, QueryStatus},
    session::{CallId, Limits, Output, Session},
    wire::Decode as _,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::mpsc,
    thread,
};
use tokio::task::JoinSet;

const GREETING: &[u8] =
    b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, \
    \"capabilities\": [\"oob\"]}}\r\n";

/// Greets and answers the negotiation.
fn greet(stream: &mut UnixStream) -> BufReader<UnixStream> {
    stream.write_all(GREETING).expect("the client is there");
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor more"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("the client negotiates");
    stream.write_all(b"{\"return\": {}, \"id\": \"negotiation\"}\r\n").expect("the client is there");
    reader
}

fn client(runtime: &tokio::runtime::Runtime, near: UnixStream) -> (Client, JoinSet<()>) {
    near.set_nonblocking(true).expect("a socket can");
    let _inside = runtime.enter();
    let stream = tokio::net::UnixStream::from_std(near).expect("a socket of ours");
    let (client, driver) = qmp::client_unix(stream, Options::default());
    let mut tasks = JoinSet::new();
    tasks.spawn_on(async move { drop(driver.await) }, runtime.handle());
    (client, tasks)
}

const EVENTS: u64 = 1_000_000;

/// A million events while a reader falls behind, and how long a command takes meanwhile.
pub(crate) fn storm(runtime: &tokio::runtime::Runtime) -> Vec<Value> {
    let load = load();
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let (asked, answers) = mpsc::channel::<String>();
    let server = thread::spawn(move || {
        let mut reader = greet(&mut far);
        let requests = thread::spawn(move || {
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                let request: Value = serde_json::from_str(&line).expect("a client sends JSON");
                line.clear();
                if asked.send(request["id"].to_string()).is_err() {
                    return;
                }
            }
        });
        let mut text = Vec::new();
        for number in 0..EVENTS {
            let event = format!(
                "{{\"timestamp\": {{\"seconds\": 1, \"microseconds\": 0}}, \"event\": \"JOB_STATUS_CHANGE\", \
                 \"data\": {{\"status\": \"running\", \"id\": \"job-{number}\"}}}}\r\n"
            );
            text.extend_from_slice(event.as_bytes());
            while let Ok(id) = answers.try_recv() {
                let answer = "{\"status\": \"running\", \"singlestep\": false, \"running\": true}";
                text.extend_from_slice(format!("{{\"return\": {answer}, \"id\": {id}}}\r\n").as_bytes());
            }
            if text.len() > 4096 {
                far.write_all(&text).expect("the client reads");
                text.clear();
            }
        }
        far.write_all(&text).expect("the client reads");
        drop(far);
        drop(answers);
        requests
    });
    forget_peak();
    let before = peak();
    let (client, mut tasks) = client(runtime, near);
    let (mut waits, begin) = (Vec::new(), now());
    let cpu_before = cpu();
    let lost = runtime.block_on(async {
        let mut unread = client.subscribe(Filter::All, 1024);
        loop {
            let asked = now();
            // Nothing is answered after the last event.
            if client.call(&QueryStatus {}).await.is_err() {
                break;
            }
            waits.push((now() - asked) * 1e3);
        }
        client.closed().await;
        unread.next().await
    });
    let (took, used) = (now() - begin, cpu() - cpu_before);
    let grown = peak() - before;
    while runtime.block_on(tasks.join_next()).is_some() {}
    if let Ok(requests) = server.join() {
        // It ended with the client's socket.
        drop(requests.join());
    }
    let _ = writeln!(std::io::stderr(), "storm: {lost:?}, {} answers", waits.len());
    waits.sort_by(f64::total_cmp);
    let p99 = waits[waits.len() * 99 / 100];
    vec![
        with(
            row("qmp_event_storm_memory", grown / f64::from(1 << 20), "MiB", "lower", load),
            json!({"goal": 8.0}),
        ),
        with(
            row("qmp_event_storm_rate", EVENTS as f64 / took * 60.0 / 1e6, "M events/min", "higher", load),
            json!({"goal": 1.0, "cpu_ns_per_op": used * 1e9 / EVENTS as f64}),
        ),
        with(row("qmp_event_storm_answer_p99", p99, "ms", "lower", load), json!({"goal": 10.0})),
    ]
}

/// Commands against a server that answers at once and in batches: the CPU time of the client's side alone, by the clock of its thread.
pub(crate) fn answered(runtime: &tokio::runtime::Runtime) -> Vec<Value> {
    const COUNT: usize = 200_000;
    let load = load();
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let server = thread::spawn(move || {
        let reader = greet(&mut far);
        let mut rest = reader.buffer().to_vec();
        drop(reader);
        let mut chunk = [0; 65_536];
        let mut answers = Vec::new();
        while let Ok(count) = far.read(&mut chunk) {
            if count == 0 {
                return;
            }
            rest.extend_from_slice(&chunk[..count]);
            answers.clear();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let at = line.windows(5).rposition(|window| window == b"\"id\":").expect("a call has an id");
                let id = line[at + 5..].split(|byte| *byte == b'}').next().unwrap_or_default();
                answers.extend_from_slice(b"{\"return\": {\"status\": \"running\", \"singlestep\": false, \"running\": true}, \"id\": ");
                answers.extend_from_slice(id);
                answers.extend_from_slice(b"}\r\n");
            }
            if far.write_all(&answers).is_err() {
                return;
            }
        }
    });
    let (client, mut tasks) = client(runtime, near);
    let thread_cpu = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let mut costs = Vec::new();
    let mut per_command = Vec::new();
    for _ in 0..5 {
        let before = thread_cpu();
        costs.push(cost(COUNT, || pipelined(runtime, &client, COUNT, 16)));
        per_command.push((thread_cpu() - before) / COUNT as f64);
    }
    drop(client);
    while runtime.block_on(tasks.join_next()).is_some() {}
    drop(server.join());
    let cpu = median(per_command) * 1e6;
    vec![
        with(row("qmp_answered_cpu_per_command", cpu, "us", "lower", load), json!({"goal": 5.0})),
        row("qmp_answered_commands", medians(&costs).rate, "commands/s", "higher", load),
    ]
}

/// `count` commands from `users` at once.
pub(crate) fn pipelined(runtime: &tokio::runtime::Runtime, client: &Client, count: usize, users: usize) {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..users {
            let client = client.clone();
            tasks.spawn(async move {
                for _ in 0..count / users {
                    client.call(&QueryStatus {}).await.expect("QEMU answers");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
}

/// Just below the largest message that is taken.
const LARGE: usize = 64 * 1000 * 1000;

/// The largest replies: one text, and a list of small objects; from bytes as they come to their typed form. CPU time; the floor reads the same
/// bytes where they lie into untyped values, and beside it stands what one copy of them costs.
pub(crate) fn large() -> Vec<Value> {
    let text = serde_json::to_vec(&json!("x".repeat(LARGE))).expect("a text");
    let job = "{\"current-progress\":512,\"status\":\"running\",\"total-progress\":1024,\"type\":\"backup\",\"id\":\"job\"}";
    let jobs = format!("[{}]", vec![job; LARGE / (job.len() + 1)].join(","));
    let mut rows = rows_of_large::<HumanMonitorCommand>("text", &text);
    rows.extend(rows_of_large::<QueryJobs>("objects", jobs.as_bytes()));
    rows
}

fn rows_of_large<C: Command>(form: &str, value: &[u8]) -> Vec<Value> {
    let load = load();
    let reply = [b"{\"return\": ", value, b", \"id\": 0}\r\n"].concat();
    let (mut ours, mut floor, mut copy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let mut session = Session::new(Limits::default());
        let hello = [GREETING, b"{\"return\": {}, \"id\": \"negotiation\"}\r\n"].concat();
        session.handle_bytes(&hello).expect("that is a greeting");
        session.submit(CallId(0), C::FACTS.name, Map::new(), Execution::InBand);
        while session.poll_output().is_some() {}
        let begin = cpu();
        // As it comes from the socket.
        for piece in reply.chunks(64 * 1024) {
            session.handle_bytes(piece).expect("that is a reply");
        }
        let Some(Output::Reply(_, Ok(value))) = session.poll_output() else { panic!("no reply") };
        let typed = C::Reply::decode(value).expect("of its form");
        ours.push((cpu() - begin) * 1e3);
        drop(typed);
        let begin = cpu();
        let value: Value = serde_json::from_slice(&reply).expect("JSON");
        floor.push((cpu() - begin) * 1e3);
        drop(value);
        let begin = cpu();
        let copied = std::hint::black_box(reply.clone());
        copy.push((cpu() - begin) * 1e3);
        drop(copied);
    }
    let ours = row(&format!("qmp_large_{form}"), median(ours), "ms", "lower", load);
    let beside =
        |floor: &str, value: f64| with(ours.clone(), json!({ "floor": floor, "floor_value": value }));
    vec![
        beside("serde_json, untyped, where the bytes lie", median(floor)),
        beside("one copy of the bytes", median(copy)),
    ]
}

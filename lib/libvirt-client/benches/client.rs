//! Calls, decoding, and what they cost: beside libvirt's own C client and beside the bare socket, in turn, on the same daemon.
//!
//! Writes `target/bench/libvirt.json`. Each round runs every contender once; the figures are medians over the rounds.

#[path = "../tests/daemon/support.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the tests' private daemon; not all of it is used here"
)]
mod support;

#[path = "../tests/daemon/observed.rs"]
#[allow(clippy::allow_attributes, clippy::unwrap_used, reason = "what the tests' daemon needs")]
mod observed;

use libvirt_client::protocol::packet::{Header, Kind, LENGTH_SIZE, PACKET_MIN, Status};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, types, xdr};
use libvirt_client::transport::Unix;
use libvirt_client::{Options, connection};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 5;
const CALLS: usize = 5_000;

/// Median time of a call and user CPU per call, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Cost {
    median: f64,
    user: f64,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn user_ns() -> f64 {
    // Of this process; the daemon is another.
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
}

fn measure(mut call: impl FnMut()) -> Cost {
    for _ in 0..200 {
        call();
    }
    let mut took = Vec::with_capacity(CALLS);
    let before = user_ns();
    for _ in 0..CALLS {
        let start = now();
        call();
        took.push(start.elapsed().as_nanos() as f64);
    }
    let user = (user_ns() - before) / CALLS as f64;
    Cost { median: median(took), user }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn packet(procedure: i32, kind: Kind, serial: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { program: 0x2000_8086, version: 1, procedure, kind, serial, status: Status::Ok };
    let length = u32::try_from(PACKET_MIN + payload.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &header.encode(), payload].concat()
}

fn read_packet(socket: &mut UnixStream, buffer: &mut Vec<u8>) -> std::io::Result<Header> {
    let mut length = [0; LENGTH_SIZE];
    socket.read_exact(&mut length)?;
    buffer.resize(u32::from_be_bytes(length) as usize - LENGTH_SIZE, 0);
    socket.read_exact(buffer)?;
    let header = buffer.first_chunk().and_then(|header| Header::decode(header).ok());
    header.ok_or_else(|| std::io::Error::other("no header"))
}

/// The least a client can do: the same bytes out, the reply in.
fn bare(socket: &Path) -> Cost {
    let mut socket = UnixStream::connect(socket).expect("the daemon listens");
    let mut buffer = Vec::new();
    let mut call = |procedure: i32, payload: &[u8], serial| {
        socket.write_all(&packet(procedure, Kind::Call, serial, payload)).expect("the daemon reads");
        read_packet(&mut socket, &mut buffer).expect("the daemon answers");
    };
    call(remote::AuthList::INFO.number, &[], 1);
    let open = remote::ConnectOpenArgs { name: Some("test:///default".into()), ..Default::default() };
    call(remote::ConnectOpen::INFO.number, &xdr::encode(&open).expect("a short name"), 2);
    let mut serial = 2;
    measure(|| {
        serial += 1;
        call(remote::ConnectGetLibVersion::INFO.number, &[], serial);
    })
}

fn ours(runtime: &tokio::runtime::Runtime, daemon: &support::Daemon) -> Cost {
    let connect = runtime.block_on(daemon.test());
    measure(|| {
        runtime.block_on(async {
            let reply = connect.call::<remote::ConnectGetLibVersion>(&()).await.expect("the daemon answers");
            assert!(reply.result().expect("a version").lib_ver > 0);
        });
    })
}

fn c_client(program: &Path, daemon: &support::Daemon) -> Option<Cost> {
    let uri = format!("test+unix:///default?socket={}", daemon.path("libvirt/libvirt-sock").display());
    let output = Command::new(program).args([&uri, &CALLS.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    Some(Cost { median: words.next()??, user: words.next()?? })
}

/// Calls per second of one task against a thread that answers from memory, with so many calls under way.
fn replayed(runtime: &tokio::runtime::Runtime, window: usize) -> f64 {
    let (client, mut server) = UnixStream::pair().expect("a pair of sockets");
    let answers = std::thread::spawn(move || {
        let reply = packet(remote::ConnectGetLibVersion::INFO.number, Kind::Reply, 0, &[0; 8]);
        let mut input = vec![0; 64 * 1024];
        let mut held = 0;
        let mut output = Vec::new();
        while let Ok(read) = server.read(&mut input[held..]) {
            if read == 0 {
                return;
            }
            held += read;
            let calls = held / PACKET_MIN;
            output.clear();
            for call in input[..calls * PACKET_MIN].chunks_exact(PACKET_MIN) {
                let at = output.len();
                output.extend_from_slice(&reply);
                output[at + 20..at + 24].copy_from_slice(&call[20..24]);
            }
            input.copy_within(calls * PACKET_MIN..held, 0);
            held -= calls * PACKET_MIN;
            if server.write_all(&output).is_err() {
                return;
            }
        }
    });
    let total = 200_000;
    let rate = runtime.block_on(async {
        client.set_nonblocking(true).expect("a socket of ours");
        let stream = tokio::net::UnixStream::from_std(client).expect("a socket of ours");
        let mut options = Options::default();
        options.limits.ordinary = window;
        options.keepalive = None;
        let (connection, driver) = connection(Unix::from(stream), options);
        let driver = std::pin::pin!(driver);
        let work = async {
            let start = now();
            let mut under_way = std::collections::VecDeque::new();
            for _ in 0..total {
                if under_way.len() == window
                    && let Some(call) = under_way.pop_front()
                {
                    let call: libvirt_client::Call<remote::ConnectGetLibVersion> = call;
                    call.await.expect("an answer");
                }
                under_way.push_back(connection.start::<remote::ConnectGetLibVersion>(&(), Vec::new()));
            }
            for call in under_way {
                call.await.expect("an answer");
            }
            f64::from(total) / start.elapsed().as_secs_f64()
        };
        tokio::select! {
            rate = work => rate,
            reason = driver => panic!("{reason}"),
        }
    });
    answers.join().expect("the answering thread ends with its socket");
    rate
}

/// Nanoseconds per domain of a list of 16,000: checked and iterated, nothing copied.
fn decoded() -> f64 {
    let domains: Vec<_> = (0..16_000)
        .map(|n: i32| types::Domain { name: format!("guest-{n:05}").into(), uuid: xdr::Uuid([7; 16]), id: n })
        .collect();
    let reply = remote::ConnectListAllDomainsRet { domains: domains.into(), ret: 16_000 };
    let bytes = xdr::encode(&reply).expect("within limits");
    let mut took = Vec::new();
    for _ in 0..200 {
        let start = now();
        let list: remote::ConnectListAllDomainsRet<'_> = xdr::decode(&bytes).expect("what was encoded");
        let ids: i64 = list.domains.iter().map(|domain| i64::from(domain.id)).sum();
        took.push(start.elapsed().as_nanos() as f64 / 16_000.0);
        std::hint::black_box(ids);
    }
    median(took)
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this flag; they are not tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&target).expect("a directory of ours");
    let load: Option<f64> =
        std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    let mut rows = Vec::new();
    if let Some(daemon) = support::Daemon::start("the calls of bench libvirt") {
        let peer = target.join("libvirt-peer");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer.c");
        let built = Command::new("cc").arg("-O2").arg("-o").arg(&peer).arg(source).arg("-lvirt").status();
        if !built.is_ok_and(|status| status.success()) {
            let _ =
                writeln!(std::io::stdout(), "not run: the C client of bench libvirt: package libvirt-dev");
        }
        let (mut our, mut floor, mut c) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floor.push(bare(&daemon.path("libvirt/libvirt-sock")));
            our.push(ours(&runtime, &daemon));
            c.extend(c_client(&peer, &daemon));
        }
        let of = |costs: &[Cost], which: fn(&Cost) -> f64| {
            (!costs.is_empty()).then(|| median(costs.iter().map(which).collect()))
        };
        rows.push(json!({"name": "libvirt_serial_call_p50", "value": of(&our, |c| c.median), "unit": "ns",
            "better": "lower", "peer": "libvirt's C client", "peer_value": of(&c, |c| c.median), "floor": "bare socket",
            "floor_value": of(&floor, |c| c.median), "goal": of(&floor, |c| c.median * 1.15), "load": load,
            "cpu_ns_per_op": of(&our, |c| c.user)}));
        rows.push(json!({"name": "libvirt_serial_call_cpu", "value": of(&our, |c| c.user), "unit": "ns",
            "better": "lower", "peer": "libvirt's C client (user only)", "peer_value": of(&c, |c| c.user),
            "floor": "bare socket", "floor_value": of(&floor, |c| c.user), "load": load}));
    }
    for window in [1, 4, 64] {
        let rate = median((0..ROUNDS).map(|_| replayed(&runtime, window)).collect());
        rows.push(json!({"name": format!("libvirt_replayed_calls_window_{window}"), "value": rate, "unit": "calls/s",
            "better": "higher", "goal": 1_000_000.0, "load": load}));
    }
    rows.push(json!({"name": "libvirt_decode_domain", "value": decoded(), "unit": "ns", "better": "lower",
        "goal": 60.0, "load": load}));
    let text = serde_json::to_string_pretty(&rows).expect("rows are plain values");
    std::fs::write(target.join("libvirt.json"), text).expect("a file of ours");
}

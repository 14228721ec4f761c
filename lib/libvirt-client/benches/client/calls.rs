//! Serial calls on the daemon, and calls under way against a thread that answers from memory.

use crate::Rig;
use crate::floors::{OneTask, TwoTasks};
use crate::measure::{Bare, Cost, Rounds, load, measure, measured, median, now, packet, row, user_ns, with};
use libvirt_client::protocol::packet::{Kind, PACKET_MIN};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote;
use libvirt_client::transport::Unix;
use libvirt_client::{Blocking, Connect, Options, connection};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const ROUNDS: usize = 5;
const CALLS: usize = 10_000;
/// Calls before those that count.
const WARM: usize = 200;

async fn called(connect: &Connect) {
    let reply = connect.call::<remote::ConnectGetLibVersion>(&()).await.expect("the daemon answers");
    assert!(reply.result().expect("a version").lib_ver > 0);
}

/// Serial calls: through the asynchronous front, through the blocking one, and by the others.
pub(crate) fn serial(rig: &mut Rig) -> Vec<Value> {
    let load = load();
    let uri = rig.test_uri();
    let (mut ours, mut blocking, mut floor) = (Rounds::default(), Rounds::default(), Rounds::default());
    let mut peers: Vec<Rounds> = rig.peers.iter().map(|_| Rounds::default()).collect();
    for _ in 0..ROUNDS {
        let mut bare = Bare::open(&rig.socket(), "test:///default");
        floor.add(measure(CALLS, WARM, || {
            bare.call(remote::ConnectGetLibVersion::INFO.number, &[]);
        }));
        drop(bare);
        // All in one future, as a program awaits its calls.
        ours.add(rig.runtime.block_on(async {
            let connect = rig.daemon.open(&uri).await;
            measured(CALLS, WARM, async || called(&connect).await).await
        }));
        let waiting = Blocking::open_with(rig.daemon.builder(&uri)).expect("the daemon listens");
        blocking.add(measure(CALLS, WARM, || waiting.wait(called(waiting.connect()))));
        drop(waiting);
        for (peer, rounds) in rig.peers.iter_mut().zip(&mut peers) {
            let answer = peer.ask(&format!("open {uri}")).and_then(|_| peer.ask(&format!("calls {CALLS}")));
            if let Some(answer) = answer {
                rounds.add(Cost { time: answer.time, user: answer.user });
            }
        }
    }
    let mut rows = Vec::new();
    for (name, rounds, slack) in
        [("libvirt_serial_call", &ours, 1.15), ("libvirt_serial_call_blocking", &blocking, 1.05)]
    {
        let beside: Vec<(&str, &Rounds)> = rig.peers.iter().map(|peer| peer.name).zip(&peers).collect();
        rows.extend(
            rig.beside(&format!("{name}_p50"), "ns", rounds.time(), &beside, Rounds::time, load).map(|row| {
                let row = with(row, "floor", Value::from("bare socket"));
                let row = with(row, "floor_value", floor.time().map(Value::from));
                with(row, "goal", floor.time().map(|floor| Value::from(floor * slack)))
            }),
        );
        let goal = peers.first().and_then(Rounds::user).map(|user| Value::from(user * 0.3));
        rows.extend(
            rig.beside(&format!("{name}_user_cpu"), "ns", rounds.user(), &beside, Rounds::user, load).map(
                |row| {
                    let row = with(row, "floor", Value::from("bare socket"));
                    let row = with(row, "floor_value", floor.user().map(Value::from));
                    with(row, "goal", goal.clone())
                },
            ),
        );
    }
    rows
}

/// Callers on one connection, each of which waits for its own replies.
const CALLERS: usize = 8;
/// Calls of each.
const EACH: usize = 2_000;

/// Calls of several callers at once on one handle: tasks of ours, threads of the others', and as many calls under way on the bare socket.
pub(crate) fn together(rig: &mut Rig) -> Vec<Value> {
    let load = load();
    let uri = rig.test_uri();
    let (mut ours, mut floor) = (Rounds::default(), Rounds::default());
    let mut peers: Vec<Rounds> = rig.peers.iter().map(|_| Rounds::default()).collect();
    let cost = |start: std::time::Instant, before: f64| {
        let calls = (CALLERS * EACH) as f64;
        Cost { time: start.elapsed().as_nanos() as f64 / calls, user: (user_ns() - before) / calls }
    };
    for _ in 0..ROUNDS {
        let mut bare = Bare::open(&rig.socket(), "test:///default");
        let (start, before) = (now(), user_ns());
        bare.calls(remote::ConnectGetLibVersion::INFO.number, CALLERS * EACH, CALLERS);
        floor.add(cost(start, before));
        drop(bare);
        ours.add(rig.runtime.block_on(async {
            let connect = rig.daemon.open(&uri).await;
            called(&connect).await;
            let (start, before) = (now(), user_ns());
            let callers = (0..CALLERS).map(async |_| {
                for _ in 0..EACH {
                    called(&connect).await;
                }
            });
            futures::future::join_all(callers).await;
            cost(start, before)
        }));
        for (peer, rounds) in rig.peers.iter_mut().zip(&mut peers) {
            let answer = peer.ask(&format!("open {uri}"));
            if let Some(answer) = answer.and_then(|_| peer.ask(&format!("together {CALLERS} {EACH}"))) {
                rounds.add(Cost { time: answer.time, user: answer.user });
            }
        }
    }
    let beside: Vec<(&str, &Rounds)> = rig.peers.iter().map(|peer| peer.name).zip(&peers).collect();
    let name = format!("libvirt_calls_of_{CALLERS}_callers");
    let with_floor = |row: Value, value: Option<f64>| {
        with(with(row, "floor", Value::from("bare socket")), "floor_value", value.map(Value::from))
    };
    let times = rig.beside(&name, "ns", ours.time(), &beside, Rounds::time, load);
    let mut rows: Vec<Value> = times.map(|row| with_floor(row, floor.time())).collect();
    let users = rig.beside(&format!("{name}_user_cpu"), "ns", ours.user(), &beside, Rounds::user, load);
    rows.extend(users.map(|row| with_floor(row, floor.user())));
    rows
}

/// One contender's calls and nothing else, to be looked at from outside: `client async 100000`.
pub(crate) fn alone(who: &str, calls: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let daemon = crate::support::Daemon::start("one contender").expect("libvirtd is installed");
    crate::pin();
    let socket = daemon.path("libvirt/libvirt-sock");
    let uri = format!("test+unix:///default?socket={}", socket.display());
    let cost = match who {
        "bare" => {
            let mut bare = Bare::open(&socket, "test:///default");
            measure(calls, WARM, || {
                bare.call(remote::ConnectGetLibVersion::INFO.number, &[]);
            })
        }
        "one-task" => runtime.block_on(async {
            let mut bare = OneTask::open(&socket).await;
            measured(calls, WARM, async || bare.call().await).await
        }),
        "two-tasks" => runtime.block_on(async {
            let mut bare = TwoTasks::open(&socket).await;
            measured(calls, WARM, async || bare.call().await).await
        }),
        "async" => runtime.block_on(async {
            let connect = daemon.open(&uri).await;
            measured(calls, WARM, async || called(&connect).await).await
        }),
        "blocking" => {
            let waiting = Blocking::open_with(daemon.builder(&uri)).expect("the daemon listens");
            measure(calls, WARM, || waiting.wait(called(waiting.connect())))
        }
        peer => {
            let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
            let mut peers = crate::peer::all(&target);
            let peer = peers.iter_mut().find(|known| known.name == peer).expect("somebody is called so");
            peer.ask(&format!("open {uri}")).expect("it connects");
            let answer = peer.ask(&format!("calls {calls}")).expect("it calls");
            Cost { time: answer.time, user: answer.user }
        }
    };
    let _ = writeln!(std::io::stdout(), "{who}: p50 {:.0} ns, user {:.0} ns", cost.time, cost.user);
}

/// Calls against a thread that answers from memory.
pub(crate) fn pipelined(runtime: &tokio::runtime::Runtime) -> Vec<Value> {
    let load = load();
    let rates = [1, 4, 64].map(|window| {
        let rate = median((0..ROUNDS).map(|_| replayed(runtime, window)).collect());
        row(&format!("libvirt_replayed_calls_window_{window}"), rate, "calls/s", "higher", load)
    });
    let [one, four, many] = rates;
    vec![one, four, with(many, "goal", Value::from(1_000_000.0))]
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
        let (connection, driver) = connection(Unix::try_from(stream).expect("a socket"), options);
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
            end = driver => panic!("{end:?}"),
        }
    });
    answers.join().expect("the answering thread ends with its socket");
    rate
}

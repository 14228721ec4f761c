//! The async client against a scripted server on an in-memory stream.
#![expect(clippy::unwrap_used, reason = "a test program: helpers beside the tests fail alike")]

use qmp::{
    CallError, Client, CloseReason, DecodeError, EventError, Filter, Options,
    commands::{Command, Facts, Memsave, QueryStatus, RunState},
    wire::{Encode, Json, Members, Object},
};
use serde_json::{Map, Value, json};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf},
    task::JoinSet,
};

struct Server {
    requests: Lines<BufReader<ReadHalf<DuplexStream>>>,
    replies: WriteHalf<DuplexStream>,
}

impl Server {
    async fn request(&mut self) -> Value {
        serde_json::from_str(&self.requests.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn say(&mut self, message: Value) {
        self.replies.write_all(format!("{message}\r\n").as_bytes()).await.unwrap();
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.replies.write_all(bytes).await.unwrap();
    }

    async fn answer(&mut self, request: &Value, value: Value) {
        self.say(json!({"return": value, "id": request["id"]})).await;
    }

    async fn event(&mut self, name: &str, number: u64) {
        let timestamp = json!({"seconds": 1, "microseconds": 0});
        self.say(json!({"event": name, "data": {"n": number}, "timestamp": timestamp})).await;
    }
}

/// A client past negotiation, its server, and the task that drives it.
async fn connected(options: Options) -> (Client, Server, JoinSet<Arc<CloseReason>>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (client, driver) = qmp::client(near, options);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    let (reader, replies) = tokio::io::split(far);
    let mut server = Server { requests: BufReader::new(reader).lines(), replies };
    let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""});
    server.say(json!({"QMP": {"version": version, "capabilities": ["oob"]}})).await;
    let negotiation = server.request().await;
    server.answer(&negotiation, json!({})).await;
    assert_eq!(client.ready().await.unwrap().version.qemu.major, 7);
    (client, server, tasks)
}

#[tokio::test]
async fn a_dropped_call_harms_nothing_and_its_late_reply_is_counted() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let first = {
        let mut call = std::pin::pin!(client.execute("slow", Map::new()));
        tokio::select! {
            _ = &mut call => panic!("nobody answered"),
            request = server.request() => request,
        }
    };
    let (status, ()) = tokio::join!(client.call(&QueryStatus {}), async {
        let second = server.request().await;
        server.answer(&first, json!({})).await;
        server.answer(&second, json!({"running": false, "status": "a-new-state", "more": 1})).await;
    });
    assert_eq!(status.unwrap().status, RunState::Unknown("a-new-state".into()));
    assert_eq!(client.counters().late_replies, 1);
}

/// A command that QEMU itself does not have.
#[derive(Debug)]
struct VendorLevel {
    level: i64,
}

impl Object for VendorLevel {
    fn put(&self, into: &mut Map<String, Value>) {
        into.insert("level".to_owned(), self.level.encode());
    }

    fn take(members: &mut Members) -> Result<Self, DecodeError> {
        Ok(Self { level: members.take("level")? })
    }
}

impl Command for VendorLevel {
    const FACTS: &'static Facts = &Facts::unlisted("__com.example_level");
    type Reply = Json<Vec<u8>>;
}

#[tokio::test]
async fn a_command_of_ones_own_is_called_like_the_others() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let (reply, ()) = tokio::join!(client.call(&VendorLevel { level: -3 }), async {
        let request = server.request().await;
        assert_eq!(request["execute"], "__com.example_level");
        assert_eq!(request["arguments"], json!({"level": -3}));
        server.answer(&request, json!([1, 2])).await;
    });
    assert_eq!(reply.unwrap().0, [1, 2]);
}

#[tokio::test]
async fn a_reply_of_another_form_names_the_place_and_keeps_the_connection() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let (reply, ()) = tokio::join!(client.call(&QueryStatus {}), async {
        let request = server.request().await;
        server.answer(&request, json!({"running": "yes", "status": "running"})).await;
    });
    let Err(CallError::Decode { source, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(source.to_string(), "running: expected a boolean, found a string");
    let (status, ()) = tokio::join!(client.call(&QueryStatus {}), async {
        let request = server.request().await;
        server.answer(&request, json!({"running": true, "status": "running"})).await;
    });
    assert!(status.unwrap().running);
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_costs_its_own_call_only() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let mut stops = client.subscribe(qmp::Filter::names(["STOP"]), 4);
    // As deep as a chain of images may make it, and deeper than anything may be.
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    for (levels, is_read) in [(250, true), (5000, false)] {
        let (reply, ()) = tokio::join!(client.execute("query-named-block-nodes", Map::new()), async {
            let request = server.request().await;
            let line = format!("{{\"return\": {}, \"id\": {}}}\r\n", nested(levels), request["id"]);
            server.send(line.as_bytes()).await;
        });
        match reply {
            Ok(value) => {
                let inner = std::iter::successors(Some(&value), |value| value.get(0));
                assert!(is_read && inner.count() == levels + 1);
            }
            Err(error) => assert!(!is_read && matches!(error, CallError::Unreadable { .. }), "{error:?}"),
        }
    }
    // The same of an event; the next one is heard.
    server.send(format!("{{\"event\": \"STOP\", \"data\": {}}}\r\n", nested(5000)).as_bytes()).await;
    server.send(b"{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n").await;
    assert_eq!(stops.next().await.unwrap().timestamp.unwrap().seconds, 1);
    assert_eq!(client.counters().unknown_messages, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_names_the_command_and_keeps_the_connection() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let error =
        client.with_deadline(Some(Duration::from_secs(3))).execute("slow", Map::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "QEMU did not answer slow within 3s");
    server.request().await;
    let (status, ()) = tokio::join!(client.call(&QueryStatus {}), async {
        let request = server.request().await;
        server.answer(&request, json!({"running": true, "status": "running"})).await;
    });
    assert_eq!(status.unwrap().status, RunState::Running);
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let (refused, ()) = tokio::join!(client.execute("nonsense", Map::new()), async {
        let request = server.request().await;
        let error = json!({"class": "CommandNotFound", "desc": "no such command"});
        server.say(json!({"id": request["id"], "error": error})).await;
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.refusal().unwrap().desc, "no such command");
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost_and_a_waiter_loses_nothing() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let mut all = client.subscribe(Filter::All, 4);
    let mut chosen = client.subscribe(Filter::names(["RARE"]), 4);
    let waiter = client.waiter(|event| event.name == "RARE");
    server.event("RARE", 0).await;
    for number in 1..=1000 {
        server.event("STORM", number).await;
    }
    // The reply follows the events, so they have all been seen.
    tokio::join!(
        async {
            client.execute("fence", Map::new()).await.unwrap();
        },
        async {
            let request = server.request().await;
            server.answer(&request, json!({})).await;
        }
    );
    assert_eq!(waiter.await.unwrap().data["n"], 0);
    assert_eq!(chosen.next().await.unwrap().data["n"], 0);
    assert_eq!(all.next().await, Err(EventError::Lagged(997)));
    for number in 997..=1000 {
        assert_eq!(all.next().await.unwrap().data["n"], number);
    }
}

#[tokio::test]
async fn the_end_reaches_calls_waiters_and_subscribers_with_its_reason() {
    let (client, mut server, mut tasks) = connected(Options::default()).await;
    let mut events = client.subscribe(Filter::All, 4);
    let waiter = client.waiter(|_| false);
    let (outcome, ()) = tokio::join!(client.execute("quit", Map::new()), async {
        server.request().await;
        server.event("SHUTDOWN", 1).await;
        drop(server);
    });
    let Err(CallError::Closed { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(*reason, CloseReason::Ended));
    assert!(waiter.await.is_none());
    assert_eq!(events.next().await.unwrap().name, "SHUTDOWN");
    assert_eq!(events.next().await, Err(EventError::Closed));
    assert!(matches!(**tasks.join_next().await.unwrap().as_ref().unwrap(), CloseReason::Ended));
    assert!(matches!(*client.closed().await, CloseReason::Ended));
    assert!(matches!(client.execute("late", Map::new()).await, Err(CallError::Closed { .. })));
}

#[tokio::test]
async fn a_dropped_driver_fails_calls_instead_of_hanging_them() {
    let (near, _far) = tokio::io::duplex(1 << 10);
    let (client, driver) = qmp::client(near, Options::default());
    drop(driver);
    assert!(matches!(*client.ready().await.unwrap_err(), CloseReason::Abandoned));
    assert!(matches!(client.execute("x", Map::new()).await, Err(CallError::Closed { .. })));
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_all_answered_with_seven_in_flight() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let mut calls = JoinSet::new();
    for number in 0..100u64 {
        let client = client.clone();
        let arguments = Map::from_iter([("n".to_owned(), json!(number))]);
        calls.spawn(async move { (number, client.execute("echo", arguments).await.unwrap()) });
    }
    let mut requests = Vec::new();
    for _ in 0..7 {
        requests.push(server.request().await);
    }
    assert!(
        tokio::time::timeout(Duration::ZERO, server.requests.next_line()).await.is_err(),
        "an eighth was sent"
    );
    for round in 0..100 {
        let request = requests.remove(0);
        server.answer(&request, request["arguments"]["n"].clone()).await;
        if round < 93 {
            requests.push(server.request().await);
        }
    }
    while let Some(answered) = calls.join_next().await {
        let (number, answer) = answered.unwrap();
        assert_eq!(answer, json!(number));
    }
}

#[tokio::test]
async fn a_reply_of_64_mebibytes_is_read_and_a_larger_one_ends_the_connection_with_its_size() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let answer = async |server: &mut Server, bytes: usize| {
        let request = server.request().await;
        let head = format!("{{\"id\": {}, \"return\": \"", request["id"]);
        let tail = "\"}\r\n";
        // The limit counts the message up to its line feed.
        let filler = vec![b'x'; bytes - head.len() - 3];
        for piece in [head.as_bytes(), &filler, tail.as_bytes()] {
            // Fails when the client has left.
            if server.replies.write_all(piece).await.is_err() {
                return;
            }
        }
    };
    const LIMIT: usize = 64 * 1024 * 1024;
    let (reply, ()) = tokio::join!(client.execute("large", Map::new()), answer(&mut server, LIMIT));
    assert!(reply.unwrap().as_str().unwrap().len() > LIMIT - 100);
    let (reply, ()) = tokio::join!(client.execute("larger", Map::new()), answer(&mut server, LIMIT + 1));
    let Err(CallError::Closed { reason, .. }) = reply else { panic!("{reply:?}") };
    let CloseReason::Protocol(violation) = &*reason else { panic!("{reason}") };
    assert!(violation.to_string().contains("67108864"), "{violation}");
}

/// The first write fails in this way; from then on nothing is taken and nothing said.
struct Fails(Option<io::ErrorKind>);

impl AsyncWrite for Fails {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.0.take().map_or(Poll::Pending, |kind| Poll::Ready(Err(kind.into())))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How a connection ends whose first write fails in this way, and whose server stays and says no more than its greeting.
async fn ends_after(kind: io::ErrorKind) -> Arc<CloseReason> {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""});
    let greeting = json!({"QMP": {"version": version, "capabilities": []}});
    far.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
    let (_client, driver) = qmp::client(tokio::io::join(near, Fails(Some(kind))), Options::default());
    let reason = tokio::time::timeout(Duration::from_secs(60), driver).await.unwrap();
    drop(far);
    reason
}

#[tokio::test]
async fn a_write_that_fails_ends_the_connection_with_its_reason() {
    let reason = ends_after(io::ErrorKind::StorageFull).await;
    assert!(
        matches!(&*reason, CloseReason::Socket(error) if error.kind() == io::ErrorKind::StorageFull),
        "{reason:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_no_more_and_stays_is_not_waited_for_without_end() {
    let reason = ends_after(io::ErrorKind::BrokenPipe).await;
    assert!(matches!(&*reason, CloseReason::Ended), "{reason:?}");
}

#[tokio::test]
async fn an_address_in_the_upper_half_of_a_guests_memory_is_passed_whole() {
    let (client, mut server, _tasks) = connected(Options::default()).await;
    let kernel = 0xffff_ffff_8000_0000;
    let save = Memsave { val: kernel, size: 4096, filename: "/vm/page".into(), cpu_index: None };
    let (saved, ()) = tokio::join!(client.call(&save), async {
        let request = server.request().await;
        assert_eq!(request["arguments"]["val"].as_u64(), Some(kernel));
        server.answer(&request, json!({})).await;
    });
    saved.unwrap();
}

/// As five of six processes of QEMU end their connection after `quit`: with something of ours unread.
#[tokio::test]
async fn a_reset_is_the_same_end_as_an_orderly_one() {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let (client, driver) = qmp::client_unix(ours, Options::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    let mut theirs = BufReader::new(theirs);
    let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""});
    let greeting = format!("{}\r\n", json!({"QMP": {"version": version, "capabilities": []}}));
    theirs.write_all(greeting.as_bytes()).await.unwrap();
    // The negotiation is there and not read.
    theirs.get_ref().readable().await.unwrap();
    drop(theirs);
    let reason = tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(*reason, CloseReason::Ended), "{reason:?}");
    assert!(matches!(client.execute("query-name", Map::new()).await, Err(CallError::Closed { .. })));
}

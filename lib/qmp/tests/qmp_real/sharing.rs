//! One monitor of a real QEMU for several users, and a session with it written down and played again.

use crate::support::{Connected, LONG, Qemu};
use qmp::{
    CallError, Client, Filter, Options,
    commands::{Cont, Pmemsave, QueryName, QueryStatus, QueryVersion, RunState, Stop},
    scripted::{self, Transcript},
    share::{Policy, Share, UserEnd},
};
use serde_json::{Map, Value, json};
use std::{process::Command, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream},
    net::UnixStream,
    task::JoinSet,
};

struct Shared {
    share: Share,
    users: JoinSet<UserEnd>,
}

impl Shared {
    fn of(client: &Client) -> Self {
        Self { share: Share::new(client.clone()), users: JoinSet::new() }
    }

    fn socket(&mut self, policy: Policy) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 12);
        let share = self.share.clone();
        self.users.spawn(async move { share.serve(far, policy).await });
        near
    }

    fn user(&mut self, policy: Policy) -> Connected {
        Connected::new(qmp::client(self.socket(policy), Options::default()))
    }
}

#[tokio::test]
async fn users_of_one_monitor_meet_a_monitor_each() {
    let test = "users_of_one_monitor_meet_a_monitor_each";
    let Some((_qemu, owner)) = Qemu::with_client(test, &["-name", "guest"]).await else { return };
    let mut shared = Shared::of(&owner.client);
    let (first, second) = (shared.user(Policy::All), shared.user(Policy::Queries));
    let greeting = first.client.ready().await.unwrap();
    assert_eq!(greeting, owner.client.ready().await.unwrap());
    second.client.ready().await.unwrap();
    let mut seen = [&first, &second, &owner].map(|user| user.client.subscribe(Filter::All, 64));

    // The same ids from all of them, many at once: each gets its own answers.
    let mut calls = JoinSet::new();
    for number in 0..60 {
        let client = [&first, &second, &owner][number % 3].client.clone();
        let major = i64::from(greeting.version.qemu.major);
        calls.spawn(async move {
            if number % 2 == 0 {
                assert_eq!(client.call(&QueryName {}).await.unwrap().name.as_deref(), Some("guest"));
            } else {
                assert_eq!(client.call(&QueryVersion {}).await.unwrap().qemu.major, major);
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    // Not of its own business, and QEMU's own refusal.
    let refused = second.client.call(&Cont {}).await.unwrap_err();
    assert!(refused.refusal().unwrap().desc.contains("cont"), "{refused}");
    // A list as it is read from a file.
    let listed = shared.user(Policy::only(vec!["query-name".to_owned()]));
    assert_eq!(listed.client.call(&QueryName {}).await.unwrap().name.as_deref(), Some("guest"));
    let refused = listed.client.call(&QueryStatus {}).await.unwrap_err();
    assert!(refused.refusal().unwrap().desc.contains("query-status"), "{refused}");
    drop(listed);
    assert!(matches!(shared.users.join_next().await, Some(Ok(UserEnd::Left))));
    let refused = first.client.execute("no-such-command", Map::new()).await.unwrap_err();
    let own = owner.client.execute("no-such-command", Map::new()).await.unwrap_err();
    assert_eq!(refused.refusal(), own.refusal());

    first.client.call(&Cont {}).await.unwrap();
    for events in &mut seen {
        let event = tokio::time::timeout(LONG, events.next()).await.unwrap().unwrap();
        assert_eq!(event.name, "RESUME");
        assert!(event.timestamp.is_some());
    }
    // Out of band through the share and through QEMU.
    let instances = first.client.execute_oob("query-yank", Map::new()).await.unwrap();
    assert_eq!(instances[0]["type"], "chardev");
    drop(first);
    assert!(matches!(shared.users.join_next().await, Some(Ok(UserEnd::Left))));
    assert!(second.client.call(&QueryStatus {}).await.unwrap().running);
    owner.client.call(&Stop {}).await.unwrap();
    drop(owner);
}

#[tokio::test]
async fn a_user_with_bare_hands_gets_what_qemu_says() {
    let test = "a_user_with_bare_hands_gets_what_qemu_says";
    let Some((_qemu, owner)) = Qemu::with_client(test, &[]).await else { return };
    let Some((_other, direct)) = Qemu::start(test, &[]).await else { return };
    let mut shared = Shared::of(&owner.client);
    let mut answers = Vec::new();
    // The same bytes to a share and to QEMU itself, all at once.
    let requests = b"{'execute': 'query-status'}{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"none\"]},\"id\":1}\
        {\"execute\":\"qmp_capabilities\"}{'execute':'cont','id':{'a':[1]}} {'execute':'query-status','id':'x'}[1]\n\
        {\"execute\":\"half\xff{\"execute\":\"stop\",\"id\":null}{\"id\":7}{\"execute\":\"query-name\",\"arguments\":3,\"id\":8}\
        {\"execute\":\"qmp_capabilities\",\"id\":9}{\"exec-oob\":\"query-yank\",\"id\":10}{\"execute\":\"quit\",\"id\":11}";
    let streams: [Box<dyn Stream>; 2] = [Box::new(shared.socket(Policy::All)), Box::new(direct)];
    for stream in streams {
        let mut stream = BufReader::new(stream);
        stream.write_all(requests).await.unwrap();
        let mut lines = stream.lines();
        let mut said = Vec::new();
        // The last answer is that to `quit`.
        while said.last().is_none_or(|message: &Value| message["id"] != 11) {
            let line = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap().unwrap();
            said.push(serde_json::from_str::<Value>(&line).unwrap());
        }
        answers.push(said);
    }
    // Words and times are each one's own.
    let plain = |messages: &[Value]| -> Vec<Value> {
        let mut plain = messages.to_vec();
        for message in &mut plain {
            if let Some(error) = message.get_mut("error") {
                error["desc"] = json!("");
            }
            message["timestamp"] = json!(0);
        }
        plain
    };
    assert_eq!(plain(&answers[0]), plain(&answers[1]));
}

/// What is to help a machine that hangs must reach it, also from those who keep asking it. A monitor whose own command hangs has begun that one;
/// of others QEMU begins none.
#[tokio::test]
async fn what_is_out_of_band_is_read_whatever_blocks_qemu_and_whoever_waits() {
    let test = "what_is_out_of_band_is_read_whatever_blocks_qemu_and_whoever_waits";
    let another =
        ["-chardev", "socket,id=other,path=DIR/other,server=on,wait=off", "-mon", "other,mode=control"];
    let Some((qemu, owner)) = Qemu::with_client(test, &another).await else { return };
    let client = &owner.client;
    let stream = UnixStream::connect(qemu.path("other")).await.unwrap();
    let blocking = Connected::new(qmp::client_unix(stream, Options::default()));
    // It waits for somebody who reads.
    let pipe = qemu.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let dump = Pmemsave { val: 0, size: 1, filename: pipe.to_str().unwrap().to_owned() };
    let mut blocked = JoinSet::new();
    let other = blocking.client.clone();
    blocked.spawn(async move { other.call(&dump).await.unwrap() });

    let hurried = client.with_deadline(Some(Duration::from_millis(100)));
    while hurried.call(&QueryStatus {}).await.is_ok() {}
    let patient = client.with_deadline(Some(LONG));
    for asked in 0..12 {
        patient.execute_oob("query-yank", Map::new()).await.unwrap();
        let late = hurried.call(&QueryStatus {}).await.unwrap_err();
        assert!(matches!(late, CallError::Deadline { .. }), "{asked}: {late}");
    }
    // A user who keeps to QEMU's own rule.
    let mut shared = Shared::of(&client.with_deadline(None));
    let mut user = BufReader::new(shared.socket(Policy::All));
    user.write_all(b"{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}").await.unwrap();
    for _ in 0..8 {
        user.write_all(b"{'execute':'query-status'}").await.unwrap();
    }
    user.write_all(b"{'exec-oob':'query-yank','id':'aside'}").await.unwrap();
    let mut said = user.lines();
    loop {
        let line = tokio::time::timeout(LONG, said.next_line()).await.expect("it is read").unwrap().unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        if message["id"] == "aside" {
            break;
        }
        assert!(message["return"].as_object().is_none_or(Map::is_empty), "QEMU is blocked: {message}");
    }
    tokio::task::spawn_blocking(|| std::fs::read(pipe).unwrap()).await.unwrap();
    blocked.join_next().await.unwrap().unwrap();
    patient.call(&QueryStatus {}).await.unwrap();
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for S {}

#[tokio::test]
async fn a_user_who_does_not_read_is_cut_off_and_harms_nobody() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let monitor = Connected::new(qmp::client(near, Options::default()));
    let mut server = scripted::Server::new(far);
    server.greet([7, 2, 0], &["oob"]).await.unwrap();
    let mut shared = Shared::of(&monitor.client);
    let mut stuck = shared.socket(Policy::All);
    stuck.write_all(b"{\"execute\":\"qmp_capabilities\"}").await.unwrap();
    let reading = shared.user(Policy::All);
    reading.client.ready().await.unwrap();
    let mut count = 0;
    while shared.users.try_join_next().is_none() {
        server.event("STORM", json!({"n": count, "text": "x".repeat(4096)})).await.unwrap();
        count += 1;
        assert!(count < 10_000, "it is never cut off");
        tokio::task::yield_now().await;
    }
    let (status, ()) = tokio::join!(reading.client.call(&QueryStatus {}), async {
        let request = server.request().await.unwrap();
        server.answer(&request, json!({"running": false, "status": "paused"})).await.unwrap();
    });
    assert_eq!(status.unwrap().status, RunState::Paused);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_stays_and_does_not_read_is_let_go_when_the_monitor_is_gone() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let monitor = Connected::new(qmp::client(near, Options::default()));
    let mut server = scripted::Server::new(far);
    server.greet([7, 2, 0], &["oob"]).await.unwrap();
    monitor.client.ready().await.unwrap();
    // It reads nothing of a greeting that does not fit.
    let (user, far) = tokio::io::duplex(8);
    let share = Share::new(monitor.client.clone());
    let (end, ()) = tokio::join!(share.serve(far, Policy::All), async { drop(server) });
    assert!(matches!(end, UserEnd::Monitor), "{end}");
    drop(user);
}

/// What a test would do with a machine.
async fn session(client: &Client) -> Vec<Value> {
    let mut events = client.subscribe(Filter::All, 16);
    let mut seen = Vec::new();
    seen.push(json!(client.call(&QueryStatus {}).await.unwrap()));
    client.call(&Cont {}).await.unwrap();
    seen.push(json!(events.next().await.unwrap().name));
    seen.push(client.execute("query-machines", Map::new()).await.unwrap());
    seen.push(json!(client.execute("nonsense", Map::new()).await.unwrap_err().to_string()));
    seen
}

#[tokio::test]
async fn a_session_is_written_down_and_played_again_however_it_is_cut() {
    let test = "a_session_is_written_down_and_played_again_however_it_is_cut";
    let Some((_qemu, stream)) = Qemu::start(test, &[]).await else { return };
    let (tap, recording) = scripted::tap(stream);
    let recorded = Connected::new(qmp::client(tap, Options::default()));
    let expected = session(&recorded.client).await;
    let text = recording.transcript().to_string();
    let transcript: Transcript = text.parse().unwrap();
    assert_eq!(transcript, recording.transcript());
    assert!(text.lines().any(|line| line.starts_with("< {") && line.contains("RESUME")), "{text}");
    // A stream that holds few bytes cuts every message at another place.
    for size in [1, 2, 3, 7, 64, 1 << 16] {
        let (near, far) = tokio::io::duplex(size);
        let played = Connected::new(qmp::client(near, Options::default()));
        let mut server = scripted::Server::new(far);
        let (seen, played) = tokio::join!(session(&played.client), server.play(&transcript));
        played.unwrap();
        assert_eq!(seen, expected, "{size} bytes at a time");
    }
    // Another path is noticed.
    let (near, far) = tokio::io::duplex(1 << 16);
    let other = Connected::new(qmp::client(near, Options::default()));
    let mut server = scripted::Server::new(far);
    let (_, astray) = tokio::join!(
        async {
            tokio::time::timeout(std::time::Duration::from_millis(10), other.client.call(&Stop {})).await
        },
        server.play(&transcript)
    );
    let astray = astray.unwrap_err().to_string();
    assert!(astray.contains("query-status") && astray.contains("\"stop\""), "{astray}");
}

//! Descriptors that QEMU gets and closes again.

use crate::support::{LONG, Qemu};
use qmp::{
    CallError, Client, CloseReason,
    commands::{
        AddClient, BlockdevAdd, BlockdevDel, BlockdevOptions, BlockdevOptionsFile, BlockdevOptionsVariant,
        ChardevAdd, ChardevRemove, Cont, QueryBlockstats, QueryChardev, QueryFdsets, QueryNamedBlockNodes,
        QueryVnc,
    },
    descriptors::FdSet,
    wire::Decode as _,
};
use serde_json::{Value, json};
use std::{fs::File, os::fd::OwnedFd, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// One end for us, and one to give away.
fn pair() -> (UnixStream, OwnedFd) {
    let (near, far) = UnixStream::pair().unwrap();
    (near, far.into_std().unwrap().into())
}

/// Waits until every copy of the other end is closed.
async fn closed(mut near: UnixStream) {
    let mut rest = Vec::new();
    tokio::time::timeout(LONG, near.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"");
}

async fn sets(client: &Client) -> Vec<i64> {
    client.call(&QueryFdsets {}).await.unwrap().iter().map(|set| set.fdset_id).collect()
}

fn disk(name: &str, path: &str) -> BlockdevAdd {
    let file = BlockdevOptionsFile::new(path);
    let options = BlockdevOptions::new(BlockdevOptionsVariant::File(file));
    BlockdevAdd(BlockdevOptions { node_name: Some(name.to_owned()), read_only: Some(true), ..options })
}

#[tokio::test]
async fn a_name_is_closed_by_who_gave_it_last() {
    let test = "a_name_is_closed_by_who_gave_it_last";
    let Some((_qemu, connected)) = Qemu::with_client(test, &[]).await else { return };
    let client = &connected.client;
    let ((first, far), (second, other)) = (pair(), pair());
    let mut named = client.pass_named("stream", far).await.unwrap();
    let before = std::mem::replace(&mut named, client.pass_named("stream", other).await.unwrap());
    closed(first).await;
    drop(before);
    client.call(&QueryFdsets {}).await.unwrap();
    let quiet = second.try_read(&mut [0]).unwrap_err();
    assert_eq!(quiet.kind(), std::io::ErrorKind::WouldBlock, "QEMU has it still");
    named.close().await.unwrap();
    closed(second).await;
}

#[tokio::test]
async fn a_set_is_opened_as_a_disk_and_closed_when_it_is_released() {
    let test = "a_set_is_opened_as_a_disk_and_closed_when_it_is_released";
    let Some((qemu, connected)) = Qemu::with_client(test, &[]).await else { return };
    let client = &connected.client;
    // QEMU closes descriptors of sets while the guest runs.
    client.call(&Cont {}).await.unwrap();
    let path = qemu.path("disk, with=a comma");
    std::fs::write(&path, vec![7; 65_536]).unwrap();
    let open = || qemu.open_files().iter().filter(|file| file.ends_with("disk, with=a comma")).count();
    let set = client.pass_set(File::open(&path).unwrap().into(), Some("disk".to_owned())).await.unwrap();
    assert_eq!(open(), 1);
    assert_eq!(client.call(&QueryFdsets {}).await.unwrap()[0].fds[0].opaque.as_deref(), Some("disk"));
    set.add(File::options().read(true).write(true).open(&path).unwrap().into()).await.unwrap();
    client.call(&disk("node", &set.path())).await.unwrap();
    let nodes = client.call(&QueryNamedBlockNodes::default()).await.unwrap();
    assert_eq!(nodes[0].image.virtual_size, 65_536);
    assert_eq!(open(), 3);
    set.release().await.unwrap();
    assert_eq!(open(), 1, "the disk's own copy");
    client.call(&BlockdevDel { node_name: "node".to_owned() }).await.unwrap();
    assert_eq!((open(), sets(client).await), (0, vec![]));
    // Dropped instead of released: the removal is sent before whatever is called next.
    let set = client.pass_set(File::open(&path).unwrap().into(), None).await.unwrap();
    let id = set.id();
    assert_eq!(sets(client).await, [id]);
    drop(set);
    assert_eq!((sets(client).await, open()), (vec![], 0));
    let set = client.pass_set(File::open(&path).unwrap().into(), None).await.unwrap();
    let id = set.keep();
    assert_eq!(sets(client).await, [id]);
}

#[tokio::test]
async fn a_named_descriptor_becomes_a_character_device() {
    let test = "a_named_descriptor_becomes_a_character_device";
    let Some((qemu, connected)) = Qemu::with_client(test, &[]).await else { return };
    let client = &connected.client;
    let (near, far) = pair();
    let named = client.pass_named("line", far).await.unwrap();
    let backend = json!({"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": named.name()}}, "server": false}});
    let arguments = json!({"id": "line", "backend": backend});
    client.call(&ChardevAdd::decode(arguments).unwrap()).await.unwrap();
    named.used();
    let devices = client.call(&QueryChardev {}).await.unwrap();
    assert!(devices.iter().any(|device| device.label == "line"), "{devices:?}");
    client.call(&ChardevRemove { id: "line".to_owned() }).await.unwrap();
    closed(near).await;

    // One that nobody used is closed when it is dropped, or told to.
    for close in [true, false] {
        let (near, far) = pair();
        let named = client.pass_named("unused", far).await.unwrap();
        if close {
            named.close().await.unwrap();
        } else {
            drop(named);
        }
        closed(near).await;
    }
    let refused = client.pass_named("1", File::open("/dev/null").unwrap().into()).await.unwrap_err();
    assert!(refused.refusal().is_some(), "{refused}");
    drop(qemu);
}

#[tokio::test]
async fn a_display_gets_a_connected_client() {
    let test = "a_display_gets_a_connected_client";
    let arguments = ["-device", "VGA", "-vnc", "unix:DIR/vnc"];
    let Some((qemu, connected)) = Qemu::with_client(test, &arguments).await else { return };
    let client = &connected.client;
    let (mut near, far) = pair();
    let command = AddClient { skipauth: Some(true), ..AddClient::new("vnc", "viewer") };
    client.pass_client(&command, far).await.unwrap();
    let mut hello = [0; 12];
    near.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"RFB 003.008\n");
    near.write_all(&hello).await.unwrap();
    assert!(client.call(&QueryVnc {}).await.unwrap().enabled);
    // Of a display that is not there nothing stays open.
    let (near, far) = pair();
    let refused = client.pass_client(&AddClient::new("spice", "another"), far).await.unwrap_err();
    assert!(refused.refusal().is_some(), "{refused}");
    closed(near).await;
    drop(qemu);
}

#[tokio::test]
async fn calls_with_descriptors_at_once_all_arrive_each_with_its_own() {
    let test = "calls_with_descriptors_at_once_all_arrive_each_with_its_own";
    let Some((qemu, connected)) = Qemu::with_client(test, &[]).await else { return };
    let client = connected.client.clone();
    let mut calls = tokio::task::JoinSet::new();
    // Without a fence, of four such calls at once three get no descriptor (measured on QEMU 7.2).
    for number in 0..24 {
        let client = client.clone();
        let path = qemu.path(&format!("file-{number}"));
        std::fs::write(&path, [number]).unwrap();
        calls.spawn(async move {
            let file = File::open(path).unwrap();
            let set = client.pass_set(file.into(), Some(number.to_string())).await.unwrap();
            (number, set)
        });
        let client = connected.client.clone();
        calls.spawn(async move {
            client.call(&QueryBlockstats::default()).await.unwrap();
            let file = File::open("/dev/null").unwrap();
            (255, client.pass_set(file.into(), Some("255".to_owned())).await.unwrap())
        });
    }
    let mut held = Vec::new();
    while let Some(set) = calls.join_next().await {
        held.push(set.unwrap());
    }
    let sets = client.call(&QueryFdsets {}).await.unwrap();
    for (number, set) in &held {
        let told = sets.iter().find(|told| told.fdset_id == set.id()).unwrap();
        assert_eq!(told.fds[0].opaque, Some(number.to_string()));
        let file = std::fs::read_link(format!("/proc/{}/fd/{}", qemu.pid(), told.fds[0].fd)).unwrap();
        let expected = if *number == 255 { "/dev/null".into() } else { qemu.path(&format!("file-{number}")) };
        assert_eq!(file, expected);
    }
    assert_eq!(held.len(), 48);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_in_qemu() {
    let test = "a_call_that_is_given_up_leaves_nothing_in_qemu";
    let Some((qemu, connected)) = Qemu::with_client(test, &[]).await else { return };
    let client = &connected.client;
    client.call(&Cont {}).await.unwrap();
    let path = qemu.path("file");
    std::fs::write(&path, "x").unwrap();
    let file = || OwnedFd::from(File::open(&path).unwrap());
    for polls in 1..20 {
        // Dropped after so many turns: before it was sent, after, with the answer there.
        let set = client.pass_set(file(), None);
        given_up(set, polls).await;
        given_up(client.pass_named("name", file()), polls).await;
    }
    // Answered after all of those, and what undoes them before this one.
    client.call(&QueryFdsets {}).await.unwrap();
    assert_eq!(sets(client).await, Vec::<i64>::new());
    let open = qemu.open_files();
    assert!(!open.iter().any(|open| open.ends_with("/file")), "{open:?}");
}

/// A client and the other end of its monitor, which has greeted.
struct Played {
    client: Client,
    tasks: tokio::task::JoinSet<Arc<CloseReason>>,
    requests: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Played {
    async fn begin() -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        let (client, driver) = qmp::client_unix(near, qmp::Options::default());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(driver);
        let (reader, mut writer) = far.into_split();
        let requests = BufReader::new(reader).lines();
        let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""});
        let greeting = json!({"QMP": {"version": version, "capabilities": []}});
        writer.write_all(format!("{greeting}\n").as_bytes()).await.unwrap();
        let mut played = Self { client, tasks, requests, writer };
        played.next(json!({})).await;
        played.client.ready().await.unwrap();
        played
    }

    /// The next request; `None` at the end.
    async fn request(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(LONG, self.requests.next_line()).await.unwrap().unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    async fn answer(&mut self, request: &Value, reply: Value) {
        let answer = json!({"return": reply, "id": request["id"]});
        self.writer.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }

    /// Answers the next request.
    async fn next(&mut self, reply: Value) -> (String, Value) {
        let request = self.request().await.unwrap();
        self.answer(&request, reply).await;
        (request["execute"].as_str().unwrap().to_owned(), request["arguments"].clone())
    }

    async fn a_set(&mut self) -> FdSet {
        let client = self.client.clone();
        let set = client.pass_set(File::open("/dev/null").unwrap().into(), None);
        let (set, _) = tokio::join!(set, self.next(json!({"fdset-id": 7, "fd": 9})));
        set.unwrap()
    }
}

/// Polled once, which sends it.
async fn begun<T>(call: &mut (impl Future<Output = T> + Unpin)) {
    tokio::select! {
        biased;
        _ = call => panic!("not answered yet"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn a_name_that_is_not_taken_is_still_his_whose_it_was() {
    let mut played = Played::begin().await;
    let client = played.client.clone();
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let closing = || ("closefd".to_owned(), json!({"fdname": "stream"}));
    let (first, _) = tokio::join!(client.pass_named("stream", null()), played.next(json!({})));
    let first = first.unwrap();
    let refusing = async {
        let request = played.request().await.unwrap();
        let refusal = json!({"error": {"class": "GenericError", "desc": "not now"}, "id": request["id"]});
        played.writer.write_all(format!("{refusal}\n").as_bytes()).await.unwrap();
    };
    let (refused, ()) = tokio::join!(client.pass_named("stream", null()), refusing);
    assert!(refused.unwrap_err().refusal().is_some());
    drop(first);
    assert_eq!(played.next(json!({})).await, closing());
    // Whatever an answer that is not understood says, the command was carried out.
    let (strange, _) = tokio::join!(client.pass_named("stream", null()), played.next(json!("done")));
    assert!(matches!(strange.unwrap_err(), CallError::Decode { .. }));
    assert_eq!(played.next(json!({})).await, closing());
}

/// The answer lies there for a caller who leaves without looking.
#[tokio::test]
async fn a_set_whose_answer_nobody_reads_is_removed() {
    let mut played = Played::begin().await;
    let client = played.client.clone();
    let mut call = Box::pin(client.pass_set(File::open("/dev/null").unwrap().into(), None));
    begun(&mut call).await;
    assert_eq!(played.next(json!({"fdset-id": 7, "fd": 9})).await.0, "add-fd");
    // Answered after it, so that one has arrived.
    let later = client.execute("query-status", serde_json::Map::new());
    let (later, _) = tokio::join!(later, played.next(json!({})));
    later.unwrap();
    drop(call);
    let removed = played.next(json!({})).await;
    assert_eq!(removed, ("remove-fd".to_owned(), json!({"fdset-id": 7, "fd": 9})));
}

/// A monitor that answers nothing for a while piles nothing up, and what is to be closed is closed when it answers again.
#[tokio::test]
async fn descriptors_are_taken_back_and_closed_where_a_monitor_does_not_answer() {
    let mut played = Played::begin().await;
    let client = played.client.clone();
    let set = played.a_set().await;
    let mut slow = Box::pin(client.execute("slow", serde_json::Map::new()));
    begun(&mut slow).await;
    let first = played.request().await.unwrap();
    // It waits behind the slow one, and is not written when its caller leaves.
    let (near, far) = pair();
    let mut passing = Box::pin(client.pass_set(far, None));
    begun(&mut passing).await;
    let mut releasing = Box::pin(set.release());
    begun(&mut releasing).await;
    drop((passing, releasing));
    closed(near).await;
    played.answer(&first, json!({})).await;
    slow.await.unwrap();
    assert_eq!(played.next(json!({})).await, ("remove-fd".to_owned(), json!({"fdset-id": 7})));
}

#[tokio::test]
async fn what_the_last_client_leaves_to_be_closed_is_closed() {
    for _ in 0..100 {
        let mut played = Played::begin().await;
        let set = played.a_set().await;
        // Nothing is awaited between the set's end and that of the last client.
        drop(set);
        let nobody = qmp::client(tokio::io::duplex(1).0, qmp::Options::default()).0;
        drop(std::mem::replace(&mut played.client, nobody));
        assert_eq!(played.next(json!({})).await.0, "remove-fd");
        let reason = played.tasks.join_next().await.unwrap().unwrap();
        assert!(matches!(*reason, CloseReason::Abandoned), "{reason}");
        assert_eq!(played.request().await, None);
    }
}

/// Its caller has left with all others before the answer comes.
#[tokio::test]
async fn what_is_added_to_a_set_for_nobody_is_removed_when_the_last_client_has_left() {
    let mut played = Played::begin().await;
    let set = played.a_set().await;
    let mut adding = Box::pin(set.add(File::open("/dev/null").unwrap().into()));
    begun(&mut adding).await;
    let request = played.request().await.unwrap();
    drop(adding);
    let _in_use = set.keep();
    let nobody = qmp::client(tokio::io::duplex(1).0, qmp::Options::default()).0;
    drop(std::mem::replace(&mut played.client, nobody));
    played.answer(&request, json!({"fdset-id": 7, "fd": 10})).await;
    let removed = played.next(json!({})).await;
    assert_eq!(removed, ("remove-fd".to_owned(), json!({"fdset-id": 7, "fd": 10})));
    assert_eq!(played.request().await, None);
}

async fn given_up<T>(call: impl Future<Output = Result<T, CallError>>, polls: usize) {
    let mut call = std::pin::pin!(call);
    for _ in 0..polls {
        tokio::select! {
            biased;
            done = &mut call => return drop(done),
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test]
async fn a_stream_that_carries_none_says_so_and_too_many_are_not_sent() {
    let (near, _far) = tokio::io::duplex(64);
    let (client, _driver) = qmp::client(near, qmp::Options::default());
    let error = client.pass_set(File::open("/dev/null").unwrap().into(), None).await.unwrap_err();
    assert!(matches!(error, CallError::NoDescriptors { .. }), "{error}");
    let files = (0..17).map(|_| OwnedFd::from(File::open("/dev/null").unwrap())).collect();
    let error = client.call_with(&QueryFdsets {}, files).await.unwrap_err();
    assert!(error.to_string().contains("17"), "{error}");
}

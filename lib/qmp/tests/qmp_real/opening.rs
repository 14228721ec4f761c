//! Ways to a monitor, and what the program behind it says of itself.

use crate::support::{Connected, LONG, Qemu};
use qmp::{
    Options,
    commands::{BlockdevSetActive, QueryFdsets, QueryStatus, QueryVersion, Stop, Yank},
    deadline::Deadlines,
    open::{self, Address},
    session::{Oob, Opening},
};
use serde_json::Map;
use std::{collections::BTreeSet, os::fd::OwnedFd, path::PathBuf, time::Duration};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

#[tokio::test]
async fn a_unix_socket_in_a_deep_directory_and_a_tcp_port_are_opened() {
    let test = "a_unix_socket_in_a_deep_directory_and_a_tcp_port_are_opened";
    let deep = tempfile::tempdir().unwrap();
    let directory: PathBuf = deep.path().join("a".repeat(90)).join("b".repeat(90));
    std::fs::create_dir_all(&directory).unwrap();
    // QEMU itself cannot bind there; it is started inside.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let tcp = format!("tcp:127.0.0.1:{port},server=on,wait=off");
    let Some((qemu, monitor)) =
        Qemu::with_client(test, &["-qmp", "unix:DIR/second,server=on,wait=off", "-qmp", &tcp]).await
    else {
        return;
    };
    std::fs::rename(qemu.path("second"), directory.join("second")).unwrap();
    let long = directory.join("second");
    assert!(long.as_os_str().len() > 108);
    for address in [Address::Unix(long), Address::Tcp(format!("127.0.0.1:{port}"))] {
        let opened = Connected::new(open::connect(&address, Options::default()).await.unwrap());
        let greeting = opened.client.ready().await.unwrap();
        let version = opened.client.call(&QueryVersion {}).await.unwrap();
        assert_eq!(version.qemu.major, i64::from(greeting.version.qemu.major), "{address}");
    }
    drop(monitor);
}

#[tokio::test]
async fn a_connection_is_handed_over_with_half_a_command_in_it() {
    let test = "a_connection_is_handed_over_with_half_a_command_in_it";
    let Some((_qemu, mut stream)) = Qemu::start(test, &[]).await else { return };
    // The first owner negotiates, asks something, and dies inside a string of its next command.
    let mut reader = BufReader::new(&mut stream);
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    assert!(line.contains("QMP"), "{line}");
    reader
        .write_all(b"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}")
        .await
        .unwrap();
    line.clear();
    reader.read_line(&mut line).await.unwrap();
    assert!(line.contains("return"), "{line}");
    reader.write_all(b"{\"execute\":\"query-version\",\"id\":0}{\"execute\":\"block_res").await.unwrap();
    drop(reader);
    let socket = OwnedFd::from(stream.into_std().unwrap());

    let options = Options { opening: Opening::Resumed { oob: Oob::Enabled }, ..Options::default() };
    let resumed = Connected::new(open::inherited(socket, options).unwrap());
    let client = &resumed.client;
    let status = tokio::time::timeout(LONG, client.call(&QueryStatus {})).await.unwrap().unwrap();
    assert!(!status.running);
    let version = client.ready().await.unwrap().version.qemu;
    let asked = client.call(&QueryVersion {}).await.unwrap().qemu;
    assert_eq!((i64::from(version.major), i64::from(version.minor)), (asked.major, asked.minor));
    let counters = client.counters();
    assert_eq!((counters.unknown_replies, counters.unattributed_errors), (1, 0), "{counters:?}");
    // Out of band still works.
    client.call(&Yank { instances: Vec::new() }).await.unwrap();
}

#[tokio::test]
async fn half_a_command_wedges_nobody_who_resynchronises() {
    let test = "half_a_command_wedges_nobody_who_resynchronises";
    let Some((_qemu, mut stream)) = Qemu::start(test, &[]).await else { return };
    // Not even negotiated, and cut in the middle of a word.
    stream.write_all(b"{\"exec").await.unwrap();
    let mut greeting = [0; 1];
    stream.read_exact(&mut greeting).await.unwrap();
    let mut rest = BufReader::new(&mut stream);
    let mut line = String::new();
    rest.read_line(&mut line).await.unwrap();
    drop(rest);
    let options = Options { opening: Opening::Resumed { oob: Oob::Disabled }, ..Options::default() };
    let resumed = Connected::new(qmp::client_unix(stream, options));
    tokio::time::timeout(LONG, resumed.client.call(&Stop {})).await.unwrap().unwrap();
    assert_eq!(resumed.client.counters().unattributed_errors, 0);
}

#[tokio::test]
async fn the_connected_program_says_what_it_has() {
    let test = "the_connected_program_says_what_it_has";
    let Some((_qemu, connected)) = Qemu::with_client(test, &[]).await else { return };
    let client = &connected.client;
    assert!(client.supports::<QueryFdsets>().await.unwrap());
    let newer = client.supports::<BlockdevSetActive>().await.unwrap();
    assert_eq!(newer, client.ready().await.unwrap().version.qemu.major >= 10);
    let schema = client.schema().await.unwrap();
    for place in [
        "blockdev-add<file>.aio=native",
        "blockdev-add<qcow2>.file<file>.filename",
        "blockdev-add<qcow2>.backing.driver=luks",
        "query-migrate:reply.status=postcopy-active",
        "query-block:reply.inserted.image.filename",
        "SHUTDOWN.reason=guest-panic",
        "migrate.uri",
    ] {
        assert!(schema.has(place), "{place}");
    }
    for place in ["blockdev-add<file>.aio=none-such", "blockdev-add<novel>", "migrate.url", "NO_EVENT"] {
        assert!(!schema.has(place), "{place}");
    }
    assert!(schema.command("yank").unwrap().allow_oob());
    // It has the commands that we say its release has, and no others.
    let release = if newer { "10.0" } else { "7.2" };
    let ours: BTreeSet<&str> = qmp::commands::COMMANDS
        .iter()
        .filter(|facts| facts.system.contains(&release))
        .map(|facts| facts.name)
        .collect();
    assert_eq!(schema.commands().map(|command| command.name()).collect::<BTreeSet<_>>(), ours);
    assert_eq!(client.schema().await.unwrap().events().count(), schema.events().count());
}

#[tokio::test]
async fn each_class_of_commands_has_a_deadline_of_its_own() {
    let test = "each_class_of_commands_has_a_deadline_of_its_own";
    let Some((qemu, stream)) = Qemu::start(test, &[]).await else { return };
    let short = Some(Duration::from_millis(50));
    let deadlines = Deadlines { query: short, ..Deadlines::all(None) };
    let connected = Connected::new(qmp::client_unix(stream, Options { deadlines, ..Options::default() }));
    let client = &connected.client;
    client.ready().await.unwrap();
    qemu.signal(rustix::process::Signal::STOP);
    let late = client.call(&QueryStatus {}).await.unwrap_err();
    assert_eq!(late.to_string(), "QEMU did not answer query-status within 50ms");
    let mut patient = std::pin::pin!(client.execute("stop", Map::new()));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut patient).await;
    assert!(early.is_err(), "it has no deadline: {early:?}");
    qemu.signal(rustix::process::Signal::CONT);
    patient.await.unwrap();
    assert_eq!(client.counters().late_replies, 1);
}

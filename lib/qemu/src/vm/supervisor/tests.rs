//! Supervision of a monitor that the test plays itself.

use super::*;
use qmp::{commands::RunState, events::ShutdownCause};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, split};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(600);

pub(in crate::vm) type Reader = Lines<BufReader<tokio::io::ReadHalf<UnixStream>>>;
pub(in crate::vm) type Writer = tokio::io::WriteHalf<UnixStream>;

/// Answers one command, as a monitor does.
pub(in crate::vm) async fn answer(reader: &mut Reader, writer: &mut Writer, with: Value) {
    let command: Value = serde_json::from_str(&reader.next_line().await.unwrap().unwrap()).unwrap();
    reply(&command, writer, with).await;
}

/// The same, if it is this command.
pub(in crate::vm) async fn answer_to(name: &str, reader: &mut Reader, writer: &mut Writer, with: Value) {
    let command: Value = serde_json::from_str(&reader.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(command["execute"], name);
    reply(&command, writer, with).await;
}

/// The same after any number of questions for the state.
pub(in crate::vm) async fn answer_in(now: &str, name: &str, reader: &mut Reader, writer: &mut Writer) {
    loop {
        let command: Value = serde_json::from_str(&reader.next_line().await.unwrap().unwrap()).unwrap();
        if command["execute"] == name {
            return reply(&command, writer, json!({})).await;
        }
        assert_eq!(command["execute"], "query-status");
        reply(&command, writer, state(now)).await;
    }
}

async fn reply(command: &Value, writer: &mut Writer, with: Value) {
    let reply = format!("{}\r\n", json!({"return": with, "id": command["id"]}));
    writer.write_all(reply.as_bytes()).await.unwrap();
}

pub(in crate::vm) fn state(status: &str) -> Value {
    json!({"status": status, "running": status == "running", "singlestep": false})
}

/// A supervised machine and the test's side of its monitor; the guest runs, in a process that does not end.
pub(in crate::vm) async fn supervised_by(
    directory: &std::path::Path,
    tasks: &mut JoinSet<Exit>,
) -> (Vm, Reader, Writer) {
    supervised_in(rustix::process::getpid(), directory, tasks).await
}

/// A machine that was in this state when it was last asked.
pub(in crate::vm) async fn known_as(
    known: &str,
    directory: &std::path::Path,
    tasks: &mut JoinSet<Exit>,
) -> (Vm, Reader, Writer) {
    let (vm, mut reader, mut writer) = supervised_by(directory, tasks).await;
    answer_to("query-status", &mut reader, &mut writer, state(known)).await;
    let mut status = vm.watch();
    status.wait_for(|status| status.run_state.as_str() == known).await.unwrap();
    (vm, reader, writer)
}

/// What comes of it while the monitor answers as it should be asked.
pub(in crate::vm) async fn with<T>(call: impl Future<Output = T>, monitor: impl Future<Output = ()>) -> T {
    tokio::time::timeout(LONG, async { tokio::join!(call, monitor).0 }).await.expect("it is asked")
}

/// The test's side of a connection that has just been made, up to and with its first question.
async fn greets(stream: UnixStream, status: &str) -> (Reader, Writer) {
    let (reader, mut writer) = split(stream);
    let mut reader = BufReader::new(reader).lines();
    let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""});
    let greeting = json!({"QMP": {"version": version, "capabilities": ["oob"]}});
    writer.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
    answer(&mut reader, &mut writer, json!({})).await;
    answer(&mut reader, &mut writer, state(status)).await;
    (reader, writer)
}

pub(in crate::vm) fn event(name: &str, data: Value) -> String {
    let timestamp = json!({"seconds": 1, "microseconds": 0});
    format!("{}\r\n", json!({"event": name, "data": data, "timestamp": timestamp}))
}

/// The same in this process.
async fn supervised_in(
    pid: rustix::process::Pid,
    directory: &std::path::Path,
    tasks: &mut JoinSet<Exit>,
) -> (Vm, Reader, Writer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connection, (reader, writer)) = tokio::join!(greet(ours), greets(theirs, "running"));
    // Nobody listens at its place.
    let process = Process::open(pid).unwrap();
    let logs = crate::logs::Logs::default().within(directory);
    let record = Record::of(uuid::Uuid::nil(), process.pid(), directory, logs, &[]).unwrap();
    let supervision = Supervision { interval: LONG, patience: LONG };
    let (vm, supervisor) = supervised(connection.unwrap(), process.into(), Tpm::None, record, supervision);
    tasks.spawn(supervisor);
    (vm, reader, writer)
}

#[tokio::test]
async fn an_answer_that_comes_with_the_end_of_its_connection_does_not_hide_that() {
    // Which of the two is looked at first is drawn by lot.
    for _ in 0..64 {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
        answer(&mut reader, &mut writer, state("paused")).await;
        drop((reader, writer));
        vm.qmp().closed().await;
        let Status { run_state, responsive, .. } = vm.status();
        assert!(matches!(&responsive, Responsive::No(why) if why.contains("closed")), "{responsive:?}");
        assert_eq!(run_state, RunState::Paused, "what it said last");
    }
}

#[tokio::test]
async fn what_a_storm_of_events_hid_is_made_up_for() {
    let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (vm, mut reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
    answer(&mut reader, &mut writer, state("running")).await;
    // More than are kept, in one piece.
    let storm = event("STOP", json!({})).repeat(2 * EVENTS);
    let rounds = [
        (
            event("SHUTDOWN", json!({"guest": false, "reason": "host-signal"})),
            "shutdown",
            Some("host-signal"),
        ),
        (event("RESUME", json!({})), "running", None),
        (event("SHUTDOWN", json!({"guest": true, "reason": "guest-panic"})), "shutdown", Some("guest-panic")),
    ];
    for (hidden, now, cause) in rounds {
        writer.write_all(format!("{hidden}{storm}").as_bytes()).await.unwrap();
        let mut status = vm.watch();
        let seen = status.wait_for(|status| {
            let told = status.shutdown.as_ref().map(ShutdownCause::as_str);
            status.run_state.as_str() == now && told == cause
        });
        let seen = async {
            seen.await.unwrap();
        };
        let answers = async {
            loop {
                answer(&mut reader, &mut writer, state(now)).await;
            }
        };
        // Cancel safety: between two answers nothing is lost that matters.
        let in_time = async {
            tokio::select! {
                () = seen => {}
                () = answers => {}
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(10), in_time).await;
        assert!(outcome.is_ok(), "{now}: {:?}", vm.status());
    }
}

/// What is asked after a command is not answered by what was said before it.
#[tokio::test]
async fn an_answer_that_is_thrown_away_is_not_waited_for_in_vain() {
    let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (vm, mut reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
    answer(&mut reader, &mut writer, state("running")).await;
    let off = event("SHUTDOWN", json!({"guest": true, "reason": "guest-reset"}));
    writer.write_all(off.as_bytes()).await.unwrap();
    answer(&mut reader, &mut writer, state("shutdown")).await;
    let resumed = async {
        vm.resume().await.unwrap();
        let Status { run_state, shutdown, .. } = vm.status();
        (run_state, shutdown)
    };
    let monitor = async {
        answer(&mut reader, &mut writer, json!({})).await;
        let asked: Value = serde_json::from_str(&reader.next_line().await.unwrap().unwrap()).unwrap();
        // Newer than the question, and so the answer to it may be older than it.
        let answered = json!({"return": state("running"), "id": asked["id"]});
        let both = format!("{}{answered}\r\n", event("STOP", json!({})));
        writer.write_all(both.as_bytes()).await.unwrap();
        answer(&mut reader, &mut writer, state("running")).await;
    };
    let (known, ()) = tokio::join!(resumed, monitor);
    assert_eq!(known, (RunState::Running, None));
}

#[tokio::test]
async fn a_guest_that_sleeps_and_wakes_is_followed_by_what_qemu_tells() {
    let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (vm, mut reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
    answer(&mut reader, &mut writer, state("running")).await;
    let mut status = vm.watch();
    for (name, now) in [("SUSPEND", "suspended"), ("WAKEUP", "running")] {
        writer.write_all(event(name, json!({})).as_bytes()).await.unwrap();
        let asked = answer_to("query-status", &mut reader, &mut writer, state(now));
        let asked = tokio::time::timeout(Duration::from_secs(10), asked).await;
        assert!(asked.is_ok(), "{name}");
        status.wait_for(|status| status.run_state.as_str() == now).await.unwrap();
    }
}

/// That a guest has arrived, and stands, is not announced.
#[tokio::test]
async fn a_guest_that_has_arrived_unseen_is_resumed() {
    let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (vm, mut reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
    answer(&mut reader, &mut writer, state("inmigrate")).await;
    vm.watch().wait_for(|status| status.run_state == RunState::Inmigrate).await.unwrap();
    let monitor = async {
        answer_to("query-status", &mut reader, &mut writer, state("paused")).await;
        answer_to("cont", &mut reader, &mut writer, json!({})).await;
        answer_to("query-status", &mut reader, &mut writer, state("running")).await;
    };
    let resumed = async { vm.resume().await.unwrap() };
    let both = async { tokio::join!(resumed, monitor) };
    tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert_eq!(vm.status().run_state, RunState::Running);
}

/// A guest that runs is not given up because its monitor is away for a moment, however little patience there is.
#[tokio::test]
async fn a_guest_that_was_not_heard_to_stop_has_time_for_another_connection() {
    let seconds = Duration::from_secs;
    for is_stopped in [false, true] {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
        let mut too_long = std::pin::pin!(vm.stands_too_long(seconds(1)));
        if is_stopped {
            writer.write_all(event("STOP", json!({})).as_bytes()).await.unwrap();
        }
        drop((reader, writer));
        vm.qmp().closed().await;
        tokio::time::pause();
        let at_once = tokio::time::timeout(seconds(5), too_long.as_mut()).await;
        assert_eq!(at_once.is_ok(), is_stopped);
        if !is_stopped {
            tokio::time::timeout(seconds(15), too_long).await.unwrap();
        }
        tokio::time::resume();
    }
}

/// As long as a connection is away nobody hears of a stop: one that was heard before counts from then, one that was not from when the machine
/// is found to stand.
#[tokio::test]
async fn a_guest_that_is_found_standing_has_all_of_its_patience_from_then() {
    let seconds = Duration::from_secs;
    for is_stopped in [false, true] {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
        let mut clients = vm.client.clone();
        let mut too_long = std::pin::pin!(vm.stands_too_long(seconds(600)));
        if is_stopped {
            writer.write_all(event("STOP", json!({})).as_bytes()).await.unwrap();
        }
        drop((reader, writer));
        vm.qmp().closed().await;
        assert!(tokio::time::timeout(Duration::ZERO, too_long.as_mut()).await.is_err());
        tokio::time::pause();
        tokio::time::advance(seconds(500)).await;
        tokio::time::resume();
        let listener = tokio::net::UnixListener::bind(&vm.record().qmp_socket).unwrap();
        let monitor = async {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut reader, mut writer) = greets(stream, "finish-migrate").await;
            loop {
                answer(&mut reader, &mut writer, state("finish-migrate")).await;
            }
        };
        tokio::pin!(monitor);
        // Asked after who waits has asked: he has been answered by then.
        let asked = async {
            clients.changed().await.unwrap();
            vm.qmp().call(&QueryStatus {}).await.unwrap()
        };
        // Cancel safety: what is followed is kept.
        tokio::select! {
            biased;
            early = too_long.as_mut() => panic!("{early:?}"),
            _ = asked => {}
            () = &mut monitor => {}
        }
        tokio::time::pause();
        let soon = tokio::time::timeout(seconds(300), too_long.as_mut()).await;
        assert_eq!(soon.is_ok(), is_stopped);
        if !is_stopped {
            tokio::time::timeout(seconds(600), too_long).await.unwrap();
        }
        tokio::time::resume();
    }
}

/// A destination that waits for memory answers nothing: whoever looks for its migration hears that in the end.
#[tokio::test]
async fn a_migration_that_nobody_tells_of_is_not_asked_for_without_end() {
    for is_broken in [false, true] {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, reader, writer) = supervised_by(directory.path(), &mut tasks).await;
        let _silent = if is_broken {
            drop((reader, writer));
            vm.qmp().closed().await;
            None
        } else {
            Some((reader, writer))
        };
        tokio::time::pause();
        let late = tokio::time::timeout(LONG, vm.migration()).await;
        let late = late.expect("it has an end").unwrap_err();
        let ops::OperationError::Qmp { source, .. } = &late else { panic!("{late:?}") };
        let is_known = match source {
            CallError::Deadline { .. } => !is_broken,
            CallError::Closed { .. } => is_broken,
            _ => false,
        };
        assert!(is_known, "{late:?}");
        tokio::time::resume();
    }
}

/// A machine whose guest has moved before its memory, the test's side of its monitor, and its migration as it is found.
async fn moved_early(
    directory: &std::path::Path,
    tasks: &mut JoinSet<Exit>,
) -> (Vm, ops::Migration, Reader, Writer) {
    let (vm, mut reader, mut writer) = supervised_by(directory, tasks).await;
    answer(&mut reader, &mut writer, state("running")).await;
    let active = json!({"status": "postcopy-active"});
    let (found, ()) = tokio::join!(vm.migration(), answer(&mut reader, &mut writer, active));
    let migration = found.unwrap().expect("it goes on");
    (vm, migration, reader, writer)
}

/// A destination that waits for memory answers nothing, and greets nobody.
#[tokio::test]
async fn a_pause_of_postcopy_that_is_not_announced_is_not_waited_for_without_end() {
    for is_broken in [false, true] {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut migration, mut reader, mut writer) = moved_early(directory.path(), &mut tasks).await;
        let mut pausing = std::pin::pin!(migration.pause());
        let monitor = async {
            answer(&mut reader, &mut writer, json!({})).await;
            if is_broken {
                drop((reader, writer));
                vm.qmp().closed().await;
                return None;
            }
            // More than are kept, in one piece.
            let storm = event("MIGRATION", json!({"status": "postcopy-active"})).repeat(2 * EVENTS);
            writer.write_all(storm.as_bytes()).await.unwrap();
            let asked = reader.next_line().await.unwrap().unwrap();
            assert!(asked.contains("query-migrate"), "{asked}");
            Some((reader, writer))
        };
        // Cancel safety: what is awaited is kept.
        let _silent = tokio::select! {
            biased;
            early = pausing.as_mut() => panic!("{early:?}"),
            silent = monitor => silent,
        };
        tokio::time::pause();
        let late = tokio::time::timeout(Duration::from_secs(60), pausing).await;
        let late = late.expect("it has an end").unwrap_err();
        let ops::OperationError::Undecided { source, .. } = &late else { panic!("{late:?}") };
        assert!(source.to_string().contains("migrate-pause"), "{late:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_pause_of_postcopy_is_not_answered_by_an_earlier_break() {
    let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (vm, mut migration, mut reader, mut writer) = moved_early(directory.path(), &mut tasks).await;
    let broken = event("MIGRATION", json!({"status": "postcopy-paused"}));
    writer.write_all(broken.as_bytes()).await.unwrap();
    // By then it has been heard.
    let goes_on = answer(&mut reader, &mut writer, json!({"status": "postcopy-active"}));
    let (progress, ()) = tokio::join!(migration.progress(), goes_on);
    progress.unwrap();
    let mut pausing = std::pin::pin!(migration.pause());
    let told = async {
        answer(&mut reader, &mut writer, json!({})).await;
        // What is answered after it.
        let (client, later) = (vm.qmp(), QueryStatus {});
        let answers = answer(&mut reader, &mut writer, state("running"));
        tokio::join!(client.call(&later), answers).0.unwrap();
    };
    // Cancel safety: what is awaited is kept.
    tokio::select! {
        biased;
        early = pausing.as_mut() => panic!("{early:?}"),
        () = told => {}
    }
    writer.write_all(broken.as_bytes()).await.unwrap();
    pausing.await.unwrap();
}

#[tokio::test]
async fn a_pause_does_not_wait_for_ever_for_an_image_that_is_made() {
    let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let (vm, _reader, _writer) = supervised_by(directory.path(), &mut tasks).await;
    let _image = vm.images.clone().write_owned().await;
    let before = vm.pauses();
    tokio::time::pause();
    let late = vm.pause().await.unwrap_err();
    assert!(matches!(&late, CallError::Deadline { command, .. } if command == "stop"), "{late:?}");
    assert_eq!(vm.pauses(), before, "it stands for nobody");
}

/// That the guest is off, that the monitor is closed, and that the process has ended: each may be heard first.
#[tokio::test]
async fn the_end_is_told_in_any_order() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Sign {
        Told,
        Closed,
        Ended,
    }
    use Sign::{Closed, Ended, Told};
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let told = json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"},
        "timestamp": {"seconds": 1, "microseconds": 0}});
    for order in [
        [Told, Closed, Ended],
        [Told, Ended, Closed],
        [Ended, Told, Closed],
        [Closed, Ended, Told],
        [Closed, Told, Ended],
        [Ended, Closed, Told],
    ] {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line; exit 3"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let (vm, reader, writer) = supervised_in(pid, directory.path(), &mut tasks).await;
        let mut monitor = Some((reader, writer));
        let mut heard = false;
        for sign in order {
            match (sign, &mut monitor) {
                (Told, Some((_, writer))) => {
                    // Nobody may be left who reads it.
                    heard = writer.write_all(format!("{told}\r\n").as_bytes()).await.is_ok();
                }
                // What is closed tells nothing.
                (Told, None) => {}
                (Closed, _) => monitor = None,
                (Ended, _) => {
                    drop(child.stdin.take());
                    // It has ended, and whoever is its parent can still ask how.
                    let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                    waitid(WaitId::Pid(pid), how).unwrap();
                }
            }
        }
        let exit = tokio::time::timeout(Duration::from_secs(20), tasks.join_next()).await;
        let exit = exit.unwrap_or_else(|_| panic!("{order:?}: {:?}", vm.status())).unwrap().unwrap();
        assert_eq!(exit, Exit::Code(3), "{order:?}");
        let status = vm.status();
        let cause = status.shutdown.as_ref().map(ShutdownCause::as_str);
        if heard && order[0] == Told {
            assert_eq!(cause, Some("guest-shutdown"), "{order:?}");
        }
        let _ = child.wait();
    }
}

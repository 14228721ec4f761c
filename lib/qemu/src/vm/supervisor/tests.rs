//! Supervision of a monitor that the test plays itself.

use super::*;
use qmp::{commands::RunState, events::ShutdownCause};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, split};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(600);

type Reader = Lines<BufReader<tokio::io::ReadHalf<UnixStream>>>;
type Writer = tokio::io::WriteHalf<UnixStream>;

/// Answers one command, as a monitor does.
async fn answer(reader: &mut Reader, writer: &mut Writer, with: Value) {
    let command: Value = serde_json::from_str(&reader.next_line().await.unwrap().unwrap()).unwrap();
    let reply = format!("{}\r\n", json!({"return": with, "id": command["id"]}));
    writer.write_all(reply.as_bytes()).await.unwrap();
}

fn state(status: &str) -> Value {
    json!({"status": status, "running": status == "running", "singlestep": false})
}

/// A supervised machine and the test's side of its monitor; the guest runs, in a process that does not end.
async fn supervised_by(directory: &std::path::Path, tasks: &mut JoinSet<Exit>) -> (Vm, Reader, Writer) {
    supervised_in(rustix::process::getpid(), directory, tasks).await
}

/// The same in this process.
async fn supervised_in(
    pid: rustix::process::Pid,
    directory: &std::path::Path,
    tasks: &mut JoinSet<Exit>,
) -> (Vm, Reader, Writer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, mut writer) = split(theirs);
    let mut reader = BufReader::new(reader).lines();
    let monitor = async {
        let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""});
        let greeting = json!({"QMP": {"version": version, "capabilities": []}});
        writer.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
        answer(&mut reader, &mut writer, json!({})).await;
        answer(&mut reader, &mut writer, state("running")).await;
    };
    let (connection, ()) = tokio::join!(greet(ours), monitor);
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
    let event = |name: &str, data: Value| {
        let timestamp = json!({"seconds": 1, "microseconds": 0});
        format!("{}\r\n", json!({"event": name, "data": data, "timestamp": timestamp}))
    };
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
    let event = |name: &str, data: Value| {
        let timestamp = json!({"seconds": 1, "microseconds": 0});
        format!("{}\r\n", json!({"event": name, "data": data, "timestamp": timestamp}))
    };
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

/// A guest that runs is not given up because its monitor is away for a moment, however little patience there is.
#[tokio::test]
async fn a_guest_that_was_not_heard_to_stop_has_time_for_another_connection() {
    let seconds = Duration::from_secs;
    for is_stopped in [false, true] {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
        let mut too_long = std::pin::pin!(vm.stands_too_long(seconds(1)));
        if is_stopped {
            let stop = json!({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 0}});
            writer.write_all(format!("{stop}\r\n").as_bytes()).await.unwrap();
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

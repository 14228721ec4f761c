//! Supervision of a monitor that the test plays itself.

use super::*;
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

#[tokio::test]
async fn an_answer_that_comes_with_the_end_of_its_connection_does_not_hide_that() {
    let state = |status: &str| json!({"status": status, "running": status == "running", "singlestep": false});
    // Which of the two is looked at first is drawn by lot.
    for _ in 0..64 {
        let directory = tempfile::tempdir().unwrap();
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
        // Something that does not end; nobody listens at its place.
        let process = Process::open(rustix::process::getpid()).unwrap();
        let logs = crate::logs::Logs::default().within(directory.path());
        let record = Record::of(uuid::Uuid::nil(), &process, directory.path(), logs, &[]).unwrap();
        let supervision = Supervision { interval: LONG, patience: LONG };
        let (vm, supervisor) = supervised(connection.unwrap(), process, Tpm::None, record, supervision);
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor);

        answer(&mut reader, &mut writer, state("paused")).await;
        drop((reader, writer));
        vm.qmp().closed().await;
        let Status { run_state, responsive, .. } = vm.status();
        assert!(matches!(&responsive, Responsive::No(why) if why.contains("closed")), "{responsive:?}");
        assert_eq!(run_state, RunState::Paused, "what it said last");
    }
}

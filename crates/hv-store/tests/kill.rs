//! The process killed at random points: what it has acknowledged is there, and no transaction is half there.

use hv_store::embedded::{Embedded, Options};
use hv_store::{List, Op, Store, Txn};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const KILLS: u64 = 200;
const PATH: &str = "HV_STORE_KILL_PATH";

fn options() -> Options {
    // Small, so that folding is among what gets killed.
    Options { retain_revisions: Some(40) }
}

/// Not a test of its own: what the test below starts and kills.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells its child where to write")]
    let Ok(path) = std::env::var(PATH) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open(path, options()).await.unwrap();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8_u64 {
            let store = store.clone();
            clients.spawn(async move {
                for number in 0.. {
                    let value = format!("{client}.{number}");
                    let put = |side| Op::Put {
                        key: format!("/{side}/{value}"),
                        value: value.clone().into(),
                        lease: None,
                    };
                    store.txn(Txn { then: vec![put("left"), put("right")], ..Txn::default() }).await.unwrap();
                    // One write call a line, so that a kill cannot tear two apart.
                    std::io::stderr().lock().write_all(format!("acknowledged {value}\n").as_bytes()).unwrap();
                }
            });
        }
        clients.join_all().await;
    });
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut acknowledged_in_all = 0;
    for kill in 0..KILLS {
        let acknowledged = write_and_kill(&path, kill);
        acknowledged_in_all += acknowledged.len();
        let store = Embedded::open(&path, options()).await.unwrap();
        let values = async |prefix: &str| {
            let page = store.list(List { prefix: prefix.into(), ..List::default() }).await.unwrap();
            let pair = |item: hv_store::KeyValue| {
                (String::from_utf8(item.value.to_vec()).unwrap(), item.mod_revision)
            };
            page.items.into_iter().map(pair).collect::<BTreeSet<_>>()
        };
        let left = values("/left/").await;
        assert_eq!(left, values("/right/").await, "kill {kill}: half a transaction");
        let present: BTreeSet<_> = left.into_iter().map(|(value, _)| value).collect();
        let lost: Vec<_> = acknowledged.difference(&present).collect();
        assert!(lost.is_empty(), "kill {kill}: lost {lost:?}");
        store.txn(Txn { then: vec![Op::DeletePrefix("/".into())], ..Txn::default() }).await.unwrap();
        store.close().await;
    }
    assert!(acknowledged_in_all > KILLS as usize, "the children hardly wrote: {acknowledged_in_all}");
}

/// Lets a child write until it has acknowledged some, kills it, and returns all that it had acknowledged.
#[expect(clippy::unwrap_used, reason = "a part of a test")]
fn write_and_kill(path: &Path, kill: u64) -> BTreeSet<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // From none, which kills the opening, to some hundreds.
    let enough = (kill * 7919 % 150) as usize;
    let mut said: Vec<_> = lines.by_ref().take(enough).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(lines);
    said.iter().map(|line| line.strip_prefix("acknowledged ").expect(line).to_owned()).collect()
}

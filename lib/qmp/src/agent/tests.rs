//! An agent in memory and a clock that stands until all wait. Here freezing: whose freeze it is, and that it always ends.

mod files;
mod programs;

use super::{
    Agent, AgentError, Frozen, Leftovers, Options, agent,
    commands::{Command as _, FsfreezeFreeze, FsfreezeStatus, FsfreezeThaw, GetHostName, Ping},
};
use crate::CloseReason;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream},
    task::JoinSet,
};

const LIMIT: Duration = Duration::from_secs(30);

/// What the guest is doing.
#[derive(Default)]
struct Guest {
    frozen: AtomicBool,
    /// Thaws are refused.
    stuck: AtomicBool,
    /// Nobody answers anything.
    silent: AtomicBool,
    /// This command is carried out only when told to.
    held: Mutex<&'static str>,
    go_on: tokio::sync::Notify,
    /// The handles of open files.
    files: Mutex<BTreeSet<usize>>,
    /// The program has ended.
    ended: AtomicBool,
    /// What it was asked, without the marks and the numbers that it answered.
    asked: Mutex<Vec<String>>,
}

impl Guest {
    fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    fn hold(&self, name: &'static str) {
        *self.held.lock().unwrap() = name;
    }

    fn open_files(&self) -> usize {
        self.files.lock().unwrap().len()
    }

    /// Its files are closed, and its handles begin anew.
    fn reboot(&self) {
        self.files.lock().unwrap().clear();
        self.asked.lock().unwrap().clear();
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }

    /// Answers like an agent until the channel closes.
    async fn serve(self: Arc<Self>, stream: DuplexStream) {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.unwrap_or(0) > 0 {
            let start = line.iter().rposition(|byte| *byte == 0xff).map_or(0, |at| at + 1);
            let request: Value = serde_json::from_slice(&line[start..]).unwrap();
            line.clear();
            let name = request["execute"].as_str().unwrap().to_owned();
            if self.silent.load(Ordering::Relaxed) {
                self.asked.lock().unwrap().push(name);
                continue;
            }
            if name == "guest-sync-delimited" {
                let answer = format!("{}\n", json!({"return": request["arguments"]["id"]}));
                let _ = writer.write_all(&[&[0xff], answer.as_bytes()].concat()).await;
                continue;
            }
            self.asked.lock().unwrap().push(name.clone());
            let refused = json!({"error": {"class": "GenericError", "desc": "no"}});
            let held = *self.held.lock().unwrap() == name;
            if held {
                self.go_on.notified().await;
            }
            let answer = match name.as_str() {
                file if file.starts_with("guest-file-") && self.is_frozen() => refused,
                "guest-fsfreeze-status" => {
                    json!({"return": if self.is_frozen() { "frozen" } else { "thawed" }})
                }
                "guest-fsfreeze-freeze" if !self.frozen.swap(true, Ordering::Relaxed) => json!({"return": 2}),
                "guest-fsfreeze-thaw" => match self.stuck.load(Ordering::Relaxed) {
                    true => refused,
                    false => json!({"return": 2 * u8::from(self.frozen.swap(false, Ordering::Relaxed))}),
                },
                "guest-file-open" => {
                    let handle = self.asked(&name);
                    self.files.lock().unwrap().insert(handle);
                    json!({"return": handle})
                }
                "guest-file-close" => match request["arguments"]["handle"].as_u64() {
                    Some(handle) if self.files.lock().unwrap().remove(&(handle as usize)) => {
                        json!({"return": {}})
                    }
                    _ => refused,
                },
                "guest-file-write" => json!({"return": {"count": 3, "eof": false}}),
                "guest-exec" => json!({"return": {"pid": 7}}),
                // It is forgotten with its end.
                "guest-exec-status" if self.ended.swap(false, Ordering::Relaxed) => {
                    json!({"return": {"exited": true, "exitcode": 3, "out-data": "b3V0"}})
                }
                "guest-exec-status" => json!({"return": {"exited": false}}),
                "guest-ping" | "guest-file-flush" => json!({"return": {}}),
                _ => refused,
            };
            // A reader that has left needs no answer.
            let _ = writer.write_all(format!("{answer}\n").as_bytes()).await;
        }
    }
}

struct World {
    guest: Arc<Guest>,
    agent: Agent,
    tasks: JoinSet<()>,
}

fn connected(guest: &Arc<Guest>, options: Options, tasks: &mut JoinSet<()>) -> Agent {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (agent, driver) = agent(ours, options);
    tasks.spawn(async { drop(driver.await) });
    tasks.spawn(guest.clone().serve(theirs));
    agent
}

fn world() -> World {
    let (guest, mut tasks) = (Arc::new(Guest::default()), JoinSet::new());
    let agent = connected(&guest, Options::default(), &mut tasks);
    World { guest, agent, tasks }
}

async fn freeze(agent: &Agent) -> Frozen {
    agent.freeze(None, LIMIT).await.unwrap()
}

fn is_over(outcome: Result<u64, AgentError>) -> bool {
    matches!(outcome, Err(AgentError::FreezeOver))
}

/// Polls once, as a runtime does that is then told to drop it.
async fn once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    let mut future = Some(future);
    std::future::poll_fn(move |context| Poll::Ready(future.take().expect("once").poll(context))).await
}

#[tokio::test(start_paused = true)]
async fn a_guard_whose_limit_has_passed_leaves_another_freeze_alone() {
    let World { guest, agent, tasks: _tasks } = world();
    let (early, dropped) = (freeze(&agent).await, LIMIT + Duration::from_secs(1));
    tokio::time::sleep(dropped).await;
    assert!(!guest.is_frozen(), "the limit thaws");
    let later = freeze(&agent).await;
    assert!(is_over(early.thaw().await), "it was thawed before");
    assert!(guest.is_frozen(), "the freeze of another");
    let forgotten = later.thaw().await.unwrap();
    assert_eq!(forgotten, 2);
    // The same when it is dropped.
    let early = freeze(&agent).await;
    tokio::time::sleep(dropped).await;
    let later = freeze(&agent).await;
    drop(early);
    agent.call(&Ping {}).await.unwrap();
    assert!(guest.is_frozen());
    assert_eq!(later.thaw().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thaw_that_meets_the_one_of_the_limit_says_that_the_freeze_was_over() {
    let World { guest, agent, tasks: _tasks } = world();
    guest.hold("guest-fsfreeze-thaw");
    let frozen = freeze(&agent).await;
    tokio::time::sleep(LIMIT + Duration::from_secs(1)).await;
    assert_eq!((guest.is_frozen(), guest.asked("guest-fsfreeze-thaw")), (true, 1), "the limit has asked");
    let answers = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        guest.go_on.notify_one();
    };
    assert!(is_over(tokio::join!(frozen.thaw(), answers).0));
    // One that failed is tried again, and is over all the same.
    tokio::time::sleep(Duration::from_secs(1)).await;
    guest.hold("");
    let frozen = freeze(&agent).await;
    guest.stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(LIMIT + Duration::from_millis(1500)).await;
    assert!(guest.is_frozen());
    guest.stuck.store(false, Ordering::Relaxed);
    assert!(is_over(frozen.thaw().await));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!guest.is_frozen(), "tried until it is done");
}

#[tokio::test(start_paused = true)]
async fn a_freeze_whose_caller_leaves_after_the_answer_came_is_thawed() {
    let World { guest, agent, tasks: _tasks } = world();
    let mut freezing = Box::pin(agent.freeze(None, Duration::from_secs(3600)));
    assert!(once(freezing.as_mut()).await.is_pending());
    // The answer arrives and lies there: nobody polls.
    while !guest.is_frozen() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(freezing);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!guest.is_frozen());
    agent
        .call(&GetHostName {})
        .await
        .map(drop)
        .unwrap_err()
        .refusal()
        .expect("taken and refused by the guest");
}

#[tokio::test(start_paused = true)]
async fn a_freeze_whose_caller_leaves_before_it_was_sent_leaves_nothing_to_thaw() {
    let World { guest, agent, tasks: _tasks } = world();
    guest.silent.store(true, Ordering::Relaxed);
    let freezing = agent.freeze(None, LIMIT);
    assert!(tokio::time::timeout(Duration::from_secs(1), freezing).await.is_err());
    guest.silent.store(false, Ordering::Relaxed);
    let refused = agent.call(&GetHostName {}).await.unwrap_err();
    assert!(matches!(refused, AgentError::Absent { .. }), "{refused}: the question before was lost");
    let refused = agent.call(&GetHostName {}).await.unwrap_err();
    assert!(refused.refusal().is_some(), "{refused}: taken and refused by the guest");
    assert_eq!((guest.asked("guest-fsfreeze-freeze"), guest.asked("guest-fsfreeze-thaw")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_has_left_is_sent_nothing_but_a_number() {
    let World { guest, agent, tasks: _tasks } = world();
    agent.call(&Ping {}).await.unwrap();
    guest.silent.store(true, Ordering::Relaxed);
    let in_time = Options::default().patience.agent + Duration::from_secs(1);
    let absent = tokio::time::timeout(in_time, agent.freeze(None, LIMIT)).await.unwrap().unwrap_err();
    assert!(matches!(absent, AgentError::Absent { .. }), "{absent}");
    guest.silent.store(false, Ordering::Relaxed);
    agent.call(&Ping {}).await.unwrap();
    // What harms nobody follows an answer at once, but not one of a while ago.
    guest.silent.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let absent = agent.call(&Ping {}).await.unwrap_err();
    assert!(matches!(absent, AgentError::Absent { .. }), "{absent}");
    assert_eq!((guest.asked("guest-fsfreeze-freeze"), guest.asked("guest-ping")), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_connection_left_frozen_is_thawed_on_opening_if_asked_for() {
    let World { guest, agent, mut tasks } = world();
    let held = freeze(&agent).await;
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    assert!(guest.is_frozen() && held.thaw().await.is_err(), "with its connection a guard can do nothing");
    let _left = connected(&guest, Options::default(), &mut tasks);
    tokio::time::sleep(LIMIT).await;
    assert!(guest.is_frozen(), "not asked for");
    let options = Options { leftovers: Leftovers::Thaw, ..Options::default() };
    let agent = connected(&guest, options, &mut tasks);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!guest.is_frozen());
    // A freeze of its own is none that was left.
    let frozen = freeze(&agent).await;
    agent.call(&Ping {}).await.unwrap();
    assert_eq!(frozen.thaw().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_call_goes_round_the_guard() {
    let World { guest, agent, tasks: _tasks } = world();
    let refused = agent.call(&FsfreezeFreeze {}).await.unwrap_err();
    assert!(matches!(refused, AgentError::Guarded { .. }), "{refused}");
    assert!(!guest.is_frozen());
    let frozen = freeze(&agent).await;
    let refused = agent.call(&FsfreezeThaw {}).await.unwrap_err();
    assert!(matches!(refused, AgentError::Guarded { .. }), "{refused}");
    let leftover = agent.thaw_leftover().await.unwrap_err();
    assert!(matches!(leftover, AgentError::Frozen { .. }), "{leftover}");
    let raw = agent.execute(FsfreezeThaw::FACTS, Map::new()).await.unwrap_err();
    assert!(matches!(raw, AgentError::Frozen { .. }), "{raw}");
    agent.call(&FsfreezeStatus {}).await.unwrap();
    assert!(guest.is_frozen());
    assert_eq!(frozen.thaw().await.unwrap(), 2);
}

/// As QEMU ends the channel of a guest with something of ours unread.
#[tokio::test]
async fn a_reset_is_the_same_end_as_an_orderly_one() {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let (agent, driver) = agent(ours, Options::default());
    let leaves = async {
        theirs.readable().await.unwrap();
        drop(theirs);
    };
    let (asked, reason, ()) = tokio::join!(agent.call(&Ping {}), driver, leaves);
    assert!(matches!(*reason, CloseReason::Ended), "{reason:?}");
    assert!(matches!(asked, Err(AgentError::Closed { .. })), "{asked:?}");
}

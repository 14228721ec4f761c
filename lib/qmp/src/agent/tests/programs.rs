//! The end of a program, which the agent tells once.

use super::{Guest, World, freeze, once, world};
use crate::agent::{Agent, AgentError, End, ExecError, Finished, Program, Started};
use std::{sync::atomic::Ordering, time::Duration};

const MOMENT: Duration = Duration::from_secs(1);

async fn started(agent: &Agent) -> Started {
    agent.start(&Program::new("/bin/true")).await.unwrap()
}

fn end(guest: &Guest) {
    guest.ended.store(true, Ordering::Relaxed);
}

fn expected() -> Finished {
    Finished { end: End::Status(3), stdout: b"out".to_vec(), stderr: Vec::new(), truncated: false }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_program_is_not_lost_with_who_waited_for_it() {
    // The waiting one leaves before the agent answers, or when its answer lies there.
    for slow in [true, false] {
        let World { guest, agent, tasks: _tasks } = world();
        let started = started(&agent).await;
        end(&guest);
        guest.hold(if slow { "guest-exec-status" } else { "" });
        let mut waiting = Box::pin(started.finished());
        assert!(once(waiting.as_mut()).await.is_pending());
        tokio::time::sleep(MOMENT).await;
        drop(waiting);
        guest.go_on.notify_one();
        assert_eq!(started.finished().await.unwrap(), expected(), "slow: {slow}");
        assert_eq!(started.poll().await.unwrap(), Some(expected()), "as often as somebody asks");
        assert_eq!((guest.asked("guest-exec-status"), agent.counters().syncs), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_program_waits_over_a_freeze() {
    let World { guest, agent, tasks: _tasks } = world();
    let program = Program::new("/bin/true");
    let mut running = Box::pin(agent.exec(&program));
    assert!(once(running.as_mut()).await.is_pending());
    assert!(tokio::time::timeout(MOMENT, running.as_mut()).await.is_err());
    let frozen = freeze(&agent).await;
    end(&guest);
    assert!(tokio::time::timeout(MOMENT, running.as_mut()).await.is_err(), "nothing is asked meanwhile");
    frozen.thaw().await.unwrap();
    assert_eq!(running.await.unwrap(), expected());
    // One that is never thawed ends the wait.
    let mut running = Box::pin(agent.exec(&program));
    assert!(tokio::time::timeout(MOMENT, running.as_mut()).await.is_err());
    guest.stuck.store(true, Ordering::Relaxed);
    let _frozen = freeze(&agent).await;
    let waited = tokio::time::timeout(3600 * MOMENT, running).await.expect("it ends").unwrap_err();
    assert!(matches!(waited, ExecError::Agent(AgentError::Frozen { .. })), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_with_a_limit_again_and_again_sees_the_end() {
    let World { guest, agent, tasks: _tasks } = world();
    let started = started(&agent).await;
    let ends = async {
        tokio::time::sleep(3 * MOMENT).await;
        end(&guest);
    };
    let sees = async {
        // Shorter than the agent takes to answer.
        guest.hold("guest-exec-status");
        loop {
            if let Ok(finished) = tokio::time::timeout(MOMENT / 4, started.finished()).await {
                break finished;
            }
            guest.go_on.notify_one();
        }
    };
    let finished = tokio::time::timeout(20 * MOMENT, async { tokio::join!(sees, ends).0 }).await;
    assert_eq!(finished.expect("it ends").unwrap(), expected());
}

#[tokio::test(start_paused = true)]
async fn two_who_wait_at_once_ask_once_and_are_both_told() {
    let World { guest, agent, tasks: _tasks } = world();
    let started = started(&agent).await;
    guest.hold("guest-exec-status");
    end(&guest);
    let mut leaves = Box::pin(started.poll());
    assert!(once(leaves.as_mut()).await.is_pending());
    let answers = async {
        tokio::time::sleep(MOMENT).await;
        drop(leaves);
        guest.go_on.notify_one();
    };
    let (one, other, ()) = tokio::join!(started.poll(), started.finished(), answers);
    assert_eq!((one.unwrap(), other.unwrap()), (Some(expected()), expected()));
    assert_eq!(guest.asked("guest-exec-status"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_poll_tells_how_it_is_now() {
    let World { guest, agent, tasks: _tasks } = world();
    let started = started(&agent).await;
    for silent in [false, true] {
        guest.silent.store(silent, Ordering::Relaxed);
        let mut asking = Box::pin(started.poll());
        assert!(once(asking.as_mut()).await.is_pending());
        // It runs, or nobody answers.
        tokio::time::sleep(30 * MOMENT).await;
        drop(asking);
    }
    guest.silent.store(false, Ordering::Relaxed);
    end(&guest);
    assert_eq!(started.poll().await.unwrap(), Some(expected()));
}

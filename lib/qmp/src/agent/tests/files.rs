//! What is opened in a guest is closed, whoever has left meanwhile.

use super::{World, freeze, once, world};
use crate::agent::{
    Agent, AgentError, FileError, GuestFile,
    commands::{GetHostName, Ping},
};
use std::{sync::atomic::Ordering, time::Duration};

const MOMENT: Duration = Duration::from_secs(1);

async fn file(agent: &Agent) -> GuestFile {
    agent.open("/etc/hosts", "r").await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_file_whose_opener_has_left_is_closed() {
    let World { guest, agent, tasks: _tasks } = world();
    // Left before the agent answers.
    guest.hold("guest-file-open");
    assert!(tokio::time::timeout(MOMENT, file(&agent)).await.is_err());
    assert_eq!((guest.asked("guest-file-open"), guest.open_files()), (1, 0));
    guest.hold("");
    guest.go_on.notify_one();
    agent.call(&Ping {}).await.unwrap();
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.open_files(), guest.asked("guest-file-close")), (0, 1));
    assert_eq!(agent.counters().syncs, 1, "the place in the stream was never lost");
    // Left when the answer lies there.
    let mut opening = Box::pin(file(&agent));
    assert!(once(opening.as_mut()).await.is_pending());
    while guest.open_files() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(MOMENT).await;
    drop(opening);
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.open_files(), guest.asked("guest-file-close")), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_nobody_wants_any_more_is_not_opened() {
    let World { guest, agent, tasks: _tasks } = world();
    guest.hold("guest-get-host-name");
    let mut busy = Box::pin(agent.call(&GetHostName {}));
    assert!(once(busy.as_mut()).await.is_pending());
    assert!(tokio::time::timeout(MOMENT, file(&agent)).await.is_err());
    guest.go_on.notify_one();
    assert!(busy.await.unwrap_err().refusal().is_some());
    agent.call(&Ping {}).await.unwrap();
    assert_eq!(guest.asked("guest-file-open"), 0);
}

#[tokio::test(start_paused = true)]
async fn files_that_are_done_with_during_a_freeze_are_closed_after_it() {
    let World { guest, agent, tasks: _tasks } = world();
    let (dropped, closed) = (file(&agent).await, file(&agent).await);
    let frozen = freeze(&agent).await;
    drop(dropped);
    let refused = closed.close().await.unwrap_err();
    assert!(matches!(refused, AgentError::Frozen { .. }), "{refused}");
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.open_files(), guest.asked("guest-file-close")), (2, 0));
    frozen.thaw().await.unwrap();
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.open_files(), guest.asked("guest-file-close")), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_freeze_that_never_was_keeps_no_file_open() {
    let World { guest, agent, tasks: _tasks } = world();
    let file = file(&agent).await;
    guest.hold("guest-get-host-name");
    let mut busy = Box::pin(agent.call(&GetHostName {}));
    assert!(once(busy.as_mut()).await.is_pending());
    let mut freezing = Box::pin(agent.freeze(None, super::LIMIT));
    assert!(once(freezing.as_mut()).await.is_pending());
    drop(file);
    tokio::time::sleep(MOMENT).await;
    drop((busy, freezing));
    guest.go_on.notify_one();
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.open_files(), guest.asked("guest-fsfreeze-freeze")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_closed_once_whenever_its_closer_leaves() {
    for sent in [false, true] {
        let World { guest, agent, tasks: _tasks } = world();
        let mut closing = Box::pin(file(&agent).await.close());
        guest.hold(if sent { "guest-file-close" } else { "guest-get-host-name" });
        // Between the flush and the close there is another call.
        assert!(once(closing.as_mut()).await.is_pending());
        let mut between = Box::pin(agent.call(&GetHostName {}));
        assert!(once(between.as_mut()).await.is_pending());
        tokio::time::sleep(MOMENT).await;
        assert!(once(closing.as_mut()).await.is_pending());
        tokio::time::sleep(MOMENT).await;
        assert_eq!(guest.asked("guest-file-close"), usize::from(sent));
        drop(closing);
        guest.go_on.notify_one();
        assert!(between.await.unwrap_err().refusal().is_some());
        tokio::time::sleep(MOMENT).await;
        assert_eq!((guest.open_files(), guest.asked("guest-file-close")), (0, 1), "sent: {sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_found_no_agent_is_sent_when_one_answers() {
    let World { guest, agent, tasks: _tasks } = world();
    let (dropped, closed) = (file(&agent).await, file(&agent).await);
    tokio::time::sleep(2 * MOMENT).await;
    guest.silent.store(true, Ordering::Relaxed);
    drop(dropped);
    let absent = closed.close().await.unwrap_err();
    assert!(matches!(absent, AgentError::Absent { .. }), "{absent}");
    tokio::time::sleep(10 * MOMENT).await;
    guest.silent.store(false, Ordering::Relaxed);
    tokio::time::sleep(10 * MOMENT).await;
    assert_eq!(guest.asked("guest-file-close"), 0, "nobody has asked whether an agent is there");
    agent.call(&Ping {}).await.unwrap();
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.open_files(), guest.asked("guest-file-close")), (0, 2));
}

/// The agent of a guest that was started anew gives the same handles again.
#[tokio::test(start_paused = true)]
async fn a_file_of_before_a_reboot_is_not_taken_for_one_of_after_it() {
    let World { guest, agent, tasks: _tasks } = world();
    let (left, dropped, closed) = (file(&agent).await, file(&agent).await, file(&agent).await);
    tokio::time::sleep(2 * MOMENT).await;
    guest.silent.store(true, Ordering::Relaxed);
    drop(left);
    tokio::time::sleep(10 * MOMENT).await;
    guest.silent.store(false, Ordering::Relaxed);
    guest.reboot();
    let files = [file(&agent).await, file(&agent).await, file(&agent).await];
    let gone = closed.write(b"abc").await.unwrap_err();
    assert!(matches!(gone, FileError::Agent(AgentError::Gone { .. })), "{gone}");
    assert_eq!(guest.asked("guest-file-write"), 0, "into another file");
    files[0].write(b"abc").await.unwrap();
    drop(dropped);
    let gone = closed.close().await.unwrap_err();
    assert!(matches!(gone, AgentError::Gone { .. }), "{gone}");
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.open_files(), guest.asked("guest-file-close")), (3, 0));
    drop(files);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(guest.open_files(), 0);
}

/// What shows that the guest was started anew is answered before them.
#[tokio::test(start_paused = true)]
async fn what_waits_to_be_done_with_a_file_of_before_a_reboot_is_not_done_with_another() {
    let World { guest, agent, tasks: _tasks } = world();
    let (dropped, written, closed) = (file(&agent).await, file(&agent).await, file(&agent).await);
    guest.reboot();
    guest.hold("guest-file-open");
    let mut opening = Box::pin(async { [file(&agent).await, file(&agent).await, file(&agent).await] });
    assert!(once(opening.as_mut()).await.is_pending());
    drop(dropped);
    let mut writing = Box::pin(written.write(b"abc"));
    assert!(once(writing.as_mut()).await.is_pending());
    let mut closing = Box::pin(closed.close());
    assert!(once(closing.as_mut()).await.is_pending());
    tokio::time::sleep(MOMENT).await;
    guest.hold("");
    guest.go_on.notify_one();
    let files = opening.await;
    let gone = writing.await.unwrap_err();
    assert!(matches!(gone, FileError::Agent(AgentError::Gone { .. })), "{gone}");
    let gone = closing.await.unwrap_err();
    assert!(matches!(gone, AgentError::Gone { .. }), "{gone}");
    tokio::time::sleep(MOMENT).await;
    assert_eq!((guest.asked("guest-file-write"), guest.asked("guest-file-close")), (0, 0));
    assert_eq!((guest.asked("guest-file-flush"), guest.open_files()), (0, 3));
    drop(files);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(guest.open_files(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_a_connection_is_the_closing_of_its_files() {
    for silent in [false, true] {
        let World { guest, agent, mut tasks } = world();
        let file = file(&agent).await;
        tokio::time::sleep(2 * MOMENT).await;
        guest.silent.store(silent, Ordering::Relaxed);
        drop((agent, file));
        let ended = async { while tasks.join_next().await.is_some() {} };
        tokio::time::timeout(10 * MOMENT, ended).await.expect("it ends");
        assert_eq!(guest.open_files(), usize::from(silent));
    }
}

//! Many machines under one roof.

use super::*;
use qemu::{
    Ladder, Rung,
    manager::{Manager, ManagerError, State},
};
use std::sync::{Arc, Mutex};

fn manager() -> (Manager, Arc<Mutex<JoinSet<Exit>>>) {
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let spawner = tasks.clone();
    let manager = Manager::new(Box::new(move |supervisor| {
        spawner.lock().unwrap().spawn(supervisor);
    }));
    (manager, tasks)
}

#[tokio::test]
async fn machines_live_their_lives_and_a_silent_one_delays_none() {
    let test = "machines_live_their_lives_and_a_silent_one_delays_none";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directories = [scratch(), scratch()];
    let ids = directories.each_ref().map(|directory| {
        let place = directory.path().to_owned();
        let config = config();
        let id = config.uuid;
        manager.create(id, move || spec(&place, config.clone())).unwrap();
        id
    });
    let [one, two] = ids;
    assert_eq!(manager.state(one).unwrap(), State::Stopped);
    assert!(matches!(manager.create(one, || unreachable!()), Err(ManagerError::Exists(_))));
    assert!(matches!(manager.pause(one).await, Err(ManagerError::Stopped(_))));
    assert!(matches!(manager.state(Uuid::nil()), Err(ManagerError::NoMachine(_))));
    let mut starting = Box::pin(manager.start(one));
    tokio::select! {
        biased;
        _ = &mut starting => panic!("it takes longer"),
        () = std::future::ready(()) => assert_eq!(manager.state(one).unwrap(), State::Creating),
    }
    starting.await.unwrap();
    manager.start(two).await.unwrap();
    assert_eq!(manager.states().into_values().collect::<Vec<_>>(), [State::Running; 2]);
    assert!(matches!(manager.start(one).await, Err(ManagerError::Started(_))));
    manager.pause(one).await.unwrap();
    assert_eq!(manager.state(one).unwrap(), State::Paused);
    manager.resume(one).await.unwrap();
    manager.reset(one).await.unwrap();
    assert_eq!(manager.state(one).unwrap(), State::Running);
    // One does not answer: only that one.
    let silent = manager.vm(one).unwrap();
    signal(&silent, rustix::process::Signal::STOP);
    until(&silent, "silence", |status| status.responsive != Responsive::Yes).await;
    assert_eq!((manager.state(one).unwrap(), manager.state(two).unwrap()), (State::Unknown, State::Running));
    let stuck = manager.pause(one);
    tokio::pin!(stuck);
    tokio::select! {
        biased;
        outcome = &mut stuck => panic!("{outcome:?}"),
        outcome = async { manager.pause(two).await?; manager.resume(two).await } => outcome.unwrap(),
    }
    // Ended at once, though a call for it is going on; that one fails.
    let (ended, stuck) = tokio::join!(manager.destroy(one), stuck);
    ended.unwrap();
    assert!(stuck.is_err());
    assert!(matches!(manager.state(one), Err(ManagerError::NoMachine(_))));
    // Again, after an orderly end.
    let moment = Duration::from_millis(100);
    let ladder = || Ladder { button: moment, quit: LONG, ..Ladder::default() };
    assert_eq!(manager.shutdown(two, ladder()).await.unwrap(), (Rung::Quit, Exit::Code(0)));
    assert_eq!(manager.state(two).unwrap(), State::Stopped);
    manager.start(two).await.unwrap();
    assert_eq!(manager.state(two).unwrap(), State::Running);
    manager.destroy(two).await.unwrap();
    assert!(manager.states().is_empty());
}

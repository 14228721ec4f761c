//! Many machines under one roof.

use super::*;
use crate::polled::polled;
use qemu::{
    Ladder, Rung,
    manager::{Manager, ManagerError, State},
};
use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

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
    let mut ending = Box::pin(manager.shutdown(two, ladder()));
    tokio::select! {
        biased;
        _ = &mut ending => panic!("it takes longer"),
        () = std::future::ready(()) => assert_eq!(manager.state(two).unwrap(), State::ShuttingDown),
    }
    assert_eq!(ending.await.unwrap(), (Rung::Quit, Exit::Code(0)));
    assert_eq!(manager.state(two).unwrap(), State::Stopped);
    manager.start(two).await.unwrap();
    assert_eq!(manager.state(two).unwrap(), State::Running);
    manager.destroy(two).await.unwrap();
    assert!(manager.states().is_empty());
}

/// The processes of this identity.
fn processes(id: Uuid) -> usize {
    let wanted = id.to_string();
    let cmdlines = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    let of_it = |path: &PathBuf| {
        let text = fs::read(path).unwrap_or_default();
        text.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes())
    };
    cmdlines.filter(of_it).count()
}

#[tokio::test]
async fn a_start_that_is_dropped_anywhere_leaves_no_process_and_can_be_repeated() {
    let test = "a_start_that_is_dropped_anywhere_leaves_no_process_and_can_be_repeated";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let (place, config) = (directory.path().to_owned(), config());
    let id = config.uuid;
    manager.create(id, move || spec(&place, config.clone())).unwrap();
    let mut times = 0_u64;
    loop {
        let done = polled(times, manager.start(id)).await;
        match done {
            None => assert_eq!(manager.state(id).unwrap(), State::Stopped, "dropped at poll {times}"),
            Some(started) => {
                started.unwrap_or_else(|error| panic!("after {times} polls: {error:?}"));
                break;
            }
        }
        times += 1;
    }
    assert!(times > 2, "{times}");
    assert_eq!(processes(id), 1);
    manager.destroy(id).await.unwrap();
    assert_eq!(processes(id), 0);
}

#[tokio::test]
async fn a_start_that_is_dropped_before_its_guest_runs_can_be_repeated() {
    let test = "a_start_that_is_dropped_before_its_guest_runs_can_be_repeated";
    if qemu_missing(test) {
        return;
    }
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let supervised = Arc::new(AtomicBool::new(false));
    let (spawner, seen) = (tasks.clone(), supervised.clone());
    let manager = Manager::new(Box::new(move |supervisor| {
        seen.store(true, Ordering::Relaxed);
        spawner.lock().unwrap().spawn(supervisor);
    }));
    let directory = scratch();
    let (place, config) = (directory.path().to_owned(), config());
    let id = config.uuid;
    manager.create(id, move || spec(&place, config.clone())).unwrap();
    let mut starting = Box::pin(manager.start(id));
    std::future::poll_fn(|context| {
        assert!(starting.as_mut().poll(context).is_pending(), "QEMU has to be told first");
        if supervised.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(starting);
    assert_eq!(manager.state(id).unwrap(), State::Stopped);
    manager.start_paused(id).await.unwrap();
    assert_eq!((manager.state(id).unwrap(), processes(id)), (State::Paused, 1));
    manager.destroy(id).await.unwrap();
    assert_eq!(processes(id), 0);
}

#[tokio::test]
async fn a_start_that_waits_behind_a_destroy_starts_nothing() {
    let test = "a_start_that_waits_behind_a_destroy_starts_nothing";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let (place, config) = (directory.path().to_owned(), config());
    let id = config.uuid;
    manager.create(id, move || spec(&place, config.clone())).unwrap();
    // Three in turn: the first is starting, the second ends it, the third waits.
    let (first, destroyed, third) = tokio::join!(manager.start(id), manager.destroy(id), manager.start(id));
    destroyed.unwrap();
    assert!(first.is_err(), "ended while it was starting");
    assert!(matches!(third, Err(ManagerError::NoMachine(_))), "{third:?}");
    assert_eq!(processes(id), 0);
    assert!(manager.states().is_empty());
}

#[tokio::test]
async fn a_machine_whose_record_is_none_is_taken_over_all_the_same() {
    let test = "a_machine_whose_record_is_none_is_taken_over_all_the_same";
    if qemu_missing(test) {
        return;
    }
    let directory = scratch();
    let run = directory.path().join("run");
    let machine = config();
    let (vm, tasks) = started(spec(directory.path(), machine.clone())).await;
    let written = vm.record().clone();
    drop((vm, tasks));
    let gone = qemu::Record { pid: std::process::id(), ..written.clone() };
    let broken: [&dyn Fn(); 3] = [
        &|| fs::write(run.join(qemu::Record::FILE), "{\"uuid\": \"").unwrap(),
        &|| fs::write(run.join(qemu::Record::FILE), "{}").unwrap(),
        &|| gone.save(&run).unwrap(),
    ];
    for break_it in broken {
        break_it();
        let (manager, tasks) = manager();
        let (place, config) = (directory.path().to_owned(), machine.clone());
        let make = move || spec(&place, config.clone());
        let state = manager.adopt(machine.uuid, &run, Supervision::default(), LONG, make).await.unwrap();
        assert_eq!(state, State::Paused);
        assert_eq!(manager.vm(machine.uuid).unwrap().record().pid, written.pid);
        tasks.lock().unwrap().abort_all();
    }
    let (manager, _tasks) = manager();
    let (place, config) = (directory.path().to_owned(), machine.clone());
    let make = move || spec(&place, config.clone());
    manager.adopt(machine.uuid, &run, Supervision::default(), LONG, make).await.unwrap();
    // A call that is dropped before it has ended the machine leaves one that can be used, or destroyed.
    assert!(polled(0, manager.destroy(machine.uuid)).await.is_none());
    let state = manager.state(machine.uuid).unwrap();
    assert!(matches!(
        manager.pause(machine.uuid).await,
        Ok(()) | Err(ManagerError::Stopped(_) | ManagerError::Call { .. })
    ));
    assert_ne!(state, State::ShuttingDown);
    manager.destroy(machine.uuid).await.unwrap();
    assert!(matches!(manager.state(machine.uuid), Err(ManagerError::NoMachine(_))));
}

//! Many machines under one roof.

use super::*;
use crate::polled::polled;
use qemu::{
    Ladder, Rung,
    config::Address,
    manager::{Manager, ManagerError, State},
    vm::{FoundJob, Notes, Pulled, Served},
};
use qmp::{
    CallError,
    commands::{Migrate, MigrateSetParameters, QueryNamedBlockNodes},
};
use serde_json::json;
use std::{
    fs::File,
    future::Future,
    os::unix::net::UnixStream,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

pub(crate) fn manager() -> (Manager, Arc<Mutex<JoinSet<Exit>>>) {
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
    // A process that the kernel holds for longer than a moment is waited for by a thread of its own.
    let ended = async {
        while processes(id) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, ended).await.unwrap();
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
    assert_eq!(state, State::Paused);
    manager.destroy(machine.uuid).await.unwrap();
    assert!(matches!(manager.state(machine.uuid), Err(ManagerError::NoMachine(_))));
}

/// Waits until a machine does something.
async fn does(manager: &Manager, id: Uuid, state: State) {
    let seen = async {
        while manager.state(id).unwrap() != state {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let seen = tokio::time::timeout(LONG, seen).await;
    assert!(seen.is_ok(), "{:?} in place of {state:?}", manager.state(id));
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_stopped() {
    let test = "a_guest_that_powers_itself_off_is_stopped";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let config = Config { disks: vec![boot_disk(directory.path(), BOOT_SECTOR)], ..config() };
    let (place, id) = (directory.path().to_owned(), config.uuid);
    manager.create(id, move || spec(&place, config.clone())).unwrap();
    for _ in 0..2 {
        // What it says before somebody listens is in the log alone.
        manager.start_paused(id).await.unwrap();
        let vm = manager.vm(id).unwrap();
        let mut console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
        manager.resume(id).await.unwrap();
        read_banner(&mut console).await;
        console.write_all(b"p").await.unwrap();
        does(&manager, id, State::Stopped).await;
        assert_eq!(vm.status().shutdown, Some(ShutdownCause::GuestShutdown));
        assert_eq!(processes(id), 0);
    }
}

/// A machine that stands, with a disk that is more than is copied at once.
async fn with_a_disk(manager: &Manager, directory: &Path) -> (Uuid, Vm) {
    let config = Config { disks: vec![boot_disk(directory, BOOT_SECTOR)], ..config() };
    File::options().write(true).open(directory.join("boot.raw")).unwrap().set_len(64 << 20).unwrap();
    let (place, id) = (directory.to_owned(), config.uuid);
    manager.create(id, move || spec(&place, config.clone())).unwrap();
    manager.start_paused(id).await.unwrap();
    (id, manager.vm(id).unwrap())
}

/// Lets a guest run that then powers itself off.
async fn powers_itself_off(manager: &Manager, vm: &Vm) {
    let mut console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
    manager.resume(vm.record().uuid).await.unwrap();
    read_banner(&mut console).await;
    console.write_all(b"p").await.unwrap();
    until(vm, "powered off", |status| status.run_state == RunState::Shutdown).await;
}

/// The process goes on for more than one look at it.
async fn still_there(vm: &Vm) {
    let ended = tokio::time::timeout(Duration::from_secs(2), vm.exited()).await;
    assert!(ended.is_err(), "{ended:?}");
}

/// It arrives as it is, also where this process knows nothing of its move.
#[tokio::test]
async fn a_guest_that_is_off_is_ended_when_it_has_left() {
    let test = "a_guest_that_is_off_is_ended_when_it_has_left";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let (id, vm) = with_a_disk(&manager, directory.path()).await;
    let (here, there) = UnixStream::pair().unwrap();
    vm.qmp().pass_named("anothers", here.into()).await.unwrap().used();
    let max_bandwidth = Some(1 << 16);
    let slow = MigrateSetParameters { max_bandwidth, ..MigrateSetParameters::default() };
    vm.qmp().call(&slow).await.unwrap();
    let uri = Some("fd:anothers".to_owned());
    vm.qmp().call(&Migrate { uri, ..Migrate::default() }).await.unwrap();
    powers_itself_off(&manager, &vm).await;
    still_there(&vm).await;
    assert_eq!(manager.state(id).unwrap(), State::ShuttingDown);
    drop(there);
    does(&manager, id, State::Stopped).await;
}

/// Whoever reads a disk as it was reads it to its end, and what is noted of that is kept.
#[tokio::test]
async fn a_guest_that_is_off_is_ended_when_its_pulled_backup_is_finished() {
    let test = "a_guest_that_is_off_is_ended_when_its_pulled_backup_is_finished";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let (id, vm) = with_a_disk(&manager, directory.path()).await;
    let disk = std::fs::read(at("boot.raw")).unwrap();
    vm.add_bitmap("root", "since", Notes::InMemory).await.unwrap();
    let served = Served::new("root", at("scratch"), Address::Unix(at("pull.sock")), "x");
    let pull = vm.pull_backup(&Served { since: Some("since".into()), ..served }).await.unwrap();
    powers_itself_off(&manager, &vm).await;
    still_there(&vm).await;
    assert_eq!(manager.state(id).unwrap(), State::ShuttingDown);
    let mut read = Command::new("qemu-img");
    read.args(["convert", "-O", "raw"]);
    read.arg(format!("nbd+unix:///x?socket={}", at("pull.sock").display())).arg(at("read.raw"));
    // Beside the manager, which looks at the machine meanwhile.
    let read = tokio::task::spawn_blocking(move || read.status().unwrap());
    assert!(read.await.unwrap().success());
    assert!(std::fs::read(at("read.raw")).unwrap() == disk, "as it was when it began");
    // Whoever says nothing holds the end up, when nothing is exported any more.
    let silent = UnixStream::connect(at("pull.sock")).unwrap();
    let leaving = async {
        still_there(&vm).await;
        drop(silent);
    };
    let (finished, ()) = tokio::join!(pull.finish(Pulled::Whole), leaving);
    finished.unwrap();
    does(&manager, id, State::Stopped).await;
    assert_eq!(vm.exited().await, Exit::Code(0));
}

/// Whoever waits for a backup gets it, though its guest is off by then.
#[tokio::test]
async fn a_guest_that_is_off_is_ended_when_nothing_is_at_work_in_it() {
    let test = "a_guest_that_is_off_is_ended_when_nothing_is_at_work_in_it";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let (id, vm) = with_a_disk(&manager, directory.path()).await;
    let execute = async |command: &str, arguments: serde_json::Value| {
        let serde_json::Value::Object(arguments) = arguments else { unreachable!() };
        vm.qmp().execute(command, arguments).await.unwrap()
    };
    execute("blockdev-add", json!({"driver": "null-co", "node-name": "copy", "size": 64 << 20})).await;
    let nodes = vm.qmp().call(&QueryNamedBlockNodes { flat: Some(true) }).await.unwrap();
    let disk = nodes.into_iter().find(|node| node.file.contains("boot.raw")).unwrap().node_name;
    // After its first piece it waits for hours.
    let slow = json!({"job-id": "slow", "device": disk, "target": "copy", "sync": "full", "speed": 1, "auto-dismiss": false});
    execute("blockdev-backup", slow).await;
    powers_itself_off(&manager, &vm).await;
    let Some(FoundJob::Ends(mut backup)) = vm.jobs().await.unwrap().pop() else { panic!("no job") };
    assert!(backup.progress().await.unwrap().is_some());
    assert_eq!(manager.state(id).unwrap(), State::ShuttingDown);
    execute("block-job-set-speed", json!({"device": "slow", "speed": 0})).await;
    backup.done().await.unwrap();
    does(&manager, id, State::Stopped).await;
    assert_eq!(vm.status().shutdown, Some(ShutdownCause::GuestShutdown));
}

#[tokio::test]
async fn a_guest_that_was_sent_away_is_not_resumed_by_mistake() {
    let test = "a_guest_that_was_sent_away_is_not_resumed_by_mistake";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let (place, config) = (directory.path().to_owned(), config());
    let id = config.uuid;
    manager.create(id, move || spec(&place, config.clone())).unwrap();
    manager.start(id).await.unwrap();
    let vm = manager.vm(id).unwrap();
    vm.save(&directory.path().join("state")).await.unwrap();
    assert_eq!(manager.state(id).unwrap(), State::Paused);
    assert!(matches!(manager.resume(id).await, Err(ManagerError::Sent(_))));
    assert_eq!(vm.status().run_state, RunState::Postmigrate);
    // Whoever knows that it is nowhere else.
    vm.resume().await.unwrap();
    assert_eq!(manager.state(id).unwrap(), State::Running);
    manager.destroy(id).await.unwrap();
}

/// QEMU would say yes and let it run as soon as it is here.
#[tokio::test]
async fn a_guest_that_is_still_arriving_is_not_resumed() {
    let test = "a_guest_that_is_still_arriving_is_not_resumed";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let (directories, machine) = ([scratch(), scratch()], config());
    let [source, place] = directories.each_ref().map(|directory| directory.path().to_owned());
    let (id, config) = (machine.uuid, machine.clone());
    manager
        .create(id, move || StartSpec {
            incoming: qemu::Incoming::State,
            // What it is doing is asked for where that matters.
            supervision: Supervision { interval: Duration::from_secs(3600), patience: LONG },
            ..spec(&place, config.clone())
        })
        .unwrap();
    manager.start(id).await.unwrap();
    assert_eq!(manager.state(id).unwrap(), State::Paused);
    assert!(matches!(manager.resume(id).await, Err(ManagerError::Arriving(_))));
    let vm = manager.vm(id).unwrap();
    let refused = vm.resume().await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Refused { refusal, .. } if refusal.desc.contains("arriving")),
        "{refused}"
    );
    let (sender, _sender_tasks) = started(spec(&source, machine)).await;
    sender.save(&source.join("state")).await.unwrap();
    sender.kill().await.unwrap();
    vm.restore(&source.join("state")).await.unwrap();
    // It stands, which nothing has announced.
    vm.resume().await.unwrap();
    assert_eq!(manager.state(id).unwrap(), State::Running);
    manager.destroy(id).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_does_not_answer_at_its_adoption_is_unknown_until_it_does() {
    let test = "a_machine_that_does_not_answer_at_its_adoption_is_unknown_until_it_does";
    if qemu_missing(test) {
        return;
    }
    let directory = scratch();
    let (run, machine) = (directory.path().join("run"), config());
    let (vm, tasks) = started(spec(directory.path(), machine.clone())).await;
    drop(tasks);
    let id = machine.uuid;
    let moment = Duration::from_millis(200);
    signal(&vm, rustix::process::Signal::STOP);
    let (first, tasks) = manager();
    let make = || {
        let (place, config) = (directory.path().to_owned(), machine.clone());
        move || spec(&place, config.clone())
    };
    let state = first.adopt(id, &run, Supervision::default(), moment, make()).await.unwrap();
    assert_eq!((state, first.states()), (State::Unknown, [(id, State::Unknown)].into()));
    assert!(matches!(first.start(id).await, Err(ManagerError::Unresponsive(_))));
    assert!(matches!(first.pause(id).await, Err(ManagerError::Unresponsive(_))));
    signal(&vm, rustix::process::Signal::CONT);
    does(&first, id, State::Paused).await;
    first.resume(id).await.unwrap();
    // Nobody looks after it any more: what it said last is not what it does.
    tasks.lock().unwrap().abort_all();
    does(&first, id, State::Unknown).await;
    // One that does not answer is ended all the same.
    signal(&vm, rustix::process::Signal::STOP);
    let (second, _tasks) = manager();
    let state = second.adopt(id, &run, Supervision::default(), moment, make()).await.unwrap();
    assert_eq!(state, State::Unknown);
    second.destroy(id).await.unwrap();
    assert!(second.states().is_empty());
    assert_eq!(processes(id), 0);
}

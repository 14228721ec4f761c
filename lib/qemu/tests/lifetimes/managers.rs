//! A manager that is killed at any moment, and the one after it.

use crate::{BINARY, LONG, a_uuid, missing, spec, turn};
use qemu::{
    Supervision,
    manager::{Manager, State},
};
use rustix::process::{Pid, Signal, kill_process};
use seeded::Random;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const MACHINES: u128 = 20;

/// In the directory of the machines, which is the current one of their manager: what their identities begin with, which are this run's alone.
const MARK: &str = "machines";

/// Beside it: what the present manager has come to, a letter for each machine.
const COME_TO: &str = "come to";
const ADOPTED: u8 = b'a';
const STARTED: u8 = b's';

fn run_dir(place: &Path, number: u128) -> PathBuf {
    place.join(format!("vm-{number}"))
}

/// The identities of the machines in this place.
fn identities(place: &Path) -> Vec<Uuid> {
    let first = Uuid::parse_str(&fs::read_to_string(place.join(MARK)).unwrap()).unwrap().as_u128();
    (1..=MACHINES).map(|number| Uuid::from_u128(first.wrapping_add(number))).collect()
}

/// A manager of all machines in this place: takes over what is there, starts what is not.
async fn manage(place: &Path) -> (Manager, Arc<Mutex<JoinSet<qemu::Exit>>>) {
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let spawner = tasks.clone();
    let manager = Manager::new(Box::new(move |supervisor| {
        spawner.lock().unwrap().spawn(supervisor);
    }));
    for (number, id) in (1..).zip(identities(place)) {
        let run_dir = run_dir(place, number);
        let make_dir = run_dir.clone();
        let make = move || spec(BINARY.into(), id, make_dir.clone());
        let state = manager.adopt(id, &run_dir, Supervision::default(), LONG, make).await;
        let mut way = ADOPTED;
        if state.unwrap_or_else(|error| panic!("{number}: {error:?}")) == State::Stopped {
            manager.start(id).await.unwrap_or_else(|error| panic!("{number}: {error:?}"));
            way = STARTED;
        }
        let mut come_to = File::options().append(true).open(place.join(COME_TO)).unwrap();
        come_to.write_all(&[way]).unwrap();
    }
    (manager, tasks)
}

/// Not a test: the process that the test below starts and kills.
#[tokio::test]
async fn the_manager_that_is_killed() {
    if !Path::new(MARK).exists() {
        return;
    }
    let (manager, _tasks) = manage(&std::env::current_dir().unwrap()).await;
    // Busy, so that it is killed in the middle of something.
    loop {
        for id in manager.states().into_keys() {
            manager.pause(id).await.unwrap();
            manager.resume(id).await.unwrap();
        }
    }
}

/// The processes of the machines in this place by their identity.
fn processes(place: &Path) -> BTreeMap<Uuid, i32> {
    let (ours, mut found) = (identities(place), BTreeMap::new());
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let text = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = text.split(|byte| *byte == 0).collect();
        let Some(at) = words.iter().position(|word| *word == b"-uuid") else { continue };
        let id = words.get(at + 1).and_then(|word| Uuid::try_parse_ascii(word).ok());
        if let Some(id) = id.filter(|id| ours.contains(id)) {
            assert!(found.insert(id, pid).is_none(), "two processes of one machine");
        }
    }
    found
}

/// Ends what is left of a test that fails.
struct Ended<'p>(&'p Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for pid in processes(self.0).into_values().filter_map(Pid::from_raw) {
                // One that has ended already is as good.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

#[test]
fn machines_outlive_a_manager_that_is_killed_anywhere_and_are_taken_over() {
    killed("machines_outlive_a_manager_that_is_killed_anywhere_and_are_taken_over", 20);
}

#[test]
#[ignore = "takes minutes: make test-long"]
fn machines_outlive_two_hundred_managers() {
    killed("machines_outlive_two_hundred_managers", 200);
}

fn killed(test: &str, kills: usize) {
    let _turn = turn();
    if missing(test, BINARY, "qemu-system-x86") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join(MARK), a_uuid().to_string()).unwrap();
    let _ended = Ended(place.path());
    let mut lots = Random::new(0xd1b5_4a32_d192_ed03);
    let all = usize::try_from(MACHINES).unwrap();
    let mut known = BTreeMap::new();
    let (mut killed, mut round) = (0, 0);
    // How many each of the managers that counts had adopted.
    let mut adopted = BTreeMap::new();
    // Counted are the kills of managers that had all machines to take over; those before were killed while some were still being started.
    while killed < kills {
        round += 1;
        let counts = known.len() == all;
        killed += usize::from(counts);
        fs::write(place.path().join(COME_TO), "").unwrap();
        let mut manager = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "managers::the_manager_that_is_killed", "--nocapture"])
            .current_dir(place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Every other one after so many machines, however busy the host is.
        let wanted = if round % 2 == 0 { usize::try_from(lots.below(21)).unwrap() } else { 0 };
        let come_to = || fs::read(place.path().join(COME_TO)).unwrap();
        for looked in 0.. {
            // One that has failed by itself says why.
            if let Some(status) = manager.try_wait().unwrap() {
                let output = manager.wait_with_output().unwrap();
                panic!("round {round}: {status}: {}", String::from_utf8_lossy(&output.stderr));
            }
            if come_to().len() >= wanted {
                break;
            }
            assert!(looked < 100_000, "round {round}: {wanted} are wanted, {:?}", come_to());
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(lots.below(if wanted > 0 { 20 } else { 400 })));
        manager.kill().unwrap();
        manager.wait().unwrap();
        if counts {
            let count = come_to().into_iter().filter(|way| *way == ADOPTED).count();
            *adopted.entry(count).or_insert(0) += 1;
        }
        let now = processes(place.path());
        for (id, pid) in &known {
            // Whatever its manager was doing, a process that was there is there.
            assert_eq!(now.get(id), Some(pid), "round {round}");
        }
        known = now;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (manager, _tasks) = manage(place.path()).await;
        let now = processes(place.path());
        assert_eq!(now, known, "all are taken over, and none is new");
        println!("{MACHINES} machines outlived {kills} managers of {round}; managers by how many they had adopted: {adopted:?}");
        assert_eq!(adopted.values().sum::<usize>(), kills);
        assert!(adopted.keys().any(|count| (1..all).contains(count)), "some are killed on their way: {adopted:?}");
        for (id, state) in manager.states() {
            assert!(matches!(state, State::Running | State::Paused), "{id}: {state:?}");
            assert!(manager.vm(id).unwrap().jobs().await.unwrap().is_empty());
            manager.destroy(id).await.unwrap();
        }
        assert!(processes(place.path()).is_empty());
    });
}

//! Against the installed QEMU, translated (TCG), so that it runs on every host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

use qemu::{
    Adoption, Config, Exit, Responsive, StartError, StartSpec, Supervision, Vm, adopt,
    config::{Disk, DiskKind, Format, Forward, Image, Nic, NicBackend, Protocol, Source},
    start,
};
use qmp::{commands::RunState, events::ShutdownCause};
use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const BINARY: &str = "/usr/bin/qemu-system-x86_64";

/// The machine type of Debian 12's QEMU.
const MACHINE: &str = "pc-q35-7.2";

/// Far more than anything here takes; reached only when something hangs.
const LONG: Duration = Duration::from_secs(60);

fn qemu_missing(test: &str) -> bool {
    let missing = !Path::new(BINARY).exists();
    if missing {
        println!("not run: {test}: {BINARY} (Debian package qemu-system-x86)");
    }
    missing
}

fn config() -> Config {
    Config::new("test", Uuid::from_u128(rand_bits()), MACHINE, 1, 64)
}

fn rand_bits() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    Uuid::parse_str(text.trim()).unwrap().as_u128()
}

fn spec(directory: &Path, config: Config) -> StartSpec {
    let supervision =
        Supervision { interval: Duration::from_millis(50), patience: Duration::from_millis(200) };
    StartSpec { supervision, deadline: LONG, ..StartSpec::new(BINARY.into(), config, directory.join("run")) }
}

async fn started(spec: StartSpec) -> (Vm, JoinSet<Exit>) {
    let (vm, supervisor) = start(spec).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor);
    (vm, tasks)
}

async fn until(vm: &Vm, what: &str, condition: impl Fn(&qemu::Status) -> bool) {
    let mut status = vm.watch();
    let outcome = tokio::time::timeout(LONG, status.wait_for(condition)).await.map(|seen| seen.is_ok());
    assert_eq!(outcome, Ok(true), "{what}: {:?}", vm.status());
}

#[tokio::test]
async fn a_machine_starts_paused_runs_pauses_and_quits() {
    if qemu_missing("a_machine_starts_paused_runs_pauses_and_quits") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (vm, mut tasks) = started(spec(directory.path(), config())).await;
    assert_eq!(vm.status().run_state, RunState::Prelaunch);
    vm.resume().await.unwrap();
    assert_eq!(vm.status().run_state, RunState::Running);
    vm.pause().await.unwrap();
    assert_eq!(vm.status().run_state, RunState::Paused);
    assert_eq!(vm.quit(LONG).await.unwrap(), Exit::Code(0));
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), Exit::Code(0));
    let status = vm.status();
    assert_eq!((status.exit, status.shutdown), (Some(Exit::Code(0)), Some(ShutdownCause::HostQmpQuit)));
}

#[tokio::test]
async fn a_refused_argument_is_reported_in_qemus_own_words() {
    if qemu_missing("a_refused_argument_is_reported_in_qemus_own_words") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let faulty = Config { machine: "pc-q35-99.9".into(), ..config() };
    let Err(StartError::Ended { exit, message }) = start(spec(directory.path(), faulty)).await.map(drop)
    else {
        panic!("not the error of an ended process");
    };
    assert_eq!(exit, Exit::Code(1));
    assert!(message.contains("unsupported machine type"), "{message}");
    assert_eq!(qemu::Record::load(&directory.path().join("run")).unwrap(), None);
    // Only the words of this start are reported, and the directory can be used again.
    let (vm, _tasks) = started(spec(directory.path(), config())).await;
    vm.kill().await.unwrap();
    let faulty = Config { cpu_model: Some("no-such-model".into()), ..config() };
    let error = start(spec(directory.path(), faulty)).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("no-such-model") && !error.contains("99.9"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_reported_in_qemus_own_words() {
    if qemu_missing("a_port_in_use_is_reported_in_qemus_own_words") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(host) = taken.local_addr().unwrap() else { panic!("not IPv4") };
    let forwards = vec![Forward { protocol: Protocol::Tcp, host, guest_port: 22 }];
    let backend = NicBackend::User { forwards, restrict: true };
    let nic = Nic { id: "nic0".into(), mac: [0x52, 0x54, 0, 1, 2, 3], backend };
    let error =
        start(spec(directory.path(), Config { nics: vec![nic], ..config() })).await.map(drop).unwrap_err();
    let expected = format!("tcp:127.0.0.1:{}-:22", host.port());
    assert!(error.to_string().contains("Could not set up host forwarding"), "{error}");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_killed_process_is_noticed() {
    if qemu_missing("a_killed_process_is_noticed") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (vm, mut tasks) = started(spec(directory.path(), config())).await;
    signal(&vm, rustix::process::Signal::KILL);
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), Exit::Signal(9));
    assert_eq!(vm.status().exit, Some(Exit::Signal(9)));
    assert!(vm.pause().await.is_err());
    assert!(!Path::new(&format!("/proc/{}", vm.record().pid)).exists(), "a zombie is left");
}

#[tokio::test]
async fn a_stopped_process_turns_unresponsive_delays_nobody_and_comes_back() {
    if qemu_missing("a_stopped_process_turns_unresponsive_delays_nobody_and_comes_back") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (vm, _tasks) = started(spec(directory.path(), config())).await;
    signal(&vm, rustix::process::Signal::STOP);
    until(
        &vm,
        "unresponsive",
        |status| matches!(&status.responsive, Responsive::No(why) if why.contains("stopped")),
    )
    .await;
    let other = tempfile::tempdir().unwrap();
    let (second, _second_tasks) = started(spec(other.path(), config())).await;
    assert_eq!(second.kill().await.unwrap(), Exit::Signal(9));
    signal(&vm, rustix::process::Signal::CONT);
    until(&vm, "responsive again", |status| status.responsive == Responsive::Yes).await;
    signal(&vm, rustix::process::Signal::STOP);
    assert_eq!(vm.quit(Duration::from_millis(300)).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn a_machine_is_adopted_after_its_manager_let_go() {
    if qemu_missing("a_machine_is_adopted_after_its_manager_let_go") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (vm, tasks) = started(spec(directory.path(), config())).await;
    vm.resume().await.unwrap();
    let pid = vm.record().pid;
    drop(vm);
    drop(tasks);
    let record = qemu::Record::load(&directory.path().join("run")).unwrap().unwrap();
    // A second machine cannot take the directory.
    let occupied = start(spec(directory.path(), config())).await.map(drop);
    assert!(matches!(occupied, Err(StartError::Occupied { .. })), "{occupied:?}");

    let Adoption::Adopted(vm, supervisor) =
        adopt(record.clone(), LONG, Supervision::default()).await.unwrap()
    else {
        panic!("not adopted");
    };
    assert_eq!((vm.status().run_state, vm.record().pid), (RunState::Running, pid));
    drop((vm, supervisor));

    let wrong = |change: fn(&mut qemu::Record)| {
        let mut record = record.clone();
        change(&mut record);
        adopt(record, LONG, Supervision::default())
    };
    assert!(matches!(wrong(|r| r.boot_id = "other".into()).await.unwrap(), Adoption::Gone(_)));
    assert!(matches!(wrong(|r| r.start_ticks += 1).await.unwrap(), Adoption::Gone(_)));
    assert!(matches!(wrong(|r| r.uuid = Uuid::nil()).await.unwrap(), Adoption::Gone(_)));
    assert!(matches!(wrong(|r| r.exe.1 += 1).await.unwrap(), Adoption::Gone(_)));

    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let short = Duration::from_millis(200);
    let Adoption::Unresponsive(held) = adopt(record.clone(), short, Supervision::default()).await.unwrap()
    else {
        panic!("a stopped process answered");
    };
    assert!(held.reason().contains("stopped"), "{}", held.reason());
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    let Adoption::Adopted(vm, supervisor) = held.retry(LONG).await else { panic!("did not come back") };
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor);
    vm.quit(LONG).await.unwrap();
    assert!(matches!(adopt(record, LONG, Supervision::default()).await.unwrap(), Adoption::Gone(_)));
}

#[tokio::test]
async fn a_disk_path_with_commas_and_spaces_works_and_has_counters() {
    if qemu_missing("a_disk_path_with_commas_and_spaces_works_and_has_counters") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("a, b=c,,\"d\"");
    fs::create_dir(&odd).unwrap();
    let path = odd.join("disk, one.raw");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let image = Image { source: Source::Path(path), format: Format::Raw, backing: None };
    let disk = Disk { id: "root".into(), image, kind: DiskKind::Virtio, serial: Some("s, 1".into()) };
    let named = Config { name: "a, b".into(), disks: vec![disk], ..config() };
    let (vm, _tasks) = started(spec(&odd, named)).await;
    let stats = vm.stats().await.unwrap();
    assert!(stats.disks.contains_key("root"), "{stats:?}");
    assert!(stats.rss_bytes > 1 << 20, "{stats:?}");
    let name = vm.qmp().call(&qmp::commands::QueryName {}).await.unwrap();
    assert_eq!(name.name.as_deref(), Some("a, b"));
    vm.quit(LONG).await.unwrap();
}

#[tokio::test]
async fn qemu_holds_no_descriptor_of_ours_and_deep_directories_do() {
    if qemu_missing("qemu_holds_no_descriptor_of_ours_and_deep_directories_do") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Longer than a socket address.
    let deep = directory.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    // Inheritable on purpose: leaked by a careless library.
    let leaked = fs::File::create(directory.path().join("leaked")).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let (vm, _tasks) = started(spec(&deep, config())).await;
    let held: BTreeSet<PathBuf> = fs::read_dir(format!("/proc/{}/fd", vm.record().pid))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.is_absolute() && !target.starts_with("/dev"))
        .collect();
    let run = deep.join("run");
    let expected = ["console.log", "lock", "qemu.log"].map(|name| run.join(name));
    assert_eq!(held, BTreeSet::from(expected));
    vm.quit(LONG).await.unwrap();
}

fn signal(vm: &Vm, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(vm.record().pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

//! Against the installed QEMU, translated (TCG), so that it runs on every host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

mod adoption;
mod connection;
#[path = "../support/elsewhere.rs"]
mod elsewhere;
mod failures;
mod given;
mod hanging;
#[path = "../support/hanging.rs"]
mod hangs;
mod left;
mod logs;
mod manager;
#[path = "../../../qmp/tests/support/observed.rs"]
mod observed;
#[path = "../support/polled.rs"]
mod polled;
mod process;
#[path = "../support/release.rs"]
mod release;
mod sleep;
mod swtpm;
#[path = "../support/unpacked.rs"]
mod unpacked;

use qemu::{
    Adoption, Config, Exit, Powerdown, Responsive, StartError, StartSpec, Supervision, Vm, adopt,
    config::{Disk, Format, Forward, Image, Nic, NicBackend, Protocol, Source},
    start,
};
use qmp::{commands::RunState, events::ShutdownCause};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinSet,
};
use uuid::Uuid;

/// Far more than anything here takes; reached only when something hangs.
const LONG: Duration = Duration::from_secs(60);

fn qemu_missing(test: &str) -> bool {
    let missing = !release::program().exists();
    if missing {
        println!("not run: {test}: {} ({})", release::program().display(), release::origin());
    }
    missing
}

/// A directory that takes its machines with it, also where the test fails.
struct Scratch(tempfile::TempDir);

fn scratch() -> Scratch {
    observed::observe();
    Scratch(tempfile::tempdir().unwrap())
}

impl std::ops::Deref for Scratch {
    type Target = tempfile::TempDir;

    fn deref(&self) -> &tempfile::TempDir {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let below = fs::read_dir(self.0.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        for directory in below.chain([self.0.path().to_owned()]) {
            let Ok(Some(record)) = qemu::Record::load(&directory.join("run")) else { continue };
            // One that has ended may have left its number to somebody else's process.
            let line = fs::read(format!("/proc/{}/cmdline", record.pid)).unwrap_or_default();
            if !String::from_utf8_lossy(&line).contains(&record.uuid.to_string()) {
                continue;
            }
            let pid = i32::try_from(record.pid).ok().and_then(rustix::process::Pid::from_raw);
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

fn config() -> Config {
    Config::new("test", Uuid::from_u128(rand_bits()), &release::machine("q35"), 1, 64)
}

fn rand_bits() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    Uuid::parse_str(text.trim()).unwrap().as_u128()
}

fn spec(directory: &Path, config: Config) -> StartSpec {
    let supervision =
        Supervision { interval: Duration::from_millis(50), patience: Duration::from_millis(200) };
    StartSpec {
        supervision,
        deadline: LONG,
        ..StartSpec::new(release::program(), config, directory.join("run"))
    }
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
    let directory = scratch();
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
    let directory = scratch();
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
    let mut faulty = config();
    faulty.cpu.model = Some("no-such-model".into());
    let error = start(spec(directory.path(), faulty)).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("no-such-model") && !error.contains("99.9"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_reported_in_qemus_own_words() {
    if qemu_missing("a_port_in_use_is_reported_in_qemus_own_words") {
        return;
    }
    let directory = scratch();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(host) = taken.local_addr().unwrap() else { panic!("not IPv4") };
    let forwards = vec![Forward { protocol: Protocol::Tcp, host, guest_port: 22 }];
    let backend = NicBackend::User { forwards, restrict: true };
    let nic = Nic::new("nic0", [0x52, 0x54, 0, 1, 2, 3], backend);
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
    let directory = scratch();
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
    let directory = scratch();
    let (vm, _tasks) = started(spec(directory.path(), config())).await;
    signal(&vm, rustix::process::Signal::STOP);
    until(
        &vm,
        "unresponsive",
        |status| matches!(&status.responsive, Responsive::No(why) if why.contains("stopped")),
    )
    .await;
    let other = scratch();
    let (second, _second_tasks) = started(spec(other.path(), config())).await;
    assert_eq!(second.kill().await.unwrap(), Exit::Signal(9));
    signal(&vm, rustix::process::Signal::CONT);
    until(&vm, "responsive again", |status| status.responsive == Responsive::Yes).await;
    signal(&vm, rustix::process::Signal::STOP);
    assert_eq!(vm.quit(Duration::from_millis(300)).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn the_program_is_inspected_once_per_file() {
    if qemu_missing("the_program_is_inspected_once_per_file") {
        return;
    }
    let cache = qemu::BinaryCache::default();
    let binary = cache.inspect(&release::program()).await.unwrap();
    assert!(binary.machines.contains(&binary.q35), "{binary:?}");
    let again = cache.inspect(&release::program()).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&binary, &again));
    let foreign = cache.inspect(Path::new("/bin/true")).await.unwrap_err();
    assert!(foreign.to_string().contains("/bin/true"), "{foreign}");
}

/// A boot sector that says `READY`, then waits for a byte on the serial line: `r` resets, anything else powers off.
/// Interrupts are off: the firmware's clock would read from the serial line, and write to it what it has kept back.
const BOOT_SECTOR: &[u8] = &[
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, // cli; xor ax, ax; mov ds, ax
    0xbe, 0x36, 0x7c, 0xba, 0xf8, 0x03, // mov si, text; mov dx, 0x3f8
    0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, // lodsb; test al, al; jz +3; out dx, al; jmp -8
    0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, 0xa8, 0x01, 0x74, 0xfb, // in al, dx; test al, 1; jz -5
    0xba, 0xf8, 0x03, 0xec, // mov dx, 0x3f8; in al, dx
    0x3c, b'r', 0x74, 0x0a, // cmp al, 'r'; je +10
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax (ACPI S5)
    0xf4, 0xeb, 0xfd, // hlt; jmp -3
    0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd, // mov al, 0xfe; out 0x64, al (reset); hlt; jmp -3
    0, 0, b'R', b'E', b'A', b'D', b'Y', b'\n', 0,
];

fn boot_disk(directory: &Path, program: &[u8]) -> Disk {
    let path = directory.join("boot.raw");
    let mut sector = vec![0; 1 << 20];
    sector[..program.len()].copy_from_slice(program);
    (sector[510], sector[511]) = (0x55, 0xaa);
    fs::write(&path, sector).unwrap();
    Disk::new("root", Image::raw(path))
}

async fn read_banner(console: &mut UnixStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"READY\n") {
        let mut chunk = [0; 256];
        let Ok(count) = tokio::time::timeout(LONG, console.read(&mut chunk)).await else {
            panic!("no banner after {:?}", String::from_utf8_lossy(&seen));
        };
        let count = count.unwrap();
        assert_ne!(count, 0, "the console closed after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..count]);
    }
}

#[tokio::test]
async fn a_guest_that_resets_or_powers_off_is_told_from_a_quit_also_by_a_later_manager() {
    if qemu_missing("a_guest_that_resets_or_powers_off_is_told_from_a_quit_also_by_a_later_manager") {
        return;
    }
    let directory = scratch();
    let disk = boot_disk(directory.path(), BOOT_SECTOR);
    let (vm, tasks) = started(spec(directory.path(), Config { disks: vec![disk], ..config() })).await;
    let mut console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
    vm.resume().await.unwrap();
    read_banner(&mut console).await;
    // This guest does not know its power button.
    assert_eq!(vm.powerdown(Duration::from_millis(100)).await.unwrap(), Powerdown::Ignored);
    console.write_all(b"r").await.unwrap();
    read_banner(&mut console).await;
    until(&vm, "a reset by the guest", |status| status.guest_resets > 0).await;
    assert!(vm.stats().await.unwrap().disks["root"].rd_operations > 0);
    console.write_all(b"p").await.unwrap();
    until(&vm, "powered off", |status| status.run_state == RunState::Shutdown).await;
    assert_eq!((vm.status().shutdown, vm.status().exit), (Some(ShutdownCause::GuestShutdown), None));

    let record = vm.record().clone();
    drop((vm, tasks));
    let Adoption::Adopted(vm, supervisor) = adopt(record, LONG, Supervision::default()).await.unwrap() else {
        panic!("not adopted");
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor);
    assert_eq!(vm.status().run_state, RunState::Shutdown);
    assert_eq!(vm.status().shutdown, Some(ShutdownCause::GuestShutdown));
    let log = fs::read_to_string(&vm.record().console_log).unwrap();
    assert_eq!(log.matches("READY").count(), 2, "{log:?}");
    vm.quit(LONG).await.unwrap();
}

#[tokio::test]
async fn a_start_that_is_dropped_at_any_moment_leaves_no_process() {
    if qemu_missing("a_start_that_is_dropped_at_any_moment_leaves_no_process") {
        return;
    }
    let directory = scratch();
    let machine = config();
    for milliseconds in [0, 1, 2, 5, 10, 15, 20, 30] {
        let spec = spec(directory.path(), machine.clone());
        if let Ok(Ok((vm, _))) = tokio::time::timeout(Duration::from_millis(milliseconds), start(spec)).await
        {
            vm.kill().await.unwrap();
        }
        // It ends beside the thread of who has left.
        let ended = async {
            while qemu::Record::find(machine.uuid, directory.path()).unwrap().is_some() {
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(LONG, ended).await;
        assert!(ended.is_ok(), "{milliseconds} ms");
    }
    let (vm, _tasks) = started(spec(directory.path(), machine)).await;
    vm.quit(LONG).await.unwrap();
}

fn program(directory: &Path, script: &str) -> PathBuf {
    let path = directory.join("program");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn signal(vm: &Vm, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(vm.record().pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

//! Against the installed QEMU, translated (TCG), so that it runs on every host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

mod connection;
mod failures;
mod manager;
#[path = "../../../qmp/tests/support/observed.rs"]
mod observed;
#[path = "../support/polled.rs"]
mod polled;
mod process;
#[path = "../support/release.rs"]
mod release;
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
    collections::BTreeSet,
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

/// A directory that takes its machines with it when the test fails.
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
        if !std::thread::panicking() {
            return;
        }
        let below = fs::read_dir(self.0.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        for directory in below.chain([self.0.path().to_owned()]) {
            if let Ok(Some(record)) = qemu::Record::load(&directory.join("run")) {
                let pid = i32::try_from(record.pid).ok().and_then(rustix::process::Pid::from_raw);
                pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            }
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
async fn a_machine_is_adopted_after_its_manager_let_go() {
    if qemu_missing("a_machine_is_adopted_after_its_manager_let_go") {
        return;
    }
    let directory = scratch();
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
    // Another program is believed of the process that holds this directory's lock only.
    let elsewhere =
        |r: &mut qemu::Record| (r.exe.1, r.qmp_socket) = (r.exe.1 + 1, "/nowhere/qmp.sock".into());
    assert!(matches!(wrong(elsewhere).await.unwrap(), Adoption::Gone(_)));

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
    let directory = scratch();
    let odd = directory.path().join("a, b=c,,\"d\"");
    fs::create_dir(&odd).unwrap();
    let path = odd.join("disk, one.raw");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let disk = Disk::new("root", Image::raw(path)).serial("s, 1");
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
async fn any_name_of_a_disk_works_and_one_that_is_no_utf8_by_its_descriptor() {
    let test = "any_name_of_a_disk_works_and_one_that_is_no_utf8_by_its_descriptor";
    if qemu_missing(test) {
        return;
    }
    use std::os::unix::ffi::OsStrExt;
    let directory = scratch();
    for name in [&b"a\nb"[..], b"c\td=e,,f", b"-drive file=x", b"\xff\xfe.raw"] {
        let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        let mut disk = Disk::new("root", Image::raw(&path));
        let mut by_name = spec(directory.path(), config().disk(disk.clone()));
        if path.to_str().is_none() {
            let error = start(by_name).await.map(drop).unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("descriptor"), "it says what to do: {cause}");
            disk.image = Some(Image::new(Source::Descriptor("root".into()), Format::Raw));
            by_name = spec(directory.path(), config().disk(disk));
            let file = fs::File::options().read(true).write(true).open(&path).unwrap();
            by_name.descriptors.insert("root".into(), file.into());
        }
        let (vm, _tasks) = started(by_name).await;
        assert!(vm.stats().await.unwrap().disks.contains_key("root"));
        vm.quit(LONG).await.unwrap();
    }
}

#[tokio::test]
async fn qemu_holds_no_descriptor_of_ours_and_deep_directories_do() {
    if qemu_missing("qemu_holds_no_descriptor_of_ours_and_deep_directories_do") {
        return;
    }
    let directory = scratch();
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

#[tokio::test]
async fn privileges_are_dropped_and_the_disk_is_a_handed_over_descriptor() {
    let test = "privileges_are_dropped_and_the_disk_is_a_handed_over_descriptor";
    if qemu_missing(test) {
        return;
    }
    if !rustix::process::getuid().is_root() {
        println!("not run: {test}: needs root");
        return;
    }
    if release::program() != Path::new("/usr/bin/qemu-system-x86_64") {
        println!("not run: {test}: an unpacked QEMU lies where others may not look");
        return;
    }
    let directory = scratch();
    // Root's alone: only a handed-over descriptor reaches it.
    let path = directory.path().join("disk.raw");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let disk = Disk::new("root", Image::new(Source::Descriptor("root".into()), Format::Raw));
    let mut spec = spec(directory.path(), Config { disks: vec![disk], ..config() });
    spec.descriptors.insert("root".into(), file.into());
    spec.identity = Some(qemu::Identity { uid: 64_055, gid: 64_056, groups: vec![64_057] });
    spec.oom_score_adj = Some(100);
    let (vm, _tasks) = started(spec).await;
    vm.resume().await.unwrap();
    let proc = PathBuf::from(format!("/proc/{}", vm.record().pid));
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let field = |name: &str| -> Vec<String> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(field("Uid:"), ["64055"; 4]);
    assert_eq!(field("Gid:"), ["64056"; 4]);
    assert_eq!(field("Groups:"), ["64057"]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapPrm:"), ["0000000000000000"]);
    assert_eq!(field("Seccomp:"), ["2"]);
    assert_eq!(fs::read_to_string(proc.join("oom_score_adj")).unwrap().trim(), "100");
    assert!(!fs::read_to_string(proc.join("environ")).is_ok_and(|all| all.contains("HOME=")));
    vm.quit(LONG).await.unwrap();
}

#[tokio::test]
async fn confinement_hides_what_is_not_listed() {
    if qemu_missing("confinement_hides_what_is_not_listed") {
        return;
    }
    if release::program() != Path::new("/usr/bin/qemu-system-x86_64") {
        println!("not run: confinement_hides_what_is_not_listed: files of an unpacked QEMU are not listed");
        return;
    }
    if !qemu::Confinement::is_available() {
        println!("not run: confinement_hides_what_is_not_listed: this kernel has no Landlock");
        return;
    }
    let directory = scratch();
    let (open, hidden) = (directory.path().join("open.raw"), directory.path().join("hidden.raw"));
    for path in [&open, &hidden] {
        fs::write(path, vec![0; 1 << 20]).unwrap();
    }
    let confined = |path: &Path| {
        let disk = Disk::new("root", Image::raw(path));
        let mut spec = spec(directory.path(), Config { disks: vec![disk], ..config() });
        let mut confinement = qemu::Confinement::base();
        confinement.write.push(open.clone());
        spec.confinement = Some(confinement);
        spec
    };
    let (vm, _tasks) = started(confined(&open)).await;
    vm.quit(LONG).await.unwrap();
    match start(confined(&hidden)).await {
        Err(StartError::Ended { message, .. }) => {
            assert!(message.contains("hidden.raw") && message.contains("Permission denied"), "{message}");
        }
        Ok((vm, _)) => {
            vm.kill().await.unwrap();
            panic!("what is not listed was opened");
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_device_and_both_firmwares_are_accepted() {
    if qemu_missing("every_device_and_both_firmwares_are_accepted") {
        return;
    }
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("base.raw"), vec![0; 1 << 20]).unwrap();
    fs::write(path("seed,1.iso"), vec![0; 1 << 20]).unwrap();
    let raw = |name| Image::raw(path(name));
    let mut machine = Config {
        disks: vec![
            Disk::new("root", raw("base.raw")),
            Disk::read_only("seed", raw("seed,1.iso")),
            Disk::cdrom("cd0", Some(raw("seed,1.iso"))),
            Disk::cdrom("cd1", Some(raw("seed,1.iso"))),
        ],
        cpu: qemu::config::Cpu::new(3),
        spare_ports: 12,
        ..config()
    };
    let forwards =
        vec![Forward { protocol: Protocol::Udp, host: "127.0.0.1:0".parse().unwrap(), guest_port: 53 }];
    let backend = NicBackend::User { forwards, restrict: true };
    machine.nics.push(Nic::new("nic0", [0x52, 0x54, 0, 1, 2, 3], backend));
    let (vm, _tasks) = started(spec(directory.path(), machine.clone())).await;
    assert_eq!(vm.stats().await.unwrap().disks.len(), 4);
    assert_eq!(vm.qmp().call(&qmp::commands::QueryCpusFast {}).await.unwrap().len(), 3);
    vm.quit(LONG).await.unwrap();

    let code = PathBuf::from("/usr/share/OVMF/OVMF_CODE_4M.fd");
    if !code.exists() {
        println!(
            "not run: every_device_and_both_firmwares_are_accepted: UEFI: {} (Debian package ovmf)",
            code.display()
        );
        return;
    }
    let vars = path("vars,1.fd");
    fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
    machine.boot.firmware = qemu::config::Firmware::Uefi { code, vars: Source::Path(vars) };
    let (vm, _tasks) = started(spec(directory.path(), machine)).await;
    vm.resume().await.unwrap();
    vm.quit(LONG).await.unwrap();
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

fn boot_disk(directory: &Path) -> Disk {
    let path = directory.join("boot.raw");
    let mut sector = vec![0; 1 << 20];
    sector[..BOOT_SECTOR.len()].copy_from_slice(BOOT_SECTOR);
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
    let disk = boot_disk(directory.path());
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
async fn a_machine_whose_record_was_never_written_is_found_by_its_uuid() {
    if qemu_missing("a_machine_whose_record_was_never_written_is_found_by_its_uuid") {
        return;
    }
    let directory = scratch();
    let run = directory.path().join("run");
    let (vm, tasks) = started(spec(directory.path(), config())).await;
    let written = vm.record().clone();
    drop((vm, tasks));
    fs::remove_file(run.join(qemu::Record::FILE)).unwrap();
    let found = qemu::Record::find(written.uuid, &run).unwrap().unwrap();
    assert_eq!(found, written);
    assert_eq!(qemu::Record::find(Uuid::nil(), &run).unwrap(), None);
    let Adoption::Adopted(vm, supervisor) = adopt(found, LONG, Supervision::default()).await.unwrap() else {
        panic!("not adopted");
    };
    drop(supervisor);
    assert_eq!(vm.kill().await.unwrap(), Exit::Signal(9));
}

/// As while a machine migrates within a host.
#[tokio::test]
async fn of_two_processes_of_one_identity_each_is_found_by_its_directory() {
    if qemu_missing("of_two_processes_of_one_identity_each_is_found_by_its_directory") {
        return;
    }
    let (directories, machine) = ([scratch(), scratch()], config());
    let mut written = Vec::new();
    for directory in &directories {
        let (vm, _tasks) = started(spec(directory.path(), machine.clone())).await;
        written.push(vm.record().clone());
    }
    for (directory, written) in directories.iter().zip(&written) {
        let run = directory.path().join("run");
        assert_eq!(qemu::Record::find(machine.uuid, &run).unwrap().as_ref(), Some(written));
    }
    // A record that was put into another directory proves nothing there.
    let strange = qemu::Record { qmp_socket: written[1].qmp_socket.clone(), ..written[0].clone() };
    let adopted = adopt(strange, LONG, Supervision::default()).await.unwrap();
    assert!(matches!(&adopted, Adoption::Gone(why) if why.contains("directory")), "{adopted:?}");
    for written in written {
        let Adoption::Adopted(vm, _supervisor) = adopt(written, LONG, Supervision::default()).await.unwrap()
        else {
            panic!("not adopted");
        };
        vm.kill().await.unwrap();
    }
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
        assert_eq!(qemu::Record::find(machine.uuid, directory.path()).unwrap(), None, "{milliseconds} ms");
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

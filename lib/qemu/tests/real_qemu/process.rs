//! The process, its logs, its end, and what its program can do.

use super::*;
use qemu::{Ladder, Logs, Rung};

/// A program that tells how it was started and ends. Whoever starts it ignores some signals and blocks others: so the test starts itself again.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test starts itself again")]
async fn signals_masks_and_limits_are_not_inherited() {
    const APART: &str = "HV_TEST_APART";
    let test = "process::signals_masks_and_limits_are_not_inherited";
    if std::env::var_os(APART).is_none() {
        let ignores = "use POSIX; $SIG{USR1} = 'IGNORE'; \
                       sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGUSR2)); exec @ARGV;";
        let mut again = std::process::Command::new("perl");
        again.args(["-e", ignores]).arg(std::env::current_exe().unwrap()).args(["--exact", test]);
        match again.env(APART, "1").output() {
            Ok(ended) => {
                let said = String::from_utf8_lossy(&ended.stdout);
                assert!(ended.status.success() && said.contains("1 passed"), "{said}");
            }
            Err(error) => println!("not run: {test}: perl: {error}"),
        }
        return;
    }
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    for (name, signal) in [("SigIgn:", 10), ("SigBlk:", 12), ("SigBlk:", 15)] {
        let line = own.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let set = u64::from_str_radix(line.trim(), 16).unwrap();
        assert!(set & 1 << (signal - 1) != 0, "{name}{line}");
    }
    let directory = scratch();
    let binary = program(
        directory.path(),
        "grep -E 'SigIgn|SigBlk|Umask' /proc/self/status >&2; cat /proc/self/limits >&2; exit 3",
    );
    let mut spec = StartSpec { binary, ..spec(directory.path(), config()) };
    (spec.limits.open_files, spec.limits.locked_bytes) = (4096, Some(1 << 20));
    let Err(StartError::Ended { message, .. }) = start(spec).await.map(drop) else { panic!("it ends") };
    let field = |name: &str| -> Vec<String> {
        let line =
            message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{message}"));
        line.split_ascii_whitespace().map(str::to_owned).collect()
    };
    assert_eq!((field("SigIgn:"), field("SigBlk:")), (vec!["0".repeat(16)], vec!["0".repeat(16)]));
    assert_eq!(field("Umask:"), ["0077"]);
    assert_eq!(field("Max core file size")[..2], ["0", "0"]);
    assert_eq!(field("Max open files")[..2], ["4096", "4096"]);
    assert_eq!(field("Max locked memory")[..2], ["1048576", "1048576"]);
}

/// A job of a terminal is stopped when it reads from it in the background, and hears of its end. Who starts the machine is such a job: the
/// test starts itself again under a terminal of its own.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test starts itself again")]
async fn neither_its_starters_terminal_nor_its_session_is_inherited() {
    const APART: &str = "HV_TEST_TERMINAL";
    let test = "process::neither_its_starters_terminal_nor_its_session_is_inherited";
    if qemu_missing(test) {
        return;
    }
    if std::env::var_os(APART).is_none() {
        let again = format!("{} --exact {test}", std::env::current_exe().unwrap().display());
        let mut terminal = std::process::Command::new("script");
        match terminal.args(["-qec", &again, "/dev/null"]).env(APART, "1").output() {
            Ok(ended) => {
                let said = String::from_utf8_lossy(&ended.stdout);
                assert!(ended.status.success() && said.contains("1 passed"), "{said}");
            }
            Err(error) => println!("not run: {test}: script: {error}"),
        }
        return;
    }
    // Session and terminal are the sixth and seventh field of /proc/pid/stat (proc(5)); the second ends with the last parenthesis.
    let session_and_terminal = |pid: u32| -> [i64; 2] {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        [3, 4].map(|field| fields[field].parse().unwrap())
    };
    let [our_session, our_terminal] = session_and_terminal(std::process::id());
    assert!(std::io::IsTerminal::is_terminal(&std::io::stdin()) && our_terminal != 0);
    let directory = scratch();
    let (vm, _tasks) = started(spec(directory.path(), config())).await;
    let pid = vm.record().pid;
    let [session, terminal] = session_and_terminal(pid);
    assert_eq!((session, terminal), (i64::from(pid), 0), "it leads a session of its own, of no terminal");
    assert_ne!(session, our_session);
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/0")).unwrap(), Path::new("/dev/null"));
    vm.resume().await.unwrap();
    vm.quit(LONG).await.unwrap();
}

#[tokio::test]
async fn logs_are_where_they_were_asked_for_and_a_later_manager_finds_them() {
    if qemu_missing("logs_are_where_they_were_asked_for_and_a_later_manager_finds_them") {
        return;
    }
    let directory = scratch();
    let mut spec = spec(directory.path(), config());
    let at = |name: &str| directory.path().join(name);
    spec.logs = Logs { qemu: Some(at("q, 1.log")), console: Some(at("c, 1.log")) };
    let (vm, tasks) = started(spec).await;
    let record = vm.record().clone();
    assert_eq!((&record.qemu_log, &record.console_log), (&at("q, 1.log"), &at("c, 1.log")));
    assert_eq!(fs::read_link(directory.path().join("run/qemu.log")).unwrap(), at("q, 1.log"));
    drop((vm, tasks));
    fs::remove_file(directory.path().join("run").join(qemu::Record::FILE)).unwrap();
    let found = qemu::Record::find(record.uuid, &directory.path().join("run")).unwrap().unwrap();
    assert_eq!(found, record);
    let Adoption::Adopted(vm, _) = adopt(found, LONG, Supervision::default()).await.unwrap() else {
        panic!("not adopted");
    };
    vm.kill().await.unwrap();
}

#[tokio::test]
async fn a_machine_ends_by_the_first_rung_that_does() {
    if qemu_missing("a_machine_ends_by_the_first_rung_that_does") {
        return;
    }
    let moment = Duration::from_millis(100);
    let directory = scratch();
    let disk = boot_disk(directory.path(), BOOT_SECTOR);
    let running = || async {
        let (vm, tasks) =
            started(spec(directory.path(), Config { disks: vec![disk.clone()], ..config() })).await;
        let mut console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
        vm.resume().await.unwrap();
        read_banner(&mut console).await;
        (vm, tasks, console)
    };
    // This guest does not know its button.
    let (vm, _tasks, _console) = running().await;
    let ended = vm.shutdown(Ladder { button: moment, quit: LONG, ..Ladder::default() }).await.unwrap();
    assert_eq!(ended, (Rung::Quit, Exit::Code(0)));
    // It powers off when something inside is asked.
    let (vm, _tasks, mut console) = running().await;
    let ask = Box::pin(async move { console.write_all(b"p").await.unwrap() });
    let ladder = Ladder { button: moment, agent: Some((ask, LONG)), quit: LONG, ..Ladder::default() };
    assert_eq!(vm.shutdown(ladder).await.unwrap(), (Rung::Agent, Exit::Code(0)));
    // A stopped process hears neither its monitor nor a signal that can wait.
    let (vm, _tasks, _console) = running().await;
    signal(&vm, rustix::process::Signal::STOP);
    let ladder = Ladder { button: moment, agent: None, quit: moment, terminate: moment, ..Ladder::default() };
    assert_eq!(vm.shutdown(ladder).await.unwrap(), (Rung::Kill, Exit::Signal(9)));
}

#[tokio::test]
async fn a_program_tells_what_it_can_do_once_per_file() {
    if qemu_missing("a_program_tells_what_it_can_do_once_per_file") {
        return;
    }
    let cache = qemu::BinaryCache::default();
    let can = cache.capabilities(&release::program()).await.unwrap();
    let binary = cache.inspect(&release::program()).await.unwrap();
    assert_eq!(can.version, binary.version);
    // A script, through which the unpacked one is started, has none.
    let is_script = fs::read(release::program()).unwrap().starts_with(b"#!");
    assert_eq!(can.build_id.as_ref().is_some_and(|id| id.len() >= 16), !is_script, "{:?}", can.build_id);
    for what in [
        "cont",
        "blockdev-add.driver=qcow2",
        "blockdev-add<qcow2>.lazy-refcounts",
        "query-status:reply.running",
        "query-cpus-fast:reply.thread-id",
        "DEVICE_DELETED.path",
        "SHUTDOWN.reason=guest-panic",
        "device:virtio-blk-pci",
        "device:virtio-blk-pci.iothread",
        "device:pcie-root-port.chassis",
    ] {
        assert!(can.has(what), "{what}");
    }
    for what in
        ["no-such-command", "blockdev-add.driver=no-such", "device:no-such", "device:virtio-blk-pci.no-such"]
    {
        assert!(!can.has(what), "{what}");
    }
    // What came after 7.2 is told by the program, not by its version.
    let later = can.version.major > 8;
    assert_eq!(can.has("migrate.channels"), later);
    let q35 = can.machines.iter().find(|machine| machine.name == binary.q35).unwrap();
    assert_eq!((q35.alias.as_deref(), q35.plugs_cpus), (Some("q35"), true));
    assert!(can.cpus.iter().any(|cpu| cpu.name == "max"));
    // Devices of which only a part is installed end the program, and hide no other.
    for device in &can.fatal {
        assert!(!can.has(&format!("device:{device}")), "{device}");
    }
    let again = cache.capabilities(&release::program()).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&can, &again));
    // Another file is another program, whatever it does.
    let directory = scratch();
    let script = program(directory.path(), &format!("exec {} \"$@\"", release::program().display()));
    let other = cache.capabilities(&script).await.unwrap();
    assert_eq!((other.build_id.as_ref(), other.devices.len()), (None, can.devices.len()));
    let foreign = cache.capabilities(Path::new("/bin/true")).await.unwrap_err();
    assert!(foreign.to_string().contains("/bin/true"), "{foreign}");
}

#[tokio::test]
async fn a_machine_whose_program_is_a_script_is_adopted() {
    if qemu_missing("a_machine_whose_program_is_a_script_is_adopted") {
        return;
    }
    let directory = scratch();
    let script =
        program(directory.path(), &format!("exec {} -boot menu=off \"$@\"", release::program().display()));
    let spec = StartSpec { binary: script, ..spec(directory.path(), config()) };
    let (vm, tasks) = started(spec).await;
    drop((vm, tasks));
    let record = qemu::Record::load(&directory.path().join("run")).unwrap().unwrap();
    let Adoption::Adopted(vm, supervisor) = adopt(record, LONG, Supervision::default()).await.unwrap() else {
        panic!("not adopted");
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor);
    assert_eq!(vm.quit(LONG).await.unwrap(), Exit::Code(0));
}

/// QEMU opens a secret by its number anew, which another user may not do with a file of ours, nor a confined process.
#[tokio::test]
async fn a_secret_is_handed_over_to_another_user_and_into_a_confinement() {
    let test = "a_secret_is_handed_over_to_another_user_and_into_a_confinement";
    if qemu_missing(test) {
        return;
    }
    if release::program() != Path::new("/usr/bin/qemu-system-x86_64") {
        return println!("not run: {test}: an unpacked QEMU lies where others may not look");
    }
    let directory = scratch();
    let key = directory.path().join("key");
    fs::write(&key, "a passphrase").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let another = qemu::Identity { uid: 64_055, gid: 64_056, groups: Vec::new() };
    let is_root = rustix::process::getuid().is_root();
    let cases = [
        (is_root.then_some(another), None, "root"),
        (None, qemu::Confinement::is_available().then(qemu::Confinement::base), "Landlock"),
    ];
    for (identity, confinement, needs) in cases {
        if identity.is_none() && confinement.is_none() {
            println!("not run: {test}: {needs}");
            continue;
        }
        let handed = || {
            let source = Source::Descriptor("key".into());
            let mut machine = config();
            machine.secrets = vec![qemu::config::Secret {
                id: "key".into(),
                source: source.clone(),
                encoding: Default::default(),
            }];
            machine.fw_cfg = vec![qemu::config::FwCfg {
                name: "opt/org.test/key".into(),
                content: qemu::config::FwCfgContent::File(source),
            }];
            let spec = spec(directory.path(), machine);
            StartSpec { identity: identity.clone(), confinement: confinement.clone(), ..spec }
        };
        let mut spec = handed();
        spec.descriptors.insert("key".into(), fs::File::open(&key).unwrap().into());
        let (vm, _tasks) = started(spec).await;
        vm.quit(LONG).await.unwrap();
        // What cannot be copied is refused, and not by QEMU.
        let mut spec = handed();
        spec.descriptors.insert("key".into(), std::io::pipe().unwrap().0.into());
        let refused = start(spec).await.map(drop).unwrap_err();
        assert!(matches!(refused, StartError::Config(_)), "{refused:?}");
    }
}

/// As after a manager that ended between starting the process and its greeting.
#[tokio::test]
async fn a_script_that_became_qemu_after_it_was_recorded_is_adopted() {
    if qemu_missing("a_script_that_became_qemu_after_it_was_recorded_is_adopted") {
        return;
    }
    let directory = scratch();
    let run = directory.path().join("run");
    let (vm, tasks) = started(spec(directory.path(), config())).await;
    drop((vm, tasks));
    let written = qemu::Record::load(&run).unwrap().unwrap();
    let shell = fs::metadata("/bin/sh").unwrap();
    let exe = std::os::unix::fs::MetadataExt::ino(&shell);
    let early = qemu::Record { exe: (0, exe), argv_digest: "of the script".into(), ..written.clone() };
    let Adoption::Adopted(vm, supervisor) = adopt(early.clone(), LONG, Supervision::default()).await.unwrap()
    else {
        panic!("not adopted");
    };
    assert_eq!(vm.record(), &written, "as it is now");
    drop((vm, supervisor));
    // Another process, or another directory's: the program must be the same then, too.
    for strange in [
        qemu::Record { start_ticks: early.start_ticks + 1, ..early.clone() },
        qemu::Record { qmp_socket: directory.path().join("elsewhere/qmp.sock"), ..early.clone() },
    ] {
        let adopted = adopt(strange, LONG, Supervision::default()).await.unwrap();
        assert!(matches!(&adopted, Adoption::Gone(why) if why.contains("another one")), "{adopted:?}");
    }
    let Adoption::Adopted(vm, _supervisor) = adopt(written, LONG, Supervision::default()).await.unwrap()
    else {
        panic!("not adopted");
    };
    vm.kill().await.unwrap();
}

#[tokio::test]
async fn of_a_script_and_its_qemu_it_is_qemu_that_is_found() {
    if qemu_missing("of_a_script_and_its_qemu_it_is_qemu_that_is_found") {
        return;
    }
    let directory = scratch();
    let run = directory.path().join("run");
    let script = program(directory.path(), &format!("{} \"$@\"; exit $?", release::program().display()));
    let (vm, _tasks) = started(StartSpec { binary: script, ..spec(directory.path(), config()) }).await;
    let found = qemu::Record::find(vm.record().uuid, &run).unwrap().unwrap();
    assert_ne!(found.pid, vm.record().pid);
    let exe = fs::read_link(format!("/proc/{}/exe", found.pid)).unwrap();
    assert!(exe.to_str().unwrap().contains("qemu"), "{}", exe.display());
    vm.quit(LONG).await.unwrap();
    assert_eq!(qemu::Record::find(found.uuid, &run).unwrap(), None);
}

/// Without a directory of its own, the unpacked QEMU finds the modules of the installed one, which were built for another: it ends when it
/// looks at all types of objects. Not its machines, as nobody asks them for that.
#[tokio::test]
async fn a_program_that_its_modules_end_is_found_out_apart_from_its_machines() {
    let test = "a_program_that_its_modules_end_is_found_out_apart_from_its_machines";
    let unpacked = crate::unpacked::unpacked();
    let foreign = Path::new("/usr/lib/x86_64-linux-gnu/qemu/hw-display-virtio-gpu.so");
    for (needed, from) in
        [(&*unpacked, "cargo xtask qemu-root"), (foreign, "qemu-system-common of Debian 12")]
    {
        if !needed.exists() {
            return println!("not run: {test}: {} ({from})", needed.display());
        }
    }
    let directory = scratch();
    let script = fs::read_to_string(unpacked).unwrap();
    let (before, after) = script.split_once("QEMU_MODULE_DIR=").unwrap();
    let (_, command) = after.split_once(' ').unwrap();
    let binary = program(directory.path(), &format!("{before}{command}"));
    let machine = Config { machine: "pc-q35-10.0".into(), ..config() };
    let spec = StartSpec { binary: binary.clone(), ..spec(directory.path(), machine) };
    let (vm, _tasks) = started(spec).await;
    let cache = qemu::BinaryCache::default();
    for _ in 0..2 {
        let error = cache.capabilities(&binary).await.map(drop).unwrap_err();
        assert!(error.to_string().contains(binary.to_str().unwrap()), "{error}");
    }
    vm.resume().await.unwrap();
    assert_eq!(vm.status().run_state, RunState::Running);
    vm.quit(LONG).await.unwrap();
}

/// Control groups that this test makes, one of each kind that the host has, and their lines in /proc/pid/cgroup.
struct Groups(Vec<(PathBuf, &'static str)>);

impl Groups {
    fn make(name: &str) -> Self {
        let kinds =
            [("/sys/fs/cgroup", "0::"), ("/sys/fs/cgroup/unified", "0::"), ("/sys/fs/cgroup/pids", ":pids:")];
        let is_root = |place: &Path| place.join("cgroup.procs").exists();
        let places = kinds.into_iter().filter(|(place, _)| is_root(Path::new(place)));
        let made = places.map(|(place, line)| (Path::new(place).join(name), line));
        Self(made.filter(|(group, _)| fs::create_dir(group).is_ok()).collect())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for (group, _) in &self.0 {
            // Refused as long as a process is in it, whose end is what the test waits for.
            let _ = fs::remove_dir(group);
        }
    }
}

#[tokio::test]
async fn a_machine_is_in_its_control_groups_from_its_first_moment() {
    let test = "a_machine_is_in_its_control_groups_from_its_first_moment";
    if qemu_missing(test) {
        return;
    }
    let name = format!("qemu-test-{}", std::process::id());
    let groups = Groups::make(&name);
    if groups.0.is_empty() {
        return println!("not run: {test}: control groups that may be made (root)");
    }
    let joined = || {
        let opened = |(group, _): &(PathBuf, _)| {
            fs::File::options().write(true).open(group.join("cgroup.procs")).unwrap().into()
        };
        groups.0.iter().map(opened).collect()
    };
    let directory = scratch();
    let machine = StartSpec { cgroups: joined(), ..spec(directory.path(), config()) };
    let (vm, mut tasks) = started(machine).await;
    let told = fs::read_to_string(format!("/proc/{}/cgroup", vm.record().pid)).unwrap();
    for (_, line) in &groups.0 {
        let found = told.lines().find(|told| told.contains(line)).unwrap();
        assert!(found.ends_with(&format!("/{name}")), "{told}");
    }
    // This process stays where it was.
    assert!(!fs::read_to_string("/proc/self/cgroup").unwrap().contains(&name));
    vm.quit(LONG).await.unwrap();
    tasks.join_next().await.unwrap().unwrap();
    // Before exec: the program finds itself there, and what it starts.
    let binary = program(directory.path(), "cat /proc/self/cgroup >&2; exit 3");
    let machine = StartSpec { binary, cgroups: joined(), ..spec(directory.path(), config()) };
    let Err(StartError::Ended { message, .. }) = start(machine).await.map(drop) else { panic!("it ends") };
    assert_eq!(message.matches(&name).count(), groups.0.len(), "{message}");
    let gone = groups.0.iter().all(|(group, _)| fs::remove_dir(group).is_ok());
    assert!(gone, "nobody is left in them");
}

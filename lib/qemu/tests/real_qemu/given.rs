//! What a machine is given: files, descriptors, rights, devices.

use super::*;
use std::{
    collections::BTreeSet,
    os::fd::{AsRawFd, OwnedFd},
};

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
    let (socket, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let (reads, writes) = rustix::pipe::pipe().unwrap();
    // A count by which it is known.
    let event = rustix::event::eventfd(0x5eed_5eed, rustix::event::EventfdFlags::empty()).unwrap();
    let ours = [leaked.into(), socket.into(), other.into(), reads, writes];
    for descriptor in ours.iter().chain([&event]) {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).unwrap();
    }
    let link = |process: &str, number: &str| fs::read_link(format!("/proc/{process}/fd/{number}")).ok();
    let ours: BTreeSet<PathBuf> =
        ours.iter().map(|it: &OwnedFd| link("self", &it.as_raw_fd().to_string()).unwrap()).collect();
    let (vm, _tasks) = started(spec(&deep, config())).await;
    let process = vm.record().pid.to_string();
    let entries = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let numbers: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let held: BTreeSet<PathBuf> = numbers.iter().filter_map(|number| link(&process, number)).collect();
    // Both ends of a pipe have one name.
    assert!(ours.len() == 4 && held.is_disjoint(&ours), "{held:?} has of {ours:?}");
    for number in &numbers {
        let facts = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap_or_default();
        assert!(!facts.contains("5eed5eed"), "{number}: {facts}");
    }
    let own = fs::read_to_string(format!("/proc/self/fdinfo/{}", event.as_raw_fd())).unwrap();
    assert!(own.contains("5eed5eed"), "it would be known by {own}");
    let is_file = |target: &PathBuf| target.is_absolute() && !target.starts_with("/dev");
    let held: BTreeSet<PathBuf> = held.into_iter().filter(is_file).collect();
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
    // A filter holds it to the calls that it needs (proc(5)).
    let filters = |process: &str| -> u32 {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let count = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        count.expect("of any kernel since 5.9").trim().parse().unwrap()
    };
    assert!(filters(&vm.record().pid.to_string()) > filters("self"), "it has one of its own");
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

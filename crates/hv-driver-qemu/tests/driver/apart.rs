//! What keeps guests from the node and from each other, read from their processes.

use crate::{
    faults::signal,
    place::{Place, observed, removed},
};
use hv_driver::{Assignment, Driver, DriverErrorKind, End, Guest, StartMode};
use hv_driver_qemu::{Cgroups, Config, DEFAULT_UIDS, QemuDriver};
use hv_runtime::tasks::Tasks;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("not run: {test}: needs root");
    }
    root
}

/// Starts a halted guest; answers its process.
async fn halted(driver: &dyn Driver, guest: &Assignment) -> String {
    driver.prepare(guest).await.unwrap();
    driver.start(guest, StartMode::Paused).await.unwrap();
    pid(driver, guest).await
}

async fn pid(driver: &dyn Driver, guest: &Assignment) -> String {
    driver.observe(guest.handle).await.unwrap().details["pid"].clone()
}

/// The words of a line of /proc/PID/status.
fn status(pid: &str, name: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

fn uid(pid: &str) -> String {
    let uids = status(pid, "Uid:");
    assert_eq!(uids, vec![uids[0].clone(); 4]);
    assert_eq!(status(pid, "Gid:"), uids);
    uids[0].clone()
}

/// Whether a program does its work as this user.
fn can(uid: &str, program: &[&str]) -> bool {
    let run = Command::new("setpriv")
        .args(["--reuid", uid, "--regid", uid, "--clear-groups"])
        .args(program)
        .output()
        .unwrap();
    run.status.success()
}

#[tokio::test]
async fn guests_have_no_rights_of_ours() {
    let test = "guests_have_no_rights_of_ours";
    let Some(place) = Place::with_demo(test) else { return };
    if !is_root(test) {
        return;
    }
    let token = place.directory.path().join("token");
    fs::write(&token, "secret").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let (driver, mut guest) = (place.driver(), place.demo());
    // A kernel that only root may read, in a directory that only root may enter, is no obstacle.
    let kernel = place.directory.path().join("vmlinuz");
    fs::copy(place.demo.join("vmlinuz"), &kernel).unwrap();
    fs::set_permissions(&kernel, fs::Permissions::from_mode(0o600)).unwrap();
    guest.spec.boot.kernel = Some(kernel);
    let pid = halted(&driver, &guest).await;
    let uid = uid(&pid);
    assert!(DEFAULT_UIDS.contains(&uid.parse().unwrap()), "{uid}");
    assert_eq!(status(&pid, "Groups:"), Vec::<String>::new());
    assert_eq!(status(&pid, "CapEff:"), ["0000000000000000"]);
    assert_eq!(status(&pid, "Seccomp:"), ["2"]);
    assert!(can(&uid, &["true"]) && !can(&uid, &["cat", token.to_str().unwrap()]));
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn each_guest_is_a_user_of_its_own_and_stays_it() {
    let test = "each_guest_is_a_user_of_its_own_and_stays_it";
    let Some(place) = Place::with_demo(test) else { return };
    if !is_root(test) {
        return;
    }
    let (driver, one, two) = (place.driver(), place.demo(), place.demo());
    let (first, second) = (halted(&driver, &one).await, halted(&driver, &two).await);
    let (first_uid, second_uid) = (uid(&first), uid(&second));
    assert_ne!(first_uid, second_uid);
    let shown = driver.observe(one.handle).await.unwrap().details;
    assert_eq!(shown["uid"], first_uid);
    // One can neither signal nor look into the other, nor read its disk; and not only because directories are closed.
    let disk = place.instance(&two).join("root.qcow2");
    for directory in disk.ancestors().skip(1).take_while(|path| path.starts_with(place.directory.path())) {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let memory = format!("/proc/{second}/mem");
    let descriptors = format!("/proc/{second}/fd");
    // The shell's own: a small machine has no such program.
    let signal = ["sh", "-c", "kill -0 $0", &second];
    for attempt in [
        &signal[..],
        &["ls", &descriptors],
        &["dd", "count=0", "status=none", &format!("if={memory}")],
        &["cat", disk.to_str().unwrap()],
    ] {
        assert!(!can(&first_uid, attempt), "{attempt:?}");
    }
    // The same process can be signalled and looked at by its own user: it is no rule against everybody.
    assert!(can(&second_uid, &signal));

    driver.kill(one.handle).await.unwrap();
    assert_eq!(uid(&halted(&driver, &one).await), first_uid, "at the next start");
    driver.kill(one.handle).await.unwrap();
    drop(driver);
    let driver = place.driver();
    assert_eq!(uid(&halted(&driver, &one).await), first_uid, "with the next driver");
    let three = place.demo();
    let third = uid(&halted(&driver, &three).await);
    assert!(
        ![&first_uid, &second_uid].contains(&&third),
        "a driver that starts anew knows whose users are taken"
    );
    removed(&driver, &one).await;
    let four = place.demo();
    assert_eq!(uid(&halted(&driver, &four).await), first_uid, "free again when its instance is deleted");
    for guest in [&two, &three, &four] {
        removed(&driver, guest).await;
    }
    place.assert_nothing_left();
}

#[tokio::test]
async fn no_two_guests_of_a_host_are_one_user_whatever_is_known_of_them() {
    let test = "no_two_guests_of_a_host_are_one_user_whatever_is_known_of_them";
    let Some(place) = Place::with_demo(test) else { return };
    if !is_root(test) {
        return;
    }
    let (driver, one, two, three) = (place.driver(), place.demo(), place.demo(), place.demo());
    let first = uid(&halted(&driver, &one).await);
    // What was recorded of the first is lost, and its guest lives.
    let facts = place.instance(&one).join("instance.json");
    let recorded = fs::read(&facts).unwrap();
    fs::write(&facts, "{").unwrap();
    drop(driver);
    let driver = place.driver();
    let second = uid(&halted(&driver, &two).await);
    assert_ne!(second, first);
    // Another agent of this host.
    let state_dir = place.directory.path().join("state-of-another");
    let another = QemuDriver::new(Config { state_dir, ..place.config() }, Tasks::new()).unwrap();
    let third = uid(&halted(&another, &three).await);
    assert!(![&first, &second].contains(&&third), "{first} {second} {third}");
    removed(&another, &three).await;
    fs::write(&facts, recorded).unwrap();
    removed(&driver, &one).await;
    removed(&driver, &two).await;
    place.assert_nothing_left();
}

/// The directories of the guest's control group, by its process; empty without one.
fn groups(pid: &str, guest: &Assignment) -> Vec<PathBuf> {
    let name = format!("hypervisor-{}", guest.handle.id);
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut found = Vec::new();
    for line in lines.lines().filter(|line| line.ends_with(&name)) {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controller, path) = (fields.next().unwrap(), fields.next().unwrap());
        let mount = mounts.lines().find(|mount| match controller {
            "" => mount.contains(" - cgroup2 "),
            _ => mount.contains(" - cgroup ") && mount.ends_with(&format!(",{controller}")),
        });
        let at = mount.unwrap().split(' ').nth(4).unwrap();
        found.push(Path::new(at).join(path.trim_start_matches('/')));
    }
    found
}

/// Where guests have control groups on this host; without a place, a line that says why.
async fn with_groups(driver: &dyn Driver, test: &str) -> Option<String> {
    let found = driver.fingerprint().await.attributes["cgroups"].clone();
    if found.starts_with("none") {
        println!("not run: {test}: {found}");
        return None;
    }
    Some(found)
}

#[tokio::test]
async fn each_guest_has_a_control_group_that_ends_with_it() {
    let test = "each_guest_has_a_control_group_that_ends_with_it";
    let Some(place) = Place::with_demo(test) else { return };
    let driver = place.driver();
    let Some(found) = with_groups(&driver, test).await else { return };
    let guest = place.demo();
    let process = halted(&driver, &guest).await;
    let groups_of = |process: &str| groups(process, &guest);
    let groups = groups_of(&process);
    assert!(!groups.is_empty(), "{found}");
    let shown = driver.observe(guest.handle).await.unwrap().details;
    assert!(groups.contains(&PathBuf::from(&shown["cgroup"])), "{shown:?}");
    let read = |name: &str| {
        let text = groups.iter().find_map(|group| fs::read_to_string(group.join(name)).ok());
        text.and_then(|text| text.trim().parse::<u64>().ok())
    };
    let limit = read("memory.max").or_else(|| read("memory.limit_in_bytes")).unwrap();
    assert!(limit > guest.spec.memory_bytes && limit < guest.spec.memory_bytes + (2 << 30), "{limit}");
    let used = read("memory.current").or_else(|| read("memory.usage_in_bytes")).unwrap();
    assert!(used > 1 << 20, "its memory is counted from its start on: {used}");
    assert_eq!(read("pids.max"), Some(u64::from(guest.spec.cpus) + 256));
    assert!(read("pids.current").unwrap() >= 1);

    let gone = || groups.iter().all(|group| !group.exists());
    driver.kill(guest.handle).await.unwrap();
    assert!(gone(), "after a kill");
    let process = halted(&driver, &guest).await;
    assert_eq!(groups_of(&process), groups);
    signal(&process, rustix::process::Signal::KILL);
    let ended = |seen: &hv_driver::Observation| matches!(&seen.guest, Guest::Ended(End::Failed(_)));
    observed(&driver, &guest, "its end", ended).await;
    assert!(gone(), "after its own end");
    // Adopted, and ended while nobody watched.
    let process = halted(&driver, &guest).await;
    drop(driver);
    let driver = place.driver();
    assert_eq!(pid(&driver, &guest).await, process);
    assert_eq!(groups_of(&process), groups);
    drop(driver);
    signal(&process, rustix::process::Signal::KILL);
    let driver = place.driver();
    observed(&driver, &guest, "its end", ended).await;
    assert!(gone(), "after an end that nobody saw");
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_guest_that_uses_more_memory_than_it_may_is_ended_and_says_so() {
    let test = "a_guest_that_uses_more_memory_than_it_may_is_ended_and_says_so";
    let Some(place) = Place::with_demo(test) else { return };
    let driver = place.driver();
    if with_groups(&driver, test).await.is_none() {
        return;
    }
    let guest = place.demo();
    let process = halted(&driver, &guest).await;
    let groups = groups(&process, &guest);
    // The group cannot be removed when its guest has ended.
    let held: Vec<_> = groups.iter().map(|group| group.join("held")).collect();
    held.iter().for_each(|held| fs::create_dir(held).unwrap());
    // Less than a Linux that boots takes, and more than QEMU has now.
    for group in &groups {
        for (used, limit) in
            [("memory.current", "memory.max"), ("memory.usage_in_bytes", "memory.limit_in_bytes")]
        {
            if let Ok(used) = fs::read_to_string(group.join(used)) {
                let limit_bytes = used.trim().parse::<u64>().unwrap() + (8 << 20);
                fs::write(group.join(limit), limit_bytes.to_string()).unwrap();
            }
        }
    }
    // It may be ended before it has answered.
    if let Err(error) = driver.resume(guest.handle).await {
        assert_eq!(error.kind, DriverErrorKind::Unresponsive, "{error:?}");
    }
    let starved = |seen: &hv_driver::Observation| matches!(&seen.guest, Guest::Ended(End::Failed(why)) if why.contains("signal 9") && why.contains("more memory than its control group"));
    observed(&driver, &guest, "its end", starved).await;

    // The next one, in the same group, has its own reasons.
    let process = halted(&driver, &guest).await;
    signal(&process, rustix::process::Signal::KILL);
    let killed = |seen: &hv_driver::Observation| matches!(&seen.guest, Guest::Ended(End::Failed(why)) if why.contains("signal 9") && !why.contains("memory"));
    observed(&driver, &guest, "its end", killed).await;
    held.iter().for_each(|held| fs::remove_dir(held).unwrap());
    halted(&driver, &guest).await;
    driver.kill(guest.handle).await.unwrap();
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn without_a_place_for_control_groups_the_driver_says_so_and_goes_on() {
    let test = "without_a_place_for_control_groups_the_driver_says_so_and_goes_on";
    let Some(place) = Place::with_demo(test) else { return };
    let absent = place.directory.path().join("no-such-group");
    for (cgroups, why) in [(Cgroups::Off, "switched off"), (Cgroups::Below(absent), "no-such-group")] {
        let config = Config { cgroups, ..place.config() };
        let driver = QemuDriver::new(config, Tasks::new()).unwrap();
        let status = driver.fingerprint().await;
        let told = &status.attributes["cgroups"];
        let why = if rustix::process::geteuid().is_root() { why } else { "not root" };
        assert!(status.healthy && told.starts_with("none: ") && told.contains(why), "{status:?}");
        let guest = place.demo();
        let process = halted(&driver, &guest).await;
        assert_eq!(groups(&process, &guest), Vec::<PathBuf>::new());
        removed(&driver, &guest).await;
    }
    place.assert_nothing_left();
}

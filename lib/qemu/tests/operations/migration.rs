//! Machines that go on elsewhere.

use crate::guest::{Guest, LONG, config, missing};
use qemu::{
    Config,
    config::{Address, Disk, Image, Tls, TlsRole},
    vm::{MigrateError, MigrationOptions, MigrationTls, MovedDisks, OperationError, Route, Whereabouts},
};
use qmp::commands::{MigrationStatus, QueryBlockExports, QueryMigrate, RunState};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

pub(crate) const COUNT: &str =
    "(i=0; while :; do i=$((i+1)); echo $i >/run/new; mv /run/new /run/count; sleep 0.02; done) & true";

pub(crate) async fn counted(guest: &mut Guest) -> u64 {
    guest.run("cat /run/count").await.parse().unwrap()
}

/// A guest that counts, on a disk that both processes can open.
async fn counting(directory: &Path) -> (Guest, Config) {
    let image = directory.join("shared.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let config = config().disk(Disk::new("root", Image::raw(image)));
    let mut guest = Guest::linux(&directory.join("source"), config.clone()).await;
    guest.run(COUNT).await;
    guest.run_until("[ -s /run/count ]").await;
    guest.run("printf written >/dev/vda; sync").await;
    (guest, Guest::with_linux(config))
}

async fn goes_on(directory: &Path, via: impl Into<Route>, options: MigrationOptions) {
    let (mut source, config) = counting(directory).await;
    let before = counted(&mut source).await;
    let mut destination = Guest::incoming(&directory.join("destination"), config).await;
    let moved = source.vm.migrate_to(&destination.vm, via, &options).await.unwrap();
    assert!(moved.bytes > 0 && moved.total >= moved.downtime, "{moved:?}");
    assert_eq!(source.vm.status().run_state, RunState::Postmigrate);
    source.quit().await;
    let after = counted(&mut destination).await;
    assert!(after >= before, "{before} then {after}");
    destination.run_until(&format!("[ $(cat /run/count) -gt {after} ]")).await;
    assert_eq!(destination.run("head -c 7 /dev/vda").await, "written");
    destination.quit().await;
}

fn missing_or(test: &str) -> Option<tempfile::TempDir> {
    if missing(test, true) {
        return None;
    }
    Some(places())
}

/// A directory with one for each end.
pub(crate) fn places() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["source", "destination"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    directory
}

#[tokio::test]
async fn a_guest_goes_on_over_a_unix_socket() {
    let Some(directory) = missing_or("a_guest_goes_on_over_a_unix_socket") else { return };
    let via = Address::Unix(directory.path().join("migration.sock"));
    goes_on(directory.path(), &via, MigrationOptions::default()).await;
}

#[tokio::test]
async fn a_guest_goes_on_over_several_tcp_connections() {
    let Some(directory) = missing_or("a_guest_goes_on_over_several_tcp_connections") else { return };
    let options = MigrationOptions { channels: Some(3), ..MigrationOptions::default() };
    goes_on(directory.path(), &Address::Tcp("127.0.0.1".into(), 0), options).await;
}

#[tokio::test]
async fn a_guest_is_saved_to_a_file_and_goes_on_from_there() {
    let Some(directory) = missing_or("a_guest_is_saved_to_a_file_and_goes_on_from_there") else { return };
    let (mut guest, config) = counting(directory.path()).await;
    let before = counted(&mut guest).await;
    let state = directory.path().join("state, 1");
    guest.vm.save(&state).await.unwrap();
    // Not written over.
    assert!(matches!(guest.vm.save(&state).await.unwrap_err(), OperationError::Host { .. }));
    guest.quit().await;
    let mut restored = Guest::incoming(&directory.path().join("destination"), config.clone()).await;
    restored.vm.restore(&state).await.unwrap();
    restored.vm.resume().await.unwrap();
    let after = counted(&mut restored).await;
    assert!(after >= before, "{before} then {after}");
    restored.quit().await;
    // Half a state is none.
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let half = Guest::incoming(&directory.path().join("destination"), config).await;
    let refused = tokio::time::timeout(LONG, half.vm.restore(&state)).await.unwrap();
    assert!(refused.is_err());
}

/// Where a file is synced in no time, the writer of the state is done before QEMU has told of its end.
#[tokio::test]
async fn a_state_that_is_written_faster_than_it_is_reported_is_kept() {
    let test = "a_state_that_is_written_faster_than_it_is_reported_is_kept";
    if missing(test, false) {
        return;
    }
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        println!("not run: {test}: /dev/shm");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest::paused(directory.path(), config()).await;
    for round in 0..3 {
        let state = memory.path().join(round.to_string());
        guest.vm.save(&state).await.unwrap();
        assert!(fs::metadata(&state).unwrap().len() > 1 << 16);
        guest.vm.resume().await.unwrap();
    }
    // A place that is taken is known before the guest is stopped.
    let taken = guest.vm.save(&memory.path().join("0")).await.unwrap_err();
    assert!(matches!(taken, OperationError::Host { .. }), "{taken:?}");
    assert_eq!(guest.vm.status().run_state, RunState::Running);
    guest.quit().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_not_waited_for() {
    let test = "a_state_that_cannot_be_read_is_not_waited_for";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest::incoming(directory.path(), config()).await;
    // It can be opened, and that is all.
    let refused = tokio::time::timeout(LONG, guest.vm.restore(directory.path())).await.unwrap().unwrap_err();
    assert!(matches!(refused, OperationError::Host { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_migration_is_followed_and_given_up_and_the_guest_goes_on_here() {
    let test = "a_migration_is_followed_and_given_up_and_the_guest_goes_on_here";
    let Some(directory) = missing_or(test) else { return };
    let (mut source, config) = counting(directory.path()).await;
    let destination = Guest::incoming(&directory.path().join("destination"), config).await;
    let via = Address::Unix(directory.path().join("migration.sock"));
    // So slow that it does not end by itself.
    let options = MigrationOptions { bandwidth: Some(1 << 16), ..MigrationOptions::default() };
    destination.vm.await_migration(&via, &options).await.unwrap();
    let migration = source.vm.migrate(&via, &options).await.unwrap();
    let (_, remaining) = migration.progress().await.unwrap();
    assert!(remaining > 0);
    migration.cancel().await.unwrap();
    let before = counted(&mut source).await;
    source.run_until(&format!("[ $(cat /run/count) -gt {before} ]")).await;
    // A destination that is not there.
    let nowhere = Address::Unix(directory.path().join("nobody"));
    let failed = source.vm.migrate(&nowhere, &MigrationOptions::default()).await;
    let failed = match failed {
        Ok(migration) => migration.done().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(failed, OperationError::Job { .. } | OperationError::Qmp { .. }), "{failed:?}");
    source.run("true").await;
    source.quit().await;
}

#[tokio::test]
async fn a_migration_whose_other_end_is_silent_is_broken_and_the_guest_goes_on() {
    let test = "a_migration_whose_other_end_is_silent_is_broken_and_the_guest_goes_on";
    let Some(directory) = missing_or(test) else { return };
    let mut guest = Guest::linux(&directory.path().join("source"), config()).await;
    // It takes the connection and never reads.
    let place = directory.path().join("silent.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&place).unwrap();
    let via = Address::Unix(place);
    assert_eq!(guest.vm.yank().await.unwrap(), 0, "there is nothing to break");
    let migration = guest.vm.migrate(&via, &MigrationOptions::default()).await.unwrap();
    assert_eq!(guest.vm.yank().await.unwrap(), 1);
    let broken = migration.done().await.unwrap_err();
    assert!(matches!(broken, OperationError::Job { .. }), "{broken:?}");
    guest.run("true").await;
    guest.quit().await;
}

#[tokio::test]
async fn a_guest_goes_on_over_a_handed_over_connection() {
    let Some(directory) = missing_or("a_guest_goes_on_over_a_handed_over_connection") else { return };
    let (source, destination) = std::os::unix::net::UnixStream::pair().unwrap();
    let via = Route::Connected { source: source.into(), destination: destination.into() };
    goes_on(directory.path(), via, MigrationOptions::default()).await;
}

/// Whether guests can run before their memory is there; says so if not.
fn no_postcopy(test: &str) -> bool {
    let allowed = fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd").unwrap_or_default();
    let missing = !rustix::process::getuid().is_root() && allowed.trim() != "1";
    if missing {
        println!("not run: {test}: userfaultfd (root, or vm.unprivileged_userfaultfd=1)");
    }
    missing
}

async fn migration_status(guest: &Guest) -> Option<MigrationStatus> {
    guest.vm.qmp().call(&QueryMigrate {}).await.unwrap().status
}

/// A migration whose second half takes seconds.
fn slow_postcopy() -> MigrationOptions {
    MigrationOptions { postcopy: true, postcopy_bandwidth: Some(8 << 20), ..MigrationOptions::default() }
}

#[tokio::test]
async fn a_guest_goes_on_before_its_memory_is_there() {
    let test = "a_guest_goes_on_before_its_memory_is_there";
    let Some(directory) = missing_or(test) else { return };
    if no_postcopy(test) {
        return;
    }
    let (mut source, config) = counting(directory.path()).await;
    let before = counted(&mut source).await;
    let mut destination = Guest::incoming(&directory.path().join("destination"), config).await;
    let via = Address::Unix(directory.path().join("migration.sock"));
    let there = destination.vm.clone();
    let options = slow_postcopy();
    let moving = source.vm.migrate_to(&there, &via, &options);
    let looking = async {
        let mut status = there.watch();
        let running = status.wait_for(|status| status.run_state == RunState::Running);
        tokio::time::timeout(LONG, running).await.unwrap().unwrap();
        let first = counted(&mut destination).await;
        destination.run_until(&format!("[ $(cat /run/count) -gt {} ]", first + 5)).await;
        (first, migration_status(&source).await)
    };
    let (moved, (first, status)) = tokio::join!(moving, looking);
    moved.unwrap();
    assert_eq!(status, Some(MigrationStatus::PostcopyActive), "the guest counts while its memory is moved");
    assert!(first >= before, "{before} then {first}");
    source.quit().await;
    assert_eq!(destination.run("head -c 7 /dev/vda").await, "written");
    destination.quit().await;
}

/// The moment when the guest was stopped to be moved and its disks are still to part.
fn about_to_move(source: &Guest) -> qmp::Waiter {
    source.vm.qmp().waiter(|event| {
        event.name == "MIGRATION" && event.data.get("status").is_some_and(|it| it == "pre-switchover")
    })
}

/// A machine at each end with a disk of its own, the way between them and the way of the disk.
pub(crate) fn two_ends(directory: &Path) -> ([Config; 2], Address, MovedDisks) {
    let machines = ["here.raw", "there.raw"].map(|name| {
        fs::write(directory.join(name), vec![0; 8 << 20]).unwrap();
        config().disk(Disk::new("root", Image::raw(directory.join(name))))
    });
    let disks = MovedDisks { ids: vec!["root".into()], through: Address::Unix(directory.join("disks.sock")) };
    (machines, Address::Unix(directory.join("migration.sock")), disks)
}

#[tokio::test]
async fn a_guest_moves_with_its_disk() {
    let test = "a_guest_moves_with_its_disk";
    let Some(directory) = missing_or(test) else { return };
    let at = |name: &str| directory.path().join(name);
    let ([here, there], via, disks) = two_ends(directory.path());
    let mut source = Guest::linux(&at("source"), here).await;
    source.run("dd if=/dev/urandom of=/dev/vda bs=1M seek=2 count=4 2>/dev/null; sync").await;
    let sum = source.run("dd if=/dev/vda bs=1M skip=2 count=4 2>/dev/null | md5sum").await;
    // Every number is on the disk before it is told.
    let write = "printf '%-511d\\n' $n | dd of=/dev/vda bs=512 oflag=direct conv=notrunc 2>/dev/null";
    let count = format!(
        "(n=1000; while :; do n=$((n + 1)); {write}; echo $n >/run/new; mv /run/new /run/count; done) & true"
    );
    source.run(&count).await;
    source.run_until("[ -s /run/count ]").await;
    let mut destination = Guest::incoming(&at("destination"), Guest::with_linux(there.clone())).await;
    let before = counted(&mut source).await;
    let options = MigrationOptions::default();
    source.vm.migrate_with_disks(&destination.vm, &via, &options, &disks).await.unwrap();
    source.quit().await;
    // The old image is not used any more.
    fs::remove_file(at("here.raw")).unwrap();
    destination.run("echo 3 >/proc/sys/vm/drop_caches").await;
    assert_eq!(destination.run("dd if=/dev/vda bs=1M skip=2 count=4 2>/dev/null | md5sum").await, sum);
    let after = counted(&mut destination).await;
    assert!(after >= before, "{before} then {after}");
    destination.run_until(&format!("[ $(cat /run/count) -gt {after} ]")).await;
    let told = counted(&mut destination).await;
    let disk = fs::read(at("there.raw")).unwrap();
    let written: u64 = std::str::from_utf8(&disk[..12]).unwrap().trim().parse().unwrap();
    assert!(written >= told, "{written} on the disk, {told} told");
    destination.quit().await;
    // A destination without such a disk: nothing goes on, and the guest stays.
    let mut source = Guest::linux(&at("source"), there).await;
    let destination = Guest::incoming(&at("destination"), Guest::with_linux(config())).await;
    let refused = source.vm.migrate_with_disks(&destination.vm, &via, &options, &disks).await.unwrap_err();
    assert_eq!(refused.guest, Whereabouts::Source, "{refused:?}");
    assert!(source.vm.jobs().await.unwrap().is_empty());
    source.run("true").await;
    source.quit().await;
}

/// Of two disks the second has no room at the other end: the copy of the first is taken back, too.
#[tokio::test]
async fn a_disk_that_cannot_move_takes_the_copies_of_the_others_back() {
    let test = "a_disk_that_cannot_move_takes_the_copies_of_the_others_back";
    if missing(test, false) {
        return;
    }
    let directory = places();
    let at = |name: &str| directory.path().join(name);
    let ([here, there], via, disks) = two_ends(directory.path());
    let [here, there] = [(here, "here-2.raw", 8), (there, "there-2.raw", 1)].map(|(machine, name, mib)| {
        fs::write(at(name), vec![0; mib << 20]).unwrap();
        machine.disk(Disk::new("second", Image::raw(at(name))))
    });
    let source = Guest::paused(&at("source"), here).await;
    let destination = Guest::incoming(&at("destination"), there).await;
    let before = [source.node_names().await, destination.node_names().await];
    let disks = MovedDisks { ids: vec!["root".into(), "second".into()], ..disks };
    let options = MigrationOptions::default();
    let refused = source.vm.migrate_with_disks(&destination.vm, &via, &options, &disks).await.unwrap_err();
    assert_eq!(refused.guest, Whereabouts::Source, "{refused:?}");
    assert!(source.vm.jobs().await.unwrap().is_empty());
    assert_eq!(source.node_names().await, before[0]);
    // Its server ends by itself, as nobody waits for a destination that may be silent.
    let ended = async {
        while !destination.vm.qmp().call(&QueryBlockExports {}).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ended).await.unwrap();
    assert_eq!(destination.node_names().await, before[1]);
    source.quit().await;
    destination.quit().await;
}

/// At the moment when it matters: the guest was stopped to be moved, and nothing of QEMU's lets it go on by itself.
#[tokio::test]
async fn a_guest_whose_move_with_its_disk_is_dropped_goes_on_where_it_was() {
    let test = "a_guest_whose_move_with_its_disk_is_dropped_goes_on_where_it_was";
    let Some(directory) = missing_or(test) else { return };
    let at = |name: &str| directory.path().join(name);
    let ([here, there], via, disks) = two_ends(directory.path());
    let mut source = Guest::linux(&at("source"), here).await;
    source.run(COUNT).await;
    source.run_until("[ -s /run/count ]").await;
    let before = source.node_names().await;
    let destination = Guest::incoming(&at("destination"), Guest::with_linux(there)).await;
    let options = MigrationOptions::default();
    let stands = about_to_move(&source);
    // Cancel safety: to drop one of them is what is tested.
    tokio::select! {
        biased;
        event = stands => drop(event.unwrap()),
        moved = source.vm.migrate_with_disks(&destination.vm, &via, &options, &disks) => panic!("{moved:?}"),
    }
    let count = counted(&mut source).await;
    source.run_until(&format!("[ $(cat /run/count) -gt {count} ]")).await;
    let taken_back = async {
        while source.node_names().await != before || !source.vm.jobs().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, taken_back).await.unwrap();
    assert!(source.vm.migration().await.unwrap().is_none());
    source.run("dd if=/dev/zero of=/dev/vda bs=512 count=1 oflag=direct 2>/dev/null").await;
    destination.vm.kill().await.unwrap();
    source.quit().await;
}

/// What stands between two processes does with what the source sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    Forwards,
    /// It is read and goes nowhere.
    Swallows,
    Breaks,
}

/// Relays one connection.
fn relay(from: &Path, to: PathBuf) -> (watch::Sender<Relay>, JoinSet<()>) {
    let listener = tokio::net::UnixListener::bind(from).unwrap();
    let (mode, mut modes) = watch::channel(Relay::Forwards);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut source, _) = listener.accept().await.unwrap();
        let mut destination = tokio::net::UnixStream::connect(to).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut source, &mut destination) => return,
            mode = modes.wait_for(|mode| *mode != Relay::Forwards) => {
                if mode.is_ok_and(|mode| *mode == Relay::Breaks) {
                    return;
                }
            }
        }
        // The destination's end stays open: it hears nothing more.
        let _ = tokio::io::copy(&mut source, &mut tokio::io::sink()).await;
        std::future::pending::<()>().await;
    });
    (mode, tasks)
}

#[tokio::test]
async fn a_guest_whose_memory_is_on_both_sides_is_recovered() {
    let test = "a_guest_whose_memory_is_on_both_sides_is_recovered";
    let Some(directory) = missing_or(test) else { return };
    if no_postcopy(test) {
        return;
    }
    let at = |name: &str| directory.path().join(name);
    let (mut source, config) = counting(directory.path()).await;
    let before = counted(&mut source).await;
    let mut destination = Guest::incoming(&at("destination"), config).await;
    let (mode, _relay) = relay(&at("relay.sock"), at("listen.sock"));
    let via = Route::Forwarded {
        listen: Address::Unix(at("listen.sock")),
        connect: Address::Unix(at("relay.sock")),
    };
    let options = slow_postcopy();
    let breaking = async {
        let mut status = destination.vm.watch();
        let running = status.wait_for(|status| status.run_state == RunState::Running);
        tokio::time::timeout(LONG, running).await.unwrap().unwrap();
        mode.send_replace(Relay::Breaks);
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, via, &options), breaking);
    let broken = moved.unwrap_err();
    assert_eq!(broken.guest, Whereabouts::Both, "{broken:?}");
    let via = Address::Unix(at("second.sock"));
    source.vm.recover_migration(&destination.vm, &via).await.unwrap();
    assert_eq!(source.vm.status().run_state, RunState::Postmigrate);
    source.quit().await;
    let after = counted(&mut destination).await;
    assert!(after >= before, "{before} then {after}");
    destination.run_until(&format!("[ $(cat /run/count) -gt {after} ]")).await;
    destination.quit().await;
}

pub(crate) fn signal(guest: &Guest, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(guest.vm.record().pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Migrates through a relay that swallows what comes after the beginning, until the source has sent all; then `meanwhile`.
async fn swallowed(
    directory: &Path,
    source: &Guest,
    destination: &Guest,
    options: &MigrationOptions,
    meanwhile: impl FnOnce(&Guest),
) -> MigrateError {
    let at = |name: &str| directory.join(name);
    let (mode, _relay) = relay(&at("relay.sock"), at("listen.sock"));
    let via = Route::Forwarded {
        listen: Address::Unix(at("listen.sock")),
        connect: Address::Unix(at("relay.sock")),
    };
    let mut stands = source.vm.qmp().subscribe(qmp::Filter::Names(&["MIGRATION"]), 64);
    let watching = async {
        while source.vm.migration().await.unwrap().is_none() {}
        mode.send_replace(Relay::Swallows);
        while stands.next().await.unwrap().data["status"] != "completed" {}
        meanwhile(destination);
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, via, options), watching);
    moved.unwrap_err()
}

#[tokio::test]
async fn a_guest_whose_destination_dies_goes_on_where_it_was() {
    let test = "a_guest_whose_destination_dies_goes_on_where_it_was";
    let Some(directory) = missing_or(test) else { return };
    let (mut source, config) = counting(directory.path()).await;
    let via = Address::Unix(directory.path().join("migration.sock"));
    let kill = |guest: &Guest| signal(guest, rustix::process::Signal::KILL);
    // While memory is sent.
    let destination = Guest::incoming(&directory.path().join("destination"), config.clone()).await;
    let slow = MigrationOptions { bandwidth: Some(1 << 20), ..MigrationOptions::default() };
    let killing = async {
        while source.vm.migration().await.unwrap().is_none() {}
        kill(&destination);
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, &via, &slow), killing);
    let error = moved.unwrap_err();
    assert_eq!(error.guest, Whereabouts::Source, "{error:?}");
    let before = counted(&mut source).await;
    source.run_until(&format!("[ $(cat /run/count) -gt {before} ]")).await;
    // After the source has sent all and stands.
    drop(destination);
    let destination = Guest::incoming(&directory.path().join("destination"), config).await;
    // Far more than it takes: what was sent in between is not missed later.
    let options = MigrationOptions { bandwidth: Some(64 << 20), ..MigrationOptions::default() };
    let error = swallowed(directory.path(), &source, &destination, &options, kill).await;
    assert_eq!(error.guest, Whereabouts::Source, "{error:?}");
    assert_eq!(source.vm.status().run_state, RunState::Running);
    let before = counted(&mut source).await;
    source.run_until(&format!("[ $(cat /run/count) -gt {before} ]")).await;
    source.run("printf further >/dev/vda; sync").await;
    source.quit().await;
}

#[tokio::test]
async fn a_guest_whose_destination_is_silent_stands_until_that_is_proved_to_be_gone() {
    let test = "a_guest_whose_destination_is_silent_stands_until_that_is_proved_to_be_gone";
    let Some(directory) = missing_or(test) else { return };
    let (mut source, config) = counting(directory.path()).await;
    let destination = Guest::incoming(&directory.path().join("destination"), config).await;
    let patience = Some(Duration::from_millis(300));
    let options = MigrationOptions { bandwidth: Some(64 << 20), patience, ..MigrationOptions::default() };
    let stop = |guest: &Guest| signal(guest, rustix::process::Signal::STOP);
    let error = swallowed(directory.path(), &source, &destination, &options, stop).await;
    assert_eq!(error.guest, Whereabouts::Unknown, "{error:?}");
    assert_eq!(source.vm.status().run_state, RunState::Postmigrate);
    destination.vm.kill().await.unwrap();
    source.vm.resume().await.unwrap();
    source.run("printf further >/dev/vda; sync").await;
    source.quit().await;
}

/// A client with its credentials and a server with its own, of one authority, for either role of one machine.
fn with_credentials(mut machine: Config, certificates: &Path) -> Config {
    machine.tls = [("tls-client", TlsRole::Client), ("tls-server", TlsRole::Server)]
        .map(|(id, role)| Tls { id: id.into(), directory: certificates.into(), role, verify_peer: true })
        .into();
    machine
}

/// Looked at where both ends are the same and the guest is about to move: whoever asks the destination in the clear is refused.
#[tokio::test]
async fn disks_travel_over_tls_beside_memory_that_does() {
    let test = "disks_travel_over_tls_beside_memory_that_does";
    if missing(test, false) {
        return;
    }
    let directory = places();
    let at = |name: &str| directory.path().join(name);
    certificates(&at("tls"));
    let (machines, via, disks) = two_ends(directory.path());
    let content: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(at("here.raw"), &content).unwrap();
    let [here, there] = machines.map(|machine| with_credentials(machine, &at("tls")));
    let source = Guest::paused(&at("source"), here).await;
    let destination = Guest::incoming(&at("destination"), there).await;
    let tls = MigrationTls {
        source: "tls-client".into(),
        destination: "tls-server".into(),
        hostname: "destination.test".into(),
    };
    let options = MigrationOptions { tls: Some(tls), ..MigrationOptions::default() };
    let stands = about_to_move(&source);
    {
        let moving = source.vm.migrate_with_disks(&destination.vm, &via, &options, &disks);
        let mut moving = std::pin::pin!(moving);
        // Cancel safety: the move is kept, and goes on below.
        tokio::select! {
            biased;
            event = stands => drop(event.unwrap()),
            moved = moving.as_mut() => panic!("{moved:?}"),
        }
        let Address::Unix(socket) = &disks.through else { unreachable!("as above") };
        let in_the_clear = format!("nbd+unix:///root?socket={}", socket.display());
        let read = Command::new("qemu-img").args(["info", &in_the_clear]).output().unwrap();
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(!read.status.success() && said.contains("TLS"), "{said}");
        moving.await.unwrap();
    }
    source.quit().await;
    destination.quit().await;
    assert!(fs::read(at("there.raw")).unwrap() == content);
}

/// An authority, and a server and a client that it vouches for.
pub(crate) fn certificates(directory: &Path) {
    fs::create_dir(directory).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    fs::write(directory.join("ca-cert.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    for (name, usage) in [
        ("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth),
        ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut own = rcgen::CertificateParams::new(vec!["destination.test".to_owned()]).unwrap();
        own.key_usages =
            vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyEncipherment];
        own.extended_key_usages = vec![usage];
        own.distinguished_name.push(rcgen::DnType::CommonName, name);
        fs::write(directory.join(format!("{name}-cert.pem")), own.signed_by(&key, &issuer).unwrap().pem())
            .unwrap();
        fs::write(directory.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_guest_goes_on_over_tls_and_not_to_a_stranger() {
    let Some(directory) = missing_or("a_guest_goes_on_over_tls_and_not_to_a_stranger") else { return };
    certificates(&directory.path().join("tls"));
    let machine = with_credentials(config(), &directory.path().join("tls"));
    let mut source = Guest::linux(&directory.path().join("source"), machine.clone()).await;
    let machine = Guest::with_linux(machine);
    for hostname in ["stranger.test", "destination.test"] {
        let tls = MigrationTls {
            source: "tls-client".into(),
            destination: "tls-server".into(),
            hostname: hostname.into(),
        };
        let options = MigrationOptions { tls: Some(tls), ..MigrationOptions::default() };
        let mut destination = Guest::incoming(&directory.path().join("destination"), machine.clone()).await;
        let via = Address::Tcp("127.0.0.1".into(), 0);
        if hostname == "stranger.test" {
            destination.vm.await_migration(&via, &options).await.unwrap();
            let refused = source.vm.migrate(&via, &options).await.unwrap().done().await.unwrap_err();
            assert!(matches!(refused, OperationError::Job { .. }), "{refused:?}");
            source.run("true").await;
        } else {
            source.vm.migrate_to(&destination.vm, &via, &options).await.unwrap();
            destination.run("true").await;
        }
        destination
            .vm
            .shutdown(qemu::Ladder { button: Duration::ZERO, quit: LONG, ..qemu::Ladder::default() })
            .await
            .unwrap();
    }
    source.quit().await;
}

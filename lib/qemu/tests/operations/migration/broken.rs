//! Ends and connections that break while a machine moves.

use super::{counting, is_sent, migration_status, missing_or, no_postcopy, slow_postcopy};
use crate::{
    counting::{counted, counts_on, never_went_back},
    cut::Cutter,
    guest::{Guest, LONG},
};
use qemu::{
    config::Address,
    vm::{MigrateError, MigrationOptions, OperationError, Route, Whereabouts},
};
use qmp::commands::{MigrateSetParameters, MigrationStatus, QueryStatus, RunState};
use std::{fs, path::Path, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// What stands between two processes does with what the source sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    /// Nothing arrives yet.
    Holds,
    Forwards,
    /// It is read and goes nowhere.
    Swallows,
    Breaks,
}

/// Relays one connection, on the way that it answers.
fn relay(does: Relay, directory: &Path) -> (watch::Sender<Relay>, JoinSet<()>, Route) {
    let (from, to) = (directory.join("relay.sock"), directory.join("listen.sock"));
    let listener = tokio::net::UnixListener::bind(&from).unwrap();
    let via = Route::Forwarded { listen: Address::Unix(to.clone()), connect: Address::Unix(from) };
    let (mode, mut modes) = watch::channel(does);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut source, _) = listener.accept().await.unwrap();
        modes.wait_for(|mode| *mode != Relay::Holds).await.unwrap();
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
    (mode, tasks, via)
}

/// A guest that counts, one that waits for it, and how far it has come; nothing where memory cannot follow a guest.
async fn for_postcopy(test: &str) -> Option<(tempfile::TempDir, Guest, Guest, u64)> {
    let directory = missing_or(test).filter(|_| !no_postcopy(test))?;
    let (mut source, config) = counting(directory.path()).await;
    let destination = Guest::incoming(&directory.path().join("destination"), config).await;
    let before = counted(&mut source).await;
    Some((directory, source, destination, before))
}

#[tokio::test]
async fn a_guest_whose_memory_is_on_both_sides_is_recovered() {
    let test = "a_guest_whose_memory_is_on_both_sides_is_recovered";
    let Some((directory, source, mut destination, before)) = for_postcopy(test).await else { return };
    let at = |name: &str| directory.path().join(name);
    let (mode, _relay, via) = relay(Relay::Forwards, directory.path());
    let options = slow_postcopy();
    let breaking = async {
        runs(&destination).await;
        mode.send_replace(Relay::Breaks);
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, via, &options), breaking);
    let broken = moved.unwrap_err();
    assert_eq!(broken.guest, Whereabouts::Both, "{broken:?}");
    let via = Address::Unix(at("second.sock"));
    source.vm.recover_migration(&destination.vm, &via).await.unwrap();
    assert_eq!(source.vm.status().run_state, RunState::Postmigrate);
    source.quit().await;
    counts_on(&mut destination, before).await;
    never_went_back(directory.path()).await;
    destination.quit().await;
}

/// As long as nobody lets it run it stands, at whichever end it was paused.
#[tokio::test]
async fn a_guest_that_was_paused_stands_when_it_is_recovered() {
    let test = "a_guest_that_was_paused_stands_when_it_is_recovered";
    for is_paused_here in [true, false] {
        let Some((directory, source, mut destination, before)) = for_postcopy(test).await else { return };
        let at = |name: &str| directory.path().join(name);
        let (mode, _relay, via) = relay(Relay::Forwards, directory.path());
        if is_paused_here {
            source.vm.pause().await.unwrap();
        }
        let breaking = async {
            if is_paused_here {
                arrives_before_its_memory(&destination.vm.qmp()).await;
            } else {
                runs(&destination).await;
                destination.vm.pause().await.unwrap();
            }
            mode.send_replace(Relay::Breaks);
        };
        let options = slow_postcopy();
        let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, via, &options), breaking);
        let broken = moved.unwrap_err();
        assert_eq!(broken.guest, Whereabouts::Both, "{broken:?}");
        let ran = destination.vm.qmp().waiter(|event| event.name == "RESUME");
        hurries(&source).await;
        let via = Address::Unix(at("second.sock"));
        source.vm.recover_migration(&destination.vm, &via).await.unwrap();
        assert_eq!(destination.vm.status().run_state, RunState::Paused, "paused here: {is_paused_here}");
        // Nor did it run meanwhile: QEMU tells of that before it answers.
        destination.vm.qmp().call(&QueryStatus {}).await.unwrap();
        let ran = tokio::time::timeout(Duration::ZERO, ran).await;
        assert!(ran.is_err(), "{ran:?}");
        source.quit().await;
        destination.vm.resume().await.unwrap();
        counts_on(&mut destination, before).await;
        never_went_back(directory.path()).await;
        destination.quit().await;
    }
}

/// The connection breaks when it is there, and whoever moves it has not heard of that: its monitor is away.
#[tokio::test]
async fn a_guest_that_was_not_let_run_yet_runs_when_it_is_recovered() {
    let test = "a_guest_that_was_not_let_run_yet_runs_when_it_is_recovered";
    let Some((directory, source, mut destination, before)) = for_postcopy(test).await else { return };
    let at = |name: &str| directory.path().join(name);
    let cutter = Cutter::between(&mut destination).await;
    let (mode, _relay, via) = relay(Relay::Holds, directory.path());
    let monitor = destination.vm.record().qmp_socket.clone();
    let (away, real) = (monitor.with_file_name("away.sock"), monitor.with_file_name("real.sock"));
    let is_sent = source.vm.qmp().waiter(is_status("active"));
    let breaking = async {
        is_sent.await.unwrap();
        fs::rename(&monitor, &away).unwrap();
        cutter.cut().await;
        mode.send_replace(Relay::Forwards);
        let (client, driver) =
            qmp::client_unix(qemu::socket::connect(&real).await.unwrap(), qmp::Options::default());
        // Cancel safety: nothing is said here that is of use later.
        tokio::select! {
            () = arrives_before_its_memory(&client) => {}
            reason = driver => panic!("{reason:?}"),
        }
        mode.send_replace(Relay::Breaks);
    };
    let options = slow_postcopy();
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, via, &options), breaking);
    let broken = moved.unwrap_err();
    assert_eq!(broken.guest, Whereabouts::Both, "{broken:?}");
    fs::rename(&away, &monitor).unwrap();
    destination.answers().await;
    hurries(&source).await;
    let via = Address::Unix(at("second.sock"));
    source.vm.recover_migration(&destination.vm, &via).await.unwrap();
    assert_eq!(destination.vm.status().run_state, RunState::Running);
    source.quit().await;
    counts_on(&mut destination, before).await;
    never_went_back(directory.path()).await;
    destination.quit().await;
}

/// The rest of the memory comes as fast as it can.
async fn hurries(source: &Guest) {
    let max_postcopy_bandwidth = Some(0);
    let fast = MigrateSetParameters { max_postcopy_bandwidth, ..MigrateSetParameters::default() };
    source.vm.qmp().call(&fast).await.unwrap();
}

async fn runs(guest: &Guest) {
    let mut status = guest.vm.watch();
    let running = status.wait_for(|status| status.run_state == RunState::Running);
    tokio::time::timeout(LONG, running).await.unwrap().unwrap();
}

/// Waits until the process of this monitor has a guest that stands there and whose memory follows. One that is told earlier of a broken
/// connection ends.
async fn arrives_before_its_memory(client: &qmp::Client) {
    let arrives = async {
        while client.call(&QueryStatus {}).await.unwrap().status != RunState::Paused {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, arrives).await.unwrap();
}

/// QEMU 7.2 would give it up, and the guest with it.
#[tokio::test]
async fn a_guest_that_has_moved_before_its_memory_is_not_given_up_at_either_end() {
    let test = "a_guest_that_has_moved_before_its_memory_is_not_given_up_at_either_end";
    let Some((directory, source, mut destination, before)) = for_postcopy(test).await else { return };
    let via = Address::Unix(directory.path().join("listen.sock"));
    let options = slow_postcopy();
    let giving_up = async {
        runs(&destination).await;
        let leaving = source.vm.migration().await.unwrap().expect("it is sent");
        let refused = leaving.cancel().await.unwrap_err();
        assert!(matches!(refused, OperationError::Qmp { .. }), "{refused:?}");
        let arriving = destination.vm.migration().await.unwrap().expect("it arrives");
        let refused = arriving.cancel().await.unwrap_err();
        assert!(matches!(refused, OperationError::Arriving), "{refused:?}");
        assert_eq!(migration_status(&source).await, Some(MigrationStatus::PostcopyActive));
        hurries(&source).await;
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, &via, &options), giving_up);
    moved.unwrap();
    source.quit().await;
    counts_on(&mut destination, before).await;
    never_went_back(directory.path()).await;
    destination.quit().await;
}

/// A connection that hangs is broken on purpose: at the source, and then at the destination, whose guest may need what is missing.
#[tokio::test]
async fn a_guest_whose_connection_is_broken_on_purpose_at_either_end_is_recovered() {
    let test = "a_guest_whose_connection_is_broken_on_purpose_at_either_end_is_recovered";
    let Some((directory, source, mut destination, before)) = for_postcopy(test).await else { return };
    let at = |name: &str| directory.path().join(name);
    let options = slow_postcopy();
    let via = Address::Unix(at("first.sock"));
    let pausing = async {
        runs(&destination).await;
        let mut leaving = source.vm.migration().await.unwrap().expect("it is sent");
        leaving.pause().await
    };
    let (moved, paused) = tokio::join!(source.vm.migrate_to(&destination.vm, &via, &options), pausing);
    paused.unwrap();
    let broken = moved.unwrap_err();
    assert_eq!(broken.guest, Whereabouts::Both, "{broken:?}");
    assert_eq!(migration_status(&source).await, Some(MigrationStatus::PostcopyPaused));

    let via = Address::Unix(at("second.sock"));
    let goes_on = source.vm.qmp().waiter(is_status("postcopy-active"));
    let pausing = async {
        goes_on.await.unwrap();
        let mut arriving = destination.vm.migration().await.unwrap().expect("it arrives");
        arriving.pause().await
    };
    let (moved, paused) = tokio::join!(source.vm.recover_migration(&destination.vm, &via), pausing);
    paused.unwrap();
    let broken = moved.unwrap_err();
    assert_eq!(broken.guest, Whereabouts::Both, "{broken:?}");

    let via = Address::Unix(at("third.sock"));
    source.vm.recover_migration(&destination.vm, &via).await.unwrap();
    assert_eq!(source.vm.status().run_state, RunState::Postmigrate);
    source.quit().await;
    counts_on(&mut destination, before).await;
    never_went_back(directory.path()).await;
    destination.quit().await;
}

fn is_status(status: &'static str) -> impl Fn(&qmp::Event) -> bool {
    move |event| event.name == "MIGRATION" && event.data.get("status").is_some_and(|it| it == status)
}

pub(super) fn signal(guest: &Guest, signal: rustix::process::Signal) {
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
    let (mode, _relay, via) = relay(Relay::Forwards, directory);
    let mut stands = source.vm.qmp().subscribe(qmp::Filter::names(["MIGRATION"]), 64);
    let watching = async {
        is_sent(source).await;
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
        is_sent(&source).await;
        kill(&destination);
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, &via, &slow), killing);
    let error = moved.unwrap_err();
    assert_eq!(error.guest, Whereabouts::Source, "{error:?}");
    counts_on(&mut source, 1).await;
    // After the source has sent all and stands.
    drop(destination);
    let destination = Guest::incoming(&directory.path().join("destination"), config).await;
    // Far more than it takes: what was sent in between is not missed later.
    let options = MigrationOptions { bandwidth: Some(64 << 20), ..MigrationOptions::default() };
    let error = swallowed(directory.path(), &source, &destination, &options, kill).await;
    assert_eq!(error.guest, Whereabouts::Source, "{error:?}");
    assert_eq!(source.vm.status().run_state, RunState::Running);
    counts_on(&mut source, 1).await;
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

//! Machines that go on elsewhere.

mod broken;
mod disks;
mod dropped;
mod elsewhere;

use crate::{
    counting::{count, counted, counts_on, heard, never_went_back},
    credentials::{certificates, with_credentials},
    guest::{Guest, LONG, config, missing},
};
use qemu::{
    Config,
    config::{Address, Disk, Image},
    vm::{MigrationOptions, MigrationTls, OperationError, Route},
};
use qmp::commands::{
    MigrationCapabilityStatusCapability as Capability, MigrationStatus, QueryMigrate,
    QueryMigrateCapabilities, QueryMigrateParameters, RunState,
};
use std::{fs, path::Path};

/// A guest that counts, on a disk that both processes can open, and the machine of the other end.
pub(crate) async fn counting(directory: &Path) -> (Guest, Config) {
    let image = directory.join("shared.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let machine = config().disk(Disk::new("root", Image::raw(image)));
    let [here, there] = ["source", "destination"].map(|end| heard(machine.clone(), &directory.join(end)));
    let mut guest = Guest::linux(&directory.join("source"), here).await;
    count(&mut guest).await;
    guest.run("printf written >/dev/vda; sync").await;
    (guest, Guest::with_linux(there))
}

async fn goes_on(directory: &Path, via: impl Into<Route>, options: MigrationOptions) {
    let (mut source, config) = counting(directory).await;
    let mut destination = Guest::incoming(&directory.join("destination"), config).await;
    let before = counted(&mut source).await;
    let moved = source.vm.migrate_to(&destination.vm, via, &options).await.unwrap();
    assert!(moved.bytes > 0 && moved.total >= moved.downtime, "{moved:?}");
    assert_eq!(source.vm.status().run_state, RunState::Postmigrate);
    for end in [&source, &destination] {
        assert_eq!(channels(end).await, options.channels);
    }
    let memory = source.vm.qmp().call(&QueryMigrate {}).await.unwrap().ram.unwrap();
    assert_eq!(memory.multifd_bytes > 0, options.channels.is_some(), "{memory:?}");
    source.quit().await;
    counts_on(&mut destination, before).await;
    assert_eq!(destination.run("head -c 7 /dev/vda").await, "written");
    never_went_back(directory).await;
    destination.quit().await;
}

/// The connections beside the first that this end was told to use.
async fn channels(end: &Guest) -> Option<u8> {
    let client = end.vm.qmp();
    let capabilities = client.call(&QueryMigrateCapabilities {}).await.unwrap();
    let is_on = capabilities.iter().any(|it| it.capability == Capability::Multifd && it.state);
    let channels = client.call(&QueryMigrateParameters {}).await.unwrap().multifd_channels;
    is_on.then(|| channels.unwrap().try_into().unwrap())
}

pub(crate) fn missing_or(test: &str) -> Option<tempfile::TempDir> {
    if missing(test, true) {
        return None;
    }
    Some(places())
}

/// Waits until a machine is being sent.
pub(crate) async fn is_sent(source: &Guest) {
    let is_sent = async { while source.vm.migration().await.unwrap().is_none() {} };
    tokio::time::timeout(LONG, is_sent).await.expect("it is sent");
}

/// A directory with one for each end.
fn places() -> tempfile::TempDir {
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
async fn a_guest_goes_on_over_a_handed_over_connection() {
    let Some(directory) = missing_or("a_guest_goes_on_over_a_handed_over_connection") else { return };
    let (source, destination) = std::os::unix::net::UnixStream::pair().unwrap();
    let via = Route::Connected { source: source.into(), destination: destination.into() };
    goes_on(directory.path(), via, MigrationOptions::default()).await;
}

#[tokio::test]
async fn a_guest_goes_on_over_tls_and_not_to_a_stranger() {
    let Some(directory) = missing_or("a_guest_goes_on_over_tls_and_not_to_a_stranger") else { return };
    let at = |name: &str| directory.path().join(name);
    certificates(&at("tls"));
    let machine = with_credentials(config(), &at("tls"));
    let [here, there] = ["source", "destination"].map(|end| heard(machine.clone(), &at(end)));
    let mut source = Guest::linux(&at("source"), here).await;
    count(&mut source).await;
    let via = Address::Tcp("127.0.0.1".into(), 0);
    let options = |hostname: &str| {
        let tls = MigrationTls {
            source: "tls-client".into(),
            destination: "tls-server".into(),
            hostname: hostname.into(),
        };
        MigrationOptions { tls: Some(tls), ..MigrationOptions::default() }
    };
    let arrival = async || Guest::incoming(&at("destination"), Guest::with_linux(there.clone())).await;
    {
        let (destination, options) = (arrival().await, options("stranger.test"));
        destination.vm.await_migration(&via, &options).await.unwrap();
        let refused = source.vm.migrate(&via, &options).await.unwrap().done().await.unwrap_err();
        assert!(matches!(refused, OperationError::Job { .. }), "{refused:?}");
        counts_on(&mut source, 1).await;
    }
    let mut destination = arrival().await;
    let before = counted(&mut source).await;
    source.vm.migrate_to(&destination.vm, &via, &options("destination.test")).await.unwrap();
    source.quit().await;
    counts_on(&mut destination, before).await;
    never_went_back(directory.path()).await;
    destination.quit().await;
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
    let mut destination = Guest::incoming(&directory.path().join("destination"), config).await;
    let before = counted(&mut source).await;
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
    never_went_back(directory.path()).await;
    destination.quit().await;
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
    let (begun, remaining) = migration.progress().await.unwrap();
    assert!(remaining > 0);
    let grows = async {
        loop {
            let (sent, remaining) = migration.progress().await.unwrap();
            assert!(sent >= begun && remaining > 0, "{begun} then {sent}, {remaining} to go");
            if sent > begun {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, grows).await.unwrap();
    migration.cancel().await.unwrap();
    counts_on(&mut source, 1).await;
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

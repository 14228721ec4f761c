//! Moves that others get in the way of: another move, somebody who stops the guest, a guest that ends, a caller who leaves.

use super::{broken::signal, is_sent, places};
use crate::{
    counting::{counted, counts_on},
    guest::{Guest, LONG, config, missing},
};
use qemu::{
    config::{Address, Disk, Image, MemoryHotplug, Nic, NicBackend},
    vm::{MigrationOptions, OperationError, Whereabouts},
};
use qmp::commands::{Migrate, MigrateSetParameters, QueryStatus, RunState};
use rustix::process::Signal;
use serde_json::json;
use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::Command,
};

/// It takes a second or two.
fn unhurried() -> MigrationOptions {
    MigrationOptions { bandwidth: Some(32 << 20), ..MigrationOptions::default() }
}

fn socket(directory: &Path, name: &str) -> Address {
    Address::Unix(directory.join(format!("{name}.sock")))
}

async fn incoming(directory: &Path, name: &str) -> Guest {
    std::fs::create_dir(directory.join(name)).unwrap();
    Guest::incoming(&directory.join(name), Guest::with_linux(config())).await
}

/// Sends a machine as another process would, of which this one knows nothing; until it has left. QEMU tells of that where it was asked to once.
async fn sent_by_hand(source: &Guest, to: &Address) {
    let Address::Unix(path) = to else { unreachable!("a socket") };
    let client = source.vm.qmp();
    let has_left = client.waiter(|event| {
        event.name == "MIGRATION" && event.data.get("status").is_some_and(|it| it == "completed")
    });
    let max_bandwidth = Some(32 << 20);
    client.call(&MigrateSetParameters { max_bandwidth, ..MigrateSetParameters::default() }).await.unwrap();
    let uri = Some(format!("unix:{}", path.display()));
    client.call(&Migrate { uri, ..Migrate::default() }).await.unwrap();
    has_left.await.unwrap();
}

/// While a machine is sent step by step, as between two hosts, nobody else moves it, or stops it to save it: its guest would run at both.
async fn beside_a_move_in_steps(source: &Guest, other: &Guest, directory: &Path) {
    let (slow, state) = (
        MigrationOptions { bandwidth: Some(1 << 20), ..MigrationOptions::default() },
        directory.join("state"),
    );
    let (here, _nobody_reads) = UnixStream::pair().unwrap();
    let leaving = source.vm.migrate(OwnedFd::from(here), &slow).await.unwrap();
    let saved = source.vm.save(&state).await.unwrap_err();
    assert!(matches!(saved, OperationError::Moving) && !state.exists(), "{saved:?}");
    let via = socket(directory, "beside");
    let refused = source.vm.migrate_to(&other.vm, &via, &slow).await.unwrap_err();
    assert!(matches!(refused.source, OperationError::Moving), "{refused:?}");
    assert_eq!(source.vm.status().run_state, RunState::Running);
    leaving.cancel().await.unwrap();

    // Of one that another process has begun only QEMU knows.
    let client = source.vm.qmp();
    let (here, _nobody_reads) = UnixStream::pair().unwrap();
    client.pass_named("anothers", here.into()).await.unwrap().used();
    let uri = Some("fd:anothers".to_owned());
    client.call(&Migrate { uri, ..Migrate::default() }).await.unwrap();
    assert!(matches!(source.vm.save(&state).await, Err(OperationError::Moving)) && !state.exists());
    assert_eq!(source.vm.status().run_state, RunState::Running);
    source.vm.migration().await.unwrap().expect("it goes on").cancel().await.unwrap();

    // Dropped it goes on, and keeps others away until whoever finds it has given it up.
    let (here, _nobody_reads) = UnixStream::pair().unwrap();
    drop(source.vm.migrate(OwnedFd::from(here), &slow).await.unwrap());
    assert!(matches!(source.vm.save(&state).await, Err(OperationError::Moving)));
    source.vm.migration().await.unwrap().expect("it goes on").cancel().await.unwrap();
}

/// Whoever is refused has moved nothing, and does not know what others have done meanwhile: he leaves the guest and his destination alone.
#[tokio::test]
async fn a_move_that_is_refused_changes_nothing_whoever_else_has_moved_the_machine() {
    let test = "a_move_that_is_refused_changes_nothing_whoever_else_has_moved_the_machine";
    if missing(test, true) {
        return;
    }
    let directory = places();
    let at = |name: &str| directory.path().join(name);
    let mut source = Guest::linux(&at("source"), config()).await;
    source.run("(i=0; while :; do i=$((i+1)); echo $i >/run/new; mv /run/new /run/count; sleep 0.02; done) & true").await;
    source.run_until("[ -s /run/count ]").await;

    // An image that QEMU does not move. Before that is found out somebody stops the guest.
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "vmdk"])
        .arg(at("fixed.vmdk"))
        .arg("1M")
        .status();
    assert!(made.unwrap().success());
    let fixed = json!({"driver": "vmdk", "node-name": "fixed", "file": {"driver": "file", "filename": at("fixed.vmdk")}});
    let serde_json::Value::Object(fixed) = fixed else { unreachable!() };
    source.vm.qmp().execute("blockdev-add", fixed).await.unwrap();
    let refusing = incoming(directory.path(), "refusing").await;
    let via = socket(directory.path(), "refusing");
    signal(&refusing, Signal::STOP);
    let stopping = async {
        source.vm.pause().await.unwrap();
        signal(&refusing, Signal::CONT);
    };
    let options = MigrationOptions::default();
    let (refused, ()) = tokio::join!(source.vm.migrate_to(&refusing.vm, &via, &options), stopping);
    let refused = refused.unwrap_err();
    assert_eq!(refused.guest, Whereabouts::Source, "{refused:?}");
    assert_eq!(source.vm.status().run_state, RunState::Paused, "it stands for who has stopped it");
    refusing.quit().await;
    let serde_json::Value::Object(fixed) = json!({"node-name": "fixed"}) else { unreachable!() };
    source.vm.qmp().execute("blockdev-del", fixed).await.unwrap();
    source.vm.resume().await.unwrap();

    // Two of this process.
    let (mut first, second) =
        (incoming(directory.path(), "first").await, incoming(directory.path(), "second").await);
    let third = incoming(directory.path(), "third").await;
    let [to_first, to_second, to_third] =
        ["first", "second", "third"].map(|name| socket(directory.path(), name));
    let slow = MigrationOptions { bandwidth: Some(1 << 20), ..MigrationOptions::default() };
    let beside = async {
        is_sent(&source).await;
        let refused = source.vm.migrate_to(&second.vm, &to_second, &options).await.unwrap_err();
        assert_eq!(refused.guest, Whereabouts::Moving, "{refused:?}");
        assert!(matches!(refused.source, OperationError::Moving), "{refused:?}");
        // Nor is it stopped by who wants its state in a file: it would stand at both ends.
        let saved = source.vm.save(&at("state")).await.unwrap_err();
        assert!(matches!(saved, OperationError::Moving) && !at("state").exists(), "{saved:?}");
        assert_eq!(source.vm.status().run_state, RunState::Running);
        source.vm.migration().await.unwrap().unwrap().cancel().await.unwrap();
    };
    let (given_up, ()) = tokio::join!(source.vm.migrate_to(&third.vm, &to_third, &slow), beside);
    assert_eq!(given_up.unwrap_err().guest, Whereabouts::Source);
    let before = counted(&mut source).await;
    counts_on(&mut source, before).await;
    beside_a_move_in_steps(&source, &third, directory.path()).await;
    let before = counted(&mut source).await;
    counts_on(&mut source, before).await;

    // Another one's is over before this one is refused.
    signal(&second, Signal::STOP);
    let listening = first.vm.await_migration(&to_first, &options).await.unwrap();
    assert!(matches!(listening.cancel().await, Err(OperationError::Arriving)), "that is for the source");
    let other = async {
        sent_by_hand(&source, &to_first).await;
        // It is at its source's end a moment before it is here.
        while first.vm.qmp().call(&QueryStatus {}).await.unwrap().status == RunState::Inmigrate {
            tokio::task::yield_now().await;
        }
        first.vm.resume().await.unwrap();
        signal(&second, Signal::CONT);
    };
    let (refused, ()) = tokio::join!(source.vm.migrate_to(&second.vm, &to_second, &options), other);
    let refused = refused.unwrap_err();
    assert_eq!(refused.guest, Whereabouts::Unknown, "{refused:?}");
    let state = source.vm.qmp().call(&QueryStatus {}).await.unwrap().status;
    assert_eq!(state, RunState::Postmigrate);
    let before = counted(&mut first).await;
    counts_on(&mut first, before).await;
    assert!(second.vm.status().exit.is_none(), "nor was the one ended that it was to move to");
    second.quit().await;
    first.quit().await;
    source.quit().await;
}

#[tokio::test]
async fn a_guest_arrives_as_it_was_when_it_left() {
    let test = "a_guest_arrives_as_it_was_when_it_left";
    if missing(test, true) {
        return;
    }
    let directory = places();
    let source = Guest::linux(&directory.path().join("source"), config()).await;
    let (unhurried, via) = (unhurried(), ["stands", "off"].map(|name| socket(directory.path(), name)));
    // Somebody stops it while its memory is sent.
    let mut stands = incoming(directory.path(), "stands").await;
    let stopping = async {
        is_sent(&source).await;
        source.vm.pause().await.unwrap();
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&stands.vm, &via[0], &unhurried), stopping);
    moved.unwrap();
    assert_eq!(stands.vm.status().run_state, RunState::Paused);
    source.quit().await;
    stands.vm.resume().await.unwrap();
    stands.run("true").await;
    // It powers off by itself.
    let off = incoming(directory.path(), "off").await;
    let status = stands.vm.watch();
    let going = stands.vm.clone();
    let moving = async { going.migrate_to(&off.vm, &via[1], &unhurried).await };
    let ending = async {
        is_sent(&stands).await;
        stands.type_in("poweroff -f\n").await;
        let mut status = status;
        status.wait_for(|status| status.shutdown.is_some()).await.unwrap();
    };
    let (moved, ()) = tokio::time::timeout(LONG, async { tokio::join!(moving, ending) }).await.unwrap();
    moved.unwrap();
    assert_eq!(off.vm.status().run_state, RunState::Shutdown);
    stands.quit().await;
    off.quit().await;
}

/// What was plugged has its place in the configuration of the other end, which says where.
#[tokio::test]
async fn a_machine_moves_with_what_was_plugged() {
    let test = "a_machine_moves_with_what_was_plugged";
    if missing(test, true) {
        return;
    }
    let directory = places();
    let at = |name: &str| directory.path().join(name);
    let disk = |id: &str| {
        std::fs::write(at(id), vec![0; 1 << 20]).unwrap();
        Disk::new(id, Image::raw(at(id)))
    };
    let nic = |id: &str, last| {
        Nic::new(id, [0x52, 0x54, 0, 0, 0, last], NicBackend::User { forwards: Vec::new(), restrict: true })
    };
    let mut machine = config().disk(disk("root"));
    machine.nics.push(nic("first", 1));
    machine.cpu.max = Some(3);
    machine.memory.hotplug = Some(MemoryHotplug { slots: 4, max_mib: 2048 });
    let mut source = Guest::linux(&at("source"), machine.clone()).await;
    source.vm.plug_memory("gone-dimm", 128).await.unwrap();
    source.vm.plug_memory("dimm-1", 128).await.unwrap();
    source.vm.unplug_memory("gone-dimm", LONG).await.unwrap();
    source
        .run("for m in /sys/devices/system/memory/memory*/state; do echo online >$m; done 2>/dev/null; true")
        .await;
    let cpu = source.vm.plug_cpu().await.unwrap();
    source.run_until("[ -e /sys/devices/system/cpu/cpu1/online ]").await;
    source.run("echo 1 >/sys/devices/system/cpu/cpu1/online; true").await;
    let has = "grep MemTotal /proc/meminfo; grep -c ^processor /proc/cpuinfo";
    let had = source.run(has).await;
    assert!(had.ends_with('2'), "{had}");
    source.vm.plug_nic(&nic("added", 2)).await.unwrap();
    source.vm.plug_disk(&disk("gone")).await.unwrap();
    source.vm.plug_disk(&disk("data")).await.unwrap();
    source.run_until("[ -e /sys/block/vdc ]").await;
    source.vm.unplug_disk("gone", LONG).await.unwrap();
    source.run("printf written | dd of=/dev/vdc conv=notrunc 2>/dev/null; sync").await;
    let occupied = source.vm.places().await.unwrap();
    let ports = ["first", "root", "added", "data"].map(|id| occupied.devices[id]);
    assert_eq!((ports, occupied.ports), ([2, 3, 4, 6], Some(8)), "{occupied:?}");
    machine.nics.push(nic("added", 2));
    machine.disks.push(Disk::new("data", Image::raw(at("data"))));
    assert_eq!((occupied.modules.len(), occupied.cpus.len()), (1, 1), "{occupied:?}");
    assert_eq!(occupied.cpus[0].id(), cpu);
    let machine = Guest::with_linux(machine).occupied(&occupied);
    let mut destination = Guest::incoming(&at("destination"), machine.clone()).await;
    let via = socket(directory.path(), "plugged");
    source.vm.migrate_to(&destination.vm, &via, &unhurried()).await.unwrap();
    source.quit().await;
    assert_eq!(destination.vm.places().await.unwrap(), occupied);
    destination.run("echo 3 >/proc/sys/vm/drop_caches").await;
    assert_eq!(destination.run("head -c 7 /dev/vdc").await, "written");
    assert_eq!(destination.run("ls /sys/class/net | grep -c eth").await, "2");
    assert_eq!(destination.run(has).await, had);
    // The same from a file; and what was plugged there goes here.
    let state = at("state");
    destination.vm.save(&state).await.unwrap();
    destination.quit().await;
    std::fs::create_dir(at("restored")).unwrap();
    let mut restored = Guest::incoming(&at("restored"), machine).await;
    restored.vm.restore(&state).await.unwrap();
    restored.vm.resume().await.unwrap();
    assert_eq!(restored.run(has).await, had);
    restored.vm.unplug_cpu(&cpu, LONG).await.unwrap();
    let left = restored.vm.places().await.unwrap();
    assert_eq!((left.cpus.len(), left.modules), (0, occupied.modules));
    restored.quit().await;
}

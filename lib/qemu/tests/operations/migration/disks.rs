//! Machines that take their disks along.

use super::{missing_or, places};
use crate::{
    counting::{count, counted, counts_on, heard, never_went_back},
    credentials::{certificates, with_credentials},
    guest::{Guest, LONG, config, missing},
};
use qemu::{
    Config,
    config::{Address, Disk, Image, Limits, Throttle},
    vm::{MigrationOptions, MigrationTls, MovedDisks, Whereabouts},
};
use qmp::commands::QueryBlockExports;
use std::{fs, path::Path, process::Command};

/// The moment when the guest was stopped to be moved and its disks are still to part.
fn about_to_move(source: &Guest) -> qmp::Waiter {
    source.vm.qmp().waiter(|event| {
        event.name == "MIGRATION" && event.data.get("status").is_some_and(|it| it == "pre-switchover")
    })
}

/// A machine at each end with a disk of its own, the way between them and the way of the disk.
pub(super) fn two_ends(directory: &Path) -> ([Config; 2], Address, MovedDisks) {
    let machines = [("source", "here.raw"), ("destination", "there.raw")].map(|(end, image)| {
        fs::write(directory.join(image), vec![0; 8 << 20]).unwrap();
        heard(config().disk(Disk::new("root", Image::raw(directory.join(image)))), &directory.join(end))
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
        "(exec 3>/dev/ttyS1; n=0; while :; do n=$((n + 1)); {write}; echo $n >&3; echo $n >/run/new; mv /run/new /run/count; done) & true"
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
    counts_on(&mut destination, before).await;
    let told = counted(&mut destination).await;
    let disk = fs::read(at("there.raw")).unwrap();
    let written: u64 = std::str::from_utf8(&disk[..12]).unwrap().trim().parse().unwrap();
    assert!(written >= told, "{written} on the disk, {told} told");
    never_went_back(directory.path()).await;
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

/// Limits are no obstacle, and each end keeps its own.
#[tokio::test]
async fn a_guest_moves_with_a_disk_that_has_limits() {
    let test = "a_guest_moves_with_a_disk_that_has_limits";
    if missing(test, false) {
        return;
    }
    let directory = places();
    let at = |name: &str| directory.path().join(name);
    let (machines, via, disks) = two_ends(directory.path());
    let content: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(at("here.raw"), &content).unwrap();
    let limits = Limits { requests: Some(10_000), ..Limits::default() };
    let [here, there] = machines.map(|mut machine| {
        machine.disks[0].throttle = Some(Throttle::Own(limits));
        machine
    });
    let source = Guest::paused(&at("source"), here).await;
    let destination = Guest::incoming(&at("destination"), there).await;
    let before = [source.node_names().await, destination.node_names().await];
    let options = MigrationOptions::default();
    source.vm.migrate_with_disks(&destination.vm, &via, &options, &disks).await.unwrap();
    assert_eq!([source.node_names().await, destination.node_names().await], before);
    source.quit().await;
    destination.quit().await;
    assert!(fs::read(at("there.raw")).unwrap() == content);
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
    count(&mut source).await;
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
    counts_on(&mut source, 1).await;
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

//! Moves with disks that are dropped in the middle.

use super::{broken::signal, disks::two_ends, missing_or, places};
use crate::{
    counting::{count, counts_on},
    cut::Cutter,
    guest::{Guest, LONG, missing},
    polled::polled,
};
use qemu::{
    config::{Address, Disk, Image},
    vm::{MigrateError, MigrationOptions, MovedDisks, OperationError, Route, Whereabouts},
};
use qmp::commands::{QueryBlockExports, QueryStatus, RunState};
use rustix::process::Signal;
use serde_json::{Map, json};
use std::{
    fs,
    future::Future,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::Duration,
};

/// Has the guest's disk written to as its device would: QEMU ends where it has let go of the disk.
async fn can_write(guest: &Guest) {
    let write = "qemu-io -d /machine/peripheral/root/virtio-backend \"write 1M 512\"";
    let command = Map::from_iter([("command-line".to_owned(), json!(write))]);
    let said = guest.vm.qmp().execute("human-monitor-command", command).await;
    assert_eq!(said.unwrap_or_else(|error| panic!("{error}: {}", guest.log())), "");
}

/// Where the machine is when all that was begun is taken back, or has come to its end.
async fn settles(source: &Guest, before: &[String]) -> RunState {
    let settled = async {
        loop {
            let state = source.vm.qmp().call(&QueryStatus {}).await;
            let state = state.unwrap_or_else(|error| panic!("{error}: {}", source.log())).status;
            let is_clear = source.node_names().await == before && source.vm.jobs().await.unwrap().is_empty();
            if is_clear && [RunState::Running, RunState::Postmigrate].contains(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, settled).await.expect("all is taken back")
}

/// A destination whose migration failed may end; one that lives answers, and serves nothing.
async fn served_no_more(destination: &Guest) {
    let client = destination.vm.qmp().with_deadline(None);
    let ends = async {
        while client.call(&QueryBlockExports {}).await.is_ok_and(|exports| !exports.is_empty()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, ends).await.expect("nothing is served any more");
    // In order after whatever it was told to end by.
    let _ = client.call(&QueryStatus {}).await;
}

/// At every point, from before QEMU has heard of it until the guest has left.
async fn dropped_anywhere(directory: &Path) {
    let ([here, there], via, disks) = two_ends(directory);
    let options = MigrationOptions::default();
    let (mut stayed, mut left, mut kept) = (0, 0, None);
    for times in 0.. {
        let place = directory.join(times.to_string());
        for end in ["source", "destination"] {
            fs::create_dir_all(place.join(end)).unwrap();
        }
        let source = match kept.take() {
            Some(source) => source,
            None => Guest::start(&place.join("source"), here.clone()).await,
        };
        let before = source.node_names().await;
        let destination = Guest::incoming(&place.join("destination"), there.clone()).await;
        let moving = source.vm.migrate_with_disks(&destination.vm, &via, &options, &disks);
        if let Some(moved) = polled(times, moving).await {
            moved.unwrap_or_else(|error| panic!("{error:?}: {}", source.log()));
            break;
        }
        let state = tokio::time::timeout(LONG, settles(&source, &before)).await;
        if state.unwrap_or_else(|_| panic!("not taken back after {times}")) == RunState::Running {
            can_write(&source).await;
            stayed += 1;
            kept = Some(source);
        } else {
            left += 1;
        }
        tokio::time::timeout(LONG, served_no_more(&destination))
            .await
            .unwrap_or_else(|_| panic!("hangs after {times}"));
        destination.vm.kill().await.unwrap();
    }
    assert!(stayed > 5 && left > 0, "{stayed} stayed, {left} left");
}

/// Where the connection has just broken, giving it up takes a while; whoever moves the machine meanwhile is told so.
#[tokio::test]
async fn a_move_that_is_dropped_does_not_give_the_next_one_up() {
    let test = "a_move_that_is_dropped_does_not_give_the_next_one_up";
    if missing(test, false) {
        return;
    }
    let directory = places();
    let ([here, there], via, disks) = two_ends(directory.path());
    let mut source = Guest::start(&directory.path().join("source"), here).await;
    let cutter = Cutter::between(&mut source).await;
    let first = Guest::incoming(&directory.path().join("destination"), there.clone()).await;
    // So slow that it does not end by itself.
    let slow = MigrationOptions { bandwidth: Some(1 << 16), ..MigrationOptions::default() };
    let is_active = |event: &qmp::Event| {
        event.name == "MIGRATION" && event.data.get("status").is_some_and(|it| it == "active")
    };
    {
        let begun = source.vm.qmp().waiter(is_active);
        let moving = source.vm.migrate_with_disks(&first.vm, &via, &slow, &disks);
        let mut moving = std::pin::pin!(moving);
        // Cancel safety: the move is kept until the connection is cut.
        tokio::select! {
            biased;
            event = begun => drop(event.unwrap()),
            moved = moving.as_mut() => panic!("{moved:?}"),
        }
        cutter.cut().await;
    }
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(directory.path().join("third.raw"), vec![0; 8 << 20]).unwrap();
    let mut there = there;
    there.disks = vec![Disk::new("root", Image::raw(directory.path().join("third.raw")))];
    let second = Guest::incoming(&elsewhere, there).await;
    let via = Address::Unix(directory.path().join("second.sock"));
    let options = MigrationOptions::default();
    let moves = async {
        loop {
            match source.vm.migrate_to(&second.vm, &via, &options).await {
                Err(MigrateError { guest: Whereabouts::Moving, .. }) => tokio::task::yield_now().await,
                moved => return moved,
            }
        }
    };
    tokio::time::timeout(LONG, moves).await.unwrap().unwrap();
    assert_eq!(second.vm.status().run_state, RunState::Running);
    first.vm.kill().await.unwrap();
}

/// Moves a machine to where its memory is taken and nothing is said, and its disks do not arrive: the destination is stopped as soon as it has
/// begun. Beside it `meanwhile`.
async fn moved_nowhere(
    directory: &Path,
    (source, destination): (&Guest, &Guest),
    (via, disks): (Address, &MovedDisks),
    meanwhile: impl Future<Output = ()>,
) {
    let sink = directory.join("sink.sock");
    let listener = UnixListener::bind(&sink).unwrap();
    std::thread::spawn(move || {
        let mut memory = listener.accept().unwrap().0;
        std::io::copy(&mut memory, &mut std::io::sink())
    });
    let route = Route::Forwarded { listen: via, connect: Address::Unix(sink) };
    let patience = Some(Duration::from_secs(1));
    let options = MigrationOptions { bandwidth: Some(32 << 20), patience, ..MigrationOptions::default() };
    let begun = source.vm.qmp().waiter(|event| event.name == "MIGRATION");
    let moving = source.vm.migrate_with_disks(&destination.vm, route, &options, disks);
    let stopping = async {
        begun.await.unwrap();
        signal(destination, Signal::STOP);
        meanwhile.await;
    };
    let (moved, ()) = tokio::time::timeout(LONG, async { tokio::join!(moving, stopping) }).await.unwrap();
    let failed = moved.unwrap_err();
    assert_eq!(failed.guest, Whereabouts::Source, "{failed:?}");
    assert!(matches!(failed.source, OperationError::GuestSilent { .. }), "{failed:?}");
}

/// It stands for the moment when its disks are to be the same; not for longer than it may.
#[tokio::test]
async fn a_guest_whose_disks_do_not_arrive_goes_on_where_it_was() {
    let Some(directory) = missing_or("a_guest_whose_disks_do_not_arrive_goes_on_where_it_was") else {
        return;
    };
    let ([here, there], via, disks) = two_ends(directory.path());
    let mut source = Guest::linux(&directory.path().join("source"), here).await;
    count(&mut source).await;
    let before = source.node_names().await;
    let destination = Guest::incoming(&directory.path().join("destination"), Guest::with_linux(there)).await;
    moved_nowhere(directory.path(), (&source, &destination), (via, &disks), async {}).await;
    counts_on(&mut source, 1).await;
    assert_eq!(source.node_names().await, before);
    source.run("dd if=/dev/zero of=/dev/vda bs=512 count=1 oflag=direct 2>/dev/null").await;
    destination.vm.kill().await.unwrap();
    source.quit().await;
}

/// The same where the connection to the monitor breaks: QEMU, which waits for its disks, greets nobody.
#[tokio::test]
async fn a_guest_whose_disks_do_not_arrive_goes_on_where_its_monitor_breaks_too() {
    let Some(directory) =
        missing_or("a_guest_whose_disks_do_not_arrive_goes_on_where_its_monitor_breaks_too")
    else {
        return;
    };
    let round = |breaks_at| breaks_while_disks_do_not_arrive(directory.path().join(breaks_at), breaks_at);
    tokio::join!(round("MIGRATION"), round("STOP"));
}

async fn breaks_while_disks_do_not_arrive(place: PathBuf, breaks_at: &'static str) {
    for end in ["source", "destination"] {
        fs::create_dir_all(place.join(end)).unwrap();
    }
    let ([here, there], via, disks) = two_ends(&place);
    let mut source = Guest::start(&place.join("source"), here).await;
    let cutter = Cutter::between(&mut source).await;
    let before = source.node_names().await;
    let destination = Guest::incoming(&place.join("destination"), there).await;
    let breaks = source.vm.qmp().waiter(move |event| event.name == breaks_at);
    let breaking = async {
        breaks.await.unwrap();
        cutter.cut().await;
    };
    moved_nowhere(&place, (&source, &destination), (via, &disks), breaking).await;
    let state = tokio::time::timeout(LONG, settles(&source, &before)).await.unwrap();
    assert_eq!(state, RunState::Running);
    can_write(&source).await;
    destination.vm.kill().await.unwrap();
}

#[tokio::test]
async fn a_move_with_a_disk_that_is_dropped_anywhere_leaves_the_guest_its_disk() {
    if missing("a_move_with_a_disk_that_is_dropped_anywhere_leaves_the_guest_its_disk", false) {
        return;
    }
    dropped_anywhere(places().path()).await;
}

/// What QEMU does meanwhile is at another point each time.
#[tokio::test]
#[ignore = "takes minutes: make test-long"]
async fn moves_with_a_disk_that_are_dropped_anywhere_leave_the_guest_its_disk() {
    if missing("moves_with_a_disk_that_are_dropped_anywhere_leave_the_guest_its_disk", false) {
        return;
    }
    for _ in 0..20 {
        dropped_anywhere(places().path()).await;
    }
}

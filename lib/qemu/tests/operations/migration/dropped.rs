//! Moves with disks that are dropped in the middle.

use super::{disks::two_ends, places};
use crate::{
    guest::{Guest, LONG, missing},
    polled::polled,
};
use qemu::vm::MigrationOptions;
use qmp::commands::{QueryBlockExports, QueryStatus, RunState};
use serde_json::{Map, json};
use std::{fs, path::Path, time::Duration};

/// Has the guest's disk written to as its device would: QEMU ends where it has let go of the disk.
async fn can_write(guest: &Guest) {
    let write = "qemu-io -d /machine/peripheral/root/virtio-backend \"write 1M 512\"";
    let command = Map::from_iter([("command-line".to_owned(), json!(write))]);
    let said = guest.vm.qmp().execute("human-monitor-command", command).await;
    assert_eq!(said.unwrap_or_else(|error| panic!("{error}: {}", guest.log())), "");
}

/// Where the machine is when all that was begun is taken back, or has come to its end.
async fn settles(source: &Guest, before: &[String]) -> RunState {
    loop {
        let state = source.vm.qmp().call(&QueryStatus {}).await;
        let state = state.unwrap_or_else(|error| panic!("{error}: {}", source.log())).status;
        let is_clear = source.node_names().await == before && source.vm.jobs().await.unwrap().is_empty();
        if is_clear && [RunState::Running, RunState::Postmigrate].contains(&state) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A destination whose migration failed may end; one that lives answers, and serves nothing.
async fn served_no_more(destination: &Guest) {
    let client = destination.vm.qmp().with_deadline(None);
    while client.call(&QueryBlockExports {}).await.is_ok_and(|exports| !exports.is_empty()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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

//! States in files that do not come to be.

use crate::{
    backup::Small,
    guest::{Guest, LONG, config, missing},
    migration::{COUNT, counted},
};
use qemu::vm::OperationError;
use qmp::commands::RunState;
use std::{fs, path::Path};

/// A guest that stands goes on as if nothing had been: it counts further.
async fn goes_on(guest: &mut Guest) {
    let ended = async {
        while guest.vm.migration().await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ended).await.unwrap();
    assert_eq!(guest.vm.status().run_state, RunState::Paused, "it stands");
    guest.vm.resume().await.unwrap();
    let count = counted(guest).await;
    guest.run_until(&format!("[ $(cat /run/count) -gt {count} ]")).await;
}

async fn counting(directory: &Path) -> Guest {
    let mut guest = Guest::linux(directory, config()).await;
    guest.run(COUNT).await;
    guest.run_until("[ -s /run/count ]").await;
    guest
}

#[tokio::test]
async fn a_save_that_is_dropped_leaves_no_file_and_a_guest_that_can_go_on() {
    let test = "a_save_that_is_dropped_leaves_no_file_and_a_guest_that_can_go_on";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut guest = counting(directory.path()).await;
    let file = directory.path().join("state");
    // When nothing of it is written, and when some is.
    for bytes in [0, 1, 1 << 20] {
        let written = async {
            while fs::metadata(&file).map_or(0, |file| file.len()) < bytes {
                tokio::task::yield_now().await;
            }
            // A first poll has made the file.
            tokio::task::yield_now().await;
        };
        // Cancel safety: to drop one of them is what is tested.
        tokio::select! {
            biased;
            saved = guest.vm.save(&file) => panic!("{bytes}: {saved:?}"),
            () = written => {}
        }
        assert!(!file.exists(), "{bytes}");
        if guest.vm.status().run_state == RunState::Running {
            // It was dropped before the guest was told to stand, which it may still be.
            guest.vm.pause().await.unwrap();
        }
        goes_on(&mut guest).await;
    }
    guest.vm.save(&file).await.unwrap();
    assert!(fs::metadata(&file).unwrap().len() > 1 << 20);
    guest.quit().await;
}

#[tokio::test]
async fn a_save_that_finds_no_room_leaves_no_file_and_a_guest_that_can_go_on() {
    let test = "a_save_that_finds_no_room_leaves_no_file_and_a_guest_that_can_go_on";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(_small) = Small::of(directory.path().join("small"), 2) else {
        return println!("not run: {test}: a file system of its own (root)");
    };
    let mut guest = counting(directory.path()).await;
    let file = directory.path().join("small/state");
    let full = guest.vm.save(&file).await.unwrap_err();
    let is_full = |error: &OperationError| matches!(error, OperationError::Host { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    assert!(is_full(&full), "its own words, not those of a connection that broke: {full:?}");
    assert!(!file.exists());
    goes_on(&mut guest).await;
    guest.quit().await;
}

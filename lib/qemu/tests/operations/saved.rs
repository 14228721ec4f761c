//! Machines whose state is kept in a file, and states that do not come to be.

use crate::{
    backup::Small,
    counting::{counted, counts_on, never_went_back},
    elsewhere::passes_elsewhere,
    guest::{Guest, LONG, config, missing},
    migration::{counting, missing_or},
};
use qemu::vm::OperationError;
use qmp::commands::RunState;
use std::fs;

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
    counts_on(guest, 1).await;
}

#[tokio::test]
async fn a_guest_is_saved_to_a_file_and_goes_on_from_there() {
    let Some(directory) = missing_or("a_guest_is_saved_to_a_file_and_goes_on_from_there") else { return };
    let there = directory.path().join("destination");
    let (mut guest, config) = counting(directory.path()).await;
    let before = counted(&mut guest).await;
    let state = directory.path().join("state, 1");
    guest.vm.save(&state).await.unwrap();
    // Not written over.
    assert!(matches!(guest.vm.save(&state).await.unwrap_err(), OperationError::Host { .. }));
    guest.quit().await;
    let mut restored = Guest::incoming(&there, config.clone()).await;
    restored.vm.restore(&state).await.unwrap();
    restored.vm.resume().await.unwrap();
    counts_on(&mut restored, before).await;
    never_went_back(directory.path()).await;
    restored.quit().await;
    // Half a state is none.
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let half = Guest::incoming(&there, config).await;
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
async fn a_save_that_is_dropped_leaves_no_file_and_a_guest_that_can_go_on() {
    let test = "a_save_that_is_dropped_leaves_no_file_and_a_guest_that_can_go_on";
    let Some(directory) = missing_or(test) else { return };
    let (mut guest, _) = counting(directory.path()).await;
    let file = directory.path().join("state");
    // When nothing of it is written, and when some is.
    for bytes in [0, 1, 1 << 20] {
        let written = async {
            while fs::metadata(&file).map_or(0, |file| file.len()) < bytes {
                tokio::task::yield_now().await;
            }
        };
        // Cancel safety: to drop one of them is what is tested.
        tokio::select! {
            biased;
            saved = guest.vm.save(&file) => panic!("{bytes}: {saved:?}"),
            () = written => {}
        }
        let removed = async {
            while file.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, removed).await.unwrap();
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
    if passes_elsewhere(test) {
        return;
    }
    let Some(directory) = missing_or(test) else { return };
    let Some(_small) = Small::of(directory.path().join("small"), 2) else {
        return println!("not run: {test}: a file system of its own (root, or user namespaces)");
    };
    let (mut guest, _) = counting(directory.path()).await;
    let file = directory.path().join("small/state");
    let full = guest.vm.save(&file).await.unwrap_err();
    let is_full = |error: &OperationError| matches!(error, OperationError::Host { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    assert!(is_full(&full), "its own words, not those of a connection that broke: {full:?}");
    assert!(!file.exists());
    goes_on(&mut guest).await;
    guest.quit().await;
}

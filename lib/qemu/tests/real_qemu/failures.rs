//! Starts that come to nothing.

use super::*;

#[tokio::test]
async fn a_program_that_says_nothing_is_ended_at_the_deadline() {
    let directory = scratch();
    let machine = config();
    let binary = program(directory.path(), "echo one moment >&2; exec sleep 1000");
    let deadline = Duration::from_millis(300);
    let spec = StartSpec { binary, deadline, ..spec(directory.path(), machine.clone()) };
    let Err(StartError::Silent { message, .. }) = start(spec).await.map(drop) else { panic!("not silent") };
    assert_eq!(message, "one moment");
    // A lock that can be had again proves that the process is gone.
    let lock = fs::File::open(directory.path().join("run/lock")).unwrap();
    tokio::task::spawn_blocking(move || lock.lock()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_program_that_fails_or_is_missing_is_reported_with_its_cause() {
    let directory = scratch();
    let binary = program(directory.path(), "echo no luck today >&2; exit 3");
    let failed = StartSpec { binary, ..spec(directory.path(), config()) };
    let error = start(failed).await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "QEMU ended at start (exit status 3): no luck today");
    let binary = directory.path().join("nothing");
    let missing = StartSpec { binary, ..spec(directory.path(), config()) };
    let error = start(missing).await.map(drop).unwrap_err();
    assert!(error.to_string().ends_with("nothing"), "{error}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("No such file"));
}

/// As the child of another start holds it between fork and exec.
#[tokio::test]
async fn a_lock_that_is_held_for_a_moment_is_no_other_qemu() {
    let directory = scratch();
    fs::create_dir(directory.path().join("run")).unwrap();
    let held = fs::File::create(directory.path().join("run/lock")).unwrap();
    held.lock().unwrap();
    let failed = || {
        let binary = program(directory.path(), "echo no luck today >&2; exit 3");
        start(StartSpec { binary, ..spec(directory.path(), config()) })
    };
    let error = failed().await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Occupied { .. }), "{error}");
    let mut starts = Box::pin(failed());
    tokio::select! {
        biased;
        _ = &mut starts => panic!("it is held"),
        () = std::future::ready(()) => drop(held),
    }
    let error = starts.await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "QEMU ended at start (exit status 3): no luck today");
}

/// A runtime that cannot watch a descriptor stands for every reason why the process, started already, cannot be held.
#[test]
fn a_process_that_cannot_be_watched_is_ended() {
    let directory = scratch();
    let place = directory.path().to_owned();
    let refused = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let binary = program(&place, "exec sleep 1000");
        runtime.block_on(start(StartSpec { binary, ..spec(&place, config()) })).map(drop)
    });
    assert!(refused.join().is_err(), "it panics: there is no reactor");
    let lock = fs::File::open(directory.path().join("run/lock")).unwrap();
    assert!(lock.try_lock().is_ok(), "the process lives");
}

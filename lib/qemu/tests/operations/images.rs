//! Images that are made while the machine is sent or ended.

use crate::guest::{Guest, LONG, missing, with_disk};
use crate::polled::polled;
use qemu::{
    Exit,
    config::Format,
    vm::{CopyTarget, MigrationOptions, OperationError},
};
use qmp::commands::{JobType, QueryJobs};
use std::fs;

/// QEMU 7.2 ends where it stops its guest, as at the end of a migration, while an image is made.
#[tokio::test]
async fn no_image_is_made_while_a_machine_is_sent() {
    let test = "no_image_is_made_while_a_machine_is_sent";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let machine = with_disk(directory.path());
    let guest = Guest::start(directory.path(), machine).await;
    let copy = CopyTarget::file(at("copy"), Format::Qcow2);
    let slow = MigrationOptions { bandwidth: Some(1 << 16), ..MigrationOptions::default() };
    let mut refused = 0;
    for times in 0.. {
        let mut pushing = Box::pin(guest.vm.push_backup("root", &copy, None));
        let done = polled(times, pushing.as_mut()).await;
        let is_done = done.is_some();
        // Nobody reads what is sent.
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let sending = async {
            let moving = guest.vm.migrate(std::os::fd::OwnedFd::from(here), &slow).await;
            let jobs = guest.vm.qmp().call(&QueryJobs {}).await.unwrap();
            assert!(jobs.iter().all(|job| job.kind != JobType::Create), "after {times} polls: {jobs:?}");
            moving
        };
        let (moving, pushed) = match done {
            Some(done) => (sending.await, done),
            None => tokio::join!(sending, pushing),
        };
        let moving = moving.unwrap_or_else(|error| panic!("{error} after {times} polls: {}", guest.log()));
        match pushed {
            Ok(mut backup) => {
                backup.done().await.unwrap();
                fs::remove_file(at("copy")).unwrap();
            }
            Err(error) => {
                assert!(matches!(error, OperationError::Moving) && !at("copy").exists(), "{error:?}");
                refused += 1;
            }
        }
        // Whoever finds one that is going on is told so, too.
        assert!(matches!(guest.vm.push_backup("root", &copy, None).await, Err(OperationError::Moving)));
        moving.cancel().await.unwrap();
        drop(there);
        if is_done {
            assert!(refused > 0 && times > 8, "{refused} of {times}");
            break;
        }
    }
    guest.quit().await;
}

/// The end of QEMU stops its guest, too.
#[tokio::test]
async fn a_machine_that_is_ended_while_an_image_is_made_ends_in_order() {
    let test = "a_machine_that_is_ended_while_an_image_is_made_ends_in_order";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let machine = with_disk(directory.path());
    let copy = CopyTarget::file(at("copy"), Format::Qcow2);
    for times in 0.. {
        let guest = Guest::start(directory.path(), machine.clone()).await;
        let mut pushing = Box::pin(guest.vm.push_backup("root", &copy, None));
        if polled(times, pushing.as_mut()).await.is_some() {
            assert!(times > 8, "{times}");
            break;
        }
        let (_, ended) = tokio::join!(pushing, guest.vm.quit(LONG));
        assert_eq!(ended.unwrap(), Exit::Code(0), "after {times} polls: {}", guest.log());
        // The whole of it, or what went with the process.
        let _ = fs::remove_file(at("copy"));
    }
}

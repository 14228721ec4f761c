//! One suite for all drivers: each calls [`run`] from a test of its own.
//!
//! The checks follow from what the driver declares: those of every driver, then those of each capability. A check that
//! fails panics with the sentence of the contract that was broken.

use crate::{Assignment, Capability, Driver, DriverErrorKind, End, Guest, StartMode};
use async_trait::async_trait;
use futures::StreamExt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What the suite needs of the side that tests a driver.
#[async_trait]
pub trait Bench: Send + Sync {
    /// A driver on this bench's machine. Called again, it is what comes up after the program was killed: the same
    /// machine, nothing remembered but what is on it.
    async fn driver(&self) -> Arc<dyn Driver>;

    /// A new instance whose guest prints on its console, echoes or answers what it reads there, and heeds the power
    /// button.
    async fn assignment(&self) -> Assignment;

    /// Returns when the instance's guest is up: it would heed the power button now.
    async fn guest_is_up(&self, driver: &dyn Driver, assignment: &Assignment);

    /// Longest time any single wait of the suite may take before it counts as "never".
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Runs every check that the driver's capabilities call for. Returns the names of the checks that ran.
pub async fn run(bench: &dyn Bench) -> Vec<&'static str> {
    let capabilities = bench.driver().await.capabilities();
    let mut ran = Vec::new();
    macro_rules! check {
        ($name:ident) => {
            $name(bench).await;
            ran.push(stringify!($name));
        };
    }
    check!(nothing_is_absent);
    check!(lifecycle);
    check!(repeating_changes_nothing);
    check!(kill_and_delete_of_nothing_are_no_errors);
    check!(events_tell_of_changes);
    for capability in capabilities {
        match capability {
            Capability::Pause => {
                check!(pause_and_resume);
                check!(starts_paused);
            }
            Capability::PowerDown => {
                check!(power_down_ends_the_guest);
            }
            Capability::Console => {
                check!(console_replays);
            }
            Capability::Stats => {
                check!(stats_of_a_running_guest_only);
            }
            Capability::Adopt => {
                check!(a_new_driver_adopts);
            }
        }
    }
    ran
}

async fn started(bench: &dyn Bench, mode: StartMode) -> (Arc<dyn Driver>, Assignment) {
    let (driver, assignment) = (bench.driver().await, bench.assignment().await);
    driver.admit(&assignment).await.expect("admit accepts a good assignment");
    driver.prepare(&assignment).await.expect("prepare makes what the guest needs");
    driver.start(&assignment, mode).await.expect("start starts a guest on what prepare made");
    (driver, assignment)
}

async fn removed(driver: &dyn Driver, assignment: &Assignment) {
    driver.kill(assignment.handle).await.expect("kill ends the guest");
    driver.delete(assignment.handle).await.expect("delete removes everything");
    let owned = driver.list_owned().await.expect("list_owned answers");
    assert!(!owned.contains(&assignment.handle.id), "after delete nothing of the instance is left");
}

async fn guest(driver: &dyn Driver, assignment: &Assignment) -> Guest {
    driver.observe(assignment.handle).await.expect("observe answers").guest
}

async fn patiently<T>(bench: &dyn Bench, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(bench.patience(), future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Waits for events until the guest is as wanted: proves that the last change is never lost.
async fn until(bench: &dyn Bench, driver: &dyn Driver, assignment: &Assignment, wanted: &Guest) {
    let mut events = driver.events();
    patiently(bench, &format!("the guest is {wanted:?}"), async {
        while guest(driver, assignment).await != *wanted {
            while events.next().await.is_some_and(|id| id != assignment.handle.id) {}
        }
    })
    .await;
}

async fn nothing_is_absent(bench: &dyn Bench) {
    let (driver, assignment) = (bench.driver().await, bench.assignment().await);
    assert_eq!(
        guest(&*driver, &assignment).await,
        Guest::Absent,
        "an instance never made is absent, not an error"
    );
    let error = driver.start(&assignment, StartMode::Running).await.expect_err("start needs prepare");
    assert!(
        matches!(error.kind, DriverErrorKind::NotFound | DriverErrorKind::Missing),
        "start without prepare says what is missing: {error:?}"
    );
    assert_eq!(guest(&*driver, &assignment).await, Guest::Absent, "a failed start leaves nothing");
}

async fn lifecycle(bench: &dyn Bench) {
    let (driver, assignment) = (bench.driver().await, bench.assignment().await);
    driver.admit(&assignment).await.expect("admit accepts a good assignment");
    assert!(
        !driver.list_owned().await.expect("list_owned answers").contains(&assignment.handle.id),
        "admit makes nothing"
    );
    driver.prepare(&assignment).await.expect("prepare");
    assert!(
        driver.list_owned().await.expect("list_owned answers").contains(&assignment.handle.id),
        "what prepare made is owned"
    );
    assert_eq!(guest(&*driver, &assignment).await, Guest::Absent, "prepare starts no guest");
    driver.start(&assignment, StartMode::Running).await.expect("start");
    assert_eq!(guest(&*driver, &assignment).await, Guest::Running);
    let observation = driver.observe(assignment.handle).await.expect("observe");
    assert!(observation.started_at.is_some(), "a running guest has a start time");
    let error = driver.delete(assignment.handle).await.expect_err("delete does not take a running guest");
    assert_eq!(error.kind, DriverErrorKind::Conflict);
    driver.kill(assignment.handle).await.expect("kill");
    assert_eq!(guest(&*driver, &assignment).await, Guest::Absent, "kill leaves no guest and no trace of one");
    driver.start(&assignment, StartMode::Running).await.expect("disks outlive the guest: it starts again");
    removed(&*driver, &assignment).await;
}

async fn repeating_changes_nothing(bench: &dyn Bench) {
    let (driver, assignment) = started(bench, StartMode::Running).await;
    let before = driver.observe(assignment.handle).await.expect("observe");
    driver.prepare(&assignment).await.expect("prepare again");
    driver.start(&assignment, StartMode::Running).await.expect("start again");
    let after = driver.observe(assignment.handle).await.expect("observe");
    assert_eq!(before.started_at, after.started_at, "a guest that is there is left alone");
    removed(&*driver, &assignment).await;
    driver.delete(assignment.handle).await.expect("delete again");
}

async fn kill_and_delete_of_nothing_are_no_errors(bench: &dyn Bench) {
    let (driver, assignment) = (bench.driver().await, bench.assignment().await);
    driver.kill(assignment.handle).await.expect("kill of nothing");
    driver.delete(assignment.handle).await.expect("delete of nothing");
}

async fn events_tell_of_changes(bench: &dyn Bench) {
    let (driver, assignment) = started(bench, StartMode::Running).await;
    let mut events = driver.events();
    driver.kill(assignment.handle).await.expect("kill");
    patiently(bench, "an event for the killed guest", async {
        while events.next().await.is_some_and(|id| id != assignment.handle.id) {}
    })
    .await;
    removed(&*driver, &assignment).await;
}

async fn pause_and_resume(bench: &dyn Bench) {
    let (driver, assignment) = started(bench, StartMode::Running).await;
    driver.pause(assignment.handle).await.expect("pause");
    assert_eq!(guest(&*driver, &assignment).await, Guest::Paused);
    driver.pause(assignment.handle).await.expect("pause again changes nothing");
    driver.resume(assignment.handle).await.expect("resume");
    assert_eq!(guest(&*driver, &assignment).await, Guest::Running);
    removed(&*driver, &assignment).await;
    let error = driver.pause(assignment.handle).await.expect_err("nothing to pause");
    assert_eq!(error.kind, DriverErrorKind::NotFound);
}

async fn starts_paused(bench: &dyn Bench) {
    let (driver, assignment) = started(bench, StartMode::Paused).await;
    assert_eq!(guest(&*driver, &assignment).await, Guest::Paused);
    driver.resume(assignment.handle).await.expect("resume");
    assert_eq!(guest(&*driver, &assignment).await, Guest::Running);
    removed(&*driver, &assignment).await;
}

async fn power_down_ends_the_guest(bench: &dyn Bench) {
    let (driver, assignment) = started(bench, StartMode::Running).await;
    bench.guest_is_up(&*driver, &assignment).await;
    driver.power_down(assignment.handle).await.expect("power_down");
    until(bench, &*driver, &assignment, &Guest::Ended(End::PoweredOff)).await;
    driver.kill(assignment.handle).await.expect("kill removes what is left");
    assert_eq!(guest(&*driver, &assignment).await, Guest::Absent);
    let error = driver.power_down(assignment.handle).await.expect_err("nothing to power down");
    assert_eq!(error.kind, DriverErrorKind::NotFound);
    removed(&*driver, &assignment).await;
}

async fn console_replays(bench: &dyn Bench) {
    let (driver, assignment) = started(bench, StartMode::Running).await;
    bench.guest_is_up(&*driver, &assignment).await;
    let read_some = || async {
        let mut console = driver.console(assignment.handle, 65536).await.expect("console opens");
        patiently(bench, "console output", async {
            loop {
                let chunk =
                    console.output.next().await.expect("the console has output").expect("without error");
                if !chunk.is_empty() {
                    break chunk;
                }
            }
        })
        .await
    };
    let first = read_some().await;
    let second = read_some().await;
    let common = first.len().min(second.len());
    assert_eq!(first[..common], second[..common], "what was printed before is replayed to everyone");
    removed(&*driver, &assignment).await;
    assert!(driver.console(assignment.handle, 0).await.is_err(), "no guest, no console");
}

async fn stats_of_a_running_guest_only(bench: &dyn Bench) {
    let (driver, assignment) = started(bench, StartMode::Running).await;
    let stats = driver.stats(assignment.handle).await.expect("stats");
    assert!(stats.cpu_time_ns.is_some() && stats.memory_used_bytes.is_some_and(|bytes| bytes > 0));
    removed(&*driver, &assignment).await;
    assert!(driver.stats(assignment.handle).await.is_err(), "unknown figures are an error, not 0");
}

async fn a_new_driver_adopts(bench: &dyn Bench) {
    let (old, assignment) = started(bench, StartMode::Running).await;
    let before = old.observe(assignment.handle).await.expect("observe");
    drop(old);
    let new = bench.driver().await;
    assert!(
        new.list_owned().await.expect("list_owned").contains(&assignment.handle.id),
        "a new driver finds it"
    );
    let after = new.observe(assignment.handle).await.expect("observe");
    assert_eq!(after.guest, Guest::Running, "the guest has not noticed");
    assert_eq!(before.started_at, after.started_at, "it is the same guest");
    new.start(&assignment, StartMode::Running).await.expect("start adopts");
    assert_eq!(new.observe(assignment.handle).await.expect("observe").started_at, before.started_at);
    removed(&*new, &assignment).await;
}

//! Calls that meet at one machine. None of them comes to a process.

use super::*;
use crate::Config;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ID: Uuid = Uuid::from_u128(7);

/// A manager of one machine, and whether that was described for a start.
fn managed() -> (Manager, Arc<AtomicBool>) {
    let (manager, described) = (Manager::new(Box::new(|_| panic!("nothing starts"))), Arc::default());
    create(&manager, &described).unwrap();
    (manager, described)
}

fn create(manager: &Manager, described: &Arc<AtomicBool>) -> Result<(), ManagerError> {
    let described = described.clone();
    manager.create(ID, move || {
        described.store(true, Relaxed);
        StartSpec::new("/nowhere".into(), Config::new("test", ID, "pc-q35-7.2", 1, 64), "/nowhere".into())
    })
}

/// Begins a call, which waits.
async fn waits<T>(mut call: Pin<&mut impl Future<Output = T>>) {
    let begun = tokio::time::timeout(Duration::ZERO, call.as_mut()).await;
    assert!(begun.is_err(), "it waits for its turn");
}

#[tokio::test]
async fn a_destroy_that_is_given_up_beside_another_starts_nothing() {
    let (manager, described) = managed();
    let machine = manager.machine(ID).unwrap();
    let turn = machine.turn.lock().await;
    let mut destroyed = std::pin::pin!(manager.destroy(ID));
    waits(destroyed.as_mut()).await;
    let mut given_up = Box::pin(manager.destroy(ID));
    waits(given_up.as_mut()).await;
    let mut started = std::pin::pin!(manager.start(ID));
    waits(started.as_mut()).await;
    drop(given_up);
    drop(turn);
    destroyed.await.unwrap();
    let refused = started.await.unwrap_err();
    assert!(matches!(refused, ManagerError::NoMachine(ID)), "{refused:?}");
    assert!(!described.load(Relaxed), "a start began");
}

#[tokio::test]
async fn a_machine_whose_destroy_is_given_up_is_used_again() {
    let (manager, described) = managed();
    let machine = manager.machine(ID).unwrap();
    let turn = machine.turn.lock().await;
    let mut given_up = Box::pin(manager.destroy(ID));
    waits(given_up.as_mut()).await;
    drop(given_up);
    drop(turn);
    let refused = manager.start(ID).await.unwrap_err();
    assert!(matches!(refused, ManagerError::Start { .. }) && described.load(Relaxed), "{refused:?}");
}

#[tokio::test]
async fn a_late_destroy_leaves_the_next_machine_of_its_identity() {
    let (manager, described) = managed();
    let machine = manager.machine(ID).unwrap();
    let turn = machine.turn.lock().await;
    let mut first = std::pin::pin!(manager.destroy(ID));
    waits(first.as_mut()).await;
    let mut late = std::pin::pin!(manager.destroy(ID));
    waits(late.as_mut()).await;
    drop(turn);
    first.await.unwrap();
    create(&manager, &described).unwrap();
    late.await.unwrap();
    assert_eq!(manager.state(ID).unwrap(), State::Stopped);
}

//! Migration after which memory follows: the guest runs at the destination, and what it lacks is sent when it is missed. The daemons of these
//! tests may take page faults of their guests, which a user's may not.

use crate::migration::{is_at, two_with, with_memory};
use libvirt_client::protocol::enums::{DomainState, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainAbortJobFlags, DomainMigrateFlags as F, DomainMigrateMaxSpeedFlags as Speed,
};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::{Aftermath, ErrorKind, Item, MigrateParameters};
use std::time::Duration;

#[tokio::test]
async fn a_guest_runs_before_its_memory_is_there_and_goes_on_after_a_break() {
    let test = "a_guest_runs_before_its_memory_is_there_and_goes_on_after_a_break";
    let Some((_from, _to, source, target, guest)) = two_with(test, with_memory).await else { return };
    guest.set_max_migration_speed(1, Speed::empty()).await.unwrap();
    guest.set_max_migration_speed(1, Speed::POSTCOPY).await.unwrap();
    assert_eq!(guest.max_migration_speed(Speed::POSTCOPY).await.unwrap(), 1);
    let parameters = MigrateParameters { uri: Some("tcp:127.0.0.1".into()), ..Default::default() };
    let flags = F::LIVE | F::UNSAFE | F::POSTCOPY;
    let mut iterations = guest.subscribe(Kind::DomainMigrationIteration).await.unwrap();
    let mut lifecycle = target.subscribe(Kind::DomainLifecycle).await.unwrap();
    let migration = guest.migrate(&target, &parameters, flags).await.unwrap();
    let follows = async {
        // Its first pass over the memory has begun.
        assert!(matches!(iterations.next().await.unwrap(), Item::Event(Event::DomainMigrationIteration(_))));
        guest.start_post_copy().await.unwrap();
        let there = loop {
            assert!(matches!(lifecycle.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
            let found = target.domain_by_name("guest").await.unwrap();
            if found.state().await.unwrap().state == DomainState::Running {
                break found;
            }
        };
        assert_eq!(guest.state().await.unwrap().state, DomainState::Paused);
        // Half of it is here and half there: it cannot be given up, only interrupted.
        guest.abort_job_with(DomainAbortJobFlags::empty()).await.unwrap_err();
        guest.abort_job_with(DomainAbortJobFlags::POSTCOPY).await.unwrap();
        there
    };
    let (broken, there) = tokio::join!(migration, follows);
    let broken = broken.unwrap_err();
    assert!(matches!(broken.kind(), ErrorKind::Migration { left: Aftermath::Split, .. }), "{broken}");
    assert!(there.is_active().await.unwrap(), "it waits for what it misses");
    if target.daemon_version() > Release(9, 0, 0) {
        println!(
            "not run: the end of a migration that is taken up again: the destination's daemon of 11.3.0 ends when it is asked to go on"
        );
        return;
    }
    guest.set_max_migration_speed(1000, Speed::POSTCOPY).await.unwrap();
    let resumed = async {
        loop {
            let resumed = guest.migrate(&target, &parameters, flags | F::POSTCOPY_RESUME).await.unwrap();
            match resumed.await {
                Ok(moved) => break moved,
                // QEMU takes its time to see that it was interrupted.
                Err(error) => {
                    let code = error.refusal().map(|refusal| refusal.code);
                    assert_eq!(code, Some(ErrorNumber::OperationInvalid), "{error}");
                }
            }
        }
    };
    let moved = tokio::time::timeout(Duration::from_secs(60), resumed).await.expect("it goes on");
    assert_eq!(moved.uuid(), guest.uuid());
    is_at("guest", &target, &source).await;
}

//! A node that the server gave up while its journal cannot be written: guests end all the same.
#![cfg(test)]

use hv_core::InstanceId;
use hv_core::instance::{Epoch, InstanceSpec, Phase};
use hv_driver::Guest;
use hv_driver::fake::FakeDriver;
use hv_runtime::clock;
use hv_runtime::tasks::Tasks;
use hypervisor_agent::instance::Desired;
use hypervisor_agent::instance::machine::Confirmation;
use hypervisor_agent::journal::Journal;
use hypervisor_agent::node::{self, Node, Request, RevokeError};
use std::sync::Arc;
use std::time::Duration;

/// Far more than anything takes.
const LONG: Duration = Duration::from_secs(60);
/// What never happens is waited for as long.
const SHORT: Duration = Duration::from_millis(200);

fn desired(number: u64) -> Desired {
    Desired {
        id: format!("018f4e2a-0000-7000-8000-{number:012}").parse().unwrap(),
        name: "demo".into(),
        project: "default".into(),
        epoch: Epoch(1),
        generation: 1,
        spec: InstanceSpec { image: Some("/images/demo.qcow2".into()), ..InstanceSpec::default() },
        deleted: false,
        force: false,
    }
}

async fn is(node: &Node, id: InstanceId, phase: Phase) {
    let mut reports = node.reports.clone();
    let reached = reports
        .wait_for(|all| all.instances.get(&id).is_some_and(|(_, report)| report.status.phase == phase));
    tokio::time::timeout(LONG, reached).await.expect("the phase").unwrap();
}

async fn dead(driver: &FakeDriver, id: InstanceId) {
    let ended = async {
        while driver.host().slots().get(&id).is_some_and(|slot| slot.guest == Guest::Running) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ended).await.expect("its guest lives");
}

#[tokio::test]
async fn a_revocation_does_not_wait_for_the_journal_to_end_guests_and_says_that_it_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&dir.path().join("journal.redb")).unwrap();
    let (tasks, driver) = (Tasks::new(), FakeDriver::new(clock::wall));
    let boot = ("boot".to_owned(), Confirmation::Awaited);
    let node = node::start(&tasks, Arc::new(driver.clone()), journal.clone(), boot, Vec::new(), None);
    let (idle, busy) = (desired(1), desired(2));
    let want = |desired: &Desired| node.requests.send(Request::Desired(vec![desired.clone()])).unwrap();
    for instance in [&idle, &busy] {
        want(instance);
        is(&node, instance.id, Phase::Running).await;
    }

    // From now on every write fails. One instance is in the middle of one.
    journal.close().await;
    let mut changed = busy.clone();
    changed.generation = 2;
    changed.spec.restart_serial = 1;
    want(&changed);
    assert_eq!(node.revoke(SHORT).await, Err(RevokeError::Journal(SHORT)));
    for instance in [&idle, &busy] {
        dead(&driver, instance.id).await;
        assert_eq!(driver.host().slots()[&instance.id].boots, 1);
    }
    tasks.drain(LONG).await.unwrap();
}

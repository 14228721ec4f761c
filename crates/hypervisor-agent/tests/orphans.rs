//! What is on a node and no server wants there: it is reported, and forgotten when somebody has removed it.
#![cfg(test)]

use hv_core::InstanceId;
use hv_core::instance::{Epoch, InstanceSpec, Phase};
use hv_driver::fake::{FakeDriver, Fault};
use hv_driver::{Assignment, Handle};
use hv_runtime::clock;
use hv_runtime::tasks::Tasks;
use hypervisor_agent::instance::machine::Confirmation;
use hypervisor_agent::instance::{Desired, Record, Started};
use hypervisor_agent::journal::Journal;
use hypervisor_agent::node::{self, Node, Reports, Request};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Far more than anything takes, also where time is virtual: there the node looks at itself, time and again, while the journal's
/// disk is at work.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

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

async fn until(node: &Node, wanted: impl Fn(&Reports) -> bool) {
    let mut reports = node.reports.clone();
    let reached = reports.wait_for(|reports| wanted(reports));
    drop(tokio::time::timeout(LONG, reached).await.expect("it comes to pass").unwrap());
}

fn is(reports: &Reports, id: InstanceId, phase: Phase, orphan: bool, gone: bool) -> bool {
    let of = reports.instances.get(&id).map(|(_, report)| report);
    of.is_some_and(|report| (report.status.phase, report.orphan, report.gone) == (phase, orphan, gone))
}

#[tokio::test(start_paused = true)]
async fn what_no_server_wants_is_forgotten_once_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let (journal, _) = Journal::open(&path).unwrap();
    let (tasks, driver) = (Tasks::new(), FakeDriver::new(clock::wall));
    // One that nobody knows anything of, such as somebody's copy.
    let (known, stranger) = (desired(1), desired(2));
    let copied = Assignment {
        handle: Handle { id: stranger.id, epoch: Epoch(0) },
        name: stranger.name.clone(),
        project: stranger.project.clone(),
        spec: stranger.spec.clone(),
    };
    driver.tamper(stranger.id, |host| host.prepare(&copied));
    let boot = ("boot".to_owned(), Confirmation::Awaited);
    let node = node::start(&tasks, Arc::new(driver.clone()), journal.clone(), boot, Vec::new(), None);
    until(&node, |all| all.complete && is(all, stranger.id, Phase::Stopped, true, false)).await;

    node.requests.send(Request::Desired(vec![known.clone()])).unwrap();
    until(&node, |all| is(all, known.id, Phase::Running, false, false)).await;
    let full_set = || node.requests.send(Request::FullSet([].into())).unwrap();
    full_set();
    until(&node, |all| is(all, known.id, Phase::Running, true, false)).await;

    // Somebody ends its guest and removes both.
    driver.tamper(known.id, |host| {
        host.kill(Handle { id: known.id, epoch: Epoch(1) });
        for id in [known.id, stranger.id] {
            host.delete(Handle { id, epoch: Epoch(1) }).unwrap();
        }
    });
    for id in [known.id, stranger.id] {
        until(&node, |all| all.instances.get(&id).is_some_and(|(_, report)| report.gone)).await;
    }
    assert_eq!(driver.calls("start", known.id), 1);
    // The server has heard that, and does not want them: nothing is remembered.
    full_set();
    until(&node, |all| all.instances.is_empty()).await;
    tasks.drain(LONG).await.unwrap();
    journal.close().await;
    assert_eq!(Journal::open(&path).unwrap().1.instances, []);
}

#[tokio::test]
async fn the_reports_are_complete_when_all_that_the_journal_knows_has_been_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&dir.path().join("journal.redb")).unwrap();
    let (tasks, driver) = (Tasks::new(), FakeDriver::new(clock::wall));
    let gate = Arc::new(Notify::new());
    driver.inject("observe", None, Fault::Block(gate.clone()));
    let mut record = Record::new(desired(1), "boot");
    record.started = Some(Started {
        serial: 0,
        boot_id: "boot".into(),
        spec: record.desired.spec.clone(),
        came_up: true,
        taken_down: false,
        ended: None,
    });
    let boot = ("boot".to_owned(), Confirmation::Awaited);
    let node = node::start(&tasks, Arc::new(driver.clone()), journal, boot, vec![record], None);
    until(&node, |all| !all.instances.is_empty()).await;
    while driver.calls("observe", desired(1).id) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!node.reports.borrow().complete, "it is not known yet what became of its guest");
    gate.notify_one();
    until(&node, |all| all.complete).await;
    assert!(node.reports.borrow().instances.values().all(|(_, report)| report.has_looked()));
    tasks.drain(LONG).await.unwrap();
}

/// A server that has heard of the end of an instance does not name it any more: whoever waits for all that the journal knows does not
/// wait for that one, whether it was forgotten before or after it said that it is gone.
#[tokio::test]
async fn what_is_over_and_forgotten_is_not_waited_for() {
    for hears_first in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&dir.path().join("journal.redb")).unwrap();
        let (tasks, driver) = (Tasks::new(), FakeDriver::new(clock::wall));
        let mut record = Record::new(desired(1), "boot");
        (record.desired.deleted, record.gone) = (true, true);
        let boot = ("boot".to_owned(), Confirmation::Awaited);
        let node = node::start(&tasks, Arc::new(driver), journal, boot, vec![record], None);
        let full_set = || node.requests.send(Request::FullSet(BTreeSet::new())).unwrap();
        if !hears_first {
            full_set();
        }
        until(&node, |all| all.looked).await;
        full_set();
        until(&node, |all| all.looked && all.instances.is_empty()).await;
        tasks.drain(LONG).await.unwrap();
    }
}

//! A node that goes down while its journal cannot be written: guests see their power button all the same.
#![cfg(test)]

use hv_core::InstanceId;
use hv_core::instance::{Epoch, InstanceSpec, Phase, RunState};
use hv_driver::fake::FakeDriver;
use hv_runtime::clock;
use hv_runtime::tasks::Tasks;
use hypervisor_agent::config::AgentConfig;
use hypervisor_agent::instance::Desired;
use hypervisor_agent::instance::machine::Confirmation;
use hypervisor_agent::journal::Journal;
use hypervisor_agent::node::{self, Node, Request};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

/// Far more than anything takes.
const LONG: Duration = Duration::from_secs(60);

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
    let is = |all: &Arc<node::Reports>| {
        all.instances.get(&id).is_some_and(|(_, report)| report.status.phase == phase)
    };
    drop(tokio::time::timeout(LONG, reports.wait_for(is)).await.expect("the phase").unwrap());
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_keeps_no_guest_from_its_power_button() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let (journal, _) = Journal::open(&path).unwrap();
    let (tasks, driver) = (Tasks::new(), FakeDriver::new(clock::wall));
    let boot = || ("boot".to_owned(), Confirmation::Awaited);
    let node = node::start(&tasks, Arc::new(driver.clone()), journal.clone(), boot(), Vec::new(), None);
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
    node.requests.send(Request::Quiesce(LONG)).unwrap();
    for instance in [&idle, &busy] {
        is(&node, instance.id, Phase::Stopped).await;
        assert_eq!(driver.calls("power_down", instance.id), 1);
        assert_eq!(driver.host().slots()[&instance.id].boots, 1);
    }
    tasks.drain(LONG).await.unwrap();

    // The next agent, in the same boot of the host, knows nothing of that, and asks its server before it starts them.
    let (journal, contents) = Journal::open(&path).unwrap();
    let tasks = Tasks::new();
    let node = node::start(&tasks, Arc::new(driver.clone()), journal, boot(), contents.instances, None);
    for instance in [&idle, &busy] {
        is(&node, instance.id, Phase::Failed).await;
        node.requests.send(Request::Desired(vec![instance.clone()])).unwrap();
        is(&node, instance.id, Phase::Running).await;
        assert_eq!(driver.host().slots()[&instance.id].boots, 2);
    }
    tasks.drain(LONG).await.unwrap();
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_for_writing_is_read_from_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let (journal, _) = Journal::open(&path).unwrap();
    let record = hypervisor_agent::instance::Record::new(desired(1), "boot");
    journal.write(&record).await.unwrap();
    journal.close().await;
    let before = std::fs::read(&path).unwrap();
    let (copy, contents) = Journal::open_copy(&path).unwrap();
    assert_eq!(contents.instances, std::slice::from_ref(&record));
    copy.write(&hypervisor_agent::instance::Record { gone: true, ..record }).await.unwrap();
    copy.close().await;
    assert!(std::fs::read(&path).unwrap() == before, "what is written to the copy is forgotten");
}

#[tokio::test]
async fn guests_are_counted_once_they_have_been_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let (journal, _) = Journal::open(&path).unwrap();
    let (tasks, driver) = (Tasks::new(), FakeDriver::new(clock::wall));
    let boot = ("boot".to_owned(), Confirmation::Awaited);
    let node = node::start(&tasks, Arc::new(driver.clone()), journal.clone(), boot, Vec::new(), None);
    let (down, up) = (desired(1), desired(2));
    for instance in [&down, &up] {
        node.requests.send(Request::Desired(vec![instance.clone()])).unwrap();
        is(&node, instance.id, Phase::Running).await;
    }
    let mut down = down;
    (down.generation, down.spec.run_state) = (2, RunState::Stopped);
    node.requests.send(Request::Desired(vec![down.clone()])).unwrap();
    is(&node, down.id, Phase::Stopped).await;
    tasks.drain(LONG).await.unwrap();
    journal.close().await;

    std::fs::write(dir.path().join("token"), "token").unwrap();
    std::fs::set_permissions(dir.path().join("token"), Permissions::from_mode(0o600)).unwrap();
    let config = AgentConfig {
        // Nobody is there.
        server_addr: format!("unix:{}", dir.path().join("server.sock").display()),
        token_file: dir.path().join("token"),
        state_dir: dir.path().to_owned(),
        ..AgentConfig::default()
    };
    let agent = hypervisor_agent::build_to_quiesce(config, Arc::new(driver.clone())).unwrap();
    let agent = agent.spawn_to_quiesce(LONG).await;
    let mut counted = Vec::new();
    let left = agent.quiesce(LONG, |left| counted.push(left.to_vec())).await;
    assert_eq!(left, []);
    assert!(
        counted.len() < 3 && counted.iter().all(|left| left.is_empty() || *left == [up.id]),
        "{counted:?}"
    );
    assert_eq!((driver.calls("power_down", down.id), driver.calls("power_down", up.id)), (1, 1));
    agent.drain(LONG).await.unwrap();
}

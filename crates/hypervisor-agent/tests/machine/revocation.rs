//! The server gives up the node.

use super::node::{Node, spec};
use hv_core::instance::{Epoch, InstanceSpec, Phase, RestartPolicy};
use hv_driver::{DriverError, DriverErrorKind, Guest, Handle, StartMode};
use hypervisor_agent::instance::machine::{Action, Input};

/// As the agent does it with all its instances when the server gave up the node.
fn revoked(node: &mut Node) {
    node.actions.clear();
    node.step(Input::Revoked);
}

#[test]
fn when_the_server_gives_up_the_node_the_guest_ends_at_once_and_its_disks_stay() {
    let mut node = Node::new(InstanceSpec { restart_policy: RestartPolicy::Always, ..spec() });
    assert_eq!(node.phase(), Phase::Running);
    revoked(&mut node);
    assert_eq!(node.actions, [Action::Kill], "nobody waits for a guest that may run elsewhere");
    let report = node.reports.last().expect("a report");
    assert!(report.orphan && report.revoked && !report.gone);
    assert_eq!(report.status.phase, Phase::Stopped);
    assert_eq!(node.host.slots().len(), 1, "its disks are there");
    assert!(node.journal.is_revoked());
    // Neither a repetition of the old assignment nor the passing of time brings it back; nor does the agent's death.
    node.want(|desired| desired.generation += 1);
    node.pass(600);
    node.restart_agent();
    node.pass(600);
    assert_eq!(node.actions, [Action::Kill]);
}

#[test]
fn what_was_revoked_is_gone_when_somebody_has_removed_its_disks() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    node.step(Input::Vanished);
    assert!(!node.journal.gone, "it has a guest, and an assignment that stands");
    revoked(&mut node);
    assert!(node.reports.last().is_some_and(|report| report.revoked && !report.gone));
    node.host.delete(Handle { id, epoch: Epoch(1) }).unwrap();
    node.step(Input::Vanished);
    assert!(node.journal.gone && node.reports.last().is_some_and(|report| report.gone));
    // One that comes to this host again is made anew.
    node.want(|desired| desired.epoch = Epoch(2));
    assert_eq!((node.phase(), node.boots()), (Phase::Running, 1));
    assert_eq!(node.journal.revoked, None);
}

#[test]
fn a_newer_assignment_lifts_the_revocation() {
    let mut node = Node::new(spec());
    revoked(&mut node);
    node.want(|desired| desired.epoch = Epoch(2));
    assert_eq!((node.phase(), node.boots()), (Phase::Running, 2));
    assert_eq!(node.journal.revoked, None);
    assert!(node.reports.last().is_some_and(|report| !report.orphan));
}

#[test]
fn disks_that_somebody_removed_meanwhile_are_made_anew() {
    let mut node = Node::new(spec());
    revoked(&mut node);
    node.host.delete(Handle { id: node.machine.handle().id, epoch: Epoch(1) }).unwrap();
    node.want(|desired| desired.epoch = Epoch(2));
    assert_eq!(node.actions, [Action::Kill, Action::Prepare, Action::Start(StartMode::Running)]);
    assert_eq!(node.phase(), Phase::Running);
}

#[test]
fn a_newer_assignment_waits_for_the_end_of_the_old_guest() {
    let mut node = Node::new(spec());
    node.fail = Some((Action::Kill, DriverError::new(DriverErrorKind::Failed, "kill", "no")));
    revoked(&mut node);
    node.want(|desired| desired.epoch = Epoch(2));
    assert_eq!((node.guest(), node.actions.as_slice()), (Guest::Running, &[Action::Kill][..]));
    node.pass(10);
    assert_eq!((node.phase(), node.boots()), (Phase::Running, 2), "{:?}", node.actions);
}

#[test]
fn a_deletion_that_was_heard_goes_on_when_the_server_gives_up_the_node() {
    let mut node = Node::new(spec());
    node.fail = Some((Action::PowerDown, DriverError::new(DriverErrorKind::Failed, "power-down", "no")));
    node.want(|desired| desired.deleted = true);
    revoked(&mut node);
    assert_eq!(node.actions, [Action::Kill, Action::Delete]);
    assert!(node.journal.gone);
}

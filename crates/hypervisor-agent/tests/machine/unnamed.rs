//! A server that does not name an instance: what is there is left alone, and not started again.

use super::node::{Node, spec};
use hv_core::instance::{Epoch, InstanceSpec, Phase, RestartPolicy, RunState};
use hv_driver::{End, Guest, Handle};
use hypervisor_agent::instance::machine::{Action, Confirmation, Input};

#[test]
fn a_guest_that_the_server_does_not_name_is_left_alone_and_not_started_again() {
    for confirmation in [Confirmation::Awaited, Confirmation::Waived] {
        let mut node = Node::new(InstanceSpec { restart_policy: RestartPolicy::Always, ..spec() });
        node.confirmation = confirmation;
        node.restart_agent();
        node.actions.clear();
        node.step(Input::Unnamed);
        assert_eq!((node.guest(), node.phase()), (Guest::Running, Phase::Running));
        let report = node.reports.last().unwrap();
        assert!(report.orphan && !report.revoked && report.status.message.contains("does not name it"));
        // Somebody ends it, because it runs elsewhere.
        node.end_guest(End::Failed("killed".into()));
        node.pass(600);
        assert_eq!((node.boots(), node.phase()), (1, Phase::Failed));
        // Neither the agent's death nor a boot of the host changes that: the journal knows.
        node.restart_agent();
        node.pass(600);
        node.reboot();
        node.pass(600);
        assert_eq!((node.boots(), node.actions.as_slice()), (1, &[Action::Kill][..]));
        node.session();
        assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
        assert!(!node.reports.last().unwrap().orphan && !node.journal.unnamed);
        node.end_guest(End::Failed("again".into()));
        node.pass(600);
        assert_eq!(node.boots(), 3, "it is the server's again");
    }
}

#[test]
fn an_assignment_that_was_over_names_nothing() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.epoch = Epoch(5));
    node.step(Input::Unnamed);
    node.want(|desired| desired.epoch = Epoch(4));
    node.end_guest(End::Failed("killed".into()));
    node.pass(600);
    assert_eq!(node.boots(), 1);
}

#[test]
fn what_no_server_names_is_gone_when_somebody_has_removed_it() {
    let mut node = Node::new(spec());
    let handle = node.machine.handle();
    // It has a guest, or a server that wants it.
    node.step(Input::Vanished);
    node.step(Input::Unnamed);
    node.step(Input::Vanished);
    assert!(!node.journal.gone);
    node.host.kill(handle);
    node.host.delete(Handle { id: handle.id, epoch: Epoch(1) }).unwrap();
    node.step(Input::Changed);
    node.step(Input::Vanished);
    assert!(node.journal.gone && node.reports.last().is_some_and(|report| report.gone));
    // A server that knows of it after all gives it a new assignment, and it is made anew.
    node.want(|desired| desired.epoch = Epoch(2));
    assert_eq!((node.boots(), node.phase()), (1, Phase::Running));

    let mut node = Node::new(InstanceSpec { run_state: RunState::Stopped, ..spec() });
    node.step(Input::Vanished);
    assert!(!node.journal.gone, "it is wanted, and nothing was made of it yet");
}

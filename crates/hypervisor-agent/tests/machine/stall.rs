//! A guest that its host halts for want of space.

use super::node::{Node, spec};
use hv_core::ConditionStatus;
use hv_core::condition::STORAGE;
use hv_core::instance::{Phase, RunState};
use hv_driver::Guest;
use hypervisor_agent::instance::machine::{Action, Input};
use std::time::Duration;

/// How often the guest was let go.
fn resumes(node: &Node) -> usize {
    node.actions.iter().filter(|action| **action == Action::Resume).count()
}

#[test]
fn a_guest_halted_for_want_of_space_is_let_go_with_growing_pauses_and_at_once_when_there_is_space() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    node.host.stall(id, "no space on /state");
    node.step(Input::Changed);
    let condition = node.reports.last().unwrap().status.conditions.get(STORAGE).unwrap().clone();
    assert_eq!((condition.status, condition.reason.as_str()), (ConditionStatus::False, "NoSpace"));
    assert_eq!(condition.message, "no space on /state");
    assert_eq!(node.phase(), Phase::Paused);
    assert_eq!(resumes(&node), 0, "it would only be halted again");
    // Attempts after 2, 4, 8, 16, 32, 60, 60 s; looks in between, which every event brings, are no attempts.
    let mut waited = Vec::new();
    for _ in 0..7 {
        let (before, mut seconds) = (resumes(&node), 0);
        while resumes(&node) == before {
            node.pass(1);
            node.step(Input::Changed);
            seconds += 1;
        }
        waited.push(seconds);
    }
    assert_eq!(waited, [2, 4, 8, 16, 32, 60, 60]);
    node.host.slot_mut(id).unwrap().stalled.as_mut().unwrap().mended = true;
    node.step(Input::Changed);
    assert_eq!((node.guest(), node.phase()), (Guest::Running, Phase::Running));
    assert_eq!(node.reports.last().unwrap().status.conditions.get(STORAGE), None);
    // Soon again: the pauses go on where they were. Much later: they begin anew.
    for (runs_for, pause) in [(1, 59), (61, 2)] {
        node.pass(runs_for);
        node.step(Input::Changed);
        node.host.stall(id, "no space on /state");
        node.step(Input::Changed);
        let before = resumes(&node);
        node.pass(pause - 1);
        node.step(Input::Changed);
        assert_eq!(resumes(&node), before, "{pause}");
        node.host.slot_mut(id).unwrap().stalled.as_mut().unwrap().mended = true;
        node.pass(1);
        node.step(Input::Changed);
        assert_eq!(node.guest(), Guest::Running, "{pause}");
    }
}

#[test]
fn a_guest_that_is_halted_again_at_once_is_let_go_with_growing_pauses_though_the_host_sees_space() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    let mut waited = Vec::new();
    for _ in 0..7 {
        // The host looks a second after the guest was halted, and finds space each time.
        node.host.stall(id, "no space on /state");
        node.step(Input::Changed);
        let (before, mut seconds) = (resumes(&node), 0);
        while resumes(&node) == before {
            node.pass(1);
            if let Some(stalled) = &mut node.host.slot_mut(id).unwrap().stalled {
                stalled.mended = true;
            }
            node.step(Input::Changed);
            seconds += 1;
        }
        waited.push(seconds);
    }
    assert_eq!(waited, [1, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_guest_halted_for_want_of_space_can_be_paused_stopped_and_found_by_another_agent() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    node.host.stall(id, "no space on /state");
    node.restart_agent();
    assert_eq!((resumes(&node), node.phase()), (0, Phase::Paused));
    node.want(|desired| desired.spec.run_state = RunState::Paused);
    node.pass(600);
    assert_eq!(resumes(&node), 0, "halted is what is wanted");
    node.want(|desired| {
        desired.spec.run_state = RunState::Stopped;
        desired.spec.stop_timeout_once = Some(Duration::from_secs(9));
    });
    // It is let go to hear its power button, without haste, and ended at the deadline.
    assert_eq!(node.phase(), Phase::Stopping);
    for _ in 0..8 {
        node.pass(1);
        assert_eq!(node.guest(), Guest::Paused);
    }
    assert!((1..=3).contains(&resumes(&node)), "{:?}", node.actions);
    node.pass(1);
    assert_eq!((node.guest(), node.phase()), (Guest::Absent, Phase::Stopped));
}

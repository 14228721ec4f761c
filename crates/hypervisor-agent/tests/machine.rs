//! The instance machine against a pretended machine room, step by step: no runtime, no clock, no sleep.
#![cfg(test)]

#[path = "machine/node.rs"]
mod node;
#[path = "machine/revocation.rs"]
mod revocation;
#[path = "machine/stall.rs"]
mod stall;
#[path = "machine/unnamed.rs"]
mod unnamed;

use hv_core::condition::{PLACEMENT_CONFIRMED, RESPONSIVE, RESTART_REQUIRED};
use hv_core::instance::{Epoch, InstanceSpec, Phase, RestartPolicy, RunState};
use hv_core::{ConditionStatus, Timestamp};
use hv_driver::fake::Host;
use hv_driver::{DriverError, DriverErrorKind, End, Guest, Responsive, StartMode};
use hypervisor_agent::instance::machine::{
    Action, Confirmation, Effect, EpochCheck, Input, Machine, Now, Origin,
};
use hypervisor_agent::instance::{Desired, Record};
use node::{Node, desired, spec};
use std::collections::VecDeque;
use std::time::Duration;

#[test]
fn a_new_instance_is_admitted_prepared_and_started() {
    let node = Node::new(spec());
    assert_eq!(node.actions[..2], [Action::Admit, Action::Prepare]);
    assert_eq!((node.guest(), node.phase(), node.boots()), (Guest::Running, Phase::Running, 1));
    let phases: Vec<_> = node.reports.iter().map(|report| report.status.phase).collect();
    assert_eq!(phases, [Phase::Scheduled, Phase::Preparing, Phase::Starting, Phase::Running]);
    assert_eq!(node.reports.last().unwrap().status.observed_generation, 1);
}

#[test]
fn a_stopped_one_is_not_even_admitted() {
    let node = Node::new(InstanceSpec { run_state: RunState::Stopped, ..spec() });
    assert_eq!((node.actions.len(), node.phase()), (0, Phase::Stopped));
}

#[test]
fn stop_asks_first_and_kills_at_the_deadline() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    node.host.slot_mut(id).unwrap().heeds_power_button = false;
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    assert_eq!((node.guest(), node.phase()), (Guest::Running, Phase::Stopping));
    node.pass(59);
    assert_eq!(node.guest(), Guest::Running);
    node.pass(1);
    assert_eq!((node.guest(), node.phase()), (Guest::Absent, Phase::Stopped));
}

#[test]
fn a_heeded_power_button_ends_it_at_once_and_what_is_left_is_removed() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    assert_eq!(node.actions[3..], [Action::PowerDown, Action::Kill]);
    assert_eq!((node.guest(), node.phase()), (Guest::Absent, Phase::Stopped));
}

#[test]
fn a_forced_stop_does_not_ask_even_when_it_comes_during_a_graceful_one() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    node.host.slot_mut(id).unwrap().heeds_power_button = false;
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    node.want(|desired| desired.spec.force_stop = true);
    assert_eq!((node.guest(), node.phase()), (Guest::Absent, Phase::Stopped));
}

#[test]
fn a_raised_serial_restarts_once() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.restart_serial = 1);
    assert_eq!((node.guest(), node.boots()), (Guest::Running, 2));
    node.step(Input::Changed);
    node.restart_agent();
    assert_eq!(node.boots(), 2);
    assert_eq!(node.reports.last().unwrap().status.observed_restart_serial, 1);
}

#[test]
fn pause_and_resume_and_stop_of_a_paused_one() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.run_state = RunState::Paused);
    assert_eq!((node.guest(), node.phase()), (Guest::Paused, Phase::Paused));
    node.want(|desired| desired.spec.run_state = RunState::Running);
    assert_eq!(node.phase(), Phase::Running);
    node.want(|desired| desired.spec.run_state = RunState::Paused);
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    assert_eq!((node.guest(), node.boots()), (Guest::Absent, 1));
}

#[test]
fn a_guest_that_powers_itself_off_stays_off_unless_the_policy_is_always() {
    for (policy, boots) in
        [(RestartPolicy::Never, 1), (RestartPolicy::OnFailure, 1), (RestartPolicy::Always, 2)]
    {
        let mut node = Node::new(InstanceSpec { restart_policy: policy, ..spec() });
        node.end_guest(End::PoweredOff);
        node.pass(60);
        assert_eq!(node.boots(), boots, "{policy:?}");
        if boots == 1 {
            assert_eq!((node.phase(), node.message()), (Phase::Stopped, "the guest powered itself off"));
            node.want(|desired| desired.spec.restart_serial += 1);
            assert_eq!((node.boots(), node.phase()), (2, Phase::Running), "a start brings it back");
        }
    }
}

#[test]
fn a_crashed_guest_is_started_again_with_growing_pauses() {
    let mut node = Node::new(spec());
    for (failures, pause) in [(1, 2), (2, 4), (3, 8)] {
        node.end_guest(End::Failed("killed by signal 9".into()));
        assert_eq!((node.phase(), node.message()), (Phase::Failed, "killed by signal 9"));
        node.pass(pause - 1);
        assert_eq!(node.boots(), failures);
        node.pass(1);
        assert_eq!(node.boots(), failures + 1);
    }
    // Long alive: counted anew.
    node.pass(61);
    node.end_guest(End::Failed("again".into()));
    node.pass(2);
    assert_eq!(node.boots(), 5);
}

#[test]
fn never_means_never_after_a_crash() {
    let mut node = Node::new(InstanceSpec { restart_policy: RestartPolicy::Never, ..spec() });
    node.end_guest(End::Failed("boom".into()));
    node.pass(1000);
    assert_eq!((node.boots(), node.phase()), (1, Phase::Failed));
}

#[test]
fn a_failed_start_says_why_and_a_permanent_one_is_not_repeated() {
    let mut node = Node::new(InstanceSpec { run_state: RunState::Stopped, ..spec() });
    let error = DriverError::new(DriverErrorKind::Invalid, "start", "qemu: no such machine").permanent();
    node.fail = Some((Action::Start(hv_driver::StartMode::Running), error));
    node.want(|desired| desired.spec.run_state = RunState::Running);
    assert_eq!((node.phase(), node.message()), (Phase::Failed, "qemu: no such machine"));
    assert_eq!(node.reports.last().unwrap().status.observed_generation, 2, "a failure has been acted on");
    node.pass(1000);
    assert_eq!(node.boots(), 0);
    node.want(|desired| desired.spec.restart_serial += 1);
    assert_eq!((node.boots(), node.phase()), (1, Phase::Running));
}

#[test]
fn a_refused_assignment_is_rejected_and_stays_so() {
    let record = Record::new(desired(spec()), "boot-0");
    let mut node = Node::new(InstanceSpec { run_state: RunState::Stopped, ..spec() });
    node.machine = Machine::new(record, Origin::Assigned, "boot-0", EpochCheck::Enforced);
    node.fail = Some((Action::Admit, DriverError::new(DriverErrorKind::Missing, "admit", "no such image")));
    let effects = node.machine.begin(node.now);
    node.apply(effects);
    let report = node.reports.last().unwrap();
    assert!(report.rejected);
    assert_eq!(report.status.message, "no such image");
    let reports = node.reports.len();
    // A repetition of the refused assignment is answered, not followed.
    node.step(Input::Desired(Box::new(desired(spec()))));
    assert_eq!((node.boots(), node.reports.len()), (0, reports + 1));
    // A new assignment is another matter.
    node.step(Input::Desired(Box::new(Desired { epoch: Epoch(3), ..desired(spec()) })));
    assert_eq!((node.boots(), node.phase()), (1, Phase::Running));
}

#[test]
fn deletion_stops_removes_and_remembers() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.deleted = true);
    assert!(node.host.slots().is_empty());
    assert!(node.reports.last().unwrap().gone);
    // A late repetition of the old assignment does not bring it back, not even after a restart.
    node.restart_agent();
    node.step(Input::Desired(Box::new(desired(spec()))));
    assert!(node.host.slots().is_empty());
    assert!(node.reports.last().unwrap().gone);
}

#[test]
fn an_older_epoch_and_an_older_generation_are_refused() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.epoch = Epoch(5));
    node.step(Input::Desired(Box::new(Desired {
        spec: InstanceSpec { run_state: RunState::Stopped, ..spec() },
        generation: 9,
        ..desired(spec())
    })));
    assert_eq!(node.guest(), Guest::Running);
    node.want(|desired| desired.spec.cpus = 2);
    let generation = node.machine.record().desired.generation;
    node.step(Input::Desired(Box::new(Desired {
        epoch: Epoch(5),
        generation: generation - 1,
        ..desired(spec())
    })));
    assert_eq!(node.machine.record().desired.spec.cpus, 2);
}

#[test]
fn the_agent_may_die_anywhere_and_the_guest_does_not_notice() {
    let mut node = Node::new(spec());
    for _ in 0..3 {
        node.restart_agent();
        assert_eq!((node.boots(), node.phase()), (1, Phase::Running));
    }
}

#[test]
fn a_start_that_was_cut_off_is_repeated_and_counts_once() {
    let mut node = Node::new(spec());
    node.host.kill(node.machine.handle());
    node.journal.started.as_mut().unwrap().came_up = false;
    node.restart_agent();
    assert_eq!((node.boots(), node.phase()), (1, Phase::Scheduled), "perhaps its node went down in order");
    node.session();
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
    assert_eq!(node.reports.last().unwrap().status.starts, 1);
}

#[test]
fn what_the_last_agent_had_not_begun_is_not_begun_by_the_next_before_a_server_names_it() {
    let mut node = Node::new(spec());
    node.host.kill(node.machine.handle());
    node.host.delete(node.machine.handle()).unwrap();
    node.journal = Record::new(desired(spec()), "boot-0");
    let begun = node.actions.len();
    node.restart_agent();
    assert_eq!(
        (node.actions.len(), node.phase()),
        (begun, Phase::Scheduled),
        "perhaps it was deleted meanwhile"
    );
    node.session();
    assert_eq!(node.phase(), Phase::Running);
}

#[test]
fn a_reboot_of_the_node_starts_what_ran_once_and_nothing_else() {
    let mut node = Node::new(spec());
    node.reboot();
    node.session();
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
    node.restart_agent();
    assert_eq!(node.boots(), 2);
    node.end_guest(End::PoweredOff);
    node.reboot();
    node.session();
    assert_eq!((node.boots(), node.phase()), (2, Phase::Stopped), "it had powered itself off before");
}

#[test]
fn after_a_boot_of_the_host_nothing_is_started_before_the_server_has_named_it() {
    let mut node = Node::new(InstanceSpec { restart_policy: RestartPolicy::Always, ..spec() });
    node.reboot();
    node.pass(600);
    assert_eq!((node.boots(), node.phase()), (1, Phase::Scheduled));
    let status = node.reports.last().unwrap().status.clone();
    let condition = status.conditions.get(PLACEMENT_CONFIRMED).unwrap();
    assert_eq!(condition.status, ConditionStatus::False);
    assert!(condition.message.contains("start_without_server") && status.message == condition.message);
    // An assignment that was over before is no word of where it is now.
    let old = Desired { epoch: Epoch(0), ..desired(spec()) };
    node.step(Input::Desired(Box::new(old)));
    assert_eq!(node.boots(), 1);
    node.session();
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
    assert_eq!(node.reports.last().unwrap().status.conditions.get(PLACEMENT_CONFIRMED), None);
    // For this boot: an agent that is alone from now on works on, also after its own death.
    node.restart_agent();
    node.end_guest(End::Failed("boom".into()));
    node.pass(2);
    assert_eq!((node.boots(), node.phase()), (3, Phase::Running));
}

#[test]
fn an_operator_without_other_hosts_can_waive_the_wait_for_the_server() {
    let mut node = Node::new(spec());
    node.confirmation = Confirmation::Waived;
    node.reboot();
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
}

#[test]
fn a_guest_that_vanished_while_the_agent_was_away_has_failed() {
    let mut node = Node::new(spec());
    let handle = node.machine.handle();
    node.host.kill(handle);
    node.restart_agent();
    assert_eq!(node.phase(), Phase::Failed);
    node.pass(600);
    assert_eq!(node.boots(), 1, "its node may have gone down in order, and its server given it to another");
    node.session();
    node.pass(2);
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running));

    // Where the server was faster than the look, it has named it.
    let mut node = Node::new(spec());
    node.host.kill(handle);
    node.machine = Machine::new(node.journal.clone(), Origin::Journal, "boot-0", EpochCheck::Enforced);
    let named = node.machine.record().desired.clone();
    node.machine.step(Input::Desired(Box::new(named)), node.now);
    let effects = node.machine.begin(node.now);
    node.apply(effects);
    node.pass(2);
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
}

#[test]
fn a_guest_that_was_asked_to_end_did_not_fail_though_the_agent_that_asked_died() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    node.host.slot_mut(id).unwrap().heeds_power_button = false;
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    node.host.end_guest(id, End::PoweredOff);
    node.restart_agent();
    assert_eq!((node.phase(), node.message()), (Phase::Stopped, "powered off as asked"));

    let mut node = Node::new(spec());
    node.host.slot_mut(id).unwrap().heeds_power_button = false;
    node.want(|desired| desired.spec.restart_serial = 1);
    node.host.end_guest(id, End::Failed("killed".into()));
    node.restart_agent();
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running), "no pause, as after a failure");
}

#[test]
fn a_silent_monitor_is_a_condition_and_not_a_phase() {
    let mut node = Node::new(spec());
    let id = node.machine.handle().id;
    node.host.slot_mut(id).unwrap().responsive = Responsive::No("no answer for 3 s".into());
    node.step(Input::Changed);
    let status = &node.reports.last().unwrap().status;
    assert_eq!(status.phase, Phase::Running);
    assert_eq!(status.conditions.get(RESPONSIVE).unwrap().status, ConditionStatus::False);
    node.host.slot_mut(id).unwrap().responsive = Responsive::Yes;
    node.step(Input::Changed);
    let status = &node.reports.last().unwrap().status;
    assert_eq!(status.conditions.get(RESPONSIVE).unwrap().status, ConditionStatus::True);
}

#[test]
fn changes_that_wait_for_a_restart_are_shown_until_it_comes() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.cpus = 4);
    let status = node.reports.last().unwrap().status.clone();
    assert!(status.conditions.get(RESTART_REQUIRED).unwrap().message.contains("spec.cpus"));
    assert_eq!(status.observed_generation, 2);
    node.want(|desired| desired.spec.restart_serial += 1);
    assert!(node.reports.last().unwrap().status.conditions.get(RESTART_REQUIRED).is_none());
    assert_eq!(node.boots(), 2);
}

#[test]
fn a_start_whose_answer_was_lost_does_not_make_a_later_power_off_a_failure() {
    let mut node = Node::new(InstanceSpec { run_state: RunState::Stopped, ..spec() });
    node.want(|desired| desired.spec.run_state = RunState::Running);
    assert_eq!((node.phase(), node.boots()), (Phase::Running, 1));
    // The next start does its work and is answered with a failure.
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    node.fail_after =
        Some((Action::Start(StartMode::Running), DriverError::new(DriverErrorKind::Failed, "start", "lost")));
    node.want(|desired| {
        desired.spec.run_state = RunState::Running;
        desired.spec.restart_serial += 1;
    });
    assert_eq!((node.phase(), node.boots()), (Phase::Running, 2));
    node.end_guest(End::PoweredOff);
    node.pass(600);
    assert_eq!((node.phase(), node.boots()), (Phase::Stopped, 2));
}

#[test]
fn a_guest_that_powered_off_before_its_start_failed_to_answer_stays_off() {
    let mut node = Node::new(InstanceSpec { run_state: RunState::Stopped, ..spec() });
    node.powers_off_in_start = true;
    node.fail_after =
        Some((Action::Start(StartMode::Running), DriverError::new(DriverErrorKind::Failed, "start", "lost")));
    node.want(|desired| desired.spec.run_state = RunState::Running);
    node.pass(600);
    assert_eq!((node.phase(), node.boots()), (Phase::Stopped, 1));
}

#[test]
fn nothing_is_done_between_the_end_of_an_action_and_the_look_that_follows() {
    let now = Now { wall: Timestamp(1), mono: Duration::from_secs(1) };
    let mut machine = Machine::new(
        Record::new(desired(spec()), "boot-0"),
        Origin::Assigned,
        "boot-0",
        EpochCheck::Enforced,
    );
    let mut host = Host::default();
    let mut effects = machine.begin(now);
    // Until the start has been answered.
    let look = loop {
        let mut input = None;
        for effect in effects {
            match effect {
                Effect::Observe(number, handle) => {
                    input = Some(Input::Observed(number, Ok(host.observe(handle))));
                }
                Effect::Run(action, assignment) => {
                    match action {
                        Action::Prepare => host.prepare(&assignment),
                        Action::Start(mode) => host.start(&assignment, mode, now.wall).expect("prepared"),
                        _ => {}
                    }
                    input = Some(Input::Done(action, Ok(())));
                }
                Effect::Persist(_) | Effect::Report(_) | Effect::WakeAt(_) => {}
            }
        }
        let input = input.expect("it goes on until it is started");
        let started = matches!(input, Input::Done(Action::Start(_), _));
        effects = machine.step(input, now);
        if started {
            break effects;
        }
    };
    assert!(look.iter().any(|effect| matches!(effect, Effect::Observe(..))));
    let newer = Desired { generation: 2, ..desired(spec()) };
    for input in [Input::Desired(Box::new(newer)), Input::Timer] {
        let effects = machine.step(input, now);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Run(..))), "{effects:?}");
    }
}

#[test]
fn a_node_that_goes_down_takes_its_guest_with_it_and_brings_it_back() {
    for heeds in [true, false] {
        let mut node = Node::new(spec());
        let id = node.machine.handle().id;
        node.host.slot_mut(id).unwrap().heeds_power_button = heeds;
        node.step(Input::Quiesce(Duration::from_secs(5)));
        node.pass(5);
        assert_eq!((node.guest(), node.phase()), (Guest::Absent, Phase::Stopped));
        node.want(|desired| desired.spec.restart_serial += 1);
        assert_eq!(node.boots(), 1, "nothing is started while the node goes down");
        node.restart_agent();
        assert_eq!(node.boots(), 1, "it may have been given up while it was down");
        node.session();
        assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
        assert_eq!(node.reports.last().unwrap().status.starts, 2);
    }
}

#[test]
fn an_answer_to_an_older_look_starts_nothing_twice() {
    let mut node = Node::new(InstanceSpec { run_state: RunState::Stopped, ..spec() });
    // By hand: the driver tells of a change at every turn, and its answers come late.
    node.want(|desired| desired.spec.restart_serial += 1);
    let mut desired = node.machine.record().desired.clone();
    desired.spec.run_state = RunState::Running;
    desired.generation += 1;
    let mut inputs = VecDeque::from([Input::Desired(Box::new(desired))]);
    let mut starts = 0;
    while let Some(input) = inputs.pop_front() {
        for effect in node.machine.step(input, node.now) {
            match effect {
                Effect::Observe(number, handle) => {
                    inputs.push_back(Input::Changed);
                    inputs.push_back(Input::Observed(number, Ok(node.host.observe(handle))));
                    assert!(inputs.len() < 10, "looking comes to an end");
                }
                Effect::Run(action, assignment) => {
                    match action {
                        Action::Prepare => node.host.prepare(&assignment),
                        Action::Start(mode) => {
                            starts += 1;
                            node.host.start(&assignment, mode, node.now.wall).unwrap();
                        }
                        _ => {}
                    }
                    inputs.push_back(Input::Done(action, Ok(())));
                }
                Effect::Persist(_) | Effect::Report(_) | Effect::WakeAt(_) => {}
            }
        }
        if starts == 1 && node.machine.report().status.phase == Phase::Running {
            break;
        }
    }
    assert_eq!((starts, node.machine.record().starts), (1, 1));
}

#[test]
fn it_has_not_stopped_while_something_of_it_is_left() {
    let mut node = Node::new(spec());
    node.step(Input::Quiesce(Duration::from_secs(5)));
    assert_eq!(node.actions[3..], [Action::PowerDown, Action::Kill]);
    assert_eq!((node.phase_at_kill, node.phase()), (Some(Phase::Stopping), Phase::Stopped));
}

#[test]
fn a_power_button_that_cannot_be_pressed_is_pressed_again_until_the_deadline() {
    let mut node = Node::new(spec());
    let silent = |kind| DriverError::new(kind, "power down", "the monitor does not answer");
    node.fail = Some((Action::PowerDown, silent(DriverErrorKind::Unresponsive)));
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    assert_eq!(
        (node.guest(), node.phase()),
        (Guest::Running, Phase::Stopping),
        "it is not killed for our trouble"
    );
    node.pass(2);
    assert_eq!((node.guest(), node.phase()), (Guest::Absent, Phase::Stopped));
    assert_eq!(node.actions[3..], [Action::PowerDown, Action::PowerDown, Action::Kill]);
    assert_eq!(node.message(), "powered off as asked");
}

#[test]
fn a_halted_guest_that_cannot_be_let_go_is_ended_at_the_deadline() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.run_state = RunState::Paused);
    node.want(|desired| {
        desired.spec.run_state = RunState::Stopped;
        desired.spec.stop_timeout_once = Some(Duration::from_secs(3));
    });
    assert_eq!(node.guest(), Guest::Absent, "let go, it heeds the power button");
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.run_state = RunState::Paused);
    let full = || DriverError::new(DriverErrorKind::NoSpace, "resume", "no space left on device");
    node.fail = Some((Action::Resume, full()));
    node.want(|desired| {
        desired.spec.run_state = RunState::Stopped;
        desired.spec.stop_timeout_once = Some(Duration::from_secs(3));
    });
    assert_eq!((node.guest(), node.phase()), (Guest::Paused, Phase::Stopping));
    node.fail = Some((Action::Resume, full()));
    node.pass(2);
    node.pass(2);
    assert_eq!((node.guest(), node.phase()), (Guest::Absent, Phase::Stopped));
}

#[test]
fn a_node_that_goes_down_does_not_wait_for_a_longer_stop() {
    let mut node = Node::new(InstanceSpec { stop_timeout: Duration::from_secs(3600), ..spec() });
    let id = node.machine.handle().id;
    node.host.slot_mut(id).unwrap().heeds_power_button = false;
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    node.step(Input::Quiesce(Duration::from_secs(5)));
    node.pass(5);
    assert_eq!(node.guest(), Guest::Absent);
}

#[test]
fn a_guest_taken_down_with_its_node_starts_again_though_the_agent_died_before_it_had_ended() {
    let mut node = Node::new(spec());
    node.host.slot_mut(node.journal.desired.id).unwrap().heeds_power_button = false;
    node.step(Input::Quiesce(Duration::from_secs(60)));
    assert!(node.actions.contains(&Action::PowerDown));
    node.host.end_guest(node.journal.desired.id, End::PoweredOff);
    node.restart_agent();
    node.session();
    assert_eq!((node.guest(), node.boots()), (Guest::Running, 2));
}

#[test]
fn a_guest_that_outlives_the_end_of_its_node_and_its_agent_ends_for_its_own_reasons_later() {
    let mut node = Node::new(spec());
    node.host.slot_mut(node.journal.desired.id).unwrap().heeds_power_button = false;
    node.step(Input::Quiesce(Duration::from_secs(600)));
    node.restart_agent();
    node.session();
    assert_eq!((node.guest(), node.phase()), (Guest::Running, Phase::Running));
    for _ in 0..6 {
        node.pass(10);
        node.step(Input::Changed);
    }
    node.end_guest(End::PoweredOff);
    node.pass(600);
    assert_eq!((node.boots(), node.phase()), (1, Phase::Stopped));
    assert_eq!(node.message(), "the guest powered itself off");
}

/// The server's store was restored: generation and serial are older than what was acted on, under a newer epoch.
fn restored(desired: &mut Desired) {
    desired.epoch = Epoch(7);
    desired.generation = 1;
    desired.spec.restart_serial = 0;
    desired.spec.run_state = RunState::Running;
}

#[test]
fn a_new_assignment_of_a_live_guest_leaves_it_alone_and_is_acted_on_from_there() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.restart_serial = 5);
    node.want(|desired| desired.generation = 9);
    let (boots, admissions) =
        (node.boots(), node.actions.iter().filter(|action| **action == Action::Admit).count());
    node.fail =
        Some((Action::Admit, DriverError::new(DriverErrorKind::Missing, "admit", "no room any more")));
    node.want(restored);
    assert_eq!((node.guest(), node.boots()), (Guest::Running, boots));
    let report = node.reports.last().unwrap();
    assert_eq!((report.epoch, report.status.observed_generation), (Epoch(7), 1));
    node.want(|desired| desired.spec.restart_serial = 1);
    assert_eq!(node.boots(), boots + 1, "a serial that is given out again restarts it");
    let again = node.actions.iter().filter(|action| **action == Action::Admit).count();
    assert_eq!(again, admissions, "it has its disks here");
}

#[test]
fn a_new_assignment_starts_what_a_forgotten_stop_had_ended() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    assert_eq!(node.phase(), Phase::Stopped);
    node.want(restored);
    assert_eq!((node.guest(), node.boots()), (Guest::Running, 2));
}

#[test]
fn a_new_assignment_during_a_deletion_makes_it_anew() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.run_state = RunState::Stopped);
    let deleted = Desired { deleted: true, generation: 9, ..node.machine.record().desired.clone() };
    let effects = node.machine.step(Input::Desired(Box::new(deleted)), node.now);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Run(Action::Delete, _))));
    let handle = node.machine.handle();
    node.want(|desired| {
        restored(desired);
        desired.deleted = false;
    });
    node.host.delete(handle).unwrap();
    node.step(Input::Done(Action::Delete, Ok(())));
    let report = node.reports.last().unwrap();
    assert!(!report.gone && report.status.phase == Phase::Running, "{report:?}");
    assert_eq!((report.epoch, report.status.observed_generation), (Epoch(7), 1));
}

#[test]
fn a_new_assignment_does_not_start_what_had_ended_by_itself() {
    let mut node = Node::new(spec());
    node.want(|desired| desired.spec.restart_serial = 5);
    node.end_guest(End::PoweredOff);
    node.want(restored);
    node.pass(600);
    assert_eq!((node.boots(), node.phase()), (2, Phase::Stopped));
    assert_eq!(node.message(), "the guest powered itself off");
    assert_eq!(node.reports.last().unwrap().status.observed_generation, 1);
    node.want(|desired| desired.spec.restart_serial = 1);
    assert_eq!((node.boots(), node.phase()), (3, Phase::Running), "a start brings it back");

    let mut node = Node::new(InstanceSpec { restart_policy: RestartPolicy::Never, ..spec() });
    node.end_guest(End::Failed("boom".into()));
    node.restart_agent();
    node.want(|desired| {
        restored(desired);
        desired.spec.restart_policy = RestartPolicy::Never;
    });
    assert_eq!((node.boots(), node.phase(), node.message()), (1, Phase::Failed, "boom"));
}

#[test]
fn a_new_assignment_brings_a_restart_that_was_never_heard_of() {
    let mut node = Node::new(spec());
    node.want(|desired| {
        desired.epoch = Epoch(7);
        desired.spec.restart_serial = 1;
    });
    assert_eq!((node.boots(), node.phase()), (2, Phase::Running));
}

//! Seeds: the product holds, and built-in defects are noticed.

mod support;

use hv_sim::{Invariant, Mutation, Scenario, Summary, run};
use support::{all, number};

/// Runs of `make test`; `HV_SIM_SEEDS` raises it.
const SEEDS: u64 = 1000;

#[test]
fn every_seed_holds_and_the_seeds_reach_everything() {
    let sum = all(number("HV_SIM_SEEDS").unwrap_or(SEEDS), Scenario::Usual);
    let Summary {
        requests,
        boots,
        placements,
        rejections,
        removals,
        server_crashes,
        agent_crashes,
        host_reboots,
        cuts,
        frames_lost,
        frames_doubled,
        driver_faults,
        guest_faults,
        journal_faults,
        store_faults,
        quiesces,
        answers_lost,
        repetitions,
        expired,
        restores,
        found_again,
        started_anew,
        ..
    } = sum;
    for (what, count) in [
        ("requests", requests),
        ("boots", boots),
        ("placements", placements),
        ("rejections", rejections),
        ("removals", removals),
        ("server crashes", server_crashes),
        ("agent crashes", agent_crashes),
        ("host reboots", host_reboots),
        ("cuts", cuts),
        ("lost frames", frames_lost),
        ("doubled frames", frames_doubled),
        ("driver faults", driver_faults),
        ("guest faults", guest_faults),
        ("journal faults", journal_faults),
        ("store faults", store_faults),
        ("nodes that go down", quiesces),
        ("lost answers", answers_lost),
        ("repeated calls", repetitions),
        ("expired records", expired),
        ("restored stores", restores),
        ("instances found again", found_again),
        ("instances started anew", started_anew),
    ] {
        assert!(count >= 10, "the seeds reach only {count} {what}");
    }
}

/// `HV_SIM_SEED=n`: one seed, with its log.
#[test]
fn one_seed() {
    support::one_seed(Scenario::Usual);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..20 {
        let again = || run(seed, Mutation::None).map_err(|failure| failure.to_string());
        assert_eq!(again(), again());
    }
}

/// The first seed that notices a defect, and the invariant that it breaks.
fn noticed(mutation: Mutation) -> Option<(u64, Invariant)> {
    support::noticed(SEEDS, mutation, Scenario::Usual).map(|(seed, violation)| (seed, violation.invariant))
}

#[test]
fn agents_without_the_epoch_check_are_noticed() {
    let (seed, invariant) = noticed(Mutation::EpochCheckRemoved).expect("a seed that notices it");
    println!("seed {seed}: {invariant:?}");
    assert!(matches!(invariant, Invariant::OneGuest | Invariant::NewestAssignment), "{invariant:?}");
}

#[test]
fn agents_that_do_not_wait_for_their_journal_are_noticed() {
    println!("{:?}", noticed(Mutation::JournalNotAwaited).expect("a seed that notices it"));
}

#[test]
fn a_network_that_loses_frames_unnoticed_is_noticed() {
    println!("{:?}", noticed(Mutation::LossUnnoticed).expect("a seed that notices it"));
}

#[test]
fn a_store_that_ignores_conditions_is_noticed() {
    println!("{:?}", noticed(Mutation::ConditionsIgnored).expect("a seed that notices it"));
}

#[test]
fn a_node_that_goes_down_without_telling_its_instances_is_noticed() {
    let (seed, invariant) = noticed(Mutation::QuiesceForgotten).expect("a seed that notices it");
    println!("seed {seed}: {invariant:?}");
    assert_eq!(invariant, Invariant::GoesDown);
}

#[test]
fn leases_on_operations_that_have_not_ended_are_noticed() {
    let (seed, invariant) = noticed(Mutation::OpenOperationsLeased).expect("a seed that notices it");
    println!("seed {seed}: {invariant:?}");
    assert_eq!(invariant, Invariant::OpenStays);
}

#[test]
fn repeated_calls_that_are_taken_for_new_ones_are_noticed() {
    let (seed, invariant) = noticed(Mutation::RepetitionUnnoticed).expect("a seed that notices it");
    println!("seed {seed}: {invariant:?}");
    assert_eq!(invariant, Invariant::CallsOnce);
}

#[test]
fn a_restored_store_that_does_not_wait_for_reports_is_noticed() {
    println!("{:?}", noticed(Mutation::RestoreUnmarked).expect("a seed that notices it"));
}

//! Nodes are drained while everything goes wrong: what leaves one is never on two, and arrives.

mod support;

use hv_sim::{Invariant, Mutation, Scenario};

/// Runs of `make test`; `HV_SIM_SEEDS` raises it.
const SEEDS: u64 = 400;

#[test]
fn what_leaves_a_drained_node_arrives_and_is_never_on_two() {
    let sum = support::all(support::number("HV_SIM_SEEDS").unwrap_or(SEEDS), Scenario::Drain);
    for (what, count, least) in [
        ("departures", sum.departures, 50),
        ("restored stores", sum.restores, 20),
        ("instances found again", sum.found_again, 20),
    ] {
        assert!(count >= least, "the seeds reach only {count} {what}");
    }
}

/// `HV_SIM_SEED=n`: one seed, with its log.
#[test]
fn one_seed() {
    support::one_seed(Scenario::Drain);
}

#[test]
fn a_drain_that_keeps_no_room_for_what_leaves_is_noticed() {
    let (seed, violation) = support::noticed(SEEDS, Mutation::ReservationForgotten, Scenario::Drain)
        .expect("a seed that notices it");
    println!("seed {seed}: {violation}");
    assert_eq!(violation.invariant, Invariant::LeavesForSomewhere);
}

//! Nodes are drained while everything goes wrong: what leaves one is never on two, and arrives.

mod support;

use hv_sim::Scenario;

const SEEDS: u64 = 300;

#[test]
fn what_leaves_a_drained_node_arrives_and_is_never_on_two() {
    let sum = support::all(SEEDS, Scenario::Drain);
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

//! Nodes are drained while everything goes wrong: what leaves one is never on two, and arrives.

use hv_sim::{Mutation, Scenario, Summary, run_scenario, trace};

const SEEDS: u64 = 300;

#[test]
fn what_leaves_a_drained_node_arrives_and_is_never_on_two() {
    let mut sum = Summary::default();
    for seed in 0..SEEDS {
        match run_scenario(seed, Mutation::None, Scenario::Drain) {
            Ok(summary) => sum.add(&summary),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{sum:#?}");
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
#[expect(clippy::disallowed_methods, reason = "which seed is said by whoever runs the test")]
fn one_seed() {
    let seed = std::env::var("HV_SIM_SEED").ok().and_then(|text| text.parse().ok());
    if let Some(seed) = seed {
        match trace(seed, Mutation::None, Scenario::Drain) {
            Ok(summary) => println!("{summary:#?}"),
            Err(failure) => panic!("{failure}"),
        }
    }
}

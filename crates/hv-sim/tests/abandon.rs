//! A host comes back whose node was abandoned: never two guests of one instance, once it has been told.

use hv_sim::{Mutation, Scenario, Summary, Violation, run_scenario, trace};

const SEEDS: u64 = 300;

#[test]
fn an_abandoned_host_that_comes_back_ends_its_guests() {
    let mut sum = Summary::default();
    for seed in 0..SEEDS {
        match run_scenario(seed, Mutation::None, Scenario::Abandon) {
            Ok(summary) => sum.add(&summary),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{sum:#?}");
    for (what, count, least) in [
        ("abandonments", sum.abandonments, 50),
        ("revocations", sum.revocations, 50),
        ("removals", sum.removals, 50),
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
        match trace(seed, Mutation::None, Scenario::Abandon) {
            Ok(summary) => println!("{summary:#?}"),
            Err(failure) => panic!("{failure}"),
        }
    }
}

fn noticed(mutation: Mutation) -> Option<(u64, Violation)> {
    (0..SEEDS).find_map(|seed| {
        let failure = run_scenario(seed, mutation, Scenario::Abandon).err()?;
        Some((seed, failure.violation))
    })
}

#[test]
fn agents_that_keep_their_guests_are_noticed() {
    println!("{:?}", noticed(Mutation::RevocationIgnored).expect("a seed that notices it"));
}

#[test]
fn hosts_that_start_their_guests_before_they_are_told_are_noticed() {
    println!("{:?}", noticed(Mutation::ConfirmationWaived).expect("a seed that notices it"));
}

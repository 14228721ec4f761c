//! A host comes back whose node was abandoned: never two guests of one instance, once it has been told.

mod support;

use hv_sim::{Mutation, Scenario};

const SEEDS: u64 = 300;

#[test]
fn an_abandoned_host_that_comes_back_ends_its_guests() {
    let sum = support::all(SEEDS, Scenario::Abandon);
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
fn one_seed() {
    support::one_seed(Scenario::Abandon);
}

#[test]
fn agents_that_keep_their_guests_are_noticed() {
    println!(
        "{:?}",
        support::noticed(SEEDS, Mutation::RevocationIgnored, Scenario::Abandon)
            .expect("a seed that notices it")
    );
}

#[test]
fn hosts_that_start_their_guests_before_they_are_told_are_noticed() {
    println!(
        "{:?}",
        support::noticed(SEEDS, Mutation::ConfirmationWaived, Scenario::Abandon)
            .expect("a seed that notices it")
    );
}

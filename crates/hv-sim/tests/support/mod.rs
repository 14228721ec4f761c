//! What the tests of every scenario do: all seeds, one of them, and the first that notices a defect.
#![expect(clippy::print_stdout, reason = "whoever runs a seed reads its log")]
#![allow(clippy::allow_attributes, dead_code, reason = "each test program uses its part")]

use hv_sim::{Mutation, Scenario, Summary, Violation, run_scenario, trace};

#[expect(clippy::disallowed_methods, reason = "how many seeds, and which, is said by whoever runs the tests")]
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on all processors; panics with the first failure by number, if any.
pub(crate) fn all(seeds: u64, scenario: Scenario) -> Summary {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let results: Vec<Result<Summary, (u64, String)>> = std::thread::scope(|scope| {
        let spawn = |worker| {
            scope.spawn(move || {
                let mut sum = Summary::default();
                for seed in (worker..seeds).step_by(workers as usize) {
                    sum.add(
                        &run_scenario(seed, Mutation::None, scenario)
                            .map_err(|failure| (seed, failure.to_string()))?,
                    );
                }
                Ok(sum)
            })
        };
        let threads: Vec<_> = (0..workers).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("no run panics")).collect()
    });
    let mut sum = Summary::default();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(part) => sum.add(&part),
            Err(failure) => failures.push(failure),
        }
    }
    failures.sort();
    if let Some((_, text)) = failures.first() {
        panic!("{text}");
    }
    println!("{sum:#?}");
    sum
}

/// `HV_SIM_SEED=n`: one seed, with its log.
pub(crate) fn one_seed(scenario: Scenario) {
    if let Some(seed) = number("HV_SIM_SEED") {
        match trace(seed, Mutation::None, scenario) {
            Ok(summary) => println!("{summary:#?}"),
            Err(failure) => panic!("{failure}"),
        }
    }
}

/// The first seed that notices a defect, and what it breaks.
pub(crate) fn noticed(seeds: u64, mutation: Mutation, scenario: Scenario) -> Option<(u64, Violation)> {
    (0..seeds).find_map(|seed| Some((seed, run_scenario(seed, mutation, scenario).err()?.violation)))
}

//! One server, two agents, their guests, a store, a network and a client, in one thread under virtual time. A seed decides
//! everything: what is asked for, how long each step takes, what is lost, what fails and when a program dies.
//!
//! ```text
//!   client ── intent ──> store (model) <── transactions ── Controller::step ── frames ──┐
//!                          │                    ^                                       │  network: delays, cuts,
//!                          └──── changes ───────┘                                       │  and, in hostile runs, lost,
//!                                                                                       │  doubled and reordered frames
//!                 Host (guests) <── driver calls ── Machine::step <── Link::receive <───┘
//!                                                       │
//!                                                    journal
//! ```
//!
//! The decisions are the product's own; what is simulated is what surrounds them: the loops that carry out effects, the
//! store's durability, the journal's, processes that die and hosts that reboot. [`Invariant`]s are checked after every event,
//! and after the faults have ended everything has to settle.
//!
//! ```
//! let summary = hv_sim::run(1, hv_sim::Mutation::None).map_err(|failure| failure.to_string());
//! assert!(summary.is_ok_and(|summary| summary.events > 100));
//! ```
//!
//! Not simulated: consoles, figures, gRPC itself, the store's own crash safety (its crate tests that), clocks that jump.

mod abandon;
mod agent;
mod check;
mod client;
mod event;
mod fault;
mod leave;
mod machine;
mod network;
mod quiesce;
mod request;
mod restore;
mod rng;
mod server;
mod settle;
mod world;

pub use check::{Invariant, Violation};
pub use world::Summary;

use std::fmt;

/// A defect built in on purpose, to prove that a run would notice it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
    /// None: the product as it is.
    #[default]
    None,
    /// Agents take old assignments.
    EpochCheckRemoved,
    /// Agents go on before their journal is durable.
    JournalNotAwaited,
    /// Frames are numbered by the receiver: losses, repetitions and wrong order are not noticed.
    LossUnnoticed,
    /// The store applies transactions whatever their conditions.
    ConditionsIgnored,
    /// A node that goes down does not tell its instances.
    QuiesceForgotten,
    /// Operations that have not ended go with the lease too.
    OpenOperationsLeased,
    /// A repeated call is taken for a new one.
    RepetitionUnnoticed,
    /// A restored store does not know that it was restored.
    RestoreUnmarked,
    /// Agents of abandoned nodes come back under a new uid and keep their guests.
    RevocationIgnored,
    /// Hosts that come up start their guests before a server has named them.
    ConfirmationWaived,
    /// The store keeps no room for what leaves a drained node.
    ReservationForgotten,
    /// Agents forget how a guest ended when a restored store assigns its instance anew.
    EndForgotten,
    /// Agents start again what the server's full set leaves out.
    OmissionIgnored,
}

/// What happens beside the faults that every run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing.
    #[default]
    Usual,
    /// A host is cut off for longer than the grace period, its node is abandoned, and the host comes back.
    Abandon,
    /// Nodes are drained, and instances leave them.
    Drain,
}

/// A run that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// What happened beside the faults.
    pub scenario: Scenario,
    /// What was broken.
    pub violation: Violation,
    /// The last events before it.
    pub log: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.violation)?;
        for line in &self.log {
            writeln!(f, "  {line}")?;
        }
        let test = match self.scenario {
            Scenario::Usual => "seeds",
            Scenario::Abandon => "abandon",
            Scenario::Drain => "drain",
        };
        write!(
            f,
            "run it again: HV_SIM_SEED={} cargo test --workspace --test {test} one_seed -- --nocapture",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Runs one seed. The log of a failure costs a second run: formatting it for every seed would take longer than the run.
///
/// # Errors
/// The first invariant that was broken.
pub fn run(seed: u64, mutation: Mutation) -> Result<Summary, Box<Failure>> {
    run_scenario(seed, mutation, Scenario::Usual)
}

/// Like [`run`], with more happening.
///
/// # Errors
/// The first invariant that was broken.
pub fn run_scenario(seed: u64, mutation: Mutation, scenario: Scenario) -> Result<Summary, Box<Failure>> {
    match world::World::new(seed, mutation, scenario, world::Logging::Off).run() {
        Ok(summary) => Ok(summary),
        Err(_) => trace(seed, mutation, scenario),
    }
}

/// Like [`run_scenario`], with a log.
///
/// # Errors
/// The first invariant that was broken.
pub fn trace(seed: u64, mutation: Mutation, scenario: Scenario) -> Result<Summary, Box<Failure>> {
    let mut world = world::World::new(seed, mutation, scenario, world::Logging::On);
    world.run().map_err(|violation| Box::new(Failure { seed, scenario, violation, log: world.take_log() }))
}

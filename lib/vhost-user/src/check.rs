//! Checks of a back-end, over its socket and without a machine.
//!
//! ```text
//!   Backend --connect--> Run --each--> Check --Peer or FrontEnd--> Verdict --> Report
//! ```
//!
//! Every check has a connection of its own, and after each the back-end is asked whether it still serves, or has ended as it should: what a
//! check breaks is its own finding and not the next one's. A check says which part of the specification it is about, and how much it matters.
//!
//! Source of the sections: the vhost-user specification of QEMU, and VIRTIO 1.4 for what is in the rings.

mod acknowledgements;
mod channel;
mod configuration;
mod device;
#[cfg(feature = "faults")]
pub mod faults;
mod framing;
mod hostile;
mod in_band;
mod inflight;
mod iommu;
mod memory;
mod negotiation;
mod order;
mod peer;
mod postcopy;
mod probe;
mod profiles;
mod reconnection;
mod rings;
mod session;
mod shared;
mod state;
mod types;
mod work;

pub use probe::{Offer, ProbeError, probe};
pub use profiles::{Profile, Said};
pub use types::doubts;
pub use work::Kind;
use work::Patience;

use crate::clock;
use crate::socket::SocketError;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use thiserror::Error;

/// A back-end that can be connected to again and again.
pub trait Backend {
    /// A new connection. One that serves a single front-end is started for it.
    ///
    /// # Errors
    /// Where it cannot be reached.
    fn connect(&mut self) -> io::Result<UnixStream>;

    /// Whether each connection has a process of its own, which ends with it: what was done to one says nothing of the next.
    fn is_single(&self) -> bool {
        false
    }

    /// Whether it connects to its front-end, and so to one at a time; [`connect`](Self::connect) waits for that.
    fn connects(&self) -> bool {
        false
    }

    /// How the process that served the last connections was killed, if it was, and that is known. Told once.
    fn death(&mut self) -> Option<String> {
        None
    }

    /// Starts it again after it has died; `false`: nobody here can.
    fn revive(&mut self) -> bool {
        false
    }

    /// Descriptors and mappings that its process has, where they can be counted.
    fn resources(&mut self) -> Option<Resources> {
        None
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Open descriptors.
    pub descriptors: usize,
    /// Mappings.
    pub mappings: usize,
}

/// How much a check matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The specification says so: front-ends that follow it will fail.
    Must,
    /// The specification recommends it, or known front-ends expect it.
    Should,
    /// What a careful back-end does with a front-end that is broken or hostile. Those are trusted, and yet one that is broken should not end
    /// the others' devices.
    Robust,
}

/// A check.
pub struct Check {
    /// Its name, which stays: `rings.size.zero`.
    pub id: String,
    /// What it asks, in a sentence.
    pub title: String,
    /// Where that is said.
    pub section: &'static str,
    /// How much it matters.
    pub level: Level,
    run: Box<dyn Fn(&mut Run<'_>) -> Outcome + Send>,
}

impl Check {
    fn new(
        id: impl Into<String>,
        level: Level,
        section: &'static str,
        title: impl Into<String>,
        run: impl Fn(&mut Run<'_>) -> Outcome + Send + 'static,
    ) -> Self {
        Self { id: id.into(), title: title.into(), section, level, run: Box::new(run) }
    }

    /// The first part of its name.
    pub fn group(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is so.
    Passed,
    /// It is not: what was seen.
    Failed(String),
    /// It cannot be asked of this back-end: why.
    NotApplicable(String),
}

/// Why a check did not pass.
#[derive(Debug, Error)]
enum Trouble {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    NotApplicable(String),
    #[error("the back-end cannot be reached")]
    Unreachable(#[source] io::Error),
}

type Outcome = Result<(), Trouble>;

impl From<SocketError> for Trouble {
    fn from(error: SocketError) -> Self {
        Self::Failed(match error {
            SocketError::TimedOut => "it did not answer in time".to_owned(),
            SocketError::Closed => "it closed the connection".to_owned(),
            other => other.to_string(),
        })
    }
}

impl From<crate::frontend::CallError> for Trouble {
    fn from(error: crate::frontend::CallError) -> Self {
        Self::Failed(crate::with_causes(&error))
    }
}

impl From<crate::frontend::WaitError> for Trouble {
    fn from(error: crate::frontend::WaitError) -> Self {
        Self::Failed(crate::with_causes(&error))
    }
}

/// Errors of ours, on the way to the question.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

fn failed<T>(text: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Failed(text.into()))
}

fn not_applicable<T>(text: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::NotApplicable(text.into()))
}

/// How a back-end is checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The type of device, which says what can be asked of its rings.
    pub kind: Option<Kind>,
    /// Front-ends that it must work with.
    pub profiles: Vec<Profile>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Only checks whose name begins with one of these; empty: all.
    pub only: Vec<String>,
    /// No checks whose name begins with one of these.
    pub skip: Vec<String>,
    /// The content of a disk may be changed.
    pub writes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: None,
            profiles: Vec::new(),
            timeout: Duration::from_secs(2),
            only: Vec::new(),
            skip: Vec::new(),
            writes: false,
        }
    }
}

/// A check that was made.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its name.
    pub id: String,
    /// What it asks.
    pub title: String,
    /// Where that is said.
    pub section: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}

/// What is known after all checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the back-end offers.
    pub offer: Offer,
    /// Every check, in order.
    pub findings: Vec<Finding>,
    /// The back-end was gone before this check, and stayed so: what follows was not made.
    pub gone_before: Option<String>,
}

impl Report {
    /// How many checks of a level failed.
    pub fn failed(&self, level: Level) -> usize {
        let is_failed = |it: &&Finding| it.level == level && matches!(it.verdict, Verdict::Failed(_));
        self.findings.iter().filter(is_failed).count()
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.findings.iter().filter(|it| it.verdict == Verdict::Passed).count()
    }

    /// How many could not be asked.
    pub fn not_applicable(&self) -> usize {
        self.findings.iter().filter(|it| matches!(it.verdict, Verdict::NotApplicable(_))).count()
    }
}

/// What a check works with.
struct Run<'r> {
    backend: &'r mut dyn Backend,
    options: &'r Options,
    offer: Offer,
    /// It was found to leave descriptors or mappings behind.
    leaves: bool,
    /// Not even a single request is served, which is a finding of its own: nothing else is asked of its rings.
    serves_nothing: bool,
    /// Checks that failed.
    failed: BTreeSet<String>,
    /// How long rings are waited for.
    patience: Patience,
}

/// Why nothing was checked.
#[derive(Debug, Error)]
#[error("the back-end does not serve")]
pub struct NoBackend(#[source] Box<dyn std::error::Error + Send + Sync>);

/// All checks of these options, by name and in order.
pub fn checks(options: &Options) -> Vec<Check> {
    // What it is comes first: who was told a wrong type reads on no further.
    let mut all = options.kind.map(types::checks).unwrap_or_default();
    all.extend(framing::checks());
    all.extend(negotiation::checks());
    all.extend(acknowledgements::checks());
    all.push(rings::served());
    all.extend(memory::checks());
    all.extend(rings::checks());
    all.extend(hostile::checks());
    all.extend(configuration::checks());
    all.extend(state::checks());
    all.extend(inflight::checks());
    all.extend(iommu::checks());
    all.extend(in_band::checks());
    all.extend(shared::checks());
    all.extend(postcopy::checks());
    all.extend(reconnection::checks());
    if let Some(kind) = options.kind {
        all.extend(device::checks(kind, options.writes));
    }
    for profile in &options.profiles {
        all.extend(profiles::checks(*profile, options.kind));
    }
    let begins = |check: &Check, all: &[String]| all.iter().any(|it| check.id.starts_with(it.as_str()));
    all.retain(|check| options.only.is_empty() || begins(check, &options.only));
    all.retain(|check| !begins(check, &options.skip));
    all
}

/// Makes all checks. `now` tells the time since any beginning, and `told` hears of each finding.
///
/// # Errors
/// [`NoBackend`] where not even its features can be asked.
pub fn run(
    backend: &mut dyn Backend,
    options: &Options,
    mut now: impl FnMut() -> Duration,
    mut told: impl FnMut(&Finding),
) -> Result<Report, NoBackend> {
    let offer = probe(backend, options.timeout).map_err(|error| NoBackend(error.into()))?;
    let mut run = Run {
        backend,
        options,
        offer: offer.clone(),
        leaves: false,
        serves_nothing: false,
        failed: BTreeSet::new(),
        patience: Patience::new(options.timeout, clock::monotonic),
    };
    let mut findings = Vec::new();
    let mut gone_before = None;
    let mut is_gone = false;
    for check in checks(options) {
        if is_gone {
            gone_before = Some(check.id);
            break;
        }
        let begin = now();
        let mut outcome = (check.run)(&mut run);
        // One that is started for each connection is not started only to see that it serves.
        let is_another = run.backend.is_single() && !matches!(outcome, Err(Trouble::Unreachable(_)));
        let serves = is_another || run.still_serves();
        let death = run.backend.death();
        let death_is_unknown = death.is_none();
        if !serves || death.is_some() {
            let how = death.unwrap_or_else(|| "it takes no connection any more".to_owned());
            outcome = match outcome {
                Err(Trouble::Unreachable(_)) if !serves && death_is_unknown => outcome,
                Err(Trouble::Failed(text)) => Err(Trouble::Failed(format!("{text}; then {how}"))),
                Ok(()) | Err(_) => Err(Trouble::Failed(how)),
            };
        }
        if !serves {
            is_gone = !run.backend.revive();
        }
        let verdict = match outcome {
            Ok(()) => Verdict::Passed,
            Err(Trouble::Failed(text)) => Verdict::Failed(text),
            Err(Trouble::NotApplicable(text)) => Verdict::NotApplicable(text),
            // It was away for a moment, or was started again, and serves.
            Err(Trouble::Unreachable(error)) if !is_gone => {
                Verdict::Failed(format!("it took no connection: {error}"))
            }
            Err(Trouble::Unreachable(_)) => {
                gone_before = Some(check.id);
                break;
            }
        };
        let Check { id, title, section, level, .. } = check;
        if matches!(verdict, Verdict::Failed(_)) {
            run.failed.insert(id.clone());
        }
        let finding = Finding { id, title, section, level, verdict, time: now().saturating_sub(begin) };
        told(&finding);
        findings.push(finding);
    }
    Ok(Report { offer, findings, gone_before })
}

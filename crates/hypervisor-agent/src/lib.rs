//! The node's program: it holds a session with the server, owns the instances of this node, and remembers them.
//!
//! ```text
//!            session ──────── desired ───────> node ──> one task per instance ──> driver ──> QEMU
//!   server <───┘  ^                             │              │
//!                 └───────── reports <──────────┴──────────────┘       journal: before every action
//! ```
//!
//! It dials out and never listens. While the server is away it works on; after its own death it finds its guests again.

pub mod cli;
pub mod config;
pub mod drivers;
mod host;
pub mod instance;
pub mod journal;
pub mod node;
pub mod session;

use config::AgentConfig;
use hv_api::v1;
use hv_client::{DialError, Dialer, ServerAddr};
use hv_driver::Driver;
use hv_runtime::tasks::{DrainTimeout, Tasks};
use hv_runtime::{clock, files};
use instance::machine::Confirmation;
use node::Task;
use session::{Identity, Session};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What ending a guest by force may take on top of its patience.
const QUIESCE_MARGIN: Duration = Duration::from_secs(10);

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error("{0}")]
    Config(String),
    /// The state directory cannot be used.
    #[error("cannot use the state directory {path}")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    /// The server's address or token cannot be used.
    #[error("cannot set up the connection to the server")]
    Dial(#[from] DialError),
}

/// An agent with everything opened and nothing running yet.
pub struct Built {
    config: AgentConfig,
    driver: Arc<dyn Driver>,
    journal: journal::Journal,
    contents: journal::Contents,
    dialer: Dialer,
}

/// A running agent.
pub struct Agent {
    tasks: Tasks,
    journal: journal::Journal,
    /// Its instances.
    pub node: node::Node,
}

/// Opens the journal and reads the token.
pub fn build(config: AgentConfig, driver: Arc<dyn Driver>) -> Result<Built, StartError> {
    build_with(config, driver, journal::Journal::open)
}

/// The same for an agent that only takes its guests down: a journal that cannot be written, as on a full disk, does not keep it from that.
pub fn build_to_quiesce(config: AgentConfig, driver: Arc<dyn Driver>) -> Result<Built, StartError> {
    build_with(config, driver, |path| match journal::Journal::open(path) {
        Err(error @ journal::JournalError::Database(_)) => {
            tracing::error!(%error, "cannot open the journal for writing; guests are taken down all the same, and that is not recorded");
            journal::Journal::open_copy(path)
        }
        opened => opened,
    })
}

fn build_with(
    config: AgentConfig,
    driver: Arc<dyn Driver>,
    open: impl FnOnce(&Path) -> Result<(journal::Journal, journal::Contents), journal::JournalError>,
) -> Result<Built, StartError> {
    let addr: ServerAddr = config.server_addr.parse().map_err(StartError::Config)?;
    let dialer = Dialer::new(addr, config.token_file.clone())?;
    files::private_dir(&config.state_dir)
        .map_err(|source| StartError::StateDir { path: config.state_dir.clone(), source })?;
    let (journal, contents) = open(&config.state_dir.join("journal.redb"))?;
    Ok(Built { config, driver, journal, contents, dialer })
}

impl Built {
    /// Adopts what the journal knows, and opens the session.
    pub async fn spawn(self) -> Agent {
        self.spawn_with(None).await
    }

    /// Adopts what the journal knows only to take it down: nothing is started. See [`Agent::quiesce`].
    pub async fn spawn_to_quiesce(self, patience: Duration) -> Agent {
        self.spawn_with(Some(patience)).await
    }

    async fn spawn_with(self, quiesce: Option<Duration>) -> Agent {
        let Self { config, driver, journal, contents, dialer } = self;
        let tasks = Tasks::new();
        let boot_id = clock::boot_id();
        let describe: session::Describe = {
            let (config, boot_id) = (config.clone(), boot_id.clone());
            Arc::new(move |drivers| hv_api::convert::report_to(&host::report(&config, drivers, &boot_id)))
        };
        let report = describe(vec![driver.fingerprint().await]);
        let identity = Identity {
            node_uid: contents.node_uid.unwrap_or_else(|| hv_runtime::ids::uuid().to_string()),
            highest_epoch: contents
                .instances
                .iter()
                .map(|record| record.desired.epoch)
                .max()
                .unwrap_or_default(),
            node_name: if config.node_name.is_empty() { host::hostname() } else { config.node_name.clone() },
            session: contents.session,
            incarnation: contents.incarnation,
            initial_spec: v1::NodeSpec {
                role: if config.role == "master" { v1::NodeRole::Master } else { v1::NodeRole::Worker }
                    .into(),
                region: config.region.clone(),
                zone: config.zone.clone(),
                ..Default::default()
            },
            initial_labels: config.labels.clone(),
            report,
        };
        let confirmation =
            if config.start_without_server { Confirmation::Waived } else { Confirmation::Awaited };
        let boot = (boot_id, confirmation);
        let node = node::start(&tasks, driver.clone(), journal.clone(), boot, contents.instances, quiesce);
        let kept = journal.clone();
        let session =
            Session { dialer, identity, node: node.clone(), driver, describe, journal, tasks: tasks.clone() };
        tasks.spawn(Task::Session, session.run());
        Agent { tasks, journal: kept, node }
    }
}

impl Agent {
    /// Cancelled when the agent cannot go on.
    pub fn stopped(&self) -> tokio_util::sync::CancellationToken {
        self.tasks.stop_token()
    }

    /// Takes the node's guests down with it: asked to power off, ended after `patience`. They start again with the agent.
    /// `progress` hears the uids of those that are left, once it is known which guests there are. Answers those that were left after a little more than `patience`:
    /// the driver could not end them, or could not look.
    pub async fn quiesce(
        &self,
        patience: Duration,
        mut progress: impl FnMut(&[hv_core::InstanceId]),
    ) -> Vec<hv_core::InstanceId> {
        let mut reports = self.node.reports.clone();
        // The node task ends only with the agent.
        let _ = self.node.requests.send(node::Request::Quiesce(patience));
        let limit = tokio::time::sleep(patience + QUIESCE_MARGIN);
        tokio::pin!(limit);
        let mut before = None;
        loop {
            let (left, all_reported) = {
                let reports = reports.borrow_and_update();
                let all = || reports.instances.values().map(|(_, report)| report);
                let left: Vec<_> = all().filter(|report| has_guest(report)).map(|report| report.id).collect();
                (left, reports.looked && all().all(instance::Report::has_looked))
            };
            if all_reported && before.as_ref() != Some(&left) {
                progress(&left);
            }
            if all_reported && left.is_empty() {
                return left;
            }
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return left },
                () = &mut limit => return left,
            }
            before = all_reported.then_some(left);
        }
    }

    /// Ends the agent; its guests run on.
    pub async fn drain(self, deadline: Duration) -> Result<(), DrainTimeout> {
        let drained = self.tasks.drain(deadline).await;
        self.journal.close().await;
        drained
    }
}

fn has_guest(report: &instance::Report) -> bool {
    use hv_core::instance::Phase;
    let settling = matches!(report.status.phase, Phase::Preparing | Phase::Starting | Phase::Unknown)
        || (report.status.phase == Phase::Deleting && !report.gone);
    // Nobody presses the power button of what was only found here.
    !report.is_found()
        && (settling || matches!(report.status.phase, Phase::Running | Phase::Paused | Phase::Stopping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::instance::{Epoch, InstanceStatus, Phase};

    #[test]
    fn what_is_torn_down_may_have_a_guest_until_it_is_gone() {
        let report = |phase, gone| instance::Report {
            id: hv_core::InstanceId::new(hv_runtime::ids::uuid()),
            epoch: Epoch(1),
            status: InstanceStatus { phase, ..InstanceStatus::default() },
            gone,
            rejected: false,
            orphan: false,
            revoked: false,
        };
        assert!(has_guest(&report(Phase::Deleting, false)));
        assert!(!has_guest(&report(Phase::Deleting, true)));
        assert!(!has_guest(&report(Phase::Stopped, false)));
    }
}

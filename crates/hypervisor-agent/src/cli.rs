//! The command line of `hypervisor-agent`.

use crate::config::{AgentConfig, KEYS};
use crate::drivers::Qemu;
use anyhow::Context;
use clap::Parser;
use hv_runtime::config::{Sources, load};
use hv_runtime::{logging, termination};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long tasks may take to end. Guests run on.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Runs instances on this node, as the server wants them.
#[derive(Debug, Parser)]
#[command(name = "hypervisor-agent", version)]
#[command(
    after_help = "Settings come from flags, then from the environment (HYPERVISOR_ and the key in capitals), then \
from agent.toml or agent.yaml in /etc/hypervisor, ~/.config/hypervisor, ./configs or the working directory."
)]
pub struct Cli {
    /// Configuration file, instead of searching for one.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Log filter, such as `info`.
    #[arg(long)]
    log_level: Option<String>,
    /// The server: unix:PATH, or http://127.0.0.1:PORT.
    #[arg(long)]
    server_addr: Option<String>,
    /// The node's name; the host's name by default.
    #[arg(long)]
    node_name: Option<String>,
    /// What a new node record starts with: `worker` or `master`.
    #[arg(long)]
    role: Option<String>,
    /// Failure domain, outer.
    #[arg(long)]
    region: Option<String>,
    /// Failure domain, inner.
    #[arg(long)]
    zone: Option<String>,
    /// Print the configuration that would be used, and end.
    #[arg(long)]
    check_config: bool,
    /// Power this node's guests down, end those that have not ended after so many seconds, and end; for a host that goes down
    /// when its agent has ended. They start again with the agent.
    #[arg(long, value_name = "SECONDS")]
    power_down_within: Option<u64>,
}

impl Cli {
    /// Runs the agent until it is told to stop.
    pub fn run(self) -> anyhow::Result<()> {
        let flags = [
            ("log_level", self.log_level),
            ("server_addr", self.server_addr),
            ("node_name", self.node_name),
            ("role", self.role),
            ("region", self.region),
            ("zone", self.zone),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, Value::from(value?)))).collect();
        let (config, file): (AgentConfig, _) = load(KEYS, &Sources::of_process(self.config, flags, "agent"))?;
        if self.check_config {
            use std::io::Write;
            let used = file.map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
            return Ok(writeln!(std::io::stdout(), "from {used}:\n{config:#?}")?);
        }
        logging::start(&config.log_level, logging::Format::Text).map_err(anyhow::Error::msg)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        if let Some(seconds) = self.power_down_within {
            return runtime.block_on(power_down(config, Duration::from_secs(seconds)));
        }
        runtime.block_on(async {
            let qemu = Qemu::new(&config)?;
            let agent = crate::build(config, qemu.driver.clone())?.spawn().await;
            let stopped = agent.stopped();
            tokio::select! {
                signal = termination() => tracing::info!(signal = signal.context("cannot wait for signals")?, "stopping; guests run on"),
                () = stopped.cancelled() => {}
            }
            agent.drain(DRAIN_WITHIN).await?;
            qemu.drain(DRAIN_WITHIN).await;
            Ok(())
        })
    }
}

/// Takes over from the agent that has ended, for as long as guests end.
async fn power_down(config: AgentConfig, patience: Duration) -> anyhow::Result<()> {
    let qemu = Qemu::new(&config)?;
    let agent = crate::build_to_quiesce(config, qemu.driver.clone())?.spawn_to_quiesce(patience).await;
    let left =
        agent.quiesce(patience, |left| tracing::info!(guests = left.len(), "powering guests down")).await;
    agent.drain(DRAIN_WITHIN).await?;
    qemu.drain(DRAIN_WITHIN).await;
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    anyhow::ensure!(left.is_empty(), "these instances still have guests: {}", left.join(", "));
    Ok(())
}

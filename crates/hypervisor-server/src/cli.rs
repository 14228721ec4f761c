//! The command line of `hypervisor-server`.

use crate::config::{KEYS, ServerConfig};
use anyhow::Context;
use clap::{Parser, Subcommand};
use hv_runtime::config::{Sources, load};
use hv_runtime::{logging, termination};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long calls under way may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The control plane.
#[derive(Debug, Parser)]
#[command(name = "hypervisor-server", version)]
#[command(
    after_help = "Settings come from flags, then from the environment (HYPERVISOR_ and the key in capitals), then \
from server.toml or server.yaml in /etc/hypervisor, ~/.config/hypervisor, ./configs or the working directory."
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file, instead of searching for one.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Log filter, such as `info`.
    #[arg(long)]
    log_level: Option<String>,
    /// Loopback address to listen on; empty for none.
    #[arg(long)]
    grpc_addr: Option<String>,
    /// Unix socket to listen on; empty for none.
    #[arg(long)]
    socket: Option<String>,
    /// Where the store lives.
    #[arg(long, global = true)]
    state_dir: Option<String>,
    /// Print the configuration that would be used, and end.
    #[arg(long)]
    check_config: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Save the store to a file, or make a new one of such a file
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Write everything in the store to a new file
    ///
    /// For a server that is stopped; one that runs is asked by `hypervisor-ctl cluster snapshot`. Agents and guests do not notice
    /// either. The file holds what the server knows: no images, no disks, no token. A store of an older version is taken over
    /// first, as the server would at its start.
    Snapshot {
        /// The file to make.
        file: PathBuf,
    },
    /// Make the store of an empty state directory from a snapshot
    ///
    /// What came after the snapshot is forgotten. Instances wait until a node reports them; `hypervisor-ctl
    /// instance get NAME` says what to do about one that no node has.
    Restore {
        /// The snapshot.
        file: PathBuf,
    },
}

impl StoreCommand {
    async fn run(&self, config: &ServerConfig) -> anyhow::Result<()> {
        use std::io::Write;
        let mut out = std::io::stdout();
        match self {
            Self::Snapshot { file } => {
                let taken = crate::backup::snapshot(config, file).await?;
                let (keys, revision, file) = (taken.items.len(), taken.revision, file.display());
                writeln!(out, "{keys} keys at revision {revision} are in {file}")?;
            }
            Self::Restore { file } => {
                let restored = crate::backup::restore(config, file).await?;
                let (keys, state_dir) = (restored.items.len() - 1, config.state_dir.display());
                writeln!(
                    out,
                    "{keys} keys are restored to {state_dir}; instances wait until a node reports them"
                )?;
            }
        }
        Ok(())
    }
}

impl Cli {
    /// Runs the server until it is told to stop.
    pub fn run(self) -> anyhow::Result<()> {
        let flags = [
            ("log_level", self.log_level),
            ("grpc_addr", self.grpc_addr),
            ("socket", self.socket),
            ("state_dir", self.state_dir),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, Value::from(value?)))).collect();
        let (config, file): (ServerConfig, _) =
            load(KEYS, &Sources::of_process(self.config, flags, "server"))?;
        if self.check_config {
            use std::io::Write;
            let used = file.map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
            return Ok(writeln!(std::io::stdout(), "from {used}:\n{config:#?}")?);
        }
        if let Some(Command::Store(command)) = self.command {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            return runtime.block_on(command.run(&config));
        }
        logging::start(&config.log_level, logging::Format::Text).map_err(anyhow::Error::msg)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let store = crate::open_store(&config).await?;
            let server = crate::build(&config, store).await?.spawn()?;
            let stopped = server.stopped();
            tokio::select! {
                signal = termination() => tracing::info!(signal = signal.context("cannot wait for signals")?, "stopping"),
                () = stopped.cancelled() => {}
            }
            Ok(server.drain(DRAIN_WITHIN).await?)
        })
    }
}

//! The command line of `hypervisor`.

use crate::local::{Layout, default_dir};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use hv_runtime::logging;
use std::io::Write;
use std::path::PathBuf;

/// Virtual machines, containers and microVMs behind one API: everything in one process.
#[derive(Debug, Parser)]
#[command(name = "hypervisor", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run server and agent in one process, with a demo instance.
    Dev(DevArgs),
    /// Stop whatever an earlier run left: the program, and guests that outlived it. Disks stay.
    Down(Common),
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Where state is kept [default: ~/.local/state/hypervisor/dev].
    #[arg(long, env = "HYPERVISOR_STATE_DIR")]
    state_dir: Option<PathBuf>,
    #[arg(long, env = "XDG_STATE_HOME", hide = true)]
    xdg_state_home: Option<PathBuf>,
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
    /// What executes guests: `auto`, `kvm` or `tcg`. `auto` believes in KVM only after it ran something.
    #[arg(long, env = "HYPERVISOR_QEMU_ACCEL", default_value = "auto")]
    pub(crate) accel: String,
    /// Log filter, such as `info` or `info,hypervisor_agent=debug`.
    #[arg(long, env = "HYPERVISOR_LOG_LEVEL", default_value = "warn")]
    log_level: String,
}

/// Options of `hypervisor dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Loopback address of the API; another port is taken when this one is in use.
    #[arg(long, env = "HYPERVISOR_GRPC_ADDR", default_value = "127.0.0.1:50051")]
    pub(crate) grpc_addr: String,
    /// Where `cargo xtask demo-image` put the demo guest.
    #[arg(long, env = "HYPERVISOR_DEMO_DIR", default_value = "target/demo")]
    pub(crate) demo_dir: PathBuf,
    /// Do not make the instance `demo`.
    #[arg(long)]
    pub(crate) no_instance: bool,
    /// Prove the whole path unattended, leave nothing behind, and end.
    #[arg(long)]
    demo: bool,
}

impl Common {
    /// The state directory.
    pub(crate) fn layout(&self) -> anyhow::Result<Layout> {
        let dir = self.state_dir.clone().or_else(|| self.default_dir());
        Ok(Layout(std::path::absolute(dir.context("neither --state-dir nor HOME is set")?)?))
    }

    /// Whether that is where it is when nothing was said.
    pub(crate) fn is_default(&self, layout: &Layout) -> bool {
        self.default_dir().is_some_and(|dir| dir == layout.0)
    }

    fn default_dir(&self) -> Option<PathBuf> {
        default_dir(self.xdg_state_home.as_deref(), self.home.as_deref())
    }
}

impl Cli {
    /// Runs the command until it ends.
    pub fn run(self) -> anyhow::Result<()> {
        let (Command::Dev(DevArgs { common, .. }) | Command::Down(common)) = &self.command;
        logging::start(&common.log_level, logging::Format::Text).map_err(anyhow::Error::msg)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.command {
                Command::Dev(args) if args.demo => crate::demo::run(&args).await,
                Command::Dev(args) => crate::dev::run(&args).await,
                Command::Down(common) => crate::down::run(&common).await,
            }
        })
    }
}

/// One line for people.
pub(crate) fn say(line: impl std::fmt::Display) {
    // A closed terminal is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// An error with its causes.
pub fn say_error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

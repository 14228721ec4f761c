//! A server, and an agent if wanted, as processes of their own in a directory of their own.

use anyhow::{Context, bail};
use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_client::{Bearer, Dialer, ServerAddr};
use hypervisor::local::Layout;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

pub(crate) type Compute = ComputeServiceClient<InterceptedService<Channel, Bearer>>;

/// How long a program may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// The release programs, from the build that this benchmark belongs to.
pub(crate) struct Programs(PathBuf);

impl Programs {
    pub(crate) fn find() -> anyhow::Result<Self> {
        // target/release/deps/spine-<hash>
        let own = std::env::current_exe()?;
        let directory = own.ancestors().nth(2).context("the benchmark lies in no target directory")?;
        for name in ["hypervisor", "hypervisor-server", "hypervisor-agent", "hypervisor-ctl"] {
            if !directory.join(name).is_file() {
                bail!("{} is missing: `cargo build --workspace --release`", directory.join(name).display());
            }
        }
        Ok(Self(directory.to_owned()))
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.join(name));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }
}

/// A child that is killed with its owner.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log)?;
        Ok(Self(command.stdout(log.try_clone()?).stderr(log).spawn()?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it in order.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let status = self.0.wait()?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Site {
    pub(crate) layout: Layout,
    pub(crate) server: Process,
    pub(crate) agent: Option<Process>,
}

impl Site {
    pub(crate) async fn start(programs: &Programs, dir: PathBuf, with_agent: bool) -> anyhow::Result<Self> {
        std::fs::create_dir(&dir)?;
        let layout = Layout(dir);
        let mut server = programs.command("hypervisor-server");
        let config = layout.server_config("");
        server.env("HYPERVISOR_GRPC_ADDR", "").env("HYPERVISOR_SOCKET", config.socket);
        server.env("HYPERVISOR_TOKEN_FILE", config.token_file).env("HYPERVISOR_STATE_DIR", config.state_dir);
        let server = Process::spawn(server, &layout.0.join("server.log"))?;
        let mut site = Self { layout, server, agent: None };
        let mut cluster = site.cluster().await?;
        if with_agent {
            let mut agent = programs.command("hypervisor-agent");
            let config = site.layout.agent_config();
            agent.env("HYPERVISOR_SERVER_ADDR", config.server_addr);
            agent
                .env("HYPERVISOR_TOKEN_FILE", config.token_file)
                .env("HYPERVISOR_STATE_DIR", config.state_dir);
            agent.env("HYPERVISOR_NODE_NAME", "bench").env("HYPERVISOR_CPU_OVERCOMMIT", "100000");
            site.agent = Some(Process::spawn(agent, &site.layout.0.join("agent.log"))?);
            let ready = async {
                let mut changes = cluster.watch_nodes(v1::WatchNodesRequest::default()).await?.into_inner();
                while let Some(change) = changes.next().await {
                    let status = change?.node.and_then(|node| node.status);
                    if status.is_some_and(|status| status.phase() == v1::NodePhase::Ready) {
                        return Ok(());
                    }
                }
                bail!("the watch on nodes ended")
            };
            tokio::time::timeout(UP_WITHIN, ready).await.context("the node did not get ready")??;
        }
        Ok(site)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        if let Some(agent) = self.agent {
            agent.terminate()?;
        }
        self.server.terminate()?;
        std::fs::remove_dir_all(&self.layout.0)?;
        Ok(())
    }

    pub(crate) async fn compute(&self) -> anyhow::Result<Compute> {
        let (channel, bearer) = dial(&self.layout).await?;
        Ok(ComputeServiceClient::with_interceptor(channel, bearer).max_decoding_message_size(64 << 20))
    }

    async fn cluster(&self) -> anyhow::Result<ClusterServiceClient<InterceptedService<Channel, Bearer>>> {
        let (channel, bearer) = dial(&self.layout).await?;
        Ok(ClusterServiceClient::with_interceptor(channel, bearer))
    }
}

/// Dials until the server listens.
async fn dial(layout: &Layout) -> anyhow::Result<(Channel, Bearer)> {
    let dialled = async {
        loop {
            let addr = ServerAddr::Unix(layout.socket());
            if let Ok(dialer) = Dialer::new(addr, layout.token())
                && let Ok(channel) = dialer.dial().await
            {
                return (channel, dialer.bearer());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(UP_WITHIN, dialled).await.context("the server did not come up; its log says why")
}

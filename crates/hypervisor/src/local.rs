//! A server and an agent side by side in one state directory.

use hv_driver::Driver;
use hv_runtime::tasks::DrainTimeout;
use hypervisor_agent::Agent;
use hypervisor_agent::config::AgentConfig;
use hypervisor_server::config::ServerConfig;
use hypervisor_server::{Server, open_store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Files of one local installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(pub PathBuf);

impl Layout {
    /// The server's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("server.sock")
    }

    /// The token.
    pub fn token(&self) -> PathBuf {
        self.0.join("token")
    }

    /// The agent's state: journal and instances.
    pub fn agent(&self) -> PathBuf {
        self.0.join("agent")
    }

    /// Settings of the server.
    pub fn server_config(&self, grpc_addr: &str) -> ServerConfig {
        ServerConfig {
            grpc_addr: grpc_addr.to_owned(),
            socket: self.socket(),
            token_file: self.token(),
            state_dir: self.0.join("server"),
            cluster_name: "local".into(),
            ..ServerConfig::default()
        }
    }

    /// Settings of the agent.
    pub fn agent_config(&self) -> AgentConfig {
        AgentConfig {
            server_addr: format!("unix:{}", self.socket().display()),
            token_file: self.token(),
            state_dir: self.agent(),
            role: "master".into(),
            ..AgentConfig::default()
        }
    }
}

/// A running pair.
pub struct Local {
    /// The server.
    pub server: Server,
    /// The agent.
    pub agent: Agent,
}

impl Local {
    /// Starts both. The agent dials the server's socket, as it would from another process.
    pub async fn start(
        server: ServerConfig,
        agent: AgentConfig,
        driver: Arc<dyn Driver>,
    ) -> anyhow::Result<Self> {
        let server = start_server(&server).await?;
        let agent = hypervisor_agent::build(agent, driver)?.spawn().await;
        Ok(Self { server, agent })
    }

    /// Ends both; guests run on.
    pub async fn drain(self, deadline: Duration) -> Result<(), DrainTimeout> {
        // Both, whatever becomes of the first: the store is to be closed.
        let agent = self.agent.drain(deadline).await;
        self.server.drain(deadline).await?;
        agent
    }
}

/// Opens the store and starts the server.
pub async fn start_server(config: &ServerConfig) -> anyhow::Result<Server> {
    let store = open_store(config).await?;
    Ok(hypervisor_server::build(config, store).await?.spawn()?)
}

/// Where a user's local installation lives: `$XDG_STATE_HOME/hypervisor/dev`, by default in `~/.local/state`.
pub fn default_dir(xdg_state_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let base = xdg_state_home.map(Path::to_owned).or_else(|| Some(home?.join(".local/state")))?;
    Some(base.join("hypervisor/dev"))
}

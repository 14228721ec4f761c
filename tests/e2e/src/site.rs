//! A server and an agent, in a directory of their own.

use crate::{Api, Guests, Program};
use hv_api::v1;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Mutex, MutexGuard};

/// One installation.
#[derive(Debug)]
pub struct Site {
    /// Its directory.
    pub dir: tempfile::TempDir,
    /// `hypervisor-server`, while it runs.
    pub server: Option<Program>,
    /// `hypervisor-agent`, while it runs.
    pub agent: Option<Program>,
    /// Its guests.
    pub guests: Guests,
    user: u32,
    _alone: Option<MutexGuard<'static, ()>>,
}

impl Site {
    /// A site with nothing running, or a line that says why there is none. Only one at a time in a process: guests would
    /// take the processors from each other.
    pub async fn new(test: &str) -> Option<Self> {
        static ONE: Mutex<()> = Mutex::const_new(());
        let alone = ONE.lock().await;
        let mut site = Self::beside(test)?;
        site._alone = Some(alone);
        Some(site)
    }

    /// The same beside other sites.
    pub fn beside(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if let Err(why) = demo() {
            println!("not run: {test}: {why}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // A user that nobody else has: guests of other sites are told apart by it.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let alone = FIRST_USER + (std::process::id() << 6) % USERS + number;
        let user =
            if rustix::process::geteuid().is_root() { alone } else { rustix::process::geteuid().as_raw() };
        let guests = Guests::new(dir.path().join("agent/instances"), user);
        let site = Self { dir, server: None, agent: None, guests, user, _alone: None };
        site.configure_server("");
        site.configure_agent("", "");
        Some(site)
    }

    /// A site with both programs running and the node ready.
    pub async fn running(test: &str) -> Option<(Self, Api)> {
        let mut site = Self::new(test).await?;
        let api = site.start().await;
        Some((site, api))
    }

    /// Starts both programs and waits until they have met and the node is ready.
    pub async fn start(&mut self) -> Api {
        self.start_server().await;
        let agent = self.try_agent();
        agent.says("joined the server").await;
        self.agent = Some(agent);
        let mut api = self.api().await;
        api.node_is(v1::NodePhase::Ready).await;
        api
    }

    /// Writes the server's configuration anew, with more lines.
    pub fn configure_server(&self, more: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "{more}\ngrpc_addr = \"127.0.0.1:0\"\nsocket = \"{dir}/server.sock\"\ntoken_file = \"{dir}/token\"\n\
             state_dir = \"{dir}/server\"\ncluster_name = \"e2e\"\n"
        );
        fs::write(self.path("server.toml"), text).unwrap();
    }

    /// Writes the agent's configuration anew, with more lines at the top and in the section of QEMU.
    pub fn configure_agent(&self, more: &str, qemu: &str) {
        let dir = self.dir.path().display();
        let user = self.user;
        let text = format!(
            "{more}\nserver_addr = \"unix:{dir}/server.sock\"\ntoken_file = \"{dir}/token\"\nstate_dir = \"{dir}/agent\"\n\
             node_name = \"alpha\"\ncpu_overcommit = 64\n[qemu]\naccel = \"tcg\"\nuser = \"{user}\"\n{qemu}\n"
        );
        fs::write(self.path("agent.toml"), text).unwrap();
    }

    /// A path in the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The server as a program that may well not come up.
    pub fn try_server(&self) -> Program {
        Program::start("hypervisor-server", &self.path("server.toml"))
    }

    /// The agent as a program that may well not come up.
    pub fn try_agent(&self) -> Program {
        Program::start("hypervisor-agent", &self.path("agent.toml"))
    }

    /// Starts the server and waits until it answers.
    pub async fn start_server(&mut self) {
        let server = self.try_server();
        server.says(SERVER_IS_UP).await;
        self.server = Some(server);
    }

    /// Starts the agent.
    pub fn start_agent(&mut self) {
        self.agent = Some(self.try_agent());
    }

    /// `kill -9` of the server.
    pub fn kill_server(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// `kill -9` of the agent.
    pub fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill();
    }

    /// A new connection to the server.
    pub async fn api(&self) -> Api {
        Api::dial(&self.path("server.sock"), &self.path("token")).await
    }

    /// The user that guests run as.
    pub fn user(&self) -> u32 {
        self.user
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The agent first: it would start guests again.
        self.agent = None;
        self.server = None;
        self.guests.kill_all();
    }
}

/// The demo guest's directory, made if need be; an error says what is missing.
pub fn demo() -> Result<&'static Path, &'static str> {
    static DEMO: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let demo = DEMO.get_or_init(|| {
        for tool in ["qemu-system-x86_64", "qemu-img"] {
            if xtask::sh::find(tool).is_none() {
                return Err(format!("{tool} is missing"));
            }
        }
        let demo = xtask::sh::root().join("target/demo");
        xtask::demo_image::build(&demo).map_err(|error| format!("{error:#}"))?;
        Ok(demo)
    });
    demo.as_deref().map_err(String::as_str)
}

/// A port that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// In the log of a server that answers.
pub(crate) const SERVER_IS_UP: &str = "the server is up";

/// Beyond what Debian and systemd hand out (systemd: UIDS-GIDS.md, from 1879048192 on).
const FIRST_USER: u32 = 1_900_000_000;
const USERS: u32 = 200_000_000;

//! A QEMU that calls us: we listen before it starts, so nobody waits for a socket to appear.

use crate::release;
use qmp::{Client, CloseReason, Options};
use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

/// Far more than anything here takes; reached only when something hangs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Qemu {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Qemu {
    /// A machine of 32 MiB without devices and its monitor; `arguments` come at the end, `DIR` in them is its own directory.
    pub(crate) async fn start(test: &str, arguments: &[&str]) -> Option<(Self, UnixStream)> {
        crate::observed::observe();
        let program = release::program();
        if !program.exists() {
            println!("not run: {test}: {} ({})", program.display(), release::origin());
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let monitor = directory.path().join("monitor");
        let listener = UnixListener::bind(&monitor).unwrap();
        let mut command = Command::new(program);
        command.args([
            "-machine",
            &release::machine("q35"),
            "-accel",
            "tcg",
            "-m",
            "32",
            "-S",
            "-nodefaults",
            "-no-user-config",
        ]);
        if !arguments.contains(&"-m") {
            command.args(["-m", "32"]);
        }
        command.args(["-display", "none", "-mon", "chardev=monitor,mode=control", "-chardev"]);
        command.arg(format!("socket,id=monitor,path={}", monitor.display()));
        let own = directory.path().to_str().unwrap();
        command.args(arguments.iter().map(|argument| argument.replace("DIR", own)));
        let child = command.stdin(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let qemu = Self { child, directory };
        let (stream, _) = tokio::time::timeout(LONG, listener.accept()).await.unwrap().unwrap();
        Some((qemu, stream))
    }

    /// The same with a client on the monitor.
    pub(crate) async fn with_client(test: &str, arguments: &[&str]) -> Option<(Self, Connected)> {
        let (qemu, stream) = Self::start(test, arguments).await?;
        let connected = Connected::new(qmp::client_unix(stream, Options::default()));
        connected.client.ready().await.unwrap();
        Some((qemu, connected))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// What its descriptors lead to.
    pub(crate) fn open_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// A client and the task that drives it.
pub(crate) struct Connected {
    pub(crate) client: Client,
    _driver: JoinSet<Arc<CloseReason>>,
}

impl Connected {
    pub(crate) fn new(
        (client, driver): (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static),
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Self { client, _driver: tasks }
    }
}

//! One of the built programs as a process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// A running program and what it has said. It is killed when this value goes.
#[derive(Debug)]
pub struct Program {
    child: Child,
    name: &'static str,
    said: watch::Receiver<String>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Program {
    /// Starts a program on a configuration file, with nothing else that could configure it.
    pub fn start(name: &'static str, config: &Path) -> Self {
        Self::start_with(name, config, &[])
    }

    /// The same with further arguments.
    pub fn start_with(name: &'static str, config: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(path_of(name));
        command.arg("--config").arg(config).args(args).current_dir(config.parent().unwrap());
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("HYPERVISOR_") {
                command.env_remove(variable);
            }
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (write, said) = watch::channel(String::new());
        let reader = std::thread::spawn(move || {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                write.send_modify(|said| said.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
        });
        Self { child, name, said, reader: Some(reader) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        self.said.borrow().clone()
    }

    /// Waits until it has said this.
    pub async fn says(&self, text: &str) {
        let mut said = self.said.clone();
        let heard = async { said.wait_for(|said| said.contains(text)).await.is_ok() };
        let heard = tokio::time::timeout(crate::LONG, heard).await.unwrap_or(false);
        assert!(heard, "{} did not say {text:?}:\n{}", self.name, self.said());
    }

    /// Waits until a server answers (true) or has ended (false).
    pub async fn comes_up(&self) -> bool {
        let mut said = self.said.clone();
        let up = async { said.wait_for(|said| said.contains(crate::site::SERVER_IS_UP)).await.is_ok() };
        crate::patiently("a server that is up or has ended", up).await
    }

    /// `kill -9`, and waits until it is dead.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.ended().await
    }

    /// Waits until it has ended by itself; what it said last is then in [`Program::said`].
    pub async fn ended(&mut self) -> ExitStatus {
        // The end of its standard error is the end of the process: no descriptor of it is handed on.
        let mut said = self.said.clone();
        crate::patiently("the end of a program", async { while said.changed().await.is_ok() {} }).await;
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("==== {}\n{}", self.name, self.said());
        }
    }
}

/// Where the workspace's build put a program: two directories above the test. Looked at once: what happens to the sources
/// while the tests run is not their business.
pub fn path_of(name: &'static str) -> PathBuf {
    static KNOWN: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(name).or_insert_with(|| find(name)).clone()
}

fn find(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    let how = "run `cargo build --workspace` first";
    assert!(path.exists(), "{} is missing: {how}", path.display());
    // Cargo's own list of what the program was made of: a test of an old program proves nothing.
    let made_of = std::fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
    let built: SystemTime = changed(&path).unwrap();
    let sources = made_of.split_once(": ").map_or("", |(_, sources)| sources);
    for source in sources.split_whitespace() {
        let newer = changed(Path::new(source)).is_ok_and(|changed| changed > built);
        assert!(!newer, "{} is older than {source}: {how}", path.display());
    }
    path
}

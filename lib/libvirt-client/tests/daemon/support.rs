//! A private libvirtd.

pub(crate) use crate::running::run;
use libvirt_client::uri::Environment;
use libvirt_client::{Builder, Connect};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A libvirtd of our own. It ends with this value.
pub(crate) struct Daemon {
    directory: tempfile::TempDir,
}

const PROGRAM: &str = "/usr/sbin/libvirtd";

/// Names a root file system with another libvirt, whose daemon is started inside of it. `cargo xtask libvirtd` makes one.
const ROOT: &str = "HV_LIBVIRTD_ROOT";

pub(crate) fn other_root() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "xtask has no other way to a test")]
    std::env::var_os(ROOT).map(PathBuf::from)
}

/// Whether it is not the host's own libvirt that is tested against.
pub(crate) fn is_other() -> bool {
    other_root().is_some()
}

/// Runs a command in another root, in which what the tests share with it is the same. The mounts end with the last process in there. The
/// root is a mount, as every root is: programs change how it is shared.
pub(crate) const CHANGE_ROOT: &str = "mount --bind \"$1\" \"$1\" || exit; for at in tmp dev sys proc etc/hosts; do mount --rbind /$at \"$1/$at\" || exit; done; \
    root=$1; shift; exec chroot \"$root\" \"$@\"";

/// What a daemon is started with, beyond the usual.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) config: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Another name of the host; only root can give one. It and its guests may then take page faults of others.
    pub(crate) host: Option<String>,
}

impl Daemon {
    /// Starts it; `None`, and a line that says so, when it is not installed.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let daemon = Self::prepare(test)?;
        daemon.run(&Settings::default());
        Some(daemon)
    }

    /// Only the place for it.
    pub(crate) fn prepare(test: &str) -> Option<Self> {
        crate::observed::observe("libvirt_client::ended");
        let root = other_root().unwrap_or_else(|| PathBuf::from("/"));
        if !root.join(PROGRAM.trim_start_matches('/')).exists() {
            println!("not run: {test}: {PROGRAM} is missing in {} (package libvirt-daemon)", root.display());
            return None;
        }
        let directory = tempfile::Builder::new().prefix("libvirtd-").tempdir_in("/tmp").unwrap();
        Some(Self { directory })
    }

    /// Starts it in its place.
    pub(crate) fn run(&self, settings: &Settings) {
        let config = format!("max_client_requests = 5\n{}", settings.config);
        std::fs::write(self.path("libvirtd.conf"), config).unwrap();
        let rights: &[&str] = if settings.host.is_some() {
            &["--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"]
        } else {
            &[]
        };
        let mut command = self.unprivileged_with(rights);
        command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
        if let Some(root) = other_root() {
            command = inside(&command, &["--mount", "sh", "-c", CHANGE_ROOT, "sh", root.to_str().unwrap()]);
        }
        if let Some(host) = &settings.host {
            // Others that are played on this host are to be found here too.
            std::fs::write(self.path("hosts"), "127.0.0.1 localhost host1.example host2.example\n").unwrap();
            let hosts = self.path("hosts").display().to_string();
            let name = "hostname \"$1\" && mount --bind \"$2\" /etc/hosts && shift 2 && exec \"$@\"";
            command = inside(&command, &["--uts", "--mount", "sh", "-c", name, "sh", host, &hosts]);
        }
        // With --daemon it returns when its sockets are there; --timeout ends it if we never do.
        let output = command
            .args([PROGRAM, "--daemon", "--timeout", "600", "--config"])
            .arg(self.path("libvirtd.conf"))
            .arg("--pid-file")
            .arg(self.path("pid"))
            .args(&settings.arguments)
            .stderr(std::fs::File::create(self.path("stderr")).unwrap())
            .status()
            .unwrap();
        let said = || std::fs::read_to_string(self.path("stderr")).unwrap_or_default();
        assert!(output.success(), "libvirtd did not start: {output}: {}", said());
    }

    /// Ends the process without warning.
    pub(crate) fn kill(&mut self) {
        let process = self.process().unwrap();
        rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL).unwrap();
        wait(&process);
        // Its number may soon be another process's.
        std::fs::remove_file(self.path("pid")).unwrap();
    }

    /// Starts another one in the same place.
    pub(crate) fn restart(&mut self) {
        self.run(&Settings::default());
    }

    /// A command as the daemon's user; the program is the first argument.
    pub(crate) fn unprivileged(&self) -> Command {
        self.unprivileged_with(&[])
    }

    /// The same with rights that `setpriv` leaves to it, if this is root.
    fn unprivileged_with(&self, rights: &[&str]) -> Command {
        let directory = self.directory.path();
        let mut command = Command::new("env");
        command.current_dir("/").env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        for name in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(name, directory);
        }
        if rustix::process::geteuid().is_root() {
            // A daemon of root would be the host's own.
            std::os::unix::fs::chown(directory, Some(65_534), Some(65_534)).unwrap();
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]).args(rights);
        }
        command
    }

    pub(crate) fn process(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = std::fs::read_to_string(self.path("pid")).ok()?;
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw)?;
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
    }

    /// The processes of its running guests: those whose arguments name its directory, wherever it is mounted.
    pub(crate) fn guests(&self) -> Vec<std::os::fd::OwnedFd> {
        let name = self.directory.path().file_name().unwrap().to_str().unwrap();
        let guest = |entry: std::fs::DirEntry| {
            let pid = rustix::process::Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            // Held before it is looked at: its number cannot become another process's in between.
            let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
            let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
            let arguments = String::from_utf8_lossy(&arguments);
            (arguments.contains("qemu-system") && arguments.contains(name)).then_some(process)
        };
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| guest(entry.ok()?)).collect()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::pidfd_send_signal(self.process().unwrap(), signal).unwrap();
    }

    /// Gives a file to the daemon's user.
    pub(crate) fn own(&self, path: &Path) {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where its sockets are, for a client that is not root.
    pub(crate) fn environment(&self) -> Environment {
        Environment {
            runtime_directory: Some(self.directory.path().to_owned()),
            run: self.directory.path().join("nothing"),
            etc: self.directory.path().join("etc"),
            ..Environment::default()
        }
    }

    pub(crate) fn builder(&self, uri: &str) -> Builder {
        Connect::builder(uri).environment(self.environment())
    }

    /// A connection to the test driver, which every connection has for itself.
    pub(crate) async fn test(&self) -> Connect {
        self.open("test+unix:///default").await
    }

    pub(crate) async fn open(&self, uri: &str) -> Connect {
        self.builder(uri).open_with(run).await.unwrap()
    }
}

/// The same command behind `unshare` and what it is to run first.
fn inside(command: &Command, first: &[&str]) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(first).arg(command.get_program()).args(command.get_args());
    outer.current_dir("/").env_clear();
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

/// Whether programs are there; a line says so when one is not.
pub(crate) fn present(test: &str, programs: &[(&str, &str)]) -> bool {
    programs.iter().all(|(program, package)| {
        let found = Path::new(program).exists();
        if !found {
            println!("not run: {test}: {program} is missing (package {package})");
        }
        found
    })
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(daemon) = self.process() {
            let _ = rustix::process::pidfd_send_signal(&daemon, rustix::process::Signal::TERM);
            // Its directory is removed when it is gone.
            if !ended(&daemon, 10) {
                println!("libvirtd does not end when it is told to");
                let _ = rustix::process::pidfd_send_signal(&daemon, rustix::process::Signal::KILL);
                wait(&daemon);
            }
        }
        // Guests outlive their daemon, and a test that panics ends none of its own.
        for guest in self.guests() {
            let _ = rustix::process::pidfd_send_signal(&guest, rustix::process::Signal::KILL);
            wait(&guest);
        }
    }
}

fn wait(process: &std::os::fd::OwnedFd) {
    ended(process, 10);
}

/// Whether a process ends within so many seconds.
pub(crate) fn ended(process: &std::os::fd::OwnedFd, seconds: i64) -> bool {
    let mut ended = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: seconds, tv_nsec: 0 };
    // Other children of the test end too.
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut ended, Some(&limit))).unwrap() == 1
}

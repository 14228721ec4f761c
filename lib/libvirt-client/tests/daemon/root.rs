//! A libvirtd of root's, in name spaces of its own: it sees nothing of the host's own daemon, nothing of the host's network, and everything
//! in it ends with it.

use crate::support::{CHANGE_ROOT, Daemon, other_root, present, run};
use libvirt_client::Connect;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output};
use std::time::Duration;

const DRIVERS: &str = "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver";

/// The daemon; it ends with this value.
pub(crate) struct Root {
    pub(crate) daemon: Daemon,
    process: Child,
}

/// Makes the places where it would leave anything its own, and is the first process of its own, which takes care of orphans.
const ENTER: &str = "for at in /run /var/lib/libvirt /etc/libvirt /var/log/libvirt /var/cache/libvirt; do \
                     mkdir -p $at && mount -t tmpfs tmpfs $at || exit; done; mkdir /run/libvirt; \
                     ip link set lo up; config=$1; pid=$2; . \"$3\"; \
                     /usr/sbin/libvirtd --timeout 600 --config \"$config\" --pid-file \"$pid\" & wait";

impl Root {
    /// Starts it with these drivers and no others, after a script has prepared what they need. `None`, and a line that says why, when
    /// something is missing.
    pub(crate) fn start(test: &str, drivers: &[&str], prepare: &str) -> Option<Self> {
        Self::start_with(test, drivers, prepare, |_| {})
    }

    /// The same, with files of the test's own beside it, which are at `${2%/*}` for the script.
    pub(crate) fn start_with(
        test: &str,
        drivers: &[&str],
        prepare: &str,
        files: impl FnOnce(&Daemon),
    ) -> Option<Self> {
        let daemon = Daemon::prepare(test)?;
        if !rustix::process::geteuid().is_root() {
            println!("not run: {test}: only root may have a daemon of root's");
            return None;
        }
        let other = other_root();
        let at = |name: &str| daemon.path(name);
        std::fs::create_dir_all(at("drivers")).unwrap();
        std::fs::create_dir_all(at("run")).unwrap();
        for driver in drivers {
            let library = format!("libvirt_driver_{driver}.so");
            let path = format!("{DRIVERS}/{library}");
            let there =
                other.as_ref().map_or_else(|| path.clone(), |root| format!("{}{path}", root.display()));
            if !present(test, &[(&there, &format!("libvirt-daemon, or libvirt-daemon-driver-{driver}"))]) {
                return None;
            }
            symlink(path, at("drivers").join(library)).unwrap();
        }
        let config = format!("unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\n", at("run").display());
        std::fs::write(at("libvirtd.conf"), config).unwrap();
        files(&daemon);
        std::fs::write(at("prepare"), format!("set -e\n{prepare}\n")).unwrap();
        // It is ready when it says so.
        let ready = UnixDatagram::bind(at("ready")).unwrap();
        ready.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        if let Some(root) = &other {
            command.args(["sh", "-c", CHANGE_ROOT, "sh"]).arg(root);
        }
        command.args(["sh", "-c", ENTER, "sh"]).args([at("libvirtd.conf"), at("root-pid"), at("prepare")]);
        command.current_dir("/").env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LIBVIRT_DRIVER_DIR", at("drivers")).env("NOTIFY_SOCKET", at("ready"));
        command.stderr(std::fs::File::create(at("stderr")).unwrap());
        let process = command.spawn().unwrap();
        let root = Self { daemon, process };
        let mut said = [0; 64];
        let said = ready.recv(&mut said).map(|length| String::from_utf8_lossy(&said[..length]).into_owned());
        assert!(said.as_ref().is_ok_and(|said| said.contains("READY=1")), "{said:?}: {}", root.errors());
        Some(root)
    }

    /// What the daemon has complained about.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.daemon.path("stderr")).unwrap_or_default()
    }

    /// A connection to one of its drivers.
    pub(crate) async fn open(&self, driver: &str) -> Connect {
        let socket = self.daemon.path("run/libvirt-sock");
        let uri = format!("{driver}+unix:///system?socket={}", socket.display());
        match self.daemon.builder(&uri).open_with(run).await {
            Ok(connect) => connect,
            Err(error) => panic!("{error}: {}", self.errors()),
        }
    }

    /// Runs a script where the daemon is.
    fn enter(&self, script: &str) -> std::io::Result<Output> {
        let number = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children"))?;
        Command::new("nsenter")
            .arg(format!("--target={}", children.trim()))
            // Of the process that is looked at: the daemon may be in another root.
            .args(["--mount", "--net", "--pid", "--root", "--wd", "sh", "-ec", script])
            .output()
    }

    /// Runs a script where the daemon is, and tells what it says.
    pub(crate) fn inside(&self, script: &str) -> String {
        let output = self.enter(script).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}: {said} {}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Keeps what a setting of the whole host's says, for nobody else who asks like this to change meanwhile.
    pub(crate) async fn keep(&self, Shared { path, lock }: Shared) -> Kept<'_> {
        let lock = std::fs::File::create(lock).unwrap();
        // Others may have it for longer than a connection is silent.
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap().unwrap();
        Kept { root: self, path, said: self.inside(&format!("cat {path}")), _lock: lock }
    }
}

/// A setting of the whole host's, and the lock of whoever changes it. Each has its own, and a test that needs several keeps them one after the
/// other, never two at once: so nobody waits for somebody who waits for him.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    pub(crate) path: &'static str,
    lock: &'static str,
}

/// How many pages of 2 MiB there are. The lock is that of the QEMU library's tests, too: `LOCK` in `lib/qemu/tests/support/huge_pages.rs`.
pub(crate) const HUGE_PAGES: Shared = Shared {
    path: "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    lock: "/run/tests-huge-pages.lock",
};

/// How many pages are compared at a time, to merge those that are equal.
pub(crate) const MERGED_PAGES: Shared =
    Shared { path: "/sys/kernel/mm/ksm/pages_to_scan", lock: "/run/tests-merged-pages.lock" };

/// A setting of the whole host, which is again what it was when this goes, however the test ends.
pub(crate) struct Kept<'a> {
    root: &'a Root,
    path: &'static str,
    pub(crate) said: String,
    _lock: std::fs::File,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // A second panic would end the program, and say nothing of the first.
        let _ = self.root.enter(&format!("echo '{}' > {}", self.said.trim(), self.path));
    }
}

/// A program of the test's own, beside a daemon.
pub(crate) fn program(daemon: &Daemon, name: &str, text: &str) {
    let path = daemon.path(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

impl Root {
    /// Ends it now.
    pub(crate) fn end(&mut self) {
        // The first process of its name space ends with this one, and all the others with that.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.end();
    }
}

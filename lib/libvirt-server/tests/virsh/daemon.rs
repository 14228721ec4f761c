//! The two daemons that virsh talks to.

use libvirt_server::{Handle, Scope, Server, Tls};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const LIBVIRTD: &str = "/usr/sbin/libvirtd";

/// Whether virsh or libvirtd are not there; a line says so.
pub(crate) fn is_missing(test: &str) -> bool {
    for program in ["/usr/bin/virsh", LIBVIRTD] {
        if !Path::new(program).exists() {
            println!("not run: {test}: {program} is missing (packages libvirt-clients, libvirt-daemon)");
            return true;
        }
    }
    false
}

/// Does what can hang with virsh, again when it did.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let mut again = || {
        attempt().or_else(|| {
            println!("virsh hangs; once more");
            None
        })
    };
    again().or_else(&mut again).or_else(&mut again).expect("virsh hangs three times")
}

/// Documents that the scripts name, laid beside the socket.
const DOCUMENTS: &[(&str, &str)] = &[
    ("backup.xml", include_str!("xml/backup.xml")),
    ("binding.xml", include_str!("xml/binding.xml")),
    ("port.xml", include_str!("xml/port.xml")),
    ("arch.xml", include_str!("xml/arch.xml")),
    ("checkpoint.xml", include_str!("xml/checkpoint.xml")),
    ("disk.xml", include_str!("xml/disk.xml")),
    ("hba.xml", include_str!("xml/hba.xml")),
    ("hba-nameless.xml", include_str!("xml/hba-nameless.xml")),
    ("iface2.xml", include_str!("xml/iface2.xml")),
    ("net2.xml", include_str!("xml/net2.xml")),
    ("net3.xml", include_str!("xml/net3.xml")),
    ("plain.xml", include_str!("xml/plain.xml")),
    ("pool2.xml", include_str!("xml/pool2.xml")),
    ("rich.xml", include_str!("xml/rich.xml")),
    ("secret.xml", include_str!("xml/secret.xml")),
    ("filter.xml", include_str!("xml/filter.xml")),
    ("secret-private.xml", include_str!("xml/secret-private.xml")),
    ("snap.xml", include_str!("xml/snap.xml")),
    ("three.xml", include_str!("xml/three.xml")),
    ("two.xml", include_str!("xml/two.xml")),
    ("vol1.xml", include_str!("xml/vol1.xml")),
    ("xen.xml", include_str!("xml/xen.xml")),
];

pub(crate) fn documents() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("virsh-").tempdir_in("/tmp").unwrap();
    for (name, content) in DOCUMENTS {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// Runs a script through one virsh, in the directory of its documents, and gives all it printed, errors in their places.
///
/// `None` when virsh hangs. virsh 9.0.0 watches save, managedsave, dump and migrate from another thread than it calls them in, and
/// waits for ever when the call ends before the watch begins (`g_main_loop_quit` before `g_main_loop_run`). Our server takes its time
/// for these, libvirtd does not always.
pub(crate) fn virsh_in(socket: &Path, directory: &Path, script: &str) -> Option<String> {
    virsh_at("test", "/default", socket, directory, script)
}

/// The same, with another driver.
pub(crate) fn virsh_at(
    driver: &str,
    path: &str,
    socket: &Path,
    directory: &Path,
    script: &str,
) -> Option<String> {
    let uri = format!("{driver}+unix://{path}?socket={}", socket.display());
    virsh_with(&uri, directory, script)
}

/// The same, wherever the URI leads.
pub(crate) fn virsh_with(uri: &str, directory: &Path, script: &str) -> Option<String> {
    let mut command = Command::new("timeout");
    // A virsh that hangs is ended, and its transcript is too short.
    command
        .args(["120", "/usr/bin/virsh", "-c", uri])
        .current_dir(directory)
        .env_clear()
        .env("LC_ALL", "C")
        .env("HOME", directory);
    talk(command, script)
}

/// Runs a script through one virt-admin. It comes as the user as whom libvirtd runs here, which lets nobody else in.
pub(crate) fn virt_admin(socket: &Path, directory: &Path, script: &str) -> Option<String> {
    let uri = format!("libvirtd:///session?socket={}", socket.display());
    let mut command = Command::new("timeout");
    command.args(["120", "env"]);
    if rustix::process::geteuid().is_root() {
        command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.args(["/usr/bin/virt-admin", "-c", &uri]);
    command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    for name in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        command.env(name, directory);
    }
    talk(command, script)
}

/// What a program prints for a script; `None` when it was ended because it hung.
fn talk(mut command: Command, script: &str) -> Option<String> {
    let (mut output, errors) = std::io::pipe().unwrap();
    // The clock of the lists, and the width that long commands are cut to.
    command.env("TZ", "UTC").env("COLUMNS", "80").env("TERM", "dumb");
    let mut child =
        command.stdin(Stdio::piped()).stdout(errors.try_clone().unwrap()).stderr(errors).spawn().unwrap();
    // Its ends of the pipe are virsh's alone, or reading would never end.
    drop(command);
    let mut input = child.stdin.take().unwrap();
    let script = script.to_owned();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut output, &mut text).unwrap();
    // A virsh that hangs reads no more.
    let _ = writer.join().unwrap();
    const TIMED_OUT: i32 = 124;
    let hung = child.wait().unwrap().code() == Some(TIMED_OUT);
    (!hung).then(|| String::from_utf8(text).unwrap())
}

/// A private libvirtd, without privileges. It ends with this value.
pub(crate) struct Libvirtd {
    directory: tempfile::TempDir,
}

impl Libvirtd {
    pub(crate) fn start() -> Self {
        Self::start_in(None)
    }

    /// The one of another root file system, which has its own mounts while it runs.
    pub(crate) fn start_in(root: Option<&Path>) -> Self {
        let directory = documents();
        let path = directory.path();
        let mut command = Command::new(if root.is_some() { "unshare" } else { "env" });
        if let Some(root) = root {
            let enter = "for at in tmp dev sys proc etc/hosts; do mount --rbind /$at \"$1/$at\" || exit; done; \
                         root=$1; shift; exec chroot \"$root\" \"$@\"";
            command.args(["--mount", "sh", "-c", enter, "sh"]).arg(root).arg("env");
        }
        command.current_dir("/").env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        for name in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(name, path);
        }
        if rustix::process::geteuid().is_root() {
            // A daemon of root would be the host's own.
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        // With --daemon it returns when its sockets are there; --timeout ends it if we never do.
        command.args([LIBVIRTD, "--daemon", "--timeout", "600", "--pid-file"]).arg(path.join("pid"));
        let status = command.status().unwrap();
        assert!(status.success(), "libvirtd did not start: {status}");
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("libvirt/libvirt-sock")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.directory.path().join("libvirt/libvirt-admin-sock")
    }

    pub(crate) fn virsh(&self, script: &str) -> Option<String> {
        virsh_in(&self.socket(), self.directory(), script)
    }

    fn process(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = std::fs::read_to_string(self.directory.path().join("pid")).ok()?;
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw)?;
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        let Some(daemon) = self.process() else { return };
        let _ = rustix::process::pidfd_send_signal(&daemon, rustix::process::Signal::TERM);
        // Its directory is removed when it is gone.
        let mut ended = [rustix::event::PollFd::new(&daemon, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = rustix::event::poll(&mut ended, Some(&limit));
    }
}

/// The server of this crate, in a thread. It ends with this value.
pub(crate) struct OurServer {
    directory: tempfile::TempDir,
    socket: PathBuf,
    handle: Handle,
    runtime: tokio::runtime::Runtime,
}

impl OurServer {
    pub(crate) fn start() -> Self {
        Self::with(Scope::TestDriver)
    }

    pub(crate) fn with(scope: Scope) -> Self {
        crate::observed::observe("libvirt_server::answered");
        let directory = documents();
        let socket = directory.path().join("libvirt-sock");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        // What the server is asked for is asked by the test of that name.
        runtime.thread_name(std::thread::current().name().unwrap_or("-"));
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(&socket).unwrap()
        };
        let builder = Server::builder().scope(scope).job_duration(std::time::Duration::from_millis(300));
        let server = builder.build();
        let handle = server.handle();
        drop(runtime.spawn(server.serve(Some(listener))));
        Self { directory, socket, handle, runtime }
    }

    /// From now on clients must say who they are.
    pub(crate) fn demand(&self, sasl: libvirt_server::Sasl) {
        let handle = self.handle.clone();
        let told = handle.with(|hypervisor| hypervisor.set_sasl(Some(sasl)));
        self.runtime.block_on(told).unwrap();
    }

    /// Listens for administrators too; answers the socket.
    pub(crate) fn administer(&self) -> PathBuf {
        let socket = self.directory.path().join("libvirt-admin-sock");
        let listener = {
            let _inside = self.runtime.enter();
            tokio::net::UnixListener::bind(&socket).unwrap()
        };
        if rustix::process::geteuid().is_root() {
            // virt-admin comes as somebody else.
            for path in [self.directory.path(), &socket] {
                std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
            }
        }
        let handle = self.handle.clone();
        drop(self.runtime.spawn(async move { handle.serve_admin(listener).await }));
        socket
    }

    /// Listens on a port too, with TLS where there is some; answers the port.
    pub(crate) fn listen(&self, tls: Option<Tls>) -> u16 {
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let handle = self.handle.clone();
        drop(self.runtime.spawn(async move {
            match tls {
                Some(tls) => handle.serve_tls(listener, tls).await,
                None => handle.serve_tcp(listener).await,
            }
        }));
        port
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A file beside the socket.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).unwrap()
    }

    pub(crate) fn virsh(&self, script: &str) -> Option<String> {
        virsh_in(&self.socket, self.directory.path(), script)
    }
}

//! The server as a program: what it is told on its command line, and what it lives through.
#![cfg(test)]

#[path = "../../libvirt-client/tests/shared/running.rs"]
mod running;

use libvirt_client::{Connect, Credentials, ErrorKind};
use running::run;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The program; it ends with this value.
struct Program {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts it with these arguments, after what a shell says before, and waits until its socket is there.
    async fn start(directory: tempfile::TempDir, before: &str, arguments: &[&str]) -> Self {
        let script = format!("{before} exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_libvirt-test-server")]).args(arguments);
        let child = command.arg(directory.path().join("sock")).stdout(Stdio::null()).spawn().unwrap();
        let mut program = Self { child, directory };
        while UnixStream::connect(program.socket()).is_err() {
            assert!(!program.has_ended(), "it has ended");
            tokio::task::yield_now().await;
        }
        program
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    fn uri(&self) -> String {
        format!("test+unix:///default?socket={}", self.socket().display())
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// How many descriptors it has open.
    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

#[tokio::test]
async fn a_server_without_descriptors_waits_for_some() {
    const MOST: usize = 24;
    let limit = format!("ulimit -n {MOST};");
    let mut program = Program::start(tempfile::tempdir().unwrap(), &limit, &[]).await;
    let first = Connect::builder(&program.uri()).open_with(run).await.unwrap();
    let crowd: Vec<_> = (0..2 * MOST).map(|_| UnixStream::connect(program.socket()).unwrap()).collect();
    while program.descriptors() < MOST {
        assert!(!program.has_ended(), "it has ended");
        tokio::task::yield_now().await;
    }
    // The next one that it accepts is one too many; who is there already does not notice.
    for _ in 0..100 {
        assert!(!first.hostname().await.unwrap().is_empty());
    }
    drop(crowd);
    let next = Connect::builder(&program.uri()).open_with(run).await.unwrap();
    assert_eq!(next.domain_by_name("test").await.unwrap().name(), "test");
}

/// Its socket goes with it, and one that was left by a server that was killed is in nobody's way.
#[tokio::test]
async fn a_server_that_ended_stands_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().to_owned();
    let mut first = Program::start(directory, "", &[]).await;
    let pid = rustix::process::Pid::from_child(&first.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(first.child.wait().unwrap().success());
    assert!(!first.socket().exists());
    // As a server leaves it that is killed.
    let again = tempfile::Builder::new().prefix("again").tempdir_in(&at).unwrap();
    let left = again.path().join("sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let second = Program::start(again, "", &[]).await;
    assert!(Connect::builder(&second.uri()).open_with(run).await.is_ok());
    // One that is there is not taken away.
    let mut third = Command::new(env!("CARGO_BIN_EXE_libvirt-test-server")).arg(&left).spawn().unwrap();
    assert!(!third.wait().unwrap().success());
    assert!(Connect::builder(&second.uri()).open_with(run).await.is_ok());
}

#[tokio::test]
async fn passwords_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    std::fs::write(&file, "fred:geheim\n").unwrap();
    let program = Program::start(directory, "", &["--users", path(&file)]).await;
    let come = async |password: &str| {
        let credentials = Credentials { user: "fred".into(), password: password.into() };
        Connect::builder(&program.uri()).credentials(credentials).open_with(run).await
    };
    come("geheim").await.unwrap();
    assert!(matches!(come("falsch").await.unwrap_err().kind(), ErrorKind::Auth(_) | ErrorKind::Libvirt(_)));
    let arguments = std::fs::read(format!("/proc/{}/cmdline", program.child.id())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("geheim"));
}

#[tokio::test]
async fn what_it_listens_on_is_told_and_so_is_how_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    let start = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_libvirt-test-server"));
        command.args(words).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut child = start(&["--tcp", "127.0.0.1:0", path(&socket)]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = || lines.next().unwrap().unwrap();
    assert_eq!(told(), format!("listening on {}", socket.display()));
    let address = told().strip_prefix("listening on ").unwrap().to_owned();
    let mut program = Program { child, directory };
    for uri in [format!("test+tcp://{address}/default"), program.uri()] {
        let connect = Connect::builder(&uri).open_with(run).await.unwrap();
        assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test");
    }
    assert!(!program.has_ended());
    for (words, status) in [(&["--what"][..], 2), (&[][..], 2), (&["/there/is/no/place"][..], 1)] {
        assert_eq!(start(words).wait().unwrap().code(), Some(status), "{words:?}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

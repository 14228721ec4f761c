//! Devices that are served in the background, and what servers say.
#![cfg(test)]

mod ran;

use ran::{program, text};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vhost-user-check");

#[test]
fn a_device_is_started_and_stopped_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    let socket = socket.to_str().unwrap();
    let program = |arguments: &[&str]| {
        program(&[arguments, &["--runtime-directory", directory.path().to_str().unwrap()]].concat())
    };
    let output = program(&["start", "--name", "test", "--type", "rng", "--socket", socket]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let again = program(&["start", "--name", "test", "--type", "rng", "--socket", socket]);
    assert_eq!(again.status.code(), Some(4));
    assert!(text(&again.stderr).contains("runs already"), "{}", text(&again.stderr));
    let status = program(&["status", "--name", "test"]);
    assert!(
        status.status.success() && text(&status.stdout).contains(&format!("test serves rng at {socket}"))
    );
    let bench = ["bench", "--socket", socket, "--type", "rng", "--seconds", "0.05"];
    assert!(ran::program(&bench).status.success());
    // What was said to a front-end is in the log.
    let wrong = UnixStream::connect(socket).unwrap();
    (&wrong).write_all(&[0xff; 12]).unwrap();
    assert_eq!((&wrong).read(&mut [0]).unwrap(), 0, "it closes the connection");
    let user = rustix::process::getuid().as_raw();
    let log = directory.path().join(format!("vhost-user-check-{user}/test.log"));
    while !std::fs::read_to_string(&log).unwrap().contains("front-end ") {
        std::thread::yield_now();
    }
    let stop = program(&["stop", "--name", "test"]);
    assert!(stop.status.success(), "{}", text(&stop.stderr));
    assert_eq!(program(&["status", "--name", "test"]).status.code(), Some(1));
    assert_eq!(program(&["stop", "--name", "test"]).status.code(), Some(4));
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");

    // One that ended by itself says why when it is stopped.
    let fault = ["--fault", "framing.end.every-byte"];
    let start = ["start", "--name", "test", "--type", "rng", "--socket", socket];
    assert!(program(&[&start, &fault[..]].concat()).status.success());
    (&UnixStream::connect(socket).unwrap()).write_all(&[1]).unwrap();
    while program(&["status", "--name", "test"]).status.success() {
        std::thread::yield_now();
    }
    let stop = program(&["stop", "--name", "test"]);
    assert!(text(&stop.stdout).contains("dies, as it was told to"), "{}", text(&stop.stdout));
    std::fs::remove_file(socket).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// A device that is being started, with its state below this directory.
fn starting(base: &Path, name: &str, socket: &str) -> Child {
    Command::new(PROGRAM)
        .args(["start", "--name", name, "--type", "rng", "--socket", base.join(socket).to_str().unwrap()])
        .args(["--runtime-directory", base.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The directory below it in which is remembered what was started.
fn memory(base: &Path) -> PathBuf {
    base.join(format!("vhost-user-check-{}", rustix::process::getuid().as_raw()))
}

/// Waits until a process has come so far that it has this directory open.
fn has_open(child: &mut Child, directory: &Path) {
    loop {
        let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
        if open.filter_map(|it| std::fs::read_link(it.path()).ok()).any(|it| it == directory) {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::yield_now();
    }
}

/// Of two that come at once one is told that the other was quicker, and takes nothing of it away.
#[test]
fn a_name_that_is_started_twice_at_once_is_started_once() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    std::fs::DirBuilder::new().mode(0o700).create(memory(base)).unwrap();
    let lock = File::open(memory(base)).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut both = ["one.sock", "other.sock"].map(|socket| starting(base, "test", socket));
    both.iter_mut().for_each(|it| has_open(it, &memory(base)));
    flock(&lock, FlockOperation::Unlock).unwrap();
    let outputs = both.map(|it| it.wait_with_output().unwrap());
    let (started, refused): (Vec<_>, Vec<_>) = outputs.iter().partition(|it| it.status.success());
    assert_eq!((started.len(), refused.len()), (1, 1), "{outputs:?}");
    assert!(text(&refused[0].stderr).contains("test runs already"), "{}", text(&refused[0].stderr));
    let state = ["--name", "test", "--runtime-directory", base.to_str().unwrap()];
    let status = program(&[&["status"], &state[..]].concat());
    let socket = text(&status.stdout).split_whitespace().nth(4).unwrap_or_default().to_owned();
    assert!(text(&started[0].stdout).contains(&socket), "{socket}: {}", text(&started[0].stdout));
    assert!(UnixStream::connect(&socket).is_ok(), "the one that is remembered serves: {socket}");
    assert!(program(&[&["stop"], &state[..]].concat()).status.success());
    assert_eq!(std::fs::read_dir(base).unwrap().count(), 0, "nothing else was started");
}

/// Who stops the last device takes the directory away in which another is about to be remembered.
#[test]
fn a_device_is_started_though_the_last_one_before_it_is_just_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    std::fs::DirBuilder::new().mode(0o700).create(memory(base)).unwrap();
    let lock = File::open(memory(base)).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut start = starting(base, "test", "rng.sock");
    has_open(&mut start, &memory(base));
    std::fs::remove_dir(memory(base)).unwrap();
    flock(&lock, FlockOperation::Unlock).unwrap();
    let output = start.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let state = ["--name", "test", "--runtime-directory", base.to_str().unwrap()];
    assert!(program(&[&["stop"], &state[..]].concat()).status.success(), "it is remembered");
    assert_eq!(std::fs::read_dir(base).unwrap().count(), 0);
}

/// What cannot be remembered is ended, and leaves nothing.
#[test]
fn a_device_that_cannot_be_remembered_is_not_started() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    std::fs::DirBuilder::new().mode(0o700).create(memory(base)).unwrap();
    std::fs::create_dir(memory(base).join("test.new")).unwrap();
    let output = starting(base, "test", "rng.sock").wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("Is a directory"), "{}", text(&output.stderr));
    let left = |path: &Path| std::fs::read_dir(path).unwrap().map(|it| it.unwrap().file_name()).collect();
    let (below, of_it): (Vec<_>, Vec<_>) = (left(base), left(&memory(base)));
    assert_eq!((below.len(), of_it), (1, vec!["test.new".into()]), "{below:?}");
}

/// A variable that is empty is one that nobody has set.
#[test]
fn an_empty_runtime_directory_is_none() {
    for command in ["status", "stop"] {
        let output = Command::new(PROGRAM)
            .args([command, "--name", "nobody-has-this-name"])
            .env("XDG_RUNTIME_DIR", "")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("nobody-has-this-name") && !said.contains("required"), "{said}");
    }
}

/// Who tries it at a terminal sees what is served, and not what front-ends are; unless that is what is asked for.
#[test]
fn a_server_says_nothing_of_sessions_unless_it_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    for (arguments, expected) in [(&[] as &[&str], ""), (&["--verbose"], "front-end 1: ")] {
        let mut server = Command::new(PROGRAM)
            .args(["serve", "--type", "rng", "--socket", socket.to_str().unwrap()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(server.stdout.take().unwrap()),
            &mut String::new(),
        )
        .unwrap();
        let wrong = UnixStream::connect(&socket).unwrap();
        (&wrong).write_all(&[0xff; 12]).unwrap();
        assert_eq!((&wrong).read(&mut [0]).unwrap(), 0, "it closes the connection");
        let pid = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
        // It ends when its sessions have.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut said = String::new();
        server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(server.wait().unwrap().success());
        assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
        assert!(said.starts_with(expected), "{said}");
    }
}

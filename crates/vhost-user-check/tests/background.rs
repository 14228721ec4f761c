//! Devices that are served in the background, and what servers say.
#![cfg(test)]

mod ran;

use ran::{program, text};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

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

/// Who tries it at a terminal sees what is served, and not what front-ends are; unless that is what is asked for.
#[test]
fn a_server_says_nothing_of_sessions_unless_it_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    for (arguments, expected) in [(&[] as &[&str], ""), (&["--verbose"], "front-end 1: ")] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_vhost-user-check"))
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

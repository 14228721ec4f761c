//! Paths at which the program listens, or has others listen: whose they are, and what is left there.
#![cfg(test)]

mod ran;
mod served;

use ran::{program, text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock, inotify};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use served::{PROGRAM, Served};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server of random numbers there, whose complaints can be read.
fn serve(socket: &Path) -> Child {
    Command::new(PROGRAM)
        .args(["serve", "--type", "rng", "--socket", socket.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What is no socket, and a socket at which somebody listens, stay what they are.
#[test]
fn a_path_that_is_taken_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("precious"), "precious").unwrap();
    let live = path("live");
    let _served = Served::start(Path::new(&live), &["--type", "rng"]);
    for (taken, why) in
        [(path("precious"), "it exists and is no socket"), (live.clone(), "somebody listens there")]
    {
        let command = format!("{PROGRAM} serve --type blk --socket {{socket}}");
        for arguments in [
            vec!["serve", "--type", "blk", "--socket", &taken],
            vec!["proxy", "--listen", &taken, "--connect", &live],
            vec!["check", "--socket", &taken, "--type", "blk", "--command", &command],
        ] {
            let output = program(&arguments);
            assert!(
                !output.status.success() && text(&output.stderr).contains(why),
                "{arguments:?}: {}",
                text(&output.stderr)
            );
        }
        let name = format!("taken-{}", std::process::id());
        let state = directory.path().to_str().unwrap();
        let start = ["start", "--name", &name, "--type", "blk", "--runtime-directory", state];
        let output = program(&[&start[..], &["--socket", &taken]].concat());
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    assert_eq!(std::fs::read_to_string(path("precious")).unwrap(), "precious");
    assert!(program(&["probe", "--socket", &live]).status.success(), "who listened before still does");
}

/// However many see at once that nobody listens at a socket any more, one of them has its place, and is not taken for the one that left it.
#[test]
fn one_server_has_the_place_of_a_stale_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    drop(UnixListener::bind(&socket).unwrap());
    for round in 0..10 {
        let start = |_| {
            Command::new(PROGRAM)
                .args(["serve", "--type", "rng", "--socket", socket.to_str().unwrap()])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut servers: Vec<Child> = (0..6).map(start).collect();
        let serves = |server: &mut Child| {
            let mut line = String::new();
            BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
            line.starts_with("serving ")
        };
        let (mut serve, others): (Vec<_>, Vec<_>) =
            servers.drain(..).map(|mut it| (serves(&mut it), it)).partition(|(serves, _)| *serves);
        assert_eq!(serve.len(), 1, "round {round}");
        for (_, other) in others {
            let output = other.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert!(text(&output.stderr).contains("somebody listens there"), "{}", text(&output.stderr));
        }
        let (_, server) = &mut serve[0];
        let peer = socket_peercred(UnixStream::connect(&socket).unwrap()).unwrap();
        assert_eq!(peer.pid.as_raw_nonzero().get(), i32::try_from(server.id()).unwrap());
        // It leaves its socket.
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// Who is about to look at a stale socket waits for who is at it, and sees then what has become of it.
#[test]
fn nobody_takes_away_what_another_has_just_made() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, other) = (directory.path().join("rng.sock"), directory.path().join("other.sock"));
    drop(UnixListener::bind(&socket).unwrap());
    let stale = std::fs::symlink_metadata(&socket).unwrap().ino();
    let lock = File::open(directory.path()).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut server = serve(&socket);
    // It has come as far as that when it has the directory open.
    let has_it = |pid: u32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut open = open.filter_map(|it| std::fs::read_link(it.path()).ok());
        open.any(|it| it == directory.path())
    };
    while !has_it(server.id()) {
        assert!(server.try_wait().unwrap().is_none(), "it has ended");
        assert_eq!(std::fs::symlink_metadata(&socket).unwrap().ino(), stale, "it has taken it away");
    }
    let ours = UnixListener::bind(&other).unwrap();
    std::fs::rename(&other, &socket).unwrap();
    flock(&lock, FlockOperation::Unlock).unwrap();
    let output = server.wait_with_output().unwrap();
    assert!(text(&output.stderr).contains("somebody listens there"), "{}", text(&output.stderr));
    let _front = UnixStream::connect(&socket).unwrap();
    ours.accept().unwrap();
}

/// There is no moment in which others may connect, whatever files are made like otherwise: nobody changes the mode of what was made.
#[test]
fn a_socket_is_the_users_alone_from_its_first_moment_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rng.sock");
    let of = path.to_str().unwrap();
    for command in [
        format!("serve --type rng --socket {of}"),
        format!("front --type rng --socket {of}"),
        format!("proxy --listen {of} --connect /nowhere"),
    ] {
        let seen = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
        let of_interest = inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB;
        inotify::add_watch(&seen, directory.path(), of_interest).unwrap();
        let mut server = Command::new("/bin/sh")
            .args(["-c", &format!("umask 0; exec {PROGRAM} {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while UnixStream::connect(&path).is_err() {
            assert!(server.try_wait().unwrap().is_none(), "it ended");
        }
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
        server.kill().unwrap();
        server.wait().unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&seen, &mut buffer);
        let mut of_it = Vec::new();
        while let Ok(event) = events.next() {
            of_it.extend(event.file_name().map(|_| event.events()));
        }
        assert_eq!((mode & 0o777, of_it), (0o600, vec![inotify::ReadFlags::CREATE]), "{command}");
        std::fs::remove_file(&path).unwrap();
    }
}

/// Who is to end does not wait for whoever has the directory: its front-ends are let go, and its socket goes with it.
#[test]
fn who_is_to_end_waits_for_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let mut served = Served::start(&socket, &["--type", "rng"]);
    let lock = File::open(directory.path()).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let seen = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&seen, directory.path(), inotify::WatchFlags::OPEN).unwrap();
    let mut front = UnixStream::connect(&socket).unwrap();
    terminate(&served.0);
    // Closed in its session, or before it had one.
    assert!(matches!(front.read(&mut [0]), Ok(0) | Err(_)), "its session ends");
    assert!(served.0.wait().unwrap().success());
    assert!(!socket.exists(), "its socket is left");
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let opened = inotify::Reader::new(&seen, &mut buffer).next().is_ok();
    assert!(!opened, "it asked for the lock");
}

/// A server that cannot go on leaves nothing at which nobody listens.
#[test]
fn a_server_that_fails_takes_its_socket_along() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    for command in ["serve", "front"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut server = Command::new(PROGRAM)
            .args([command, "--type", "rng", "--socket", socket.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(server.wait().unwrap().code(), Some(4), "{command} cannot say that it serves");
        assert!(!socket.exists(), "{command} leaves its socket");
    }
}

/// Somebody listens who takes nobody, and has as many waiting as he wants: that is seen without waiting with them.
#[test]
fn a_listener_that_takes_nobody_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let address = SocketAddrUnix::new(&socket).unwrap();
    let new = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    };
    let listener = new();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let one = new();
        match rustix::net::connect(&one, &address) {
            Ok(()) => waiting.push(one),
            Err(error) => break assert_eq!(error, rustix::io::Errno::AGAIN),
        }
    }
    let mut server = serve(&socket);
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    // It would wait for ever, or until somebody is taken.
    let enough = Timespec { tv_sec: 60, tv_nsec: 0 };
    let has_ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&enough)).unwrap() == 1;
    if !has_ended {
        server.kill().unwrap();
    }
    let output = server.wait_with_output().unwrap();
    assert!(has_ended, "it waits");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("somebody listens there"), "{}", text(&output.stderr));
}

fn terminate(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

fn processes_with(word: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter(|it| std::fs::read(it.path().join("cmdline")).is_ok_and(|line| text(&line).contains(word)))
        .count()
}

/// Whatever a command of the shell starts ends with the check, also with one that is ended.
#[test]
fn what_a_command_starts_is_ended_with_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let socket = socket.to_str().unwrap();
    // On several lines, with a variable, and behind another program.
    let command = format!("\n  NAME=value \\\n  {PROGRAM} serve --type rng --socket {{socket}} 2>&1 | cat\n");
    let output = program(&[
        "check",
        "--socket",
        socket,
        "--type",
        "rng",
        "--only",
        "negotiation",
        "--command",
        &command,
    ]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(processes_with(socket), 0);
    assert!(!Path::new(socket).exists(), "who is killed leaves it");

    let mut checking = Command::new(PROGRAM)
        .args(["check", "--socket", socket, "--type", "rng", "--command", &command])
        .args(["--only", "reconnection", "--only", "rings", "--only", "framing"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !Path::new(socket).exists() {
        assert!(checking.try_wait().unwrap().is_none(), "it ended before anybody listened");
        std::thread::yield_now();
    }
    terminate(&checking);
    assert_eq!(checking.wait().unwrap().code(), Some(130));
    assert!(!Path::new(socket).exists(), "who is killed leaves it");
    // Ended, and not yet gone from the list perhaps.
    for _ in 0..1_000 {
        if processes_with(socket) == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{} processes are left", processes_with(socket));
}

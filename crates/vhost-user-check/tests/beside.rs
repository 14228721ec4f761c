//! What the program does beside its checks: reports of runs that came to nothing, relays of several sessions, and servers that share what
//! they have with others.
#![cfg(test)]

mod ran;
mod served;

use ran::{program, text};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use served::{PROGRAM, Served};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::front::Request;
use vhost_user::frontend::{FrontEnd, Wanted};
use vhost_user::memory::Memory;
use vhost_user::wire::Header;
use virtio::Segment;
use virtio::features::Features;

const TIMEOUT: Duration = Duration::from_secs(20);

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

fn answers(socket: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(socket) else { return false };
    FrontEnd::new(stream, TIMEOUT).unwrap().call(&Request::GetFeatures, &[]).is_ok()
}

/// A run that could not even begin is a report that says so, and not the absence of one.
#[test]
fn a_run_that_came_to_nothing_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = directory.path().join("nobody.sock");
    let nobody = nobody.to_str().unwrap();
    let junit = program(&["check", "--socket", nobody, "--format", "junit"]);
    assert_eq!(junit.status.code(), Some(3));
    let junit = text(&junit.stdout);
    assert!(
        junit.contains("tests=\"1\" failures=\"0\" errors=\"1\"") && junit.contains("<error "),
        "{junit}"
    );
    let path = directory.path().join("report.sarif");
    let sarif =
        program(&["check", "--socket", nobody, "--format", "sarif", "--output", path.to_str().unwrap()]);
    assert_eq!(sarif.status.code(), Some(3));
    let sarif: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let run = &sarif["runs"][0]["invocations"][0];
    assert_eq!(run["executionSuccessful"], false);
    assert!(
        run["toolExecutionNotifications"][0]["message"]["text"]
            .as_str()
            .unwrap()
            .contains("nothing was checked")
    );
}

/// One that serves a single front-end is started for each, and not once more to see that it serves.
#[test]
fn a_back_end_of_one_front_end_is_started_once_for_each_check() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, starts) = (directory.path().join("one.sock"), directory.path().join("starts"));
    let command = format!(
        "echo >> {}; exec {PROGRAM} front --as lenient --sessions 1 --type rng --socket {{socket}}",
        starts.display()
    );
    let of = ["--socket", socket.to_str().unwrap(), "--single", "--command", &command];
    let started = |arguments: &[&str]| {
        let ran = program(&[arguments, of.as_slice()].concat());
        assert!(matches!(ran.status.code(), Some(0 | 1)), "{}", text(&ran.stderr));
        let count = std::fs::read_to_string(&starts).unwrap().lines().count();
        std::fs::remove_file(&starts).unwrap();
        count
    };
    let probes = started(&["probe"]);
    // Three checks, of one session each.
    assert_eq!(started(&["check", "--only", "framing.version"]), probes + 3);
}

/// How long rings are looked at is said by who starts the server.
#[test]
fn a_server_looks_as_long_as_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let _served = Served::start(&socket, &["--type", "rng", "--poll-us", "1000000"]);
    let mut front = FrontEnd::new(UnixStream::connect(&socket).unwrap(), TIMEOUT).unwrap();
    let wanted = Wanted {
        features: Features::EVENT_IDX,
        required: Features::VERSION_1,
        protocol: ProtocolFeatures::REPLY_ACK | ProtocolFeatures::CONFIGURE_MEM_SLOTS,
    };
    front.negotiate(wanted).unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let mut queue = front.start_queue(0, 8, &mut memory).unwrap();
    let address = memory.part(64, 64).unwrap().host_address();
    let mut kicks = 0;
    for _ in 0..200 {
        queue.ring.add(&[], &[Segment { address, length: 64 }]).unwrap();
        queue.ring.publish();
        if queue.ring.must_kick() {
            kicks += 1;
            queue.kick().unwrap();
        }
        while queue.ring.reap().unwrap().is_none() {
            assert!(queue.wait(TIMEOUT).unwrap(), "a request is not served");
        }
    }
    // From 4 us to a second by doubling, and some at the beginning.
    assert!(kicks < 50, "{kicks} kicks for 200 requests");
}

/// A back-end that dies in the middle of a run, and is not started again.
#[test]
fn a_run_that_broke_off_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let mut served = Served::start(&socket, &["--type", "rng"]);
    let mut check = Command::new(PROGRAM)
        .args([
            "check",
            "--socket",
            socket.to_str().unwrap(),
            "--type",
            "rng",
            "--format",
            "sarif",
            "--only",
            "rings",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun: somebody is connected.
    while std::fs::read_dir(format!("/proc/{}/task", served.0.id())).unwrap().count() < 3 {
        assert!(check.try_wait().unwrap().is_none(), "it has ended before it was seen");
    }
    served.0.kill().unwrap();
    served.0.wait().unwrap();
    let mut report = String::new();
    std::io::Read::read_to_string(&mut check.stdout.take().unwrap(), &mut report).unwrap();
    assert_eq!(check.wait().unwrap().code(), Some(3), "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["runs"][0]["invocations"][0]["executionSuccessful"], false);
}

/// Whoever is gone is gone, also who says that it ended in order.
#[test]
fn a_back_end_that_exits_fails_the_check_that_it_does_not_outlive() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let single = "; --single is for one that ends with each front-end";
    for (status, hint) in [("0", single), ("3", "")] {
        let command = format!(
            "{PROGRAM} serve --type rng --socket {{socket}} --fault framing.end.every-byte 2>&1; exit {status}"
        );
        let of = ["check", "--socket", socket.to_str().unwrap(), "--type", "rng", "--command", &command];
        let only = ["--only", "framing.end.every-byte", "--only", "framing.version"];
        let form = ["--format", "json", "--fail-on", "robust"];
        let output = program(&[of.as_slice(), &only, &form].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let failed: Vec<_> = findings.filter(|it| it["outcome"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0]["id"], "framing.end.every-byte");
        let found = failed[0]["why"].as_str().unwrap();
        assert!(found.ends_with(&format!("the back-end ended: exit status: {status}{hint}")), "{found}");
    }
}

/// What code scanning shows has a place in a file.
#[test]
fn findings_for_code_scanning_have_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("blk.sock");
    let _served = Served::start(&socket, &["--type", "blk"]);
    // Not what it is.
    let arguments = ["check", "--socket", socket.to_str().unwrap(), "--type", "net", "--only", "rings"];
    let report = program(&[&arguments[..], &["--format", "sarif"]].concat());
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let place = &report["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("blk.sock"), "{report}");
    assert_eq!(place["region"]["startLine"], 1);
    let report = program(&arguments);
    assert!(text(&report.stdout).contains("Is --type what it is?"), "{}", text(&report.stdout));
    let failed = text(&report.stdout).matches(" FAIL ").count();
    assert!(failed <= 1, "one fault is one finding: {}", text(&report.stdout));
}

struct Relay(Child);

impl Relay {
    fn start(listen: &Path, connect: &Path) -> Self {
        let child = Command::new(PROGRAM)
            .args(["proxy", "--quiet", "--listen", listen.to_str().unwrap()])
            .args(["--connect", connect.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !listen.exists() {
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A relay stays though its back-end is away, serves several front-ends at once, and leaves nothing behind.
#[test]
fn a_relay_outlives_its_back_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut relay = Relay::start(&path("relay"), &path("rng"));
    assert!(!answers(&path("relay")), "there is no back-end yet");
    let served = Served::start(&path("rng"), &["--type", "rng"]);
    assert!(answers(&path("relay")));
    let mut many: Vec<_> = (0..5)
        .map(|_| FrontEnd::new(UnixStream::connect(path("relay")).unwrap(), TIMEOUT).unwrap())
        .collect();
    for front in &mut many {
        front.call(&Request::GetFeatures, &[]).unwrap();
    }
    drop(served);
    assert!(many[0].call(&Request::GetFeatures, &[]).is_err(), "its back-end is gone");
    // A back-end that was killed leaves its socket.
    let _served = Served::start(&path("rng"), &["--type", "rng"]);
    assert!(answers(&path("relay")), "another is there");
    signal(&relay.0, Signal::TERM);
    assert!(relay.0.wait().unwrap().success());
    assert!(!path("relay").exists());
}

/// Whoever started a console still has a terminal that waits.
#[test]
fn a_console_leaves_the_terminal_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("console");
    let (_reads, writes) = rustix::pipe::pipe().unwrap();
    let child = Command::new(PROGRAM)
        .args(["serve", "--type", "console", "--socket", socket.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writes.try_clone().unwrap())
        .spawn()
        .unwrap();
    let _served = Served(child);
    while !answers(&socket) {
        std::thread::yield_now();
    }
    let mut front = FrontEnd::new(UnixStream::connect(&socket).unwrap(), TIMEOUT).unwrap();
    front.call(&Request::GetFeatures, &[]).unwrap();
    assert!(!fcntl_getfl(&writes).unwrap().contains(OFlags::NONBLOCK));
}

/// Processor time of a process, in ticks of 10 ms.
fn ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A server that has no descriptors left waits for some, and then serves who waited.
#[test]
fn a_server_without_descriptors_waits_for_some() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    let command = format!("ulimit -n 24; exec {PROGRAM} serve --type rng --socket {}", socket.display());
    let child = Command::new("/bin/sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let served = Served(child);
    while !answers(&socket) {
        std::thread::yield_now();
    }
    let many: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let before = ticks(&served.0);
    // Long enough that who spins has spent most of it.
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks(&served.0) - before < 20, "it spins");
    drop(many);
    // One that came when there was room for its connection and not for its session was sent away, and may come again.
    while !answers(&socket) {
        std::thread::yield_now();
    }
}

/// An option that means nothing is said to mean nothing.
#[test]
fn options_without_a_meaning_are_refused() {
    for option in [&["--file", "/dev/null"][..], &["--null"], &["--queues", "2"], &["--size", "8"]] {
        let output = program(&[&["serve", "--type", "rng", "--socket", "/nowhere/rng"], option].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(option[0]), "{}", text(&output.stderr));
    }
}

/// The program with a descriptor 3 of this kind, which a shell makes of its standard input.
fn with_descriptor(given: impl Into<Stdio>, arguments: &[&str]) -> Child {
    Command::new("sh")
        .args(["-c", r#"exec 3<&0 0</dev/null; exec "$@""#, "sh", PROGRAM, "serve", "--type", "rng"])
        .args(arguments)
        .stdin(given)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wanted() -> Wanted {
    let protocol = ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ;
    Wanted { features: Features::empty(), required: Features::VERSION_1, protocol }
}

/// As back-end programs are started by who made the socket for them.
#[test]
fn a_device_is_served_on_a_descriptor_that_was_given() {
    // A connection: it ends with its front-end.
    let (ours, its) = UnixStream::pair().unwrap();
    let mut connected = with_descriptor(OwnedFd::from(its), &["--fd", "3"]);
    let mut front = FrontEnd::new(ours, TIMEOUT).unwrap();
    front.negotiate(wanted()).unwrap();
    assert_eq!(front.queues().unwrap(), 1);
    drop(front);
    assert!(connected.wait().unwrap().success());

    // A socket that listens: any number of them, until it is stopped.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut listening = with_descriptor(OwnedFd::from(listener), &["--fd", "3"]);
    let mut both = [(); 2].map(|()| FrontEnd::new(UnixStream::connect(&path).unwrap(), TIMEOUT).unwrap());
    for front in &mut both {
        front.negotiate(wanted()).unwrap();
    }
    signal(&listening, Signal::TERM);
    assert!(listening.wait().unwrap().success());
    assert!(path.exists(), "it is who made it who takes it away");

    // Nothing, what is no socket, a standard one, and two places at once.
    for (arguments, why) in [
        (&["--fd", "250"][..], "--fd 250: "),
        (&["--fd", "3"], "--fd 3: "),
        (&["--fd", "2"], "--fd"),
        (&["--fd", "3", "--socket", "/tmp/nowhere"], "cannot be used with"),
    ] {
        let output = with_descriptor(Stdio::null(), arguments).wait_with_output().unwrap();
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.contains(why)), (Some(2), true), "{arguments:?}: {error}");
    }
}

/// None of its front-ends knows what another writes, and no more do two servers.
#[test]
fn a_disk_on_a_file_has_one_front_end_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("disk.raw"), directory.path().join("socket"));
    File::create(&file).unwrap().set_len(1 << 20).unwrap();
    let of_it = ["--type", "blk", "--file", file.to_str().unwrap()];
    let mut first = Served::start(&socket, &of_it);

    let other = directory.path().join("other");
    let mut second = Command::new(PROGRAM)
        .args(["serve", "--socket", other.to_str().unwrap()])
        .args(of_it)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It would say that it serves.
    let said = second.stdout.take().unwrap().read(&mut [0; 1]).unwrap();
    signal(&second, Signal::TERM);
    let output = second.wait_with_output().unwrap();
    let error = text(&output.stderr);
    assert_eq!((said, output.status.code(), error.contains("locked")), (0, Some(2), true), "{error}");

    let mut front = FrontEnd::new(UnixStream::connect(&socket).unwrap(), TIMEOUT).unwrap();
    front.negotiate(wanted()).unwrap();
    let mut next = UnixStream::connect(&socket).unwrap();
    next.write_all(&Header { request: 1, reply: false, need_reply: false, size: 0 }.encode()).unwrap();
    next.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 20];
    next.read(&mut answer).expect_err("it is served beside the first");
    drop(front);
    next.set_read_timeout(Some(TIMEOUT)).unwrap();
    next.read_exact(&mut answer).unwrap();
    // Whoever waits does not keep the server from ending.
    let _waits = UnixStream::connect(&socket).unwrap();
    signal(&first.0, Signal::TERM);
    assert!(first.0.wait().unwrap().success());
    // Another server may have it after that.
    Served::start(&socket, &of_it);
}

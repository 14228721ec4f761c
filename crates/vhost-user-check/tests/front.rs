//! Front-ends under test, ours and QEMU's, before a back-end that behaves in every manner.
#![cfg(test)]

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, FrontEnd, Wanted};
use vhost_user::memory::Memory;
use vhost_user::payload::VringState;
use virtio::features::Features;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vhost-user-check");
const TIMEOUT: Duration = Duration::from_secs(20);

/// The program as a back-end for front-ends under test.
struct Tester {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Tester {
    fn start(socket: &Path, manner: &str, sessions: u64, more: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["front", "--type", "blk", "--as", manner, "--socket", socket.to_str().unwrap()])
            .args(["--sessions", &sessions.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut it = Self { lines: BufReader::new(child.stdout.take().unwrap()), child };
        assert!(it.line().starts_with("serving blk at "));
        it
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// A whole handshake, and a ring that stops.
fn works(socket: &Path) -> Result<(), CallError> {
    let mut front = FrontEnd::new(UnixStream::connect(socket).unwrap(), TIMEOUT)?;
    let protocol = ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ | ProtocolFeatures::CONFIGURE_MEM_SLOTS;
    front.negotiate(Wanted { features: Features::EVENT_IDX, required: Features::VERSION_1, protocol })?;
    let mut memory = Memory::new(1 << 16)?;
    front.add_memory(&memory)?;
    let _queue = front.start_queue(0, 16, &mut memory)?;
    front.stop_queue(0).map(drop)
}

#[test]
fn a_front_end_that_keeps_the_rules_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut tester = Tester::start(&socket, "strict", 3, &[]);
    works(&socket).unwrap();
    let line = tester.line();
    assert!(line.contains("all as they should be; it left"), "{line}");
    // A message of another version, and then no message at all.
    let messages = [[1_u32, 2, 0], [u32::MAX; 3]].map(|words| words.map(u32::to_ne_bytes).concat());
    for (message, why) in messages.iter().zip(["request 1 has the flags 0x2", "announces 4294967295 bytes"]) {
        let mut stream = UnixStream::connect(&socket).unwrap();
        std::io::Write::write_all(&mut stream, message).unwrap();
        // Its end is the end of the session.
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        drop(stream);
        let line = tester.line();
        assert!(line.contains("broke the rules: ") && line.contains(why), "{line}");
    }
    assert_eq!(tester.ended(), Some(1));
}

#[test]
fn a_lenient_back_end_tells_what_others_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut tester = Tester::start(&socket, "lenient", 2, &[]);
    works(&socket).unwrap();
    let line = tester.line();
    assert!(line.contains("none that would be refused"), "{line}");
    let mut front = FrontEnd::new(UnixStream::connect(&socket).unwrap(), TIMEOUT).unwrap();
    let protocol = ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ;
    front.negotiate(Wanted { features: Features::empty(), required: Features::VERSION_1, protocol }).unwrap();
    assert_eq!(front.queues().unwrap(), 1, "an answer that is a number is no refusal, and stays as it is");
    let nonsense = Request::SetVringNum(VringState { index: 77, num: 0 });
    front.call(&nonsense, &[]).expect("it says that all is well");
    let null = std::fs::File::open("/dev/null").unwrap();
    front.call(&Request::SetVringKick(0), &[null.as_fd()]).expect("it says so again");
    drop(front);
    let line = tester.line();
    assert!(line.contains("SET_VRING_NUM, SET_VRING_KICK"), "{line}");
    assert_eq!(tester.ended(), Some(1));
}

/// Whatever a back-end says that cannot be, our front-end goes no further; and it is not told that it did.
#[test]
fn a_lie_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    const SESSIONS: u64 = 40;
    let mut tester = Tester::start(&socket, "lying", SESSIONS, &["--seed", "5"]);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..SESSIONS {
        let worked = works(&socket);
        let line = tester.line();
        assert!(!line.contains("it went on"), "{line}");
        let lied = line.contains(" in the answer to ");
        assert_eq!(worked.is_err(), lied, "{line} {worked:?}");
        kinds.extend(
            line.split(": ")
                .nth(1)
                .filter(|_| lied)
                .map(|lie| lie.split(" in the").next().unwrap().to_owned()),
        );
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    assert_eq!(tester.ended(), Some(0));
}

#[test]
fn a_slow_and_a_dying_back_end_are_survived() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut tester = Tester::start(&socket, "slow", 1, &["--delay", "5"]);
    works(&socket).unwrap();
    let line = tester.line();
    assert!(line.contains(" messages in ") && line.ends_with("it left\n"), "{line}");
    assert_eq!(tester.ended(), Some(0));

    let mut tester = Tester::start(&socket, "dying", 20, &[]);
    for _ in 0..20 {
        works(&socket).unwrap_err();
        let line = tester.line();
        assert!(line.contains("died at "), "{line}");
    }
    assert_eq!(tester.ended(), Some(0));
}

/// QEMU's front-end up to the moment at which a guest would begin.
#[test]
fn qemu_keeps_the_rules() {
    let test = "qemu_keeps_the_rules";
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut tester = Tester::start(&socket, "strict", 1, &[]);
    let machine = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-S", "-display", "none", "-nodefaults", "-m", "64", "-monitor", "stdio"])
        .args(["-machine", "q35,memory-backend=memory"])
        .args(["-object", "memory-backend-memfd,id=memory,size=64M,share=on"])
        .arg("-chardev")
        .arg(format!("socket,id=disk,path={}", socket.display()))
        .args(["-device", "vhost-user-blk-pci,chardev=disk"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut machine = match machine {
        Ok(machine) => machine,
        Err(error) => return println!("not run: {test}: qemu-system-x86_64: {error}"),
    };
    std::io::Write::write_all(&mut machine.stdin.take().unwrap(), b"quit\n").unwrap();
    let line = tester.line();
    machine.wait().unwrap();
    assert!(line.contains("all as they should be; it left"), "{line}");
    assert_eq!(tester.ended(), Some(0));
}

//! The program against the installed QEMU.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

struct Machine {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Machine {
    fn start(test: &str) -> Option<Self> {
        if !Path::new(QEMU).exists() {
            println!("not run: {test}: {QEMU} (Debian package qemu-system-x86)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let up = UnixListener::bind(directory.path().join("up")).unwrap();
        let mut command = Command::new(QEMU);
        command.args([
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-m",
            "32",
            "-S",
            "-nodefaults",
            "-no-user-config",
        ]);
        command.args(["-display", "none", "-device", "pcie-root-port,id=root0", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", directory.path().join("qmp").display()));
        command.arg("-qmp");
        command.arg(format!("unix:{},server=on,wait=off", directory.path().join("second").display()));
        // Made after those that listen, so that this greets when they are there.
        command.arg("-qmp").arg(format!("unix:{}", directory.path().join("up").display()));
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let (mut monitor, _) = up.accept().unwrap();
        monitor.read_exact(&mut [0; 1]).unwrap();
        Some(Self { child, directory })
    }

    fn shell(&self, monitor: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hv-qmp"));
        command.arg(self.directory.path().join(monitor)).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.shell("qmp", arguments).stdin(Stdio::null()).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_command_prints_its_answer_and_the_exit_code_tells_how_it_went() {
    let Some(machine) = Machine::start("a_command_prints_its_answer_and_the_exit_code_tells_how_it_went")
    else {
        return;
    };
    let status = machine.run(&["query-status"]);
    assert_eq!(status.status.code(), Some(0), "{}", text(&status.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&status.stdout).unwrap()["status"], "prelaunch");
    // Arguments by the schema, those that it does not list, and ones inside others.
    let add = machine.run(&[
        "device_add",
        "driver=virtio-balloon-pci",
        "id=b7",
        "bus=root0",
        "deflate-on-oom=true",
    ]);
    assert_eq!(text(&add.stderr), "");
    let value = machine.run(&["qom-get", "path=/machine/peripheral/b7", "property=deflate-on-oom"]);
    assert_eq!(text(&value.stdout), "true\n");
    let disk = ["blockdev-add", "driver=raw", "node-name=d", "file.driver=null-co", "file.size=4096"];
    assert_eq!(text(&machine.run(&disk).stdout), "{}\n");
    let raw = machine.run(&[r#"{"exec-oob": "query-yank"}"#]);
    assert_eq!(serde_json::from_slice::<Value>(&raw.stdout).unwrap()[0]["type"], "chardev");

    let refused = machine.run(&["device_del", "id=none"]);
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(1), ""));
    assert!(text(&refused.stderr).contains("none"), "{}", text(&refused.stderr));
    let misused =
        machine.run(&["blockdev-add", "driver=raw", "node-name=e", "file.driver=null-co", "file.size=big"]);
    assert_eq!(misused.status.code(), Some(2));
    let help = machine.run(&["help", "migrate"]);
    assert!(text(&help.stdout).contains("  uri=str\n"), "{}", text(&help.stdout));
    let nobody = Command::new(env!("CARGO_BIN_EXE_hv-qmp")).args(["/nowhere/qmp", "quit"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(3));
}

#[test]
fn a_script_stops_at_the_line_that_fails_and_events_are_told() {
    let Some(machine) = Machine::start("a_script_stops_at_the_line_that_fails_and_events_are_told") else {
        return;
    };
    let mut shell = machine
        .shell("qmp", &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = b"# a comment\ncont\n\nquery-status\nnonsense\nstop\n";
    shell.stdin.take().unwrap().write_all(script).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).ends_with("stopped at line 5\n"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"running\": true"), "{}", text(&output.stdout));

    // Somebody who only listens hears what is done at the other monitor. That it listens shows by what it hears alone.
    let mut listener = machine.shell("qmp", &["--events"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let heard = AtomicBool::new(false);
    let first = thread::scope(|scope| {
        scope.spawn(|| {
            while !heard.load(Ordering::Relaxed) {
                for command in ["cont", "stop"] {
                    let done = machine.shell("second", &[command]).output().unwrap();
                    assert_eq!(text(&done.stdout), "{}\n", "{}", text(&done.stderr));
                }
            }
        });
        let first = lines.next();
        heard.store(true, Ordering::Relaxed);
        first.unwrap()
    });
    assert!(["RESUME", "STOP"].contains(&first["event"].as_str().unwrap()), "{first}");
    assert!(first["time"].as_f64().unwrap() > 1e9, "{first}");
    machine.shell("second", &["quit"]).output().unwrap();
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["data"]["reason"]), (&"SHUTDOWN".into(), &"host-qmp-quit".into()));
    assert_eq!(listener.wait().unwrap().code(), Some(3));
}

#[test]
fn at_a_terminal_a_key_completes_the_command() {
    let test = "at_a_terminal_a_key_completes_the_command";
    let Some(machine) = Machine::start(test) else { return };
    let line = format!("{} {}", env!("CARGO_BIN_EXE_hv-qmp"), machine.directory.path().join("qmp").display());
    // script(1) is a terminal around a program, and timeout(1) its end if it waits for a key that was lost.
    if !Path::new("/usr/bin/script").exists() {
        println!("not run: {test}: script (Debian package bsdutils)");
        return;
    }
    let mut command = Command::new("timeout");
    command.args(["--foreground", "120", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = command.spawn().unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut output = terminal.stdout.take().unwrap();
    let mut seen = String::new();
    let mut until = |wanted: &str| {
        let mut chunk = [0; 1024];
        let end = loop {
            if let Some(at) = seen.find(wanted) {
                break at + wanted.len();
            }
            let count = output.read(&mut chunk).unwrap();
            assert!(count > 0, "it ended before {wanted}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        };
        seen.drain(..end);
    };
    until("`exit` or Ctrl-D leaves this shell");
    // Keys are pressed at a prompt: before it the terminal still has its own idea of what they mean.
    until("qmp>");
    keys.write_all(b"query-stat\tu\t\r").unwrap();
    until("prelaunch");
    until("qmp>");
    keys.write_all(b"set_link n\tx u\tfal\t\r").unwrap();
    until("error: QEMU refused set_link: Device 'x' not found");
    until("qmp>");
    keys.write_all(b"cont\r").unwrap();
    until("\"event\":\"RESUME\"");
    until("qmp>");
    // What the monitor for people says has lines.
    keys.write_all(b"human-monitor-command command-line='info status'\r").unwrap();
    until("\nVM status: running");
    until("qmp>");
    // What ends more than the shell is asked for twice, through the monitor for people, too.
    keys.write_all(b"human-monitor-command command-line='q'\r").unwrap();
    until("`quit` once more");
    until("qmp>");
    keys.write_all(b"query-status\r").unwrap();
    until("\"running\": true");
    until("qmp>");
    keys.write_all(b"quit\r").unwrap();
    until("`quit` once more");
    until("qmp>");
    keys.write_all(b"query-status\r").unwrap();
    until("\"running\": true");
    until("qmp>");
    keys.write_all(b"exit\r").unwrap();
    assert_eq!(terminal.wait().unwrap().code(), Some(0));
    // The machine goes on.
    let status = machine.run(&["query-status"]);
    assert_eq!(serde_json::from_slice::<Value>(&status.stdout).unwrap()["status"], "running");
}

#[test]
fn a_second_user_of_a_monitor_is_told_why_nothing_comes() {
    let test = "a_second_user_of_a_monitor_is_told_why_nothing_comes";
    let Some(machine) = Machine::start(test) else { return };
    let mut first = UnixStream::connect(machine.directory.path().join("qmp")).unwrap();
    // It has the monitor: it is greeted.
    first.read_exact(&mut [0; 1]).unwrap();
    let mut second = machine.shell("qmp", &["query-status"]);
    let mut second =
        second.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(second.stderr.take().unwrap()).lines();
    let told = said.next().unwrap().unwrap();
    assert!(told.contains("one connection at a time") && told.contains("ss -xp"), "{told}");
    drop(first);
    let output = second.wait_with_output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["status"], "prelaunch");
}

#[test]
fn what_is_no_monitor_is_told_by_its_first_words() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ssh");
    let listener = UnixListener::bind(&path).unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").unwrap();
        // Until the shell leaves.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let shell = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hv-qmp")).arg(&path).args(arguments).output().unwrap()
    };
    let output = shell(&["query-status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("SSH-2.0"), "{}", text(&output.stderr));
    other.join().unwrap();
    let output = shell(&["--timeout", "nan", "query-status"]);
    assert!(text(&output.stderr).contains("--timeout"), "{}", text(&output.stderr));
}

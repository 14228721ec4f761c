//! `hypervisor dev` and `hypervisor down`, the real program with a real guest: killed, found again, taken down, brought back.
#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hypervisor");

/// A state directory, whose guests and program end with the test, however it ends.
struct Site {
    dir: tempfile::TempDir,
    demo: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        for pid in self.guests() {
            signal(pid, "KILL");
        }
    }
}

struct Dev {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It has ended where the test got that far.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Site {
    fn new(test: &str) -> Option<Self> {
        if xtask::sh::find("qemu-system-x86_64").is_none() {
            println!("not run: {test}: package qemu-system-x86 is missing");
            return None;
        }
        let demo = xtask::sh::root().join("target/demo");
        if let Err(error) = xtask::demo_image::build(&demo) {
            println!("not run: {test}: the demo guest cannot be built: {error:#}");
            return None;
        }
        Some(Self { dir: tempfile::tempdir().unwrap(), demo })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--state-dir").arg(self.dir.path().join("state"));
        command.env("HYPERVISOR_DEMO_DIR", &self.demo).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Starts the program and waits until it says what to try next. Answers that and what it printed.
    fn dev(&self, options: &[&str]) -> (Dev, String) {
        let words = [&["dev", "--grpc-addr", "127.0.0.1:0"], options].concat();
        let mut process = self.command(&words).stderr(Stdio::piped()).spawn().unwrap();
        // Nobody reads its log.
        drop(process.stderr.take());
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut dev = Dev { process, output };
        let mut printed = String::new();
        while !printed.contains("Ctrl-C powers the guests down") {
            let mut line = String::new();
            assert_ne!(dev.output.read_line(&mut line).unwrap(), 0, "it ended after:\n{printed}");
            printed.push_str(&line);
        }
        (dev, printed)
    }

    fn down(&self) -> String {
        let output = self.command(&["down"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Processes of guests whose disks are in this directory.
    fn guests(&self) -> Vec<u32> {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        let ours = |pid: &u32| {
            let root = PathBuf::from(format!("/proc/{pid}"));
            let is_qemu =
                fs::read_to_string(root.join("comm")).is_ok_and(|name| name.starts_with("qemu-system"));
            let files = fs::read_dir(root.join("fd")).into_iter().flatten().flatten();
            is_qemu
                && files
                    .flat_map(|fd| fs::read_link(fd.path()))
                    .any(|to| to.to_string_lossy().starts_with(&dir))
        };
        pids.filter(ours).collect()
    }
}

fn signal(pid: u32, name: &str) {
    // The shell's own: a small machine has no such program.
    let done = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(done.success());
}

#[test]
fn guests_outlive_a_killed_program_and_go_down_with_one_that_ends() {
    let Some(site) = Site::new("guests_outlive_a_killed_program_and_go_down_with_one_that_ends") else {
        return;
    };
    let (mut dev, printed) = site.dev(&[]);
    assert!(printed.contains("its boot counter says 1"), "{printed}");
    for part in ["QEMU ", "qemu(", "running", "API ", "hypervisor-ctl instance list"] {
        assert!(printed.contains(part), "{part} is missing in:\n{printed}");
    }
    let guest = site.guests();
    assert_eq!(guest.len(), 1);

    // A second one is told who the first is.
    let second = site.command(&["dev"]).stderr(Stdio::piped()).output().unwrap();
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && complaint.contains(&dev.process.id().to_string()), "{complaint}");

    dev.process.kill().unwrap();
    dev.process.wait().unwrap();
    assert_eq!(site.guests(), guest, "the guest runs on");
    let (mut dev, printed) = site.dev(&[]);
    assert!(printed.contains("its boot counter says 1"), "{printed}");
    assert_eq!(site.guests(), guest, "the guest has not noticed");

    // Nothing but a guest is left, and `down` finds it.
    dev.process.kill().unwrap();
    dev.process.wait().unwrap();
    let printed = site.down();
    assert!(printed.contains("Powering 1 guest down") && printed.ends_with("Down.\n"), "{printed}");
    assert!(site.guests().is_empty());

    // It did not end by itself: it is back with the program, and goes down with it.
    let (mut dev, printed) = site.dev(&[]);
    assert!(printed.contains("its boot counter says 2"), "{printed}");
    signal(dev.process.id(), "INT");
    let mut rest = String::new();
    dev.output.read_to_string(&mut rest).unwrap();
    assert!(dev.process.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("All guests are down."), "{rest}");
    assert!(site.guests().is_empty());
    assert!(site.down().contains("Down."), "nothing is left to stop");
}

#[test]
fn what_an_earlier_run_could_not_do_and_logs_that_nobody_reads_do_not_matter() {
    let Some(site) = Site::new("what_an_earlier_run_could_not_do_and_logs_that_nobody_reads_do_not_matter")
    else {
        return;
    };
    // Most hosts of these tests have no KVM that runs guests; where there is one, this succeeds.
    let with_kvm = || {
        let words = ["dev", "--no-instance", "--accel", "kvm", "--grpc-addr", "127.0.0.1:0"];
        let mut process = site.command(&words).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let runs = output.lines().map_while(Result::ok).any(|line| line.starts_with("Ctrl-C powers"));
        if runs {
            process.kill().unwrap();
        }
        process.wait().unwrap().code() == (!runs).then_some(1)
    };
    assert!(with_kvm(), "it ends with an error, or runs");
    let (mut dev, printed) = site.dev(&["--no-instance", "--log-level", "debug"]);
    let named = format!("export HYPERVISOR_SERVER=unix:{}/state/server.sock", site.dir.path().display());
    assert!(printed.contains(&named), "the command line would look elsewhere:\n{printed}");
    signal(dev.process.id(), "INT");
    assert!(dev.process.wait().unwrap().success());
    assert!(with_kvm(), "what the run before could do does not count");
}

//! python3-libvirt makes the same calls on both, and gets the same: results, every field of every error, events in order.

use crate::daemon::{self, Libvirtd, OurServer};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = include_str!("scripts/api.py");
const PYTHON: &str = "/usr/bin/python3";

fn run(socket: &Path) -> Vec<String> {
    let mut command = Command::new("timeout");
    command.args(["60", PYTHON, "-c", SCRIPT]).arg(socket).env_clear().env("LC_ALL", "C");
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn python_gets_the_same_results_errors_and_events() {
    let test = "python_gets_the_same_results_errors_and_events";
    if daemon::is_missing(test) {
        return;
    }
    let bindings = Command::new(PYTHON).args(["-c", "import libvirt"]).output();
    if !bindings.is_ok_and(|output| output.status.success()) {
        println!("not run: {test}: {PYTHON} with libvirt's bindings is missing (package python3-libvirt)");
        return;
    }
    let real = Libvirtd::start();
    let theirs = run(&real.socket());
    let server = OurServer::start();
    let ours = run(server.socket());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
    assert!(ours.len() > 100, "{}", ours.len());
}

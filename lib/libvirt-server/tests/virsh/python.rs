//! python3-libvirt makes the same calls on both, and gets the same: results, every field of every error, events in order.

use crate::authority::Authority;
use crate::daemon::{self, Libvirtd, OurServer};
use libvirt_server::{Clients, Tls};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = include_str!("scripts/api.py");
const PYTHON: &str = "/usr/bin/python3";

fn run(socket: &Path) -> Vec<String> {
    run_at(&format!("test+unix:///default?socket={}", socket.display()))
}

fn run_at(uri: &str) -> Vec<String> {
    let mut command = Command::new("timeout");
    command.args(["60", PYTHON, "-c", SCRIPT, uri]).env_clear().env("LC_ALL", "C");
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

/// The same script over TLS, with a certificate: the same lines, but for the one that tells how the connection is guarded.
#[test]
fn python_gets_the_same_over_tls() {
    let test = "python_gets_the_same_over_tls";
    let bindings = Command::new(PYTHON).args(["-c", "import libvirt"]).output();
    if !bindings.is_ok_and(|output| output.status.success()) {
        println!("not run: {test}: {PYTHON} with libvirt's bindings is missing (package python3-libvirt)");
        return;
    }
    let plain = run(OurServer::start().socket());
    let authority = Authority::new("ours");
    let server = OurServer::start();
    crate::remote::certify(&server, &authority);
    let client = authority.client(server.directory().join("client"), Some("a client"));
    let port = server.listen(Some(Tls::in_directory(server.directory(), Clients::Known).unwrap()));
    let sealed = run_at(&format!("test+tls://127.0.0.1:{port}/default?pkipath={}", client.display()));
    assert_eq!(sealed.len(), plain.len());
    let different: Vec<_> = sealed.iter().zip(&plain).filter(|(sealed, plain)| sealed != plain).collect();
    // Secure both times, encrypted once.
    let expected = |line: &str, encrypted: u8| line.starts_with(&format!("security (1, {encrypted}, "));
    assert!(
        different.iter().all(|(sealed, plain)| expected(sealed, 1) && expected(plain, 0)),
        "{different:?}"
    );
    assert_eq!(different.len(), 1);
}

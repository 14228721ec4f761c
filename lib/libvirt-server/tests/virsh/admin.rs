//! Stock virt-admin runs the same script against a private libvirtd and against our server.

use crate::daemon::{self, Libvirtd, OurServer, virt_admin};
use crate::transcript::Transcript;
use std::path::Path;

const SCRIPT: &str = include_str!("scripts/admin.virt-admin");
const PROMPT: &str = "virt-admin # ";

fn missing(test: &str) -> bool {
    let missing = !Path::new("/usr/bin/virt-admin").exists();
    if missing {
        println!("not run: {test}: /usr/bin/virt-admin is missing (package libvirt-clients)");
    }
    missing || daemon::is_missing(test)
}

#[test]
fn virt_admin_prints_the_same() {
    if missing("virt_admin_prints_the_same") {
        return;
    }
    let real = Libvirtd::start();
    let theirs = virt_admin(&real.admin_socket(), real.directory(), SCRIPT).expect("virt-admin hangs");
    let theirs = Transcript::behind(PROMPT, SCRIPT, theirs);
    let server = OurServer::start();
    let ours = virt_admin(&server.administer(), server.directory(), SCRIPT).expect("virt-admin hangs");
    let ours = Transcript::behind(PROMPT, SCRIPT, ours);
    assert_eq!(theirs.commands.len(), SCRIPT.lines().count(), "the script did not run: {}", theirs.text);
    for (theirs, ours) in theirs.commands.iter().zip(&ours.commands) {
        assert_eq!(ours, theirs, "virt-admin prints otherwise");
    }
    assert_eq!(ours.commands.len(), theirs.commands.len());
    let succeeded = theirs.commands.iter().filter(|command| command.succeeded()).count();
    assert!(succeeded >= 24, "{succeeded}: {}", theirs.text);
}

#[test]
fn virt_admin_sees_who_it_is_and_ends_the_connection_of_another() {
    if missing("virt_admin_sees_who_it_is_and_ends_the_connection_of_another") {
        return;
    }
    let real = Libvirtd::start();
    let server = OurServer::start();
    // The first client of each.
    let script = "client-info admin 1\n";
    let ask = |socket: &Path, directory: &Path| {
        let text = virt_admin(socket, directory, script).expect("virt-admin hangs");
        Transcript::behind(PROMPT, script, text).commands.remove(0)
    };
    let theirs = ask(&real.admin_socket(), real.directory());
    assert_eq!(ask(&server.administer(), server.directory()), theirs);
    assert!(theirs.output.contains("unix_user_name"), "{theirs:?}");
    // A virsh that waits for events is sent away.
    let mut watcher = std::process::Command::new("timeout");
    let uri = format!("test+unix:///default?socket={}", server.socket().display());
    watcher.args(["60", "/usr/bin/virsh", "-c", &uri, "event", "--loop", "--all"]);
    watcher.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut watcher = watcher.spawn().unwrap();
    let admin = server.directory().join("libvirt-admin-sock");
    let mut listed = String::new();
    while !listed.contains(" 1    unix") {
        listed = virt_admin(&admin, server.directory(), "client-list libvirtd\n").unwrap();
        assert!(watcher.try_wait().unwrap().is_none(), "virsh has gone by itself");
    }
    virt_admin(&admin, server.directory(), "client-disconnect libvirtd 1\n").unwrap();
    const TIMED_OUT: i32 = 124;
    assert_ne!(watcher.wait().unwrap().code(), Some(TIMED_OUT), "nobody ended its connection");
    let listed = virt_admin(&admin, server.directory(), "client-list libvirtd\n").unwrap();
    assert!(!listed.contains(" 1    unix"), "{listed}");
}

//! What libvirt's test driver refuses, and this server can: secrets as libvirt's own secret driver has them, devices that come and go,
//! network filters, contents of volumes.

use crate::daemon::{self, Libvirtd, OurServer};
use crate::transcript::Transcript;
use libvirt_server::Scope;

const SECRETS: &str = include_str!("scripts/secrets.virsh");
const COMPLETE: &str = include_str!("scripts/complete.virsh");

#[test]
fn virsh_prints_the_same_of_secrets_as_against_libvirts_own_driver() {
    if daemon::is_missing("virsh_prints_the_same_of_secrets_as_against_libvirts_own_driver") {
        return;
    }
    let attempt = || {
        let real = Libvirtd::start();
        daemon::virsh_at("qemu", "/session", &real.socket(), real.directory(), SECRETS)
    };
    let theirs = Transcript::of(SECRETS, daemon::patiently(attempt));
    let ours = Transcript::of(SECRETS, daemon::patiently(|| OurServer::with(Scope::Complete).virsh(SECRETS)));
    assert_eq!(theirs.commands.len(), SECRETS.lines().count(), "{}", theirs.text);
    for (theirs, ours) in theirs.commands.iter().zip(&ours.commands) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.commands.len(), theirs.commands.len());
    let succeeded = theirs.commands.iter().filter(|command| command.succeeded()).count();
    assert!(succeeded >= 9, "libvirt's own driver does not work here: {}", theirs.text);
}

#[test]
fn devices_filters_and_contents_come_and_go() {
    if daemon::is_missing("devices_filters_and_contents_come_and_go") {
        return;
    }
    let server = OurServer::with(Scope::Complete);
    let transcript = Transcript::of(COMPLETE, server.virsh(COMPLETE).expect("virsh hangs"));
    let output = |line: &str, which: usize| {
        let found = transcript.commands.iter().filter(|command| command.line == line).nth(which);
        found.unwrap_or_else(|| panic!("{line} did not run: {}", transcript.text)).output.as_str()
    };
    for command in &transcript.commands {
        // The second attempt to attach one disk is the one refusal.
        let refused = command.output.contains("target vdb already exists");
        assert!(command.succeeded() || refused, "{command:?}");
    }
    assert!(output("domblklist two", 0).contains("vdb"));
    assert!(!output("domblklist two", 1).contains("vdb"));
    assert!(output("domiflist two", 0).contains("52:54:00:11:22:77"));
    assert!(!output("domiflist two", 1).contains("52:54:00:11:22:77"));
    assert!(output("dumpxml two", 0).contains("<source file='b.img'/>"));
    assert!(output("dumpxml two --inactive", 0).contains("<source file='/tmp/b.img'/>"));
    assert!(
        !output("dumpxml two", 1).contains("/tmp/b.img"),
        "only the persistent configuration was changed"
    );
    assert!(output("nwfilter-dumpxml quiet", 0).contains("<tcp dstportstart='25'/>"));
    assert!(output("nwfilter-list", 0).contains("quiet") && !output("nwfilter-list", 1).contains("quiet"));
    let (sent, back) = (server.read("two.xml"), server.read("back"));
    assert!(
        back.len() == 4096 && back.starts_with(&sent) && back[sent.len()..].iter().all(|byte| *byte == 0)
    );
    assert!(output("vol-info v --pool default-pool --bytes", 0).contains("8192 bytes"));
}

//! What libvirt's QEMU, network and filter drivers do and its test driver does not, driven by virsh: jobs on disks, backups, migration,
//! ports, bindings, sleep, the monitor.

use crate::daemon::{self, OurServer, virsh_with};
use crate::transcript::{Command, Transcript};
use libvirt_server::Scope;

const WIDE: &str = include_str!("scripts/wide.virsh");

#[test]
fn jobs_backups_ports_bindings_and_sleep_are_driven_by_virsh() {
    if daemon::is_missing("jobs_backups_ports_bindings_and_sleep_are_driven_by_virsh") {
        return;
    }
    let server = OurServer::with(Scope::Complete);
    let transcript = Transcript::of(WIDE, server.virsh(WIDE).expect("virsh hangs"));
    assert_eq!(transcript.commands.len(), WIDE.lines().count(), "{}", transcript.text);
    let mut left = transcript.commands.iter();
    // One after the other, so that a command that stands there twice is found twice.
    let mut next = |start: &str| -> &Command {
        left.find(|command| command.line.starts_with(start))
            .unwrap_or_else(|| panic!("{start} did not run: {}", transcript.text))
    };
    let refused = ["backup-dumpxml test", "qemu-agent-command"];
    let failed: Vec<_> = transcript.commands.iter().filter(|command| !command.succeeded()).collect();
    assert_eq!(failed.len(), refused.len(), "{failed:?}");
    assert!(failed.iter().zip(refused).all(|(command, line)| command.line.starts_with(line)), "{failed:?}");

    let all = &next("domstats test").output;
    for figure in ["state.state=1", "cpu.time=", "balloon.maximum=8388608", "net.0.name=testnet0"] {
        assert!(all.contains(figure), "{all}");
    }
    let some = &next("domstats test --block").output;
    assert!(some.contains("block.0.name=vda") && some.contains("vcpu.maximum=2"), "{some}");
    assert!(!some.contains("state.state") && !some.contains("net."), "{some}");
    assert!(next("domblkinfo").output.contains("1073741824"));
    assert!(next("domblkinfo").output.contains("2147483648"));
    assert!(next("blockcopy").output.contains("Successfully pivoted"));
    assert!(next("domblklist").output.contains("vda      /copy"), "{}", transcript.text);
    assert!(next("blockpull").output.contains("Pull complete"));
    next("blockcopy");
    let job = &next("blockjob test vda").output;
    assert!(job.contains("Block Copy") && job.contains("1.000 MiB/s"), "{job}");
    next("blockjob test vda --abort");
    assert!(next("blockjob test vda").output.contains("No current block job"));
    assert!(next("domblklist").output.contains("/copy"), "what was aborted changed nothing");
    assert!(next("backup-begin").output.contains("Backup started"));
    let backup = &next("backup-dumpxml").output;
    assert!(backup.contains("mode='pull'") && backup.contains("<scratch file='/scratch'/>"), "{backup}");
    let job = &next("domjobinfo").output;
    assert!(job.contains("Unbounded") && job.contains("Backup"), "{job}");
    let uuid = "11111111-2222-3333-4444-555555555555";
    assert!(next("net-port-list").output.contains(uuid));
    assert!(next("net-port-dumpxml").output.contains("52:54:00:11:22:99"));
    assert!(!next("net-port-list").output.contains(uuid));
    let leases = &next("net-dhcp-leases").output;
    assert!(leases.contains("192.168.122.3/24") && leases.contains("aa:bb:cc:dd:ee:ff"), "{leases}");
    assert!(next("nwfilter-binding-list").output.contains("vnet0"));
    assert!(next("nwfilter-binding-dumpxml").output.contains("<filterref filter='quiet'/>"));
    assert!(!next("nwfilter-binding-list").output.contains("vnet0"));
    assert!(next("domstate test").output.contains("pmsuspended"));
    assert!(next("domstate test").output.contains("running"));
    assert!(next("migrate-getspeed").output.contains("77"));
    assert!(next("migrate-getmaxdowntime").output.contains("432"));
    assert!(next("migrate-compcache").output.contains("8.000 MiB"));
    assert!(next("qemu-monitor-command").output.contains("\"status\":\"running\""));
    assert!(next("qemu-monitor-command").output.contains("CommandNotFound"));
    assert!(next("qemu-monitor-command test --hmp").output.contains("7.2.0"));
    assert!(next("qemu-agent-command").output.contains("not connected"));
    assert!(next("domstate two").output.contains("paused"));
    // It was to end with the connection that started it.
    let listed = server.virsh("list --all\n").unwrap();
    assert!(!listed.contains(" two "), "{listed}");
}

#[test]
fn virsh_migrates_between_two_servers() {
    if daemon::is_missing("virsh_migrates_between_two_servers") {
        return;
    }
    let (from, to) = (OurServer::with(Scope::Complete), OurServer::with(Scope::Complete));
    // The destination has a domain of that name from the beginning.
    to.virsh("destroy test\nundefine test\n").unwrap();
    let there = format!("test+unix:///default?socket={}", to.socket().display());
    let migrate = |flags: &str| {
        let script = format!("migrate test '{there}' --unsafe --live {flags}\nlist --all\n");
        let text = daemon::patiently(|| from.virsh(&script));
        Transcript::of(&script, text).commands
    };
    let [migrated, listed] = &migrate("--persistent --undefinesource --verbose")[..] else { panic!() };
    assert!(migrated.succeeded(), "{migrated:?}");
    assert!(!listed.output.contains("test"), "{listed:?}");
    let text = to.virsh("list --all\ndominfo test\ndumpxml test\n").unwrap();
    assert!(text.contains("test") && text.contains("running"), "{text}");
    assert!(text.contains("Persistent:     yes") && text.contains("aa:bb:cc:dd:ee:ff"), "{text}");
    // Back again, under another name.
    let here = format!("test+unix:///default?socket={}", from.socket().display());
    let back = format!("migrate test '{here}' --live --unsafe --dname other\n");
    let uri = format!("test+unix:///default?socket={}", to.socket().display());
    let text = daemon::patiently(|| virsh_with(&uri, to.directory(), &back));
    assert!(!text.contains("error:"), "{text}");
    let listed = from.virsh("list --all\n").unwrap();
    assert!(listed.contains("other") && listed.contains("running"), "{listed}");
    assert!(to.virsh("domstate test\n").unwrap().contains("shut off"), "it is kept there");
}

#[test]
fn virsh_has_one_server_migrate_to_another() {
    if daemon::is_missing("virsh_has_one_server_migrate_to_another") {
        return;
    }
    for tunnelled in ["", "--tunnelled"] {
        let (from, to) = (OurServer::with(Scope::Complete), OurServer::with(Scope::Complete));
        to.virsh("destroy test\nundefine test\n").unwrap();
        // libvirt's own library wants a host in such a URI, and none whose name says that it is the same one.
        let there = format!("test+tcp://127.0.0.1:{}/default", to.listen(None));
        let script = format!(
            "migrate test '{there}' --p2p {tunnelled} --live --unsafe --persistent --undefinesource\nlist --all\n"
        );
        let text = daemon::patiently(|| from.virsh(&script));
        let [migrated, listed] = &Transcript::of(&script, text).commands[..] else { panic!() };
        assert!(migrated.succeeded(), "{migrated:?}");
        assert!(!listed.output.contains("test"), "{listed:?}");
        let text = to.virsh("dominfo test\n").unwrap();
        assert!(text.contains("running") && text.contains("Persistent:     yes"), "{text}");
    }
}

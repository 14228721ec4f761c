//! With an agent in the guest.

use crate::{
    agent_guest,
    guest::{Guest, LONG, config, demo, missing},
};
use qemu::{
    Ladder, Rung,
    config::{Address, Channel, Disk, Image, Stream},
    vm::{Consistency, OperationError, Overlay, Pulled, Served, by_agent},
};
use qmp::agent::{self, commands::Ping};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The agent's program, or a line that says what is missing.
fn program(test: &str) -> Option<PathBuf> {
    let program = demo("../unpacked/qemu-guest-agent/usr/sbin/qemu-ga");
    if missing(test, true) {
        return None;
    }
    if !program.exists() {
        println!("not run: {test}: {} (cargo xtask test)", program.display());
        return None;
    }
    Some(program)
}

/// Linux with an agent and a file system that is written all the time.
async fn with_agent(test: &str, directory: &Path) -> Option<(Guest, PathBuf)> {
    let program = program(test)?;
    let at = |name: &str| directory.join(name);
    fs::write(at("initrd"), agent_guest::initrd(&demo("initrd.img"), &program)).unwrap();
    fs::File::create(at("disk.raw")).unwrap().set_len(32 << 20).unwrap();
    if !Command::new("mke2fs")
        .args(["-q", "-t", "ext4"])
        .arg(at("disk.raw"))
        .status()
        .is_ok_and(|made| made.success())
    {
        println!("not run: {test}: mke2fs (Debian package e2fsprogs)");
        return None;
    }
    let socket = directory.join("agent.sock");
    let mut machine = Guest::with_linux(config().disk(Disk::new("root", Image::raw(at("disk.raw")))));
    machine.boot.kernel.as_mut().unwrap().initrd = Some(at("initrd"));
    machine.channels.push(Channel::guest_agent("ga", Stream::Listen(Address::Unix(socket.clone()))));
    let mut guest = Guest::linux_of(directory, machine).await;
    guest.run("mkdir -p /data; mount -t ext4 /dev/vda /data").await;
    guest.run("(n=0; while [ ! -e /run/stop ]; do n=$((n + 1)); echo $n >/data/counter; done; echo >/run/stopped) & true").await;
    let port =
        "p=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name); p=${p%/name}; p=/dev/${p##*/}";
    guest.run_until("grep -q org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name").await;
    let start =
        "/agent/loader --library-path /agent /agent/qemu-ga -m virtio-serial -p $p -t /run -f /run/agent.pid";
    guest.run(&format!("{port}; {start} >/dev/null 2>&1 & true")).await;
    Some((guest, socket))
}

#[tokio::test]
async fn a_snapshot_is_taken_while_the_file_systems_stand_still_and_the_agent_powers_off() {
    let test = "a_snapshot_is_taken_while_the_file_systems_stand_still_and_the_agent_powers_off";
    let directory = tempfile::tempdir().unwrap();
    let Some((mut guest, socket)) = with_agent(test, directory.path()).await else { return };
    let agent = guest.vm.agent(&socket, agent::Options::default()).await.unwrap();
    let answers = async { while agent.call(&Ping {}).await.is_err() {} };
    tokio::time::timeout(LONG, answers).await.unwrap();
    let overlay = |name: &str| [Overlay::new("root", directory.path().join(name))];
    let taken = guest.vm.snapshot_frozen(&overlay("frozen.qcow2"), &agent, LONG).await.unwrap();
    assert!(matches!(taken.consistency, Consistency::Frozen { file_systems: 1 }), "{taken:?}");
    // What lies below is whole without any journal being played: a file system of a power cut is not.
    let whole = |image: &str| {
        let checked =
            Command::new("e2fsck").args(["-n", "-f"]).arg(directory.path().join(image)).output().unwrap();
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        (checked.status.success() && !text.contains("recover")).then_some(text)
    };
    assert!(whole("disk.raw").is_some());
    let before = guest.run("cat /data/counter").await;
    guest.run_until(&format!("[ \"$(cat /data/counter)\" != '{before}' ]")).await;
    // Frozen by somebody else: nothing is taken, and nothing is left.
    let frozen = agent.freeze(None, LONG).await.unwrap();
    let nodes = guest.node_names().await;
    let refused = guest.vm.snapshot_frozen(&overlay("second.qcow2"), &agent, LONG).await.unwrap_err();
    assert!(matches!(refused, OperationError::Agent { .. }), "{refused:?}");
    let listen = Address::Unix(directory.path().join("pull.sock"));
    let served = [Served::new("root", directory.path().join("scratch.qcow2"), listen, "still")];
    let refused = guest.vm.pull_backups_frozen(&served, &agent, LONG).await.unwrap_err();
    assert!(matches!(refused, OperationError::Agent { .. }), "{refused:?}");
    assert_eq!(guest.vm.active_node("root").await.unwrap(), taken.nodes[0]);
    assert_eq!(guest.node_names().await, nodes);
    frozen.thaw().await.unwrap();
    // Whoever reads the disk from outside finds it as whole, while the guest goes on.
    let (pulled, consistency) = guest.vm.pull_backups_frozen(&served, &agent, LONG).await.unwrap();
    assert!(matches!(consistency, Consistency::Frozen { file_systems: 1 }), "{consistency:?}");
    let from = format!("nbd+unix:///still?socket={}", directory.path().join("pull.sock").display());
    let to = directory.path().join("pulled.raw");
    let read = Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "raw", &from]).arg(&to).status();
    assert!(read.unwrap().success());
    assert!(whole("pulled.raw").is_some());
    pulled[0].finish(Pulled::Whole).await.unwrap();
    let before = guest.run("cat /data/counter").await;
    guest.run_until(&format!("[ \"$(cat /data/counter)\" != '{before}' ]")).await;
    guest.run("echo >/run/stop").await;
    guest.run_until("[ -e /run/stopped ]").await;
    // The button does nothing in this guest: its agent is asked.
    let ladder = Ladder {
        button: Duration::from_millis(300),
        agent: Some((by_agent(&agent), LONG)),
        quit: LONG,
        ..Ladder::default()
    };
    assert_eq!(guest.vm.shutdown(ladder).await.unwrap().0, Rung::Agent);
}

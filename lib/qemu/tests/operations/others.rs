//! Devices that other processes are.

use crate::guest::{Guest, LONG, config, missing};
use qemu::config::{Address, Sharing, Stream, VhostUser, VhostUserKind};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where `cargo xtask test` puts programs of others.
fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/bin").join(name)
}

/// The kernel's list has a flag for it (`__SO_ACCEPTCON`, proc_net(5)); a file is there a moment before.
fn is_listened_at(socket: &Path) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().any(|line| line.contains(" 00010000 ") && line.ends_with(socket.to_str().unwrap()))
}

/// Reads as much as this many bytes, and binds the driver anew when no answer comes: the other process loses a kick that comes in before it has
/// heard that the ring is enabled, which QEMU does not wait for (rust-vmm/vhost, issue 247; vhost-user-backend 0.10, `read_kick`).
const READ: &str = "d=/sys/bus/virtio/drivers/virtio_rng; rm -f /run/done; until ( \
    (dd if=/dev/hwrng bs=64 count=1 iflag=fullblock of=/run/random 2>/dev/null && echo >/run/done) & \
    i=0; while [ ! -e /run/done ] && [ $i -lt 50 ]; do i=$((i + 1)); sleep 0.1; done; [ -e /run/done ] ); \
    do killall -9 dd; v=$(ls $d | grep ^virtio); echo $v >$d/unbind; echo $v >$d/bind; echo again; done; md5sum </run/random";

#[tokio::test]
async fn a_guest_reads_randomness_of_another_process() {
    let test = "a_guest_reads_randomness_of_another_process";
    let program = peer("vhost-device-rng");
    if missing(test, true) {
        return;
    }
    if !program.exists() {
        return println!("not run: {test}: {} (cargo xtask test)", program.display());
    }
    let directory = tempfile::tempdir().unwrap();
    // It numbers its sockets, as it can serve several.
    let mut command = Command::new(program);
    command.arg("--socket-path").arg(directory.path().join("rng")).stderr(Stdio::null());
    let _process = Process(command.spawn().unwrap());
    let socket = directory.path().join("rng0");
    let listens = async {
        while !is_listened_at(&socket) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, listens).await.unwrap();
    let mut machine = Guest::with_linux(config());
    machine.rng = None;
    machine.memory.sharing = Sharing::Shared;
    let socket = Stream::Connect { to: Address::Unix(socket), again_s: 0 };
    machine.vhost_user = vec![VhostUser { id: "random".into(), kind: VhostUserKind::Rng, socket }];
    let mut guest = Guest::linux_of(directory.path(), machine).await;
    assert_eq!(guest.run("cat /sys/class/misc/hw_random/rng_current").await, "virtio_rng.0");
    let (first, second) = (guest.run(READ).await, guest.run(READ).await);
    assert_ne!(first, second);
    guest.quit().await;
}

//! Directories of the host in a guest.

use crate::{
    elsewhere::passes_elsewhere,
    guest::{Guest, config, missing},
    modules,
};
use qemu::config::{Address, Share, ShareKind, Sharing, Stream};
use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Child, Command, Stdio},
};

/// Ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_directory_is_mounted_in_the_guest_and_both_sides_see_its_files() {
    let test = "a_directory_is_mounted_in_the_guest_and_both_sides_see_its_files";
    let program = "/usr/lib/qemu/virtiofsd";
    if missing(test, true) {
        return;
    }
    // It leaves the groups that its user has beside his own, which nobody but root may.
    let is_root = rustix::process::getuid().is_root();
    let stays_in_groups = !is_root && !rustix::process::getgroups().unwrap().is_empty();
    if !fs::exists(program).unwrap() || stays_in_groups {
        let who = "by root, or a user of no other groups than his own";
        return println!("not run: {test}: {program} (Debian package qemu-system-common), {who}");
    }
    if passes_elsewhere(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("home")).unwrap();
    fs::write(at("home").join("from the host"), "told by the host").unwrap();
    // The socket is there before the daemon, which is given it as its descriptor 3.
    let listening = UnixListener::bind(at("fs.sock")).unwrap();
    let command =
        format!("exec {program} --fd=3 -o source=\"$0\" -o sandbox=chroot 3<&0 0</dev/null 2>/dev/null");
    let child = Command::new("sh")
        .args(["-c", &command])
        .arg(at("home"))
        .stdin(Stdio::from(OwnedFd::from(listening)))
        .stdout(Stdio::null())
        .spawn();
    let _daemon = Daemon(child.unwrap());
    let Some(initrd) = modules::initrd(test, directory.path(), &["fuse", "virtiofs"]) else { return };
    let mut machine = Guest::with_linux(config());
    machine.memory.sharing = Sharing::Shared;
    let socket = Stream::Connect { to: Address::Unix(at("fs.sock")), again_s: 0 };
    let kind = ShareKind::Virtiofs { socket, queue: None };
    machine.shares = vec![Share { id: "home".into(), tag: "home".into(), kind }];
    machine.boot.kernel.as_mut().unwrap().initrd = Some(initrd);
    let mut guest = Guest::linux_of(directory.path(), machine).await;
    guest.run(modules::LOAD).await;
    guest.run("mkdir -p /mnt && mount -t virtiofs home /mnt").await;
    assert_eq!(guest.run("cat '/mnt/from the host'").await, "told by the host");
    guest.run("echo told by the guest >/mnt/from-the-guest; umount /mnt").await;
    assert_eq!(fs::read_to_string(at("home").join("from-the-guest")).unwrap(), "told by the guest\n");
    guest.quit().await;
}

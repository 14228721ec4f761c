//! Our back-end under a real guest: QEMU's front-end, and Linux's driver of block devices.
#![cfg(test)]

#[path = "../support/observed.rs"]
mod observed;

mod boot;
mod migration;
mod network;
mod shell;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use vhost_user::backend::serve;
use vhost_user::devices::{Disk, OnFile};
use vhost_user::socket::Canceller;

const QEMU: &str = "qemu-system-x86_64";

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/demo").join(name)
}

/// A machine, ended with the value.
struct Machine(Child);

impl Machine {
    /// Starts it with its console as output; where that cannot be, it is said that the test is not run.
    fn started(test: &str, mut machine: Command) -> Option<(Self, BufReader<ChildStdout>)> {
        match machine.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
            Ok(mut child) => {
                let console = child.stdout.take().expect("it is a pipe");
                Some((Self(child), BufReader::new(console)))
            }
            Err(error) => {
                println!("not run: {test}: {QEMU}: {error}");
                None
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The guest mounts the disk, counts its boots on it, and says so on its console; what it wrote is there at its next boot.
#[test]
fn a_guest_keeps_its_boot_counter_on_our_disk() {
    let test = "a_guest_keeps_its_boot_counter_on_our_disk";
    for file in ["vmlinuz", "initrd.img", "demo.qcow2"] {
        if !demo(file).exists() {
            println!("not run: {test}: {} is missing (cargo xtask demo-image)", demo(file).display());
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let converted = Command::new("qemu-img")
        .args(["convert", "-O", "raw"])
        .args([demo("demo.qcow2"), path("disk")])
        .status();
    match converted {
        Ok(status) => assert!(status.success()),
        Err(error) => return println!("not run: {test}: qemu-img: {error}"),
    }
    let listener = UnixListener::bind(path("blk.sock")).unwrap();
    let disk = path("disk");
    // QEMU's front-end connects once for each machine.
    observed::device("blk", "qemu");
    let server = std::thread::Builder::new().name(test.to_owned()).spawn(move || {
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let file = File::options().read(true).write(true).open(&disk).unwrap();
            let mut disk = Disk::new(OnFile::new(file).unwrap(), 2);
            // The relay's end of it, where there is one.
            serve(&mut disk, observed::served_through(stream, "qemu"), &Canceller::new().unwrap()).unwrap();
        }
    });
    let server = server.unwrap();
    for (boot, packed) in [(1, "off"), (2, "on")] {
        let mut machine = Command::new(QEMU);
        machine
            .args([
                "-accel",
                "tcg",
                "-m",
                "192",
                "-machine",
                "q35,memory-backend=memory",
                "-nodefaults",
                "-no-reboot",
            ])
            .args(["-object", "memory-backend-memfd,id=memory,size=192M,share=on"])
            .args([
                "-display",
                "none",
                "-serial",
                "stdio",
                "-append",
                "console=ttyS0 quiet panic=-1 no_timer_check",
            ])
            .args(["-device", &format!("vhost-user-blk-pci,chardev=disk,num-queues=2,packed={packed}")])
            .arg("-chardev")
            .arg(format!("socket,id=disk,path={}", path("blk.sock").display()))
            .arg("-kernel")
            .arg(demo("vmlinuz"))
            .arg("-initrd")
            .arg(demo("initrd.img"));
        let Some((_machine, console)) = Machine::started(test, machine) else { return };
        let mut said = String::new();
        for line in console.split(b'\n') {
            said = String::from_utf8_lossy(&line.unwrap()).into_owned();
            if said.contains("hypervisor-demo: up ") {
                break;
            }
        }
        assert!(said.contains(&format!("up boot={boot} ")), "the last line of the console: {said}");
    }
    server.join().unwrap();
}

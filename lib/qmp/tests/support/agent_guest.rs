//! A RAM disk with a guest agent, for the suites of both libraries.

use std::{path::Path, process::Command};

/// The first process. `freezer` stands for what else runs in a guest: it writes without an end.
const INIT: &str = "#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
while read -r module; do insmod \"/lib/modules/$module\"; done </lib/modules/order
hostname agent.example
mkdir -p /data
mount -t ext4 /dev/vda /data
port() {
    while :; do
        for at in /sys/class/virtio-ports/*; do
            read -r name <\"$at/name\" && [ \"$name\" = \"$1\" ] && echo \"/dev/${at##*/}\" && return
        done
        sleep 0.1
    done
}
(n=0; while :; do n=$((n + 1)); echo $n >/data/counter; done) &
exec /agent/loader --library-path /agent /agent/qemu-ga -m virtio-serial -p \"$(port org.qemu.guest_agent.0)\" -t /run -f /run/agent.pid
";

/// A file of an archive of the kernel's own form (`newc`, Documentation/driver-api/early-userspace/buffer-format.rst).
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let size = u32::try_from(content.len()).unwrap();
    let length = u32::try_from(name.len() + 1).unwrap();
    let fields = [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
    archive.extend_from_slice(b"070701");
    archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    for part in [[name.as_bytes(), &[0]].concat().as_slice(), content] {
        archive.extend_from_slice(part);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
}

/// The demo guest's files with some more, each with its mode.
pub(crate) fn with_files(base: &Path, files: &[(String, u32, Vec<u8>)]) -> Vec<u8> {
    let mut archive = std::fs::read(base).unwrap();
    archive.resize(archive.len().next_multiple_of(4), 0);
    for (name, mode, content) in files {
        entry(&mut archive, name, *mode, content);
    }
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

/// The demo guest's files, with the agent and what it is linked with on top.
pub(crate) fn initrd(base: &Path, agent: &Path) -> Vec<u8> {
    let mut files = vec![("init".to_owned(), 0o100_755, INIT.as_bytes().to_vec())];
    let mut entry =
        |name: &str, mode: u32, content: &[u8]| files.push((name.to_owned(), mode, content.to_vec()));
    // What the agent starts to end the guest, and to tell the time to its clock.
    entry("sbin", 0o040_755, &[]);
    entry("sbin/hwclock", 0o100_755, b"#!/bin/sh\n");
    entry("sbin/shutdown", 0o100_755, b"#!/bin/sh\nexec /bin/poweroff -f\n");
    entry("agent", 0o040_755, &[]);
    entry("agent/qemu-ga", 0o100_755, &std::fs::read(agent).unwrap());
    let linked = Command::new("ldd").arg(agent).output().unwrap();
    for line in String::from_utf8(linked.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, "=>", path, _] => {
                entry(&format!("agent/{name}"), 0o100_755, &std::fs::read(path).unwrap());
            }
            [path, _] if path.starts_with('/') => {
                entry("agent/loader", 0o100_755, &std::fs::read(path).unwrap());
            }
            _ => {}
        }
    }
    with_files(base, &files)
}

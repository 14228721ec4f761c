//! Devices that come with descriptors.

use crate::{
    guest::{Guest, LONG, config, missing},
    sys, vhost_user,
};
use qemu::{
    Config, Vm,
    config::{Address, Disk, Format, Image, MemoryHotplug, Nic, NicBackend, Sharing, Source, Stream},
    vm::{CopyTarget, Eject, OperationError},
};
use qmp::commands::QueryFdsets;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::Command,
};
use tokio::{io::AsyncReadExt, net::UnixStream};

/// A name that no JSON has.
fn odd(directory: &Path, name: &[u8]) -> PathBuf {
    directory.join(OsStr::from_bytes(&[name, b" \xff\xfe,"].concat()))
}

fn opened(key: &str, file: File) -> (String, OwnedFd) {
    (key.to_owned(), file.into())
}

async fn sets(vm: &Vm) -> usize {
    vm.qmp().call(&QueryFdsets {}).await.unwrap().len()
}

fn by_descriptor(key: &str) -> Image {
    Image::new(Source::Descriptor(key.into()), Format::Raw)
}

#[tokio::test]
async fn a_disk_that_is_handed_over_comes_and_goes() {
    let test = "a_disk_that_is_handed_over_comes_and_goes";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (base, top) = (odd(directory.path(), b"base"), directory.path().join("top.qcow2"));
    fs::write(&base, vec![b'b'; 3 << 20]).unwrap();
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&top).arg("3M").status();
    assert!(made.unwrap().success());
    let mut guest = Guest::linux(directory.path(), config()).await;
    let before = sets(&guest.vm).await;
    let image = Image::new(Source::Descriptor("top".into()), Format::Qcow2).on(by_descriptor("base"));
    let disk = Disk::new("data", image);
    let writable = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
    let descriptors = || {
        let base = File::open(&base).unwrap();
        BTreeMap::from([opened("top", writable(&top)), opened("base", base)])
    };
    guest.vm.plug_disk_with(&disk, descriptors()).await.unwrap();
    guest.run_until("[ -b /dev/vda ]").await;
    assert_eq!(guest.run("head -c 4 /dev/vda").await, "bbbb", "through both");
    guest.run("printf guest | dd of=/dev/vda conv=notrunc 2>/dev/null; sync").await;
    assert_eq!(sets(&guest.vm).await, before + 2);
    guest.vm.unplug_disk("data", LONG).await.unwrap();
    assert_eq!(sets(&guest.vm).await, before, "nothing is left");
    guest.vm.plug_disk_with(&disk, descriptors()).await.unwrap();
    guest.run_until("[ -b /dev/vda ]").await;
    assert_eq!(guest.run("head -c 6 /dev/vda").await, "guestb");
    guest.vm.unplug_disk("data", LONG).await.unwrap();
    // One that may not be written, for a disk that may: refused, and nothing is left.
    let wrong = BTreeMap::from([
        opened("top", File::open(&top).unwrap()),
        opened("base", File::open(&base).unwrap()),
    ]);
    let refused = guest.vm.plug_disk_with(&disk, wrong).await.unwrap_err();
    assert!(matches!(refused, OperationError::Qmp { .. }), "{refused:?}");
    assert_eq!(sets(&guest.vm).await, before);
    // One that is not there.
    let absent =
        guest.vm.plug_disk_with(&disk, BTreeMap::from([opened("top", writable(&top))])).await.unwrap_err();
    assert!(matches!(absent, OperationError::Config(_)), "{absent:?}");
    assert_eq!(sets(&guest.vm).await, before);
    guest.quit().await;
    assert!(fs::read(&base).unwrap().iter().all(|byte| *byte == b'b'), "what lies below is as it was");
}

#[tokio::test]
async fn a_disc_that_is_handed_over_is_put_in() {
    let test = "a_disc_that_is_handed_over_is_put_in";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let disc = odd(directory.path(), b"disc");
    fs::write(&disc, vec![0; 1 << 20]).unwrap();
    let guest = Guest::paused(directory.path(), config().disk(Disk::cdrom("cd", None))).await;
    let before = sets(&guest.vm).await;
    // What stands still keeps its descriptors until it runs.
    guest.vm.resume().await.unwrap();
    let descriptors = || BTreeMap::from([opened("disc", File::open(&disc).unwrap())]);
    for _ in 0..2 {
        let image = Some(by_descriptor("disc"));
        guest.vm.change_disc_with("cd", image, Eject::Force, descriptors()).await.unwrap();
        assert_eq!(guest.vm.active_node("cd").await.unwrap(), "cd");
        assert_eq!(sets(&guest.vm).await, before + 1);
    }
    guest.vm.change_disc("cd", None, Eject::Force).await.unwrap();
    assert_eq!(sets(&guest.vm).await, before);
    guest.quit().await;
}

/// Whether the process has this file open.
fn has_open(vm: &Vm, file: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", vm.record().pid)).unwrap().flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|open| open == file)
}

/// Whoever has handed it over wants its storage back when the machine is done with it.
#[tokio::test]
async fn what_was_handed_over_at_the_start_is_closed_when_it_is_not_used_any_more() {
    let test = "what_was_handed_over_at_the_start_is_closed_when_it_is_not_used_any_more";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let files = ["data", "moved", "disc"].map(|name| (name, odd(directory.path(), name.as_bytes())));
    let mut descriptors = BTreeMap::new();
    for (name, file) in &files {
        fs::write(file, vec![b'x'; 1 << 20]).unwrap();
        let file = File::options().read(true).write(*name != "disc").open(file).unwrap();
        descriptors.extend([opened(name, file)]);
    }
    let machine = config()
        .disk(Disk::new("data", by_descriptor("data")))
        .disk(Disk::new("moved", by_descriptor("moved")))
        .disk(Disk::cdrom("cd", Some(by_descriptor("disc"))))
        // The same for another drive: its own to close.
        .disk(Disk::cdrom("other", Some(by_descriptor("disc"))));
    let mut guest = Guest::handed(directory.path(), machine, descriptors).await;
    assert_eq!(sets(&guest.vm).await, 5, "with the log of the console");
    let [(_, data), (_, moved), (_, disc)] = &files;
    guest.vm.unplug_disk("data", LONG).await.unwrap();
    assert_eq!((sets(&guest.vm).await, has_open(&guest.vm, data)), (4, false));
    guest.vm.change_disc("cd", None, Eject::Force).await.unwrap();
    assert_eq!((sets(&guest.vm).await, has_open(&guest.vm, disc)), (3, true));
    guest.vm.change_disc("other", None, Eject::Force).await.unwrap();
    assert_eq!((sets(&guest.vm).await, has_open(&guest.vm, disc)), (2, false));
    let to = CopyTarget::file(directory.path().join("there.raw"), Format::Raw);
    let mut mirror = guest.vm.mirror_disk("moved", &to).await.unwrap();
    mirror.ready().await.unwrap();
    mirror.complete().await.unwrap();
    assert_eq!((sets(&guest.vm).await, has_open(&guest.vm, moved)), (1, false));
    guest.run("echo 3 >/proc/sys/vm/drop_caches; head -c 1 /dev/vdb | grep -q x").await;
    guest.quit().await;
}

/// A card's own address.
const MAC: [u8; 6] = [0x52, 0x54, 0, 9, 8, 7];

#[tokio::test]
async fn a_network_card_on_a_connection_that_is_handed_over_carries_packets() {
    let test = "a_network_card_on_a_connection_that_is_handed_over_carries_packets";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut guest = Guest::linux(directory.path(), config()).await;
    let nic = Nic::new("extra", MAC, NicBackend::Stream(Stream::Connected("switch".into())));
    for _ in 0..2 {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs.into_std().unwrap());
        guest.vm.plug_nic_with(&nic, BTreeMap::from([("switch".to_owned(), theirs)])).await.unwrap();
        guest.run_until("ip addr add 192.0.2.1/24 dev eth0 2>/dev/null").await;
        // Nobody answers.
        guest.run("ip link set eth0 up; ping -c 1 -W 1 192.0.2.2 >/dev/null; true").await;
        // Each packet has its length before it.
        let mut packet = [0; 16];
        tokio::time::timeout(LONG, ours.read_exact(&mut packet)).await.unwrap().unwrap();
        assert_eq!(packet[10..16], MAC, "{packet:?}");
        guest.vm.unplug_nic("extra", LONG).await.unwrap();
        guest.run_until("[ ! -e /sys/class/net/eth0 ]").await;
    }
    let absent = guest.vm.plug_nic_with(&nic, BTreeMap::new()).await.unwrap_err();
    assert!(matches!(absent, OperationError::Config(_)), "{absent:?}");
    guest.quit().await;
}

#[tokio::test]
async fn a_network_card_on_taps_that_are_handed_over_reaches_the_host() {
    let test = "a_network_card_on_taps_that_are_handed_over_reaches_the_host";
    if missing(test, true) {
        return;
    }
    let number = std::process::id();
    let name = format!("hvo{number}");
    let taps = match sys::tap(&name, 2).and_then(|first| Ok([first, sys::tap(&name, 2)?])) {
        Ok(taps) => taps,
        Err(error) => return println!("not run: {test}: a tap interface (CAP_NET_ADMIN): {error}"),
    };
    // Of those for documentation; it goes with the tap.
    let network = format!("198.51.100.{}", number % 60 * 4);
    let (host, inside) =
        (format!("198.51.100.{}", number % 60 * 4 + 1), format!("198.51.100.{}", number % 60 * 4 + 2));
    for args in [vec!["addr", "add", &format!("{host}/30"), "dev", &name], vec!["link", "set", &name, "up"]] {
        let done = Command::new("ip").args(&args).status();
        if !done.is_ok_and(|status| status.success()) {
            return println!("not run: {test}: `ip {}` (package iproute2)", args.join(" "));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut guest = Guest::linux(directory.path(), config()).await;
    let backend = NicBackend::TapDescriptors { taps: vec!["a".into(), "b".into()], vhosts: Vec::new() };
    let nic = Nic { queues: 2, ..Nic::new("extra", MAC, backend) };
    let [a, b] = taps;
    guest.vm.plug_nic_with(&nic, BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)])).await.unwrap();
    guest.run_until("[ -d /sys/class/net/eth0 ]").await;
    guest.run(&format!("ip addr add {inside}/30 dev eth0 && ip link set eth0 up")).await;
    guest.run_until(&format!("ping -c 1 -W 1 {host} >/dev/null")).await;
    guest.vm.unplug_nic("extra", LONG).await.unwrap();
    guest.run_until("[ ! -e /sys/class/net/eth0 ]").await;
    assert!(!Path::new("/sys/class/net").join(&name).exists(), "{network}: nobody holds the tap any more");
    guest.quit().await;
}

fn shared() -> Config {
    let mut config = config();
    config.memory.sharing = Sharing::Shared;
    config.memory.hotplug = Some(MemoryHotplug { slots: 1, max_mib: 512 });
    config
}

#[tokio::test]
async fn a_network_card_on_a_switch_that_maps_the_memory_comes_and_goes() {
    let test = "a_network_card_on_a_switch_that_maps_the_memory_comes_and_goes";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("switch.sock");
    let asked = vhost_user::serve(&socket).unwrap();
    let mut machine = Guest::with_linux(shared());
    // Translated, Debian 12's QEMU 7.2.22 ends by SIGSEGV when a guest starts such a card with MSI-X, plugged or not.
    machine.boot.kernel.as_mut().unwrap().cmdline.push_str(" pci=nomsi");
    let mut guest = Guest::linux_of(directory.path(), machine).await;
    let connect = Stream::Connect { to: Address::Unix(socket), again_s: 1 };
    let nic = Nic::new("extra", MAC, NicBackend::VhostUser(connect));
    for _ in 0..2 {
        guest.vm.plug_nic(&nic).await.unwrap();
        guest.run_until("[ -d /sys/class/net/eth0 ]").await;
        assert_eq!(guest.run("cat /sys/class/net/eth0/address").await, "52:54:00:09:08:07");
        guest.run("ip link set eth0 up").await;
        let requests: Vec<u32> = asked.try_iter().collect();
        // The guest's driver runs with the switch, not with QEMU in its place.
        for request in [SET_MEM_TABLE, SET_VRING_KICK] {
            assert!(requests.contains(&request), "{requests:?}");
        }
        guest.vm.unplug_nic("extra", LONG).await.unwrap();
        guest.run_until("[ ! -e /sys/class/net/eth0 ]").await;
    }
    // Memory that is added is of the same kind, so that the switch reaches all of it.
    guest.vm.plug_memory("dimm-1", 128).await.unwrap();
    guest.vm.plug_nic(&nic).await.unwrap();
    guest.quit().await;
    // Nobody can map the memory of this one.
    let private = tempfile::tempdir().unwrap();
    let guest = Guest::paused(private.path(), config()).await;
    let refused = guest.vm.plug_nic(&nic).await;
    assert!(matches!(refused, Err(OperationError::Config(_))), "{refused:?}");
    guest.quit().await;
}

/// Requests of vhost-user (docs/interop/vhost-user.rst).
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_KICK: u32 = 12;

//! Disks below filters: limits, copies of what is read, backups.

use crate::{
    backup::{convert, nbd_server},
    guest::{Guest, config, missing},
};
use qemu::{
    Config,
    config::{Address, Disk, Format, Image, Limits, Throttle},
    vm::{CopyTarget, OperationError, Overlay, Pulled, Served},
};
use qmp::commands::{JobPause, JobResume, QueryJobs};
use std::{fs, path::Path, process::Command};
use tokio::{
    io::{AsyncReadExt, copy},
    net::{UnixListener, UnixStream},
    sync::oneshot,
    task::JoinSet,
};

/// A disk of 8 MiB, with limits that nothing here reaches.
fn limited(directory: &Path) -> Disk {
    let image = directory.join("disk.raw");
    fs::write(&image, vec![b'd'; 8 << 20]).unwrap();
    let limits = Limits { requests: Some(10_000), ..Limits::default() };
    Disk { throttle: Some(Throttle::Own(limits)), ..Disk::new("root", Image::raw(image)) }
}

/// The same above an empty overlay, with a filter more.
fn limited_overlay(directory: &Path) -> Option<Disk> {
    let base = limited(directory);
    let mut made = Command::new("qemu-img");
    made.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).args(["disk.raw", "top.qcow2"]);
    let is_made = made.current_dir(directory).status().is_ok_and(|status| status.success());
    let below = base.image.clone().unwrap();
    let top = Image::qcow2(directory.join("top.qcow2")).on(below);
    is_made.then_some(Disk { image: Some(top), copy_on_read: true, ..base })
}

/// The guest's writing keeps to a limit: to be set now, of one that nothing has used up.
async fn is_limited(guest: &mut Guest) {
    let limits = Limits { write_bytes: Some(1 << 20), ..Limits::default() };
    guest.vm.set_limits("root", &limits).await.unwrap();
    let write = "dd if=/dev/zero of=/dev/vda bs=256k count=12 oflag=direct 2>/dev/null";
    let uptimes = guest.run(&format!("cat /proc/uptime; {write}; cat /proc/uptime")).await;
    let seconds = |line: &str| line.split(' ').next().unwrap().parse::<f64>().unwrap();
    let uptimes: Vec<f64> = uptimes.lines().map(seconds).collect();
    assert!(uptimes[1] - uptimes[0] > 2.0, "{uptimes:?} for three seconds' worth");
}

#[tokio::test]
async fn a_disk_with_limits_moves_to_its_mirror_and_keeps_them() {
    let test = "a_disk_with_limits_moves_to_its_mirror_and_keeps_them";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut guest = Guest::linux(directory.path(), config().disk(limited(directory.path()))).await;
    let before = guest.node_names().await;
    let target = |name: &str| CopyTarget::file(at(name), Format::Raw);
    // Given up, and parted: each leaves the disk where it was.
    guest.vm.mirror_disk("root", &target("given-up.raw")).await.unwrap().abandon().await.unwrap();
    assert_eq!(guest.node_names().await, before);
    guest.vm.mirror_disk("root", &target("parted.raw")).await.unwrap().part().await.unwrap();
    assert_eq!(guest.node_names().await, before);
    assert!(fs::read(at("parted.raw")).unwrap() == fs::read(at("disk.raw")).unwrap());

    let mut mirror = guest.vm.mirror_disk("root", &target("moved.raw")).await.unwrap();
    mirror.ready().await.unwrap();
    // Two at once would replace the same image.
    let second = guest.vm.mirror_disk("root", &target("second.raw")).await.unwrap_err();
    assert!(matches!(second, OperationError::InUse { by: "a job", .. }), "{second:?}");
    assert!(!at("second.raw").exists());
    // QEMU takes these, as they begin below the limits, and 7.2 ends with the mirror then.
    let backup = guest.vm.push_backup("root", &target("backup.raw"), None).await.unwrap_err();
    let overlay = guest.vm.snapshot_disks(&[Overlay::new("root", at("overlay"))]).await.unwrap_err();
    let stream = guest.vm.stream_disk("root").await.unwrap_err();
    for refused in [backup, overlay, stream] {
        assert!(matches!(refused, OperationError::InUse { by: "a job", .. }), "{refused:?}");
    }
    assert!(!at("backup.raw").exists() && !at("overlay").exists());
    guest.run("printf written >/dev/vda; sync").await;
    mirror.complete().await.unwrap();
    guest.run("printf AFTER.. >/dev/vda; sync").await;
    assert!(fs::read(at("disk.raw")).unwrap().starts_with(b"written"), "both until the end");
    assert!(fs::read(at("moved.raw")).unwrap().starts_with(b"AFTER.."), "the mirror from then on");
    let copy = mirror.target().to_owned();
    assert_eq!(guest.vm.active_node("root").await.unwrap(), copy);
    assert_eq!(guest.node_names().await, [copy.clone(), format!("{copy}-file"), "root-throttle".into()]);
    is_limited(&mut guest).await;
    guest.quit().await;
}

#[tokio::test]
async fn a_disk_with_limits_and_copies_of_what_is_read_is_committed() {
    let test = "a_disk_with_limits_and_copies_of_what_is_read_is_committed";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = limited_overlay(directory.path()) else {
        return println!("not run: {test}: qemu-img (Debian package qemu-utils)");
    };
    let mut guest = Guest::linux(directory.path(), config().disk(disk)).await;
    guest.run("printf one >/dev/vda; sync").await;
    let target = CopyTarget::file(directory.path().join("parted.raw"), Format::Raw);
    guest.vm.mirror_disk("root", &target).await.unwrap().part().await.unwrap();
    assert!(fs::read(directory.path().join("parted.raw")).unwrap().starts_with(b"oned"));
    let mut job = guest.vm.commit_disk("root").await.unwrap();
    job.ready().await.unwrap();
    guest.run("printf two >/dev/vda; sync").await;
    job.complete().await.unwrap();
    assert_eq!(guest.vm.active_node("root").await.unwrap(), "root-b1");
    guest.vm.forget_node("root").await.unwrap();
    assert_eq!(guest.node_names().await, ["root-b1", "root-b1-file", "root-cor", "root-throttle"]);
    assert!(fs::read(directory.path().join("disk.raw")).unwrap().starts_with(b"twod"));
    is_limited(&mut guest).await;
    guest.quit().await;
}

/// Whoever stands between a device and its image has to see all that is written: one of them at a time.
async fn one_at_a_time(directory: &Path, machine: Config) {
    let at = |name: &str| directory.join(name);
    let guest = Guest::paused(directory, machine).await;
    guest.vm.snapshot_disks(&[Overlay::new("root", at("overlay.qcow2"))]).await.unwrap();
    let before = guest.node_names().await;
    let target = |name: &str| CopyTarget::file(at(name), Format::Raw);
    let served = |name: &str| Served::new("root", at(name), Address::Unix(at("pull.sock")), "x");
    let is_in_use = |refused: OperationError, by_whom: &str| {
        assert!(matches!(&refused, OperationError::InUse { by, .. } if *by == by_whom), "{refused:?}");
    };
    let pull = guest.vm.pull_backup(&served("scratch-1")).await.unwrap();
    is_in_use(guest.vm.mirror_disk("root", &target("copy")).await.unwrap_err(), "a pulled backup");
    is_in_use(guest.vm.commit_disk("root").await.unwrap_err(), "a pulled backup");
    is_in_use(guest.vm.pull_backup(&served("scratch-2")).await.unwrap_err(), "a pulled backup");
    pull.finish(Pulled::Whole).await.unwrap();
    assert_eq!(guest.node_names().await, before);

    let mut mirror = guest.vm.mirror_disk("root", &target("copy")).await.unwrap();
    is_in_use(guest.vm.pull_backup(&served("scratch-2")).await.unwrap_err(), "a job");
    mirror.ready().await.unwrap();
    is_in_use(guest.vm.pull_backup(&served("scratch-2")).await.unwrap_err(), "a job");
    is_in_use(guest.vm.commit_disk("root").await.unwrap_err(), "a job");
    mirror.abandon().await.unwrap();
    assert!(!at("scratch-2").exists());
    assert_eq!(guest.node_names().await, before);
    guest.vm.pull_backup(&served("scratch-2")).await.unwrap().finish(Pulled::Whole).await.unwrap();
    guest.vm.commit_disk("root").await.unwrap().complete().await.unwrap();
    guest.quit().await;
}

#[tokio::test]
async fn a_disk_is_not_served_while_it_is_copied_nor_copied_while_it_is_served() {
    let test = "a_disk_is_not_served_while_it_is_copied_nor_copied_while_it_is_served";
    if missing(test, false) {
        return;
    }
    for is_limited in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let disk = limited(directory.path());
        let disk = if is_limited { disk } else { Disk { throttle: None, ..disk } };
        one_at_a_time(directory.path(), config().disk(disk)).await;
    }
}

/// Joins a client to a server, which gets no more than some of the disk before the gate is opened.
async fn gate(gate: UnixListener, server: &Path, opened: oneshot::Receiver<()>) {
    let (client, _) = gate.accept().await.unwrap();
    let server = UnixStream::connect(server).await.unwrap();
    let ((mut asks, mut hears), (mut answers, mut told)) = (client.into_split(), server.into_split());
    let asking = async {
        copy(&mut (&mut asks).take(4 << 20), &mut told).await.unwrap();
        opened.await.unwrap();
        copy(&mut asks, &mut told).await.unwrap();
    };
    tokio::join!(asking, copy(&mut answers, &mut hears)).1.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_backed_up_gets_another_image() {
    let test = "a_disk_that_is_backed_up_gets_another_image";
    if missing(test, true) {
        return;
    }
    for is_limited in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let disk = limited(directory.path());
        let disk = if is_limited { disk } else { Disk { throttle: None, ..disk } };
        // More than QEMU copies at once (64 requests of 1 MiB).
        let size = 96 << 20;
        fs::write(at("disk.raw"), vec![b'd'; size]).unwrap();
        let mut guest = Guest::linux(directory.path(), config().disk(disk)).await;
        let vm = guest.vm.clone();
        fs::write(at("first"), vec![0; size]).unwrap();
        let _server = nbd_server(&at("first"), &at("nbd.sock"));
        let (open, opened) = oneshot::channel();
        let (listening, server) = (UnixListener::bind(at("gate.sock")).unwrap(), at("nbd.sock"));
        let mut joined = JoinSet::new();
        joined.spawn(async move { gate(listening, &server, opened).await });
        let server = Address::Unix(at("gate.sock"));
        let held = CopyTarget::Nbd { server, export: "copy".into(), tls: None };
        let mut first = vm.push_backup("root", &held, None).await.unwrap();
        // QEMU lets everything wait for a request that is begun: it is paused before all are.
        let id = vm.qmp().call(&QueryJobs {}).await.unwrap().remove(0).id;
        vm.qmp().call(&JobPause { id: id.clone() }).await.unwrap();
        open.send(()).unwrap();

        guest.run("printf one >/dev/vda; sync").await;
        // QEMU takes this, and 7.2 ends where both are over at once.
        let second = CopyTarget::file(at("second"), Format::Raw);
        let refused = vm.push_backup("root", &second, None).await.unwrap_err();
        assert!(matches!(refused, OperationError::InUse { by: "a job", .. }) && !at("second").exists());
        vm.snapshot_disks(&[Overlay::new("root", at("overlay"))]).await.unwrap();
        guest.run("printf two >/dev/vda; sync").await;
        // Whoever closed the image below then would end QEMU.
        let refused = vm.stream_disk("root").await.unwrap_err();
        assert!(matches!(refused, OperationError::InUse { by: "a job", .. }), "{refused:?}");
        vm.forget_node("root").await.unwrap_err();
        let (done, of) = first.progress().await.unwrap().unwrap();
        assert!(done < of, "the first is not over");
        vm.qmp().call(&JobResume { id }).await.unwrap();
        first.done().await.unwrap();
        joined.join_next().await.unwrap().unwrap();
        vm.stream_disk("root").await.unwrap().done().await.unwrap();
        vm.forget_node("root").await.unwrap();
        guest.quit().await;
        assert!(convert(at("overlay").to_str().unwrap(), "qcow2", &at("flat")));
        for (file, beginning) in [("first", b"dddd"), ("disk.raw", b"oned"), ("flat", b"twod")] {
            let content = fs::read(at(file)).unwrap();
            let (begins, rest) = content.split_at(4);
            assert!(begins == beginning && rest.iter().all(|byte| *byte == b'd'), "{file}");
            assert_eq!(content.len(), size, "{file}");
        }
    }
}

//! Snapshots inside images and as overlays.

use crate::guest::{Guest, config, missing};
use qemu::{
    config::{Disk, Image},
    vm::{OperationError, Overlay},
};
use std::{fs, path::Path, process::Command};

fn qcow2(path: &Path, size: &str) -> bool {
    Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(path)
        .arg(size)
        .status()
        .is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_machine_goes_back_to_what_it_was_when_it_was_saved() {
    let test = "a_machine_goes_back_to_what_it_was_when_it_was_saved";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("root.qcow2");
    if !qcow2(&image, "16M") {
        println!("not run: {test}: qemu-img (Debian package qemu-utils)");
        return;
    }
    let mut guest =
        Guest::linux(directory.path(), config().disk(Disk::new("root", Image::qcow2(&image)))).await;
    let sync = "sync; echo 3 >/proc/sys/vm/drop_caches";
    guest.run(&format!("printf before >/run/word; printf BEFORE >/dev/vda; {sync}")).await;
    guest.vm.save_snapshot("first", "root", &["root"]).await.unwrap();
    guest.run(&format!("printf after. >/run/word; printf AFTER. >/dev/vda; {sync}")).await;
    assert_eq!(guest.run("cat /run/word; head -c 6 /dev/vda").await, "after.AFTER.");
    guest.vm.load_snapshot("first", "root", &["root"]).await.unwrap();
    assert_eq!(guest.run("cat /run/word; head -c 6 /dev/vda").await, "beforeBEFORE");
    guest.vm.delete_snapshot("first", &["root"]).await.unwrap();
    let gone = guest.vm.load_snapshot("first", "root", &["root"]).await.unwrap_err();
    assert!(matches!(&gone, OperationError::Job { message, .. } if message.contains("first")), "{gone:?}");
    guest.quit().await;
}

#[tokio::test]
async fn overlays_are_taken_together_and_merged_both_ways() {
    let test = "overlays_are_taken_together_and_merged_both_ways";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["a.raw", "b.raw"] {
        fs::write(path(name), vec![0; 1 << 20]).unwrap();
    }
    let disk = |id: &str| Disk::new(id, Image::raw(path(&format!("{id}.raw"))));
    let mut guest = Guest::linux(directory.path(), config().disk(disk("a")).disk(disk("b"))).await;
    let write = |word: &str| format!("printf {word} >/dev/vda; printf {word} >/dev/vdb; sync");
    guest.run(&write("one")).await;
    let overlay = |id: &str, file: &str| Overlay::new(id, path(file));
    let nodes =
        guest.vm.snapshot_disks(&[overlay("a", "a, 1.qcow2"), overlay("b", "b1.qcow2")]).await.unwrap();
    assert_eq!(nodes, ["a-s1", "b-s1"]);
    guest.run(&write("two")).await;
    for name in ["a.raw", "b.raw"] {
        assert!(fs::read(path(name)).unwrap().starts_with(b"one"), "what lies below is as it was");
    }
    // A snapshot that cannot be taken of one disk is taken of none.
    let refused = guest
        .vm
        .snapshot_disks(&[overlay("a", "a2.qcow2"), overlay("b", "no/such/place")])
        .await
        .unwrap_err();
    assert!(matches!(refused, OperationError::Host { .. }), "{refused:?}");
    assert!(!path("a2.qcow2").exists(), "nothing is left of the other's");
    assert_eq!(guest.vm.active_node("a").await.unwrap(), "a-s1");
    // Down.
    guest.vm.commit_disk("a").await.unwrap().complete().await.unwrap();
    assert_eq!(guest.vm.active_node("a").await.unwrap(), "a");
    assert!(fs::read(path("a.raw")).unwrap().starts_with(b"two"), "what was above is below");
    guest.vm.forget_node("a-s1").await.unwrap();
    // Up: the overlay needs nothing below any more.
    guest.vm.stream_disk("b").await.unwrap().done().await.unwrap();
    guest.vm.forget_node("b").await.unwrap();
    guest.run("echo 3 >/proc/sys/vm/drop_caches").await;
    assert_eq!(guest.run("head -c 3 /dev/vda; head -c 3 /dev/vdb").await, "twotwo");
    assert!(fs::read(path("b.raw")).unwrap().starts_with(b"one"));
    // Given up: the overlay stays.
    guest.vm.snapshot_disks(&[overlay("a", "a3.qcow2")]).await.unwrap();
    let mut job = guest.vm.commit_disk("a").await.unwrap();
    job.ready().await.unwrap();
    assert!(job.progress().await.unwrap().is_some());
    job.abandon().await.unwrap();
    assert!(guest.vm.active_node("a").await.unwrap().starts_with("a-s"));
    guest.quit().await;
}

/// As after a restart, or at the destination of a migration: what lies below was opened to be read.
#[tokio::test]
async fn an_overlay_that_was_there_at_the_start_is_committed() {
    let test = "an_overlay_that_was_there_at_the_start_is_committed";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, below) in [("base", None), ("middle", Some("base")), ("top", Some("middle"))] {
        let mut made = Command::new("qemu-img");
        made.args(["create", "-q", "-f", "qcow2"]);
        if let Some(below) = below {
            made.args(["-F", "qcow2", "-b"]).arg(path(below));
        }
        if !made.arg(path(name)).arg("1M").status().is_ok_and(|status| status.success()) {
            return println!("not run: {test}: qemu-img (Debian package qemu-utils)");
        }
    }
    let chain = Image::qcow2(path("top")).on(Image::qcow2(path("middle")).on(Image::qcow2(path("base"))));
    let mut guest = Guest::linux(directory.path(), config().disk(Disk::new("root", chain))).await;
    guest.run("printf one >/dev/vda; sync").await;
    for (above, below) in [("root", "root-b1"), ("root-b1", "root-b2")] {
        guest.vm.commit_disk("root").await.unwrap().complete().await.unwrap();
        assert_eq!(guest.vm.active_node("root").await.unwrap(), below);
        guest.vm.forget_node(above).await.unwrap();
    }
    guest.run("echo 3 >/proc/sys/vm/drop_caches").await;
    assert_eq!(guest.run("head -c 3 /dev/vda").await, "one");
    guest.run("printf two >/dev/vda; sync").await;
    guest.quit().await;
    let read = Command::new("qemu-io").args(["-r", "-c", "read -v 0 16"]).arg(path("base")).output().unwrap();
    assert!(String::from_utf8_lossy(&read.stdout).contains("two"), "{read:?}");
}

//! Images, overlays and disks against the real qemu-img.

#![cfg(test)]

mod common;

use common::{TinyFs, have, run};
use hv_storage::{
    DiskPath, Format, Image, Policy, StorageError, create_disk, create_overlay, delete, grow, inspect,
};
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn at(directory: &Path, name: &str) -> DiskPath {
    DiskPath::new(directory.canonicalize().unwrap().join(name)).unwrap()
}

fn look(directory: &Path, name: &str) -> Image {
    inspect(at(directory, name)).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_header_reader_agrees_with_qemu_img() {
    if !have("the_header_reader_agrees_with_qemu_img", "qemu-img") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run("qemu-img", &["create", "-q", "-f", "raw", "base.raw", "3M"], d);
    for (name, options) in [
        ("v2.qcow2", "compat=0.10"),
        ("v3.qcow2", "compat=1.1,cluster_size=4k"),
        ("ext.qcow2", "extended_l2=on,cluster_size=128k"),
    ] {
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", options, "-b", "base.raw", "-F", "raw", name, "5M"],
            d,
        );
        let info: serde_json::Value =
            serde_json::from_str(&run("qemu-img", &["info", "--output=json", name], d)).unwrap();
        let image = look(d, name);
        let header = image.header.unwrap();
        assert_eq!(Some(image.virtual_size), info["virtual-size"].as_u64(), "{name}");
        assert_eq!(Some(header.cluster_bytes), info["cluster-size"].as_u64(), "{name}");
        assert_eq!(header.backing_file.as_deref(), info["backing-filename"].as_str(), "{name}");
        assert_eq!(header.backing_format.as_deref(), info["backing-filename-format"].as_str(), "{name}");
        assert_eq!(header.version, if name.starts_with("v2") { 2 } else { 3 });
        assert_eq!(header.unknown_incompatible, 0);
    }
    let raw = look(d, "base.raw");
    assert_eq!((raw.format, raw.virtual_size), (Format::Raw, 3 << 20));
}

#[test]
fn images_that_read_elsewhere_or_are_no_disks_are_refused() {
    if !have("images_that_read_elsewhere_or_are_no_disks_are_refused", "qemu-img") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let create =
        |arguments: &[&str]| run("qemu-img", &[&["create", "-q", "-f", "qcow2"], arguments].concat(), d);
    create(&["base.qcow2", "1M"]);
    create(&["-b", "base.qcow2", "-F", "qcow2", "child.qcow2"]);
    create(&["-u", "-b", "/etc/passwd", "-F", "raw", "steal.qcow2", "1M"]);
    create(&["-u", "-b", "nbd://127.0.0.1:1/x", "-F", "raw", "nbd.qcow2", "1M"]);
    create(&["-o", "data_file=data.raw", "external.qcow2", "1M"]);
    create(&[
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s",
        "luks.qcow2",
        "1M",
    ]);
    run("qemu-img", &["create", "-q", "-f", "vmdk", "x.vmdk", "1M"], d);
    run("qemu-img", &["create", "-q", "-f", "vdi", "x.vdi", "1M"], d);
    std::fs::write(d.join("odd"), b"seven b").unwrap();

    let strict = Policy::default();
    let inside = Policy { backing_directories: vec![d.to_owned()] };
    strict.check(&look(d, "base.qcow2")).unwrap();
    inside.check(&look(d, "child.qcow2")).unwrap();
    for (policy, name, expected) in [
        (&strict, "child.qcow2", "not accepted here"),
        (&inside, "steal.qcow2", "/etc/passwd"),
        (&inside, "nbd.qcow2", "not a plain file name"),
        (&inside, "external.qcow2", "lies in another file"),
        (&inside, "luks.qcow2", "encrypted"),
    ] {
        let error = policy.check(&look(d, name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    for (name, expected) in [
        ("x.vmdk", "VMDK"),
        ("x.vdi", "VDI"),
        ("odd", "neither qcow2 nor a raw disk"),
        (".", "not a regular file"),
        ("absent.qcow2", "no image"),
    ] {
        let error = inspect(at(d, "").as_path().join(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    // A link out of the allowed directory is seen through.
    let other = tempfile::tempdir().unwrap();
    run("qemu-img", &["create", "-q", "-f", "raw", "out.raw", "1M"], other.path());
    std::os::unix::fs::symlink(other.path().join("out.raw"), d.join("link.raw")).unwrap();
    create(&["-b", "link.raw", "-F", "raw", "through.qcow2"]);
    let error = inside.check(&look(d, "through.qcow2")).unwrap_err().to_string();
    assert!(error.contains("outside the allowed directories"), "{error}");
}

#[test]
fn writing_to_an_overlay_leaves_a_read_only_image_as_it_was() {
    let test = "writing_to_an_overlay_leaves_a_read_only_image_as_it_was";
    if !have(test, "qemu-img") || !have(test, "qemu-io") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (image, format) in [("image.qcow2", "qcow2"), ("image.raw", "raw")] {
        run("qemu-img", &["create", "-q", "-f", format, image, "4M"], d);
        run("qemu-io", &["-f", format, "-c", "write -q -P 0x11 0 64k", image], d);
        std::fs::set_permissions(d.join(image), std::fs::Permissions::from_mode(0o444)).unwrap();
        let before = Sha256::digest(std::fs::read(d.join(image)).unwrap());

        let overlay = at(d, &format!("{image}.overlay"));
        create_overlay(&look(d, image), &overlay, Some(8 << 20)).unwrap();
        let name = overlay.as_path().to_str().unwrap();
        run("qemu-io", &["-f", "qcow2", "-c", "read -q -P 0x11 0 64k", name], d);
        run(
            "qemu-io",
            &["-f", "qcow2", "-c", "write -q -P 0x22 0 64k", "-c", "write -q -P 3 7M 1k", name],
            d,
        );
        run("qemu-io", &["-f", "qcow2", "-c", "read -q -P 0x22 0 64k", name], d);

        assert_eq!(before, Sha256::digest(std::fs::read(d.join(image)).unwrap()));
        let header = inspect(&overlay).unwrap().header.unwrap();
        assert_eq!(header.virtual_size, 8 << 20);
        assert_eq!(header.backing_format.as_deref(), Some(format));
    }
}

#[test]
fn qemu_img_finds_no_fault_in_disks_of_any_size() {
    if !have("qemu_img_finds_no_fault_in_disks_of_any_size", "qemu-img") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // One L1 entry, exactly full, one more than full, an L1 table of several clusters, the largest.
    for size in [512, 512 << 20, (512 << 20) + 512, 5 << 40, 2 << 50] {
        let disk = at(d, "data.qcow2");
        create_disk(&disk, size).unwrap();
        run("qemu-img", &["check", "-q", "-f", "qcow2", "data.qcow2"], d);
        let info = run("qemu-img", &["info", "--output=json", "data.qcow2"], d);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"].as_u64(), Some(size));
        assert_eq!(inspect(&disk).unwrap().virtual_size, size);
        delete(&disk).unwrap();
    }
    let largest = create_disk(&at(d, "data.qcow2"), (2 << 50) + 512);
    assert!(matches!(largest, Err(StorageError::BadSize { max: 0x8_0000_0000_0000, .. })), "{largest:?}");

    // Written to the end and over the first refcount block's reach of one L2 table.
    let disk = at(d, "data.qcow2");
    create_disk(&disk, 1 << 30).unwrap();
    run("qemu-io", &["-f", "qcow2", "-c", "write -q -P 5 1023M 1M", "-c", "write -q 0 64M", "data.qcow2"], d);
    run("qemu-io", &["-f", "qcow2", "-c", "read -q -P 5 1023M 1M", "data.qcow2"], d);
    run("qemu-img", &["check", "-q", "-f", "qcow2", "data.qcow2"], d);

    // The longest name that fits, and one that does not.
    let room = d.canonicalize().unwrap().as_os_str().len();
    for (length, fits) in [(1023, true), (1024, false)] {
        let mut path = d.canonicalize().unwrap();
        let mut rest = length - room;
        while rest > 201 {
            path.push("d".repeat(99));
            rest -= 100;
        }
        std::fs::create_dir_all(&path).unwrap();
        path.push("i".repeat(rest - 1));
        std::fs::write(&path, [0; 512]).unwrap();
        let overlay = at(d, "overlay.qcow2");
        let made =
            DiskPath::new(&path).and_then(inspect).and_then(|image| create_overlay(&image, &overlay, None));
        assert_eq!(made.is_ok(), fits, "{made:?}");
        if fits {
            let header = inspect(&overlay).unwrap().header.unwrap();
            assert_eq!(header.backing_file.as_deref(), path.to_str());
            run("qemu-img", &["check", "-q", "-f", "qcow2", "overlay.qcow2"], d);
            delete(&overlay).unwrap();
        }
    }
    assert!(!names(d).iter().any(|name| name.starts_with(".new") || name.starts_with("overlay")));
}

#[test]
fn disks_grow_and_never_shrink() {
    if !have("disks_grow_and_never_shrink", "qemu-img") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = at(dir.path(), "data.qcow2");
    create_disk(&disk, 4 << 20).unwrap();
    grow(&disk, 6 << 20).unwrap();
    grow(&disk, 6 << 20).unwrap();
    assert_eq!(inspect(&disk).unwrap().virtual_size, 6 << 20);
    assert!(matches!(grow(&disk, 5 << 20), Err(StorageError::WouldShrink { current: 6_291_456, .. })));
    let overlay = at(dir.path(), "small.qcow2");
    let result = create_overlay(&inspect(&disk).unwrap(), &overlay, Some(1 << 20));
    assert!(matches!(result, Err(StorageError::WouldShrink { .. })));
    assert!(matches!(create_disk(&disk, 1 << 20), Err(StorageError::Exists { .. })));
    assert!(matches!(create_disk(&overlay, 0), Err(StorageError::BadSize { .. })));
    assert!(matches!(create_disk(&overlay, 1000), Err(StorageError::BadSize { .. })));
    assert_eq!(names(dir.path()), ["data.qcow2"]);
    delete(&disk).unwrap();
    delete(&disk).unwrap();
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_full_disk_is_named_and_nothing_stays() {
    let test = "a_full_disk_is_named_and_nothing_stays";
    if !have(test, "qemu-img") {
        return;
    }
    let Some(tiny) = TinyFs::mount(test, "128k") else { return };
    let d = tiny.path();
    std::fs::write(d.join("filler"), vec![1; 120 << 10]).unwrap();
    let result = create_disk(&at(&d, "data.qcow2"), 1 << 30);
    assert!(matches!(result, Err(StorageError::NoSpace { .. })), "{result:?}");
    let seed = hv_storage::Seed {
        instance_id: "i".to_owned(),
        hostname: "h".to_owned(),
        meta_data: None,
        user_data: None,
        network_config: None,
    };
    let result = seed.write(&at(&d, "seed.iso"));
    assert!(matches!(result, Err(StorageError::NoSpace { .. })), "{result:?}");
    assert_eq!(names(&d), ["filler"]);
}

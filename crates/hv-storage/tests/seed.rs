//! Seeds as other programs read them.

#![cfg(test)]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use common::{have, run};
use hv_storage::{DiskPath, Seed, StorageError, UserData};
use std::path::Path;
use std::process::Command;

const USER_DATA: &str = "#cloud-config\nusers:\n  - name: ünï\n    lock_passwd: true\n";

fn seed() -> Seed {
    Seed {
        instance_id: "01932c07-0000-7000-8000-000000000001".to_owned(),
        hostname: "web-1".to_owned(),
        meta_data: None,
        user_data: Some(UserData::parse(USER_DATA).unwrap()),
        network_config: Some("version: 2\nethernets: {}\n".to_owned()),
    }
}

fn written(directory: &Path) -> DiskPath {
    let target = DiskPath::new(directory.canonicalize().unwrap().join("seed.iso")).unwrap();
    seed().write(&target).unwrap();
    target
}

#[test]
fn equal_seeds_have_equal_bytes_and_whole_sectors() {
    let (a, b) = (seed().to_iso().unwrap(), seed().to_iso().unwrap());
    assert_eq!(a, b);
    assert_eq!(a.len() % 2048, 0);
    assert_eq!(&a[16 * 2048 + 40..16 * 2048 + 46], b"CIDATA");
}

#[test]
fn xorriso_lists_the_files_and_reads_them_back() {
    if !have("xorriso_lists_the_files_and_reads_them_back", "xorriso") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let iso = written(dir.path());
    let path = iso.as_path().to_str().unwrap();
    // Joliet is what cloud-init's guests see; xorriso prefers it over the short names.
    let list = run("xorriso", &["-indev", path, "-find", "/", "-type", "f"], dir.path());
    for name in ["'/meta-data'", "'/network-config'", "'/user-data'"] {
        assert!(list.contains(name), "{list}");
    }
    run("xorriso", &["-osirrox", "on", "-indev", path, "-extract", "/user-data", "out"], dir.path());
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), USER_DATA);
    let volume = Command::new("xorriso").args(["-indev", path, "-pvd_info"]).output().unwrap();
    let text = String::from_utf8_lossy(&volume.stdout);
    assert!(text.contains("CIDATA"), "{text}");
    assert!(!String::from_utf8_lossy(&volume.stderr).contains("WARNING"), "{volume:?}");
}

#[test]
fn the_kernel_mounts_it_and_blkid_knows_the_label() {
    let test = "the_kernel_mounts_it_and_blkid_knows_the_label";
    let dir = tempfile::tempdir().unwrap();
    let iso = written(dir.path());
    let path = iso.as_path().to_str().unwrap();
    let label = run("/sbin/blkid", &["-p", "-o", "value", "-s", "LABEL", path], dir.path());
    assert_eq!(label.trim(), "CIDATA");
    let point = dir.path().join("mnt");
    std::fs::create_dir(&point).unwrap();
    let mounted = Command::new("mount").args(["-o", "loop,ro", "-t", "iso9660", path]).arg(&point).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("not run: {test}: mounting ISO 9660 through a loop device is not possible here");
        return;
    }
    let content = std::fs::read_to_string(point.join("user-data"));
    let mut names: Vec<_> =
        std::fs::read_dir(&point).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    Command::new("umount").arg(&point).status().unwrap();
    assert_eq!(content.unwrap(), USER_DATA);
    assert_eq!(names, ["meta-data", "network-config", "user-data"]);
}

#[test]
fn user_data_of_each_kind_is_accepted() {
    for text in [
        "#cloud-config\n",
        USER_DATA,
        "#!/bin/sh\necho hi\n",
        "Content-Type: multipart/mixed; boundary=\"x\"\nMIME-Version: 1.0\n\n--x--\n",
    ] {
        assert!(UserData::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn broken_user_data_names_line_and_column() {
    let error = UserData::parse("#cloud-config\nusers:\n  - name: [a\npackages: x\n").unwrap_err();
    let StorageError::UserDataSyntax { line, column, .. } = &error else { panic!("{error}") };
    assert!(*line >= 3 && *column >= 1, "{error}");
    assert!(UserData::parse("#cloud-config\n- a\n").unwrap_err().to_string().contains("mapping"));
    for text in ["", "users: []\n", "cloud-config\n", "Hello: world\n\nx"] {
        let error = UserData::parse(text).unwrap_err().to_string();
        assert!(error.contains("#cloud-config"), "{error}");
    }
}

#[test]
fn names_cannot_smuggle_yaml() {
    let seed = Seed { hostname: "x\nusers: []".to_owned(), ..seed() };
    assert!(matches!(seed.to_iso(), Err(StorageError::UserData(_))));
}

//! Pools on file systems that root's daemon makes and mounts, in name spaces of its own.

use crate::root::Root;
use crate::support::present;
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::flags::{StoragePoolBuildFlags as Build, StoragePoolCreateFlags as Create};
use std::path::PathBuf;

/// A pool in a file that is there in place of a disk.
struct Place {
    disk: PathBuf,
    xml: String,
}

impl Place {
    fn new(root: &Root, name: &str) -> Self {
        let disk = root.daemon.path(&format!("{name}.disk"));
        std::fs::write(&disk, vec![0; 16 << 20]).unwrap();
        let xml = format!(
            "<pool type='fs'><name>{name}</name><source><device path='{}'/><format type='ext4'/></source>\
             <target><path>{}</path></target></pool>",
            disk.display(),
            root.daemon.path(name).display()
        );
        Self { disk, xml }
    }

    /// The number that each file system of this kind has from when it was made, at 0x468 of it.
    fn number(&self) -> Vec<u8> {
        std::fs::read(&self.disk).unwrap()[0x468..0x478].to_vec()
    }
}

#[tokio::test]
async fn a_file_system_is_made_unless_there_is_one() {
    let test = "a_file_system_is_made_unless_there_is_one";
    if !present(test, &[("/usr/sbin/mkfs.ext4", "e2fsprogs")]) {
        return;
    }
    let Some(root) = Root::start(test, &["storage", "secret", "qemu"], crate::networks::QEMU) else { return };
    let connect = root.open("qemu").await;
    let there_is_one = |error: libvirt_client::Error| {
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::StoragePoolBuilt, "{error}");
    };
    let place = Place::new(&root, "kept");
    let kept = connect.define_storage_pool(&place.xml, Default::default()).await.unwrap();
    kept.build(Build::NO_OVERWRITE).await.unwrap();
    let first = place.number();
    assert_ne!(first, [0; 16]);
    there_is_one(kept.build(Build::NO_OVERWRITE).await.unwrap_err());
    there_is_one(kept.start(Create::WITH_BUILD_NO_OVERWRITE).await.unwrap_err());
    assert_eq!(place.number(), first);
    kept.build(Build::OVERWRITE).await.unwrap();
    let second = place.number();
    assert_ne!(second, first);
    kept.start(Create::WITH_BUILD_OVERWRITE).await.unwrap();
    assert_ne!(place.number(), second);
    assert!(root.inside("mount").contains("/kept type ext4"));
    let place = Place::new(&root, "fresh");
    let fresh = connect.define_storage_pool(&place.xml, Default::default()).await.unwrap();
    fresh.start(Create::WITH_BUILD_NO_OVERWRITE).await.unwrap();
    assert_ne!(place.number(), [0; 16]);
    // The same of those that are not kept.
    for (name, flags) in [("one", Create::WITH_BUILD_OVERWRITE), ("two", Create::WITH_BUILD_NO_OVERWRITE)] {
        let place = Place::new(&root, name);
        let made = connect.create_storage_pool(&place.xml, flags).await.unwrap();
        assert_ne!(place.number(), [0; 16]);
        assert!(root.inside("mount").contains(&format!("/{name} type ext4")));
        made.destroy().await.unwrap();
    }
}

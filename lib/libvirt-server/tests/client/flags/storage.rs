//! Pools and volumes.

use super::*;
use libvirt_client::protocol::flags::{
    StoragePoolBuildFlags as Build, StoragePoolCreateFlags as Create, StoragePoolDeleteFlags,
    StorageVolCreateFlags as Volume, StorageVolDeleteFlags, StorageVolInfoFlags,
    StorageVolResizeFlags as Resize, StorageXmlFlags,
};
use libvirt_client::{Piece, StoragePool};

const POOL: &str = "<pool type='dir'><name>p</name><target><path>/p</path></target></pool>";

async fn pool(connect: &Connect) -> StoragePool {
    connect.define_storage_pool(POOL, Default::default()).await.unwrap()
}

fn volume(name: &str, allocation: u64) -> String {
    format!(
        "<volume><name>{name}</name><capacity>1048576</capacity><allocation>{allocation}</allocation></volume>"
    )
}

#[tokio::test]
async fn a_pool_is_built_over_what_is_there_or_not() {
    let connect = fresh().await;
    let built = pool(&connect).await;
    built.build(Build::NO_OVERWRITE).await.unwrap();
    let there = built.build(Build::NO_OVERWRITE).await.unwrap_err();
    assert_eq!(there.refusal().unwrap().code, ErrorNumber::StoragePoolBuilt);
    built.start(Create::empty()).await.unwrap();
    built.create_volume(&volume("v", 0), Default::default()).await.unwrap();
    built.destroy().await.unwrap();
    built.build(Build::NO_OVERWRITE | Build::OVERWRITE).await.unwrap_err();
    built.build(Build::OVERWRITE).await.unwrap();
    built.start(Create::empty()).await.unwrap();
    assert!(built.volumes().await.unwrap().is_empty(), "it was made anew");
}

/// Both calls that start a pool, each with every way to build it first.
#[tokio::test]
async fn a_pool_is_started_and_built_before() {
    for flags in [Create::WITH_BUILD, Create::WITH_BUILD_OVERWRITE, Create::WITH_BUILD_NO_OVERWRITE] {
        let connect = fresh().await;
        let kept = pool(&connect).await;
        kept.start(flags).await.unwrap();
        kept.create_volume(&volume("v", 0), Default::default()).await.unwrap();
        kept.destroy().await.unwrap();
        // It is built now.
        let again = kept.start(flags).await;
        assert_eq!(again.is_err(), flags == Create::WITH_BUILD_NO_OVERWRITE, "{flags:?}");
        if again.is_ok() {
            assert_eq!(
                kept.volumes().await.unwrap().is_empty(),
                flags == Create::WITH_BUILD_OVERWRITE,
                "{flags:?}"
            );
        }
        let connect = fresh().await;
        let brief = connect.create_storage_pool(POOL, flags).await.unwrap();
        assert!(brief.is_active().await.unwrap());
        // What was made by the way is made: nobody may write over it who does not say so.
        let kept = connect.define_storage_pool(POOL, Default::default()).await.unwrap();
        kept.destroy().await.unwrap();
        kept.build(Build::NO_OVERWRITE).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_pool_is_emptied_when_it_is_deleted_and_its_next_definition_is_shown() {
    let connect = fresh().await;
    let kept = pool(&connect).await;
    kept.start(Create::empty()).await.unwrap();
    let full = kept.create_volume(&volume("v", 0), Default::default()).await.unwrap();
    let data = super::super::pattern(1024);
    let mut up = full.upload(0..1024, Default::default()).await.unwrap();
    up.send(&data).await.unwrap();
    up.finish().await.unwrap();
    kept.destroy().await.unwrap();
    kept.delete(StoragePoolDeleteFlags::ZEROED).await.unwrap();
    kept.start(Create::empty()).await.unwrap();
    let mut down = full.download(0..1024, Default::default()).await.unwrap();
    let Some(Piece::Data(first)) = down.receive().await.unwrap() else { panic!("no data") };
    assert!(first.iter().all(|byte| *byte == 0));
    connect.define_storage_pool(&POOL.replace("/p<", "/next<"), Default::default()).await.unwrap();
    let shown = async |flags| kept.xml(flags).await.unwrap().contains("<path>/next<");
    assert!(!shown(StorageXmlFlags::empty()).await && shown(StorageXmlFlags::INACTIVE).await);
    kept.destroy().await.unwrap();
    assert!(shown(StorageXmlFlags::empty()).await);
}

#[tokio::test]
async fn volumes_take_the_room_that_flags_say() {
    let connect = fresh().await;
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let plain = pool.create_volume(&volume("plain", 4096), Volume::empty()).await.unwrap();
    assert_eq!(plain.info().await.unwrap().allocation, 4096);
    let tables = 192 << 10;
    let made = pool.create_volume(&volume("made", 0), Volume::PREALLOC_METADATA).await.unwrap();
    assert_eq!(made.info().await.unwrap().allocation, tables);
    for (name, flags, allocation) in [
        ("copied", Volume::empty(), 4096),
        ("tables", Volume::PREALLOC_METADATA, tables),
        ("shared", Volume::REFLINK, 0),
    ] {
        let copy = pool.clone_volume(&volume(name, 4096), &plain, flags).await.unwrap();
        assert_eq!(copy.info().await.unwrap().allocation, allocation, "{name}");
    }
    assert_eq!(plain.info_with(StorageVolInfoFlags::GET_PHYSICAL).await.unwrap().allocation, 1 << 20);
    plain.resize(2 << 20, Resize::ALLOCATE).await.unwrap();
    assert_eq!(plain.info().await.unwrap().allocation, 2 << 20);
    plain.resize(1 << 20, Resize::DELTA).await.unwrap();
    assert_eq!(plain.info().await.unwrap().capacity, 3 << 20);
    plain.resize(1 << 20, Resize::empty()).await.unwrap_err();
    plain.resize(1 << 20, Resize::SHRINK).await.unwrap();
    assert_eq!(plain.info().await.unwrap().capacity, 1 << 20);
    plain.delete(StorageVolDeleteFlags::ZEROED).await.unwrap();
    made.delete(StorageVolDeleteFlags::WITH_SNAPSHOTS).await.unwrap();
    let left = pool.volumes().await.unwrap();
    assert!(left.iter().all(|volume| !["plain", "made"].contains(&volume.name().as_str())));
}

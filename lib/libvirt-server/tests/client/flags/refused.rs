//! Flags that the server refuses, in libvirt's words: the call is not done, and says of which bit it knows nothing.

use super::*;
use libvirt_client::protocol::flags::{
    DomainDeviceModifyFlags, DomainMemoryModFlags, DomainMigrateFlags as F, StoragePoolBuildFlags,
    StorageVolCreateFlags,
};

/// What every driver of libvirt's answers to flags that it does not know (`virCheckFlags`).
async fn unsupported<P: Procedure>(connect: &Connect, args: &P::Args<'_>, bits: u32) {
    let error = connect.call::<P>(args).await.map(drop).unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.code, ErrorNumber::InvalidArg, "{}", P::INFO.name);
    assert!(
        refusal.message.starts_with(&format!("unsupported flags (0x{bits:x}) in function ")),
        "{}",
        refusal.message
    );
}

#[tokio::test]
async fn flags_without_a_meaning_here_are_refused_as_libvirt_refuses_them() {
    let connect = fresh().await;
    let dom = dom(&connect).await;
    let flags = DomainMemoryModFlags::MAXIMUM;
    let args = remote::DomainSetMemoryStatsPeriodArgs { dom: dom.clone(), period: 1, flags };
    unsupported::<remote::DomainSetMemoryStatsPeriod>(&connect, &args, flags.bits()).await;
    let (flags, xml) = (DomainDeviceModifyFlags::FORCE, "<disk/>");
    let args = remote::DomainAttachDeviceFlagsArgs { dom: dom.clone(), xml: xml.into(), flags };
    unsupported::<remote::DomainAttachDeviceFlags>(&connect, &args, flags.bits()).await;
    let args = remote::DomainDetachDeviceFlagsArgs { dom: dom.clone(), xml: xml.into(), flags };
    unsupported::<remote::DomainDetachDeviceFlags>(&connect, &args, flags.bits()).await;
    let args = remote::DomainDetachDeviceAliasArgs { dom: dom.clone(), alias: "a".into(), flags };
    unsupported::<remote::DomainDetachDeviceAlias>(&connect, &args, flags.bits()).await;
    let pool = remote::StoragePoolLookupByNameArgs { name: "default-pool".into() };
    let reply = done::<remote::StoragePoolLookupByName>(&connect, &pool).await;
    let pool = reply.result().unwrap().pool;
    for flags in [StoragePoolBuildFlags::REPAIR, StoragePoolBuildFlags::RESIZE] {
        let args = remote::StoragePoolBuildArgs { pool: pool.clone(), flags };
        unsupported::<remote::StoragePoolBuild>(&connect, &args, flags.bits()).await;
    }
    let flags = StorageVolCreateFlags::REFLINK;
    let args = remote::StorageVolCreateXmlArgs { pool: pool.clone(), xml: "<volume/>".into(), flags };
    unsupported::<remote::StorageVolCreateXml>(&connect, &args, flags.bits()).await;
}

/// The first version of migration sends no definition: no driver that libvirtd loads has it any more, and the server has not either.
#[tokio::test]
async fn the_first_version_of_migration_is_nobodys() {
    let connect = fresh().await;
    for bit in 0..21 {
        let flags = F::from_bits_retain(1 << bit);
        let args = remote::DomainMigratePrepareArgs { flags: flags.into(), ..Default::default() };
        assert_eq!(refused::<remote::DomainMigratePrepare>(&connect, &args).await, ErrorNumber::NoSupport);
        let args = remote::DomainMigrateFinishArgs { flags: flags.into(), ..Default::default() };
        assert_eq!(refused::<remote::DomainMigrateFinish>(&connect, &args).await, ErrorNumber::NoSupport);
    }
}

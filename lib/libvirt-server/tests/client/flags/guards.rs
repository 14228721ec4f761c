//! What a migration is guarded with, and the flags that put the guards up or take them down; what its figures say of how it travels.

use super::*;
use libvirt_client::protocol::enums::DomainState as State;
use libvirt_client::protocol::enums::{DomainEventIoErrorAction, DomainJobType};
use libvirt_client::protocol::flags::DomainMigrateFlags as F;
use libvirt_client::protocol::parameters::{DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, DOMAIN_JOB_COMPRESSION_CACHE};
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_server::{Handle, Happening};
use std::time::Duration;

/// How the third version of migration asks.
const BOTH: [bool; 2] = [false, true];

async fn begin(
    source: &Connect,
    dom: &types::Domain<'static>,
    flags: F,
    old: bool,
) -> Result<(), ErrorNumber> {
    let dom = dom.clone();
    let begun = if old {
        let args = remote::DomainMigrateBegin3Args { dom, flags: flags.into(), ..Default::default() };
        source.call::<remote::DomainMigrateBegin3>(&args).await.map(drop)
    } else {
        let args = remote::DomainMigrateBegin3ParamsArgs { dom, flags, ..Default::default() };
        source.call::<remote::DomainMigrateBegin3Params>(&args).await.map(drop)
    };
    begun.map_err(|error| error.refusal().unwrap_or_else(|| panic!("{error}")).code)
}

#[tokio::test]
async fn a_disk_that_is_cached_does_not_go_unless_somebody_knows_better() {
    let source = fresh().await;
    for (cache, is_safe) in [("none", true), ("directsync", true), ("writeback", false), ("unsafe", false)] {
        let disk = format!(
            "<devices><disk type='file'><driver cache='{cache}'/><source file='/a'/><target dev='vda'/></disk></devices>"
        );
        let guest = define(&source, &xml(cache, &disk)).await;
        guest.start(Default::default()).await.unwrap();
        let dom = guest.wire().into_owned();
        for old in BOTH {
            let expected = if is_safe { Ok(()) } else { Err(ErrorNumber::MigrateUnsafe) };
            assert_eq!(begin(&source, &dom, F::LIVE, old).await, expected, "{cache}");
            assert_eq!(begin(&source, &dom, F::LIVE | F::UNSAFE, old).await, Ok(()), "{cache}");
        }
    }
}

#[tokio::test]
async fn a_guarded_domain_is_nobody_elses_until_its_migration_is_over() {
    let handle = start(complete());
    let beside = connect(&handle).await;
    let guest = domain(&beside).await;
    let dump = async || {
        let dump = guest.core_dump("/core", Default::default(), Default::default()).await.unwrap();
        dump.await.map(drop).map_err(|error| error.refusal().unwrap().code)
    };
    for old in BOTH {
        let source = connect(&handle).await;
        let dom = guest.wire().into_owned();
        begin(&source, &dom, F::LIVE, old).await.unwrap();
        assert_eq!(dump().await, Ok(()), "without a guard");
        begin(&source, &dom, F::LIVE | F::CHANGE_PROTECTION, old).await.unwrap();
        assert_eq!(dump().await, Err(ErrorNumber::OperationTimeout));
        let args =
            remote::DomainMigrateConfirm3ParamsArgs { dom: dom.clone(), cancelled: 1, ..Default::default() };
        done::<remote::DomainMigrateConfirm3Params>(&source, &args).await;
        assert_eq!(dump().await, Ok(()), "it is over");
        // Who goes guards nothing any more.
        begin(&source, &dom, F::LIVE | F::CHANGE_PROTECTION, old).await.unwrap();
        source.close().await.unwrap();
        while dump().await.is_err() {}
    }
}

/// A host where nothing comes to an end by itself, two connections to it, and its guest.
async fn slow() -> (Handle, Connect, Domain) {
    let slow = complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
    let handle = start(slow);
    let (source, beside) = (connect(&handle).await, connect(&handle).await);
    let guest = domain(&beside).await;
    (handle, source, guest)
}

/// Sends the guest, by each version of the step.
async fn perform(
    source: &Connect,
    dom: types::Domain<'static>,
    flags: F,
    version: u32,
) -> Result<(), libvirt_client::Error> {
    match version {
        1 => {
            let args = remote::DomainMigratePerformArgs { dom, flags: flags.into(), ..Default::default() };
            source.call::<remote::DomainMigratePerform>(&args).await.map(drop)
        }
        2 => {
            let args = remote::DomainMigratePerform3Args { dom, flags: flags.into(), ..Default::default() };
            source.call::<remote::DomainMigratePerform3>(&args).await.map(drop)
        }
        _ => {
            let args = remote::DomainMigratePerform3ParamsArgs { dom, flags, ..Default::default() };
            source.call::<remote::DomainMigratePerform3Params>(&args).await.map(drop)
        }
    }
}

#[tokio::test]
async fn a_disk_that_fails_ends_a_migration_that_wants_that() {
    for version in 1..=3 {
        let (handle, source, guest) = slow().await;
        let fails = async |ends: bool| {
            let flags = if ends { F::LIVE | F::ABORT_ON_ERROR } else { F::LIVE };
            let meanwhile = async {
                while guest.job().await.unwrap().is_none() {}
                let (path, alias, reason) = ("/a".into(), "vda".into(), "enospc".into());
                let error =
                    Happening::IoError { path, alias, action: DomainEventIoErrorAction::Report, reason };
                handle.with(|hypervisor| hypervisor.happen("test", error)).await.unwrap();
                if !ends {
                    assert!(guest.job().await.unwrap().is_some(), "it goes on");
                    guest.abort_job().await.unwrap();
                }
            };
            let dom = guest.wire().into_owned();
            let (sent, ()) = tokio::join!(perform(&source, dom, flags, version), meanwhile);
            sent.unwrap_err().refusal().unwrap().code
        };
        assert_eq!(fails(true).await, ErrorNumber::OperationFailed, "version {version}");
        assert_eq!(fails(false).await, ErrorNumber::OperationAborted, "version {version}");
        assert_eq!(state(&guest).await, State::Running);
    }
}

#[tokio::test]
async fn figures_of_a_migration_say_how_it_travels() {
    for version in 1..=3 {
        let (_handle, source, guest) = slow().await;
        for flags in [F::LIVE, F::LIVE | F::COMPRESSED, F::LIVE | F::AUTO_CONVERGE] {
            let meanwhile = async {
                let progress = loop {
                    if let Some((kind, progress)) = guest.job().await.unwrap() {
                        assert_eq!(kind, DomainJobType::Bounded);
                        break progress;
                    }
                };
                let told = |name| progress.extra.get(name).is_some();
                let what = (told(DOMAIN_JOB_COMPRESSION_CACHE), told(DOMAIN_JOB_AUTO_CONVERGE_THROTTLE));
                assert_eq!(what, (flags.contains(F::COMPRESSED), flags.contains(F::AUTO_CONVERGE)));
                guest.abort_job().await.unwrap();
            };
            let (sent, ()) =
                tokio::join!(perform(&source, guest.wire().into_owned(), flags, version), meanwhile);
            sent.unwrap_err();
        }
    }
}

#[tokio::test]
async fn a_guest_that_runs_is_not_started_anew_for_a_snapshot_unless_by_force() {
    use libvirt_client::protocol::flags::DomainSnapshotRevertFlags as Revert;
    let source = fresh().await;
    let guest = define(&source, &xml("s", "")).await;
    let snapshot = guest
        .create_snapshot("<domainsnapshot><name>off</name></domainsnapshot>", Default::default())
        .await
        .unwrap();
    for flag in [Revert::RUNNING, Revert::PAUSED] {
        if state(&guest).await == State::Shutoff {
            guest.start(Default::default()).await.unwrap();
        }
        let error = snapshot.revert(flag).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::SnapshotRevertRisky, "{error}");
        snapshot.revert(flag | Revert::FORCE).await.unwrap();
        let expected = if flag == Revert::PAUSED { State::Paused } else { State::Running };
        assert_eq!(state(&guest).await, expected);
    }
}

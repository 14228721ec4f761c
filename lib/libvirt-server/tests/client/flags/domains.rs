//! Starting, stopping, saving, dumping, taking away.

use super::*;
use libvirt_client::protocol::enums::{
    DomainCoreDumpFormat, DomainPausedReason, DomainRunningReason, DomainState as State,
};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainCoreDumpFlags as Dump, DomainCreateFlags as C, DomainDestroyFlags, DomainSaveRestoreFlags as S,
    DomainUndefineFlags as U,
};
use libvirt_client::protocol::parameters::DOMAIN_SAVE_PARAM_FILE;
use libvirt_client::{Item, Params};
use std::time::Duration;

const PLAIN: &str =
    "<domain type='test'><name>c</name><memory>1024</memory><os><type>hvm</type></os></domain>";
const STRANGE: &str =
    "<domain type='test'><name>c</name><memory>1024</memory><os><type>hvm</type></os><strange/></domain>";

/// Each of the four calls that start a domain, with each flag; tells what state the domain is in then.
#[tokio::test]
async fn domains_are_started_in_every_way() {
    for flags in [
        C::START_PAUSED,
        C::START_AUTODESTROY,
        C::START_BYPASS_CACHE,
        C::START_FORCE_BOOT,
        C::START_VALIDATE,
        C::START_RESET_NVRAM,
    ] {
        let expected = if flags == C::START_PAUSED { State::Paused } else { State::Running };
        for call in 0..4 {
            let handle = start(complete());
            let watcher = connect(&handle).await;
            // Descriptors travel over unix sockets.
            let connect = super::super::guests::connect_unix(&handle).await;
            let file = || vec![std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap())];
            let guest = match call {
                0 => connect.create_domain(PLAIN, flags).await.unwrap(),
                1 => connect.create_domain_with_files(PLAIN, file(), flags).await.unwrap(),
                _ => {
                    let guest = define(&connect, PLAIN).await;
                    // There is something that it could be brought back from.
                    guest.start(C::empty()).await.unwrap();
                    guest.managed_save(S::empty()).await.unwrap().await.unwrap();
                    match call {
                        2 => guest.start(flags).await.map(drop).unwrap(),
                        _ => guest.start_with_files(file(), flags).await.map(drop).unwrap(),
                    }
                    // One that waits does not say where it comes from.
                    let now = guest.state().await.unwrap();
                    let booted =
                        now.state == State::Running && now.reason == i32::from(DomainRunningReason::Booted);
                    assert_eq!(booted, flags == C::START_FORCE_BOOT, "{flags:?}");
                    guest
                }
            };
            assert_eq!(state(&guest).await, expected, "{flags:?}");
            if flags == C::START_VALIDATE && call < 2 {
                guest.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
                let refused = match call {
                    0 => connect.create_domain(STRANGE, flags).await,
                    _ => connect.create_domain_with_files(STRANGE, file(), flags).await,
                };
                assert_eq!(refused.unwrap_err().refusal().unwrap().code, ErrorNumber::XmlInvalidSchema);
                continue;
            }
            let mut events = watcher.subscribe(Kind::DomainLifecycle).await.unwrap();
            drop((guest, connect));
            if flags == C::START_AUTODESTROY {
                assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
                let left = watcher.domain_by_name("c").await;
                assert!(left.is_err() || state(&left.unwrap()).await == State::Shutoff);
            }
        }
    }
}

#[tokio::test]
async fn a_guest_is_told_to_go_off_or_to_start_again_in_every_way() {
    use libvirt_client::protocol::flags::{DomainRebootFlags as R, DomainShutdownFlags as F};
    let all = [F::ACPI_POWER_BTN, F::GUEST_AGENT, F::INITCTL, F::SIGNAL, F::PARAVIRT];
    for flags in all {
        let handle = start(complete());
        let connect = super::super::connect(&handle).await;
        let guest = domain(&connect).await;
        let reboot = R::from_bits_retain(flags.bits());
        if flags == F::GUEST_AGENT {
            // Nobody is there who could do it.
            assert_eq!(
                guest.reboot(reboot).await.unwrap_err().refusal().unwrap().code,
                ErrorNumber::AgentUnresponsive
            );
            guest.shutdown(flags).await.unwrap_err();
            handle
                .with(|hypervisor| hypervisor.set_guest(super::super::guests::Scripted::default()))
                .await
                .unwrap();
        }
        let mut events = guest.subscribe(Kind::DomainReboot).await.unwrap();
        guest.reboot(reboot).await.unwrap();
        assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainReboot(_))), "{flags:?}");
        guest.shutdown(flags).await.unwrap();
        assert_eq!(state(&guest).await, State::Shutoff, "{flags:?}");
    }
}

#[tokio::test]
async fn a_domain_is_destroyed_gently_and_with_its_logs() {
    for flags in [DomainDestroyFlags::GRACEFUL, DomainDestroyFlags::REMOVE_LOGS] {
        let connect = fresh().await;
        domain(&connect).await.destroy(flags).await.unwrap();
        assert_eq!(state(&domain(&connect).await).await, State::Shutoff);
    }
}

#[tokio::test]
async fn what_would_be_left_behind_is_named_before_a_domain_goes() {
    let connect = fresh().await;
    let nvram = "<domain type='test'><name>n</name><memory>1024</memory><os><type>hvm</type><nvram>/n</nvram></os></domain>";
    let guest = define(&connect, nvram).await;
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::NVRAM | U::KEEP_NVRAM).await.unwrap_err();
    guest.undefine(U::NVRAM).await.unwrap();
    define(&connect, nvram).await.undefine(U::KEEP_NVRAM).await.unwrap();
    for flags in [U::TPM, U::KEEP_TPM] {
        define(&connect, PLAIN).await.undefine(flags).await.unwrap();
        connect.domain_by_name("c").await.unwrap_err();
    }
    define(&connect, PLAIN).await.undefine(U::TPM | U::KEEP_TPM).await.unwrap_err();
    let guest = connect.domain_by_name("c").await.unwrap();
    guest.create_snapshot("<domainsnapshot/>", Default::default()).await.unwrap();
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::SNAPSHOTS_METADATA).await.unwrap();
    let guest = define(&connect, PLAIN).await;
    guest.start(C::empty()).await.unwrap();
    guest.create_checkpoint("<domaincheckpoint/>", Default::default()).await.unwrap();
    guest.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::CHECKPOINTS_METADATA).await.unwrap();
    let guest = define(&connect, PLAIN).await;
    guest.start(C::empty()).await.unwrap();
    guest.managed_save(S::empty()).await.unwrap().await.unwrap();
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::MANAGED_SAVE).await.unwrap();
    connect.domain_by_name("c").await.unwrap_err();
}

/// Each call that saves, or changes what was saved, says what the domain does when it is back.
#[tokio::test]
async fn a_domain_comes_back_as_it_was_or_as_a_flag_says() {
    let file = || Params::new().with(DOMAIN_SAVE_PARAM_FILE, "/image").as_slice().to_vec();
    for flags in [S::BYPASS_CACHE, S::RESET_NVRAM, S::RUNNING, S::PAUSED] {
        let expected = if flags == S::PAUSED { State::Paused } else { State::Running };
        for call in 0..7 {
            let connect = fresh().await;
            let guest = domain(&connect).await;
            let dom = dom(&connect).await;
            // The other way round, where a flag says something.
            if flags == S::RUNNING {
                guest.suspend().await.unwrap();
            }
            match call {
                0 => guest.save("/image", None, flags).await.unwrap().await.map(drop).unwrap(),
                1 => {
                    let args =
                        remote::DomainSaveParamsArgs { dom: dom.clone(), params: file().into(), flags };
                    done::<remote::DomainSaveParams>(&connect, &args).await;
                }
                2 => guest.managed_save(flags).await.unwrap().await.map(drop).unwrap(),
                3..=5 => guest.save("/image", None, S::empty()).await.unwrap().await.map(drop).unwrap(),
                _ => guest.managed_save(S::empty()).await.unwrap().await.map(drop).unwrap(),
            }
            match call {
                0 | 1 => connect.restore_domain("/image", None, S::empty()).await.unwrap(),
                3 => connect.restore_domain("/image", None, flags).await.unwrap(),
                4 => {
                    let args = remote::DomainRestoreParamsArgs { params: file().into(), flags };
                    done::<remote::DomainRestoreParams>(&connect, &args).await;
                }
                5 => {
                    let xml = connect.save_image_xml("/image", Default::default()).await.unwrap();
                    connect.define_save_image("/image", &xml, flags).await.unwrap();
                    connect.restore_domain("/image", None, S::empty()).await.unwrap();
                }
                2 => drop(guest.start(C::empty()).await.unwrap()),
                _ => {
                    let xml = guest.managed_save_xml(Default::default()).await.unwrap();
                    guest
                        .define_managed_save(&xml.replace("<on_crash>destroy", "<on_crash>preserve"), flags)
                        .await
                        .unwrap();
                    guest.start(C::empty()).await.unwrap();
                    assert!(live(&connect).await.contains("<on_crash>preserve"));
                }
            }
            assert_eq!(state(&guest).await, expected, "{flags:?} of call {call}");
        }
    }
    let connect = fresh().await;
    domain(&connect)
        .await
        .save("/image", None, S::RUNNING | S::PAUSED)
        .await
        .unwrap()
        .await
        .map(drop)
        .unwrap_err();
}

#[tokio::test]
async fn a_guest_waits_while_its_memory_is_written_down_or_does_not() {
    for format in [false, true] {
        for flags in
            [Dump::empty(), Dump::LIVE, Dump::BYPASS_CACHE, Dump::MEMORY_ONLY, Dump::CRASH, Dump::RESET]
        {
            let slow =
                complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
            let handle = start(slow);
            let (dumper, watcher) = (connect(&handle).await, connect(&handle).await);
            let guest = domain(&watcher).await;
            let dom = dom(&watcher).await;
            let mut dumping = tokio::task::JoinSet::new();
            if format {
                let args = remote::DomainCoreDumpWithFormatArgs {
                    dom,
                    to: "/core".into(),
                    dumpformat: DomainCoreDumpFormat::Raw,
                    flags,
                };
                let call = dumper.start::<remote::DomainCoreDumpWithFormat>(&args).await.unwrap();
                dumping.spawn(async move { call.within(None).await.map(drop) });
            } else {
                let args = remote::DomainCoreDumpArgs { dom, to: "/core".into(), flags };
                let call = dumper.start::<remote::DomainCoreDump>(&args).await.unwrap();
                dumping.spawn(async move { call.within(None).await.map(drop) });
            }
            while guest.job().await.unwrap().is_none() {}
            let meanwhile = guest.state().await.unwrap();
            let waits =
                meanwhile.state == State::Paused && meanwhile.reason == i32::from(DomainPausedReason::Dump);
            assert_eq!(waits, flags != Dump::LIVE, "{flags:?}");
            let mut reboots = guest.subscribe(Kind::DomainReboot).await.unwrap();
            handle.with(|hypervisor| hypervisor.tick(Duration::from_secs(2_000_000))).await.unwrap();
            dumping.join_next().await.unwrap().unwrap().unwrap();
            let after = if flags == Dump::CRASH { State::Shutoff } else { State::Running };
            assert_eq!(state(&guest).await, after, "{flags:?}");
            if flags == Dump::RESET {
                assert!(matches!(reboots.next().await.unwrap(), Item::Event(Event::DomainReboot(_))));
            }
        }
    }
    let connect = fresh().await;
    let args = remote::DomainCoreDumpArgs {
        dom: dom(&connect).await,
        to: "/c".into(),
        flags: Dump::CRASH | Dump::LIVE,
    };
    assert_eq!(refused::<remote::DomainCoreDump>(&connect, &args).await, ErrorNumber::InvalidArg);
}

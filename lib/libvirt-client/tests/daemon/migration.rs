//! Migration between two daemons that think they are on two hosts.

use crate::guests::{awake, definition, disk};
use crate::support::{Daemon, Settings, present};
use libvirt_client::protocol::Wide;
use libvirt_client::protocol::enums::{DomainJobType, DomainState, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainAbortJobFlags, DomainConsoleFlags, DomainDestroyFlags, DomainGetJobStatsFlags,
    DomainMigrateFlags as F,
};
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{Connect, Domain, ErrorKind, Item, MigrateParameters, raw};
use std::sync::atomic::{AtomicU16, Ordering};

/// Two daemons with names and numbers of their own, and a guest on the first.
async fn two(test: &str) -> Option<(Daemon, Daemon, Connect, Connect, Domain)> {
    two_with(test, |_, xml| xml).await
}

/// Two daemons with names and numbers of their own. `prepare` makes what they need, and tells what stands in their `qemu.conf`.
pub(crate) fn daemons(test: &str, prepare: impl Fn(&Daemon) -> String) -> Option<(Daemon, Daemon)> {
    // Daemons look for free ports at once, and so find the same ones, unless each has its own.
    static PORTS: AtomicU16 = AtomicU16::new(50_000);
    let (from, to) = (Daemon::prepare(test)?, Daemon::prepare(test)?);
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        println!("not run: {test}: only root may give a daemon another host name");
        return None;
    }
    for (daemon, number) in [(&from, 1), (&to, 2)] {
        let config = format!(
            "host_uuid_source = \"smbios\"\nhost_uuid = \"6a1c0f0e-0d3b-4d54-9d0a-00000000000{number}\"\n"
        );
        let host = Some(format!("host{number}.example"));
        let place = daemon.path("libvirt");
        std::fs::create_dir(&place).unwrap();
        daemon.own(&place);
        let port = PORTS.fetch_add(20, Ordering::Relaxed);
        let ports = format!(
            "migration_port_min = {port}\nmigration_port_max = {}\nclear_emulator_capabilities = 0\n",
            port + 19
        );
        std::fs::write(place.join("qemu.conf"), ports + &prepare(daemon)).unwrap();
        daemon.run(&Settings { config, host, ..Settings::default() });
    }
    Some((from, to))
}

/// The same, with a guest whose definition was changed.
pub(crate) async fn two_with(
    test: &str,
    change: impl FnOnce(&Daemon, String) -> String,
) -> Option<(Daemon, Daemon, Connect, Connect, Domain)> {
    let (from, to) = daemons(test, |_| String::new())?;
    let (source, target) = (from.open("qemu:///session").await, to.open("qemu:///session").await);
    // Both reach the same file, as hosts with shared storage do.
    let xml = definition(&from, &format!("<source file='{}'/><shareable/>", disk(&from, "disk")));
    let guest = source.create_domain(&change(&from, xml), Default::default()).await.unwrap();
    Some((from, to, source, target, guest))
}

pub(crate) async fn is_at(guest: &str, there: &Connect, not_there: &Connect) {
    let moved = there.domain_by_name(guest).await.unwrap();
    assert_eq!(moved.state().await.unwrap().state, DomainState::Running);
    assert!(not_there.domain_by_name(guest).await.unwrap_err().is_not_found());
    // It is the same system that goes on: it still echoes.
    let mut console = moved.open_console(None, DomainConsoleFlags::FORCE).await.unwrap();
    awake(&mut console).await;
}

#[tokio::test]
async fn a_guest_moves_between_two_connections() {
    let Some((_from, _to, source, target, guest)) = two("a_guest_moves_between_two_connections").await else {
        return;
    };
    // One that cannot work: the guest stays, and goes on.
    let nowhere = MigrateParameters { uri: Some("tcp://192.0.2.1:1".into()), ..Default::default() };
    let error = guest.migrate(&source, &nowhere, F::LIVE | F::UNSAFE).await.unwrap().await.unwrap_err();
    assert!(error.refusal().is_some(), "to itself: {error}");
    assert_eq!(guest.state().await.unwrap().state, DomainState::Running);
    assert!(guest.job().await.unwrap().is_none(), "the source knows that it is over");
    let misuse = guest.migrate(&target, &nowhere, F::PEER2PEER).await.unwrap_err();
    assert!(matches!(misuse.kind(), ErrorKind::Misuse(_)), "{misuse}");

    let parameters = MigrateParameters { uri: Some("tcp:127.0.0.1".into()), ..Default::default() };
    let moved = guest.migrate(&target, &parameters, F::LIVE | F::UNSAFE).await.unwrap().await.unwrap();
    assert_eq!(moved.uuid(), guest.uuid());
    // How it went is told where it is now, and is forgotten when it is not to be kept.
    let done = DomainGetJobStatsFlags::COMPLETED;
    for flags in [done | DomainGetJobStatsFlags::KEEP_COMPLETED, done] {
        let (kind, progress) = moved.job_stats(flags).await.unwrap();
        assert_eq!((kind, progress.success), (DomainJobType::Completed, None), "{flags:?} {progress:?}");
    }
    assert_eq!(moved.job_stats(done).await.unwrap().0, DomainJobType::None);
    is_at("guest", &target, &source).await;
    moved.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
}

#[tokio::test]
async fn a_daemon_moves_a_guest_through_its_own_connection() {
    let test = "a_daemon_moves_a_guest_through_its_own_connection";
    let Some((_from, to, source, target, guest)) = two(test).await else { return };
    // Tunnelled: the source's daemon sends the guest over a stream of libvirt's.
    let daemon = format!("qemu+unix:///session?socket={}", to.path("libvirt/libvirt-sock").display());
    let flags = F::LIVE | F::UNSAFE | F::PEER2PEER | F::TUNNELLED;
    let job = guest.migrate_to_uri(&daemon, &MigrateParameters::default(), flags).await.unwrap();
    job.progress().await.unwrap();
    job.await.unwrap();
    is_at("guest", &target, &source).await;
}

/// Memory that is not zeros, and so takes its time at a low speed.
pub(crate) fn with_memory(daemon: &Daemon, xml: String) -> String {
    let file = daemon.path("memory");
    let mut value = 1_u32;
    let bytes = std::iter::repeat_with(|| {
        value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        value.to_be_bytes()[0]
    });
    std::fs::write(&file, bytes.take(8 << 20).collect::<Vec<u8>>()).unwrap();
    daemon.own(&file);
    let loader = format!("loader,file={},addr=0x200000,force-raw=on", file.display());
    let arguments = format!(
        "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='{loader}'/></qemu:commandline></domain>"
    );
    xml.replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ")
        .replace("</domain>", &arguments)
}

#[tokio::test]
async fn a_migration_that_is_aborted_leaves_the_guest_where_it_was() {
    let test = "a_migration_that_is_aborted_leaves_the_guest_where_it_was";
    let Some((_from, _to, source, target, guest)) = two_with(test, with_memory).await else { return };
    guest.set_max_migration_speed(1, Default::default()).await.unwrap();
    let parameters = MigrateParameters { uri: Some("tcp:127.0.0.1".into()), ..Default::default() };
    let mut iterations = guest.subscribe(Kind::DomainMigrationIteration).await.unwrap();
    for how in ["the job", "with flags", "raw"] {
        let job = guest.migrate(&target, &parameters, F::LIVE | F::UNSAFE).await.unwrap();
        // Its first pass over the memory has begun.
        let item = iterations.next().await.unwrap();
        let Item::Event(Event::DomainMigrationIteration(event)) = item else { panic!("{item:?}") };
        assert_eq!(event.iteration, 1);
        assert!(job.progress().await.unwrap().is_some());
        let args = remote::DomainGetJobInfoArgs { dom: guest.wire().into_owned() };
        // QEMU tells of the first pass while it still prepares it, and has nothing to count then.
        let info = loop {
            let info = source.call::<remote::DomainGetJobInfo>(&args).await.unwrap().result().unwrap();
            assert_eq!(DomainJobType::from(i32::from(info.kind)), DomainJobType::Unbounded);
            if info.mem_total > 0 {
                break info;
            }
        };
        assert!(info.mem_remaining > 0, "{info:?}");
        match how {
            "the job" => job.abort().await.unwrap(),
            "with flags" => guest.abort_job_with(DomainAbortJobFlags::empty()).await.unwrap(),
            _ => {
                let args = remote::DomainAbortJobArgs { dom: guest.wire().into_owned() };
                source.call::<remote::DomainAbortJob>(&args).await.unwrap();
            }
        }
        let error = job.await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::OperationAborted, "{how}: {error}");
        assert_eq!(guest.state().await.unwrap().state, DomainState::Running);
        assert!(guest.job().await.unwrap().is_none());
        assert!(target.domain_by_name("guest").await.unwrap_err().is_not_found());
    }
}

/// The steps as clients took them before parameters had names.
#[tokio::test]
async fn a_guest_moves_in_the_steps_of_older_clients() {
    let test = "a_guest_moves_in_the_steps_of_older_clients";
    let Some((_from, _to, source, target, guest)) = two(test).await else { return };
    let flags = Wide::from(F::LIVE | F::UNSAFE);
    let dom = || guest.wire().into_owned();
    let uri = || Some("tcp:127.0.0.1".into());
    let args = remote::DomainMigrateBegin3Args { dom: dom(), flags, ..Default::default() };
    let begun = raw::domain::migrate_begin3(&source, &args).await.unwrap();
    let begun = begun.result().unwrap();
    let args = remote::DomainMigratePrepare3Args {
        cookie_in: begun.cookie_out,
        uri_in: uri(),
        flags,
        dom_xml: begun.xml,
        ..Default::default()
    };
    let prepared = raw::domain::migrate_prepare3(&target, &args).await.unwrap();
    let prepared = prepared.result().unwrap();
    let place = prepared.uri_out.or_else(uri);
    let args = remote::DomainMigratePerform3Args {
        dom: dom(),
        cookie_in: prepared.cookie_out,
        uri: place.clone(),
        flags,
        ..Default::default()
    };
    let performed = raw::domain::migrate_perform3(&source, &args).await.unwrap();
    let args = remote::DomainMigrateFinish3Args {
        dname: "guest".into(),
        cookie_in: performed.result().unwrap().cookie_out,
        uri: place,
        flags,
        ..Default::default()
    };
    let finished = raw::domain::migrate_finish3(&target, &args).await.unwrap();
    let finished = finished.result().unwrap();
    assert_eq!(finished.dom.uuid, guest.uuid());
    let cookie_in = finished.cookie_out;
    let args = remote::DomainMigrateConfirm3Args { dom: dom(), cookie_in, flags, ..Default::default() };
    raw::domain::migrate_confirm3(&source, &args).await.unwrap();
    is_at("guest", &target, &source).await;
}

//! What flags of migrations do that is seen while a guest goes, or because it does not.

use crate::guest_events::Broken;
use crate::guests::{definition, disk};
use crate::migration::with_memory;
use crate::migration_flags::{BASE, Hosts, Told, Version};
use crate::support::present;
use libvirt_client::protocol::enums::{DomainEventIoErrorAction, DomainState, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{DomainDestroyFlags, DomainMigrateFlags as F, DomainUndefineFlags};
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{Domain, Error, Item};

const VERSIONS: [Version; 3] = [Version::Second, Version::Third, Version::Named];

/// What QEMU's monitor calls that which a flag asks for.
const CAPABILITIES: [(&str, F); 5] = [
    ("auto-converge", F::AUTO_CONVERGE),
    ("multifd", F::PARALLEL),
    ("postcopy-ram", F::POSTCOPY),
    ("rdma-pin-all", F::RDMA_PIN_ALL),
    ("xbzrle", F::COMPRESSED),
];

/// What the QEMU of a guest that goes says that it was told.
async fn told(guest: &Domain) -> F {
    let capabilities = guest.monitor_command("query-migrate-capabilities", None).await.unwrap();
    let is_on = |name: &str| {
        let known = capabilities.as_array().unwrap().iter().find(|known| known["capability"] == name);
        known.unwrap_or_else(|| panic!("{name}: {capabilities}"))["state"] == true
    };
    let mut told = F::empty();
    for (name, flag) in CAPABILITIES {
        if is_on(name) {
            told |= flag;
        }
    }
    let parameters = guest.monitor_command("query-migrate-parameters", None).await.unwrap();
    if parameters["tls-creds"].as_str().is_some_and(|credentials| !credentials.is_empty()) {
        told |= F::TLS;
    }
    // One that does not go alive stands still meanwhile.
    if guest.state().await.unwrap().state == DomainState::Running {
        told |= F::LIVE;
    }
    told
}

#[tokio::test]
async fn qemu_is_told_what_flags_say_while_a_guest_goes() {
    let Some(hosts) = Hosts::start("qemu_is_told_what_flags_say_while_a_guest_goes").await else { return };
    let source = format!("<source file='{}'/><shareable/>", disk(&hosts.from, "disk"));
    let xml = with_memory(&hosts.from, definition(&hosts.from, &source));
    for version in VERSIONS {
        for flags in [
            F::empty(),
            F::LIVE | F::COMPRESSED | F::AUTO_CONVERGE | F::TLS | F::POSTCOPY,
            F::LIVE | F::PARALLEL | F::RDMA_PIN_ALL,
        ] {
            let guest = hosts.source.create_domain(&xml, Default::default()).await.unwrap();
            guest.set_max_migration_speed(1, Default::default()).await.unwrap();
            let mut iterations = guest.subscribe(Kind::DomainMigrationIteration).await.unwrap();
            let looks = async {
                // Its first pass over the memory has begun, and takes seconds.
                let item = iterations.next().await?;
                assert!(matches!(item, Item::Event(Event::DomainMigrationIteration(_))), "{item:?}");
                let told = told(&guest).await;
                guest.set_max_migration_speed(1000, Default::default()).await?;
                Ok::<_, Error>(told)
            };
            let steps = hosts.step_by_step(version, &guest, Told::all(F::UNSAFE | flags));
            let (moved, told) = tokio::try_join!(steps, looks)
                .unwrap_or_else(|error| panic!("{version:?} {flags:?}: {error}"));
            assert_eq!(told, flags, "{version:?}");
            moved.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
        }
    }
}

/// The beginning of a migration, with the two calls that there are for it.
async fn begin(hosts: &Hosts, guest: &Domain, named: bool, flags: F) -> Result<(), Error> {
    let dom = guest.wire().into_owned();
    if named {
        let args = remote::DomainMigrateBegin3ParamsArgs { dom, params: Default::default(), flags };
        hosts.source.call::<remote::DomainMigrateBegin3Params>(&args).await.map(drop)
    } else {
        let args = remote::DomainMigrateBegin3Args { dom, flags: flags.into(), ..Default::default() };
        hosts.source.call::<remote::DomainMigrateBegin3>(&args).await.map(drop)
    }
}

fn is_unsafe(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.code == ErrorNumber::MigrateUnsafe)
}

fn is_of_its_disk(error: &Error) -> bool {
    error.to_string().contains("I/O error")
}

#[tokio::test]
async fn a_guest_that_should_not_go_stays_unless_flags_say_otherwise() {
    let test = "a_guest_that_should_not_go_stays_unless_flags_say_otherwise";
    let Some(mut hosts) = Hosts::start(test).await else { return };
    if !present(test, &[("/usr/bin/qemu-nbd", "qemu-utils")]) {
        return;
    }
    let goes = BASE | F::PEER2PEER;
    for version in VERSIONS {
        let guest = hosts.running(false).await;
        let moved = hosts.by_the_daemon(version, &guest, goes | F::ABORT_ON_ERROR).await.unwrap();
        moved.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
        guest.undefine(DomainUndefineFlags::empty()).await.unwrap();
    }
    // From here on whatever is let go comes no further than to a daemon that is not there.
    hosts.to.kill();

    // Nobody says that both hosts reach its disk.
    let guest = hosts.running(true).await;
    for named in [false, true] {
        assert!(is_unsafe(&begin(&hosts, &guest, named, F::LIVE).await.unwrap_err()), "{named}");
        begin(&hosts, &guest, named, BASE | F::ABORT_ON_ERROR).await.unwrap();
    }
    for version in VERSIONS {
        let error = hosts.by_the_daemon(version, &guest, F::LIVE | F::PEER2PEER).await.unwrap_err();
        assert!(is_unsafe(&error), "{version:?}: {error}");
        let error = hosts.by_the_daemon(version, &guest, goes).await.unwrap_err();
        assert!(!is_unsafe(&error), "{version:?}: {error}");
    }
    guest.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    guest.undefine(DomainUndefineFlags::empty()).await.unwrap();

    // One that waits because its disk has failed.
    let _broken = Broken::new(&hosts.from);
    let network = format!(
        "<disk type='network' device='disk'><driver name='qemu' type='raw' error_policy='stop'/>\
         <source protocol='nbd' name='broken'><host transport='unix' socket='{}'/></source>\
         <target dev='vdb' bus='virtio'/><boot order='1'/></disk><serial",
        hosts.from.path("nbd").display()
    );
    let whole = format!("<source file='{}'/><shareable/>", disk(&hosts.from, "disk"));
    let xml = definition(&hosts.from, &whole).replacen("<serial", &network, 1);
    let guest = hosts.source.define_domain(&xml, Default::default()).await.unwrap();
    let mut errors = guest.subscribe(Kind::DomainIoError).await.unwrap();
    let guest = guest.start(Default::default()).await.unwrap();
    let item = errors.next().await.unwrap();
    let Item::Event(Event::DomainIoError(event)) = item else { panic!("{item:?}") };
    assert_eq!(event.action, DomainEventIoErrorAction::Pause);
    assert_eq!(guest.state().await.unwrap().state, DomainState::Paused);
    for named in [false, true] {
        let error = begin(&hosts, &guest, named, BASE | F::ABORT_ON_ERROR).await.unwrap_err();
        assert!(is_of_its_disk(&error), "{named}: {error}");
        begin(&hosts, &guest, named, BASE).await.unwrap();
    }
    for version in VERSIONS {
        let error = hosts.by_the_daemon(version, &guest, goes | F::ABORT_ON_ERROR).await.unwrap_err();
        assert!(is_of_its_disk(&error), "{version:?}: {error}");
        let error = hosts.by_the_daemon(version, &guest, goes).await.unwrap_err();
        assert!(!is_of_its_disk(&error), "{version:?}: {error}");
    }
}

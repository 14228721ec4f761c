//! Flags of migrations: each is given with every call that has the same steps, and looked at for what came of it.

use crate::authority::{Authority, Expired};
use crate::guests::{awake, definition, disk};
use crate::migration::daemons;
use crate::support::{Daemon, is_other};
use libvirt_client::protocol::Wide;
use libvirt_client::protocol::enums::DomainState;
use libvirt_client::protocol::flags::{
    DomainConsoleFlags, DomainDestroyFlags, DomainMigrateFlags as F, DomainUndefineFlags, DomainXmlFlags,
};
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::{Bytes, IntoOwned};
use libvirt_client::{Connect, Domain, Error, MigrateParameters, Params};

/// Which of the calls that have the same steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Without a beginning and a confirmation; nothing but the address travels from one side to the other.
    Second,
    Third,
    /// The third with parameters that have names.
    Named,
}

/// Two daemons, and a guest that goes from the first to the second.
pub(crate) struct Hosts {
    pub(crate) from: Daemon,
    pub(crate) to: Daemon,
    pub(crate) source: Connect,
    pub(crate) target: Connect,
}

/// What each daemon is told with the steps that it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    begin: F,
    prepare: F,
    perform: F,
    finish: F,
}

impl Told {
    pub(crate) fn all(flags: F) -> Self {
        Self { begin: flags, prepare: flags, perform: flags, finish: flags }
    }
}

pub(crate) const BASE: F = F::LIVE.union(F::UNSAFE);

/// What is told in one go: what comes of one flag of a line does not come of another.
const FLAGS: [F; 6] = [
    F::empty(),
    F::PERSIST_DEST
        .union(F::UNDEFINE_SOURCE)
        .union(F::PAUSED)
        .union(F::CHANGE_PROTECTION)
        .union(F::ABORT_ON_ERROR)
        .union(F::AUTO_CONVERGE),
    F::NON_SHARED_DISK.union(F::NON_SHARED_SYNCHRONOUS_WRITES).union(F::COMPRESSED),
    F::NON_SHARED_INC.union(F::TLS),
    F::PARALLEL.union(F::RDMA_PIN_ALL),
    // Nobody says that the memory is to follow: it goes before.
    F::POSTCOPY,
];

const COPIED: F = F::NON_SHARED_DISK.union(F::NON_SHARED_INC).union(F::NON_SHARED_SYNCHRONOUS_WRITES);

impl Hosts {
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let (from, to) = daemons(test, |daemon| {
            // One certificate is whom both are.
            let place = daemon.path("tls");
            std::fs::create_dir(&place).unwrap();
            let at = |name: &str| place.join(name);
            let authority = Authority::new("migration");
            std::fs::write(at("ca-cert.pem"), &authority.pem).unwrap();
            for side in ["server", "client"] {
                let (certificate, key) = (at(&format!("{side}-cert.pem")), at(&format!("{side}-key.pem")));
                let names = ["127.0.0.1", "host1.example", "host2.example"];
                authority.issue(&names, side, &certificate, &key, Expired::No);
                daemon.own(&key);
            }
            format!("migrate_tls_x509_cert_dir = \"{}\"\n", place.display())
        })?;
        // Each trusts the other because they have the same papers.
        for entry in std::fs::read_dir(from.path("tls")).unwrap() {
            let file = entry.unwrap().path();
            let copy = to.path("tls").join(file.file_name().unwrap());
            std::fs::copy(&file, &copy).unwrap();
            to.own(&copy);
        }
        let (source, target) = (from.open("qemu:///session").await, to.open("qemu:///session").await);
        Some(Self { from, to, source, target })
    }

    /// A guest that is defined at the source, with a disk that both reach, or that is to be copied.
    pub(crate) async fn guest(&self, copied: bool) -> Domain {
        // What is shared is not copied.
        let shared = if copied { "" } else { "<shareable/>" };
        let disk = disk(&self.from, "disk");
        let xml = definition(&self.from, &format!("<source file='{disk}'/>{shared}"));
        self.source.define_domain(&xml, Default::default()).await.unwrap()
    }

    pub(crate) async fn running(&self, copied: bool) -> Domain {
        self.guest(copied).await.start(Default::default()).await.unwrap()
    }

    /// The definition that the destination gets: when the disk is copied, with an empty one of its own.
    fn there(&self, xml: &str, flags: F) -> String {
        if !flags.intersects(COPIED) {
            return xml.to_owned();
        }
        let copy = self.to.path("copy");
        std::fs::write(&copy, vec![0; 4 << 20]).unwrap();
        self.to.own(&copy);
        let (old, new) = (self.from.path("disk"), copy);
        xml.replace(&*old.display().to_string(), &new.display().to_string())
    }

    /// Every step, as a client takes them that is connected to both.
    pub(crate) async fn step_by_step(
        &self,
        version: Version,
        guest: &Domain,
        told: Told,
    ) -> Result<Domain, Error> {
        let dom = || guest.wire().into_owned();
        let wide = Wide::<F>::from;
        let address = "tcp:127.0.0.1".to_owned();
        let named = |xml: &str, uri: &str| {
            let parameters = MigrateParameters {
                uri: Some(uri.into()),
                destination_xml: Some(xml.into()),
                destination_name: Some("guest".into()),
                ..Default::default()
            };
            Params::from(&parameters)
        };
        let (source, target) = (&self.source, &self.target);
        match version {
            // The daemon at the destination ends by the call that this version begins with, as no cookie comes with it: so the beginning is the
            // third version's.
            Version::Second => {
                let flags = wide(told.begin - F::CHANGE_PROTECTION);
                let args = remote::DomainMigrateBegin3Args { dom: dom(), flags, ..Default::default() };
                let begun = source.call::<remote::DomainMigrateBegin3>(&args).await?;
                let begun = begun.result()?;
                let args = remote::DomainMigratePrepare3Args {
                    cookie_in: begun.cookie_out,
                    uri_in: Some(address.as_str().into()),
                    flags: wide(told.prepare),
                    dom_xml: self.there(&begun.xml.to_string(), told.prepare).into(),
                    ..Default::default()
                };
                let prepared = target.call::<remote::DomainMigratePrepare3>(&args).await?;
                let prepared = prepared.result()?;
                let uri: String = prepared.uri_out.map_or(address, Into::into);
                let args = remote::DomainMigratePerformArgs {
                    dom: dom(),
                    cookie: prepared.cookie_out,
                    uri: uri.as_str().into(),
                    flags: wide(told.perform),
                    ..Default::default()
                };
                source.call::<remote::DomainMigratePerform>(&args).await?;
                let args = remote::DomainMigrateFinish2Args {
                    dname: "guest".into(),
                    uri: uri.as_str().into(),
                    flags: wide(told.finish),
                    ..Default::default()
                };
                target.call::<remote::DomainMigrateFinish2>(&args).await?;
            }
            Version::Third => {
                let args = remote::DomainMigrateBegin3Args {
                    dom: dom(),
                    flags: wide(told.begin),
                    ..Default::default()
                };
                let begun = source.call::<remote::DomainMigrateBegin3>(&args).await?;
                let begun = begun.result()?;
                self.is_held(guest, told.begin).await;
                let args = remote::DomainMigratePrepare3Args {
                    cookie_in: begun.cookie_out,
                    uri_in: Some(address.as_str().into()),
                    flags: wide(told.prepare),
                    dom_xml: self.there(&begun.xml.to_string(), told.prepare).into(),
                    ..Default::default()
                };
                let prepared = target.call::<remote::DomainMigratePrepare3>(&args).await?;
                let prepared = prepared.result()?;
                let uri: String = prepared.uri_out.map_or(address, Into::into);
                // What only a guest that runs can use is not told to one that does not.
                let mut cookie = Bytes::default();
                if !told.perform.contains(F::OFFLINE) {
                    let args = remote::DomainMigratePerform3Args {
                        dom: dom(),
                        cookie_in: prepared.cookie_out,
                        uri: Some(uri.as_str().into()),
                        flags: wide(told.perform),
                        ..Default::default()
                    };
                    let performed = source.call::<remote::DomainMigratePerform3>(&args).await?;
                    cookie = Bytes(performed.result()?.cookie_out.0.into_owned().into());
                }
                let args = remote::DomainMigrateFinish3Args {
                    dname: "guest".into(),
                    cookie_in: cookie,
                    uri: Some(uri.as_str().into()),
                    flags: wide(told.finish),
                    ..Default::default()
                };
                let finished = target.call::<remote::DomainMigrateFinish3>(&args).await;
                // The source waits to be told how it ended, also when it ended badly.
                let mut args = remote::DomainMigrateConfirm3Args {
                    dom: dom(),
                    flags: wide(told.begin),
                    cancelled: i32::from(finished.is_err()),
                    ..Default::default()
                };
                if let Ok(finished) = &finished {
                    args.cookie_in = finished.result()?.cookie_out;
                }
                let confirmed = source.call::<remote::DomainMigrateConfirm3>(&args).await;
                finished?;
                confirmed?;
            }
            Version::Named => {
                let args = remote::DomainMigrateBegin3ParamsArgs {
                    dom: dom(),
                    params: Default::default(),
                    flags: told.begin,
                };
                let begun = source.call::<remote::DomainMigrateBegin3Params>(&args).await?;
                let begun = begun.result()?;
                self.is_held(guest, told.begin).await;
                let xml = self.there(&begun.xml.to_string(), told.prepare);
                let params = named(&xml, &address);
                let args = remote::DomainMigratePrepare3ParamsArgs {
                    params: params.as_slice().into(),
                    cookie_in: begun.cookie_out,
                    flags: told.prepare,
                };
                let prepared = target.call::<remote::DomainMigratePrepare3Params>(&args).await?;
                let prepared = prepared.result()?;
                let uri: String = prepared.uri_out.map_or(address, Into::into);
                // What only a guest that runs can use is not told to one that does not.
                let mut cookie = Bytes::default();
                let params = named(&xml, &uri);
                if !told.perform.contains(F::OFFLINE) {
                    let args = remote::DomainMigratePerform3ParamsArgs {
                        dom: dom(),
                        dconnuri: None,
                        params: params.as_slice().into(),
                        cookie_in: prepared.cookie_out,
                        flags: told.perform,
                    };
                    let performed = source.call::<remote::DomainMigratePerform3Params>(&args).await?;
                    cookie = Bytes(performed.result()?.cookie_out.0.into_owned().into());
                }
                let args = remote::DomainMigrateFinish3ParamsArgs {
                    params: params.as_slice().into(),
                    cookie_in: cookie,
                    flags: told.finish,
                    cancelled: 0,
                };
                let finished = target.call::<remote::DomainMigrateFinish3Params>(&args).await;
                // The source waits to be told how it ended, also when it ended badly.
                let mut args = remote::DomainMigrateConfirm3ParamsArgs {
                    dom: dom(),
                    params: Default::default(),
                    cookie_in: Bytes::default(),
                    flags: told.begin,
                    cancelled: i32::from(finished.is_err()),
                };
                if let Ok(finished) = &finished {
                    args.cookie_in = finished.result()?.cookie_out;
                }
                let confirmed = source.call::<remote::DomainMigrateConfirm3Params>(&args).await;
                finished?;
                confirmed?;
            }
        }
        target.domain_by_name("guest").await
    }

    /// What was broken off when memory followed goes on, at the destination with the second version's calls: it has the guest, and looks for
    /// no cookie. The source takes that version's step for one that leads backwards.
    pub(crate) async fn again_at_the_second_version(
        &self,
        guest: &Domain,
        flags: F,
    ) -> Result<Domain, Error> {
        let dom = || guest.wire().into_owned();
        let wide = Wide::<F>::from;
        let args = remote::DomainMigrateBegin3Args { dom: dom(), flags: wide(flags), ..Default::default() };
        let begun = self.source.call::<remote::DomainMigrateBegin3>(&args).await?;
        let args = remote::DomainMigratePrepare2Args {
            uri_in: Some("tcp:127.0.0.1".into()),
            flags: wide(flags),
            dom_xml: begun.result()?.xml,
            ..Default::default()
        };
        let prepared = self.target.call::<remote::DomainMigratePrepare2>(&args).await?;
        let prepared = prepared.result()?;
        let args = remote::DomainMigratePerform3Args {
            dom: dom(),
            cookie_in: prepared.cookie,
            uri: prepared.uri_out.clone(),
            flags: wide(flags),
            ..Default::default()
        };
        self.source.call::<remote::DomainMigratePerform3>(&args).await?;
        let args = remote::DomainMigrateFinish2Args {
            dname: "guest".into(),
            uri: prepared.uri_out.unwrap_or_default(),
            flags: wide(flags),
            ..Default::default()
        };
        let finished = self.target.call::<remote::DomainMigrateFinish2>(&args).await;
        // The source waits to be told how it ended, also when it ended badly.
        let cancelled = i32::from(finished.is_err());
        let args = remote::DomainMigrateConfirm3Args {
            dom: dom(),
            flags: wide(flags),
            cancelled,
            ..Default::default()
        };
        let confirmed = self.source.call::<remote::DomainMigrateConfirm3>(&args).await;
        finished?;
        confirmed?;
        self.target.domain_by_name("guest").await
    }

    /// From the beginning on nothing else may change the guest, when that was asked for.
    async fn is_held(&self, guest: &Domain, flags: F) {
        // One that is taken up again is held since it was broken off.
        if !flags.intersects(F::OFFLINE | F::POSTCOPY_RESUME) {
            assert_eq!(
                guest.job().await.unwrap().is_some(),
                flags.contains(F::CHANGE_PROTECTION),
                "{flags:?}"
            );
        }
    }

    /// One call: the source's daemon connects to the destination's.
    pub(crate) async fn by_the_daemon(
        &self,
        version: Version,
        guest: &Domain,
        flags: F,
    ) -> Result<Domain, Error> {
        let socket = self.to.path("libvirt/libvirt-sock");
        let daemon = format!("qemu+unix:///session?socket={}", socket.display());
        let dom = guest.wire().into_owned();
        let xml = guest.xml(DomainXmlFlags::MIGRATABLE | DomainXmlFlags::SECURE).await?;
        let xml = self.there(&xml, flags);
        let address = (!flags.contains(F::TUNNELLED)).then_some("tcp:127.0.0.1");
        match version {
            // There is no room for another definition: the disk is copied to where it is.
            Version::Second => {
                let args = remote::DomainMigratePerformArgs {
                    dom,
                    uri: daemon.into(),
                    flags: flags.into(),
                    ..Default::default()
                };
                self.source.call::<remote::DomainMigratePerform>(&args).await?;
            }
            Version::Third => {
                let args = remote::DomainMigratePerform3Args {
                    dom,
                    xmlin: Some(xml.into()),
                    dconnuri: Some(daemon.into()),
                    uri: address.map(Into::into),
                    flags: flags.into(),
                    ..Default::default()
                };
                self.source.call::<remote::DomainMigratePerform3>(&args).await?;
            }
            Version::Named => {
                let parameters = MigrateParameters {
                    uri: address.map(Into::into),
                    destination_xml: Some(xml),
                    ..Default::default()
                };
                guest.migrate_to_uri(&daemon, &parameters, flags).await?.await?;
            }
        }
        self.target.domain_by_name("guest").await
    }

    /// Looks at what must have come of it, and clears it away.
    async fn has_moved(&self, what: &str, moved: &Domain, flags: F) {
        let state = moved.state().await.unwrap().state;
        if flags.contains(F::OFFLINE) {
            assert_eq!(state, DomainState::Shutoff, "{what}");
        } else {
            let expected = if flags.contains(F::PAUSED) { DomainState::Paused } else { DomainState::Running };
            assert_eq!(state, expected, "{what}");
            if flags.contains(F::PAUSED) {
                moved.resume().await.unwrap();
            }
            // 11.3.0 can lock itself up when a stream is broken off, as this one is in the end.
            if !is_other() {
                let mut console = moved.open_console(None, DomainConsoleFlags::FORCE).await.unwrap();
                awake(&mut console).await;
            }
        }
        let persistent = moved.is_persistent().await.unwrap();
        assert_eq!(persistent, flags.contains(F::PERSIST_DEST), "{what}");
        if !flags.contains(F::OFFLINE) {
            moved.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
        }
        if persistent {
            moved.undefine(DomainUndefineFlags::empty()).await.unwrap();
        }
        let left = self.source.domain_by_name("guest").await;
        assert_eq!(left.is_err(), flags.contains(F::UNDEFINE_SOURCE), "{what}");
        if let Ok(left) = left {
            assert!(!left.is_active().await.unwrap(), "{what}");
            left.undefine(DomainUndefineFlags::empty()).await.unwrap();
        }
    }

    /// Whether the destination's own disk has got what the source's holds.
    fn is_copied(&self) -> bool {
        std::fs::read(self.to.path("copy")).unwrap() == std::fs::read(self.from.path("disk")).unwrap()
    }
}

async fn steps_take_flags(test: &str, version: Version) {
    let Some(hosts) = Hosts::start(test).await else { return };
    for flags in FLAGS {
        let what = format!("{version:?} {flags:?}");
        let told = Told::all(BASE | flags);
        let copied = told.perform.intersects(COPIED);
        let guest = hosts.running(copied).await;
        let moved = hosts.step_by_step(version, &guest, told).await;
        let moved = moved.unwrap_or_else(|error| panic!("{what}: {error}"));
        hosts.has_moved(&what, &moved, flags).await;
        if copied {
            assert!(hosts.is_copied(), "{what}");
        }
    }
    // A client that does by itself what the source's daemon would.
    let mut told = Told::all(BASE | F::PEER2PEER);
    told.perform.remove(F::PEER2PEER);
    told.begin |= F::TUNNELLED;
    told.finish |= F::TUNNELLED;
    let guest = hosts.running(false).await;
    let moved = hosts.step_by_step(version, &guest, told).await.unwrap();
    hosts.has_moved("in the daemon's place", &moved, F::empty()).await;
    if version == Version::Second {
        return;
    }
    // A guest that does not run: only its definition goes.
    let offline = F::OFFLINE | F::PERSIST_DEST | F::UNDEFINE_SOURCE;
    let guest = hosts.guest(false).await;
    // What is confirmed must have been held.
    let told = Told { begin: offline | F::CHANGE_PROTECTION, ..Told::all(offline) };
    let moved = hosts.step_by_step(version, &guest, told).await.unwrap();
    hosts.has_moved("offline", &moved, offline).await;
}

#[tokio::test]
async fn steps_without_names_take_every_flag() {
    steps_take_flags("steps_without_names_take_every_flag", Version::Third).await;
}

#[tokio::test]
async fn steps_with_names_take_every_flag() {
    steps_take_flags("steps_with_names_take_every_flag", Version::Named).await;
}

#[tokio::test]
async fn steps_of_the_second_version_take_every_flag() {
    steps_take_flags("steps_of_the_second_version_take_every_flag", Version::Second).await;
}

#[tokio::test]
async fn a_daemon_that_migrates_by_itself_takes_every_flag() {
    let test = "a_daemon_that_migrates_by_itself_takes_every_flag";
    let Some(hosts) = Hosts::start(test).await else { return };
    for version in [Version::Second, Version::Third, Version::Named] {
        let offline = F::OFFLINE | F::PERSIST_DEST;
        for flags in FLAGS.into_iter().chain([F::TUNNELLED, offline]) {
            let what = format!("{version:?} {flags:?}");
            let copied = flags.intersects(COPIED) && version != Version::Second;
            let guest = if flags.contains(F::OFFLINE) {
                hosts.guest(copied).await
            } else {
                hosts.running(copied).await
            };
            let base = if flags.contains(F::OFFLINE) { F::PEER2PEER } else { BASE | F::PEER2PEER };
            let moved = hosts.by_the_daemon(version, &guest, base | flags).await;
            let moved = moved.unwrap_or_else(|error| panic!("{what}: {error}"));
            hosts.has_moved(&what, &moved, flags).await;
            if copied {
                assert!(hosts.is_copied(), "{what}");
            }
        }
    }
}

/// What daemons still do with the call that the second version begins with.
#[tokio::test]
async fn a_definition_alone_goes_with_the_second_version() {
    let Some(hosts) = Hosts::start("a_definition_alone_goes_with_the_second_version").await else { return };
    let guest = hosts.guest(false).await;
    let xml = guest.xml(DomainXmlFlags::MIGRATABLE | DomainXmlFlags::SECURE).await.unwrap();
    for flags in FLAGS.into_iter().chain([BASE, F::PEER2PEER]) {
        // There is nothing that a disk could be copied by.
        let flags = F::OFFLINE | F::PERSIST_DEST | F::LIVE | (flags - COPIED);
        let args = remote::DomainMigratePrepare2Args {
            flags: flags.into(),
            dom_xml: xml.as_str().into(),
            ..Default::default()
        };
        hosts.target.call::<remote::DomainMigratePrepare2>(&args).await.unwrap();
        let args = remote::DomainMigrateFinish2Args {
            dname: "guest".into(),
            flags: flags.into(),
            ..Default::default()
        };
        let finished = hosts.target.call::<remote::DomainMigrateFinish2>(&args).await.unwrap();
        assert_eq!(finished.result().unwrap().ddom.uuid, guest.uuid(), "{flags:?}");
        let moved = hosts.target.domain_by_name("guest").await.unwrap();
        assert!(moved.is_persistent().await.unwrap() && !moved.is_active().await.unwrap(), "{flags:?}");
        moved.undefine(DomainUndefineFlags::empty()).await.unwrap();
    }
}

#[tokio::test]
async fn a_guest_that_is_off_goes_with_its_definition() {
    let Some(hosts) = Hosts::start("a_guest_that_is_off_goes_with_its_definition").await else { return };
    let guest = hosts.guest(false).await;
    let offline = F::OFFLINE | F::PERSIST_DEST;
    let moved =
        guest.migrate(&hosts.target, &MigrateParameters::default(), offline).await.unwrap().await.unwrap();
    hosts.has_moved("offline", &moved, offline).await;
}

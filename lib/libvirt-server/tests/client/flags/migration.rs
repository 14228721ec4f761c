//! Every step of every version of migration, with every flag.

use super::*;
use libvirt_client::protocol::enums::DomainState as State;
use libvirt_client::protocol::flags::DomainMigrateFlags as F;
use libvirt_client::protocol::parameters::{MIGRATE_PARAM_DEST_NAME, MIGRATE_PARAM_DEST_XML};
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{ByteStream, Params};

/// How the steps are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Second,
    Third,
    ThirdWithParameters,
}

const ALL: [Version; 3] = [Version::Second, Version::Third, Version::ThirdWithParameters];

/// With what one flag can be told apart, its companions.
fn together(flag: F) -> F {
    match flag {
        F::OFFLINE => flag | F::PERSIST_DEST,
        F::ZEROCOPY => flag | F::PARALLEL,
        F::TUNNELLED => flag | F::PEER2PEER,
        _ => flag,
    }
}

fn params(xml: &str) -> Params {
    Params::new().with(MIGRATE_PARAM_DEST_XML, xml.to_owned()).with(MIGRATE_PARAM_DEST_NAME, "m")
}

struct Hosts {
    source: Connect,
    target: Connect,
    guest: types::Domain<'static>,
    version: Version,
    flags: F,
}

impl Hosts {
    async fn new(version: Version, flags: F) -> Self {
        let (source, target) = (fresh().await, fresh().await);
        let guest = define(&source, &xml("m", "")).await;
        if !flags.contains(F::OFFLINE) {
            guest.start(Default::default()).await.unwrap();
        }
        let guest = source.domain_by_name("m").await.unwrap().wire().into_owned();
        Self { source, target, guest, version, flags }
    }

    /// The definition that goes over.
    async fn begin(&self) -> String {
        let dom = self.guest.clone();
        match self.version {
            // The second version has no such step: the client asks for the definition.
            Version::Second => {
                let flags = libvirt_client::protocol::flags::DomainXmlFlags::MIGRATABLE;
                self.source.domain_by_name("m").await.unwrap().xml(flags).await.unwrap()
            }
            Version::Third => {
                let args =
                    remote::DomainMigrateBegin3Args { dom, flags: self.flags.into(), ..Default::default() };
                done::<remote::DomainMigrateBegin3>(&self.source, &args)
                    .await
                    .result()
                    .unwrap()
                    .xml
                    .to_string()
            }
            Version::ThirdWithParameters => {
                let args =
                    remote::DomainMigrateBegin3ParamsArgs { dom, flags: self.flags, ..Default::default() };
                done::<remote::DomainMigrateBegin3Params>(&self.source, &args)
                    .await
                    .result()
                    .unwrap()
                    .xml
                    .to_string()
            }
        }
    }

    async fn prepare(&self, xml: &str) {
        let (dom_xml, dname, flags) = (xml.into(), Some("m".into()), self.flags.into());
        match self.version {
            Version::Second => {
                let args = remote::DomainMigratePrepare2Args { dom_xml, dname, flags, ..Default::default() };
                done::<remote::DomainMigratePrepare2>(&self.target, &args).await;
            }
            Version::Third => {
                let args = remote::DomainMigratePrepare3Args { dom_xml, dname, flags, ..Default::default() };
                done::<remote::DomainMigratePrepare3>(&self.target, &args).await;
            }
            Version::ThirdWithParameters => {
                let given = params(xml);
                let args = remote::DomainMigratePrepare3ParamsArgs {
                    params: given.as_slice().into(),
                    flags: self.flags,
                    ..Default::default()
                };
                done::<remote::DomainMigratePrepare3Params>(&self.target, &args).await;
            }
        }
    }

    /// The same, with a stream for the guest's memory.
    async fn prepare_tunnel(&self, xml: &str) -> ByteStream {
        let (dom_xml, dname, flags) = (xml.into(), Some("m".into()), self.flags.into());
        match self.version {
            Version::Second => {
                let args =
                    remote::DomainMigratePrepareTunnelArgs { dom_xml, dname, flags, ..Default::default() };
                self.target.open_stream::<remote::DomainMigratePrepareTunnel>(&args).await
            }
            Version::Third => {
                let args =
                    remote::DomainMigratePrepareTunnel3Args { dom_xml, dname, flags, ..Default::default() };
                self.target.open_stream::<remote::DomainMigratePrepareTunnel3>(&args).await
            }
            Version::ThirdWithParameters => {
                let given = params(xml);
                let args = remote::DomainMigratePrepareTunnel3ParamsArgs {
                    params: given.as_slice().into(),
                    flags: self.flags,
                    ..Default::default()
                };
                self.target.open_stream::<remote::DomainMigratePrepareTunnel3Params>(&args).await
            }
        }
        .unwrap()
    }

    async fn perform(&self) {
        // That the source opens a connection of its own is another kind of migration.
        let (dom, flags) = (self.guest.clone(), self.flags - F::PEER2PEER - F::TUNNELLED);
        match self.version {
            Version::Second => {
                let args =
                    remote::DomainMigratePerformArgs { dom, flags: flags.into(), ..Default::default() };
                done::<remote::DomainMigratePerform>(&self.source, &args).await;
            }
            Version::Third => {
                let args =
                    remote::DomainMigratePerform3Args { dom, flags: flags.into(), ..Default::default() };
                done::<remote::DomainMigratePerform3>(&self.source, &args).await;
            }
            Version::ThirdWithParameters => {
                let args = remote::DomainMigratePerform3ParamsArgs { dom, flags, ..Default::default() };
                done::<remote::DomainMigratePerform3Params>(&self.source, &args).await;
            }
        }
    }

    async fn finish(&self) {
        let (dname, flags) = ("m".into(), self.flags.into());
        match self.version {
            Version::Second => {
                let args = remote::DomainMigrateFinish2Args { dname, flags, ..Default::default() };
                done::<remote::DomainMigrateFinish2>(&self.target, &args).await;
            }
            Version::Third => {
                let args = remote::DomainMigrateFinish3Args { dname, flags, ..Default::default() };
                done::<remote::DomainMigrateFinish3>(&self.target, &args).await;
            }
            Version::ThirdWithParameters => {
                let given = params("");
                let args = remote::DomainMigrateFinish3ParamsArgs {
                    params: given.as_slice().into(),
                    flags: self.flags,
                    ..Default::default()
                };
                done::<remote::DomainMigrateFinish3Params>(&self.target, &args).await;
            }
        }
    }

    async fn confirm(&self) {
        let (dom, flags) = (self.guest.clone(), self.flags);
        match self.version {
            Version::Second => {}
            Version::Third => {
                let args =
                    remote::DomainMigrateConfirm3Args { dom, flags: flags.into(), ..Default::default() };
                done::<remote::DomainMigrateConfirm3>(&self.source, &args).await;
            }
            Version::ThirdWithParameters => {
                let args = remote::DomainMigrateConfirm3ParamsArgs { dom, flags, ..Default::default() };
                done::<remote::DomainMigrateConfirm3Params>(&self.source, &args).await;
            }
        }
    }

    /// What has become of the guest on both sides.
    async fn check(&self) {
        let (flags, what) = (self.flags, (self.version, self.flags));
        let there = self.target.domain_by_name("m").await.unwrap();
        let expected = match flags {
            _ if flags.contains(F::OFFLINE) => State::Shutoff,
            _ if flags.contains(F::PAUSED) => State::Paused,
            _ => State::Running,
        };
        assert_eq!(state(&there).await, expected, "{what:?}");
        assert_eq!(there.is_persistent().await.unwrap(), flags.contains(F::PERSIST_DEST), "{what:?}");
        match self.source.domain_by_name("m").await {
            Ok(here) => {
                assert_eq!(state(&here).await, State::Shutoff, "{what:?}");
                assert!(!flags.contains(F::UNDEFINE_SOURCE), "{what:?}");
            }
            Err(_) => assert!(flags.contains(F::UNDEFINE_SOURCE), "{what:?}"),
        }
    }
}

/// The URI by which other servers can go to this one by themselves.
async fn listen(handle: &libvirt_server::Handle) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("test+tcp://{}/default", listener.local_addr().unwrap());
    let serving = handle.clone();
    super::super::run(async move { serving.serve_tcp(listener).await.is_ok() });
    uri
}

/// A server to which others can go by themselves.
async fn reachable() -> (Connect, String) {
    let handle = start(complete().version(super::super::NEWEST));
    (super::super::connect(&handle).await, listen(&handle).await)
}

impl Hosts {
    /// Has the source do everything by itself.
    async fn go_out(&self, uri: &str) -> Result<(), libvirt_client::Error> {
        let (dom, flags) = (self.guest.clone(), self.flags);
        let named = params("");
        let named: Vec<_> =
            named.as_slice().iter().filter(|param| param.field == MIGRATE_PARAM_DEST_NAME).cloned().collect();
        match self.version {
            Version::Second => {
                let (uri, flags) = (uri.into(), flags.into());
                let args = remote::DomainMigratePerformArgs { dom, uri, flags, ..Default::default() };
                self.source.call::<remote::DomainMigratePerform>(&args).await.map(drop)
            }
            Version::Third => {
                let (dconnuri, dname, flags) = (Some(uri.into()), Some("m".into()), flags.into());
                let args =
                    remote::DomainMigratePerform3Args { dom, dconnuri, dname, flags, ..Default::default() };
                self.source.call::<remote::DomainMigratePerform3>(&args).await.map(drop)
            }
            Version::ThirdWithParameters => {
                let (dconnuri, params) = (Some(uri.into()), named.into());
                let args = remote::DomainMigratePerform3ParamsArgs {
                    dom,
                    dconnuri,
                    params,
                    flags,
                    ..Default::default()
                };
                self.source.call::<remote::DomainMigratePerform3Params>(&args).await.map(drop)
            }
        }
    }
}

fn every_flag() -> impl Iterator<Item = F> {
    F::all().iter_names().map(|(_, flag)| flag).filter(|flag| *flag != F::POSTCOPY_RESUME)
}

#[tokio::test]
async fn a_guest_goes_over_by_every_version_and_flag() {
    for version in ALL {
        for flag in every_flag() {
            let hosts = Hosts::new(version, together(flag)).await;
            let xml = hosts.begin().await;
            hosts.prepare(&xml).await;
            hosts.perform().await;
            hosts.finish().await;
            hosts.confirm().await;
            hosts.check().await;
        }
    }
}

#[tokio::test]
async fn a_guest_goes_over_through_a_tunnel() {
    for version in ALL {
        for flag in every_flag().filter(|flag| !together(*flag).intersects(F::OFFLINE | F::PARALLEL)) {
            let hosts = Hosts::new(version, together(flag)).await;
            let xml = hosts.begin().await;
            let mut tunnel = hosts.prepare_tunnel(&xml).await;
            tunnel.send(&super::super::pattern(300_000)).await.unwrap();
            hosts.perform().await;
            tunnel.finish().await.unwrap();
            hosts.finish().await;
            hosts.confirm().await;
            hosts.check().await;
        }
        // What only needs its preparation: nothing is there to be sent.
        for flags in [F::OFFLINE | F::PERSIST_DEST, F::PARALLEL, F::PARALLEL | F::ZEROCOPY] {
            let hosts = Hosts::new(version, flags).await;
            let xml = hosts.begin().await;
            hosts.prepare_tunnel(&xml).await.finish().await.unwrap();
            hosts.target.domain_by_name("m").await.unwrap();
        }
    }
}

/// Two that exclude each other, two that need another.
#[tokio::test]
async fn flags_that_make_no_sense_together_are_refused() {
    let hosts = Hosts::new(Version::ThirdWithParameters, F::empty()).await;
    for flags in [F::NON_SHARED_DISK | F::NON_SHARED_INC, F::TUNNELLED | F::PARALLEL, F::ZEROCOPY, F::OFFLINE]
    {
        let args =
            remote::DomainMigrateBegin3ParamsArgs { dom: hosts.guest.clone(), flags, ..Default::default() };
        refused::<remote::DomainMigrateBegin3Params>(&hosts.source, &args).await;
    }
}

/// A migration that broke when the guest had gone ahead is taken up again by the same steps.
#[tokio::test]
async fn a_broken_migration_is_taken_up_again() {
    use libvirt_client::protocol::flags::DomainAbortJobFlags;
    use std::time::Duration;
    let flags = F::POSTCOPY | F::POSTCOPY_RESUME;
    for version in ALL {
        let slow =
            complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
        let handle = start(slow);
        let (source, beside) = (super::super::connect(&handle).await, super::super::connect(&handle).await);
        define(&source, &xml("m", "")).await.start(Default::default()).await.unwrap();
        let guest = beside.domain_by_name("m").await.unwrap();
        let mut hosts = Hosts {
            source,
            target: fresh().await,
            guest: guest.wire().into_owned(),
            version,
            flags: F::POSTCOPY,
        };
        let xml = hosts.begin().await;
        hosts.prepare(&xml).await;
        let break_off = async {
            while guest.job().await.unwrap().is_none() {}
            guest.start_post_copy().await.unwrap();
            guest.abort_job_with(DomainAbortJobFlags::POSTCOPY).await.unwrap();
        };
        let args = remote::DomainMigratePerform3ParamsArgs {
            dom: hosts.guest.clone(),
            flags: F::POSTCOPY,
            ..Default::default()
        };
        let perform = hosts.source.call::<remote::DomainMigratePerform3Params>(&args);
        let (performed, ()) = tokio::join!(perform, break_off);
        performed.map(drop).unwrap_err();
        // Nobody else may have it meanwhile.
        if version != Version::Second {
            let args =
                remote::DomainMigrateBegin3ParamsArgs { dom: hosts.guest.clone(), ..Default::default() };
            refused::<remote::DomainMigrateBegin3Params>(&hosts.source, &args).await;
        }
        hosts.flags = flags;
        hosts.begin().await;
        hosts.prepare(&xml).await;
        hosts.prepare_tunnel(&xml).await.finish().await.unwrap();
        handle.with(|hypervisor| hypervisor.set_job_duration(Duration::ZERO)).await.unwrap();
        hosts.perform().await;
        hosts.finish().await;
        hosts.confirm().await;
        hosts.check().await;
        // One that has not broken is not taken up.
        let args =
            remote::DomainMigratePerform3ParamsArgs { dom: dom(&beside).await, flags, ..Default::default() };
        refused::<remote::DomainMigratePerform3Params>(&hosts.source, &args).await;
    }
}

#[tokio::test]
async fn a_server_migrates_by_itself_with_every_flag() {
    for version in ALL {
        for flag in every_flag() {
            for by_itself in [F::PEER2PEER, F::PEER2PEER | F::TUNNELLED] {
                let flags = together(flag) | by_itself;
                if flags.contains(F::TUNNELLED | F::PARALLEL) {
                    continue;
                }
                let mut hosts = Hosts::new(version, flags).await;
                let uri;
                (hosts.target, uri) = reachable().await;
                hosts.go_out(&uri).await.unwrap();
                hosts.check().await;
            }
        }
    }
}

#[tokio::test]
async fn a_migration_that_cannot_go_out_leaves_the_guest_where_it_is() {
    use libvirt_server::{Mechanism, Sasl};
    let mut hosts = Hosts::new(Version::ThirdWithParameters, F::PEER2PEER | F::TUNNELLED).await;
    let refusal = |error: libvirt_client::Error| error.refusal().unwrap_or_else(|| panic!("{error}")).clone();
    let args = remote::DomainMigratePerform3ParamsArgs {
        dom: hosts.guest.clone(),
        flags: hosts.flags,
        ..Default::default()
    };
    assert_eq!(
        refused::<remote::DomainMigratePerform3Params>(&hosts.source, &args).await,
        ErrorNumber::InvalidArg,
        "without a URI"
    );
    let cookie_in = libvirt_client::protocol::xdr::Bytes(b"x".to_vec().into());
    let args = remote::DomainMigratePerform3ParamsArgs { cookie_in, ..args };
    assert_eq!(
        refused::<remote::DomainMigratePerform3Params>(&hosts.source, &args).await,
        ErrorNumber::OperationInvalid,
        "with another's cookie"
    );
    for uri in ["test+ssh://somewhere/default", "test:///default"] {
        assert_eq!(refusal(hosts.go_out(uri).await.unwrap_err()).code, ErrorNumber::InvalidArg, "{uri}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refusal(hosts.go_out(&format!("test+tcp://{nobody}/default")).await.unwrap_err());
    assert!(error.message.contains("the destination's daemon"), "{error}");
    // One that wants to know who comes, one where it runs already.
    let sasl = Sasl::new([Mechanism::Plain]).user("fred", "geheim");
    let closed = listen(&start(complete().sasl(sasl))).await;
    assert!(refusal(hosts.go_out(&closed).await.unwrap_err()).message.contains("authentication required"));
    let taken;
    (hosts.target, taken) = reachable().await;
    define(&hosts.target, &xml("m", "")).await.start(Default::default()).await.unwrap();
    refusal(hosts.go_out(&taken).await.unwrap_err());
    let here = hosts.source.domain_by_name("m").await.unwrap();
    assert_eq!(state(&here).await, State::Running);
    assert_eq!(state(&hosts.target.domain_by_name("m").await.unwrap()).await, State::Running);
}

#[tokio::test]
async fn a_migration_that_goes_out_is_a_job_that_can_be_aborted() {
    use std::time::Duration;
    let slow = complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
    let handle = start(slow);
    let (source, beside) = (super::super::connect(&handle).await, super::super::connect(&handle).await);
    let (target, uri) = reachable().await;
    let there = target.domain_by_name("test").await.unwrap();
    there.destroy(Default::default()).await.unwrap();
    there.undefine(Default::default()).await.unwrap();
    let guest = beside.domain_by_name("test").await.unwrap();
    let flags = F::PEER2PEER | F::TUNNELLED | F::LIVE;
    let dom = guest.wire().into_owned();
    let hosts = Hosts { source, target, guest: dom, version: Version::Third, flags };
    let abort = async {
        while guest.job().await.unwrap().is_none() {}
        guest.abort_job().await.unwrap();
    };
    let (gone, ()) = tokio::join!(hosts.go_out(&uri), abort);
    assert_eq!(gone.unwrap_err().refusal().unwrap().code, ErrorNumber::OperationAborted);
    assert_eq!(state(&guest).await, State::Running);
    assert!(hosts.target.domain_by_name("m").await.unwrap_err().is_not_found());
}

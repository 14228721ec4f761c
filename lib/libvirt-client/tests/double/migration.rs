//! Migration, when somebody dies in the middle.

use crate::mortal::{Back, Mortal, When};
use libvirt_client::protocol::enums::{DomainState, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::DomainMigrateFlags as F;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{
    self, DomainMigrateBegin3Params as Begin, DomainMigrateConfirm3Params as Confirm,
    DomainMigrateFinish3Params as Finish, DomainMigratePerform3Params as Perform,
    DomainMigratePrepare3Params as Prepare,
};
use libvirt_client::protocol::xdr;
use libvirt_client::transport::Privacy;
use libvirt_client::{
    Aftermath, Connect, Domain, Error, ErrorKind, Item, MigrateParameters, MigrationJob, Options, Reconnect,
};
use libvirt_server::{Builder, Handle, Scope, Server};
use std::time::Duration;

const GUEST: &str = "<domain type='test'><name>m</name><memory>1</memory><os><type>hvm</type></os></domain>";

fn server(name: &str) -> Builder {
    Server::builder().scope(Scope::Complete).hostname(name)
}

/// A connection that nobody cuts.
async fn direct(handle: &Handle) -> Connect {
    let transport = super::end(handle, Privacy::Private);
    let options = Options { keepalive: None, ..Options::default() };
    Connect::builder("").options(options).open_on("test:///default", transport, super::run).await.unwrap()
}

async fn through(mortal: &Mortal) -> Connect {
    let policy =
        Reconnect { pause: Duration::from_millis(1), longest: Duration::from_millis(5), attempts: Some(50) };
    Connect::builder(&mortal.uri()).reconnect(policy).open_with(super::run).await.unwrap()
}

/// Two hosts, of which one dies.
struct Hosts {
    /// Seen by whom nobody cuts off.
    here: Connect,
    there: Connect,
    source: Mortal,
    target: Mortal,
    guest: Domain,
    to: Connect,
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    Source,
    Destination,
}

impl Hosts {
    async fn new(who: Dies, step: i32, when: When, back: Back) -> Self {
        let (from, to) = (super::start(server("here")), super::start(server("there")));
        let (here, there) = (direct(&from).await, direct(&to).await);
        here.create_domain(GUEST, Default::default()).await.unwrap();
        let at = |host| (who == host).then_some((step, when));
        let source = Mortal::new(from, at(Dies::Source), back);
        let target = Mortal::new(to, at(Dies::Destination), back);
        let guest = through(&source).await.domain_by_name("m").await.unwrap();
        let to = through(&target).await;
        Self { here, there, source, target, guest, to }
    }

    async fn migrate(&self) -> Result<MigrationJob, Error> {
        self.guest.migrate(&self.to, &MigrateParameters::default(), F::LIVE).await
    }

    /// What the source was told: whether to go on with the guest.
    fn told(&self) -> Option<bool> {
        let said = self.source.heard::<Confirm>();
        let last = said.last()?;
        Some(xdr::decode::<remote::DomainMigrateConfirm3ParamsArgs<'_>>(last).unwrap().cancelled != 0)
    }
}

/// Its state, if it is there.
async fn state(host: &Connect) -> Option<DomainState> {
    match host.domain_by_name("m").await {
        Ok(domain) => Some(domain.state().await.unwrap().state),
        Err(error) if error.is_not_found() => None,
        Err(error) => panic!("{error}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Left {
    Moved,
    Stays,
    Unknown,
    /// The guest is where it was.
    Nothing,
}

fn left(error: &Error) -> Left {
    match error.kind() {
        ErrorKind::Migration { left: Aftermath::Moved(_), .. } => Left::Moved,
        ErrorKind::Migration { left: Aftermath::Stays, .. } => Left::Stays,
        ErrorKind::Migration { left: Aftermath::Unknown, .. } => Left::Unknown,
        ErrorKind::Migration { left, .. } => panic!("{left:?}"),
        _ => Left::Nothing,
    }
}

const RUNNING: Option<DomainState> = Some(DomainState::Running);
const PAUSED: Option<DomainState> = Some(DomainState::Paused);

#[tokio::test]
async fn whoever_dies_at_whatever_step_the_guest_runs_at_most_once() {
    use {Back::*, Dies::*, When::*};
    // Who dies, where, and what is left: the outcome, the guest here and there, and whether the source was told to go on.
    let begin = Begin::INFO.number;
    let prepare = Prepare::INFO.number;
    let perform = Perform::INFO.number;
    let finish = Finish::INFO.number;
    let confirm = Confirm::INFO.number;
    let nothing = Some(Left::Nothing);
    for (who, step, when, back, outcome, here, there, told) in [
        (Source, begin, Before, AtOnce, &nothing, RUNNING, None, Some(true)),
        (Source, begin, After, Never, &nothing, RUNNING, None, None),
        (Destination, prepare, Before, AtOnce, &nothing, RUNNING, None, Some(true)),
        (Destination, prepare, Before, Never, &nothing, RUNNING, None, Some(true)),
        // It waits for a guest that does not come; a real one ends it with our connection.
        (Destination, prepare, After, Never, &nothing, RUNNING, PAUSED, Some(true)),
        (Source, perform, Before, AtOnce, &nothing, RUNNING, None, Some(true)),
        (Source, perform, After, AtOnce, &nothing, RUNNING, None, Some(true)),
        (Source, perform, After, Never, &Some(Left::Stays), PAUSED, None, None),
        (Destination, finish, Before, Never, &Some(Left::Unknown), PAUSED, PAUSED, None),
        (Destination, finish, After, Never, &Some(Left::Unknown), PAUSED, RUNNING, None),
        (Destination, finish, After, AtOnce, &None, None, RUNNING, Some(false)),
        (Source, confirm, Before, AtOnce, &None, None, RUNNING, Some(false)),
        (Source, confirm, Before, Never, &Some(Left::Moved), PAUSED, RUNNING, None),
        (Source, confirm, After, Never, &Some(Left::Moved), None, RUNNING, Some(false)),
        (Source, confirm, After, AtOnce, &None, None, RUNNING, Some(false)),
    ] {
        let case = format!("{who:?} dies at {step} {when:?} and comes back {back:?}");
        let hosts = Hosts::new(who, step, when, back).await;
        let ended = hosts.migrate().await.unwrap().await;
        assert_eq!(ended.as_ref().err().map(left), *outcome, "{case}: {ended:?}");
        assert_eq!((state(&hosts.here).await, state(&hosts.there).await), (here, there), "{case}");
        assert_eq!(hosts.told(), told, "{case}");
        if let Err(error) = ended {
            assert!(!error.is_retryable() || *outcome == nothing, "{case}: {error}");
        }
    }
}

#[tokio::test]
async fn a_destination_that_has_thrown_the_guest_away_lets_the_source_go_on() {
    let hosts = Hosts::new(Dies::Destination, Finish::INFO.number, When::Before, Back::AtOnce).await;
    let job = hosts.migrate().await.unwrap();
    hosts.target.dead().await;
    // As a daemon does whose client goes before the guest was taken over.
    let waiting = hosts.there.domain_by_name("m").await.unwrap();
    waiting.destroy(Default::default()).await.unwrap();
    let error = job.await.unwrap_err();
    assert_eq!((left(&error), hosts.told()), (Left::Nothing, Some(true)), "{error}");
    assert_eq!(state(&hosts.here).await, RUNNING);
}

/// A host at which nothing comes to an end by itself, in a time that goes as fast as nothing happens.
async fn slow() -> (Connect, Connect, Domain) {
    let slow =
        server("here").job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
    let (from, to) = (super::start(slow), super::start(server("there")));
    let transport = super::end(&from, Privacy::Private);
    // Signs of life go by the real time.
    let options = Options { deadline: Some(Duration::from_secs(5)), keepalive: None, ..Options::default() };
    let builder = Connect::builder("").options(options);
    let source = builder.open_on("test:///default", transport, super::run).await.unwrap();
    let guest = source.create_domain(GUEST, Default::default()).await.unwrap();
    (source, direct(&to).await, guest)
}

#[tokio::test(start_paused = true)]
async fn a_transfer_has_no_deadline_of_calls_and_can_be_aborted() {
    let (source, target, guest) = slow().await;
    let job = guest.migrate(&target, &MigrateParameters::default(), F::LIVE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(job.progress().await.unwrap().is_some(), "it is at work, a hundred deadlines later");
    job.abort().await.unwrap();
    let error = job.await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::OperationAborted, "{error}");
    assert_eq!((state(&source).await, state(&target).await), (RUNNING, None));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_aborted_before_it_transfers_is_no_more() {
    let (source, target, guest) = slow().await;
    let job = guest.migrate(&target, &MigrateParameters::default(), F::LIVE).await.unwrap();
    // Its task has not run yet.
    job.abort().await.unwrap();
    let error = job.await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)), "{error}");
    assert_eq!((state(&source).await, state(&target).await), (RUNNING, None));
}

#[tokio::test]
async fn what_is_sent_is_too_late_to_abort() {
    let hosts = Hosts::new(Dies::Destination, i32::MAX, When::Before, Back::Never).await;
    hosts.target.silence::<Finish>(true);
    let mut job = hosts.migrate().await.unwrap();
    while hosts.target.heard::<Finish>().is_empty() {
        assert!(futures::poll!(&mut job).is_pending());
        tokio::task::yield_now().await;
    }
    let error = job.abort().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)), "{error}");
    drop(hosts);
}

#[tokio::test]
async fn a_migration_goes_on_when_nobody_waits_for_it() {
    let hosts = Hosts::new(Dies::Destination, i32::MAX, When::Before, Back::Never).await;
    let mut events = hosts.there.subscribe(Kind::DomainLifecycle).await.unwrap();
    let mut job = hosts.migrate().await.unwrap();
    assert!(futures::poll!(&mut job).is_pending());
    drop(job);
    while state(&hosts.there).await != RUNNING {
        assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
    }
    // It was taken through to its last step.
    let mut gone = hosts.here.subscribe(Kind::DomainLifecycle).await.unwrap();
    while state(&hosts.here).await.is_some() {
        gone.next().await.unwrap();
    }
    assert_eq!(hosts.told(), Some(false));
}

#[tokio::test]
async fn a_guest_that_stands_still_stands_still_there_too() {
    let hosts = Hosts::new(Dies::Destination, i32::MAX, When::Before, Back::Never).await;
    hosts.here.domain_by_name("m").await.unwrap().suspend().await.unwrap();
    hosts.migrate().await.unwrap().await.unwrap();
    assert_eq!((state(&hosts.here).await, state(&hosts.there).await), (None, PAUSED));
}

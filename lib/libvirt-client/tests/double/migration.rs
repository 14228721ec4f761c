//! Migration, when somebody dies in the middle.

use crate::mortal::{Back, Death, Mortal, When};
use libvirt_client::protocol::enums::{DomainPausedReason, DomainState, ErrorDomain, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::DomainMigrateFlags as F;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{
    self, DomainLookupByUuid, DomainMigrateBegin3Params as Begin, DomainMigrateConfirm3Params as Confirm,
    DomainMigrateFinish3Params as Finish, DomainMigratePerform3Params as Perform,
    DomainMigratePrepare3Params as Prepare,
};
use libvirt_client::protocol::xdr;
use libvirt_client::transport::Privacy;
use libvirt_client::{
    Aftermath, Connect, Domain, Driver, DriverEnd, Error, ErrorKind, Item, MigrateParameters, MigrationJob,
    Options, Reconnect,
};
use libvirt_server::{Builder, Handle, Scope, Server};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const GUEST: &str = "<domain type='test'><name>m</name><memory>1</memory><os><type>hvm</type></os></domain>";

fn server(name: &str) -> Builder {
    Server::builder().scope(Scope::Complete).hostname(name)
}

/// A connection that nobody cuts.
async fn direct(handle: &Handle) -> Connect {
    let transport = super::end(handle, Privacy::Private);
    let options = Options { keepalive: None, ..Options::default() };
    Connect::builder("test:///default").options(options).open_on(transport, super::run).await.unwrap()
}

async fn through(mortal: &Mortal) -> Connect {
    let policy = Reconnect {
        pause: Duration::from_millis(1),
        longest: Duration::from_millis(5),
        attempts: Some(50),
        ..Reconnect::default()
    };
    // Signs of life go by the real time.
    let options = Options { keepalive: None, ..Options::default() };
    Connect::builder(&mortal.uri()).reconnect(policy).options(options).open_with(super::run).await.unwrap()
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
    /// Nobody dies.
    async fn living() -> Self {
        Self::new(Dies::Source, i32::MAX, When::Before, Back::AtOnce).await
    }

    async fn new(who: Dies, step: i32, when: When, back: Back) -> Self {
        let (from, to) = (super::start(server("here")), super::start(server("there")));
        let (here, there) = (direct(&from).await, direct(&to).await);
        here.create_domain(GUEST, Default::default()).await.unwrap();
        let (source, target) = (Mortal::new(from, back), Mortal::new(to, back));
        let death = Death::at(step, when).of(if who == Dies::Source { &source } else { &target });
        let at_destination = [Prepare::INFO.number, Finish::INFO.number].contains(&step);
        let steps = if at_destination { &target } else { &source };
        steps.fated([death]);
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What a death leaves: the outcome, the guest here and there, and whether the source was told to go on.
type Remains = (Option<Left>, Option<DomainState>, Option<DomainState>, Option<bool>);

const MOVED: Remains = (None, None, RUNNING, Some(false));
/// The guest goes on where it was, and the source knows that it is to.
const STAYED: Remains = (Some(Left::Nothing), RUNNING, None, Some(true));
/// Nobody knows whether the guest runs at the destination.
const UNKNOWN: Remains = (Some(Left::Unknown), PAUSED, PAUSED, None);
/// The guest has moved, and the source that holds a part of it cannot be told.
const UNTOLD: Remains = (Some(Left::Moved), PAUSED, RUNNING, None);

/// Who dies, before and after which step, and what is left when he comes back at once, and when never.
const DEATHS: [(Dies, i32, When, Remains, Remains); 20] = {
    use {Dies::*, When::*};
    let (begin, prepare) = (Begin::INFO.number, Prepare::INFO.number);
    let (perform, finish, confirm) = (Perform::INFO.number, Finish::INFO.number, Confirm::INFO.number);
    // The source was not told, and goes on by itself.
    let unheard = (Some(Left::Nothing), RUNNING, None, None);
    let stays = (Some(Left::Stays), RUNNING, None, None);
    [
        (Source, begin, Before, STAYED, unheard),
        (Source, begin, After, STAYED, unheard),
        (Destination, begin, Before, STAYED, STAYED),
        (Destination, begin, After, STAYED, STAYED),
        (Source, prepare, Before, STAYED, stays),
        (Source, prepare, After, STAYED, stays),
        (Destination, prepare, Before, STAYED, STAYED),
        // It waits for a guest that does not come; a real one ends it with our connection.
        (Destination, prepare, After, STAYED, (Some(Left::Nothing), RUNNING, PAUSED, Some(true))),
        (Source, perform, Before, STAYED, stays),
        (Source, perform, After, STAYED, (Some(Left::Stays), PAUSED, None, None)),
        (Destination, perform, Before, MOVED, UNKNOWN),
        (Destination, perform, After, MOVED, UNKNOWN),
        (Source, finish, Before, MOVED, UNTOLD),
        (Source, finish, After, MOVED, UNTOLD),
        // A daemon that comes back has the guest, and waits for a word that it has not heard.
        (Destination, finish, Before, UNKNOWN, UNKNOWN),
        (Destination, finish, After, MOVED, (Some(Left::Unknown), PAUSED, RUNNING, None)),
        (Source, confirm, Before, MOVED, UNTOLD),
        (Source, confirm, After, MOVED, (Some(Left::Moved), None, RUNNING, Some(false))),
        (Destination, confirm, Before, MOVED, MOVED),
        (Destination, confirm, After, MOVED, MOVED),
    ]
};

#[tokio::test]
async fn whoever_dies_at_whatever_step_the_guest_runs_at_most_once() {
    let cases = DEATHS.iter().flat_map(|(who, step, when, at_once, never)| {
        [(Back::AtOnce, at_once), (Back::Never, never)]
            .map(|(back, remains)| (*who, *step, *when, back, remains))
    });
    // Together: some wait for a destination that does not come back.
    let ends = cases.map(async |(who, step, when, back, remains)| {
        let case = format!("{who:?} dies at {step} {when:?} and comes back {back:?}");
        let hosts = Hosts::new(who, step, when, back).await;
        let ended = hosts.migrate().await.unwrap().await;
        let outcome = ended.as_ref().err().map(left);
        let found = (outcome, state(&hosts.here).await, state(&hosts.there).await, hosts.told());
        assert_eq!(found, *remains, "{case}: {ended:?}");
        if let Err(error) = ended {
            assert!(!error.is_retryable() || found.0 == Some(Left::Nothing), "{case}: {error}");
        }
    });
    assert_eq!(futures::future::join_all(ends).await.len(), 5 * 2 * 2 * 2);
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
    let builder = Connect::builder("test:///default").options(options);
    let source = builder.open_on(transport, super::run).await.unwrap();
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
async fn a_source_with_half_a_guest_is_told_that_the_other_half_does_not_run() {
    static NOW: AtomicU64 = AtomicU64::new(1_000_000);
    let clock = || Duration::from_secs(NOW.load(Ordering::Relaxed));
    let source = super::start(server("here").job_duration(Duration::from_secs(3600)).clock(clock));
    let guest = direct(&source).await.create_domain(GUEST, Default::default()).await.unwrap();
    let target = Mortal::new(super::start(server("there")), Back::AtOnce);
    target.refuse::<Finish>(ErrorDomain::Qemu, ErrorNumber::OperationFailed);
    let to = through(&target).await;
    let flags = F::LIVE | F::POSTCOPY;
    let job = guest.migrate(&to, &MigrateParameters::default(), flags).await.unwrap();
    while guest.start_post_copy().await.is_err() {
        // Its task has yet to run.
        tokio::task::yield_now().await;
    }
    // The transfer is through when the host's timer goes off, which it does at once from here on.
    NOW.fetch_add(3600, Ordering::Relaxed);
    tokio::time::pause();
    let error = job.await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Migration { left: Aftermath::Split, .. }), "{error}");
    let state = guest.state().await.unwrap();
    assert_eq!(
        (state.state, state.reason),
        (DomainState::Paused, i32::from(DomainPausedReason::PostcopyFailed))
    );
}

#[tokio::test]
async fn what_is_sent_is_too_late_to_abort() {
    let hosts = Hosts::living().await;
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
    let hosts = Hosts::living().await;
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
    let hosts = Hosts::living().await;
    hosts.here.domain_by_name("m").await.unwrap().suspend().await.unwrap();
    hosts.migrate().await.unwrap().await.unwrap();
    assert_eq!((state(&hosts.here).await, state(&hosts.there).await), (None, PAUSED));
}

#[tokio::test]
async fn a_question_that_is_lost_is_asked_again() {
    let hosts = Hosts::living().await;
    // The answer to the last step is lost, and so is the first question after it.
    let deaths = [(Finish::INFO.number, When::After), (DomainLookupByUuid::INFO.number, When::Before)];
    hosts.target.fated(deaths.map(|(procedure, when)| Death::at(procedure, when)));
    hosts.migrate().await.unwrap().await.unwrap();
    assert_eq!((state(&hosts.here).await, state(&hosts.there).await), (None, RUNNING));
    assert_eq!(hosts.told(), Some(false));
}

#[tokio::test]
async fn who_only_passes_calls_on_has_not_decided() {
    for (domain, told) in [(ErrorDomain::Rpc, Some(true)), (ErrorDomain::Qemu, None)] {
        let hosts = Hosts::living().await;
        hosts.source.refuse::<Perform>(domain, ErrorNumber::OperationFailed);
        let error = hosts.migrate().await.unwrap().await.unwrap_err();
        assert_eq!((left(&error), hosts.told()), (Left::Nothing, told), "{domain:?}: {error}");
        assert_eq!((state(&hosts.here).await, state(&hosts.there).await), (RUNNING, None));
    }
}

#[tokio::test]
async fn what_nobody_needs_is_not_waited_for_without_end() {
    let hosts = Hosts::living().await;
    hosts.source.refuse::<Perform>(ErrorDomain::Qemu, ErrorNumber::OperationFailed);
    hosts.target.silence::<Finish>(true);
    let job = hosts.migrate().await.unwrap();
    // From here on nothing else happens, and time goes by at once.
    tokio::time::pause();
    let error = job.await.unwrap_err();
    assert_eq!((left(&error), state(&hosts.here).await), (Left::Nothing, RUNNING), "{error}");
}

#[tokio::test]
async fn the_end_of_a_migration_is_told_once_and_is_no_lost_connection() {
    let hosts = Hosts::living().await;
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let run = move |driver: Driver| {
        let ends = ends.clone();
        super::run(async move { ends.send(driver.await) });
    };
    let connect = Connect::builder(&hosts.source.uri()).open_with(run).await.unwrap();
    let guest = connect.domain_by_name("m").await.unwrap();
    let mut job = guest.migrate(&hosts.to, &MigrateParameters::default(), F::LIVE).await.unwrap();
    (&mut job).await.unwrap();
    let again = (&mut job).await.unwrap_err();
    assert!(matches!(again.kind(), ErrorKind::Misuse(_)), "{again}");
    drop(job);
    drop((guest, connect));
    let mut done = 0;
    while let Some(end) = ended.recv().await {
        match end {
            DriverEnd::Done => done += 1,
            DriverEnd::Closed(reason) => assert!(matches!(reason.kind(), ErrorKind::Closed), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done, 1);
}

#[tokio::test(start_paused = true)]
async fn an_abort_that_waits_for_its_moment_delays_no_end() {
    let mortal = Mortal::new(super::start(server("here")), Back::Never);
    let options = Options { keepalive: None, ..Options::default() };
    let builder = Connect::builder("test:///default").options(options);
    let source = builder.open_on(mortal.end(), super::run).await.unwrap();
    let guest = source.create_domain(GUEST, Default::default()).await.unwrap();
    let target = direct(&super::start(server("there"))).await;
    // The daemon is not at it, and so there is nothing to be aborted yet.
    mortal.silence::<Perform>(true);
    let mut job = guest.migrate(&target, &MigrateParameters::default(), F::LIVE).await.unwrap();
    while mortal.heard::<Perform>().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(futures::poll!(std::pin::pin!(job.abort())).is_pending());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!mortal.heard::<remote::DomainGetJobStats>().is_empty(), "it was asked, and will be again");
    mortal.kill();
    let ended = tokio::time::timeout(Duration::from_millis(1), &mut job).await.expect("it waits");
    assert_eq!(left(&ended.unwrap_err()), Left::Stays);
}

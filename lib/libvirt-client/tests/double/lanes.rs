//! How many connections a handle makes.

use crate::mortal::{Back, Mortal};
use futures::future::join_all;
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{
    ConnectClose, ConnectGetAllDomainStats, ConnectGetHostname, ConnectOpen, DomainGetInfo,
    DomainOpenConsole, DomainOpenConsoleArgs, NodeAllocPages, NodeGetFreeMemory, NodeGetInfo,
    StorageVolDownload,
};
use libvirt_client::transport::{Privacy, Stream, Unix};
use libvirt_client::{Connect, ErrorKind, Execution, Item, Options, Params, Reconnect};
use libvirt_server::{Builder, Handle, Scope, Server};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{Notify, watch};

/// A socket in front of a server, which counts who comes; it takes so many and turns the others away.
fn counted(handle: Handle, socket: &Path, most: usize) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let listener = UnixListener::bind(socket).unwrap();
    super::run(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if counted.fetch_add(1, Ordering::SeqCst) < most {
                handle.attach(Unix::try_from(stream).unwrap());
            }
        }
    });
    count
}

struct Counted {
    count: Arc<AtomicUsize>,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Counted {
    fn new(most: usize) -> Self {
        Self::of(Server::builder(), most)
    }

    fn of(builder: Builder, most: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("sock");
        let count = counted(super::start(builder), &socket, most);
        Self { count, socket, _directory: directory }
    }

    async fn open(&self, lanes: usize) -> Connect {
        let uri = format!("test+unix:///default?socket={}", self.socket.display());
        Connect::builder(&uri).lanes(lanes).open_with(super::run).await.unwrap()
    }

    fn connections(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn calls_that_begin_together_share_the_lanes_there_may_be() {
    let server = Counted::new(usize::MAX);
    let connect = server.open(4).await;
    let domain = connect.domain_by_name("test").await.unwrap();
    let calls = join_all((0..100).map(|_| domain.info())).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 1 + 4, "the control lane, and work lanes up to their limit");
    // Later ones find these.
    join_all((0..100).map(|_| domain.info())).await;
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_lane_is_made_for_as_many_calls_as_it_carries() {
    let server = Counted::new(usize::MAX);
    let connect = server.open(4).await;
    let domain = connect.domain_by_name("test").await.unwrap();
    let calls = join_all((0..3).map(|_| domain.info())).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 2, "three calls have room on one");
    // Nobody waits for a lane whose opener has given up.
    let connect = server.open(4).await;
    let domain = connect.domain_by_name("test").await.unwrap();
    let mut opener = Box::pin(domain.info());
    assert!(futures::poll!(&mut opener).is_pending());
    let mut waiting = Box::pin(domain.info());
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(opener);
    waiting.await.unwrap();
}

#[tokio::test]
async fn calls_of_a_lane_that_cannot_be_made_go_over_the_others() {
    // The control lane and one more.
    let server = Counted::new(2);
    let connect = server.open(4).await;
    let domain = connect.domain_by_name("test").await.unwrap();
    let calls = join_all((0..12).map(|_| domain.info())).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    assert_eq!(server.connections(), 5, "one attempt to a lane");
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
}

#[tokio::test]
async fn a_daemon_that_takes_one_client_answers_all_calls_but_those_with_streams() {
    let server = Counted::of(Server::builder().scope(Scope::Complete), 1);
    let connect = server.open(4).await;
    assert_eq!(connect.domains(Default::default()).await.unwrap().len(), 1);
    let domain = connect.domain_by_name("test").await.unwrap();
    assert!(join_all((0..12).map(|_| domain.info())).await.iter().all(Result::is_ok));
    let error = domain.open_console(None, Default::default()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Lane(_)) && error.is_retryable(), "{error:?}");
    // What happened, and what is to be done.
    let told = format!("{error:#}");
    for part in ["max_clients", "Builder::lanes(0)", "libvirt's daemon"] {
        assert!(told.contains(part), "{told}");
    }
    // A stream that nobody reads stops nothing beside it: there is none.
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
}

/// A daemon on which what is begun never ends.
pub(crate) fn endless() -> Builder {
    Server::builder().scope(Scope::Complete).job_duration(Duration::from_secs(86_400))
}

/// Five calls are all that a daemon takes from one connection, and these never end.
#[tokio::test]
async fn calls_that_take_for_ever_delay_no_other() {
    let server = Counted::of(endless(), usize::MAX);
    for lanes in [4, 0] {
        is_answered_beside_slow_calls(&server.open(lanes).await, lanes).await;
    }
}

/// With lanes for work a trivial call is answered beside such calls, and without it is not.
pub(crate) async fn is_answered_beside_slow_calls(connect: &Connect, lanes: usize) {
    let answered = lanes > 0;
    let mut guests = Vec::new();
    for number in 0..6 {
        let xml = format!(
            "<domain type='test'><name>{lanes}-{number}</name><memory>1</memory><os><type>hvm</type></os></domain>"
        );
        guests.push(connect.create_domain(&xml, Default::default()).await.unwrap());
    }
    let saves = join_all(guests.iter().map(|guest| guest.save("/image", None, Default::default()))).await;
    assert!(saves.iter().all(Result::is_ok), "they have begun");
    let mut trivial = std::pin::pin!(guests[0].info());
    let mut done = false;
    for _ in 0..200 {
        done = done || futures::poll!(&mut trivial).is_ready();
        // What the daemon has workers of its own for is answered in any case.
        assert_eq!(connect.hostname().await.unwrap(), "localhost");
    }
    assert_eq!(done, answered, "with {lanes} lanes");
}

/// A daemon that takes calls of one procedure and never answers them.
async fn unanswered() -> (Mortal, Connect) {
    let mortal = Mortal::new(super::start(Server::builder()), Back::AtOnce);
    let builder = Connect::builder(&mortal.uri()).deadline(Duration::from_millis(100));
    (mortal, builder.open_with(super::run).await.unwrap())
}

#[tokio::test]
async fn calls_that_were_abandoned_hold_no_lane_for_ever() {
    let (mortal, connect) = unanswered().await;
    mortal.silence::<NodeAllocPages>(true);
    let slow = || connect.allocate_pages(&[4], &[0], 0, 0, Default::default());
    for round in 1..=4 {
        for error in join_all((0..12).map(|_| slow())).await {
            assert!(matches!(error.unwrap_err().kind(), ErrorKind::Timeout), "round {round}");
        }
        // Twelve calls on four lanes of three places: no place is left on any, and so they go with the next calls.
        assert!(mortal.connections() <= 5, "{}", mortal.connections());
    }
    mortal.silence::<NodeAllocPages>(false);
    let answered = slow().await.unwrap_err();
    assert!(answered.refusal().is_some(), "{answered}");
}

/// Who has little time does not spoil it for others: a lane is made for whoever comes.
#[tokio::test]
async fn a_lane_that_takes_longer_than_one_call_has_is_made_for_the_others() {
    let mortal = Mortal::new(super::start(Server::builder()), Back::AtOnce);
    let patient = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    mortal.bar(true);
    let hasty = patient.with_deadline(Duration::from_millis(20));
    let slow = |connect: Connect| async move {
        connect.allocate_pages(&[4], &[0], 0, 0, Default::default()).await.unwrap_err()
    };
    let mut waits = std::pin::pin!(slow(patient.clone()));
    assert!(futures::poll!(&mut waits).is_pending());
    for _ in 0..2 {
        assert!(matches!(slow(hasty.clone()).await.kind(), ErrorKind::Timeout));
    }
    let before = mortal.connections();
    mortal.bar(false);
    assert!(waits.await.refusal().is_some());
    assert!(slow(patient.clone()).await.refusal().is_some());
    assert_eq!(mortal.connections(), before + 1, "the lane, and nothing over the first connection");
    let on = mortal.sequence().iter().rev().find(|call| call.1 == NodeAllocPages::INFO.number).unwrap().0;
    let opened = mortal.sequence().iter().rev().find(|call| call.1 == ConnectOpen::INFO.number).unwrap().0;
    assert_eq!(on, opened);
}

#[tokio::test]
async fn urgent_calls_find_another_way_past_abandoned_ones() {
    let (mortal, connect) = unanswered().await;
    mortal.silence::<ConnectGetHostname>(true);
    for error in join_all((0..4).map(|_| connect.hostname())).await {
        assert!(matches!(error.unwrap_err().kind(), ErrorKind::Timeout));
    }
    assert_eq!(mortal.connections(), 1, "all were on the first connection");
    mortal.silence::<ConnectGetHostname>(false);
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
}

/// The first connection is full of calls that nobody waits for, and that are never answered.
async fn clog(mortal: &Mortal, connect: &Connect) {
    mortal.silence::<ConnectGetHostname>(true);
    let (first, heard) = (connect.connection().await.unwrap(), mortal.heard::<ConnectGetHostname>().len());
    let calls: Vec<_> = (0..4).map(|_| first.start::<ConnectGetHostname>(&(), Vec::new())).collect();
    while mortal.heard::<ConnectGetHostname>().len() < heard + 4 {
        tokio::task::yield_now().await;
    }
    drop(calls);
    mortal.silence::<ConnectGetHostname>(false);
}

#[tokio::test]
async fn a_first_connection_full_of_abandoned_calls_is_made_again_for_who_needs_it() {
    let mortal = Mortal::new(super::start(Server::builder().scope(Scope::Complete)), Back::AtOnce);
    let policy = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    let options = Options { keepalive: None, ..Options::default() };
    let builder = Connect::builder(&mortal.uri()).reconnect(policy).options(options);
    let connect = builder.open_with(super::run).await.unwrap();
    let mut before = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    // Nobody waits for the real time.
    tokio::time::pause();
    clog(&mortal, &connect).await;
    let mut events = connect.subscribe(Kind::DomainReboot).await.unwrap();
    assert_eq!(before.next().await.unwrap(), Item::Resynchronised);
    let test = connect.domain_by_name("test").await.unwrap();
    test.reboot(Default::default()).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainReboot(_))));

    clog(&mortal, &connect).await;
    let fred = Params::new().with("user-name", "fred");
    connect.set_identity(&fred).await.unwrap();
    assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    // Who goes is not waited for either: the next one is heard.
    clog(&mortal, &connect).await;
    drop(events);
    connect.subscribe(Kind::DomainReboot).await.unwrap();
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
}

#[tokio::test]
async fn without_a_policy_a_connection_full_of_abandoned_calls_is_said_to_be() {
    let (mortal, connect) = unanswered().await;
    clog(&mortal, &connect).await;
    let error = connect.subscribe(Kind::DomainReboot).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Clogged), "{error}");
    assert!(error.to_string().contains("open another"), "{error}");
    let error = connect.set_identity(&Params::new().with("user-name", "fred")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Clogged), "{error}");
}

/// The four lanes have twelve places: one for who has time, eleven for who has not, and one call more waits for a place.
#[tokio::test]
async fn a_handle_with_a_deadline_gives_it_to_what_is_made_from_it() {
    let mortal = Mortal::new(super::start(Server::builder().scope(Scope::Complete)), Back::AtOnce);
    let patient = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    let test = patient.domain_by_name("test").await.unwrap();
    assert!(join_all((0..12).map(|_| test.info())).await.iter().all(Result::is_ok), "the lanes are made");
    // What takes its time on a busy machine is made by who has it.
    let pool = patient.storage_pool_by_name("default-pool").await.unwrap();
    let xml = "<volume><name>v</name><capacity>1</capacity></volume>";
    let key = pool.create_volume(xml, Default::default()).await.unwrap().key();
    let soon = Duration::from_secs(1);
    let (domain, volume) = loop {
        let hurried = patient.with_deadline(soon);
        let found = tokio::join!(hurried.domain_by_name("test"), hurried.volume_by_key(&key));
        if let (Ok(domain), Ok(volume)) = found {
            break (domain, volume);
        }
    };
    // It leaves its connection to the hurried one's.
    let theirs = patient.volume_by_key(&key).await.unwrap();
    theirs.download(.., Default::default()).await.unwrap().finish().await.unwrap();
    mortal.silence::<DomainGetInfo>(true);
    let mut waits = std::pin::pin!(test.info());
    assert!(futures::poll!(&mut waits).is_pending());
    let errors = join_all((0..12).map(|_| domain.info()));
    let errors = tokio::time::timeout(Duration::from_secs(20), errors).await.expect("it has no deadline");
    let mut executions = Vec::new();
    for error in errors.into_iter().map(Result::unwrap_err) {
        assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
        executions.push(error.execution());
    }
    assert_eq!(executions.iter().filter(|execution| **execution == Execution::Possible).count(), 11);
    assert_eq!(executions.iter().filter(|execution| **execution == Execution::No).count(), 1);
    // A stream has it too.
    mortal.silence::<StorageVolDownload>(true);
    let download = volume.download(.., Default::default());
    let download = tokio::time::timeout(Duration::from_secs(20), download).await.expect("it has no deadline");
    let error = download.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
    assert_eq!(error.execution(), Execution::Possible);
    // What was made from the handle that it came from waits on.
    assert!(futures::poll!(&mut waits).is_pending());
    mortal.silence::<DomainGetInfo>(false);
    test.info().await.unwrap();
}

#[tokio::test]
async fn a_stream_is_opened_only_for_who_gets_it() {
    let (mortal, connect) = unanswered().await;
    let args = DomainOpenConsoleArgs::default();
    let refused = [
        connect.call::<DomainOpenConsole>(&args).await.map(drop),
        connect.call_with::<DomainOpenConsole>(&args, Vec::new()).await.map(drop),
        connect.connection().await.unwrap().call::<DomainOpenConsole>(&args).await.map(drop),
        connect.start::<DomainOpenConsole>(&args).await.unwrap().await.map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Misuse(_)), "{error}");
    }
    assert!(mortal.heard::<DomainOpenConsole>().is_empty());
}

#[tokio::test]
async fn a_whole_host_takes_three_calls() {
    let mortal = Mortal::new(super::start(Server::builder()), Back::AtOnce);
    let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    define(&connect, 9).await;
    // The first time a lane is made, with calls of its own.
    connect.snapshot_host(Default::default()).await.unwrap();
    let before = mortal.sequence().len();
    let host = connect.snapshot_host(Default::default()).await.unwrap();
    assert_eq!(host.domains.len(), 10);
    let mut calls: Vec<i32> =
        mortal.sequence()[before..].iter().map(|(_, procedure, _)| *procedure).collect();
    calls.sort_unstable();
    let mut expected =
        [NodeGetInfo::INFO, NodeGetFreeMemory::INFO, ConnectGetAllDomainStats::INFO].map(|info| info.number);
    expected.sort_unstable();
    assert_eq!(calls, expected);
}

/// Defines so many domains more.
async fn define(connect: &Connect, count: usize) {
    for number in 0..count {
        let xml = format!(
            "<domain type='test'><name>d{number}</name><memory>1</memory><os><type>hvm</type></os></domain>"
        );
        connect.define_domain(&xml, Default::default()).await.unwrap();
    }
}

/// Holds back what a server says on a connection behind its first 64 KiB.
#[derive(Default)]
struct Dam {
    /// Somebody waits at it.
    reached: Notify,
    open: watch::Sender<bool>,
}

impl Dam {
    /// A socket in front of a server, with one on each connection.
    fn before(handle: Handle, socket: &Path) -> Arc<Self> {
        let dam = Arc::new(Self::default());
        let kept = Arc::clone(&dam);
        let listener = UnixListener::bind(socket).unwrap();
        super::run(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (near, far) = tokio::io::duplex(65_536);
                handle.attach(Stream::new(far, Privacy::Private));
                let ((mut client, to_client), (server, mut to_server)) =
                    (tokio::io::split(stream), tokio::io::split(near));
                super::run(async move { tokio::io::copy(&mut client, &mut to_server).await.is_ok() });
                let dam = Arc::clone(&dam);
                super::run(async move { dam.pass(server, to_client).await.is_ok() });
            }
        });
        kept
    }

    async fn pass(
        &self,
        server: impl AsyncRead + Unpin,
        mut client: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut first = server.take(65_536);
        tokio::io::copy(&mut first, &mut client).await?;
        self.reached.notify_one();
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        tokio::io::copy(&mut first.into_inner(), &mut client).await?;
        Ok(())
    }
}

/// A reply that is long in coming, since it is long, and a call beside it; on one connection that waits behind it.
#[tokio::test]
async fn a_list_of_thousands_that_is_still_being_read_delays_no_trivial_call() {
    let handle = super::start(Server::builder());
    let beside = super::end(&handle, Privacy::Private);
    let beside = Connect::builder("test:///default").open_on(beside, super::run).await.unwrap();
    define(&beside, 2000).await;
    for (lanes, answered) in [(4, true), (0, false)] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("sock");
        let dam = Dam::before(handle.clone(), &socket);
        let uri = format!("test+unix:///default?socket={}", socket.display());
        let connect = Connect::builder(&uri).lanes(lanes).open_with(super::run).await.unwrap();
        let mut list = std::pin::pin!(connect.all_stats(Default::default(), Default::default()));
        tokio::select! {
            biased;
            _ = &mut list => panic!("it is shorter than the dam is high"),
            () = dam.reached.notified() => {}
        }
        let mut trivial = std::pin::pin!(connect.hostname());
        let mut done = false;
        for _ in 0..200 {
            done = done || futures::poll!(&mut trivial).is_ready();
            assert_eq!(beside.hostname().await.unwrap(), "localhost");
        }
        assert_eq!(done, answered, "with {lanes} lanes");
        assert!(futures::poll!(&mut list).is_pending());
        dam.open.send_replace(true);
        assert_eq!(list.await.unwrap().len(), 2001);
        if !done {
            trivial.await.unwrap();
        }
    }
}

#[tokio::test]
async fn statistics_of_no_domain_are_none() {
    let (mortal, connect) = unanswered().await;
    assert!(connect.stats_of(&[], Default::default(), Default::default()).await.unwrap().is_empty());
    assert!(mortal.heard::<ConnectGetAllDomainStats>().is_empty(), "to the daemon that means all of them");
    assert_eq!(connect.all_stats(Default::default(), Default::default()).await.unwrap().len(), 1);
}

/// Every connection on which something was opened, and those that the daemon has heard the end of.
fn opened_and_ended(mortal: &Mortal) -> (Vec<usize>, Vec<usize>) {
    let calls = mortal.sequence();
    let of = |procedure: i32| {
        let mut found: Vec<_> =
            calls.iter().filter(|(_, number, _)| *number == procedure).map(|(on, _, _)| *on).collect();
        found.sort_unstable();
        found
    };
    (of(ConnectOpen::INFO.number), of(ConnectClose::INFO.number))
}

#[tokio::test]
async fn a_daemon_hears_of_the_end_of_every_connection() {
    for closes in [true, false] {
        let mortal = Mortal::new(super::start(Server::builder().scope(Scope::Complete)), Back::AtOnce);
        let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
        let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
                   <devices><console type='pty'/></devices></domain>";
        let guest = connect.create_domain(xml, Default::default()).await.unwrap();
        join_all((0..12).map(|_| guest.info())).await;
        // One stream that is just dropped, and one that is ended as it should be and leaves a connection.
        drop(guest.open_console(None, Default::default()).await.unwrap());
        let (_, picture) = guest.screenshot(0).await.unwrap();
        picture.finish().await.unwrap();
        drop(guest);
        if closes {
            connect.close().await.unwrap();
        } else {
            drop(connect);
        }
        mortal.alone().await;
        let (opened, ended) = opened_and_ended(&mortal);
        assert!(opened.len() >= 4 && opened == ended, "{opened:?} {ended:?}");
    }
}

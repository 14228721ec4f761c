//! What concerns a connection as a whole: how many round trips it takes to open, a daemon that hangs, spans, waiting without an executor.

use crate::support::{Daemon, present, run};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{ConnectFlags, DomainXmlFlags};
use libvirt_client::protocol::remote;
use libvirt_client::protocol::session::{Keepalive, Transmit};
use libvirt_client::transport::{Traits, Transport, Unix};
use libvirt_client::{Blocking, Connect, ErrorKind, Execution, Item, Options};
use rustix::process::Signal;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

/// Counts how often something is written after something was read.
struct Counting {
    inner: Unix,
    read: bool,
    trips: Arc<AtomicUsize>,
}

impl Transport for Counting {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        let read = self.inner.poll_read(context, room, descriptors);
        self.read |= read.is_ready();
        read
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.read) {
            self.trips.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.poll_write(context, what)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_flush(context)
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }
}

/// The daemon finds its driver by itself, the same as for virsh.
#[tokio::test]
async fn who_names_no_uri_gets_what_virsh_gets() {
    let test = "who_names_no_uri_gets_what_virsh_gets";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/virsh", "libvirt-clients")]) {
        return;
    }
    let virsh = daemon.unprivileged().args(["virsh", "uri"]).output().unwrap();
    let virsh = String::from_utf8(virsh.stdout).unwrap();
    let connect = daemon.open("").await;
    assert_eq!(connect.uri().await.unwrap(), virsh.trim());
}

#[tokio::test]
async fn a_connection_is_open_after_three_round_trips() {
    let Some(daemon) = Daemon::start("a_connection_is_open_after_three_round_trips") else { return };
    let trips = Arc::new(AtomicUsize::new(0));
    let inner = Unix::connect(&daemon.path("libvirt/libvirt-sock")).await.unwrap();
    // The first write is one, too.
    let transport = Counting { inner, read: true, trips: Arc::clone(&trips) };
    let connect = Connect::builder("test:///default").open_on(transport, run).await.unwrap();
    assert_eq!(trips.load(Ordering::Relaxed), 3);
    connect.snapshot_host(Default::default()).await.unwrap();
    assert!(trips.load(Ordering::Relaxed) <= 6, "{trips:?}");
}

#[tokio::test]
async fn a_daemon_that_hangs_is_given_up() {
    let Some(daemon) = Daemon::start("a_daemon_that_hangs_is_given_up") else { return };
    // Long enough for a daemon that is merely busy.
    let keepalive = Some(Keepalive { interval: Duration::from_millis(500), count: 3 });
    let options = Options { keepalive, ..Options::default() };
    let connect = daemon.builder("test+unix:///default").options(options).open_with(run).await.unwrap();
    let mut events = connect.subscribe(Kind::DomainReboot).await.unwrap();
    daemon.signal(Signal::STOP);
    let call = connect.start::<remote::ConnectGetHostname>(&()).await.unwrap();
    let error = call.await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Transport(error) if error.kind() == io::ErrorKind::TimedOut),
        "{error}"
    );
    assert_eq!(error.execution(), Execution::Possible);
    assert!(events.next().await.is_err());
    daemon.signal(Signal::CONT);
    // It has not noticed anything, and takes new connections.
    let connect = daemon.builder("test+unix:///default").open_with(run).await.unwrap();
    assert!(connect.check().await.is_ok());
}

/// Spans of calls, as they are recorded.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(String, String)>>>);

impl Visit for Spans {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push((field.name().to_owned(), format!("{value:?}")));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _id: &tracing::span::Id,
        _context: tracing_subscriber::layer::Context<'_, S>,
    ) {
        if attributes.metadata().name() == "libvirt_call" {
            attributes.record(&mut self.clone());
        }
    }

    fn on_record(
        &self,
        _id: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        _context: tracing_subscriber::layer::Context<'_, S>,
    ) {
        values.record(&mut self.clone());
    }
}

#[tokio::test]
async fn every_call_has_a_span() {
    let Some(daemon) = Daemon::start("every_call_has_a_span") else { return };
    // Its calls make the span known before anybody wants to see it: doing both at once, on two threads, may leave it unseen.
    let connect = daemon.test().await;
    let test = connect.domain_by_name("test").await.unwrap();
    let spans = Spans::default();
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    let guard = tracing::subscriber::set_default(subscriber);
    connect.hostname().await.unwrap();
    connect.domain_by_name("nobody").await.unwrap_err();
    test.xml(DomainXmlFlags::INACTIVE).await.unwrap();
    // A stream, a call that is started, and a job that is one; whether the driver has them makes no difference.
    let _ = test.screenshot(0).await;
    let started = connect.start::<remote::ConnectGetUri>(&()).await.unwrap();
    started.await.unwrap();
    let image = daemon.path("image");
    let _ = test.save(&image.display().to_string(), None, Default::default()).await.unwrap().await;
    drop(guard);
    let seen = spans.0.lock().unwrap().clone();
    let value = |name: &str, from: usize| {
        seen.iter().filter(|(field, _)| field == name).nth(from).map(|(_, value)| value.clone())
    };
    assert_eq!(value("procedure", 0).as_deref(), Some("\"connect_get_hostname\""), "{seen:?}");
    assert!(value("bytes", 0).is_some_and(|bytes| bytes.parse::<u32>().unwrap() >= 8), "{seen:?}");
    assert_eq!(value("procedure", 1).as_deref(), Some("\"domain_lookup_by_name\""), "{seen:?}");
    assert!(value("error", 0).is_some_and(|error| error.contains("Domain not found")), "{seen:?}");
    let flags = |procedure: &str| {
        let at = seen.iter().position(|(_, value)| *value == format!("{procedure:?}")).expect(procedure);
        (seen[at + 1].0.as_str(), seen[at + 1].1.as_str())
    };
    // Behind the procedure, whether it has any or not.
    assert_eq!(flags("domain_get_xml_desc"), ("flags", "2"), "{seen:?}");
    assert_eq!(flags("connect_get_hostname"), ("flags", "0"), "{seen:?}");
    let count = |name: &str| seen.iter().filter(|(field, _)| field == name).count();
    for procedure in ["domain_screenshot", "connect_get_uri", "domain_save_flags"] {
        let named = seen.iter().any(|(field, value)| field == "procedure" && value.contains(procedure));
        assert!(named, "{procedure}: {seen:?}");
    }
    assert_eq!(count("procedure"), count("bytes") + count("error"), "each has come to an end: {seen:?}");
}

#[test]
fn a_program_without_an_executor_waits() {
    let Some(daemon) = Daemon::start("a_program_without_an_executor_waits") else { return };
    let libvirt = Blocking::open_with(daemon.builder("test+unix:///default")).unwrap();
    let test = libvirt.wait(libvirt.connect().domain_by_name("test")).unwrap();
    let mut events = libvirt.wait(test.subscribe(Kind::DomainLifecycle)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let libvirt = libvirt.clone();
            scope.spawn(move || {
                for _ in 0..50 {
                    libvirt.wait(libvirt.connect().hostname()).unwrap();
                }
            });
        }
    });
    libvirt.wait(test.suspend()).unwrap();
    let item = libvirt.wait(events.next()).unwrap();
    assert!(matches!(item, Item::Event(Event::DomainLifecycle(_))), "{item:?}");
    drop(libvirt);
    // The thread has ended, and with it the connection.
    let error = futures::executor::block_on(events.next()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
}

/// What a client made of the name by itself is no business of a daemon's, which is told all the same.
#[tokio::test]
async fn a_name_without_aliases_is_a_name() {
    let Some(daemon) = Daemon::start("a_name_without_aliases_is_a_name") else { return };
    let transport = Unix::connect(&daemon.path("libvirt/libvirt-sock")).await.unwrap();
    let (connection, driver) = libvirt_client::connection(transport, Options::default());
    run(driver);
    connection.call::<remote::AuthList>(&()).await.unwrap();
    let (name, flags) = (Some("test:///default".into()), ConnectFlags::NO_ALIASES);
    connection.call::<remote::ConnectOpen>(&remote::ConnectOpenArgs { name, flags }).await.unwrap();
    let uri = connection.call::<remote::ConnectGetUri>(&()).await.unwrap();
    assert_eq!(uri.result().unwrap().uri, "test:///default");
}

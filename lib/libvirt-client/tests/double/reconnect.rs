//! A connection that is made again.

use crate::authority::{Authority, Expired};
use crate::mortal::{Back, Mortal};
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::event::Kind;
use libvirt_client::protocol::remote::{AuthSaslInit, AuthSaslStart, ConnectDomainEventCallbackRegisterAny};
use libvirt_client::protocol::session::Keepalive;
use libvirt_client::transport::{Privacy, Stream, Tls, Verify};
use libvirt_client::uri::{Environment, User};
use libvirt_client::{AfterRefusal, Connect, DriverEnd, Error, ErrorKind, Item, Options, Reconnect};
use libvirt_server::{Clients, Handle, Mechanism, Sasl, Scope, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A server with TLS, of which the first connection is served until it is cut, the second as late as a test says, and all others at once.
struct Late {
    directory: tempfile::TempDir,
    authority: Authority,
    port: u16,
    /// Cuts the first connection.
    cut: Arc<Notify>,
    /// Lets the second one go on.
    go_on: Arc<Notify>,
}

impl Late {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("cacert.pem"), &authority.pem).unwrap();
        authority.issue(&["127.0.0.1"], "server", &at("servercert.pem"), &at("serverkey.pem"), Expired::No);
        let tls = libvirt_server::Tls::in_directory(directory.path(), Clients::Anybody).unwrap();
        let handle = super::start(Server::builder());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (cutting, going) = (Arc::clone(&cut), Arc::clone(&go_on));
        super::run(async move {
            let (first, _) = listener.accept().await?;
            let (near, far) = tokio::io::duplex(65_536);
            super::run(async move {
                let (mut near, mut first) = (near, first);
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut first, &mut near) => {}
                    () = cutting.notified() => {}
                }
            });
            handle.attach(tls.accept(far).await?);
            let (second, _) = listener.accept().await?;
            let (late, served) = (tls.clone(), handle.clone());
            super::run(async move {
                going.notified().await;
                served.attach(late.accept(second).await?);
                std::io::Result::Ok(())
            });
            while let Ok((stream, _)) = listener.accept().await {
                handle.attach(tls.accept(stream).await?);
            }
            std::io::Result::Ok(())
        });
        Self { directory, authority, port, cut, go_on }
    }

    async fn open(&self, reconnect: Reconnect, connecting: Duration) -> Connect {
        let files = self.authority.client(self.directory.path().join("client"), None);
        Connect::builder(&format!("test://127.0.0.1:{}/default", self.port))
            .tls(Tls::in_directory(&files, Verify::Required))
            .lanes(0)
            .reconnect(reconnect)
            .options(Options { connecting: Some(connecting), ..Options::default() })
            .deadline(Duration::from_millis(500))
            .open_with(super::run)
            .await
            .unwrap()
    }
}

const QUICKLY: Duration = Duration::from_millis(1);
/// What happens at all happens by then.
const IN_TIME: Duration = Duration::from_secs(30);

/// TLS alone has no deadline: it is spoken before there are calls.
#[tokio::test]
async fn a_peer_that_says_nothing_costs_one_attempt() {
    let late = Late::new().await;
    let reconnect = Reconnect { pause: QUICKLY, ..Reconnect::default() };
    let connect = late.open(reconnect, Duration::from_millis(500)).await;
    connect.hostname().await.unwrap();
    assert!(connect.is_encrypted().await.unwrap(), "TLS");
    late.cut.notify_one();
    // Each waits for its own deadline, and the attempt that hears nothing for its limit.
    let mut tries = 0;
    while let Err(error) = connect.hostname().await {
        tries += 1;
        assert!(tries < 50, "{error}");
    }
}

#[tokio::test]
async fn connecting_again_may_take_longer_than_a_call() {
    let late = Late::new().await;
    // There is one attempt, and it is to be the one that takes long.
    let reconnect = Reconnect { pause: QUICKLY, attempts: Some(1), ..Reconnect::default() };
    let connect = late.open(reconnect, Duration::from_secs(60)).await;
    connect.hostname().await.unwrap();
    late.cut.notify_one();
    while connect.is_connected() {
        tokio::task::yield_now().await;
    }
    // As long as three calls may wait, one after the other.
    for _ in 0..3 {
        let error = connect.hostname().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
    }
    late.go_on.notify_one();
    let mut tries = 0;
    while let Err(error) = connect.hostname().await {
        tries += 1;
        assert!(tries < 50 && matches!(error.kind(), ErrorKind::Timeout), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_not_waited_for_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    let _deaf = tokio::net::UnixListener::bind(&socket).unwrap();
    assert!(Options::default().connecting.is_some() && Options::default().deadline.is_none());
    let options = Options { connecting: Some(Duration::from_millis(50)), ..Options::default() };
    let uri = format!("test+unix:///default?socket={}", socket.display());
    let error = Connect::builder(&uri).options(options).open_with(super::run).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
    let (ours, _theirs) = tokio::io::duplex(64);
    let builder = Connect::builder("test:///default").options(options);
    let opened = builder.open_on(Stream::new(ours, Privacy::Private), super::run);
    assert!(matches!(opened.await.unwrap_err().kind(), ErrorKind::Timeout));
}

#[tokio::test]
async fn who_logs_in_may_take_longer_than_a_daemon_may_be_silent() {
    let handle = super::start(Server::builder());
    let (ours, mut between) = tokio::io::duplex(65_536);
    let (mut theirs, far) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(far, Privacy::Private));
    let keepalive = Some(Keepalive { interval: Duration::from_millis(100), count: 5 });
    let options = Options { keepalive, ..Options::default() };
    let transport = Stream::new(ours, Privacy::Private);
    let opened = Connect::builder("test:///default").options(options).open_on(transport, super::run);
    let typed = async {
        // Somebody types a password until another connection, which begins later and where nobody need log in, is given up.
        let (other, _silent) = tokio::io::duplex(65_536);
        let (_held, driver) = libvirt_client::connection(Stream::new(other, Privacy::Private), options);
        let DriverEnd::Closed(reason) = driver.await else { panic!("it does nothing else") };
        assert!(matches!(reason.kind(), ErrorKind::Transport(_)), "{reason}");
        super::run(async move { tokio::io::copy_bidirectional(&mut between, &mut theirs).await });
    };
    let (connect, ()) = tokio::join!(opened, typed);
    assert_eq!(connect.unwrap().hostname().await.unwrap(), "localhost");
}

#[tokio::test]
async fn a_daemon_that_takes_no_registrations_costs_attempts() {
    let mortal = Mortal::new(super::start(Server::builder()), Back::AtOnce);
    let options = Options { connecting: Some(Duration::from_millis(100)), ..Options::default() };
    let reconnect = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    let builder = Connect::builder(&mortal.uri()).options(options).reconnect(reconnect);
    let connect = builder.open_with(super::run).await.unwrap();
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    type Register = ConnectDomainEventCallbackRegisterAny;
    mortal.silence::<Register>(true);
    mortal.kill();
    // The first, and those of two attempts that come to nothing.
    while mortal.heard::<Register>().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    mortal.silence::<Register>(false);
    assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
}

#[tokio::test]
async fn who_waits_in_vain_hears_why() {
    let mortal = Mortal::new(super::start(Server::builder()), Back::AtOnce);
    let reconnect = Reconnect { pause: QUICKLY, longest: QUICKLY, ..Reconnect::default() };
    let connect = Connect::builder(&mortal.uri()).reconnect(reconnect).open_with(super::run).await.unwrap();
    assert!(connect.lost().is_none());
    let uri = mortal.uri();
    let (_, socket) = uri.split_once("socket=").unwrap();
    let aside = format!("{socket}-aside");
    std::fs::rename(socket, &aside).unwrap();
    mortal.kill();
    let why = format!("connecting to {socket}");
    let is_told = || connect.lost().is_some_and(|reason| format!("{reason:#}").contains(&why));
    let told_at_last = async {
        while !is_told() {
            tokio::time::sleep(QUICKLY).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told_at_last).await.expect("only why it was lost");
    let hasty = connect.with_deadline(Duration::from_millis(20));
    let told = |error: libvirt_client::Error| {
        assert!(matches!(error.kind(), ErrorKind::Timeout), "{error:#}");
        assert!(format!("{error:#}").contains(&why), "{error:#}");
    };
    told(hasty.hostname().await.unwrap_err());
    told(hasty.domains(Default::default()).await.unwrap_err());
    told(hasty.subscribe(Kind::DomainLifecycle).await.unwrap_err());
    std::fs::rename(&aside, socket).unwrap();
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
    assert!(connect.lost().is_none());
}

/// A daemon that wants a password, and the file that a client has it from.
struct Locked {
    handle: Handle,
    mortal: Mortal,
    directory: tempfile::TempDir,
}

impl Locked {
    fn new() -> Self {
        let builder = Server::builder().scope(Scope::Complete).sasl(Self::sasl("first"));
        let handle = super::start(builder);
        let mortal = Mortal::new(handle.clone(), Back::AtOnce);
        let locked = Self { handle, mortal, directory: tempfile::tempdir().unwrap() };
        locked.write("first");
        locked
    }

    fn sasl(password: &str) -> Sasl {
        Sasl::new([Mechanism::Plain]).user("fred", password)
    }

    fn write(&self, password: &str) {
        let text = format!(
            "[credentials-a]\nauthname=fred\npassword={password}\n[auth-libvirt-default]\ncredentials=a\n"
        );
        // Nobody reads half of it.
        let (new, file) = (self.directory.path().join("new"), self.directory.path().join("auth.conf"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    }

    /// From now on another password lets in.
    async fn change(&self, password: &'static str) {
        self.handle.with(move |hypervisor| hypervisor.set_sasl(Some(Self::sasl(password)))).await.unwrap();
    }

    async fn open(&self, refused: AfterRefusal) -> Connect {
        let file = self.directory.path().join("auth.conf");
        let uri = format!("{}&authfile={}", self.mortal.uri(), file.display());
        let policy = Reconnect { pause: QUICKLY, longest: QUICKLY, attempts: None, refused };
        Connect::builder(&uri).reconnect(policy).open_with(super::run).await.unwrap()
    }

    /// How often somebody said a password.
    fn said(&self) -> usize {
        self.mortal.heard::<AuthSaslStart>().len()
    }
}

#[tokio::test]
async fn a_password_that_was_changed_meanwhile_is_read_again() {
    let locked = Locked::new();
    let connect = locked.open(AfterRefusal::GiveUp).await;
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    locked.change("second").await;
    locked.write("second");
    locked.mortal.kill();
    assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
    // For work too, and for streams.
    assert_eq!(connect.domain_by_name("test").await.unwrap().info().await.unwrap().vcpus, 2);
    assert_eq!(locked.said(), 3);
}

#[tokio::test]
async fn a_login_that_is_refused_is_not_repeated() {
    let locked = Locked::new();
    let connect = locked.open(AfterRefusal::GiveUp).await;
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    locked.change("second").await;
    locked.mortal.kill();
    let told = |error: &Error| {
        assert!(matches!(error.kind(), ErrorKind::Auth(_)), "{error:#}");
        let source = std::error::Error::source(error).unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(source.refusal().unwrap().code, ErrorNumber::AuthFailed);
    };
    let over = tokio::time::timeout(IN_TIME, events.next()).await.expect("it is tried for ever");
    told(&over.unwrap_err());
    told(&connect.hostname().await.unwrap_err());
    told(&connect.domains(Default::default()).await.unwrap_err());
    told(&connect.lost().unwrap());
    assert_eq!(locked.said(), 2, "the first time, and once more");
    locked.mortal.alone().await;
}

#[tokio::test]
async fn who_goes_on_says_no_password_twice_that_was_refused() {
    let locked = Locked::new();
    let connect = locked.open(AfterRefusal::GoOn).await;
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    locked.change("second").await;
    locked.mortal.kill();
    // One that logged in, one that was refused, and others that kept silent.
    let tried = async {
        while locked.mortal.heard::<AuthSaslInit>().len() < 6 {
            tokio::time::sleep(QUICKLY).await;
        }
    };
    tokio::time::timeout(IN_TIME, tried).await.expect("it has given up");
    assert_eq!(locked.said(), 2);
    locked.write("second");
    assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    assert_eq!(locked.said(), 3);
}

#[tokio::test]
async fn no_lane_says_a_password_again_that_was_refused() {
    let locked = Locked::new();
    let connect = locked.open(AfterRefusal::GiveUp).await;
    locked.change("second").await;
    // What has come in stays in.
    let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><console type='pty'/></devices></domain>";
    let guest = connect.create_domain(xml, Default::default()).await.unwrap();
    assert_eq!(locked.said(), 2, "a lane for work was refused");
    for _ in 0..3 {
        let error = guest.open_console(None, Default::default()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Lane(_)), "{error:#}");
        assert!(format!("{error:#}").contains("not said again"), "{error:#}");
        assert_eq!(guest.info().await.unwrap().vcpus, 1);
    }
    assert_eq!(locked.said(), 2);
    locked.write("second");
    guest.open_console(None, Default::default()).await.unwrap();
    assert_eq!(locked.said(), 3);
}

#[tokio::test]
async fn a_daemon_that_was_replaced_by_another_is_found() {
    let server = || super::start(Server::builder().scope(Scope::Complete));
    let (old, new) = (Mortal::new(server(), Back::Never), Mortal::new(server(), Back::AtOnce));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join("libvirt").join(name);
    std::fs::create_dir(at("")).unwrap();
    std::os::unix::fs::symlink(old.socket(), at("libvirt-sock")).unwrap();
    let environment = Environment {
        user: User::Root,
        run: directory.path().to_owned(),
        etc: directory.path().to_owned(),
        ..Environment::default()
    };
    let policy = Reconnect { pause: QUICKLY, longest: QUICKLY, ..Reconnect::default() };
    let builder = Connect::builder("test:///default").environment(environment).reconnect(policy);
    let connect = builder.open_with(super::run).await.unwrap();
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let test = connect.domain_by_name("test").await.unwrap();
    test.info().await.unwrap();
    // The modular daemon in place of the one of all drivers.
    std::fs::remove_file(at("libvirt-sock")).unwrap();
    std::os::unix::fs::symlink(new.socket(), at("virttestd-sock")).unwrap();
    old.kill();
    assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    test.info().await.unwrap();
    assert_eq!((old.connections(), new.connections()), (0, 2));
}

//! The administration of our server, driven by our client: every call, with its effect.

use super::{complete, run};
use libvirt_client::protocol::enums::{ClientTransport, ErrorNumber};
use libvirt_client::protocol::flags::ConnectFlags;
use libvirt_client::protocol::parameters::{
    CLIENT_INFO_READONLY, CLIENT_INFO_SOCKET_ADDR, CLIENT_INFO_UNIX_PROCESS_ID, CLIENT_INFO_UNIX_USER_ID,
    SERVER_CLIENTS_CURRENT, SERVER_CLIENTS_MAX, SERVER_CLIENTS_UNAUTH_MAX, THREADPOOL_WORKERS_CURRENT,
    THREADPOOL_WORKERS_MAX, THREADPOOL_WORKERS_MIN, THREADPOOL_WORKERS_PRIORITY,
};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::transport::Unix;
use libvirt_client::{Admin, Connect, Error, Options, Params, raw};
use libvirt_server::{Builder, Handle, Server};
use std::time::Duration;

/// A server with both of its sockets; the future ends when the daemon does.
struct Daemon {
    directory: tempfile::TempDir,
    handle: Handle,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Daemon {
    #[expect(clippy::disallowed_methods, reason = "a test has one runtime, which ends with it")]
    fn start(builder: Builder) -> Self {
        super::observed::observe("libvirt_server::answered");
        let directory = tempfile::tempdir().unwrap();
        let listen = |name: &str| tokio::net::UnixListener::bind(directory.path().join(name)).unwrap();
        let (main, admin) = (listen("sock"), listen("admin-sock"));
        let server = builder.build();
        let handle = server.handle();
        let ended = tokio::spawn(server.serve(Some(main)));
        let administrators = handle.clone();
        run(async move { administrators.serve_admin(admin).await.is_ok() });
        Self { directory, handle, ended }
    }

    async fn admin(&self) -> Admin {
        let transport = Unix::connect(&self.directory.path().join("admin-sock")).await.unwrap();
        Admin::open_on(transport, Options::default(), run).await.unwrap()
    }

    async fn open(&self) -> Result<Connect, Error> {
        let uri = format!("test+unix:///default?socket={}", self.directory.path().join("sock").display());
        Connect::builder(&uri).open_with(run).await
    }
}

/// Who has files of another authority comes in when the daemon has read its own again, and not before.
#[tokio::test]
async fn certificates_are_read_again_on_an_administrators_word() {
    use crate::authority::{Authority, Expired};
    use libvirt_server::{Clients, Tls};
    let daemon = Daemon::start(Server::builder());
    let at = |name: &str| daemon.directory.path().join(name);
    let certify = |authority: &Authority| {
        std::fs::write(at("cacert.pem"), &authority.pem).unwrap();
        authority.issue(&["localhost"], "it", &at("servercert.pem"), &at("serverkey.pem"), Expired::No);
    };
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let admin = daemon.admin().await;
    let server = admin.server("libvirtd").await.unwrap();
    assert_eq!(
        code(&server.update_tls_files().await.unwrap_err()),
        ErrorNumber::InternalError,
        "it has none"
    );
    certify(&old);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tls, handle) =
        (Tls::in_directory(daemon.directory.path(), Clients::Known).unwrap(), daemon.handle.clone());
    run(async move { handle.serve_tls(listener, tls).await.is_ok() });
    let come = async |client: &std::path::Path| {
        let uri = format!("test+tls://localhost:{port}/default?pkipath={}", client.display());
        Connect::builder(&uri).open_with(run).await.map(drop)
    };
    let (known, stranger) = (old.client(at("known"), Some("a")), new.client(at("stranger"), Some("b")));
    come(&known).await.unwrap();
    certify(&new);
    come(&stranger).await.unwrap_err();
    server.update_tls_files().await.unwrap();
    come(&stranger).await.unwrap();
    come(&known).await.unwrap_err();
    std::fs::write(at("serverkey.pem"), "no key").unwrap();
    assert_eq!(code(&server.update_tls_files().await.unwrap_err()), ErrorNumber::SystemError);
}

/// A policy lets in whom it names, by the user of the process at the other end.
#[tokio::test]
async fn a_policy_lets_in_the_users_that_it_names() {
    let us = rustix::process::getuid().as_raw();
    for (users, expected) in [(vec![us], None), (vec![us + 1], Some(ErrorNumber::AuthFailed))] {
        let daemon = Daemon::start(Server::builder().polkit(users));
        let refused = daemon.open().await.map(drop).err();
        assert_eq!(refused.as_ref().map(|error| error.refusal().unwrap().code), expected, "{refused:?}");
    }
}

fn code(error: &Error) -> ErrorNumber {
    error.refusal().unwrap_or_else(|| panic!("{error}")).code
}

#[tokio::test]
async fn settings_of_the_daemon_are_told_as_they_were_set() {
    let daemon = Daemon::start(Server::builder());
    let admin = daemon.admin().await;
    assert_eq!(admin.daemon_version(), Release(9, 0, 0));
    let names: Vec<String> = admin.servers().await.unwrap().iter().map(|server| server.name()).collect();
    assert_eq!(names, ["admin", "libvirtd"]);
    assert_eq!(code(&admin.server("nosuch").await.unwrap_err()), ErrorNumber::NoServer);
    let server = admin.server("libvirtd").await.unwrap();
    let workers = Params::new()
        .with(THREADPOOL_WORKERS_MIN, 8_u32)
        .with(THREADPOOL_WORKERS_MAX, 30_u32)
        .with(THREADPOOL_WORKERS_PRIORITY, 2_u32);
    server.set_threadpool(&workers).await.unwrap();
    let found = server.threadpool().await.unwrap();
    for (name, value) in [
        (THREADPOOL_WORKERS_MIN, 8),
        (THREADPOOL_WORKERS_MAX, 30),
        (THREADPOOL_WORKERS_PRIORITY, 2),
        (THREADPOOL_WORKERS_CURRENT, 8),
    ] {
        assert_eq!(found.u64(name), Some(value), "{name}");
    }
    let unknown = server.set_threadpool(&Params::new().with(THREADPOOL_WORKERS_CURRENT, 3_u32)).await;
    assert_eq!(code(&unknown.unwrap_err()), ErrorNumber::ArgumentUnsupported);
    let words = server.set_threadpool(&Params::new().with(THREADPOOL_WORKERS_MAX, "many")).await;
    assert_eq!(code(&words.unwrap_err()), ErrorNumber::InvalidArg);

    admin.set_logging_filters(Some("3:rpc 1:util.json")).await.unwrap();
    assert_eq!(admin.logging_filters().await.unwrap().unwrap(), "3:*rpc* 1:*util.json* ");
    admin.set_logging_filters(None).await.unwrap();
    assert_eq!(admin.logging_filters().await.unwrap(), None);
    admin.set_logging_outputs(Some("1:file:/var/log/here 4:stderr")).await.unwrap();
    assert_eq!(admin.logging_outputs().await.unwrap(), "1:file:/var/log/here 4:stderr");
    admin.set_logging_outputs(None).await.unwrap();
    assert_eq!(admin.logging_outputs().await.unwrap(), "3:stderr");
    // Each socket serves its own programs alone.
    let connect = daemon.open().await.unwrap();
    let error = connect.call::<libvirt_client::protocol::admin::ConnectGetLibVersion>(&()).await.unwrap_err();
    assert!(error.to_string().contains("Cannot find program"), "{error}");
    let error = admin.call::<libvirt_client::protocol::remote::ConnectGetHostname>(&()).await.unwrap_err();
    assert!(error.to_string().contains("Cannot find program"), "{error}");
    // It opens no other way than this.
    for flags in [ConnectFlags::RO, ConnectFlags::NO_ALIASES] {
        let args = libvirt_client::protocol::admin::ConnectOpenArgs { flags };
        let refused = raw::admin::connect_open(&admin, &args).await.unwrap_err();
        assert_eq!(code(&refused), ErrorNumber::InvalidArg);
    }
    raw::admin::connect_close(&admin).await.unwrap();
    assert!(admin.servers().await.is_err(), "what is closed answers nothing more");
}

#[tokio::test]
async fn clients_are_seen_limited_and_sent_away() {
    let daemon = Daemon::start(complete());
    let admin = daemon.admin().await;
    let server = admin.server("libvirtd").await.unwrap();
    assert!(server.clients().await.unwrap().is_empty());
    let first = daemon.open().await.unwrap();
    let clients = server.clients().await.unwrap();
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].transport(), ClientTransport::Unix);
    assert!(clients[0].since() > 0);
    let info = server.client(clients[0].id()).await.unwrap().info().await.unwrap();
    assert_eq!(info.u64(CLIENT_INFO_UNIX_USER_ID), Some(rustix::process::geteuid().as_raw().into()));
    assert_eq!(info.u64(CLIENT_INFO_UNIX_PROCESS_ID), Some(std::process::id().into()));
    assert_eq!(info.bool(CLIENT_INFO_READONLY), Some(false));
    assert_eq!(code(&server.client(99).await.unwrap_err()), ErrorNumber::NoClient);

    // One more may come; the next one waits until somebody has gone.
    let most = Params::new().with(SERVER_CLIENTS_MAX, 2_u32).with(SERVER_CLIENTS_UNAUTH_MAX, 1_u32);
    server.set_client_limits(&most).await.unwrap();
    assert_eq!(server.client_limits().await.unwrap().u64(SERVER_CLIENTS_MAX), Some(2));
    let second = daemon.open().await.unwrap();
    assert_eq!(server.client_limits().await.unwrap().u64(SERVER_CLIENTS_CURRENT), Some(2));
    let mut third = std::pin::pin!(daemon.open());
    assert!(futures::poll!(&mut third).is_pending());
    // What is asked on another connection in between is answered, and still nobody has come.
    assert!(!second.hostname().await.unwrap().is_empty());
    assert!(futures::poll!(&mut third).is_pending());
    assert_eq!(server.clients().await.unwrap().len(), 2);
    clients[0].disconnect().await.unwrap();
    let third = third.await.unwrap();
    assert!(first.hostname().await.is_err(), "the administration has ended this connection");
    assert!(!third.hostname().await.unwrap().is_empty());
    let bad = Params::new().with(SERVER_CLIENTS_MAX, 1_u32).with(SERVER_CLIENTS_UNAUTH_MAX, 5_u32);
    assert_eq!(code(&server.set_client_limits(&bad).await.unwrap_err()), ErrorNumber::InvalidArg);

    let more = Params::new().with(SERVER_CLIENTS_MAX, 3_u32).with(SERVER_CLIENTS_UNAUTH_MAX, 1_u32);
    server.set_client_limits(&more).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = daemon.handle.clone();
    run(async move { handle.serve_tcp(listener).await.is_ok() });
    let distant = Connect::builder(&format!("test+tcp://{address}/default")).open_with(run).await.unwrap();
    let clients = server.clients().await.unwrap();
    let found = clients.iter().find(|client| client.transport() == ClientTransport::Tcp).unwrap();
    let info = found.info().await.unwrap();
    assert!(info.text(CLIENT_INFO_SOCKET_ADDR).unwrap().to_string().starts_with("127.0.0.1:"), "{info:?}");
    distant.close().await.unwrap();
}

#[tokio::test]
async fn a_daemon_ends_when_it_is_told_to_and_when_nobody_has_come_for_long() {
    let daemon = Daemon::start(complete().version(Release(11, 2, 0)));
    let (admin, connect) = (daemon.admin().await, daemon.open().await.unwrap());
    admin.shut_down_daemon().await.unwrap();
    daemon.ended.await.unwrap().unwrap();
    assert!(connect.hostname().await.is_err());

    // Its clock is the test's: a thousand seconds on at each look.
    static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let clock = || Duration::from_secs(NOW.fetch_add(1000, std::sync::atomic::Ordering::Relaxed));
    let daemon = Daemon::start(complete().clock(clock));
    let admin = daemon.admin().await;
    let other = super::connect(&daemon.handle).await;
    admin.set_daemon_timeout(300).await.unwrap();
    assert!(!other.hostname().await.unwrap().is_empty(), "with clients it lives on");
    drop((admin, other));
    daemon.ended.await.unwrap().unwrap();
}

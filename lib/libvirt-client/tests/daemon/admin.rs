//! The daemon's administration.

use crate::support::{Daemon, ended, present, run};
use libvirt_client::protocol::admin::ConnectListServersArgs;
use libvirt_client::protocol::enums::ClientTransport;
use libvirt_client::protocol::parameters::{
    CLIENT_INFO_UNIX_USER_ID, SERVER_CLIENTS_MAX, THREADPOOL_WORKERS_MAX,
};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::transport::{Privacy, Program};
use libvirt_client::{Admin, Execution, Options, Params, raw};

/// The daemon lets nobody but its own user in, so netcat connects as that user.
pub(crate) async fn admin(daemon: &Daemon) -> Admin {
    let mut command = daemon.unprivileged();
    command.args(["nc", "-U"]).arg(daemon.path("libvirt/libvirt-admin-sock"));
    let words: Vec<String> = command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
    let transport = Program::start("env", &words, Privacy::Private).unwrap();
    Admin::open_on(transport, Options::default(), run).await.unwrap()
}

#[tokio::test]
async fn a_daemon_tells_of_its_servers_and_clients_and_takes_settings() {
    let test = "a_daemon_tells_of_its_servers_and_clients_and_takes_settings";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/nc", "netcat-openbsd")]) {
        return;
    }
    let admin = admin(&daemon).await;
    let connect = daemon.test().await;
    assert_eq!(admin.daemon_version(), connect.daemon_version());
    let mut names: Vec<String> = admin.servers().await.unwrap().iter().map(|server| server.name()).collect();
    names.sort();
    assert_eq!(names, ["admin", "libvirtd"]);
    let server = admin.server("libvirtd").await.unwrap();
    let clients = server.clients().await.unwrap();
    // One lane for the handle.
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].transport(), ClientTransport::Unix);
    let info = server.client(clients[0].id()).await.unwrap().info().await.unwrap();
    assert_eq!(info.u64(CLIENT_INFO_UNIX_USER_ID), Some(rustix::process::geteuid().as_raw().into()));

    server.set_threadpool(&Params::new().with(THREADPOOL_WORKERS_MAX, 30_u32)).await.unwrap();
    assert_eq!(server.threadpool().await.unwrap().u64(THREADPOOL_WORKERS_MAX), Some(30));
    server.set_client_limits(&Params::new().with(SERVER_CLIENTS_MAX, 77_u32)).await.unwrap();
    assert_eq!(server.client_limits().await.unwrap().u64(SERVER_CLIENTS_MAX), Some(77));
    admin.set_logging_filters(Some("3:rpc")).await.unwrap();
    // In the daemon's own form.
    assert!(admin.logging_filters().await.unwrap().unwrap().contains("3:*rpc*"));
    // What it does next is written where it was told to write.
    let log = daemon.path("log").display().to_string();
    admin.set_logging_outputs(Some(&format!("1:file:{log}"))).await.unwrap();
    assert_eq!(admin.logging_outputs().await.unwrap(), format!("1:file:{log}"));
    admin.set_logging_filters(Some("1:rpc")).await.unwrap();
    connect.hostname().await.unwrap();
    assert!(std::fs::read_to_string(&log).unwrap().contains("virNet"), "the log tells of this call");
    admin.set_logging_outputs(None).await.unwrap();
    assert!(!admin.logging_outputs().await.unwrap().contains(&log));

    // The same without a handle.
    let args = ConnectListServersArgs { need_results: 1, ..Default::default() };
    let reply = raw::admin::connect_list_servers(&admin, &args).await.unwrap();
    assert_eq!(reply.result().unwrap().servers.len(), 2);
    let ends = admin.daemon_version() >= Release(11, 2, 0);
    if !ends {
        let refused = admin.shut_down_daemon().await.unwrap_err();
        assert!(refused.is_unsupported(), "{refused}: it came with 11.2");
    }

    clients[0].disconnect().await.unwrap();
    assert!(connect.hostname().await.is_err(), "the administration has ended this connection");
    if ends {
        let process = daemon.process().unwrap();
        // The daemon may be gone before its answer.
        if let Err(error) = admin.shut_down_daemon().await {
            assert_eq!(error.execution(), Execution::Possible, "{error}");
        }
        assert!(ended(&process, 10));
    }
}

#[tokio::test]
async fn a_daemon_that_nobody_needs_ends_when_it_was_told_to() {
    let test = "a_daemon_that_nobody_needs_ends_when_it_was_told_to";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/nc", "netcat-openbsd")]) {
        return;
    }
    let process = daemon.process().unwrap();
    let admin = admin(&daemon).await;
    // It was started to wait for ten minutes.
    admin.set_daemon_timeout(1).await.unwrap();
    drop(admin);
    let ended = tokio::task::spawn_blocking(move || ended(&process, 120)).await.unwrap();
    assert!(ended, "nobody is there, and it goes on");
}

#[tokio::test]
async fn an_administration_that_is_closed_answers_no_more() {
    let test = "an_administration_that_is_closed_answers_no_more";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/nc", "netcat-openbsd")]) {
        return;
    }
    let (first, second) = (admin(&daemon).await, admin(&daemon).await);
    let of = || async { second.server("admin").await.unwrap().clients().await.unwrap().len() };
    assert_eq!(of().await, 2);
    raw::admin::connect_close(&first).await.unwrap();
    assert!(first.servers().await.is_err());
    drop(first);
    while of().await > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_daemon_that_is_none_is_not_looked_for() {
    let Some(daemon) = Daemon::start("a_daemon_that_is_none_is_not_looked_for") else { return };
    for (uri, why) in [
        ("qemu:///system", "no daemon has that name"),
        ("libvirtd:///elsewhere", "at /system or at /session"),
        ("virtqemud:///session", "virtqemud-admin-sock"),
    ] {
        let error = Admin::open_with(uri, &daemon.environment(), Options::default(), run).await.unwrap_err();
        assert!(format!("{error:#}").contains(why), "{uri}: {error:#}");
    }
}

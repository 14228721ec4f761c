//! `libvirt-test-server`: the in-memory daemon as a program.

use libvirt_server::{Clients, Handle, Scope, Server, Tls};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

const USAGE: &str = "usage: libvirt-test-server [OPTIONS] SOCKET

Serves test:///default out of memory on a unix socket until it is told to end:
  virsh -c 'test+unix:///default?socket=SOCKET' list --all

  --complete       also what libvirt's test driver refuses: contents of volumes, secrets, ...
  --admin SOCKET   listens for virt-admin too:
                   virt-admin -c 'libvirtd:///system?socket=SOCKET' server-list
  --hostname NAME  the name that the host gives itself
  --tcp ADDRESS    listens without encryption too, on an address with its port
  --tls ADDRESS    listens with TLS too; needs --pki
  --pki DIRECTORY  has cacert.pem, servercert.pem and serverkey.pem; who connects with TLS needs a certificate of that authority";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // virsh misses the end of a save that takes no time.
    let mut builder = Server::builder().job_duration(Duration::from_millis(300));
    let (mut socket, mut admin, mut tcp, mut tls, mut pki) = (None, None, None, None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--complete" => builder = builder.scope(Scope::Complete),
            "--admin" | "--hostname" | "--tcp" | "--tls" | "--pki" => {
                match (argument.as_str(), arguments.next()) {
                    (_, None) => return complain(USAGE),
                    ("--admin", path) => admin = path,
                    ("--hostname", Some(name)) => builder = builder.hostname(&name),
                    ("--tcp", address) => tcp = address,
                    ("--tls", address) => tls = address,
                    (_, directory) => pki = directory,
                }
            }
            path if !path.starts_with('-') && socket.is_none() => socket = Some(path.to_owned()),
            _ => return complain(USAGE),
        }
    }
    let Some(socket) = socket else { return complain(USAGE) };
    let tls = match (tls, pki) {
        (None, None) => None,
        (Some(address), Some(directory)) => match Tls::in_directory(directory.as_ref(), Clients::Known) {
            Ok(tls) => Some((address, tls)),
            Err(error) => return complain(&format!("libvirt-test-server: {error}")),
        },
        _ => return complain(USAGE),
    };
    let server = builder.build();
    let handle = server.handle();
    tokio::select! {
        ended = server.serve_unix(&socket) => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("libvirt-test-server: {socket}: {error}")),
        },
        error = listen(&handle, admin.as_deref(), tcp, tls) => complain(&format!("libvirt-test-server: {error}")),
        _ = tokio::signal::ctrl_c() => {
            // It is ours: nobody else could have made it.
            let _ = std::fs::remove_file(&socket);
            if let Some(admin) = &admin {
                let _ = std::fs::remove_file(admin);
            }
            ExitCode::SUCCESS
        }
    }
}

/// Listens on the other socket and on ports until one of them fails.
async fn listen(
    handle: &Handle,
    admin: Option<&str>,
    tcp: Option<String>,
    tls: Option<(String, Tls)>,
) -> String {
    let administrators = async {
        match admin {
            Some(path) => match UnixListener::bind(path) {
                Ok(listener) => named(path, handle.serve_admin(listener).await),
                Err(error) => named(path, Err(error)),
            },
            None => std::future::pending().await,
        }
    };
    let plain = async {
        match &tcp {
            Some(address) => match TcpListener::bind(address).await {
                Ok(listener) => named(address, handle.serve_tcp(listener).await),
                Err(error) => named(address, Err(error)),
            },
            None => std::future::pending().await,
        }
    };
    let encrypted = async {
        match tls {
            Some((address, tls)) => match TcpListener::bind(&address).await {
                Ok(listener) => named(&address, handle.serve_tls(listener, tls).await),
                Err(error) => named(&address, Err(error)),
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        error = administrators => error,
        error = plain => error,
        error = encrypted => error,
    }
}

fn named(address: &str, ended: std::io::Result<()>) -> String {
    ended.err().map_or_else(|| format!("{address}: closed"), |error| format!("{address}: {error}"))
}

fn complain(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}

//! `libvirt-test-server`: the in-memory daemon as a program.

use libvirt_server::{Scope, Server};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: libvirt-test-server [--complete] [--hostname NAME] SOCKET

Serves test:///default out of memory on a unix socket until it is told to end:
  virsh -c 'test+unix:///default?socket=SOCKET' list --all

  --complete       also what libvirt's test driver refuses: contents of volumes, secrets, ...
  --hostname NAME  the name that the host gives itself";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // virsh misses the end of a save that takes no time.
    let mut builder = Server::builder().job_duration(Duration::from_millis(300));
    let mut socket = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--complete" => builder = builder.scope(Scope::Complete),
            "--hostname" => match arguments.next() {
                Some(name) => builder = builder.hostname(&name),
                None => return complain(USAGE),
            },
            path if !path.starts_with('-') && socket.is_none() => socket = Some(path.to_owned()),
            _ => return complain(USAGE),
        }
    }
    let Some(socket) = socket else { return complain(USAGE) };
    tokio::select! {
        ended = builder.build().serve_unix(&socket) => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("libvirt-test-server: {socket}: {error}")),
        },
        _ = tokio::signal::ctrl_c() => {
            // It is ours: nobody else could have made it.
            let _ = std::fs::remove_file(&socket);
            ExitCode::SUCCESS
        }
    }
}

fn complain(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}

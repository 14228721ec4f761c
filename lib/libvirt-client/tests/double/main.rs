//! Against the server of this workspace, in memory: what a real daemon would not show, or not every time.
#![cfg(test)]

#[path = "../daemon/authority.rs"]
mod authority;
mod dial;
mod files;
mod fuzz;
mod identity;
mod jobs;
mod lanes;
mod lost;
mod migration;
mod mortal;
mod names;
mod old;
mod passwords;
mod reconnect;
#[path = "../shared/running.rs"]
mod running;
mod serials;
mod spare;
mod streams;
mod waiting;

use libvirt_client::transport::{Privacy, Stream};
use libvirt_server::{Builder, Handle};
use running::run;
use tokio::io::DuplexStream;

fn start(builder: Builder) -> Handle {
    let server = builder.build();
    let handle = server.handle();
    run(async move { server.serve(None).await.is_ok() });
    handle
}

/// Our end of a connection in memory.
fn end(handle: &Handle, privacy: Privacy) -> Stream<DuplexStream> {
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    Stream::new(ours, privacy)
}

//! Nothing is left of connections that broke, on either side: in a process of its own, where nobody else opens files or starts tasks.
#![cfg(test)]

#[path = "../../libvirt-client/tests/shared/running.rs"]
mod running;

use libvirt_client::Connect;
use libvirt_client::protocol::remote;
use libvirt_client::transport::{Privacy, Stream, Unix};
use libvirt_server::proxy::{Fault, Faults, relay};
use libvirt_server::{Handle, Scope, Server};
use running::run;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;

/// Connections with each fault. One thing that each of them left would show.
const TIMES: u64 = 30;
/// The same for what only some of them would leave.
const MANY_TIMES: u64 = 1_000;
/// What a process holds is counted as a whole.
static ALONE: Mutex<()> = Mutex::new(());
/// What ends at all has ended by then.
const IN_TIME: Duration = Duration::from_secs(60);

/// A connection with a fault on the way, and calls on it until one fails or all are answered.
async fn broken(handle: &Handle, fault: Fault, seed: u64) {
    let (ours, near) = UnixStream::pair().unwrap();
    let (far, theirs) = UnixStream::pair().unwrap();
    handle.attach(Unix::try_from(theirs).unwrap());
    run(async move {
        let mut faults = Faults::new(fault, seed, 20);
        relay(Stream::new(near, Privacy::Private), Stream::new(far, Privacy::Private), &mut faults).await
    });
    let opened = Connect::builder("test:///default").open_on(Unix::try_from(ours).unwrap(), run).await;
    let Ok(connect) = opened else { return };
    for _ in 0..10 {
        let args = remote::ConnectListAllDomainsArgs { need_results: 1, ..Default::default() };
        let calls = (0..4).map(|_| connect.call::<remote::ConnectListAllDomains>(&args));
        if futures::future::join_all(calls).await.iter().any(Result::is_err) {
            break;
        }
    }
}

/// Descriptors that are open, and tasks that live.
fn held() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (descriptors, tokio::runtime::Handle::current().metrics().num_alive_tasks())
}

async fn breaks(times: u64) {
    let server = Server::builder().scope(Scope::Complete).build();
    let handle = server.handle();
    run(async move { server.serve(None).await.is_ok() });
    // What is made once is there then.
    tokio::task::yield_now().await;
    let before = held();
    for fault in Fault::ALL {
        for seed in 0..times {
            broken(&handle, fault, seed).await;
        }
        let alone = async {
            while held() != before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = tokio::time::timeout(IN_TIME, alone).await;
        assert!(ended.is_ok(), "{fault:?}: {:?}, and {before:?} before", held());
    }
}

/// In a runtime that is made when nobody else makes one.
fn alone(work: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn nothing_is_left_of_connections_that_broke() {
    alone(breaks(TIMES));
}

#[test]
#[ignore = "takes minutes; part of `make test-long`"]
fn nothing_is_left_of_a_thousand_connections_with_each_fault() {
    alone(breaks(MANY_TIMES));
}

//! The back-end in tasks of tokio's: many sessions in one thread.

use crate::{SECTORS, TIMEOUT, wanted};
use std::os::unix::net::UnixStream;
use vhost_user::backend::serve_async;
use vhost_user::devices::{Disk, InMemory};
use vhost_user::frontend::FrontEnd;
use vhost_user::memory::Memory;
use vhost_user::socket::Canceller;
use virtio::Segment;
use virtio::features::Features;

/// A read of the first sector, again and again.
fn works(stream: UnixStream, times: usize) {
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(wanted(Features::EVENT_IDX)).unwrap();
    let mut memory = Memory::new(1 << 18).unwrap();
    front.add_memory(&memory).unwrap();
    let mut queue = front.start_queue(0, 8, &mut memory).unwrap();
    let part = memory.part(1024, 512).unwrap();
    part.slice().fill(0);
    let segment = |at: u64, length| Segment { address: part.host_address() + at, length };
    for _ in 0..times {
        queue.ring.add(&[segment(0, 16)], &[segment(512, 512), segment(16, 1)]).unwrap();
        queue.submit().unwrap();
        while queue.ring.reap().unwrap().is_none() {
            assert!(queue.wait(TIMEOUT).unwrap(), "it is not served");
        }
    }
    assert_eq!(front.stop_queue(0).unwrap(), times as u32);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn many_sessions_are_served_by_one_thread() {
    const MANY: usize = 20;
    let (ours, its): (Vec<_>, Vec<_>) = (0..MANY).map(|_| UnixStream::pair().unwrap()).unzip();
    let server = std::thread::spawn(move || {
        runtime().block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for stream in its {
                all.spawn(async move {
                    let mut disk = Disk::new(InMemory::new(SECTORS), 1);
                    serve_async(&mut disk, stream, &Canceller::new().unwrap()).await
                });
            }
            while let Some(ended) = all.join_next().await {
                ended.unwrap().unwrap();
            }
        });
    });
    let clients: Vec<_> =
        ours.into_iter().map(|stream| std::thread::spawn(move || works(stream, 100))).collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    server.join().unwrap();
}

/// A session ends with its future, and with its canceller.
#[test]
fn a_session_ends_with_its_future() {
    let runtime = runtime();
    let (ours, its) = UnixStream::pair().unwrap();
    runtime.block_on(async {
        let mut disk = Disk::new(InMemory::new(SECTORS), 1);
        let canceller = Canceller::new().unwrap();
        let serving = serve_async(&mut disk, its, &canceller);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), serving).await.is_err());
    });
    let mut front = FrontEnd::new(ours, TIMEOUT).unwrap();
    assert!(front.negotiate(wanted(Features::empty())).is_err(), "nobody is there");

    let (_ours, its) = UnixStream::pair().unwrap();
    let canceller = Canceller::new().unwrap();
    let other = canceller.clone();
    runtime.block_on(async {
        let mut disk = Disk::new(InMemory::new(SECTORS), 1);
        let serving = serve_async(&mut disk, its, &canceller);
        let (ended, ()) = tokio::join!(serving, async move { other.cancel() });
        assert_eq!(ended.unwrap_err().to_string(), "cancelled");
    });
}

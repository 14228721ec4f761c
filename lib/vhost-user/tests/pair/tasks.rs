//! Both sides in tasks of tokio's: many sessions in one thread.

use crate::toy::Toy;
use crate::{SECTORS, TIMEOUT, wanted};
use rustix::io::write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::task::JoinSet;
use vhost_user::ProtocolFeatures;
use vhost_user::back::Request as Asks;
use vhost_user::backend::{ServeError, serve_async};
use vhost_user::devices::{Disk, InMemory};
use vhost_user::framing::Framing;
use vhost_user::front::Request;
use vhost_user::frontend::{AsyncFrontEnd, BrokenRing, FrontEnd, Lasting, WaitError};
use vhost_user::memory::Memory;
use vhost_user::session::{Acknowledges, Answering};
use vhost_user::socket::{Canceller, Socket, SocketError};
use vhost_user::wire::{Message as _, Reply};
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
            let mut all = JoinSet::new();
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

/// Something beside, which ends with the test.
fn task<T: Send + 'static>(it: impl Future<Output = T> + Send + 'static) -> JoinSet<T> {
    let mut one = JoinSet::new();
    one.spawn(it);
    one
}

async fn ended<T: 'static>(mut one: JoinSet<T>) -> T {
    one.join_next().await.unwrap().unwrap()
}

async fn served(stream: UnixStream, canceller: Canceller) -> Result<(), ServeError> {
    serve_async(&mut Disk::new(InMemory::new(SECTORS), 1), stream, &canceller).await
}

/// A read of the first sector, again and again.
async fn works_too(stream: UnixStream, times: u32) {
    let mut front = AsyncFrontEnd::in_reactor(stream, TIMEOUT).unwrap();
    front.negotiate(wanted(Features::EVENT_IDX)).await.unwrap();
    assert_eq!(front.queues().await.unwrap(), 1);
    let capacity = front.config(0, 8).await.unwrap();
    assert_eq!(capacity, u64::from(SECTORS).to_le_bytes());
    let mut memory = Memory::new(1 << 18).unwrap();
    front.add_memory(&memory).await.unwrap();
    let mut queue = front.start_queue(0, 8, &mut memory).await.unwrap();
    let part = memory.part(1024, 512).unwrap();
    part.slice().fill(0);
    let segment = |at: u64, length| Segment { address: part.host_address() + at, length };
    for _ in 0..times {
        queue.ring.add(&[segment(0, 16)], &[segment(512, 512), segment(16, 1)]).unwrap();
        queue.submit().unwrap();
        queue.used(1).await.unwrap();
        assert!(queue.ring.reap().unwrap().is_some());
    }
    assert_eq!(front.stop_queue(0).await.unwrap(), times);
}

#[test]
fn both_sides_of_many_sessions_share_one_thread() {
    runtime().block_on(async {
        let mut all = JoinSet::new();
        for _ in 0..20 {
            let (ours, its) = UnixStream::pair().unwrap();
            all.spawn(works_too(ours, 100));
            all.spawn(async { served(its, Canceller::new().unwrap()).await.unwrap() });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap();
        }
    });
}

/// The next request that comes here.
fn asked(socket: &Socket, framing: &mut Framing) -> Request {
    let mut buffer = [0; 4096];
    loop {
        let want = framing.want().min(buffer.len());
        let (count, descriptors) = socket.receive(&mut buffer[..want]).unwrap();
        if let Some(message) = framing.feed(&buffer[..count], descriptors).unwrap() {
            return Answering::<Request>::default().asked(message, Acknowledges::No).unwrap().request;
        }
    }
}

/// What is dropped was asked all the same: its answer is not that of the next call.
#[test]
fn a_call_that_is_dropped_leaves_the_connection_as_it_was() {
    runtime().block_on(async {
        let (ours, its) = UnixStream::pair().unwrap();
        let its = Socket::new(its, Canceller::new().unwrap()).unwrap();
        let mut framing = Framing::default();
        let mut front = AsyncFrontEnd::in_reactor(ours, TIMEOUT).unwrap();
        let mut dropped = front.call(&Request::GetFeatures, &[]);
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(dropped);
        let mut second = front.call(&Request::GetProtocolFeatures, &[]);
        // Features that a protocol needs were not negotiated: it is not even sent.
        assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        drop(second);
        let mut second = front.call(&Request::GetFeatures, &[]);
        assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        for answer in [7, 8] {
            assert_eq!(asked(&its, &mut framing), Request::GetFeatures);
            let answer =
                Answering::<Request>::default().answer(Request::GetFeatures.number(), &Reply::U64(answer));
            its.send(&answer, &[]).unwrap();
        }
        assert!(matches!(second.await.unwrap().unwrap().reply, Reply::U64(8)));
    });
}

/// A request that went out in part can be followed by nothing.
#[test]
fn a_call_that_is_dropped_within_its_request_ends_the_connection() {
    runtime().block_on(async {
        let (ours, _silent) = UnixStream::pair().unwrap();
        let mut front = AsyncFrontEnd::in_reactor(ours, TIMEOUT).unwrap();
        loop {
            let mut asked = front.call(&Request::SetOwner, &[]);
            // Until nothing more fits into the socket.
            if asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                break;
            }
        }
        let error = front.call(&Request::SetOwner, &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "the connection broke with an earlier call");
    });
}

#[test]
fn waits_of_a_task_have_an_end_and_can_be_cancelled() {
    runtime().block_on(async {
        let (ours, _silent) = UnixStream::pair().unwrap();
        let mut front = AsyncFrontEnd::in_reactor(ours, Duration::from_millis(20)).unwrap();
        // What was said of a time that is over does not end the next.
        for _ in 0..2 {
            let error = front.negotiate(wanted(Features::empty())).await.unwrap_err();
            assert_eq!(vhost_user::with_causes(&error), "GET_FEATURES: the time is over");
        }
        let (ours, _silent) = UnixStream::pair().unwrap();
        let mut front = AsyncFrontEnd::in_reactor(ours, TIMEOUT).unwrap();
        let canceller = front.canceller();
        let wanted = wanted(Features::empty());
        let (ended, ()) = tokio::join!(front.negotiate(wanted), async { canceller.cancel() });
        assert_eq!(vhost_user::with_causes(&ended.unwrap_err()), "GET_FEATURES: cancelled");
    });
}

#[test]
fn a_task_hears_what_the_back_end_asks() {
    runtime().block_on(async {
        let (ours, its) = UnixStream::pair().unwrap();
        let mut toy = Toy::new();
        let bell = toy.bell.try_clone().unwrap();
        let back = task(async move { serve_async(&mut toy, its, &Canceller::new().unwrap()).await });
        let mut front = AsyncFrontEnd::in_reactor(ours, TIMEOUT).unwrap();
        let mut wanted = wanted(Features::empty());
        wanted.protocol |= ProtocolFeatures::BACKEND_REQ;
        front.negotiate(wanted).await.unwrap();
        let mut channel = front.open_channel().await.unwrap();
        write(&bell, &1_u64.to_ne_bytes()).unwrap();
        let asked = channel.next(TIMEOUT).await.unwrap();
        assert_eq!(asked.request, Asks::ConfigChangeMsg);
        drop((front, channel));
        ended(back).await.unwrap();
    });
}

/// The driver goes on while back-ends come and go, all in one thread.
#[test]
fn a_task_keeps_a_device_beyond_its_back_ends() {
    runtime().block_on(async {
        let next = Arc::new(Mutex::new(None));
        let backs = Arc::clone(&next);
        let canceller = Canceller::new().unwrap();
        let connect =
            move || backs.lock().unwrap().take().ok_or(std::io::ErrorKind::ConnectionRefused.into());
        let start = || {
            let (ours, its) = UnixStream::pair().unwrap();
            *next.lock().unwrap() = Some(ours);
            let killer = Canceller::new().unwrap();
            (task(served(its, killer.clone())), killer)
        };
        let mut back = start();
        let features = wanted(Features::EVENT_IDX);
        let mut lasting =
            Lasting::in_reactor(connect, features, TIMEOUT, (1, 8), canceller.clone()).await.unwrap();
        let mut memory = Memory::new(1 << 18).unwrap();
        lasting.add_memory(&memory).await.unwrap();
        let mut queue = lasting.start_queue(0, 8, &mut memory).await.unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let kept = task(async move {
            lasting
                .keep(|front| {
                    let tell = tell.clone();
                    Box::pin(async move {
                        tell.send(front.queues().await?).unwrap();
                        Ok(())
                    })
                })
                .await
        });
        let part = memory.part(1024, 512).unwrap();
        part.slice().fill(0);
        let segment = |at: u64, length| Segment { address: part.host_address() + at, length };
        for _ in 0..5 {
            back.1.cancel();
            assert!(matches!(ended(back.0).await, Err(ServeError::Socket(SocketError::Cancelled))));
            // Asked of nobody, and answered by who comes.
            queue.ring.add(&[segment(0, 16)], &[segment(512, 512), segment(16, 1)]).unwrap();
            queue.submit().unwrap();
            back = start();
            queue.used(1).await.unwrap();
            assert!(queue.ring.reap().unwrap().is_some());
            assert_eq!(told.try_recv(), Ok(1), "it was asked before the ring began");
        }
        canceller.cancel();
        assert_eq!(vhost_user::with_causes(&ended(kept).await.unwrap_err()), "connect: cancelled");
    });
}

/// What comes of a call that nobody waits for any more is not the end of the back-end.
#[test]
fn a_late_answer_is_not_taken_for_the_end() {
    runtime().block_on(async {
        let (ours, its) = UnixStream::pair().unwrap();
        let mut there = Some(ours);
        let connect = move || there.take().ok_or(std::io::ErrorKind::ConnectionRefused.into());
        let killer = Canceller::new().unwrap();
        let back = task(served(its, killer.clone()));
        let features = wanted(Features::empty());
        let canceller = Canceller::new().unwrap();
        let mut lasting = Lasting::in_reactor(connect, features, TIMEOUT, (1, 8), canceller).await.unwrap();
        let mut dropped = lasting.front().call(&Request::GetFeatures, &[]);
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(dropped);
        let mut gone = lasting.gone();
        // The back-end has its turns, and answers.
        for _ in 0..100 {
            assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "it is there");
            tokio::task::yield_now().await;
        }
        killer.cancel();
        assert!(matches!(ended(back).await, Err(ServeError::Socket(SocketError::Cancelled))));
        gone.await.unwrap();
    });
}

/// A region that nobody waited for is the back-end's once when it is given again, in tables that have all of them.
#[test]
fn memory_that_was_given_and_not_waited_for_is_there_once() {
    runtime().block_on(async {
        let (ours, its) = UnixStream::pair().unwrap();
        let its = Socket::new(its, Canceller::new().unwrap()).unwrap();
        let answers = |number| Answering::<Request>::default().answer(number, &Reply::U64(0));
        let number = |number, bits| Answering::<Request>::default().answer(number, &Reply::U64(bits));
        let features = Features::VERSION_1 | Features::PROTOCOL_FEATURES;
        let offered = [number(1, features.bits()), number(15, ProtocolFeatures::REPLY_ACK.bits())].concat();
        its.send(&[offered, answers(3), answers(2)].concat(), &[]).unwrap();
        let mut front = AsyncFrontEnd::in_reactor(ours, TIMEOUT).unwrap();
        front.negotiate(wanted(Features::empty())).await.unwrap();

        let (one, other) = (Memory::new(4096).unwrap(), Memory::new(8192).unwrap());
        let mut dropped = front.add_memory(&one);
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(dropped);
        // Whether it came or not, it is given again, and then another.
        its.send(&[answers(5), answers(5), answers(5)].concat(), &[]).unwrap();
        front.add_memory(&one).await.unwrap();
        front.add_memory(&other).await.unwrap();

        let mut framing = Framing::default();
        let mut tables = Vec::new();
        while tables.len() < 3 {
            if let Request::SetMemTable(table) = asked(&its, &mut framing) {
                tables.push(table.regions.iter().map(|region| region.size).collect::<Vec<_>>());
            }
        }
        assert_eq!(tables, [vec![4096], vec![4096], vec![4096, 8192]]);
    });
}

/// A task that waits for a ring hears that it is broken, and what was mended is waited for.
#[test]
fn a_task_that_waits_hears_that_its_ring_is_broken() {
    runtime().block_on(async {
        let (ours, its) = UnixStream::pair().unwrap();
        let back = task(served(its, Canceller::new().unwrap()));
        let mut front = AsyncFrontEnd::in_reactor(ours, TIMEOUT).unwrap();
        front.negotiate(wanted(Features::EVENT_IDX)).await.unwrap();
        let mut memory = Memory::new(1 << 18).unwrap();
        front.add_memory(&memory).await.unwrap();
        let mut queue = front.start_queue(0, 8, &mut memory).await.unwrap();
        let nowhere = Segment { address: 1 << 60, length: 16 };
        queue.ring.add(&[nowhere], &[]).unwrap();
        queue.submit().unwrap();
        for _ in 0..2 {
            let used = tokio::time::timeout(TIMEOUT, queue.used(1)).await.expect("nobody says it");
            let error = used.unwrap_err();
            assert!(matches!(error, WaitError::Broken(BrokenRing { index: 0 })), "{error}");
        }
        front.stop_queue(0).await.unwrap();
        front.place_queue(&queue, queue.base()).await.unwrap();
        let waits = tokio::time::timeout(Duration::from_millis(1), queue.used(1)).await;
        assert!(waits.is_err(), "it was said of the ring before");
        drop((front, queue));
        ended(back).await.unwrap();
    });
}

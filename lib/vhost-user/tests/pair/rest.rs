//! Requests that only few devices know, and those that little comes of.

use crate::toy::{EVERYTHING, SIZE, asks, client, negotiated};
use crate::{Served, TIMEOUT};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::back::Request as Asks;
use vhost_user::backend::{Device, Failure, Guest, Reply};
use vhost_user::front::Request;
use vhost_user::frontend::{BrokenRing, CallError, WaitError};
use vhost_user::payload::{Opaque, VringState};
use vhost_user::wire::Message as _;
use virtio::Segment;
use virtio::features::Features;

/// Tells of every request of its own that it gets, and answers it.
struct Rare(Sender<(&'static str, usize)>);

impl Device for Rare {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        guest.each(queue, |_| 0);
    }
    fn protocol(&self) -> ProtocolFeatures {
        // What is in the table but for Xen's memory, which is not this host's.
        ProtocolFeatures::all().difference(
            ProtocolFeatures::XEN_MMAP | ProtocolFeatures::PAGEFAULT | ProtocolFeatures::DEVICE_STATE,
        )
    }
    fn request(&mut self, request: &Request, given: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        self.0.send((request.facts().name, given.len())).unwrap();
        match request {
            Request::CreateCryptoSession(opaque) => {
                let bytes = opaque.bytes.iter().rev().copied().collect();
                Ok((Reply::Opaque(Opaque { bytes }), Vec::new()))
            }
            Request::CloseCryptoSession(7) | Request::GpuSetSocket | Request::SetVringEndian(_) => {
                Ok((Reply::None, Vec::new()))
            }
            other => Err(Failure::NotServed(other.facts().name)),
        }
    }
}

#[test]
fn requests_of_few_devices_reach_them() {
    let (tell, told) = channel();
    let (stream, served) = Served::with(Rare(tell));
    let mut front = negotiated(stream, asks(Features::empty(), EVERYTHING));
    let seen = || told.recv_timeout(TIMEOUT).unwrap();

    let created = front.call(&Request::CreateCryptoSession(Opaque { bytes: vec![1, 2, 3] }), &[]).unwrap();
    assert_eq!(created.unwrap().reply, Reply::Opaque(Opaque { bytes: vec![3, 2, 1] }));
    assert_eq!(seen(), ("CREATE_CRYPTO_SESSION", 0));
    front.call(&Request::CloseCryptoSession(7), &[]).unwrap();
    assert_eq!(seen(), ("CLOSE_CRYPTO_SESSION", 0));
    let refused = front.call(&Request::CloseCryptoSession(8), &[]).unwrap_err();
    assert!(matches!(refused, CallError::Refused { request: "CLOSE_CRYPTO_SESSION", .. }));
    assert_eq!(seen(), ("CLOSE_CRYPTO_SESSION", 0));
    let (ours, _its) = std::os::unix::net::UnixStream::pair().unwrap();
    front.call(&Request::GpuSetSocket, &[ours.as_fd()]).unwrap();
    assert_eq!(seen(), ("GPU_SET_SOCKET", 1));
    front.call(&Request::SetVringEndian(VringState { index: 0, num: 1 }), &[]).unwrap();
    assert_eq!(seen(), ("SET_VRING_ENDIAN", 0));

    // What is deprecated is ignored; an eventfd for the log is kept.
    front.call(&Request::ResetOwner, &[]).unwrap();
    let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    front.call(&Request::SetLogFd, &[bell.as_fd()]).unwrap();
    assert_eq!((front.queues().unwrap(), front.memory_slots().unwrap()), (1, 32));
    drop(front);
    served.ended().unwrap();
}

/// A ring that need not wait for what is under way says where it is as well.
#[test]
fn a_ring_stops_at_once_where_that_was_negotiated() {
    let (tell, _told) = channel();
    let (stream, served) = Served::with(Rare(tell));
    let mut client = client(stream, asks(Features::empty(), EVERYTHING));
    client.send(1);
    while client.queue.ring.reap().unwrap().is_none() {
        assert!(client.queue.wait(TIMEOUT).unwrap());
    }
    let answer = client.front.call(&Request::GetVringBaseSkipDrain(VringState { index: 0, num: 0 }), &[]);
    assert_eq!(answer.unwrap().unwrap().reply, Reply::VringState(VringState { index: 0, num: 1 }));
    drop(client);
    served.ended().unwrap();
}

/// A ring that breaks a rule is told of: on its descriptor, or on the channel where there is none.
#[test]
fn a_ring_that_is_broken_is_told_of() {
    for in_band in [false, true] {
        let (tell, _told) = channel();
        let (stream, served) = Served::with(Rare(tell));
        let protocol =
            if in_band { EVERYTHING } else { EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS) };
        let mut client = client(stream, asks(Features::empty(), protocol));
        let mut channel = client.front.open_channel().unwrap();
        let error = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        if in_band {
            client.front.call(&Request::SetVringErr(1 << 8), &[]).unwrap();
        } else {
            client.front.call(&Request::SetVringErr(0), &[error.as_fd()]).unwrap();
        }
        let nowhere = Segment { address: 1 << 60, length: 8 };
        client.queue.ring.add(&[nowhere], &[]).unwrap();
        client.queue.submit().unwrap();
        if in_band {
            client.front.call(&Request::VringKick(VringState { index: 0, num: 0 }), &[]).unwrap();
            let asked = channel.next(TIMEOUT).unwrap();
            assert_eq!(asked.request, Asks::VringErr(VringState { index: 0, num: 0 }));
        } else {
            let mut all = [rustix::event::PollFd::new(&error, rustix::event::PollFlags::IN)];
            let time = rustix::event::Timespec::try_from(TIMEOUT).unwrap();
            assert_eq!(rustix::event::poll(&mut all, Some(&time)).unwrap(), 1, "nobody was told");
        }
        assert_eq!(client.queue.ring.size(), SIZE);
        drop(client);
        served.ended().unwrap();
    }
}

/// Who waits for a ring that its back-end found broken hears of it at once, until the queue is attached again; what came back before is had first.
#[test]
fn a_wait_ends_when_its_ring_breaks() {
    for features in [Features::empty(), Features::RING_PACKED] {
        let (tell, _told) = channel();
        let (stream, served) = Served::with(Rare(tell));
        let ordinary = EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS);
        let mut client = client(stream, asks(features, ordinary));
        let at = client.bytes.host_address();
        for address in [at, 1 << 60] {
            client.queue.ring.add(&[], &[Segment { address, length: 8 }]).unwrap();
        }
        client.queue.submit().unwrap();
        assert!(client.queue.wait(TIMEOUT).unwrap(), "the first came back before the ring broke");
        assert!(client.queue.ring.reap().unwrap().is_some());
        for _ in 0..2 {
            let error = client.queue.wait(TIMEOUT).unwrap_err();
            assert!(matches!(error, WaitError::Broken(BrokenRing { index: 0 })), "{features:?}: {error}");
        }
        // Another ring in its place works.
        client.front.reset().unwrap();
        client.queue = client.front.start_queue(0, SIZE, &mut client.memory).unwrap();
        client.queue.ring.add(&[], &[Segment { address: at, length: 8 }]).unwrap();
        client.queue.submit().unwrap();
        assert!(client.queue.wait(TIMEOUT).unwrap());
        assert!(client.queue.ring.reap().unwrap().is_some());
        // And the same one is waited for again once it was attached, with nothing in it.
        let nowhere = Segment { address: 1 << 60, length: 8 };
        client.queue.ring.add(&[], &[nowhere]).unwrap();
        client.queue.submit().unwrap();
        client.queue.wait(TIMEOUT).unwrap_err();
        client.front.stop_queue(0).unwrap();
        client.front.place_queue(&client.queue, client.queue.base()).unwrap();
        assert!(!client.queue.wait(Duration::from_millis(1)).unwrap(), "it was said of the ring before");
        drop(client);
        served.ended().unwrap();
    }
}

//! Our front-end with our back-end: every kind of ring, and what front-ends do wrong.
#![cfg(test)]

mod addresses;
#[path = "../support/apart.rs"]
mod apart;
mod devices;
mod direct;
mod ends;
mod faults;
mod keeping;
mod looking;
mod moving;
#[path = "../support/observed.rs"]
mod observed;
mod offloads;
mod relayed;
mod rest;
mod resuming;
mod rings;
mod session;
mod slow;
mod table;
mod tap;
mod tasks;
mod toy;

use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{Device, ServeError, serve};
use vhost_user::devices::{Disk, InMemory};
use vhost_user::frontend::{FrontEnd, WaitError, Wanted};
use vhost_user::socket::Canceller;
use virtio::features::Features;

const TIMEOUT: Duration = Duration::from_secs(4);
const SECTORS: u32 = 4096;

/// What a session of the back-end ended with.
type Ended = Result<(), ServeError>;

/// A back-end with a disk in memory, in a thread.
struct Served {
    thread: JoinHandle<Ended>,
    canceller: Canceller,
}

impl Served {
    fn start() -> (UnixStream, Self) {
        Self::with(Disk::new(InMemory::new(SECTORS), 2))
    }

    fn with<D: Device + Send + 'static>(mut device: D) -> (UnixStream, Self) {
        let (ours, its) = UnixStream::pair().unwrap();
        let canceller = Canceller::new().unwrap();
        let cancelled = canceller.clone();
        let thread = std::thread::spawn(move || serve(&mut device, its, &cancelled));
        // Devices of ours are told apart by where they are made.
        for (module, name) in [
            ("net", "net"),
            ("disk", "blk"),
            ("entropy", "rng"),
            ("console", "console"),
            ("balloon", "balloon"),
        ] {
            if std::any::type_name::<D>().contains(&format!("devices::{module}::")) {
                observed::device(name, "ours");
            }
        }
        (observed::through(ours, "ours"), Self { thread, canceller })
    }

    /// Ends it as a crash would: in the middle of whatever it does.
    fn kill(self) {
        self.canceller.cancel();
        assert_eq!(self.ended().unwrap_err().to_string(), "cancelled");
    }

    fn ended(self) -> Ended {
        self.thread.join().unwrap()
    }
}

fn wanted(features: Features) -> Wanted {
    let protocol = ProtocolFeatures::MQ
        | ProtocolFeatures::REPLY_ACK
        | ProtocolFeatures::CONFIG
        | ProtocolFeatures::CONFIGURE_MEM_SLOTS;
    Wanted { features, required: Features::VERSION_1, protocol }
}

#[test]
fn a_front_end_that_leaves_ends_its_session() {
    let (stream, served) = Served::start();
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(wanted(Features::empty())).unwrap();
    drop(front);
    served.ended().unwrap();
}

#[test]
fn a_back_end_that_does_not_answer_is_given_up_and_so_is_a_call_that_is_cancelled() {
    let (stream, _silent) = UnixStream::pair().unwrap();
    let mut front = FrontEnd::new(stream, Duration::from_millis(20)).unwrap();
    let error = front.negotiate(wanted(Features::empty())).unwrap_err();
    assert_eq!(vhost_user::with_causes(&error), "GET_FEATURES: the time is over");

    let (stream, _silent) = UnixStream::pair().unwrap();
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    let canceller = front.canceller();
    let (begin, begun) = mpsc::channel();
    let other = std::thread::spawn(move || {
        begun.recv().unwrap();
        canceller.cancel();
    });
    begin.send(()).unwrap();
    let error = front.negotiate(wanted(Features::empty())).unwrap_err();
    assert_eq!(vhost_user::with_causes(&error), "GET_FEATURES: cancelled");
    other.join().unwrap();
}

/// A queue whose device uses nothing is waited for until somebody says that it is enough.
#[test]
fn a_queue_that_waits_is_cancelled_with_its_front_end() {
    for features in [Features::EVENT_IDX, Features::RING_PACKED] {
        let (stream, served) = Served::with(toy::Toy { keeps: true, ..toy::Toy::new() });
        let mut client = toy::client(stream, toy::asks(features, toy::EVERYTHING));
        client.send(1);
        assert!(!client.queue.wait(Duration::from_millis(1)).unwrap(), "it is kept");
        let canceller = client.front.canceller();
        std::thread::scope(|scope| {
            scope.spawn(|| canceller.cancel());
            let ended = client.queue.wait(TIMEOUT);
            assert!(matches!(ended, Err(WaitError::Cancelled)), "{ended:?}");
        });
        // For good.
        assert!(matches!(client.queue.wait(TIMEOUT), Err(WaitError::Cancelled)));
        drop(client);
        served.ended().unwrap();
    }
}

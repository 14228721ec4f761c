//! Both sides look at a ring before they sleep: what that saves is counted, and not timed.

use crate::TIMEOUT;
use crate::toy::{EVERYTHING, Toy, asks, client};
use rustix::io::read;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::backend::serve_polling;
use vhost_user::socket::Canceller;
use virtio::Segment;
use virtio::features::Features;

/// Longer than any wait of the test: whoever slept looks twice as long the next time.
const LONG: Duration = Duration::from_secs(3600);
const REQUESTS: u64 = 200;
/// Sleeps until a look is longer than what is waited for, however slow the machine is: from 4 us to 4 s by doubling, and some at the beginning.
const LEARNS: u64 = 32;

/// Kicks and calls of so many requests, one after the other, where each side looks for at most so long.
fn notified(features: Features, back: Duration, front: Duration) -> [u64; 2] {
    let (ours, its) = UnixStream::pair().unwrap();
    let canceller = Canceller::new().unwrap();
    let served = std::thread::spawn(move || serve_polling(&mut Toy::new(), its, &canceller, back));
    let protocol = EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS);
    let mut client = client(ours, asks(features, protocol));
    client.queue.set_polling(front);
    let mut kicks = 0;
    for number in 0..REQUESTS {
        let byte = number as u8;
        client.bytes.piece(0, 1).unwrap().slice().write(&[byte & 0x7f]);
        let segment = |at| [Segment { address: client.bytes.host_address() + at, length: 1 }];
        client.queue.ring.add(&segment(0), &segment(1)).unwrap();
        client.queue.ring.publish();
        if client.queue.ring.must_kick() {
            kicks += 1;
            client.queue.kick().unwrap();
        }
        // Waited for though it may be there: who never waits never says how it wants to hear.
        assert!(client.queue.wait(TIMEOUT).unwrap(), "nothing in {TIMEOUT:?}");
        assert!(client.queue.ring.reap().unwrap().is_some());
    }
    // Who waits does not read it, so that all calls are in it; one or two are those of the beginning.
    let mut calls = [0; 8];
    let count = read(client.queue.call(), &mut calls).unwrap_or(0);
    let calls = if count == calls.len() { u64::from_ne_bytes(calls) } else { 0 };
    drop(client);
    served.join().unwrap().unwrap();
    [kicks, calls]
}

const KINDS: [Features; 4] = [
    Features::empty(),
    Features::EVENT_IDX,
    Features::RING_PACKED,
    Features::RING_PACKED.union(Features::EVENT_IDX),
];

#[test]
fn a_back_end_that_looks_is_not_kicked() {
    for features in KINDS {
        let [kicks, _] = notified(features, LONG, Duration::ZERO);
        assert!(kicks <= LEARNS, "{kicks} kicks for {REQUESTS} requests, {features:?}");
    }
}

#[test]
fn a_front_end_that_looks_is_not_called() {
    for features in KINDS {
        let [_, calls] = notified(features, Duration::ZERO, LONG);
        assert!(calls <= LEARNS, "{calls} calls for {REQUESTS} requests, {features:?}");
    }
}

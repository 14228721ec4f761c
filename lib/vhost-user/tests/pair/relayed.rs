//! A relay between our front-end and our back-end.

use crate::toy::{EVERYTHING, Toy, asks, negotiated};
use crate::{Served, TIMEOUT, wanted};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;
use vhost_user::back;
use vhost_user::frontend::{CallError, FrontEnd, Lasting};
use vhost_user::memory::Memory;
use vhost_user::proxy::{Chaos, Ended, From, Passed, relay};
use vhost_user::socket::{Canceller, SocketError};
use vhost_user::wire::Header;
use virtio::Segment;
use virtio::features::Features;

/// A front-end whose session goes through a relay that tells what it saw.
fn relayed(chaos: Chaos) -> (UnixStream, Served, mpsc::Receiver<Passed>, std::thread::JoinHandle<Ended>) {
    relayed_of(chaos, Served::start())
}

fn relayed_of(
    chaos: Chaos,
    (back, served): (UnixStream, Served),
) -> (UnixStream, Served, mpsc::Receiver<Passed>, std::thread::JoinHandle<Ended>) {
    let (front, its) = UnixStream::pair().unwrap();
    let (tell, told) = mpsc::channel();
    let canceller = Canceller::new().unwrap();
    let relay = std::thread::spawn(move || {
        relay(its, back, chaos, &canceller, |passed| {
            let _ = tell.send(passed.clone());
        })
        .unwrap()
    });
    (front, served, told, relay)
}

/// One request of a disk, whatever is between.
fn works(front: &mut FrontEnd) -> Result<(), vhost_user::frontend::CallError> {
    front.negotiate(wanted(Features::EVENT_IDX))?;
    let mut memory = Memory::new(1 << 18)?;
    front.add_memory(&memory)?;
    let mut queue = front.start_queue(0, 8, &mut memory)?;
    let part = memory.part(1024, 512).unwrap();
    let segment = |at: u64, length| Segment { address: part.host_address() + at, length };
    part.slice().fill(0);
    queue.ring.add(&[segment(0, 16)], &[segment(512, 512), segment(16, 1)]).unwrap();
    queue.submit()?;
    while queue.ring.reap().unwrap().is_none() {
        assert!(queue.wait(TIMEOUT).unwrap(), "it is not served");
    }
    front.stop_queue(0).map(drop)
}

#[test]
fn what_goes_through_is_told_and_changes_nothing() {
    let (stream, served, told, relay) = relayed(Chaos::default());
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    works(&mut front).unwrap();
    drop(front);
    served.ended().unwrap();
    assert_eq!(relay.join().unwrap(), Ended::By(From::FrontEnd));
    let all: Vec<_> = told.iter().collect();
    let names: Vec<_> = all.iter().filter(|it| it.from == From::FrontEnd).map(Passed::name).collect();
    assert_eq!(
        names,
        [
            "GET_FEATURES",
            "GET_PROTOCOL_FEATURES",
            "SET_PROTOCOL_FEATURES",
            "SET_OWNER",
            "SET_FEATURES",
            "ADD_MEM_REG",
            "SET_VRING_NUM",
            "SET_VRING_BASE",
            "SET_VRING_ADDR",
            "SET_VRING_ERR",
            "SET_VRING_CALL",
            "SET_VRING_KICK",
            "SET_VRING_ENABLE",
            "GET_VRING_BASE"
        ]
    );
    let memory = all.iter().find(|it| it.name() == "ADD_MEM_REG").unwrap();
    assert_eq!(memory.descriptors, 1);
    assert!(memory.in_words().unwrap().starts_with("guest address 0x"), "{:?}", memory.in_words());
    assert_eq!(all.last().unwrap().in_words().unwrap(), "index 0, num 1");
}

#[test]
fn messages_in_pieces_and_late_ones_are_understood_by_both() {
    for seed in 0..20 {
        let chaos =
            Chaos { seed, pieces: 0.7, delays: 0.3, delay: Duration::from_millis(2), ..Chaos::default() };
        let (stream, served, _told, relay) = relayed(chaos);
        let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
        works(&mut front).unwrap();
        drop(front);
        served.ended().unwrap();
        assert_eq!(relay.join().unwrap(), Ended::By(From::FrontEnd));
    }
}

#[test]
fn a_connection_that_is_cut_anywhere_ends_both_with_an_error() {
    let mut cut = 0;
    for seed in 0..200 {
        let chaos = Chaos { seed, cuts: 0.08, ..Chaos::default() };
        let (stream, served, told, relay) = relayed(chaos);
        let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
        let worked = works(&mut front);
        drop(front);
        let ended = relay.join().unwrap();
        assert_eq!(worked.is_err(), ended == Ended::Cut, "seed {seed}: {worked:?}");
        // The back-end sees an end, in order or in the middle of a message.
        let _ = served.ended();
        cut += usize::from(ended == Ended::Cut);
        // The same seed does the same.
        if seed % 50 == 0 {
            let (stream, served, again, relay) = relayed(chaos);
            let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
            let _ = works(&mut front);
            drop(front);
            let _ = (relay.join().unwrap(), served.ended());
            let names = |told: mpsc::Receiver<Passed>| told.iter().map(|it| it.name()).collect::<Vec<_>>();
            assert_eq!(names(told), names(again));
        }
    }
    assert!(cut > 50, "{cut} of 200 were cut");
}

/// The back-end's channel goes through the relay too, with what it asks and what it is answered.
#[test]
fn the_channel_of_the_back_end_is_told_too() {
    let toy = Toy::new();
    let bell = toy.bell.try_clone().unwrap();
    let (stream, served, told, relay) = relayed_of(Chaos::default(), Served::with(toy));
    let mut front = negotiated(stream, asks(Features::empty(), EVERYTHING));
    for _ in 0..3 {
        let mut channel = front.open_channel().unwrap();
        rustix::io::write(&bell, &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(channel.next(TIMEOUT).unwrap().request, back::Request::ConfigChangeMsg);
    }
    drop(front);
    served.ended().unwrap();
    assert_eq!(relay.join().unwrap(), Ended::By(From::FrontEnd));
    let of_channel: Vec<_> = told.iter().filter(|it| it.channel).map(|it| (it.from, it.name())).collect();
    assert_eq!(of_channel, [(From::BackEnd, "CONFIG_CHANGE_MSG"); 3]);
}

/// Who has ended its side is still answered.
#[test]
fn half_a_connection_is_relayed() {
    let (mut stream, served, told, relay) = relayed(Chaos::default());
    let header = Header { request: 1, reply: false, need_reply: false, size: 0 };
    stream.write_all(&header.encode()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 20);
    served.ended().unwrap();
    assert_eq!(relay.join().unwrap(), Ended::By(From::FrontEnd));
    assert_eq!(told.iter().count(), 2);
}

/// Answers that come in another order than their requests are noticed, and those of a front-end that waits for each are only late.
#[test]
fn answers_in_another_order_are_no_answers() {
    let chaos = Chaos { reorder: 0.5, ..Chaos::default() };
    let (stream, served, _told, relay) = relayed(chaos);
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    works(&mut front).unwrap();
    drop(front);
    served.ended().unwrap();
    relay.join().unwrap();

    let chaos = Chaos { reorder: 1.0, ..Chaos::default() };
    let (mut stream, served, _told, relay) = relayed(chaos);
    let ask = |request| Header { request, reply: false, need_reply: false, size: 0 }.encode();
    stream.write_all(&[ask(1), ask(15)].concat()).unwrap();
    let mut answers = [0; 40];
    stream.read_exact(&mut answers).unwrap();
    assert_eq!((answers[0], answers[20]), (15, 1));
    drop(stream);
    served.ended().unwrap();
    relay.join().unwrap();
}

/// A region that comes before its back-end knows of the rings is dropped by some; one that comes after they started comes too late. What else a
/// back-end is to be told it is told between the two.
#[test]
fn what_is_remembered_is_said_between_how_long_rings_are_and_where() {
    let canceller = Canceller::new().unwrap();
    let (tell, told) = mpsc::channel();
    let connect = {
        let tell = tell.clone();
        move || {
            let (front, served, passed, relay) = relayed_of(Chaos::default(), Served::with(Toy::new()));
            tell.send((served, passed, relay)).unwrap();
            Ok(front)
        }
    };
    let wanted = wanted(Features::EVENT_IDX);
    let mut lasting = Lasting::new(connect, wanted, TIMEOUT, (2, 8), canceller.clone()).unwrap();
    let mut memory = Memory::new(1 << 18).unwrap();
    lasting.add_memory(&memory).unwrap();
    let _queues = [0, 1].map(|index| lasting.start_queue(index, 8, &mut memory).unwrap());
    let (served, first, relay) = told.recv().unwrap();
    let (asked, asks) = mpsc::channel();
    let keeping = std::thread::spawn(move || {
        let mut tries = 0;
        lasting.keep(|front| {
            tries += 1;
            let config = front.config(0, 4)?;
            if tries == 1 {
                // Of one try: there is another.
                return Err(CallError::Broken);
            }
            asked.send(config).unwrap();
            Ok(())
        })
    });
    served.kill();
    relay.join().unwrap();
    let (served, ..) = told.recv_timeout(TIMEOUT).unwrap();
    served.ended().unwrap();
    let (served, second, relay) = told.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(asks.recv_timeout(TIMEOUT).unwrap(), [1, 2, 3, 4]);
    // Its rings run when the last of them was enabled.
    let mut names = Vec::new();
    while names.iter().filter(|name| **name == "SET_VRING_ENABLE").count() < 2 {
        let passed = second.recv_timeout(TIMEOUT).unwrap();
        if passed.from == From::FrontEnd {
            names.push(passed.name());
        }
    }
    canceller.cancel();
    assert!(matches!(keeping.join().unwrap(), Err(CallError::Socket { error: SocketError::Cancelled, .. })));
    // The last acknowledgement may not have been read, which resets the connection.
    let _ = (served.ended(), relay.join());
    let about = names.iter().position(|name| *name == "SET_VRING_NUM").unwrap();
    let sizes = ["SET_VRING_NUM", "SET_VRING_BASE"];
    let places = ["SET_VRING_ADDR", "SET_VRING_ERR", "SET_VRING_CALL"];
    let starts = ["SET_VRING_KICK", "SET_VRING_ENABLE"];
    let region = ["SET_INFLIGHT_FD"];
    let twice = |names: &[&'static str]| [names, names].concat();
    assert_eq!(
        names[about..],
        [twice(&sizes), region.to_vec(), twice(&places), vec!["GET_CONFIG"], twice(&starts)].concat()
    );
    // At first rings come one by one.
    let all: Vec<_> = first.iter().filter(|it| it.from == From::FrontEnd).collect();
    let names: Vec<_> = all.iter().map(Passed::name).collect();
    let about = names.iter().position(|name| *name == "SET_VRING_NUM").unwrap();
    let one = [sizes.as_slice(), &region, &places, &starts].concat();
    assert_eq!(names[about..], twice(&one));
}

//! Every device of ours, by drivers of ours.

use crate::{Served, TIMEOUT, wanted};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::io::write;
use rustix::pipe::{fcntl_getpipe_size, pipe};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use vhost_user::backend::Device;
use vhost_user::devices::{Balloon, Console, Entropy, Loopback, Network};
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use vhost_user::{ProtocolFeatures, back};
use virtio::features::Features;
use virtio::net::{HEADER, Header};
use virtio::post::{Inbox, Outbox};
use virtio::{Segment, balloon, console, net};

const SIZE: u16 = 16;

/// Rings of all kinds that matter to a device.
const KINDS: [Features; 3] =
    [Features::empty(), Features::EVENT_IDX, Features::RING_PACKED.union(Features::EVENT_IDX)];

pub(crate) struct Client {
    pub(crate) front: FrontEnd,
    pub(crate) memory: Memory,
    pub(crate) queues: Vec<Queue>,
    served: Served,
}

pub(crate) fn client(device: impl Device + Send + 'static, features: Features, queues: u32) -> Client {
    let (stream, served) = Served::with(device);
    connect(stream, served, features, queues)
}

fn connect(stream: UnixStream, served: Served, features: Features, queues: u32) -> Client {
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    let protocol = ProtocolFeatures::all().difference(ProtocolFeatures::INBAND_NOTIFICATIONS);
    let negotiated = front.negotiate(Wanted { protocol, ..wanted(features) }).unwrap();
    assert!(negotiated.features.contains(features), "ours has all of them");
    let mut memory = Memory::new(4 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let queues = (0..queues).map(|index| front.start_queue(index, SIZE, &mut memory).unwrap()).collect();
    Client { front, memory, queues, served }
}

impl Client {
    pub(crate) fn inbox(&mut self, each: u32) -> Inbox {
        let memory = self.memory.part(usize::from(SIZE) * each as usize, 4096).unwrap();
        let address = memory.host_address();
        Inbox::new(SIZE, each, memory, address).unwrap()
    }

    pub(crate) fn outbox(&mut self, each: u32) -> Outbox {
        let memory = self.memory.part(usize::from(SIZE) * each as usize, 4096).unwrap();
        let address = memory.host_address();
        Outbox::new(SIZE, each, memory, address).unwrap()
    }

    /// The next message of a queue.
    pub(crate) fn receive(&mut self, queue: usize, inbox: &mut Inbox) -> Vec<u8> {
        let queue = &mut self.queues[queue];
        loop {
            inbox.offer(&mut queue.ring).unwrap();
            queue.submit().unwrap();
            if let Some(letter) = inbox.next(&mut queue.ring).unwrap() {
                let slice = inbox.open(&letter).unwrap();
                let mut bytes = vec![0; slice.len()];
                slice.read(&mut bytes);
                inbox.offer_again(letter);
                return bytes;
            }
            assert!(queue.wait(TIMEOUT).unwrap(), "nothing came in {TIMEOUT:?}");
        }
    }

    pub(crate) fn send(&mut self, queue: usize, outbox: &mut Outbox, parts: &[&[u8]]) {
        let queue = &mut self.queues[queue];
        loop {
            match outbox.send(&mut queue.ring, parts) {
                Ok(()) => break queue.submit().unwrap(),
                Err(error) => assert_eq!(error.to_string(), "the ring is full"),
            }
            while outbox.taken(&mut queue.ring).unwrap() == 0 {
                assert!(queue.wait(TIMEOUT).unwrap(), "nothing was taken in {TIMEOUT:?}");
            }
        }
    }

    pub(crate) fn end(self) {
        drop(self.front);
        self.served.ended().unwrap();
    }
}

#[test]
fn entropy_fills_what_it_is_given() {
    for features in KINDS {
        // A source that ends: what it does not give is not told as written.
        let source: &[u8] = &[7; 1000];
        let mut client = client(Entropy::new(source), features, 1);
        let mut inbox = client.inbox(64);
        for _ in 0..15 {
            assert_eq!(client.receive(0, &mut inbox), [7; 64]);
        }
        assert_eq!(client.receive(0, &mut inbox), [7; 40]);
        assert!(client.receive(0, &mut inbox).is_empty());
        client.end();
    }
}

#[test]
fn a_console_carries_text_both_ways() {
    for features in KINDS {
        let ((input, mut to), (from, output)) = (pipe().unwrap(), pipe().unwrap());
        let device = Console::new(input, output, 80, 25).unwrap();
        let mut client = client(device, features, 2);
        let size = client.front.config(0, console::Config::BYTES as u32).unwrap();
        assert_eq!(console::Config::parse(&size), console::Config { columns: 80, rows: 25, most_ports: 1 });
        let (mut inbox, mut outbox) = (client.inbox(100), client.outbox(100));
        let mut from = File::from(from);
        for round in 0..50_u8 {
            client.send(1, &mut outbox, &[b"out ", &[round]]);
            let mut read = [0; 5];
            from.read_exact(&mut read).unwrap();
            assert_eq!(read, [b'o', b'u', b't', b' ', round]);

            // More than one buffer holds, and more than all of them do.
            let text: Vec<u8> = (0..5000_u32).map(|at| at as u8 ^ round).collect();
            let mut writer = File::from(to);
            writer.write_all(&text).unwrap();
            to = writer.into();
            let mut read = Vec::new();
            while read.len() < text.len() {
                read.extend(client.receive(0, &mut inbox));
            }
            assert!(read == text);
        }
        client.end();
    }
}

#[test]
fn frames_come_back_whole_and_in_order() {
    for features in KINDS {
        for mergeable in [false, true] {
            let bits = if mergeable { net::Features::MRG_RXBUF.bits() } else { 0 };
            let features = features | Features::from_bits_retain(bits);
            let mut client = client(Network::new(Loopback::default(), [2, 0, 0, 0, 0, 1]), features, 2);
            let config = net::Config::parse(&client.front.config(0, net::Config::BYTES as u32).unwrap());
            assert_eq!((config.mac, config.status), ([2, 0, 0, 0, 0, 1], 1));
            // Mergeable buffers are smaller than frames.
            let mut inbox = client.inbox(if mergeable { 256 } else { 2048 });
            let mut outbox = client.outbox(2048);
            let frame = |number: u32| vec![number as u8; 60 + number as usize * 7 % 1454];
            for batch in 0..20 {
                for number in 0..8 {
                    client.send(1, &mut outbox, &[&Header::default().bytes(), &frame(batch * 8 + number)]);
                }
                for number in 0..8 {
                    let mut got = client.receive(0, &mut inbox);
                    let header = Header::parse(got.first_chunk().unwrap());
                    for _ in 1..header.buffers {
                        got.extend(client.receive(0, &mut inbox));
                    }
                    assert!(got[HEADER..] == frame(batch * 8 + number), "frame {number} of batch {batch}");
                    let needed = if mergeable { got.len().div_ceil(256) } else { 1 };
                    assert_eq!(usize::from(header.buffers), needed);
                }
            }
            client.end();
        }
    }
}

#[test]
fn frames_sent_on_a_disabled_queue_are_dropped() {
    let mut client = client(Network::new(Loopback::default(), [2; 6]), Features::EVENT_IDX, 2);
    let (mut inbox, mut outbox) = (client.inbox(2048), client.outbox(2048));
    client.front.disable_queue(1).unwrap();
    client.send(1, &mut outbox, &[&[0; HEADER], b"lost"]);
    while outbox.taken(&mut client.queues[1].ring).unwrap() == 0 {
        assert!(client.queues[1].wait(TIMEOUT).unwrap(), "it was not taken");
    }
    client.front.enable_queue(1).unwrap();
    client.send(1, &mut outbox, &[&[0; HEADER], b"kept"]);
    assert_eq!(client.receive(0, &mut inbox)[HEADER..], *b"kept");
    client.end();
}

#[test]
fn a_network_device_is_told_the_mtu_and_what_to_announce() {
    let mut client = client(Network::new(Loopback::default(), [2; 6]), Features::empty(), 2);
    client.front.call(&Request::NetSetMtu(9000), &[]).unwrap();
    assert!(matches!(client.front.call(&Request::NetSetMtu(10), &[]), Err(CallError::Refused { .. })));
    client.front.call(&Request::SendRarp(0x0605_0403_0201), &[]).unwrap();
    assert!(matches!(client.front.call(&Request::SetLogFd, &[client.memory.descriptor()]), Ok(Some(_))));
    client.end();
}

/// One chain does not hold up everything else for as long as its driver likes.
#[test]
fn a_console_writes_so_much_of_a_chain_and_no_more() {
    const EACH: u32 = 1 << 20;
    let ((input, _to), output) = (pipe().unwrap(), memfd_create("output", MemfdFlags::CLOEXEC).unwrap());
    let written = File::from(output.try_clone().unwrap());
    let mut client = client(Console::new(input, output, 80, 25).unwrap(), Features::empty(), 2);
    let bytes = client.memory.part(EACH as usize, 4096).unwrap();
    // The same bytes again and again.
    let segment = Segment { address: bytes.host_address(), length: EACH };
    let transmit = &mut client.queues[1];
    transmit.ring.add(&[segment; SIZE as usize], &[]).unwrap();
    transmit.submit().unwrap();
    while transmit.ring.reap().unwrap().is_none() {
        assert!(transmit.wait(TIMEOUT).unwrap(), "it was not given back");
    }
    assert_eq!(written.metadata().unwrap().len(), 1 << 20);
    client.end();
}

/// Nor does it take more of its input than it keeps for a driver that has no buffers: the rest waits in the descriptor.
#[test]
fn a_console_keeps_so_much_of_its_input_and_no_more() {
    let ((input, to), (_from, output)) = (pipe().unwrap(), pipe().unwrap());
    let size = fcntl_getpipe_size(&to).unwrap();
    let mut client = client(Console::new(input, output, 80, 25).unwrap(), Features::empty(), 2);
    fcntl_setfl(&to, OFlags::NONBLOCK).unwrap();
    // It looks at its input before it looks at a message: when it took nothing more between several of them, it has enough.
    let (mut all, mut idle) = (0, 0);
    while idle < 4 {
        client.front.queues().unwrap();
        idle += 1;
        while let Ok(count) = write(&to, &[7; 4096]) {
            (all, idle) = (all + count, 0);
            assert!(all <= size + (64 << 10) + 4096, "{all} bytes");
        }
    }
    assert!(all > size, "{all} bytes");
    client.end();
}

/// A driver has one buffer of statistics in its queue. One that sends a second has the first back.
#[test]
fn a_balloon_keeps_one_buffer_of_statistics() {
    for features in KINDS {
        let wanted = Features::from_bits_retain(balloon::Features::STATS_VQ.bits());
        let mut client = client(Balloon::new().unwrap(), features | wanted, 3);
        let bytes = client.memory.part(10, 64).unwrap();
        let segment = Segment { address: bytes.host_address(), length: 10 };
        let statistics = &mut client.queues[2];
        let first = statistics.ring.add(&[segment], &[]).unwrap();
        let second = statistics.ring.add(&[segment], &[]).unwrap();
        statistics.submit().unwrap();
        let back = |statistics: &mut Queue| loop {
            match statistics.ring.reap().unwrap() {
                Some(done) => break done.token,
                None => assert!(statistics.wait(TIMEOUT).unwrap(), "nothing came back in {TIMEOUT:?}"),
            }
        };
        assert_eq!(back(statistics), first, "{features:?}");
        client.front.stop_queue(2).unwrap();
        assert_eq!(back(&mut client.queues[2]), second, "{features:?}");
        client.end();
    }
}

#[test]
fn a_balloon_takes_pages_and_learns_what_the_guest_has() {
    for features in KINDS {
        let device = Balloon::new().unwrap();
        let control = device.control();
        let all = Features::from_bits_retain(
            balloon::Features::all().difference(balloon::Features::PAGE_POISON).bits(),
        );
        let mut client = client(device, features | all, 5);
        let mut channel = client.front.open_channel().unwrap();
        let mut outbox = client.outbox(4096);

        control.want(3);
        assert_eq!(channel.next(TIMEOUT).unwrap().request, back::Request::ConfigChangeMsg);
        let config = balloon::Config::parse(&client.front.config(0, 16).unwrap());
        assert_eq!((config.wanted, config.actual), (3, 0));

        // A machine's memory begins at 0, where page numbers of 32 bits reach.
        let mut machine = Memory::at(0, 1 << 20).unwrap();
        client.front.add_memory(&machine).unwrap();
        let low = machine.part(1 << 20, 4096).unwrap();
        low.slice().fill(9);
        let numbers: Vec<u8> = [5_u32, 6, 7, 9].into_iter().flat_map(u32::to_le_bytes).collect();
        client.send(0, &mut outbox, &[&numbers]);
        while outbox.taken(&mut client.queues[0].ring).unwrap() == 0 {
            assert!(client.queues[0].wait(TIMEOUT).unwrap(), "it is not inflated");
        }
        assert_eq!(control.numbers().inflated, 4 * 4096);
        let mut bytes = vec![1; 1 << 20];
        low.slice().read(&mut bytes);
        for (page, content) in bytes.chunks(4096).enumerate() {
            let expected = if [5, 6, 7, 9].contains(&page) { 0 } else { 9 };
            assert!(content.iter().all(|byte| *byte == expected), "page {page}");
        }
        client.send(1, &mut outbox, &[&numbers]);
        while outbox.taken(&mut client.queues[1].ring).unwrap() == 0 {
            assert!(client.queues[1].wait(TIMEOUT).unwrap(), "it is not deflated");
        }
        assert_eq!(control.numbers().deflated, 4 * 4096);
        // What is no memory of the machine's is not given up.
        client.send(0, &mut outbox, &[&u32::MAX.to_le_bytes()]);
        while outbox.taken(&mut client.queues[0].ring).unwrap() == 0 {
            assert!(client.queues[0].wait(TIMEOUT).unwrap(), "it is not acknowledged");
        }
        assert_eq!(control.numbers().inflated, 4 * 4096);

        // Pages of the driver's that have something in them, and have nothing when the device has had them.
        let pages = client.memory.part(8 * 4096, 4096).unwrap();
        pages.slice().fill(9);
        let told = [
            balloon::statistic(balloon::Tag::FreeMemory, 77),
            balloon::statistic(balloon::Tag::Other(99), 5),
        ];
        client.send(2, &mut outbox, &[&told[0], &told[1]]);
        wait_until(|| control.numbers().told == 1);
        assert_eq!(control.numbers().statistics[&balloon::Tag::FreeMemory], 77);
        assert_eq!(control.numbers().statistics[&balloon::Tag::Other(99)], 5);
        assert_eq!(
            outbox.taken(&mut client.queues[2].ring).unwrap(),
            0,
            "the device keeps it until it asks again"
        );
        control.ask_statistics();
        while outbox.taken(&mut client.queues[2].ring).unwrap() == 0 {
            assert!(client.queues[2].wait(TIMEOUT).unwrap(), "it does not ask");
        }

        // Reports: given up before they are acknowledged.
        let segment = Segment { address: pages.host_address(), length: 4 * 4096 };
        let queue = &mut client.queues[4];
        queue.ring.add(&[], &[segment]).unwrap();
        queue.submit().unwrap();
        while queue.ring.reap().unwrap().is_none() {
            assert!(queue.wait(TIMEOUT).unwrap(), "the report is not acknowledged");
        }
        let mut bytes = vec![1; 8 * 4096];
        pages.slice().read(&mut bytes);
        assert!(
            bytes[..4 * 4096].iter().all(|byte| *byte == 0)
                && bytes[4 * 4096..].iter().all(|byte| *byte == 9)
        );
        assert_eq!(control.numbers().reported, 4 * 4096);

        // Hints of the round that is on count, others do not.
        control.begin_hints();
        assert_eq!(channel.next(TIMEOUT).unwrap().request, back::Request::ConfigChangeMsg);
        let round = balloon::Config::parse(&client.front.config(0, 16).unwrap()).hint_command;
        assert!(round >= 2);
        for (id, expected) in [(round + 1, 0), (round, 4096)] {
            let queue = &mut client.queues[3];
            let part = client.memory.part(4, 4).unwrap();
            part.slice().write(&id.to_le_bytes());
            queue.ring.add(&[Segment { address: part.host_address(), length: 4 }], &[]).unwrap();
            queue.ring.add(&[], &[Segment { address: pages.host_address(), length: 4096 }]).unwrap();
            queue.submit().unwrap();
            for _ in 0..2 {
                while queue.ring.reap().unwrap().is_none() {
                    assert!(queue.wait(TIMEOUT).unwrap(), "the hint is not acknowledged");
                }
            }
            assert_eq!(control.numbers().hinted, expected);
        }

        // The next round is another one, also after this one has ended.
        control.end_hints();
        assert_eq!(channel.next(TIMEOUT).unwrap().request, back::Request::ConfigChangeMsg);
        control.begin_hints();
        assert_eq!(channel.next(TIMEOUT).unwrap().request, back::Request::ConfigChangeMsg);
        let next = balloon::Config::parse(&client.front.config(0, 16).unwrap()).hint_command;
        assert_eq!(next, round + 1);

        client.front.set_config(4, &3_u32.to_le_bytes()).unwrap();
        assert_eq!(control.numbers().actual, 3);
        client.end();
    }
}

/// What the device's thread does is seen a little later; a test that hangs is ended from outside.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

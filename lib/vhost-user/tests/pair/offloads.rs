//! What a driver leaves to our network device, and that to the driver; pairs of queues, and the queue that says how many there are.

use crate::TIMEOUT;
use crate::devices::{Client, client};
use vhost_user::devices::{Loopback, Network};
use virtio::features::Features;
use virtio::net::{
    self, Command, Config, Control, Header, NEEDS_CHECKSUM, Receiver, SEGMENTS_TCP4, Sender, control_queue,
    queues,
};

const SIZE: u16 = 16;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RINGS: [Features; 2] = [Features::EVENT_IDX, Features::RING_PACKED];

struct Card {
    client: Client,
    pairs: Vec<(Receiver, Sender)>,
    control: Control,
    control_queue: usize,
}

impl Card {
    /// A device of so many pairs, and a driver that uses these of its features.
    fn new(most: u16, rings: Features, features: net::Features) -> Self {
        let features = features | net::Features::CTRL_VQ | net::Features::MRG_RXBUF;
        let known = if features.contains(net::Features::MQ) { most } else { 1 };
        let device = Network::with_pairs((0..most).map(|_| Loopback::default()), MAC);
        let features = rings | Features::from_bits_retain(features.bits());
        let mut client = client(device, features, u32::from(control_queue(known)) + 1);
        let mut part = |bytes: usize| {
            let part = client.memory.part(bytes, 4096).unwrap();
            let address = part.host_address();
            (part, address)
        };
        let pairs = (0..known).map(|_| {
            let ((some, there), (other, here)) = (part(SIZE as usize * 2048), part(4 * 20_000));
            (Receiver::new(SIZE, 2048, some, there).unwrap(), Sender::new(4, 20_000, other, here).unwrap())
        });
        let pairs = pairs.collect();
        let (memory, address) = part(Control::bytes(SIZE));
        let control = Control::new(SIZE, memory, address).unwrap();
        Self { client, pairs, control, control_queue: control_queue(known).into() }
    }

    fn command(&mut self, command: &Command) -> bool {
        let queue = &mut self.client.queues[self.control_queue];
        self.control.send(&mut queue.ring, command, 3).unwrap();
        queue.submit().unwrap();
        loop {
            match self.control.reap(&mut queue.ring).unwrap() {
                Some(obeyed) => return obeyed.result.is_ok(),
                None => assert!(queue.wait(TIMEOUT).unwrap(), "{command:?} is not answered"),
            }
        }
    }

    fn send(&mut self, pair: u16, header: Header, frame: &[u8]) {
        let queue = &mut self.client.queues[usize::from(queues(pair)[1])];
        let sender = &mut self.pairs[usize::from(pair)].1;
        sender.send(&mut queue.ring, header, frame).unwrap();
        queue.submit().unwrap();
        while sender.taken(&mut queue.ring).unwrap() == 0 {
            assert!(queue.wait(TIMEOUT).unwrap(), "it is not taken");
        }
    }

    fn receive(&mut self, pair: u16) -> (Header, Vec<u8>) {
        let queue = &mut self.client.queues[usize::from(queues(pair)[0])];
        let receiver = &mut self.pairs[usize::from(pair)].0;
        let mut frame = Vec::new();
        loop {
            receiver.offer(&mut queue.ring).unwrap();
            queue.submit().unwrap();
            match receiver.next(&mut queue.ring, &mut frame).unwrap() {
                Some(header) => return (header, frame),
                None => assert!(queue.wait(TIMEOUT).unwrap(), "nothing comes to pair {pair}"),
            }
        }
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A segment of TCP in a packet of IPv4 in a frame, whose checksum is that of the pseudo header alone.
fn unfinished(content: &[u8]) -> (Header, Vec<u8>) {
    let length = (20 + content.len()) as u16;
    let ip =
        [&[0x45, 0][..], &(20 + length).to_be_bytes(), &[0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]];
    let ip = ip.concat();
    let pseudo = sum(&[&ip[12..20], &[0, 6], &length.to_be_bytes()].concat());
    let tcp = [&[0, 7, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 5 << 4, 16, 1, 1][..], &pseudo.to_be_bytes(), &[0, 0]]
        .concat();
    let frame = [&MAC[..], &[2, 0, 0, 0, 0, 9, 8, 0], &ip, &tcp, content].concat();
    let header =
        Header { flags: NEEDS_CHECKSUM, checksum_start: 34, checksum_offset: 16, ..Header::default() };
    (header, frame)
}

/// As whoever receives it sees it.
fn is_whole(frame: &[u8]) -> bool {
    let length = (frame.len() - 34) as u16;
    sum(&[&frame[26..34], &[0, 6], &length.to_be_bytes(), &frame[34..]].concat()) == 0xffff
}

/// Filled in by the device where the driver does not take it as it is, and told to be missing where it does.
#[test]
fn a_checksum_is_left_to_who_takes_it() {
    for rings in RINGS {
        let (header, frame) = unfinished(b"content");
        assert!(!is_whole(&frame));
        let mut card = Card::new(1, rings, net::Features::CSUM);
        card.send(0, header, &frame);
        let (came, whole) = card.receive(0);
        assert_eq!((came, whole.len()), (Header { buffers: 1, ..Header::default() }, frame.len()));
        assert!(is_whole(&whole));
        // What lies outside is dropped, and what comes after it is not.
        card.send(0, Header { checksum_start: 5000, ..header }, &frame);
        card.send(0, Header::default(), b"next");
        assert_eq!(card.receive(0).1, b"next");
        card.client.end();

        let both = net::Features::CSUM | net::Features::GUEST_CSUM | net::Features::CTRL_GUEST_OFFLOADS;
        let mut card = Card::new(1, rings, both);
        card.send(0, header, &frame);
        assert_eq!(card.receive(0), (Header { buffers: 1, ..header }, frame.clone()));
        // Until it says otherwise.
        assert!(card.command(&Command::Offloads(0)));
        card.send(0, header, &frame);
        assert!(is_whole(&card.receive(0).1));
        assert!(!card.command(&Command::Offloads(net::Features::GUEST_TSO4.bits())), "it was not negotiated");
        card.client.end();

        // Also of what has come before, and had no buffer yet; and the order is as it was.
        let mut card = Card::new(1, rings, both);
        card.send(0, header, &frame);
        card.send(0, Header::default(), b"next");
        assert!(card.command(&Command::Offloads(0)));
        assert!(is_whole(&card.receive(0).1));
        assert_eq!(card.receive(0).1, b"next");
        card.client.end();
    }
}

/// Cut by the device where the driver does not take them together.
#[test]
fn segments_are_left_to_who_takes_them() {
    let content: Vec<u8> = (0..14_000_u32).map(|at| (at / 7) as u8).collect();
    let (header, frame) = unfinished(&content);
    let header = Header { segmentation: SEGMENTS_TCP4, header_bytes: 54, segment_bytes: 1400, ..header };
    for rings in RINGS {
        let ours = net::Features::CSUM | net::Features::HOST_TSO4;
        let mut card = Card::new(1, rings, ours);
        card.send(0, header, &frame);
        let mut came = Vec::new();
        while came.len() < content.len() {
            let (header, one) = card.receive(0);
            assert_eq!((header.segmentation, header.flags), (0, 0));
            assert!(is_whole(&one) && one.len() == 54 + 1400);
            came.extend_from_slice(&one[54..]);
        }
        assert!(came == content);
        card.client.end();

        let mut card = Card::new(1, rings, ours | net::Features::GUEST_CSUM | net::Features::GUEST_TSO4);
        card.send(0, header, &frame);
        let (came, whole) = card.receive(0);
        assert_eq!((came.segmentation, came.segment_bytes), (SEGMENTS_TCP4, 1400));
        assert!(whole == frame);
        card.client.end();
    }
}

#[test]
fn pairs_are_used_once_the_driver_says_so() {
    for rings in RINGS {
        let features = net::Features::MQ | net::Features::CTRL_MAC_ADDR | net::Features::CTRL_RX;
        let mut card = Card::new(3, rings, features);
        let config =
            |card: &mut Card| Config::parse(&card.client.front.config(0, Config::BYTES as u32).unwrap());
        assert_eq!(config(&mut card).most_pairs, 3);
        // Each pair has its port; those of pairs that are not in use are the first's.
        card.send(2, Header::default(), b"first");
        assert_eq!(card.receive(0).1, b"first");
        assert!(card.command(&Command::Pairs(3)));
        for (pair, frame) in [(2, b"a"), (0, b"b"), (1, b"c")] {
            card.send(pair, Header::default(), frame);
            assert_eq!(card.receive(pair).1, frame);
        }
        assert!(card.command(&Command::Pairs(1)));
        card.send(1, Header::default(), b"again");
        assert_eq!(card.receive(0).1, b"again");

        for wrong in [Command::Pairs(0), Command::Pairs(4), Command::AddVlan(1), Command::Announced] {
            assert!(!card.command(&wrong), "{wrong:?} is done");
        }
        assert!(card.command(&Command::Promiscuous(true)));
        assert!(card.command(&Command::Addresses { unicast: vec![[2; 6]; 64], multicast: vec![[3; 6]; 64] }));
        assert!(card.command(&Command::Address([2, 0, 0, 0, 0, 7])));
        assert_eq!(config(&mut card).mac, [2, 0, 0, 0, 0, 7]);
        card.client.end();
    }
}

/// What is no command is refused, however it lies, and the next is obeyed.
#[test]
fn what_is_no_command_is_refused() {
    let mut card = Card::new(1, Features::empty(), net::Features::CTRL_RX);
    let part = card.client.memory.part(1 << 17, 4096).unwrap();
    part.slice().fill(0xff);
    let segment = |at: u64, length| virtio::Segment { address: part.host_address() + at, length };
    // Tables of addresses (class 1, command 0), of 2,000 and of 3,000, each with an empty one behind it: more than 16 KiB are none.
    let tables = [(0x3000, 2_000_u32), (0x9000, 3_000)].map(|(at, addresses)| {
        let length = 2 + 4 + 6 * addresses + 4;
        let table = |from, bytes: &[u8]| part.slice().part(at + from, bytes.len()).unwrap().write(bytes);
        table(0, &[1, 0]);
        table(2, &addresses.to_le_bytes());
        table(length as usize - 4, &[0; 4]);
        segment(at as u64, length)
    });
    let chains: [(&[_], &[_]); 8] = [
        (&tables[..1], &[segment(100, 1)]),
        (&tables[1..], &[segment(100, 1)]),
        (&[segment(0, 2)], &[segment(100, 1)]),
        (&[segment(0, 1)], &[segment(100, 1)]),
        (&[], &[segment(100, 1)]),
        (&[segment(0, 1 << 16)], &[segment(1 << 16, 1)]),
        (&[segment(0, 2)], &[]),
        (&[segment(0, 1), segment(1, 1), segment(2, 300)], &[segment(400, 8)]),
    ];
    for (readable, writable) in chains {
        let queue = &mut card.client.queues[2];
        queue.ring.add(readable, writable).unwrap();
        queue.submit().unwrap();
        let done = loop {
            match queue.ring.reap().unwrap() {
                Some(done) => break done,
                None => assert!(queue.wait(TIMEOUT).unwrap(), "it is not answered"),
            }
        };
        assert_eq!(done.written, u32::from(!writable.is_empty()));
        if let Some(place) = writable.first() {
            let mut answer = [0xff];
            let at = (place.address - part.host_address()) as usize;
            part.slice().part(at, 1).unwrap().read(&mut answer);
            assert_eq!(answer, [u8::from(readable != &tables[..1])], "refused, but for one");
        }
    }
    assert!(card.command(&Command::Promiscuous(true)));
    card.client.end();
}

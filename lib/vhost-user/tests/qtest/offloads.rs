//! A network card with several pairs of queues that leaves checksums and segments to the other end, which is the host's own kernel behind a
//! tap.

use crate::apart::{apart, ip};
use crate::machine::{Device, Machine, Queue};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;
use virtio::features::Features as Rings;
use virtio::net::{
    Command, Config, Control, Features, Header, NEEDS_CHECKSUM, Receiver, Sender, control_queue, queues,
};

const SIZE: u16 = 32;
/// A frame that stands for many has a buffer.
const EACH: u32 = 20_000;
const OURS: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];
const UDP: u8 = 17;
const TCP: u8 = 6;
/// Of [`Header::segmentation`]: TCP over IPv4 (section 5.1.6).
const TCP4: u8 = 1;

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)]))).sum()
}

/// A packet of IPv4 from 10.77.0.2 to 10.77.0.1 in a frame (RFC 791). The checksum of what it carries is that of the pseudo header alone, as
/// it is left to who has `NEEDS_CHECKSUM`.
fn packet(protocol: u8, mut carried: Vec<u8>, checksum: usize) -> Vec<u8> {
    let mut head =
        [&[0x45, 0][..], &(20 + carried.len() as u16).to_be_bytes(), &[0, 1, 0, 0, 64, protocol, 0, 0]]
            .concat();
    head.extend([10, 77, 0, 2, 10, 77, 0, 1]);
    let check = !folded(sum(&head));
    head[10..12].copy_from_slice(&check.to_be_bytes());
    let pseudo = sum(&head[12..20]) + u32::from(protocol) + carried.len() as u32;
    carried[checksum..checksum + 2].copy_from_slice(&folded(pseudo).to_be_bytes());
    [&HOST[..], &OURS, &[8, 0], &head, &carried].concat()
}

/// A datagram (RFC 768).
fn datagram(from: u16, to: u16, content: &[u8]) -> Vec<u8> {
    let length = 8 + content.len() as u16;
    let head = [from, to, length, 0].map(u16::to_be_bytes).concat();
    packet(UDP, [&head, content].concat(), 6)
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// A segment (RFC 9293).
fn segment(from: u16, to: u16, number: u32, acknowledged: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    let mut head = [from, to].map(u16::to_be_bytes).concat();
    head.extend([number, acknowledged].map(u32::to_be_bytes).concat());
    head.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet(TCP, [&head, content].concat(), 16)
}

const UNFINISHED: Header = Header {
    flags: NEEDS_CHECKSUM,
    segmentation: 0,
    header_bytes: 0,
    segment_bytes: 0,
    checksum_start: 34,
    checksum_offset: 6,
    buffers: 0,
};
const UNFINISHED_TCP: Header = Header { checksum_offset: 16, ..UNFINISHED };

struct Card {
    device: Device,
    queues: Vec<Queue>,
    control: Control,
    pairs: Vec<(Receiver, Sender)>,
}

impl Card {
    fn start(test: &str, directory: &std::path::Path, kind: &str, rings: Rings) -> Option<Self> {
        let netdev = "tap,id=wire,ifname=hv-test,script=no,downscript=no,queues=2,vhost=off";
        let device =
            format!("virtio-net-pci,netdev=wire,mac=52:54:00:12:34:56,mq=on,vectors=6,{kind},DEVICE");
        let machine = Machine::start(test, directory, &["-netdev", netdev, "-device", &device])?;
        let needed = Features::MAC
            | Features::CSUM
            | Features::GUEST_CSUM
            | Features::HOST_TSO4
            | Features::GUEST_TSO4
            | Features::CTRL_VQ
            | Features::CTRL_GUEST_OFFLOADS
            | Features::MQ;
        let needed = rings | Rings::from_bits_retain(needed.bits());
        let mut device = Device::take(machine, needed, needed);
        assert_eq!(Config::parse(&device.config(Config::BYTES)).most_pairs, 2);
        let mut all: Vec<_> = (0..4).map(|index| device.queue(index, SIZE)).collect();
        all.push(device.queue(control_queue(2), 16));
        device.start();
        let (memory, address) = device.machine.part(Control::bytes(16));
        let control = Control::new(16, memory, address).unwrap();
        let mut room = || device.machine.part(EACH as usize * 8);
        let pairs = (0..2).map(|_| {
            let ((memory, address), (other, there)) = (room(), room());
            let receiver = Receiver::new(8, EACH, memory, address).unwrap();
            (receiver, Sender::new(8, EACH, other, there).unwrap())
        });
        let pairs = pairs.collect();
        ip("link set hv-test up address 02:00:00:00:00:01");
        ip("addr add 10.77.0.1/24 dev hv-test");
        ip("neigh add 10.77.0.2 lladdr 52:54:00:12:34:56 dev hv-test");
        Some(Self { device, queues: all, control, pairs })
    }

    fn command(&mut self, command: &Command) {
        let Self { device, queues, control, .. } = self;
        control.send(&mut queues[4].ring, command, 3).unwrap();
        let done = device.wait(&mut queues[4], |ring| control.reap(ring).unwrap());
        assert_eq!(done.result, Ok(()), "{command:?}");
    }

    fn send(&mut self, pair: u16, header: Header, frame: &[u8]) {
        let Self { device, queues: all, pairs, .. } = self;
        let [_, transmit] = queues(pair).map(usize::from);
        let sender = &mut pairs[usize::from(pair)].1;
        sender.send(&mut all[transmit].ring, header, frame).unwrap();
        device.wait(&mut all[transmit], |ring| Some(sender.taken(ring).unwrap()).filter(|count| *count > 0));
    }

    /// The next packet for this port that comes to a pair; of others there are those that the host sends unasked.
    fn receive(&mut self, pair: u16, protocol: u8, port: u16) -> (Header, Vec<u8>) {
        let Self { device, queues: all, pairs, .. } = self;
        let [receive, _] = queues(pair).map(usize::from);
        let receiver = &mut pairs[usize::from(pair)].0;
        let mut frame = Vec::new();
        loop {
            receiver.offer(&mut all[receive].ring).unwrap();
            let header = device.wait(&mut all[receive], |ring| receiver.next(ring, &mut frame).unwrap());
            if frame[12..14] == [8, 0] && frame[23] == protocol && frame[36..38] == port.to_be_bytes() {
                return (header, frame);
            }
        }
    }
}

fn number(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

#[test]
fn pairs_checksums_and_segments_go_through_a_card() {
    let test = "offloads::pairs_checksums_and_segments_go_through_a_card";
    if !apart(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Connections of a machine before are not over for the host.
    for ((kind, rings), own) in crate::KINDS.into_iter().zip(7..) {
        let Some(mut card) = Card::start(test, directory.path(), kind, rings) else { return };
        card.command(&Command::Pairs(2));
        let heard = UdpSocket::bind("10.77.0.1:0").unwrap();
        heard.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let port = heard.local_addr().unwrap().port();
        for pair in 0..2 {
            let from = 4000 + pair;
            // Its checksum is no checksum: without the header nobody takes it, and with it the kernel knows that there was no wire.
            card.send(pair, Header::default(), &datagram(from, port, b"lost"));
            card.send(pair, UNFINISHED, &datagram(from, port, b"kept"));
            let mut content = [0; 9];
            let (count, who) = heard.recv_from(&mut content).unwrap();
            assert_eq!((&content[..count], who.to_string()), (&b"kept"[..], format!("10.77.0.2:{from}")));
            // The answer comes to the pair that was used, its checksum is left to us.
            heard.send_to(b"answer", who).unwrap();
            let (header, frame) = card.receive(pair, UDP, from);
            assert_eq!(
                (header.flags & NEEDS_CHECKSUM, header.checksum_start, header.checksum_offset),
                (1, 34, 6)
            );
            assert_eq!(&frame[42..48], b"answer");
        }

        // A connection: what is longer than every frame goes through in one, in both directions.
        let listener = TcpListener::bind("10.77.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        card.send(1, UNFINISHED_TCP, &segment(own, port, 1000, 0, SYN, &[]));
        let (_, frame) = card.receive(1, TCP, own);
        assert_eq!((frame[47], number(&frame, 42)), (SYN | ACK, 1001));
        let theirs = number(&frame, 38).wrapping_add(1);
        card.send(1, UNFINISHED_TCP, &segment(own, port, 1001, theirs, ACK, &[]));
        let content: Vec<u8> = (0..14_000_u32).map(|at| (at / 7) as u8).collect();
        let many = Header { segmentation: TCP4, header_bytes: 54, segment_bytes: 1400, ..UNFINISHED_TCP };
        card.send(1, many, &segment(own, port, 1001, theirs, ACK, &content));
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut read = vec![0; content.len()];
        stream.read_exact(&mut read).unwrap();
        assert!(read == content);
        stream.write_all(&content[..8000]).unwrap();
        let mut came: Vec<u8> = Vec::new();
        let mut longest = 0;
        while came.len() < 8000 {
            let (header, frame) = card.receive(1, TCP, own);
            let carried = &frame[34 + usize::from(frame[46] >> 4) * 4..];
            // Said again where we were slow.
            let from = number(&frame, 38).wrapping_sub(theirs) as usize;
            if from <= came.len() {
                came.extend(carried.get(came.len() - from..).unwrap_or_default());
            }
            if carried.len() > 1460 {
                assert_eq!(header.segmentation, TCP4);
            }
            longest = longest.max(carried.len());
            card.send(
                1,
                UNFINISHED_TCP,
                &segment(own, port, 15_001, theirs.wrapping_add(came.len() as u32), ACK, &[]),
            );
        }
        assert!(came == content[..8000]);
        assert!(longest > 1460, "each segment came by itself");

        // Switched off, checksums are the other end's own.
        card.command(&Command::Offloads(0));
        heard.send_to(b"plain", "10.77.0.2:4000").unwrap();
        let (header, frame) = card.receive(0, UDP, 4000);
        assert_eq!((header.flags & NEEDS_CHECKSUM, &frame[42..47]), (0, &b"plain"[..]));
        let pseudo = sum(&frame[26..34]) + u32::from(UDP) + (frame.len() - 34) as u32;
        assert_eq!(folded(pseudo + sum(&frame[34..])), 0xffff);
    }
}

//! Frames of a driver of ours through a tap, to the host's own network and back.

use crate::apart::{apart, ip};
use crate::devices::client;
use vhost_user::devices::{Network, Tap};
use virtio::features::Features;
use virtio::net;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 9];
const EVERYBODY: [u8; 6] = [0xff; 6];

/// Who has 10.77.0.`last`? Tell 10.77.0.2 (RFC 826).
fn who_has(last: u8) -> Vec<u8> {
    [
        &EVERYBODY[..],
        &OURS,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &OURS,
        &[10, 77, 0, 2],
        &[0; 6],
        &[10, 77, 0, last],
    ]
    .concat()
}

/// An echo of so many bytes, from 10.77.0.2 to 10.77.0.1 (RFC 791, RFC 792), to whom that address belongs.
fn echo(to: &[u8], bytes: u16) -> Vec<u8> {
    let length = 28 + bytes;
    let mut packet = [&[0x45, 0], &length.to_be_bytes()[..], &[0, 1, 0, 0, 64, 1, 0, 0]].concat();
    packet.extend([10, 77, 0, 2, 10, 77, 0, 1]);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([8, 0, 0, 0, 0, 7, 0, 1]);
    packet.extend((0..bytes).map(|at| at as u8));
    let sum = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    [to, &OURS, &[8, 0], &packet].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 =
        bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// In a network of its own, which has nothing but the tap: the host's kernel answers what is sent to it, and what it sends itself comes in.
#[test]
fn frames_go_through_a_tap_to_the_host_and_back() {
    if !apart("tap::frames_go_through_a_tap_to_the_host_and_back") {
        return;
    }
    for features in [Features::empty(), Features::EVENT_IDX, Features::RING_PACKED] {
        let tap = Tap::open("hv-test").unwrap_or_else(|error| panic!("/dev/net/tun: {error}"));
        assert!(Tap::open("hv-test").is_err(), "one at a time");
        ip("link set hv-test up");
        ip("addr add 10.77.0.1/24 dev hv-test");
        let mut client = client(Network::new(tap, OURS), features, 2);
        let mut inbox = client.inbox(2048);
        let mut outbox = client.outbox(2048);
        let header = net::Header::default().bytes();
        // What the kernel says unasked, such as that it looks for routers, is not waited for.
        let mut next = |client: &mut crate::devices::Client, is_it: &dyn Fn(&[u8]) -> bool| loop {
            let frame = client.receive(0, &mut inbox).split_off(net::HEADER);
            if is_it(&frame) {
                return frame;
            }
        };
        client.send(1, &mut outbox, &[&header, &who_has(1)]);
        let answer = next(&mut client, &|frame| frame[12..14] == [8, 6] && frame[21] == 2);
        assert_eq!(answer[..6], OURS);
        assert_eq!(answer[28..32], [10, 77, 0, 1]);
        let theirs = answer[6..12].to_vec();
        for bytes in [0, 1, 56, 1472] {
            let asked = echo(&theirs, bytes);
            client.send(1, &mut outbox, &[&header, &asked]);
            let answer = next(&mut client, &|frame| frame[12..14] == [8, 0] && frame[23] == 1);
            assert_eq!((answer[34], answer.len()), (0, asked.len().max(42)));
            assert_eq!(answer[42..], asked[42..]);
        }
        client.end();
    }
}

#[test]
fn what_is_no_name_is_no_tap() {
    for name in ["", "tap%d", "a/b", "sixteen-letters."] {
        let error = Tap::open(name).unwrap_err();
        // Where taps cannot be had at all that is what is told.
        assert!(
            error.kind() == std::io::ErrorKind::InvalidInput
                || !std::path::Path::new("/dev/net/tun").exists()
        );
    }
}

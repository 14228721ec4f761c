//! The network that the program serves, and a driver that leaves work to it.
#![cfg(test)]

mod served;

use served::{PROGRAM, Served};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use virtio::features::Features;
use virtio::net::{self, Control, Header, NEEDS_CHECKSUM, Receiver, Sender, control_queue, queues};

const SIZE: u16 = 8;
const EACH: usize = 2048;
const TIMEOUT: Duration = Duration::from_secs(20);

fn wait<T>(queue: &mut Queue, mut next: impl FnMut(&mut Queue) -> Option<T>) -> T {
    queue.submit().unwrap();
    loop {
        match next(queue) {
            Some(it) => return it,
            None => assert!(queue.wait(TIMEOUT).unwrap(), "nothing in {TIMEOUT:?}"),
        }
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)])));
    let sum: u32 = words.sum();
    (sum % 0xffff) as u16
}

/// Its offer in words, and what comes of a frame whose checksum is left to it, on the second of its pairs.
#[test]
fn a_network_does_what_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("net.sock");
    let _served = Served::start(&socket, &["--type", "net"]);
    let probed = Command::new(PROGRAM)
        .args(["probe", "--socket", socket.to_str().unwrap(), "--type", "net"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&probed.stdout).into_owned();
    let names = "CSUM, GUEST_CSUM, CTRL_GUEST_OFFLOADS, MTU, MAC, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6, MRG_RXBUF, STATUS, \
                 CTRL_VQ, CTRL_RX, CTRL_VLAN, MQ, CTRL_MAC_ADDR";
    assert!(told.contains(names), "{told}");
    assert!(told.lines().any(|line| line.starts_with("pairs of queues") && line.ends_with(" 4")), "{told}");

    let mut front = FrontEnd::new(UnixStream::connect(&socket).unwrap(), TIMEOUT).unwrap();
    let driver = net::Features::CSUM | net::Features::CTRL_VQ | net::Features::MQ;
    let required = Features::VERSION_1 | Features::from_bits_retain(driver.bits());
    let protocol = ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK | ProtocolFeatures::CONFIG;
    front.negotiate(Wanted { features: Features::EVENT_IDX, required, protocol }).unwrap();
    // Four pairs, and the control queue behind them.
    assert_eq!(front.queues().unwrap(), 9);
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let [receive, transmit] = queues(1);
    let mut start = |index: u16| front.start_queue(index.into(), SIZE, &mut memory).unwrap();
    let [mut receive, mut transmit, mut control] = [receive, transmit, control_queue(4)].map(&mut start);
    let mut part = |bytes| {
        let part = memory.part(bytes, 64).unwrap();
        let address = part.host_address();
        (part, address)
    };
    let (slots, address) = part(Control::bytes(SIZE));
    let mut commands = Control::new(SIZE, slots, address).unwrap();
    commands.send(&mut control.ring, &net::Command::Pairs(2), 1).unwrap();
    let obeyed = wait(&mut control, |queue| commands.reap(&mut queue.ring).unwrap());
    assert_eq!(obeyed.result, Ok(()));

    let [(room, there), (frames, here)] = [(); 2].map(|()| part(usize::from(SIZE) * EACH));
    let mut receiver = Receiver::new(SIZE, EACH as u32, room, there).unwrap();
    let mut sender = Sender::new(SIZE, EACH as u32, frames, here).unwrap();
    receiver.offer(&mut receive.ring).unwrap();
    receive.submit().unwrap();
    // The sum of what is no part of it stands where its checksum will.
    let frame: Vec<u8> = (0..300_u16).map(|at| at as u8).collect();
    let header =
        Header { flags: NEEDS_CHECKSUM, checksum_start: 34, checksum_offset: 6, ..Header::default() };
    sender.send(&mut transmit.ring, header, &frame).unwrap();
    wait(&mut transmit, |queue| Some(sender.taken(&mut queue.ring).unwrap()).filter(|count| *count > 0));
    let mut came = Vec::new();
    let header = wait(&mut receive, |queue| receiver.next(&mut queue.ring, &mut came).unwrap());
    assert_eq!((header.flags, came.len()), (0, frame.len()));
    assert_eq!((&came[..40], &came[42..]), (&frame[..40], &frame[42..]));
    let both = u32::from(sum(&came[34..])) + u32::from(sum(&frame[40..42]));
    assert_eq!(both % 0xffff, 0, "all of it, and what is no part of it, sum up to nothing");
}

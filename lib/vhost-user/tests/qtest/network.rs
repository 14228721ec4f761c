//! A network card, whose other end is a socket of the test.

use crate::KINDS;
use crate::machine::{Device, Machine, Queue};
use serde_json::json;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use virtio::features;
use virtio::net::{
    Command, Config, Control, Features, Header, Obeyed, Receiver, Refused, Sender, control_queue, queues,
};

const SIZE: u16 = 32;
const ADDRESS: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn frame(to: [u8; 6], bytes: usize, seed: u8) -> Vec<u8> {
    let content = (0..bytes - 14).map(|at| (at as u8).wrapping_mul(7) ^ seed);
    to.into_iter().chain([2, 0, 0, 0, 0, 9, 0x88, 0xb5]).chain(content).collect()
}

struct Card {
    device: Device,
    queues: Vec<Queue>,
    control: Control,
    receiver: Receiver,
    sender: Sender,
    wire: UnixDatagram,
}

impl Card {
    fn start(
        test: &str,
        directory: &std::path::Path,
        kind: &str,
        features: features::Features,
    ) -> Option<Self> {
        let [ours, its] = ["ours.sock", "its.sock"].map(|name| directory.join(name));
        for socket in [&ours, &its] {
            let _ = std::fs::remove_file(socket);
        }
        let wire = UnixDatagram::bind(&ours).unwrap();
        wire.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let netdev = format!(
            "dgram,id=wire,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            its.display(),
            ours.display()
        );
        let device =
            format!("virtio-net-pci,id=card,netdev=wire,mac=52:54:00:12:34:56,host_mtu=1400,{kind},DEVICE");
        let machine = Machine::start(test, directory, &["-netdev", &netdev, "-device", &device])?;
        wire.connect(&its).unwrap();
        let needed = Features::MAC
            | Features::STATUS
            | Features::MTU
            | Features::MRG_RXBUF
            | Features::CTRL_VQ
            | Features::CTRL_RX
            | Features::CTRL_VLAN
            | Features::CTRL_MAC_ADDR
            | Features::GUEST_ANNOUNCE;
        let needed = features | features::Features::from_bits_retain(needed.bits());
        let mut device = Device::take(machine, needed, needed);
        let config = Config::parse(&device.config(Config::BYTES));
        assert_eq!((config.mac, config.status & 1, config.mtu), (ADDRESS, 1, 1400));
        let mut queues: Vec<_> = (0..2).map(|index| device.queue(index, SIZE)).collect();
        queues.push(device.queue(control_queue(1), 16));
        device.start();
        let (memory, address) = device.machine.part(Control::bytes(16));
        let control = Control::new(16, memory, address).unwrap();
        // Small, so that a frame takes several.
        let (memory, address) = device.machine.part(256 * usize::from(SIZE));
        let receiver = Receiver::new(SIZE, 256, memory, address).unwrap();
        let (memory, address) = device.machine.part(2048 * usize::from(SIZE));
        let sender = Sender::new(SIZE, 2048, memory, address).unwrap();
        Some(Self { device, queues, control, receiver, sender, wire })
    }

    fn command(&mut self, command: &Command) -> Result<(), Refused> {
        let Self { device, queues, control, .. } = self;
        control.send(&mut queues[2].ring, command, 3).unwrap();
        let Obeyed { tag, result } = device.wait(&mut queues[2], |ring| control.reap(ring).unwrap());
        assert_eq!(tag, 3);
        result
    }

    fn send(&mut self, header: Header, frame: &[u8]) -> Vec<u8> {
        let Self { device, queues, sender, wire, .. } = self;
        let [_, transmit] = virtio::net::queues(0).map(usize::from);
        sender.send(&mut queues[transmit].ring, header, frame).unwrap();
        device
            .wait(&mut queues[transmit], |ring| Some(sender.taken(ring).unwrap()).filter(|count| *count > 0));
        let mut came = vec![0; 4096];
        let count = wire.recv(&mut came).unwrap();
        came.truncate(count);
        came
    }

    /// The next frame that the driver receives.
    fn receive(&mut self) -> (Header, Vec<u8>) {
        let Self { device, queues, receiver, .. } = self;
        let mut frame = Vec::new();
        receiver.offer(&mut queues[0].ring).unwrap();
        let header = device.wait(&mut queues[0], |ring| receiver.next(ring, &mut frame).unwrap());
        (header, frame)
    }

    /// Whether a frame comes through that is followed by one which always does.
    fn comes_through(&mut self, frame: &[u8], address: [u8; 6]) -> bool {
        let last = self::frame(address, 60, 99);
        for one in [frame, &last] {
            self.wire.send(one).unwrap();
        }
        let (_, first) = self.receive();
        if first == last {
            return false;
        }
        assert!(first == frame);
        assert!(self.receive().1 == last);
        true
    }
}

#[test]
fn frames_go_out_and_come_in() {
    let test = "frames_go_out_and_come_in";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let Some(mut card) = Card::start(test, directory.path(), kind, features) else { return };
        for round in 0..100_u8 {
            let bytes = 60 + usize::from(round) * 13;
            let out = frame([2, 0, 0, 0, 0, 9], bytes, round);
            assert!(card.send(Header::default(), &out) == out);
            let into = frame(ADDRESS, bytes, !round);
            card.wire.send(&into).unwrap();
            let (header, came) = card.receive();
            assert!(came == into);
            assert_eq!(usize::from(header.buffers), (bytes + virtio::net::HEADER).div_ceil(256));
        }
        assert_eq!(queues(1), [2, 3]);
    }
}

#[test]
fn the_control_queue_says_what_is_received() {
    let test = "the_control_queue_says_what_is_received";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let Some(mut card) = Card::start(test, directory.path(), kind, features) else { return };
        let [other, group, new] = [[2, 0, 0, 0, 0, 7], [1, 0, 0x5e, 0, 0, 7], [2, 0, 0, 0, 0, 8]];
        // A driver that has said nothing hears everything.
        assert!(card.comes_through(&frame(other, 80, 1), ADDRESS));
        assert_eq!(card.command(&Command::Promiscuous(false)), Ok(()));
        assert!(!card.comes_through(&frame(other, 80, 2), ADDRESS));
        assert!(!card.comes_through(&frame(group, 80, 3), ADDRESS));
        assert_eq!(card.command(&Command::AllMulticast(true)), Ok(()));
        assert!(card.comes_through(&frame(group, 80, 4), ADDRESS));
        assert_eq!(card.command(&Command::AllMulticast(false)), Ok(()));
        let table = Command::Addresses { unicast: vec![other], multicast: vec![group] };
        assert_eq!(card.command(&table), Ok(()));
        assert!(card.comes_through(&frame(other, 80, 5), ADDRESS));
        assert!(card.comes_through(&frame(group, 80, 6), ADDRESS));
        assert_eq!(card.command(&Command::Address(new)), Ok(()));
        assert!(!card.comes_through(&frame(ADDRESS, 80, 7), new));

        // Frames of a VLAN.
        let mut tagged = frame(new, 80, 8);
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert!(!card.comes_through(&tagged, new));
        assert_eq!(card.command(&Command::AddVlan(5)), Ok(()));
        assert!(card.comes_through(&tagged, new));
        assert_eq!(card.command(&Command::RemoveVlan(5)), Ok(()));
        assert!(!card.comes_through(&tagged, new));

        // What QEMU says of all this.
        let filter = card.device.machine.execute("query-rx-filter", json!({ "name": "card" }));
        assert_eq!(filter[0]["main-mac"], "02:00:00:00:00:08");
        assert_eq!(filter[0]["unicast-table"], json!(["02:00:00:00:00:07"]));
        assert_eq!(filter[0]["multicast-table"], json!(["01:00:5e:00:00:07"]));
        assert_eq!(filter[0]["promiscuous"], json!(false));

        // Asked for, the driver announces itself: QEMU tells by the second bit of the status.
        card.device
            .machine
            .execute("announce-self", json!({ "initial": 50, "max": 100, "rounds": 1, "step": 10 }));
        while Config::parse(&card.device.config(Config::BYTES)).status & 2 == 0 {
            std::thread::yield_now();
        }
        assert_eq!(card.command(&Command::Announced), Ok(()));
        assert_eq!(Config::parse(&card.device.config(Config::BYTES)).status & 2, 0);

        // There is one pair, and no second.
        assert_eq!(card.command(&Command::Pairs(2)), Err(Refused));
        assert_eq!(card.command(&Command::Offloads(0)), Err(Refused));
    }
}

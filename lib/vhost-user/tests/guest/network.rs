//! Linux sends frames through our network device, and receives them.

use crate::observed;
use crate::shell::{COMMAND_LINE, Shell};
use serde_json::json;
use std::collections::VecDeque;
use std::os::unix::net::UnixListener;
use vhost_user::backend::serve;
use vhost_user::devices::{Network, Port};
use vhost_user::socket::Canceller;

/// Somebody at the other end of the cable who answers to ARP and to pings, whoever is asked for.
#[derive(Default)]
struct Answers(VecDeque<Vec<u8>>);

const HERE: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Port for Answers {
    fn send(&mut self, frame: &[u8]) {
        let mut answer = frame.to_vec();
        answer.copy_within(6..12, 0);
        answer[6..12].copy_from_slice(&HERE);
        match &frame[12..14] {
            // An ARP request becomes the reply: both ends change places.
            [8, 6] if frame[21] == 1 => {
                answer[21] = 2;
                answer[32..42].copy_from_slice(&frame[22..32]);
                answer[22..28].copy_from_slice(&HERE);
                answer[28..32].copy_from_slice(&frame[38..42]);
            }
            // An echo request of ICMP: its type is 8, that of the reply 0, and the checksum is as much larger.
            [8, 0] if frame[23] == 1 && frame[34] == 8 => {
                answer[26..30].copy_from_slice(&frame[30..34]);
                answer[30..34].copy_from_slice(&frame[26..30]);
                answer[34] = 0;
                let sum = u32::from(u16::from_be_bytes([frame[36], frame[37]])) + 0x0800;
                let sum = (sum & 0xffff) + (sum >> 16);
                answer[36..38].copy_from_slice(&(sum as u16).to_be_bytes());
            }
            _ => return,
        }
        self.0.push_back(answer);
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        match self.0.pop_front() {
            Some(next) => {
                *frame = next;
                true
            }
            None => false,
        }
    }
}

#[test]
fn a_guest_sends_frames_through_our_card() {
    let test = "a_guest_sends_frames_through_our_card";
    let directory = tempfile::tempdir().unwrap();
    // QEMU takes what we say of queues for a number of pairs, and sets all of those up that it was told of.
    for (packed, pairs) in [("off", 1), ("on", 2)] {
        observed::device("net", "qemu");
        let socket = directory.path().join(format!("net-{packed}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let served = observed::in_thread(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut card = Network::with_pairs((0..pairs).map(|_| Answers::default()), HERE);
            serve(&mut card, observed::served_through(stream, "qemu"), &Canceller::new().unwrap()).unwrap();
            (card.mtu(), card.announced())
        });
        let arguments = [
            "-chardev".to_owned(),
            format!("socket,id=wire,path={}", socket.display()),
            "-netdev".to_owned(),
            format!("vhost-user,id=net,chardev=wire,queues={pairs}"),
            "-device".to_owned(),
            // A guest that announces itself is not announced by QEMU.
            format!(
                "virtio-net-pci,netdev=net,mac=52:54:00:00:00:02,mq=on,vectors=6,packed={packed},\
                 host_mtu=1450,guest_announce=off"
            ),
        ];
        let Some(mut guest) = Shell::start(test, directory.path(), &arguments) else { return };
        guest.ready();
        guest.say("ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; ip link show eth0; echo up'' now");
        let said = guest.until("up now");
        assert!(said.contains("mtu 1450"), "{said}");
        for bytes in [56, 1400] {
            guest.say(&format!("busybox ping -c 20 -i 0.05 -s {bytes} 10.0.0.1; echo pin''ged"));
            let said = guest.until("pinged");
            assert!(said.contains("20 packets received, 0% packet loss"), "packed={packed}: {said}");
        }
        guest.execute("announce-self", json!({ "initial": 1, "max": 1, "rounds": 1, "step": 1 }));
        // Its monitor answers when that was said.
        guest.execute("query-status", json!({}));
        drop(guest);
        assert_eq!(served.join().unwrap(), (Some(1450), Some([0x52, 0x54, 0, 0, 0, 2])));
    }
}

/// The guest gives the device what it is to read and write, and takes it back as soon as that was done. Where it collects what it takes back,
/// and flushes everything once in a while (`iommu.strict=0`), QEMU 7.2 forgets to tell of what was given since it did so last, unless the guest
/// uses ATS (`vtd_page_walk_one`, hw/i386/intel_iommu.c: what no walk of its tables has seen before counts as never told): frames are then read
/// from pages that are others' by now, whatever the back-end does.
#[test]
fn a_guest_behind_an_iommu_loses_no_frame() {
    let test = "a_guest_behind_an_iommu_loses_no_frame";
    let directory = tempfile::tempdir().unwrap();
    observed::device("net", "qemu");
    let socket = directory.path().join("net.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let served = observed::in_thread(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut card = Network::with_pairs([Answers::default()], HERE);
        serve(&mut card, observed::served_through(stream, "qemu"), &Canceller::new().unwrap()).unwrap();
    });
    let arguments = [
        "-append",
        &format!("{COMMAND_LINE} intel_iommu=on iommu.strict=1"),
        "-device",
        "intel-iommu,device-iotlb=on",
        "-chardev",
        &format!("socket,id=wire,path={}", socket.display()),
        "-netdev",
        "vhost-user,id=net,chardev=wire",
        "-device",
        "virtio-net-pci,netdev=net,mac=52:54:00:00:00:02,disable-legacy=on,iommu_platform=on,ats=on",
    ];
    let arguments = arguments.map(str::to_owned);
    let Some(mut guest) = Shell::start(test, directory.path(), &arguments) else { return };
    guest.ready();
    guest.say("ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; echo up'' now");
    guest.until("up now");
    guest.say("busybox ping -c 100 -i 0.05 10.0.0.1; echo pin''ged");
    let said = guest.until("pinged");
    assert!(said.contains("100 packets received, 0% packet loss"), "{said}");
    drop(guest);
    served.join().unwrap();
}

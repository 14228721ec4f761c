//! dpdk-testpmd as the back-end of a network: what we send comes back to us, with its addresses exchanged.

use crate::card::{Card, frame};
use crate::{Peer, Prefix, TIMEOUT};
use std::process::{Command, Stdio};
use vhost_user::front::Request;
use vhost_user::frontend::CallError;
use virtio::features::Features;
use virtio::net;

#[test]
fn frames_come_back_from_a_packet_generator() {
    let test = "frames_come_back_from_a_packet_generator";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: dpdk-testpmd needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("net.sock");
    let prefix = Prefix::new("vhost");
    let mut command = Command::new("dpdk-testpmd");
    command
        .args(["--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--log-level=error"])
        .arg(format!("--file-prefix={}", prefix.0))
        .arg(format!("--vdev=net_vhost0,iface={},queues=1", socket.display()))
        .args(["--", "--nb-cores=1", "--forward-mode=macswap", "--port-topology=loop", "--auto-start"])
        .args(["--no-mlockall", "--total-num-mbufs=8192"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Some(mut peer) = Peer::start(test, &mut command) else { return };
    let mergeable = Features::from_bits_retain(net::Features::MRG_RXBUF.bits());
    // Each time anew: front-ends leave, and others come.
    for features in [
        Features::empty(),
        mergeable | Features::EVENT_IDX | Features::INDIRECT_DESC,
        mergeable | Features::IN_ORDER,
        Features::RING_PACKED,
        mergeable | Features::RING_PACKED | Features::EVENT_IDX | Features::INDIRECT_DESC,
        mergeable | Features::RING_PACKED | Features::IN_ORDER,
    ] {
        let mut card = Card::new(peer.connect(&socket), "dpdk-testpmd", features);
        // Buffers are of 512 bytes: what is longer comes in several, where that may be.
        let most = if features.contains(mergeable) { 1514 } else { 500 };
        for bytes in (60..most).step_by(13) {
            card.send(&frame(1, 2, bytes));
            let came = card.receive();
            let mut expected = frame(1, 2, bytes);
            let (to, from) = expected[..12].split_at_mut(6);
            to.swap_with_slice(from);
            assert!(came == expected, "{bytes} bytes, {features:?}: {came:?}");
        }
        is_told(&mut card);
    }
}

/// What only networks are told, and what comes of it: an MTU below the least is none, and what is to be announced comes out of the switch, which is
/// this program and sends it back.
fn is_told(card: &mut Card) {
    const DRIVER_OK: u64 = 4;
    assert_ne!(card.front().status().unwrap() & DRIVER_OK, 0);
    let mut mtu = |mtu| card.front().call(&Request::NetSetMtu(mtu), &[]);
    mtu(1400).unwrap();
    assert!(matches!(mtu(67), Err(CallError::Refused { .. })));
    let address = [2, 0, 0, 0, 0, 7, 0, 0];
    card.front().call(&Request::SendRarp(u64::from_le_bytes(address)), &[]).unwrap();
    let announced = card.hear([0x80, 0x35], TIMEOUT).expect("nothing is announced");
    // To all, from the address; and both are exchanged on the way back.
    assert_eq!(announced[..12], [address[..6].to_vec(), vec![0xff; 6]].concat());
}

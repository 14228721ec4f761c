//! dpdk-testpmd as the back-end of a network: what we send comes back to us, with its addresses exchanged.

use crate::card::{Card, frame};
use crate::{Peer, Prefix, TIMEOUT, observed};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use vhost_user::check::{self, Backend, Kind, Options, Verdict};
use vhost_user::front::Request;
use vhost_user::frontend::CallError;
use virtio::features::Features;
use virtio::net;

/// What a generator of packets has, as long as the value lives.
struct Generator {
    socket: PathBuf,
    _directory: tempfile::TempDir,
    _prefix: Prefix,
}

impl Generator {
    /// With one port, of which this is done with frames; `None` where it is missing.
    fn start(test: &str, forwards: &str, more: &str) -> Option<(Peer, Self)> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("net.sock");
        let prefix = Prefix::new(forwards);
        let mut command = Command::new("dpdk-testpmd");
        command
            .args(["--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--log-level=error"])
            .arg(format!("--file-prefix={}", prefix.0))
            .arg(format!("--vdev=net_vhost0,iface={},queues=1{more}", socket.display()))
            .args(["--", "--nb-cores=1", "--port-topology=loop", "--auto-start"])
            .arg(format!("--forward-mode={forwards}"))
            .args(["--no-mlockall", "--total-num-mbufs=8192"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let peer = Peer::start(test, &mut command)?;
        Some((peer, Self { socket, _directory: directory, _prefix: prefix }))
    }
}

/// What is behind an IOMMU is asked for on the channel, and used as it was told last. What was taken back is not always asked for again: DPDK
/// 22.11 may stand still then, as its report says.
#[test]
fn a_packet_generator_asks_where_memory_is() {
    let test = "a_packet_generator_asks_where_memory_is";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: dpdk-testpmd needs root");
    }
    let Some((mut peer, generator)) = Generator::start(test, "rxonly", ",iommu-support=1") else { return };
    drop(peer.connect(&generator.socket));
    let only = ["miss", "update"].map(|check| format!("state.iommu.{check}")).to_vec();
    let options = Options { kind: Some(Kind::Net), only, timeout: TIMEOUT, ..Options::default() };
    let report = check::run(&mut Watched(generator.socket.clone()), &options, || Duration::ZERO, |_| {});
    let verdicts: Vec<_> = report.unwrap().findings.into_iter().map(|it| (it.id, it.verdict)).collect();
    assert!(verdicts.len() == 2 && verdicts.iter().all(|(_, it)| *it == Verdict::Passed), "{verdicts:?}");
}

/// At a path, and seen.
struct Watched(PathBuf);

impl Backend for Watched {
    fn connect(&mut self) -> io::Result<UnixStream> {
        Ok(observed::through(UnixStream::connect(&self.0)?, "dpdk-testpmd"))
    }
}

#[test]
fn frames_come_back_from_a_packet_generator() {
    let test = "frames_come_back_from_a_packet_generator";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: dpdk-testpmd needs root");
    }
    let Some((mut peer, generator)) = Generator::start(test, "macswap", "") else { return };
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
        let mut card = Card::new(peer.connect(&generator.socket), "dpdk-testpmd", features);
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

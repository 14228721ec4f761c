//! DPDK's virtio-user as the front-end of our network device.

use crate::{Peer, Prefix, observed, serve};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use vhost_user::devices::{Loopback, Network, Port};

/// A loopback that says when so many frames went through it.
struct Counted {
    through: Loopback,
    left: u32,
    enough: Sender<()>,
}

impl Counted {
    fn new(count: u32) -> (Self, Receiver<()>) {
        let (enough, reached) = channel();
        (Self { through: Loopback::default(), left: count, enough }, reached)
    }
}

impl Port for Counted {
    fn send(&mut self, frame: &[u8]) {
        self.through.send(frame);
    }
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        let is_one = self.through.receive(frame);
        if is_one && self.left > 0 {
            self.left -= 1;
            if self.left == 0 {
                self.enough.send(()).unwrap();
            }
        }
        is_one
    }
}

/// A number that testpmd prints behind a name.
fn counted(line: &str, name: &str) -> Option<u64> {
    let rest = line.split_once(name)?.1.trim_start();
    rest.split(' ').next()?.parse().ok()
}

#[test]
fn frames_of_virtio_user_go_round() {
    let test = "frames_of_virtio_user_go_round";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: dpdk-testpmd needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    for (options, number) in
        ["packed_vq=0", "packed_vq=0,in_order=1", "packed_vq=0,mrg_rxbuf=0", "packed_vq=1"]
            .into_iter()
            .zip(0..)
    {
        let socket = directory.path().join(format!("{number}.sock"));
        let (port, reached) = Counted::new(1000);
        observed::device("net", "virtio-user");
        let served = serve(&socket, "virtio-user", Network::new(port, [2, 0, 0, 0, 0, 1]));
        let prefix = Prefix::new(&format!("user-{number}"));
        let mut command = Command::new("dpdk-testpmd");
        command
            .args(["--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--log-level=error"])
            .arg(format!("--file-prefix={}", prefix.0))
            .arg(format!("--vdev=net_virtio_user0,path={},queues=1,{options}", socket.display()))
            .args([
                "--",
                "-i",
                "--nb-cores=1",
                "--forward-mode=io",
                "--no-mlockall",
                "--total-num-mbufs=8192",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let Some(mut peer) = Peer::start(test, &mut command) else { return };
        let mut say = peer.0.stdin.take().unwrap();
        // A burst goes out, comes back, and goes out again, until it is stopped.
        say.write_all(b"start tx_first\n").unwrap();
        let is_enough = reached.recv_timeout(crate::TIMEOUT);
        say.write_all(b"stop\nquit\n").unwrap();
        let mut said = String::new();
        peer.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let total = |name| {
            let found = said.lines().find_map(|line| counted(line, name));
            found.unwrap_or_else(|| panic!("{name} is not in {said}"))
        };
        // Of a burst of 32 none is lost: each that went out came back, but those that were on their way when it stopped.
        let (came, went) = (total("RX-packets:"), total("TX-packets:"));
        assert_eq!(is_enough, Ok(()), "{options}: {came} came, {went} went");
        assert!(
            came >= 1000 - 32 && went >= came && went - came <= 32,
            "{options}: {came} came, {went} went"
        );
        assert_eq!(total("RX-dropped:"), 0, "{options}");
        assert!(peer.0.wait().unwrap().success());
        served.join().unwrap().unwrap();
    }
}

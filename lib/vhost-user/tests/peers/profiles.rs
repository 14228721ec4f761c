//! What the checks' profiles say is what the front-ends say that they are named after: recorded here, where Debian or the package index has them.

use crate::{Peer, Prefix};
use blkio::Blkio;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use vhost_user::backend::{Device, serve};
use vhost_user::check::{Kind, Offer, Profile, Said, probe};
use vhost_user::devices::{Disk, InMemory, Loopback, Network};
use vhost_user::front::Request;
use vhost_user::proxy::{Chaos, From, Passed, relay};
use vhost_user::socket::Canceller;
use vhost_user::wire::Message as _;

/// A message as far as a profile says it: addresses, sizes of memory and features are the front-end's own.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: &'static str,
    asks: bool,
    descriptors: usize,
    /// Its ring, its status, its protocol features, the bytes of configuration space that it asks for.
    what: u64,
}

fn what(request: &Request) -> u64 {
    match request {
        Request::SetProtocolFeatures(number)
        | Request::SetStatus(number)
        | Request::SetVringKick(number)
        | Request::SetVringCall(number)
        | Request::SetVringErr(number) => *number,
        Request::SetVringNum(state) | Request::SetVringBase(state) | Request::GetVringBase(state) => {
            state.index.into()
        }
        Request::SetVringEnable(state) => u64::from(state.index) << 32 | u64::from(state.num),
        Request::SetVringAddr(address) => address.index.into(),
        Request::GetConfig(config) => config.size.into(),
        Request::GetInflightFd(asked) => u64::from(asked.queues) << 32 | u64::from(asked.queue_size),
        _ => 0,
    }
}

fn said(said: &Said) -> Line {
    let name = said.request.facts().name;
    Line { name, asks: said.asks, descriptors: said.descriptors(), what: what(&said.request) }
}

fn heard(passed: &Passed) -> Line {
    let request = Request::get(passed.number, &passed.payload).unwrap();
    Line {
        name: passed.name(),
        asks: passed.flags & 1 << 3 != 0,
        descriptors: passed.descriptors,
        what: what(&request),
    }
}

/// The same with what may come any number of times said once: rings are enabled whenever a network's backing is looked at.
fn once(lines: impl IntoIterator<Item = Line>, group: usize) -> Vec<Line> {
    let mut all: Vec<Line> = Vec::new();
    for line in lines {
        all.push(line);
        let (whole, is_enabling) = (all.len(), |it: &Line| it.name == "SET_VRING_ENABLE");
        if whole >= 2 * group
            && all[whole - 2 * group..].iter().all(is_enabling)
            && all[whole - 2 * group..whole - group] == all[whole - group..]
        {
            all.truncate(whole - group);
        }
    }
    all
}

/// A device of ours at a socket, and what its front-end says to it, as it comes.
struct Recorded {
    offer: Offer,
    said: mpsc::Receiver<Passed>,
    served: JoinHandle<()>,
}

fn recorded<D: Device + Send + 'static>(socket: &Path, make: fn() -> D) -> Recorded {
    struct There<D>(fn() -> D);
    impl<D: Device + Send + 'static> vhost_user::check::Backend for There<D> {
        fn connect(&mut self) -> std::io::Result<UnixStream> {
            let (ours, its) = UnixStream::pair()?;
            let make = self.0;
            std::thread::spawn(move || serve(&mut make(), its, &Canceller::new().unwrap()));
            Ok(ours)
        }
    }
    let offer = probe(&mut There(make), crate::TIMEOUT).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let (tell, said) = mpsc::channel();
    let served = std::thread::spawn(move || {
        let (front, _) = listener.accept().unwrap();
        let back = vhost_user::check::Backend::connect(&mut There(make)).unwrap();
        let canceller = Canceller::new().unwrap();
        // However the front-end ends, what it said before counts.
        let _ = relay(front, back, Chaos::default(), &canceller, |passed| {
            if passed.from == From::FrontEnd && !passed.channel {
                // Nobody may be left who wants to know.
                let _ = tell.send(passed.clone());
            }
        });
    });
    Recorded { offer, said, served }
}

impl Recorded {
    /// Listens until as much was said as its profile says until rings run, of which `last` is the last.
    fn until(&self, last: &Line) -> Vec<Line> {
        let mut all = Vec::new();
        loop {
            let passed = self.said.recv_timeout(crate::TIMEOUT);
            all.push(heard(&passed.unwrap_or_else(|_| panic!("{last:?} does not come: {all:#?}"))));
            if all.last() == Some(last) {
                return all;
            }
        }
    }

    /// All that was said after that.
    fn rest(self) -> Vec<Line> {
        self.served.join().unwrap();
        self.said.iter().map(|passed| heard(&passed)).collect()
    }
}

fn lines(all: &[Said]) -> Vec<Line> {
    all.iter().map(said).collect()
}

fn disk() -> Disk<InMemory> {
    Disk::new(InMemory::new(4096), 1)
}

fn network() -> Network<Loopback> {
    Network::new(Loopback::default(), [2, 0, 0, 0, 0, 1])
}

/// QEMU with a machine that has nothing else, whose firmware looks for a system: on the disk, or in the network.
fn qemu_says(test: &str, kind: Kind, record: impl FnOnce(&Path) -> Recorded, devices: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("device.sock");
    let recorded = record(&socket);
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-accel",
            "tcg",
            "-m",
            "64",
            "-machine",
            "q35,memory-backend=m",
            "-nodefaults",
            "-display",
            "none",
        ])
        .args(["-object", "memory-backend-memfd,id=m,size=64M,share=on"])
        .args(["-qmp", "stdio"])
        .args(["-chardev", &format!("socket,id=c,path={}", socket.display())])
        .args(devices)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Some(mut peer) = Peer::start(test, &mut command) else { return };
    let expected = lines(&Profile::Qemu.begins(Some(kind), &recorded.offer));
    let group = expected.iter().filter(|it| it.name == "SET_VRING_ERR").count();
    let begun = recorded.until(expected.last().unwrap());
    assert_eq!(once(begun, group), once(expected, group), "until its rings run");
    let mut say = peer.0.stdin.take().unwrap();
    std::io::Write::write_all(&mut say, b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}").unwrap();
    assert!(peer.0.wait().unwrap().success());
    let ends = lines(&Profile::Qemu.ends(Some(kind), &recorded.offer));
    assert_eq!(recorded.rest(), ends, "until its rings stop");
}

#[test]
fn qemu_says_to_a_disk_what_its_profile_says() {
    let devices = ["-device", "vhost-user-blk-pci,chardev=c,bootindex=1"];
    qemu_says(
        "qemu_says_to_a_disk_what_its_profile_says",
        Kind::Blk,
        |socket| recorded(socket, disk),
        &devices,
    );
}

#[test]
fn qemu_says_to_a_network_what_its_profile_says() {
    let devices = ["-netdev", "vhost-user,id=n,chardev=c", "-device", "virtio-net-pci,netdev=n,bootindex=1"];
    qemu_says(
        "qemu_says_to_a_network_what_its_profile_says",
        Kind::Net,
        |socket| recorded(socket, network),
        &devices,
    );
}

#[test]
fn virtio_user_says_what_its_profile_says() {
    let test = "virtio_user_says_what_its_profile_says";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: dpdk-testpmd needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("net.sock");
    let recorded = recorded(&socket, network);
    let prefix = Prefix::new("profile");
    let mut command = Command::new("dpdk-testpmd");
    command
        .args(["--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--log-level=error"])
        // One region of memory, which is what its table has then.
        .args(["--single-file-segments", &format!("--file-prefix={}", prefix.0)])
        .arg(format!("--vdev=net_virtio_user0,path={},queues=1", socket.display()))
        .args(["--", "-i", "--nb-cores=1", "--no-mlockall", "--total-num-mbufs=8192"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Some(mut peer) = Peer::start(test, &mut command) else { return };
    let expected = lines(&Profile::Dpdk.begins(Some(Kind::Net), &recorded.offer));
    assert_eq!(recorded.until(expected.last().unwrap()), expected, "until its rings run");
    std::io::Write::write_all(&mut peer.0.stdin.take().unwrap(), b"quit\n").unwrap();
    assert!(peer.0.wait().unwrap().success());
    let ends = lines(&Profile::Dpdk.ends(Some(Kind::Net), &recorded.offer));
    assert_eq!(recorded.rest(), ends, "until its rings stop");
}

#[test]
fn libblkio_says_what_its_profile_says() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("disk.sock");
    let recorded = recorded(&socket, disk);
    let mut blkio = Blkio::new("virtio-blk-vhost-user").unwrap();
    blkio.set_str("path", &socket.display().to_string()).unwrap();
    blkio.connect().unwrap();
    blkio.set_i32("num-queues", 1).unwrap();
    let started = blkio.start().unwrap();
    let expected = lines(&Profile::Libblkio.begins(Some(Kind::Blk), &recorded.offer));
    assert_eq!(recorded.until(expected.last().unwrap()), expected, "until its rings run");
    drop(started);
    drop(blkio);
    let ends = lines(&Profile::Libblkio.ends(Some(Kind::Blk), &recorded.offer));
    assert_eq!(recorded.rest(), ends, "until its rings stop");
}

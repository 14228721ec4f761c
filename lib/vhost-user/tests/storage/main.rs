//! Our front-end against the block back-end that Debian ships: qemu-storage-daemon.
#![cfg(test)]

#[path = "../support/observed.rs"]
mod observed;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::pread;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::back::Request;
use vhost_user::frontend::{CallError, FrontEnd, Lasting, Queue, Wanted};
use vhost_user::memory::Memory;
use vhost_user::socket::Canceller;
use virtio::Segment;
use virtio::blk::{self, Completed, Config, Failure, Requests, SECTOR};
use virtio::features::Features;
use virtio::memory::Shared;

const PROGRAM: &str = "qemu-storage-daemon";
const TIMEOUT: Duration = Duration::from_secs(20);
const BYTES: usize = 8 << 20;

/// A storage daemon with an export, ended with the value.
struct Daemon {
    child: Child,
    socket: PathBuf,
    /// Its monitor's answers; what it is asked goes to its input.
    monitor: BufReader<ChildStdout>,
}

impl Daemon {
    /// With this block device; `None` where the program is missing.
    fn start(test: &str, directory: &Path, blockdev: &str) -> Option<Self> {
        Self::run(Command::new(PROGRAM), test, directory, blockdev)
    }

    fn run(mut program: Command, test: &str, directory: &Path, blockdev: &str) -> Option<Self> {
        let socket = directory.join("blk.sock");
        let pid = directory.join("pid");
        let child = program
            .args(["--chardev", "stdio,id=monitor", "--monitor", "monitor", "--blockdev", blockdev, "--object", "iothread,id=thread"])
            .args(["--export", &format!("vhost-user-blk,id=disk,node-name=disk,writable=on,num-queues=2,iothread=thread,addr.type=unix,addr.path={}", socket.display())])
            .arg("--pidfile").arg(&pid)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                println!("not run: {test}: {PROGRAM}: {error}");
                return None;
            }
        };
        let monitor = BufReader::new(child.stdout.take().unwrap());
        let mut it = Self { child, socket, monitor };
        // It writes its process id when everything it was asked for is there.
        while !pid.exists() {
            assert!(it.child.try_wait().unwrap().is_none(), "{PROGRAM} has ended");
            std::thread::yield_now();
        }
        Some(it)
    }

    /// Has its monitor do something.
    fn execute(&mut self, command: &str, arguments: Value) {
        let asked = json!({"execute": command, "arguments": arguments});
        writeln!(self.child.stdin.as_mut().unwrap(), "{asked}").unwrap();
        loop {
            let mut line = String::new();
            self.monitor.read_line(&mut line).unwrap();
            let said: Value = serde_json::from_str(&line).unwrap();
            assert!(said.get("error").is_none(), "{command}: {said}");
            if said.get("return").is_some() {
                return;
            }
        }
    }

    fn connect(&self, features: Features) -> Disk {
        let stream = observed::through(UnixStream::connect(&self.socket).unwrap(), PROGRAM);
        observed::device("blk", PROGRAM);
        let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
        let blk = blk::Features::FLUSH | blk::Features::DISCARD | blk::Features::WRITE_ZEROES;
        let wanted = Wanted {
            features: features | Features::from_bits_retain(blk.bits()),
            required: Features::VERSION_1,
            protocol: ProtocolFeatures::MQ
                | ProtocolFeatures::REPLY_ACK
                | ProtocolFeatures::CONFIG
                | ProtocolFeatures::BACKEND_REQ
                | ProtocolFeatures::LOG_SHMFD
                | ProtocolFeatures::CONFIGURE_MEM_SLOTS,
        };
        front.negotiate(wanted).unwrap();
        let mut memory = Memory::new(BYTES).unwrap();
        front.add_memory(&memory).unwrap();
        let queue = front.start_queue(0, 128, &mut memory).unwrap();
        let slots = memory.part(Requests::bytes(128), 64).unwrap();
        let address = slots.host_address();
        let requests = Requests::new(128, slots, address).unwrap();
        Disk { front, memory, queue, requests }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Disk {
    front: FrontEnd,
    memory: Memory,
    queue: Queue,
    requests: Requests,
}

fn segment(part: &Shared) -> Segment {
    Segment { address: part.host_address(), length: part.len() as u32 }
}

impl Disk {
    fn buffer(&mut self, bytes: usize) -> Shared {
        self.memory.part(bytes, 512).unwrap()
    }

    /// The next requests that end.
    fn completed(&mut self, count: usize) -> Vec<Completed> {
        self.queue.submit().unwrap();
        let mut all = Vec::new();
        while all.len() < count {
            match self.requests.reap(&mut self.queue.ring).unwrap() {
                Some(one) => all.push(one),
                None => assert!(self.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}"),
            }
        }
        all
    }

    fn one(&mut self) -> Result<(), Failure> {
        self.completed(1)[0].result
    }
}

fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|i| (i.wrapping_mul(seed | 1) >> 7) as u8 ^ seed as u8).collect()
}

fn raw(directory: &Path, name: &str, bytes: u64) -> PathBuf {
    let path = directory.join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

#[test]
fn what_is_written_is_in_the_file_and_what_is_in_the_file_is_read() {
    let test = "what_is_written_is_in_the_file_and_what_is_in_the_file_is_read";
    let directory = tempfile::tempdir().unwrap();
    let path = raw(directory.path(), "disk.raw", 64 << 20);
    let before = pattern(3, 64 << 10);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    file.write_all_at(&before, 1 << 20).unwrap();
    let blockdev = format!("driver=file,node-name=disk,filename={},discard=unmap", path.display());
    let Some(daemon) = Daemon::start(test, directory.path(), &blockdev) else { return };
    for features in [Features::empty(), Features::EVENT_IDX, Features::EVENT_IDX | Features::INDIRECT_DESC] {
        let mut disk = daemon.connect(features);
        assert_eq!(disk.front.queues().unwrap(), 2);
        let config = Config::parse(&disk.front.config(0, Config::BYTES as u32).unwrap());
        assert_eq!((config.capacity, config.queues), ((64 << 20) / SECTOR, 2));

        // Two segments into one request.
        let (first, second) = (disk.buffer(4096), disk.buffer(60 << 10));
        let data = [segment(&first), segment(&second)];
        disk.requests.read(&mut disk.queue.ring, (1 << 20) / SECTOR, &data, 7).unwrap();
        assert_eq!(disk.completed(1), [Completed { tag: 7, result: Ok(()) }]);
        let mut read = vec![0; 64 << 10];
        first.slice().read(&mut read[..4096]);
        second.slice().read(&mut read[4096..]);
        assert_eq!(read, before);

        // Many at once, each to its own place, and durable.
        let parts: Vec<_> = (0..32).map(|_| disk.buffer(8192)).collect();
        for (part, i) in parts.iter().zip(0..) {
            part.slice().write(&pattern(features.bits() + i, 8192));
            disk.requests.write(&mut disk.queue.ring, 64 * i, &[segment(part)], i).unwrap();
        }
        let mut done = disk.completed(32);
        done.sort_by_key(|one| one.tag);
        assert!(done.iter().zip(0..).all(|(one, i)| *one == Completed { tag: i, result: Ok(()) }));
        disk.requests.flush(&mut disk.queue.ring, 0).unwrap();
        assert_eq!(disk.one(), Ok(()));
        for i in 0..32 {
            let mut there = vec![0; 8192];
            file.read_exact_at(&mut there, 64 * SECTOR * i).unwrap();
            assert_eq!(there, pattern(features.bits() + i, 8192), "request {i}");
        }

        // Zeroes and holes.
        disk.requests.write_zeroes(&mut disk.queue.ring, 0, 16, false, 0).unwrap();
        assert_eq!(disk.one(), Ok(()));
        disk.requests.discard(&mut disk.queue.ring, 64, 16, 0).unwrap();
        assert_eq!(disk.one(), Ok(()));
        let mut zeroes = vec![1; 8192];
        for place in [0, 64 * SECTOR] {
            file.read_exact_at(&mut zeroes, place).unwrap();
            assert!(zeroes.iter().all(|byte| *byte == 0));
        }
        assert_eq!(disk.front.stop_queue(0).unwrap() & 0xffff, 1 + 32 + 1 + 2);
    }
}

/// What is beside requests, with what comes of it: memory goes and leaves the daemon's process, and what it writes is in the log.
#[test]
fn a_daemon_does_what_is_asked_beside_its_requests() {
    let test = "a_daemon_does_what_is_asked_beside_its_requests";
    let directory = tempfile::tempdir().unwrap();
    let blockdev = "driver=null-co,node-name=disk,size=1048576,read-zeroes=on";
    let Some(daemon) = Daemon::start(test, directory.path(), blockdev) else { return };
    let mut disk = daemon.connect(Features::from_bits_retain(blk::Features::CONFIG_WCE.bits()));
    // That of QEMU 7.2 says that it is switched, and its configuration space stays as it was.
    disk.front.set_config(WRITEBACK, &[1]).unwrap();

    assert!(disk.front.memory_slots().unwrap() >= 8);
    let mappings = || {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.child.id())).unwrap();
        maps.lines().filter(|line| line.contains("memfd:")).count()
    };
    let mut more = Memory::new(1 << 20).unwrap();
    let before = mappings();
    disk.front.add_memory(&more).unwrap();
    assert_eq!(mappings(), before + 1);
    let (near, far) = (disk.buffer(4096), more.part(4096, 4096).unwrap());
    for part in [&near, &far] {
        part.slice().fill(9);
        disk.requests.read(&mut disk.queue.ring, 0, &[segment(part)], 0).unwrap();
        assert_eq!(disk.one(), Ok(()));
        let mut read = [1; 4096];
        part.slice().read(&mut read);
        assert_eq!(read, [0; 4096]);
    }
    disk.front.remove_memory(&more).unwrap();
    assert_eq!(mappings(), before);

    // The driver's addresses are this process's, so the log is as long as they go: a file with a hole.
    let log = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
    let bytes = near.host_address() / 4096 / 8 + 4096;
    ftruncate(&log, bytes).unwrap();
    disk.front.set_log(log.as_fd(), bytes).unwrap();
    let features = disk.front.negotiated().features;
    disk.front.set_features(features | Features::LOG_ALL).unwrap();
    let is_dirty = |address: u64| {
        let mut byte = [0];
        pread(&log, &mut byte, address / 4096 / 8).unwrap();
        byte[0] & 1 << (address / 4096 % 8) != 0
    };
    assert!(!is_dirty(near.host_address()));
    disk.requests.read(&mut disk.queue.ring, 0, &[segment(&near)], 0).unwrap();
    assert_eq!(disk.one(), Ok(()));
    assert!(is_dirty(near.host_address()));
}

/// Of the configuration space of a disk.
const WRITEBACK: u32 = 32;

fn qemu_img(test: &str, arguments: &[&str]) -> Option<()> {
    match Command::new("qemu-img").args(arguments).stdout(Stdio::null()).status() {
        Ok(status) => {
            assert!(status.success(), "qemu-img {arguments:?}");
            Some(())
        }
        Err(error) => {
            println!("not run: {test}: qemu-img: {error}");
            None
        }
    }
}

/// An image in QEMU's own format: what is written through a ring of either kind of notification is what qemu-img finds in it.
#[test]
fn what_is_written_to_an_image_is_what_qemu_img_reads() {
    let test = "what_is_written_to_an_image_is_what_qemu_img_reads";
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let Some(()) = qemu_img(test, &["create", "-q", "-f", "qcow2", &path("disk.qcow2"), "16M"]) else {
        return;
    };
    let blockdev = format!(
        "driver=qcow2,node-name=disk,discard=unmap,file.driver=file,file.filename={}",
        path("disk.qcow2")
    );
    let Some(daemon) = Daemon::start(test, directory.path(), &blockdev) else { return };
    let mut expected = vec![0; 16 << 20];
    for features in [Features::empty(), Features::EVENT_IDX | Features::INDIRECT_DESC] {
        let mut disk = daemon.connect(features);
        let parts: Vec<_> = (0..16).map(|_| disk.buffer(64 << 10)).collect();
        for (part, i) in parts.iter().zip(0_u64..) {
            let content = pattern(features.bits() + i, 64 << 10);
            let place = (i as usize * 10 + 3) << 16;
            part.slice().write(&content);
            expected[place..place + content.len()].copy_from_slice(&content);
            disk.requests.write(&mut disk.queue.ring, place as u64 / SECTOR, &[segment(part)], i).unwrap();
        }
        assert!(disk.completed(16).iter().all(|one| one.result == Ok(())));
        // One of them is gone again, and another is zero.
        disk.requests.discard(&mut disk.queue.ring, (3 << 16) / SECTOR, 128, 0).unwrap();
        assert_eq!(disk.one(), Ok(()));
        disk.requests.write_zeroes(&mut disk.queue.ring, (13 << 16) / SECTOR, 128, true, 0).unwrap();
        assert_eq!(disk.one(), Ok(()));
        for place in [3 << 16, 13 << 16] {
            expected[place..place + (64 << 10)].fill(0);
        }
        disk.requests.flush(&mut disk.queue.ring, 0).unwrap();
        assert_eq!(disk.one(), Ok(()));
    }
    drop(daemon);
    qemu_img(test, &["check", "-q", &path("disk.qcow2")]).unwrap();
    qemu_img(test, &["convert", "-O", "raw", &path("disk.qcow2"), &path("disk.raw")]).unwrap();
    assert!(std::fs::read(path("disk.raw")).unwrap() == expected);
}

#[test]
fn requests_that_cannot_be_served_fail_and_the_next_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let blockdev = "driver=null-co,node-name=disk,size=1048576,read-zeroes=on";
    let test = "requests_that_cannot_be_served_fail_and_the_next_is_served";
    let Some(daemon) = Daemon::start(test, directory.path(), blockdev) else { return };
    let mut disk = daemon.connect(Features::EVENT_IDX);
    let data = disk.buffer(4096);
    data.slice().fill(9);
    disk.requests.read(&mut disk.queue.ring, 1 << 40, &[segment(&data)], 0).unwrap();
    assert_eq!(disk.one(), Err(Failure::Io));
    disk.requests.read(&mut disk.queue.ring, 0, &[segment(&data)], 0).unwrap();
    assert_eq!(disk.one(), Ok(()));
    let mut read = [1; 4096];
    data.slice().read(&mut read);
    assert_eq!(read, [0; 4096]);
}

/// QEMU's daemon has no region that remembers what is in flight: no number of tries would change that.
#[test]
fn a_device_cannot_outlive_a_back_end_that_remembers_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let blockdev = "driver=null-co,node-name=disk,size=1048576";
    let test = "a_device_cannot_outlive_a_back_end_that_remembers_nothing";
    let Some(daemon) = Daemon::start(test, directory.path(), blockdev) else { return };
    let wanted = Wanted {
        features: Features::empty(),
        required: Features::VERSION_1,
        protocol: ProtocolFeatures::MQ | ProtocolFeatures::CONFIG,
    };
    let socket = daemon.socket.clone();
    let connect = move || UnixStream::connect(&socket);
    let error = Lasting::new(connect, wanted, TIMEOUT, (1, 8), Canceller::new().unwrap()).err().unwrap();
    assert!(matches!(error, CallError::NotSent(_)), "{error}");
}

/// That of QEMU 7.2 tells nobody, so it is the one of 10.0 that is asked, where it is unpacked.
#[test]
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
fn a_disk_that_grows_says_so() {
    let test = "a_disk_that_grows_says_so";
    let root = std::env::var_os("HV_QEMU_ROOT").unwrap_or_else(|| "/var/cache/hypervisor/qemu-trixie".into());
    let place = |name: &str| Path::new(&root).join("usr").join(name);
    let mut program = Command::new(place("lib64/ld-linux-x86-64.so.2"));
    program.arg("--library-path").arg(place("lib/x86_64-linux-gnu")).arg(place("bin").join(PROGRAM));
    if !place("bin").join(PROGRAM).exists() {
        println!("not run: {test}: {PROGRAM} of QEMU 10.0 (cargo xtask qemu-root)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = raw(directory.path(), "disk.raw", 64 << 20);
    let blockdev = format!("driver=file,node-name=disk,filename={}", path.display());
    let Some(mut daemon) = Daemon::run(program, test, directory.path(), &blockdev) else { return };
    daemon.execute("qmp_capabilities", json!({}));
    let mut disk = daemon.connect(Features::empty());
    let mut channel = disk.front.open_channel().unwrap();
    daemon.execute("block_resize", json!({"node-name": "disk", "size": 96 << 20}));
    let asked = channel.next(TIMEOUT).unwrap();
    assert_eq!(asked.request, Request::ConfigChangeMsg);
    let config = Config::parse(&disk.front.config(0, Config::BYTES as u32).unwrap());
    assert_eq!(config.capacity, (96 << 20) / SECTOR);
}

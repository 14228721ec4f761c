//! Our front-end with back-ends of others, and our back-end with front-ends of others, each started here.
#![cfg(test)]

mod card;
mod file_system;
mod libblkio;
#[path = "../support/observed.rs"]
mod observed;
mod open_vswitch;
mod profiles;
mod rust_vmm;
mod rust_vmm_more;
mod sound;
mod sys;
mod testpmd;
#[path = "../support/their_disk.rs"]
mod their_disk;
mod vhost_device;
mod virtio_user;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{Device, ServeError};
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use vhost_user::socket::Canceller;
use virtio::Segment;
use virtio::features::Features;
use virtio::memory::Shared;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Entries of each ring.
const SIZE: u16 = 64;

/// A program that runs as long as the value lives.
struct Peer(Child);

impl Peer {
    /// Starts it; `None` where it is missing, which is told.
    fn start(test: &str, command: &mut Command) -> Option<Self> {
        match command.stdin(Stdio::piped()).spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                println!("not run: {test}: {} is missing", command.get_program().display());
                None
            }
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    /// Connects as soon as it listens.
    fn connect(&mut self, socket: &Path) -> UnixStream {
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return stream,
                Err(_) => assert_eq!(self.0.try_wait().unwrap(), None, "it has ended"),
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves the first front-end that connects, which is this one's, in a thread.
fn serve(
    socket: &Path,
    by: &'static str,
    mut device: impl Device + Send + 'static,
) -> JoinHandle<Result<(), ServeError>> {
    let listener = UnixListener::bind(socket).unwrap();
    observed::in_thread(move || {
        let (stream, _) = listener.accept().unwrap();
        let stream = observed::served_through(stream, by);
        vhost_user::backend::serve(&mut device, stream, &Canceller::new().unwrap())
    })
}

/// A name for what DPDK leaves in `/var/run/dpdk`, which is taken away again.
struct Prefix(String);

impl Prefix {
    fn new(name: &str) -> Self {
        Self(format!("peers-{name}-{}", std::process::id()))
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new("/var/run/dpdk").join(&self.0));
    }
}

/// A session of our front-end.
struct Client {
    front: FrontEnd,
    memory: Memory,
    queues: Vec<Queue>,
}

impl Client {
    /// With `queues` that run, of this program's device.
    fn new(stream: UnixStream, by: &'static str, features: Features, queues: u32) -> Self {
        let mut front = FrontEnd::new(observed::through(stream, by), TIMEOUT).unwrap();
        let protocol = ProtocolFeatures::MQ
            | ProtocolFeatures::REPLY_ACK
            | ProtocolFeatures::CONFIG
            | ProtocolFeatures::CONFIGURE_MEM_SLOTS
            | ProtocolFeatures::STATUS
            | ProtocolFeatures::MTU
            | ProtocolFeatures::RARP;
        front.negotiate(Wanted { features, required: Features::VERSION_1, protocol }).unwrap();
        let mut memory = Memory::new(8 << 20).unwrap();
        front.add_memory(&memory).unwrap();
        let queues = (0..queues).map(|index| front.start_queue(index, SIZE, &mut memory).unwrap()).collect();
        front.driver_ok().unwrap();
        Self { front, memory, queues }
    }

    /// Memory that both sides see.
    fn part(&mut self, bytes: usize) -> Shared {
        self.memory.part(bytes, 4096).unwrap()
    }

    /// Waits for what `reap` finds in a queue.
    fn wait<T>(&mut self, queue: usize, mut reap: impl FnMut(&mut Queue) -> Option<T>) -> T {
        let queue = &mut self.queues[queue];
        queue.submit().unwrap();
        loop {
            match reap(queue) {
                Some(found) => return found,
                None => assert!(queue.wait(TIMEOUT).unwrap(), "nothing in {TIMEOUT:?}"),
            }
        }
    }
}

fn segment(part: &Shared) -> Segment {
    Segment { address: part.host_address(), length: part.len() as u32 }
}

fn bytes(part: &Shared, count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    part.slice().read(&mut all);
    all
}

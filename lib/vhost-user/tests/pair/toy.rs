//! A device of a few lines that does everything a device may, and a front-end of it.

use crate::{TIMEOUT, wanted};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{Device, Failure, Guest, Kept, Writer};
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use virtio::Segment;
use virtio::features::Features;
use virtio::memory::Shared;

/// Answers every byte that it reads with the next number, unless it is told to keep such bytes for ever.
pub(crate) struct Toy {
    pub(crate) config: [u8; 4],
    pub(crate) state: Vec<u8>,
    /// What it has answered.
    pub(crate) answered: Arc<Mutex<Vec<u8>>>,
    /// It keeps the chains of odd bytes.
    pub(crate) keeps: bool,
    pub(crate) kept: Vec<Kept>,
    /// Rung when configuration space changes.
    pub(crate) bell: OwnedFd,
}

impl Toy {
    pub(crate) fn new() -> Self {
        Self {
            config: [1, 2, 3, 4],
            state: vec![7; 100_000],
            answered: Arc::default(),
            keeps: false,
            kept: Vec::new(),
            bell: eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
        }
    }
}

impl Device for Toy {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        2
    }
    fn protocol(&self) -> ProtocolFeatures {
        ProtocolFeatures::DEVICE_STATE
    }
    fn config(&self) -> &[u8] {
        &self.config
    }
    fn set_config(&mut self, offset: usize, bytes: &[u8], writer: Writer) -> Result<(), Failure> {
        if writer == Writer::Driver && offset < 2 {
            return Err(Failure::Value { what: "read-only", value: offset as u64 });
        }
        self.config[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        while let Some(held) = guest.take(queue) {
            let mut byte = [0];
            held.chain().reader().read(&mut byte);
            if self.keeps && byte[0] % 2 == 1 {
                self.kept.push(held.keep());
                continue;
            }
            self.answered.lock().unwrap().push(byte[0]);
            let written = held.chain().writer().write(&[byte[0] + 1]) as u32;
            guest.put(queue, held, written);
        }
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.bell.as_fd()]
    }
    fn ready(&mut self, source: usize, guest: &mut Guest<'_>) {
        assert_eq!(source, 0);
        let _ = read(&self.bell, &mut [0; 8]);
        self.config[3] += 1;
        assert!(guest.config_changed());
    }
    fn stopping(&mut self, queue: u16, guest: &mut Guest<'_>) {
        for kept in self.kept.drain(..) {
            guest.put_kept(queue, kept);
        }
    }
    fn reset(&mut self) {
        self.config = [1, 2, 3, 4];
        self.kept.clear();
    }
    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.state.clone())
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        if state.first() != Some(&7) {
            return Err(Failure::Value { what: "state", value: 0 });
        }
        self.state = state.to_vec();
        Ok(())
    }
}

pub(crate) const SIZE: u16 = 16;

/// A front-end, its memory, a queue, and bytes to send and to receive.
pub(crate) struct Client {
    pub(crate) front: FrontEnd,
    pub(crate) memory: Memory,
    pub(crate) queue: Queue,
    pub(crate) bytes: Shared,
}

pub(crate) fn asks(features: Features, protocol: ProtocolFeatures) -> Wanted {
    Wanted { features, protocol, ..wanted(features) }
}

pub(crate) const EVERYTHING: ProtocolFeatures = ProtocolFeatures::all();

pub(crate) fn negotiated(stream: UnixStream, wanted: Wanted) -> FrontEnd {
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(wanted).unwrap();
    front
}

pub(crate) fn client(stream: UnixStream, wanted: Wanted) -> Client {
    let mut front = negotiated(stream, wanted);
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let queue = front.start_queue(0, SIZE, &mut memory).unwrap();
    let bytes = memory.part(512, 4096).unwrap();
    Client { front, memory, queue, bytes }
}

impl Client {
    /// Sends a byte; what is answered goes to a place of its own.
    pub(crate) fn send(&mut self, byte: u8) {
        let at = 2 * usize::from(byte);
        self.bytes.piece(at, 2).unwrap().slice().write(&[byte, 0]);
        let segment = |at: usize| Segment { address: self.bytes.host_address() + at as u64, length: 1 };
        self.queue.ring.add(&[segment(at)], &[segment(at + 1)]).unwrap();
        self.queue.submit().unwrap();
    }

    pub(crate) fn answered(&mut self) {
        loop {
            match self.queue.ring.reap().unwrap() {
                Some(done) => break assert_eq!(done.written, 1),
                None => assert!(self.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}"),
            }
        }
    }

    pub(crate) fn answer_to(&self, byte: u8) -> u8 {
        let mut read = [0];
        self.bytes.piece(2 * usize::from(byte) + 1, 1).unwrap().slice().read(&mut read);
        read[0]
    }
}

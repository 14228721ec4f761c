//! Protocol features that few devices have, for who writes a front-end and has no other to try them with.

use crate::backend::{Device, Failure, Guest, Reply, Writer};
use crate::front::Request;
use crate::payload::{SharedMapping, SharedMemoryConfig, SharedObject};
use crate::session::Answer;
use crate::{ProtocolFeatures, back};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use virtio::features::Features;

/// A device that offers protocol features beside its own, and uses each once a front-end has taken it:
///
/// - `DEVICE_STATE`: where the device has no state, it is a few bytes, of which the same come back.
/// - `SHMEM`: region 0 has 1 MiB. With the first turn of a queue the front-end is asked to map 64 KiB at its beginning, of a file that
///   [`WithMore::TEXT`] is in.
/// - `SHARED_OBJECT`: with the same turn an object is told of, whose name is [`WithMore::OBJECT`]: that file.
/// - `PAGEFAULT`: postcopy. Memory comes as a table then, since slots are not offered beside it.
/// - Others, such as `HOST_NOTIFIER`, are offered and left unused, as a device may.
#[derive(Debug)]
pub struct WithMore<D> {
    device: D,
    features: ProtocolFeatures,
    file: OwnedFd,
    /// What the front-end is asked in every session.
    asks: Vec<back::Request>,
    /// What it was not asked yet.
    unasked: Vec<back::Request>,
}

/// Bytes of the region, and of what is mapped there.
const REGION: u64 = 1 << 20;
const MAPPED: u64 = 64 << 10;

/// The whole state of a device that has none.
const STATE: &[u8] = b"no state";

impl<D> WithMore<D> {
    /// The name of the object.
    pub const OBJECT: [u8; 16] = *b"vhost-user-check";

    /// How the file begins.
    pub const TEXT: &[u8] = b"shared by the back-end";

    /// `device`, with these features beside its own.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(device: D, features: ProtocolFeatures) -> io::Result<Self> {
        let file = memfd_create("vhost-user-shared", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, MAPPED)?;
        rustix::io::pwrite(&file, Self::TEXT, 0)?;
        let mapping = SharedMapping { region: 0, fd_offset: 0, offset: 0, size: MAPPED, flags: 1 };
        let mut asks = Vec::new();
        if features.contains(ProtocolFeatures::SHMEM) {
            asks.push(back::Request::ShmemMap(mapping));
        }
        if features.contains(ProtocolFeatures::SHARED_OBJECT) {
            asks.push(back::Request::SharedObjectAdd(SharedObject { uuid: Self::OBJECT }));
        }
        Ok(Self { device, features, file, unasked: asks.clone(), asks })
    }

    /// What is asked becomes something else.
    #[cfg(feature = "faults")]
    pub(crate) fn ask_otherwise(&mut self, how: fn(&mut back::Request)) {
        self.asks.iter_mut().for_each(how);
    }

    /// Asks what the front-end takes now.
    fn ask(&mut self, guest: &mut Guest<'_>) {
        let file = &self.file;
        self.unasked.retain(|request| {
            let descriptor = match request {
                back::Request::ShmemMap(_) => file.try_clone().ok(),
                _ => None,
            };
            !guest.ask(request.clone(), descriptor.into_iter().collect())
        });
    }
}

impl<D: Device> Device for WithMore<D> {
    fn features(&self) -> Features {
        self.device.features()
    }
    fn queues(&self) -> u16 {
        self.device.queues()
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        if !self.unasked.is_empty() {
            self.ask(guest);
        }
        self.device.run(queue, guest);
    }
    fn protocol(&self) -> ProtocolFeatures {
        self.device.protocol() | self.features
    }
    fn config(&self) -> &[u8] {
        self.device.config()
    }
    fn set_config(&mut self, offset: usize, bytes: &[u8], writer: Writer) -> Result<(), Failure> {
        self.device.set_config(offset, bytes, writer)
    }
    fn negotiated(&mut self, features: Features) {
        self.device.negotiated(features);
    }
    fn run_disabled(&mut self, queue: u16, guest: &mut Guest<'_>) {
        self.device.run_disabled(queue, guest);
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.device.sources()
    }
    fn ready(&mut self, source: usize, guest: &mut Guest<'_>) {
        self.device.ready(source, guest);
    }
    fn answered(&mut self, request: &back::Request, answer: Answer, guest: &mut Guest<'_>) {
        if !self.asks.contains(request) {
            self.device.answered(request, answer, guest);
        }
    }
    fn stopping(&mut self, queue: u16, guest: &mut Guest<'_>) {
        self.device.stopping(queue, guest);
    }
    fn reset(&mut self) {
        self.unasked.clone_from(&self.asks);
        self.device.reset();
    }
    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        match self.device.protocol().contains(ProtocolFeatures::DEVICE_STATE) {
            true => self.device.save(),
            false => Ok(STATE.to_vec()),
        }
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        match self.device.protocol().contains(ProtocolFeatures::DEVICE_STATE) {
            true => self.device.load(state),
            false if state == STATE => Ok(()),
            false => Err(Failure::Value { what: "state of a device without one", value: state.len() as u64 }),
        }
    }
    fn request(
        &mut self,
        request: &Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        match request {
            Request::GetShmemConfig if self.features.contains(ProtocolFeatures::SHMEM) => {
                let config = SharedMemoryConfig { sizes: vec![REGION] };
                Ok((Reply::SharedMemoryConfig(config), Vec::new()))
            }
            Request::GetSharedObject(SharedObject { uuid })
                if self.features.contains(ProtocolFeatures::SHARED_OBJECT) =>
            {
                let found = (*uuid == Self::OBJECT).then(|| self.file.try_clone());
                let found =
                    found.transpose().map_err(|error| Failure::Descriptor { what: "object", error })?;
                Ok((Reply::None, found.into_iter().collect()))
            }
            _ => self.device.request(request, descriptors),
        }
    }
}

//! A disk in memory on rust-vmm's framework `vhost-user-backend`. What is wrong with a request is refused, so that what is found in it is the
//! framework's.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringMutex, VringT as _};
use virtio::blk::Config;
use virtio::features::Features;
use virtio_queue::{DescriptorChain, QueueOwnedT as _};
use vm_memory::{GuestAddressSpace as _, GuestMemoryAtomic, GuestMemoryLoadGuard, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};

/// How long it is.
pub(crate) const SECTORS: usize = 4096;

const QUEUE_SIZE: usize = 256;

/// Status of a request (VIRTIO 1.4, section 5.2.6).
const OK: u8 = 0;
const FAILED: u8 = 1;
const UNSUPPORTED: u8 = 2;

const NAME: [u8; 20] = *b"vhost-user-backend\0\0";

type Guarded = GuestMemoryLoadGuard<GuestMemoryMmap>;

struct TheirDisk {
    content: Vec<u8>,
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
}

impl TheirDisk {
    fn new() -> Self {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        Self { content: vec![0; SECTORS * 512], memory }
    }

    /// Works off a ring; gives whether the driver is to be told.
    fn run(&mut self, ring: &VringMutex) -> io::Result<bool> {
        let memory = self.memory.memory();
        let chains = ring.get_mut().get_queue_mut().iter(memory.clone()).map(Iterator::collect::<Vec<_>>);
        let chains = chains.map_err(io::Error::other)?;
        let any = !chains.is_empty();
        for chain in chains {
            let head = chain.head_index();
            let written = self.request(chain, &memory).unwrap_or(0);
            ring.add_used(head, written).map_err(io::Error::other)?;
        }
        Ok(any && ring.needs_notification().map_err(io::Error::other)?)
    }

    /// Bytes that were written; `None`: there is no room for a status.
    fn request(&mut self, chain: DescriptorChain<Guarded>, memory: &Guarded) -> Option<u32> {
        let mut reader = chain.clone().reader(memory).ok()?;
        let mut writer = chain.writer(memory).ok()?;
        let room = writer.available_bytes().checked_sub(1)?;
        let mut last = writer.split_at(room).ok()?;
        let mut header = [0; 16];
        let status = match reader.read_exact(&mut header) {
            Ok(()) => {
                let [kind, sector] = [0, 8].map(|at| number(&header[at..]));
                // The type has 32 bits, and a priority behind it.
                match kind as u32 {
                    0 => self
                        .at(sector, room)
                        .and_then(|part| writer.write_all(part).ok())
                        .map_or(FAILED, |()| OK),
                    1 => {
                        let count = reader.available_bytes();
                        self.at(sector, count)
                            .and_then(|part| reader.read_exact(part).ok())
                            .map_or(FAILED, |()| OK)
                    }
                    // Its name, which is shorter than it may be.
                    8 => writer.write_all(&NAME[..room.min(NAME.len())]).map_or(FAILED, |()| OK),
                    _ => UNSUPPORTED,
                }
            }
            Err(_) => FAILED,
        };
        last.write_all(&[status]).ok()?;
        u32::try_from(writer.bytes_written() + 1).ok()
    }

    fn at(&mut self, sector: u64, bytes: usize) -> Option<&mut [u8]> {
        let begin = usize::try_from(sector).ok()?.checked_mul(512)?;
        (bytes.is_multiple_of(512))
            .then_some(self.content.get_mut(begin..begin.checked_add(bytes)?))
            .flatten()
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl VhostUserBackendMut for TheirDisk {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        let features =
            Features::VERSION_1 | Features::EVENT_IDX | Features::INDIRECT_DESC | Features::PROTOCOL_FEATURES;
        features.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&mut self, _: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = Config { capacity: SECTORS as u64, ..Config::default() }.bytes();
        let part = config.get(offset as usize..).and_then(|rest| rest.get(..size as usize));
        part.unwrap_or_default().to_vec()
    }

    /// There is nothing in it that a driver may write.
    fn set_config(&mut self, _: u32, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    /// Without one its thread would not end.
    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK).ok()
    }

    fn handle_event(&mut self, _: u16, _: EventSet, rings: &[VringMutex], _: usize) -> io::Result<()> {
        let Some(ring) = rings.first() else { return Ok(()) };
        loop {
            ring.disable_notification().map_err(io::Error::other)?;
            if self.run(ring)? {
                ring.signal_used_queue()?;
            }
            if !ring.enable_notification().map_err(io::Error::other)? {
                return Ok(());
            }
        }
    }
}

/// Serves a front-end at this path until it leaves, as their programs do it, which then listen anew.
pub(crate) fn serve_one(socket: &Path) -> Result<(), vhost_user_backend::Error> {
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let device = Arc::new(Mutex::new(TheirDisk::new()));
    VhostUserDaemon::new("disk".to_owned(), device, memory)?.serve(socket)
}

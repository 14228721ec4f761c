//! A disk that does nothing, on the crate vhost-user-backend.

use crate::{DISK, Result};
use std::io;
use std::sync::{Arc, Mutex};
use vhost::vhost_user::Listener;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringMutex, VringT as _};
use virtio::blk::Config;
use virtio::features::Features;
use virtio_queue::QueueOwnedT as _;
use vm_memory::{Bytes as _, GuestAddressSpace as _, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};

struct Null {
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
}

impl Null {
    /// The least that a device does: it looks at every descriptor, and writes the status into the last.
    fn run(&mut self, ring: &VringMutex) -> Result<bool> {
        let memory = self.memory.memory();
        let mut ring = ring.get_mut();
        let mut any = false;
        while let Some(chain) = {
            let queue = ring.get_queue_mut();
            queue.iter(memory.clone())?.next()
        } {
            let head = chain.head_index();
            let (mut written, mut last) = (0, None);
            for descriptor in chain.filter(|descriptor| descriptor.is_write_only()) {
                written += descriptor.len();
                last = Some(descriptor.addr());
            }
            if let Some(status) = last {
                memory.write_obj(0_u8, status)?;
            }
            ring.add_used(head, written)?;
            any = true;
        }
        Ok(any && ring.needs_notification()?)
    }
}

impl VhostUserBackendMut for Null {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        512
    }

    fn features(&self) -> u64 {
        (Features::VERSION_1 | Features::EVENT_IDX | Features::PROTOCOL_FEATURES).bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&mut self, _: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = Config { capacity: DISK / 512, ..Config::default() }.bytes();
        config[offset as usize..][..size as usize].to_vec()
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK).ok()
    }

    fn handle_event(&mut self, _: u16, _: EventSet, rings: &[VringMutex], _: usize) -> io::Result<()> {
        let ring = &rings[0];
        loop {
            ring.disable_notification().map_err(io::Error::other)?;
            if self.run(ring).map_err(|error| io::Error::other(error.to_string()))? {
                ring.signal_used_queue()?;
            }
            if !ring.enable_notification().map_err(io::Error::other)? {
                return Ok(());
            }
        }
    }
}

/// Serves one front-end after the other.
pub fn run(socket: &str) -> Result<()> {
    let mut listener = Listener::new(socket, true).map_err(|error| error.to_string())?;
    loop {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let device = Arc::new(Mutex::new(Null { memory: memory.clone() }));
        let mut daemon =
            VhostUserDaemon::new("null".to_owned(), device, memory).map_err(|error| error.to_string())?;
        daemon.start(&mut listener).map_err(|error| error.to_string())?;
        // A front-end that leaves is told as an error, and is none.
        let _ = daemon.wait();
    }
}

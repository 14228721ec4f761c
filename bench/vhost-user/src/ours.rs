//! Our front-end and block requests.

use crate::watch::Patience;
use crate::{Client, Mode, Places, REQUEST, Result};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use virtio::Segment;
use virtio::blk::Requests;
use virtio::features::Features;
use virtio::memory::Shared;

const TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE: u16 = 512;

pub struct Ours {
    _front: FrontEnd,
    _memory: Memory,
    queue: Queue,
    requests: Requests,
    data: Vec<Segment>,
    places: Places,
    polls: bool,
    least: u16,
    ended: Vec<u64>,
    _parts: Vec<Shared>,
}

impl Ours {
    pub fn new(socket: &Path, depth: usize, mode: Mode, features: Features) -> Result<Self> {
        let mut front = FrontEnd::new(UnixStream::connect(socket)?, TIMEOUT)?;
        front.negotiate(Wanted {
            features: features | Features::EVENT_IDX,
            required: Features::VERSION_1,
            protocol: ProtocolFeatures::REPLY_ACK | ProtocolFeatures::CONFIGURE_MEM_SLOTS,
        })?;
        let mut memory = Memory::new(4 << 20)?;
        front.add_memory(&memory)?;
        let mut queue = front.start_queue(0, QUEUE, &mut memory)?;
        let slots = memory.part(Requests::bytes(QUEUE), 64).ok_or("memory")?;
        let address = slots.host_address();
        let mut requests = Requests::new(QUEUE, slots, address).ok_or("memory")?;
        let parts: Vec<_> = (0..depth).filter_map(|_| memory.part(REQUEST, 4096)).collect();
        let data: Vec<_> =
            parts.iter().map(|it| Segment { address: it.host_address(), length: REQUEST as u32 }).collect();
        let mut places = Places(1);
        let polls = mode == Mode::Polled;
        if polls {
            queue.ring.want_no_calls();
        }
        if mode == Mode::Asleep {
            queue.set_polling(Duration::ZERO);
        }
        for (segment, tag) in data.iter().zip(0..) {
            requests.read(&mut queue.ring, places.next() / 512, &[*segment], tag)?;
        }
        queue.submit()?;
        Ok(Self {
            _front: front,
            _memory: memory,
            queue,
            requests,
            data,
            places,
            polls,
            least: mode.least(depth) as u16,
            ended: Vec::new(),
            _parts: parts,
        })
    }
}

impl Client for Ours {
    fn turn(&mut self) -> Result<u64> {
        let Self { queue, requests, data, places, ended, .. } = self;
        // Looked at the clock now and then only: who polls does nothing else.
        let (mut looks, mut patience) = (0_u32, None);
        loop {
            while let Some(done) = requests.reap(&mut queue.ring)? {
                done.result?;
                ended.push(done.tag);
            }
            let missing = self.least.saturating_sub(ended.len() as u16);
            if missing == 0 {
                break;
            }
            if self.polls {
                std::hint::spin_loop();
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(1 << 20) {
                    patience.get_or_insert_with(Patience::begin).left("a request that ends")?;
                }
            } else if !queue.wait_for(missing, TIMEOUT)? {
                return Err("nothing ended".into());
            }
        }
        let count = ended.len() as u64;
        for tag in ended.drain(..) {
            let segment = data[tag as usize];
            requests.read(&mut queue.ring, places.next() / 512, &[segment], tag)?;
        }
        queue.submit()?;
        Ok(count)
    }
}

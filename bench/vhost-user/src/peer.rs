//! The crate `blkio`.

mod sys;

use crate::{Client, Mode, Places, REQUEST, Result};
use blkio::{Blkio, Blkioq, Completion, ReqFlags};
use std::mem::MaybeUninit;
use std::path::Path;

pub struct Peer {
    queue: Blkioq,
    _blkio: Blkio,
    data: Vec<usize>,
    places: Places,
    least: usize,
    buffer: Vec<MaybeUninit<Completion>>,
    ended: Vec<(usize, i32)>,
}

impl Peer {
    pub fn new(socket: &Path, depth: usize, mode: Mode) -> Result<Self> {
        let polls = mode == Mode::Polled;
        let text = |error: blkio::Error| error.message().to_owned();
        let mut blkio = Blkio::new("virtio-blk-vhost-user").map_err(text)?;
        blkio.set_str("path", &socket.display().to_string()).map_err(text)?;
        blkio.connect().map_err(text)?;
        blkio.set_i32("queue-size", 512).map_err(text)?;
        blkio.set_i32("num-queues", i32::from(!polls)).map_err(text)?;
        blkio.set_i32("num-poll-queues", i32::from(polls)).map_err(text)?;
        let mut started = blkio.start().map_err(text)?;
        let queue = if polls { started.poll_queues.pop() } else { started.queues.pop() };
        let region = blkio.alloc_mem_region(depth * REQUEST).map_err(text)?;
        blkio.map_mem_region(&region).map_err(text)?;
        let data: Vec<_> = (0..depth).map(|i| region.addr + i * REQUEST).collect();
        let mut it = Self {
            queue: queue.ok_or("no queue")?,
            _blkio: blkio,
            buffer: (0..depth).map(|_| MaybeUninit::uninit()).collect(),
            ended: Vec::with_capacity(depth),
            data,
            places: Places(1),
            least: mode.least(depth),
        };
        for tag in 0..depth {
            it.read(tag);
        }
        Ok(it)
    }

    fn read(&mut self, tag: usize) {
        let place = self.places.next();
        self.queue.read(place, self.data[tag] as *mut u8, REQUEST, tag, ReqFlags::empty());
    }
}

impl Client for Peer {
    fn turn(&mut self) -> Result<u64> {
        let Self { queue, buffer, ended, least, .. } = self;
        sys::completed(queue, *least, buffer, ended).map_err(|error| error.message().to_owned())?;
        let count = self.ended.len();
        for i in 0..count {
            let (tag, result) = self.ended[i];
            if result != 0 {
                return Err("a request failed".into());
            }
            self.read(tag);
        }
        self.ended.clear();
        Ok(count as u64)
    }
}

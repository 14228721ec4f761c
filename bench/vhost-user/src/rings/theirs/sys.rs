//! What the peer's interface asks of its caller: memory by its address, and buffers that stay where they are.

use crate::Result;
use crate::rings::{BATCH, Driver, SIZE, memory};
use std::cell::RefCell;
use std::ptr::NonNull;
use virtio::memory::{Regions, Shared, SplitMemory};
use virtio::{Options, split};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

type Queue = VirtQueue<Host, { SIZE as usize }>;

pub struct Theirs {
    pub driver: TheirDriver,
    pub device: split::Device<SplitMemory>,
    pub regions: Regions,
}

pub struct TheirDriver {
    queue: Queue,
    tokens: Vec<u16>,
    segments: usize,
    input: &'static [u8],
    output: &'static mut [u8],
}

struct Arena {
    memory: Shared,
    next: usize,
}

thread_local! {
    static ARENA: RefCell<Option<Arena>> = const { RefCell::new(None) };
}

struct Host;

// SAFETY: pages come from an arena that lives as long as the thread and are given out once; addresses are those of this process, where
// nothing else is a device.
unsafe impl Hal for Host {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        ARENA.with_borrow_mut(|arena| {
            let arena = arena.as_mut().expect("made before the queue");
            let start = arena.memory.host_address().next_multiple_of(PAGE_SIZE as u64) + arena.next as u64;
            arena.next += pages * PAGE_SIZE;
            (start, NonNull::new(start as *mut u8).expect("memory is not at 0"))
        })
    }
    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }
    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::dangling()
    }
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }
    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// Remembers where the queue is.
#[derive(Default)]
struct Nowhere {
    parts: [PhysAddr; 3],
}

impl Transport for Nowhere {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }
    fn read_device_features(&mut self) -> u64 {
        0
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        SIZE.into()
    }
    fn notify(&mut self, _: u16) {}
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }
    fn set_status(&mut self, _: DeviceStatus) {}
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(&mut self, _: u16, _: u32, table: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        self.parts = [table, driver, device];
    }
    fn queue_unset(&mut self, _: u16) {}
    fn queue_used(&mut self, _: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> virtio_drivers::Result<T> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
}

impl Theirs {
    pub fn new() -> Result<Self> {
        let (arena, regions) = memory(1 << 17)?;
        ARENA.set(Some(Arena { memory: arena.clone(), next: 0 }));
        let mut transport = Nowhere::default();
        let queue = Queue::new(&mut transport, 0, false, false).map_err(|error| error.to_string())?;
        let bytes = SplitMemory::bytes(SIZE);
        let part = |index: usize| {
            let at = (transport.parts[index] - arena.host_address()) as usize;
            arena.piece(at, bytes[index]).ok_or("memory")
        };
        let device =
            split::Device::new(SplitMemory::new(SIZE, part(0)?, part(1)?, part(2)?)?, Options::default());
        // Buffers are at the arena's end, where no page of a queue comes.
        let buffer = |at: u64| (arena.host_address() + at) as *mut u8;
        // SAFETY: they lie in the arena, which `regions` and the thread keep, do not overlap, and the device looks for them and no more.
        let (input, output) = unsafe {
            (
                std::slice::from_raw_parts(buffer(0x1_f000), 64),
                std::slice::from_raw_parts_mut(buffer(0x1_f800), 64),
            )
        };
        let driver = TheirDriver { queue, tokens: Vec::new(), segments: 0, input, output };
        Ok(Self { driver, device, regions })
    }
}

impl Driver for TheirDriver {
    fn offer(&mut self, segments: usize) -> Result<()> {
        self.segments = segments;
        self.tokens.clear();
        let inputs = [self.input; 8];
        for _ in 0..BATCH {
            // SAFETY: the buffers are fields of this value, which stays until they are taken back; nobody writes them.
            let token = unsafe { self.queue.add(&inputs[..segments - 1], &mut [&mut *self.output]) };
            self.tokens.push(token.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<()> {
        let inputs = [self.input; 8];
        for token in &self.tokens {
            // SAFETY: those of `offer`.
            let written = unsafe {
                self.queue.pop_used(*token, &inputs[..self.segments - 1], &mut [&mut *self.output])
            };
            written.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

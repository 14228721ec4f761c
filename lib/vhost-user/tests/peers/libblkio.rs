//! The core of libblkio, the crate `blkio`, as the front-end of our disk.

use crate::sys::completed;
use crate::{observed, serve};
use blkio::{Blkio, MemoryRegion, ReqFlags};
use std::os::fd::AsRawFd as _;
use vhost_user::devices::{Disk, InMemory};
use vhost_user::memory::Memory;

const SECTORS: u32 = 4096;

#[test]
fn libblkio_reads_and_writes_our_disk() {
    for polls in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("disk.sock");
        observed::device("blk", "libblkio");
        let served = serve(&socket, "libblkio", Disk::new(InMemory::new(SECTORS), 2));
        let mut blkio = Blkio::new("virtio-blk-vhost-user").unwrap();
        blkio.set_str("path", &socket.display().to_string()).unwrap();
        blkio.connect().unwrap();
        assert_eq!(blkio.get_u64("capacity").unwrap(), u64::from(SECTORS) * 512);
        assert_eq!(blkio.get_i32("max-queues").unwrap(), 2);
        blkio.set_i32("num-queues", i32::from(!polls)).unwrap();
        blkio.set_i32("num-poll-queues", i32::from(polls)).unwrap();
        let mut started = blkio.start().unwrap();
        let queue = if polls { started.poll_queues.pop() } else { started.queues.pop() };
        let mut queue = queue.unwrap();
        // Memory of ours, which it passes on.
        let memory = Memory::new(1 << 20).unwrap();
        let whole = memory.region().memory;
        let region = MemoryRegion {
            addr: whole.host_address() as usize,
            iova: 0,
            len: whole.len(),
            fd: memory.descriptor().as_raw_fd(),
            fd_offset: 0,
            flags: 0,
        };
        blkio.map_mem_region(&region).unwrap();

        let half = whole.len() / 2;
        let (from, into) = (whole.piece(0, half).unwrap(), whole.piece(half, half).unwrap());
        let content: Vec<u8> = (0..half).map(|at| (at / 3) as u8 ^ at as u8).collect();
        from.slice().write(&content);
        for at in (0..half).step_by(4096) {
            queue.write(
                at as u64,
                from.slice().part(at, 4096).unwrap().as_ptr(),
                4096,
                at,
                ReqFlags::empty(),
            );
            assert_eq!(completed(&mut queue).unwrap(), (at, 0));
        }
        queue.flush(9, ReqFlags::empty());
        assert_eq!(completed(&mut queue).unwrap(), (9, 0));
        queue.write_zeroes(4096, 8192, 10, ReqFlags::empty());
        assert_eq!(completed(&mut queue).unwrap(), (10, 0));
        queue.discard(16384, 4096, 11, ReqFlags::empty());
        assert_eq!(completed(&mut queue).unwrap(), (11, 0));
        queue.read(0, into.slice().as_ptr(), half, 12, ReqFlags::empty());
        assert_eq!(completed(&mut queue).unwrap(), (12, 0));
        let mut read = vec![1; half];
        into.slice().read(&mut read);
        assert!(read[..4096] == content[..4096]);
        assert!(read[4096..12288].iter().all(|byte| *byte == 0));
        assert!(read[20480..] == content[20480..]);
        drop(queue);
        drop(blkio);
        served.join().unwrap().unwrap();
    }
}

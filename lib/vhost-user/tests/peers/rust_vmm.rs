//! rust-vmm: a device on its framework `vhost-user-backend` with our front-end, and its front-end in `vhost` with our disk.

use crate::their_disk::{self, SECTORS};
use crate::{Client, SIZE, observed, segment, serve};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use vhost::VhostBackend as _;
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend as _};
use vhost::{VhostUserMemoryRegionInfo, VringConfigData};
use vhost_user::devices::{Disk, InMemory};
use vhost_user::memory::Memory;
use virtio::blk::{Completed, Config, Requests};
use virtio::features::Features;
use virtio::memory::{PackedMemory, SplitMemory};
use virtio::ring::Driver;
use virtio::split;
use vmm_sys_util::eventfd::EventFd;

fn start(socket: PathBuf) -> JoinHandle<()> {
    std::thread::spawn(move || their_disk::serve_one(&socket).unwrap())
}

#[test]
fn our_front_end_drives_a_device_on_their_framework() {
    let directory = tempfile::tempdir().unwrap();
    for features in [Features::empty(), Features::EVENT_IDX, Features::EVENT_IDX | Features::INDIRECT_DESC] {
        let socket = directory.path().join("disk.sock");
        let thread = start(socket.clone());
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(_) => assert!(!thread.is_finished(), "it has ended"),
            }
            std::thread::yield_now();
        };
        observed::device("blk", "vhost-user-backend");
        let mut client = Client::new(stream, "vhost-user-backend", features, 1);
        let config = client.front.config(0, Config::BYTES as u32).unwrap();
        assert_eq!(Config::parse(&config).capacity, SECTORS as u64);
        let slots = client.part(Requests::bytes(SIZE));
        let address = slots.host_address();
        let mut requests = Requests::new(SIZE, slots, address).unwrap();
        let (from, into) = (client.part(256 << 10), client.part(256 << 10));
        let content: Vec<u8> = (0..256 << 10).map(|at: u32| (at / 5) as u8 ^ at as u8).collect();
        from.slice().write(&content);
        for (part, is_written) in [(&from, true), (&into, false)] {
            for piece in 0..8_u64 {
                let data = part.piece(piece as usize * (32 << 10), 32 << 10).unwrap();
                let data = [data.piece(0, 512).unwrap(), data.piece(512, (32 << 10) - 512).unwrap()];
                let data = data.each_ref().map(segment);
                let ring = &mut client.queues[0].ring;
                match is_written {
                    true => requests.write(ring, piece * 64, &data, piece).unwrap(),
                    false => requests.read(ring, piece * 64, &data, piece).unwrap(),
                }
            }
            let mut ended: Vec<_> =
                (0..8).map(|_| client.wait(0, |queue| requests.reap(&mut queue.ring).unwrap())).collect();
            ended.sort_unstable_by_key(|one| one.tag);
            let expected: Vec<_> = (0..8).map(|tag| Completed { tag, result: Ok(()) }).collect();
            assert_eq!(ended, expected);
        }
        assert!(crate::bytes(&into, content.len()) == content);
        // Stopped, it says where; and it goes on there.
        assert_eq!(client.front.stop_queue(0).unwrap(), 16);
        client.front.attach_queue(&client.queues[0], 16).unwrap();
        requests.read(&mut client.queues[0].ring, 0, &[segment(&into)], 99).unwrap();
        let ended = client.wait(0, |queue| requests.reap(&mut queue.ring).unwrap());
        assert_eq!(ended, Completed { tag: 99, result: Ok(()) });
        drop(client);
        thread.join().unwrap();
    }
}

/// Ring 0, which their front-end has told us of and ours drives.
pub(crate) struct Theirs {
    pub(crate) ring: Driver<SplitMemory, PackedMemory>,
    pub(crate) kick: EventFd,
    pub(crate) call: EventFd,
}

impl Theirs {
    pub(crate) fn started(front: &mut Frontend, memory: &mut Memory, features: Features) -> Self {
        let parts = SplitMemory::bytes(SIZE).map(|bytes| memory.part(bytes, 64).unwrap());
        let [table, available, used] = parts.each_ref().map(|part| part.host_address());
        let [descriptors, driver, device] = parts;
        let cells = SplitMemory::new(SIZE, descriptors, driver, device).unwrap();
        let options = (features & !Features::PROTOCOL_FEATURES).options();
        let ring: Driver<SplitMemory, PackedMemory> = Driver::Split(split::Driver::new(cells, options));
        let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
        let data = VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: table,
            used_ring_addr: used,
            avail_ring_addr: available,
            log_addr: None,
        };
        front.set_vring_num(0, SIZE).unwrap();
        front.set_vring_addr(0, &data).unwrap();
        front.set_vring_base(0, 0).unwrap();
        front.set_vring_call(0, &call).unwrap();
        front.set_vring_kick(0, &kick).unwrap();
        front.set_vring_enable(0, true).unwrap();
        Self { ring, kick, call }
    }
}

/// What `memory` is to their front-end.
pub(crate) fn region(memory: &Memory) -> VhostUserMemoryRegionInfo {
    let whole = memory.region();
    VhostUserMemoryRegionInfo {
        guest_phys_addr: whole.address,
        memory_size: whole.memory.len() as u64,
        userspace_addr: whole.address,
        mmap_offset: 0,
        mmap_handle: memory.descriptor().as_raw_fd(),
    }
}

#[test]
fn their_front_end_drives_our_disk() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("disk.sock");
    observed::device("blk", "vhost");
    let served = serve(&socket, "vhost", Disk::new(InMemory::new(SECTORS as u32), 2));
    let mut front = Frontend::connect(&socket, 2).unwrap();
    front.set_owner().unwrap();
    let offered = front.get_features().unwrap();
    let needed = Features::VERSION_1 | Features::PROTOCOL_FEATURES | Features::EVENT_IDX;
    assert_eq!(offered & needed.bits(), needed.bits());
    let offered = front.get_protocol_features().unwrap();
    let protocol = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::INFLIGHT_SHMFD
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
    assert!(offered.contains(protocol), "{offered:?}");
    front.set_protocol_features(protocol).unwrap();
    front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    front.set_features(needed.bits()).unwrap();
    assert_eq!(front.get_queue_num().unwrap(), 2);
    let (_, config) = front.get_config(0, 60, VhostUserConfigFlags::empty(), &[0; 60]).unwrap();
    assert_eq!(Config::parse(&config).capacity, SECTORS as u64);
    assert!(front.get_max_mem_slots().unwrap() >= 8);

    let mut memory = Memory::new(1 << 20).unwrap();
    let region = region(&memory);
    front.add_mem_region(&region).unwrap();
    let wanted = VhostUserInflight { num_queues: 2, queue_size: SIZE, ..VhostUserInflight::default() };
    let (inflight, file): (VhostUserInflight, File) = front.get_inflight_fd(&wanted).unwrap();
    front.set_inflight_fd(&inflight, file.as_raw_fd()).unwrap();

    let Theirs { mut ring, kick, call } = Theirs::started(&mut front, &mut memory, needed);

    let slots = memory.part(Requests::bytes(SIZE), 64).unwrap();
    let address = slots.host_address();
    let mut requests = Requests::new(SIZE, slots, address).unwrap();
    let buffer = memory.part(4096, 4096).unwrap();
    let done = |ring: &mut Driver<SplitMemory, PackedMemory>, requests: &mut Requests| loop {
        ring.publish();
        if ring.must_kick() {
            kick.write(1).unwrap();
        }
        if let Some(ended) = requests.reap(ring).unwrap() {
            return ended;
        }
        if !ring.want_calls(1) {
            call.read().unwrap();
        }
    };
    for round in 0..200_u64 {
        buffer.slice().fill(round as u8);
        requests.write(&mut ring, round * 8, &[segment(&buffer)], round).unwrap();
        assert_eq!(done(&mut ring, &mut requests), Completed { tag: round, result: Ok(()) });
        buffer.slice().fill(!0);
        requests.read(&mut ring, round * 8, &[segment(&buffer)], round).unwrap();
        assert_eq!(done(&mut ring, &mut requests), Completed { tag: round, result: Ok(()) });
        assert!(crate::bytes(&buffer, 4096).iter().all(|byte| *byte == round as u8));
    }
    assert_eq!(front.get_vring_base(0).unwrap(), 400);
    front.remove_mem_region(&region).unwrap();
    front.reset_device().unwrap();
    drop(front);
    served.join().unwrap().unwrap();
}

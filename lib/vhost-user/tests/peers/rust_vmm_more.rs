//! What the front-end of rust-vmm's `vhost` says beside what a disk takes, to a balloon of ours that has more than most devices.

use crate::rust_vmm::{Theirs, region};
use crate::{observed, segment, serve};
use rustix::pipe::pipe;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use vhost::VhostBackend as _;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserHeaderFlag,
    VhostUserMMap, VhostUserProtocolFeatures, VhostUserSharedMsg,
};
use vhost::vhost_user::{
    Frontend, FrontendReqHandler, HandlerResult, VhostUserFrontend as _, VhostUserFrontendReqHandlerMut,
};
use vhost_user::ProtocolFeatures;
use vhost_user::devices::{Balloon, WithMore};
use vhost_user::memory::Memory;
use virtio::balloon::Config;
use virtio::features::Features;
use vmm_sys_util::eventfd::EventFd;

type More = WithMore<Balloon>;

/// What our back-end asks theirs.
#[derive(Default)]
struct Asked {
    /// Where and how much is to be mapped, and how it begins.
    mapped: Option<(u64, u64, Vec<u8>)>,
    object: Option<VhostUserSharedMsg>,
    /// Its configuration space is another.
    changes: u32,
}

impl VhostUserFrontendReqHandlerMut for Asked {
    fn shmem_map(&mut self, what: &VhostUserMMap, file: &dyn AsRawFd) -> HandlerResult<u64> {
        let mut text = vec![0; More::TEXT.len()];
        File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?
            .read_exact_at(&mut text, what.fd_offset)?;
        self.mapped = Some((what.shm_offset, what.len, text));
        Ok(0)
    }

    fn handle_config_change(&mut self) -> HandlerResult<u64> {
        self.changes += 1;
        Ok(0)
    }

    fn shared_object_add(&mut self, object: &VhostUserSharedMsg) -> HandlerResult<u64> {
        self.object = Some(*object);
        Ok(0)
    }
}

#[test]
fn their_front_end_says_what_few_devices_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("balloon.sock");
    observed::device("balloon", "vhost");
    let more = ProtocolFeatures::DEVICE_STATE | ProtocolFeatures::SHMEM | ProtocolFeatures::SHARED_OBJECT;
    let balloon = Balloon::new().unwrap();
    let control = balloon.control();
    let served = serve(&socket, "vhost", WithMore::new(balloon, more).unwrap());
    let mut front = Frontend::connect(&socket, 5).unwrap();
    front.set_owner().unwrap();
    let needed = Features::VERSION_1 | Features::PROTOCOL_FEATURES;
    assert_eq!(front.get_features().unwrap() & needed.bits(), needed.bits());
    let protocol = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::BACKEND_SEND_FD
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::DEVICE_STATE
        | VhostUserProtocolFeatures::SHMEM
        | VhostUserProtocolFeatures::SHARED_OBJECT;
    let offered = front.get_protocol_features().unwrap();
    assert!(offered.contains(protocol), "{offered:?}");
    front.set_protocol_features(protocol).unwrap();
    front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    front.set_features(needed.bits()).unwrap();

    // What is written is read again.
    front.set_config(Config::ACTUAL as u32, VhostUserConfigFlags::empty(), &5_u32.to_le_bytes()).unwrap();
    let (_, config) = front.get_config(0, 16, VhostUserConfigFlags::empty(), &[0; 16]).unwrap();
    assert_eq!(Config::parse(&config).actual, 5);
    assert_eq!(front.get_shmem_config().unwrap().memory_sizes[..2], [1 << 20, 0]);

    // What comes out goes in again, and nothing else does.
    let transfer = |direction, descriptor| {
        assert!(
            front
                .set_device_state_fd(direction, VhostTransferStatePhase::STOPPED, descriptor)
                .unwrap()
                .is_none()
        );
    };
    let (reads, writes) = pipe().unwrap();
    transfer(VhostTransferStateDirection::SAVE, writes);
    let mut state = Vec::new();
    File::from(reads).read_to_end(&mut state).unwrap();
    front.check_device_state().unwrap();
    assert!(!state.is_empty());
    for (state, is_its) in [(state.as_slice(), true), (b"another", false)] {
        let (reads, writes) = pipe().unwrap();
        transfer(VhostTransferStateDirection::LOAD, reads);
        File::from(writes).write_all(state).unwrap();
        assert_eq!(front.check_device_state().is_ok(), is_its);
    }

    // With the first turn of a queue it is asked for two things, and told when more pages are wanted.
    let asked = Arc::new(Mutex::new(Asked::default()));
    let mut handler = FrontendReqHandler::new(Arc::clone(&asked)).unwrap();
    handler.set_reply_ack_flag(true);
    front.set_backend_request_fd(&Descriptor(handler.get_tx_raw_fd())).unwrap();
    let hears = std::thread::spawn(move || -> io::Result<()> {
        (0..3).try_for_each(|_| handler.handle_request().map(drop).map_err(io::Error::other))
    });
    let log = EventFd::new(0).unwrap();
    front.set_log_fd(log.as_raw_fd()).unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_mem_region(&region(&memory)).unwrap();
    let page = memory.part(4096, 4096).unwrap();
    let Theirs { mut ring, kick, call } = Theirs::started(&mut front, &mut memory, needed);
    page.slice().fill(0);
    ring.add(&[virtio::Segment { length: 4, ..segment(&page) }], &[]).unwrap();
    ring.publish();
    kick.write(1).unwrap();
    // There is a call when the ring begins, too.
    while ring.reap().unwrap().is_none() {
        call.read().unwrap();
    }
    control.want(7);
    hears.join().unwrap().unwrap();
    let (_, config) = front.get_config(0, 16, VhostUserConfigFlags::empty(), &[0; 16]).unwrap();
    assert_eq!(Config::parse(&config).wanted, 7);
    let Asked { mapped, object, changes } = std::mem::take(&mut *asked.lock().unwrap());
    assert_eq!(changes, 1);
    assert_eq!(mapped, Some((0, 64 << 10, More::TEXT.to_vec())));
    let file = front.get_shared_object(&object.expect("it is told of an object")).unwrap();
    let mut text = vec![0; More::TEXT.len()];
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(text, More::TEXT);

    // It is deprecated, and may be said: everything goes on.
    front.reset_owner().unwrap();
    assert_eq!(front.get_vring_base(0).unwrap(), 1);
    drop(front);
    served.join().unwrap().unwrap();
}

/// Theirs wants what has a descriptor.
struct Descriptor(i32);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> i32 {
        self.0
    }
}

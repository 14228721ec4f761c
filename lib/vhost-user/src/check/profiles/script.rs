//! What a front-end says, as a list.

use super::super::session::{region, single};
use super::Profile;
use crate::ProtocolFeatures;
use crate::check::{Kind, Offer};
use crate::front::Request;
use crate::payload::{Config, Inflight, MemoryTable, VringAddress, VringState};
use crate::wire::Message as _;
use virtio::features::Features;

/// A message of a front-end.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What it asks for, with addresses of the check's own.
    pub request: Request,
    /// It wants to be acknowledged.
    pub asks: bool,
}

/// Bytes of the memory that is given, and of each ring's part of it.
pub(super) const MEMORY: u64 = 1 << 20;
const RING: u64 = 1 << 16;

/// What a script depends on.
struct Given<'o> {
    kind: Option<Kind>,
    offer: &'o Offer,
    said: Vec<Said>,
}

impl Given<'_> {
    fn has(&self, feature: ProtocolFeatures) -> bool {
        self.offer.known().contains(feature)
    }

    fn say(&mut self, request: Request) {
        self.said.push(Said { request, asks: false });
    }

    /// To be acknowledged, where that can be.
    fn ask(&mut self, request: Request) {
        let asks = self.has(ProtocolFeatures::REPLY_ACK);
        self.said.push(Said { request, asks });
    }

    fn rings(&self) -> std::ops::Range<u32> {
        rings(self.kind)
    }

    /// Features of the device that are negotiated.
    fn features(&self) -> Request {
        let wanted = Features::VERSION_1 | Features::PROTOCOL_FEATURES;
        Request::SetFeatures((self.offer.features & wanted).bits())
    }

    /// Asks for protocol features, and sets those that are wanted.
    fn protocol(&mut self, wanted: ProtocolFeatures) {
        if self.offer.protocol.is_some() {
            self.say(Request::GetProtocolFeatures);
            self.say(Request::SetProtocolFeatures((self.offer.known() & wanted).bits()));
        }
    }

    fn status(&mut self, status: u64) {
        if self.has(ProtocolFeatures::STATUS) {
            self.say(Request::SetStatus(status));
        }
    }

    fn asks_status(&mut self) {
        if self.has(ProtocolFeatures::STATUS) {
            self.say(Request::GetStatus);
        }
    }
}

/// Those that are started.
pub(super) fn rings(kind: Option<Kind>) -> std::ops::Range<u32> {
    0..kind.map_or(1, |kind| kind.queue() + 1)
}

/// Where a ring lies.
pub(super) fn address(index: u32, flags: u32) -> VringAddress {
    let base = region(0, MEMORY, 0).user_address + u64::from(index) * RING;
    let (available, used) = (base + 0x4000, base + 0x8000);
    let log = if flags == 0 { 0 } else { used };
    VringAddress { index, flags, descriptors: base, available, used, log }
}

fn table() -> Request {
    Request::SetMemTable(MemoryTable { regions: vec![region(0, MEMORY, 0)] })
}

fn slot() -> Request {
    Request::AddMemReg(single(region(0, MEMORY, 0)))
}

const fn state(index: u32, num: u32) -> VringState {
    VringState { index, num }
}

fn config(size: u32, flags: u32) -> Request {
    Request::GetConfig(Config { offset: 0, size, flags, bytes: vec![0; size as usize] })
}

pub(super) fn begins(profile: Profile, kind: Option<Kind>, offer: &Offer) -> Vec<Said> {
    let mut given = Given { kind, offer, said: Vec::new() };
    match profile {
        Profile::Qemu => qemu(&mut given),
        Profile::Dpdk => dpdk(&mut given),
        Profile::CloudHypervisor => cloud_hypervisor(&mut given),
        Profile::Libblkio => libblkio(&mut given),
    }
    given.said
}

/// SET_OWNER comes late, calls before the features; a network's rings are enabled before they are there; few requests are to be acknowledged.
fn qemu(it: &mut Given<'_>) {
    let is_disk = it.kind == Some(Kind::Blk);
    it.say(Request::GetFeatures);
    // All that it has heard of, whether it does anything with it or not. Networks do not want to hear of changes of configuration.
    let known = ProtocolFeatures::from_bits_truncate((1 << 17) - 1);
    it.protocol(if is_disk { known } else { known.difference(ProtocolFeatures::CONFIG) });
    if it.has(ProtocolFeatures::MQ) {
        it.say(Request::GetQueueNum);
    }
    if it.has(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
        it.say(Request::GetMaxMemSlots);
    }
    if it.has(ProtocolFeatures::BACKEND_REQ) {
        it.ask(Request::SetBackendReqFd);
    }
    it.say(Request::SetOwner);
    it.say(Request::GetFeatures);
    for index in it.rings() {
        it.say(Request::SetVringCall(index.into()));
        it.say(Request::SetVringErr(index.into()));
    }
    let features = it.features();
    if is_disk {
        if it.has(ProtocolFeatures::CONFIG) {
            // Up to the last field of what it lets a guest see.
            it.say(config(57, 0));
        }
        // It asks for what is in flight with the features that the guest took.
        it.say(features.clone());
        it.asks_status();
        it.status(8);
        if it.has(ProtocolFeatures::INFLIGHT_SHMFD) {
            let asked = Inflight { queues: 1, queue_size: 128, ..Inflight::default() };
            it.say(Request::GetInflightFd(asked));
            it.say(Request::SetInflightFd(asked));
        }
        it.say(Request::SetVringCall(0));
        it.say(features);
        it.asks_status();
    } else {
        for index in it.rings() {
            it.say(Request::SetVringEnable(state(index, 1)));
        }
        it.say(features);
        it.asks_status();
        it.status(8);
    }
    let memory = if it.has(ProtocolFeatures::CONFIGURE_MEM_SLOTS) { slot() } else { table() };
    it.ask(memory);
    for index in it.rings() {
        it.say(Request::SetVringNum(state(index, if is_disk { 128 } else { 256 })));
        it.say(Request::SetVringBase(state(index, 0)));
        it.say(Request::SetVringAddr(address(index, 0)));
        it.say(Request::SetVringKick(index.into()));
        if is_disk {
            it.say(Request::SetVringEnable(state(index, 1)));
        } else {
            it.say(Request::SetVringCall(index.into()));
        }
    }
    it.asks_status();
    it.status(0xf);
}

/// Calls come once, and before the features; memory is a table; only that and the status are to be acknowledged.
fn dpdk(it: &mut Given<'_>) {
    it.say(Request::SetOwner);
    it.say(Request::GetFeatures);
    it.protocol(ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK | ProtocolFeatures::STATUS);
    for index in it.rings() {
        it.say(Request::SetVringCall(index.into()));
    }
    it.say(it.features());
    if it.has(ProtocolFeatures::STATUS) {
        it.ask(Request::SetStatus(0xb));
        it.asks_status();
        it.asks_status();
    }
    it.ask(table());
    for index in it.rings() {
        it.say(Request::SetVringNum(state(index, 256)));
        it.say(Request::SetVringBase(state(index, 0)));
        it.say(Request::SetVringAddr(address(index, 0)));
        it.say(Request::SetVringKick(index.into()));
    }
    for index in it.rings() {
        it.say(Request::SetVringEnable(state(index, 1)));
    }
    if it.has(ProtocolFeatures::STATUS) {
        it.ask(Request::SetStatus(0xf));
    }
}

/// Everything is to be acknowledged once that was negotiated, also what has an answer. Memory begins as a table though slots were negotiated,
/// which are for what is plugged in later; sizes of all rings come before anything else of one; the channel comes last.
fn cloud_hypervisor(it: &mut Given<'_>) {
    it.say(Request::SetOwner);
    it.say(Request::GetFeatures);
    it.protocol(
        ProtocolFeatures::MQ
            | ProtocolFeatures::REPLY_ACK
            | ProtocolFeatures::CONFIG
            | ProtocolFeatures::INFLIGHT_SHMFD
            | ProtocolFeatures::LOG_SHMFD
            | ProtocolFeatures::CONFIGURE_MEM_SLOTS
            | ProtocolFeatures::BACKEND_REQ,
    );
    if it.has(ProtocolFeatures::MQ) {
        it.ask(Request::GetQueueNum);
    }
    if it.kind == Some(Kind::Blk) {
        // With a flag of writes, which means nothing here (`virtio-devices/src/vhost_user/blk.rs`).
        it.ask(config(60, 1));
    }
    it.ask(it.features());
    it.ask(table());
    for index in it.rings() {
        it.ask(Request::SetVringNum(state(index, 128)));
    }
    if it.has(ProtocolFeatures::INFLIGHT_SHMFD) {
        let queues = it.rings().len() as u16;
        let asked = Inflight { queues, queue_size: 128, ..Inflight::default() };
        it.ask(Request::GetInflightFd(asked));
        it.ask(Request::SetInflightFd(asked));
    }
    for index in it.rings() {
        it.ask(Request::SetVringAddr(address(index, 0)));
        it.ask(Request::SetVringBase(state(index, 0)));
        it.ask(Request::SetVringCall(index.into()));
        it.ask(Request::SetVringKick(index.into()));
    }
    if it.offer.protocol.is_some() {
        for index in it.rings() {
            it.ask(Request::SetVringEnable(state(index, 1)));
        }
    }
    if it.has(ProtocolFeatures::BACKEND_REQ) {
        it.ask(Request::SetBackendReqFd);
    }
}

/// Features are set before the protocol features; from then on everything is to be acknowledged, also what has an answer.
fn libblkio(it: &mut Given<'_>) {
    it.say(Request::SetOwner);
    it.say(Request::GetFeatures);
    it.say(it.features());
    it.protocol(
        ProtocolFeatures::MQ
            | ProtocolFeatures::REPLY_ACK
            | ProtocolFeatures::CONFIG
            | ProtocolFeatures::CONFIGURE_MEM_SLOTS,
    );
    if it.has(ProtocolFeatures::MQ) {
        it.ask(Request::GetQueueNum);
    }
    it.ask(Request::GetMaxMemSlots);
    if it.kind == Some(Kind::Blk) {
        // Its capacity, its queues and their size, each by itself.
        (0..3).for_each(|_| it.ask(config(60, 0)));
    }
    it.ask(slot());
    it.ask(Request::SetVringNum(state(0, 256)));
    it.ask(Request::SetVringBase(state(0, 0)));
    it.ask(Request::SetVringAddr(address(0, 0)));
    it.ask(Request::SetVringKick(0));
    it.ask(Request::SetVringCall(0));
    it.ask(Request::SetVringEnable(state(0, 1)));
}

pub(super) fn ends(profile: Profile, kind: Option<Kind>, offer: &Offer) -> Vec<Said> {
    let mut it = Given { kind, offer, said: Vec::new() };
    let disable = |it: &mut Given<'_>| {
        for index in it.rings() {
            it.say(Request::SetVringEnable(state(index, 0)));
        }
    };
    let stop = |it: &mut Given<'_>| {
        for index in it.rings() {
            it.say(Request::GetVringBase(state(index, 0)));
        }
    };
    match profile {
        Profile::Qemu => {
            // The status says that the driver is gone before its rings are asked where they stopped.
            it.status(0);
            if kind == Some(Kind::Blk) {
                disable(&mut it);
            }
            stop(&mut it);
        }
        Profile::Dpdk => {
            disable(&mut it);
            stop(&mut it);
        }
        // Ring by ring, everything to be acknowledged (`reset_vhost_user` in `virtio-devices/src/vhost_user/vu_common_ctrl.rs`, 2026).
        Profile::CloudHypervisor => {
            for index in it.rings() {
                if it.offer.protocol.is_some() {
                    it.ask(Request::SetVringEnable(state(index, 0)));
                }
                it.ask(Request::GetVringBase(state(index, 0)));
            }
        }
        // It closes the connection (`virtio-driver/src/transports/vhost_user.rs`).
        Profile::Libblkio => {}
    }
    it.said
}

/// A dirty log comes: it, the feature, and the rings' addresses once more, which say where their used entries are logged.
pub(super) fn migrates(kind: Option<Kind>, offer: &Offer) -> Vec<Said> {
    let mut it = Given { kind, offer, said: Vec::new() };
    it.say(Request::SetLogBase(crate::payload::Log { size: MEMORY, offset: 0 }));
    let features = (offer.features & (Features::VERSION_1 | Features::PROTOCOL_FEATURES)) | Features::LOG_ALL;
    it.say(Request::SetFeatures(features.bits()));
    for index in it.rings() {
        it.say(Request::SetVringAddr(address(index, 1)));
    }
    it.said
}

impl Said {
    /// How many descriptors go along.
    pub fn descriptors(&self) -> usize {
        self.request.facts().descriptors.1.min(1).into()
    }
}

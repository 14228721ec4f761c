//! Memory by other addresses than usual: behind an IOMMU, shared by the back-end, and memory that is not there yet.

use crate::toy::{EVERYTHING, SIZE, Toy, asks, negotiated};
use crate::{Served, TIMEOUT, wanted};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite, write};
use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::back::Request as Asks;
use vhost_user::backend::{Device, Failure, Guest, Reply};
use vhost_user::devices::{Disk, InMemory};
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, Channel, FrontEnd, MapError, Permission, Queue};
use vhost_user::memory::Memory;
use vhost_user::payload::{SharedMapping, SharedMemoryConfig, SharedObject};
use vhost_user::session::Answer;
use virtio::Segment;
use virtio::blk::Requests;
use virtio::features::Features;

const ORDINARY: ProtocolFeatures = EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS);
const PAGE: u64 = 4096;

/// A front-end with an IOMMU, which tells translations page by page when it is asked for them.
struct Iommu {
    front: FrontEnd,
    channel: Channel,
    memory: Memory,
    asked: Vec<(u64, u8)>,
}

impl Iommu {
    /// Answers what the back-end asks, until a request has come back.
    fn ended(&mut self, queue: &mut Queue) -> u32 {
        for _ in 0..5_000 {
            if let Some(done) = queue.ring.reap().unwrap() {
                return done.written;
            }
            match self.channel.next(Duration::from_millis(1)) {
                Ok(asked) => {
                    let Asks::IotlbMsg(missing) = asked.request else { panic!("{asked:?}") };
                    assert_eq!((missing.kind, asked.waits), (1, false));
                    self.asked.push((missing.iova / PAGE, missing.permission));
                    self.tell(missing.iova / PAGE, Permission::Both);
                }
                Err(error) => assert_eq!(error.to_string(), "the time is over"),
            }
        }
        panic!("it is not served; it asked for {:x?}", self.asked);
    }

    fn tell(&mut self, page: u64, permission: Permission) {
        let virtio::memory::Region { address, memory } = self.memory.region();
        let user = memory.host_address() + (page * PAGE - address);
        self.front.map(page * PAGE, PAGE, user, permission).unwrap();
    }
}

#[test]
fn addresses_behind_an_iommu_are_asked_for() {
    for features in [Features::empty(), Features::RING_PACKED, Features::INDIRECT_DESC] {
        let (stream, served) = Served::with(Toy::new());
        let protocol = ORDINARY.difference(ProtocolFeatures::GPA_ADDRESSES);
        let mut front = negotiated(stream, asks(features | Features::ACCESS_PLATFORM, protocol));
        let channel = front.open_channel().unwrap();
        let memory = Memory::at(1 << 32, 1 << 20).unwrap();
        front.add_memory(&memory).unwrap();
        let mut all = Iommu { front, channel, memory, asked: Vec::new() };
        let mut queue = all.front.start_queue(0, SIZE, &mut all.memory).unwrap();
        // A byte at the end of a page that is read, and one at the beginning of the next that is written.
        let bytes = all.memory.part(3 * PAGE as usize, PAGE as usize).unwrap();
        let at = all.memory.address_of(&bytes);
        let mut once = |all: &mut Iommu, byte: u8| {
            bytes.piece(PAGE as usize - 1, 1).unwrap().slice().write(&[byte]);
            let read = Segment { address: at + PAGE - 1, length: 1 };
            queue.ring.add(&[read], &[Segment { address: at + PAGE, length: 1 }]).unwrap();
            queue.submit().unwrap();
            assert_eq!(all.ended(&mut queue), 1, "{features:?}");
            let mut answer = [0];
            bytes.piece(PAGE as usize, 1).unwrap().slice().read(&mut answer);
            assert_eq!(answer, [byte + 1]);
        };
        once(&mut all, 1);
        let asked: BTreeSet<_> = all.asked.iter().copied().collect();
        assert!(asked.contains(&(at / PAGE, 1)) && asked.contains(&(at / PAGE + 1, 2)), "{asked:?}");
        // What is known is not asked for again, and what was taken back is.
        all.asked.clear();
        once(&mut all, 2);
        assert_eq!(all.asked, []);
        all.front.unmap(at, 2 * PAGE).unwrap();
        once(&mut all, 3);
        assert_eq!(all.asked, [(at / PAGE, 1), (at / PAGE + 1, 2)]);
        // What may only be read is asked for to be written.
        all.asked.clear();
        all.tell(at / PAGE + 1, Permission::Read);
        once(&mut all, 4);
        assert_eq!(all.asked, [(at / PAGE + 1, 2)]);
        // The ring itself goes and comes.
        all.asked.clear();
        all.front.unmap(1 << 32, 1 << 20).unwrap();
        once(&mut all, 5);
        assert!(all.asked.len() >= 3, "{:?}", all.asked);
        // Everything goes: 2^64 addresses are none in the message, as QEMU sends it.
        all.asked.clear();
        all.front.unmap(0, 0).unwrap();
        once(&mut all, 6);
        assert!(all.asked.len() >= 3, "{:?}", all.asked);
        // A packed ring counts descriptors, and in which round it is.
        let base = if features == Features::RING_PACKED { 12 | 1 << 15 } else { 6 };
        assert_eq!(all.front.stop_queue(0).unwrap() & 0xffff, base);
        drop(all);
        served.ended().unwrap();
    }
}

/// With the driver's addresses for everything, rings and regions are called by those.
#[test]
fn the_drivers_addresses_are_everybodys_where_that_was_negotiated() {
    let (stream, served) = Served::with(Toy::new());
    let mut front = negotiated(stream, asks(Features::empty(), ORDINARY));
    assert!(front.negotiated().protocol.contains(ProtocolFeatures::GPA_ADDRESSES));
    let mut memory = Memory::at(1 << 30, 1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let mut queue = front.start_queue(0, SIZE, &mut memory).unwrap();
    assert!((1 << 30..(1 << 30) + (1 << 20)).contains(&queue.address().descriptors));
    let bytes = memory.part(2, 2).unwrap();
    let at = memory.address_of(&bytes);
    queue.ring.add(&[Segment { address: at, length: 1 }], &[Segment { address: at + 1, length: 1 }]).unwrap();
    queue.submit().unwrap();
    while queue.ring.reap().unwrap().is_none() {
        assert!(queue.wait(TIMEOUT).unwrap(), "it is not served");
    }
    // Two addresses of one byte are one too many.
    let other = vhost_user::payload::SingleRegion {
        guest_address: 1 << 40,
        size: PAGE,
        user_address: 1 << 41,
        mmap_offset: 0,
    };
    let refused = front.call(&Request::AddMemReg(other), &[memory.descriptor()]).unwrap_err();
    assert!(matches!(refused, CallError::Refused { .. }), "{refused}");
    drop(front);
    served.ended().unwrap();
}

const UUID: [u8; 16] = *b"an object's name";

/// Has a shared memory region and an object, and asks what its bell tells it to.
struct Sharing {
    bell: OwnedFd,
    file: OwnedFd,
    ask: Vec<Asks>,
    answers: std::sync::mpsc::Sender<(Asks, u64, usize)>,
}

impl Device for Sharing {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, _: u16, _: &mut Guest<'_>) {}
    fn protocol(&self) -> ProtocolFeatures {
        ProtocolFeatures::SHMEM | ProtocolFeatures::SHARED_OBJECT | ProtocolFeatures::HOST_NOTIFIER
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.bell.as_fd()]
    }
    fn ready(&mut self, _: usize, guest: &mut Guest<'_>) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        for request in self.ask.drain(..) {
            let needs = matches!(request, Asks::ShmemMap(_) | Asks::VringHostNotifierMsg(_));
            let descriptors = needs.then(|| self.file.try_clone().unwrap());
            assert!(guest.ask(request, descriptors.into_iter().collect()));
        }
    }
    fn answered(&mut self, request: &Asks, answer: Answer, _: &mut Guest<'_>) {
        let Reply::U64(number) = answer.reply else { panic!("{answer:?}") };
        self.answers.send((request.clone(), number, answer.descriptors.len())).unwrap();
    }
    fn request(&mut self, request: &Request, _: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        match request {
            Request::GetShmemConfig => {
                let mut sizes = vec![0; 256];
                sizes[3] = 1 << 20;
                Ok((Reply::SharedMemoryConfig(SharedMemoryConfig { sizes }), Vec::new()))
            }
            Request::GetSharedObject(SharedObject { uuid }) if *uuid == UUID => {
                Ok((Reply::None, vec![self.file.try_clone().unwrap()]))
            }
            Request::GetSharedObject(_) => Ok((Reply::None, Vec::new())),
            _ => Err(Failure::NotServed("this")),
        }
    }
}

/// Memory and objects of the back-end's: mapped where it asks, refused where that cannot be, and told of with what it asks for.
#[test]
fn memory_and_objects_of_the_back_end_are_shared() {
    let file = memfd_create("shared", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 1 << 20).unwrap();
    pwrite(&file, b"shared", 2 * PAGE).unwrap();
    let mapping = |offset, size| SharedMapping { region: 3, fd_offset: 2 * PAGE, offset, size, flags: 1 };
    let ask = vec![
        Asks::ShmemMap(mapping(PAGE, 2 * PAGE)),
        // One that overlaps it, one that leaves the region, one that leaves its file, and what was never mapped.
        Asks::ShmemMap(mapping(2 * PAGE, PAGE)),
        Asks::ShmemMap(mapping(1 << 20, PAGE)),
        Asks::ShmemMap(SharedMapping { fd_offset: (1 << 20) - PAGE, ..mapping(16 * PAGE, 2 * PAGE) }),
        Asks::ShmemUnmap(mapping(PAGE, PAGE)),
        Asks::ShmemMap(SharedMapping { flags: 0, ..mapping(8 * PAGE, PAGE) }),
        Asks::ShmemUnmap(mapping(PAGE, 2 * PAGE)),
        Asks::SharedObjectAdd(SharedObject { uuid: UUID }),
        Asks::SharedObjectLookup(SharedObject { uuid: *b"somebody else's." }),
        Asks::SharedObjectRemove(SharedObject { uuid: UUID }),
        Asks::VringHostNotifierMsg(vhost_user::payload::VringArea { index: 0, size: PAGE, offset: 0 }),
    ];
    let expected: Vec<_> = ask.iter().cloned().zip([0_u64, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]).collect();
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let (answers, told) = std::sync::mpsc::channel();
    let device = Sharing { bell: bell.try_clone().unwrap(), file: file.try_clone().unwrap(), ask, answers };
    let (stream, served) = Served::with(device);
    let mut front = negotiated(stream, asks(Features::empty(), ORDINARY));
    let mut regions = front.shared_regions().unwrap();
    assert_eq!(regions.sizes(), [0, 0, 0, 1 << 20]);
    let mut object = [0; 6];
    pread(front.shared_object(UUID).unwrap().unwrap(), &mut object, 2 * PAGE).unwrap();
    assert_eq!(object, *b"shared");
    assert!(front.shared_object([0; 16]).unwrap().is_none());

    let mut channel = front.open_channel().unwrap();
    write(&bell, &1_u64.to_ne_bytes()).unwrap();
    let mut objects = BTreeSet::new();
    for _ in &expected {
        let asked = channel.next(TIMEOUT).unwrap();
        assert!(asked.waits);
        let mut beside = Vec::new();
        let done: Result<(), MapError> = match &asked.request {
            Asks::ShmemMap(what) => regions.map(what, &asked.descriptors[0]),
            Asks::ShmemUnmap(what) => regions.unmap(what),
            Asks::SharedObjectAdd(object) => {
                assert!(objects.insert(object.uuid));
                Ok(())
            }
            Asks::SharedObjectRemove(object) => {
                assert!(objects.remove(&object.uuid));
                Ok(())
            }
            Asks::SharedObjectLookup(_) => {
                beside.push(file.as_fd());
                Ok(())
            }
            // What would be mapped into the guest as the doorbell of hardware.
            _ => {
                assert_eq!(asked.descriptors.len(), 1);
                Ok(())
            }
        };
        channel.answer(&asked.request, u64::from(done.is_err()), &beside).unwrap();
        if asked.request == expected[0].0 {
            let memory = regions.memory(3, PAGE + 1, 5).unwrap();
            let mut bytes = [0; 5];
            memory.slice().read(&mut bytes);
            assert_eq!(bytes, *b"hared");
            memory.slice().write(b"HARED");
            pread(&file, &mut bytes, 2 * PAGE + 1).unwrap();
            assert_eq!(bytes, *b"HARED", "it is written by both");
        }
    }
    for (request, number) in expected {
        let looks_up = usize::from(matches!(request, Asks::SharedObjectLookup(_)));
        assert_eq!(told.recv_timeout(TIMEOUT).unwrap(), (request, number, looks_up));
    }
    assert!(regions.memory(3, PAGE, 1).is_none(), "it was unmapped");
    let read_only = regions.memory(3, 8 * PAGE, 5).unwrap();
    read_only.slice().write(b"quiet");
    let mut bytes = [0; 5];
    pread(&file, &mut bytes, 2 * PAGE).unwrap();
    assert_eq!(bytes, *b"sHARE", "what may only be read is not written");
    regions.reset();
    assert!(regions.memory(3, 8 * PAGE, 1).is_none());
    drop(front);
    served.ended().unwrap();
}

/// A disk that can be migrated by postcopy.
struct Movable(Disk<InMemory>);

impl Device for Movable {
    fn features(&self) -> Features {
        self.0.features()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        self.0.run(queue, guest);
    }
    fn protocol(&self) -> ProtocolFeatures {
        ProtocolFeatures::PAGEFAULT
    }
}

/// The device runs while its driver's memory is still somewhere else: what it touches is brought to it, page by page.
#[test]
fn memory_comes_as_it_is_touched() {
    let test = "memory_comes_as_it_is_touched";
    if let Err(error) = vhost_user::memory::Userfault::new() {
        return println!("not run: {test}: no userfaultfd for this user: {error}");
    }
    let (stream, served) = Served::with(Movable(Disk::new(InMemory::new(64), 1)));
    let protocol = ProtocolFeatures::PAGEFAULT | ProtocolFeatures::REPLY_ACK;
    let mut front = negotiated(stream, asks(Features::empty(), protocol));
    assert!(matches!(front.postcopy_end(), Err(CallError::Refused { .. })), "there is no postcopy");
    // What has come already: the ring and the requests. What has not: the data.
    let mut here = Memory::at(0, 1 << 20).unwrap();
    let away = Memory::at(1 << 30, 8 * PAGE as usize).unwrap();
    let missing = front.postcopy(&[&here, &away]).unwrap();
    let mut queue = {
        // The ring's own pages are brought as they are started.
        let touched = here.region().memory;
        touched.slice().fill(0);
        front.start_queue(0, SIZE, &mut here).unwrap()
    };
    let slots = here.part(Requests::bytes(SIZE), 64).unwrap();
    let address = here.address_of(&slots);
    let mut requests = Requests::new(SIZE, slots, address).unwrap();
    let data = Segment { address: (1 << 30) + PAGE, length: 4 * PAGE as u32 };
    requests.write(&mut queue.ring, 0, &[data], 7).unwrap();
    queue.submit().unwrap();
    let mut brought = Vec::new();
    let done = loop {
        if let Some(done) = requests.reap(&mut queue.ring).unwrap() {
            break done;
        }
        let Some(page) = missing.next(Duration::from_millis(1)).unwrap() else { continue };
        if page >= 1 << 30 {
            let number = (page - (1 << 30)) / PAGE;
            // From the other side of the migration.
            let whole = away.region().memory;
            whole.piece((number * PAGE) as usize, PAGE as usize).unwrap().slice().fill(number as u8);
            brought.push(number);
        }
        missing.is_there(page).unwrap();
    };
    done.result.unwrap();
    assert_eq!(brought, [1, 2, 3, 4], "what was touched, and nothing else");
    front.postcopy_end().unwrap();
    // What was written is what was brought.
    let read = here.part(4 * PAGE as usize, PAGE as usize).unwrap();
    let segment = Segment { address: here.address_of(&read), length: 4 * PAGE as u32 };
    requests.read(&mut queue.ring, 0, &[segment], 8).unwrap();
    queue.submit().unwrap();
    while requests.reap(&mut queue.ring).unwrap().is_none() {
        assert!(queue.wait(TIMEOUT).unwrap());
    }
    let mut bytes = vec![0; 4 * PAGE as usize];
    read.slice().read(&mut bytes);
    for (number, page) in (1..).zip(bytes.chunks(PAGE as usize)) {
        assert!(page.iter().all(|byte| *byte == number));
    }
    // Nothing else is missing, so that nobody would be told of it.
    let canceller = front.canceller();
    std::thread::scope(|scope| {
        scope.spawn(|| canceller.cancel());
        assert_eq!(missing.next(TIMEOUT).unwrap_err().to_string(), "cancelled");
    });
    drop((front, missing));
    served.ended().unwrap();
}

/// A front-end that dies while a page is waited for leaves nobody waiting: its userfaultfd was the last.
#[test]
fn a_page_that_nobody_brings_any_more_is_not_waited_for() {
    let test = "a_page_that_nobody_brings_any_more_is_not_waited_for";
    if let Err(error) = vhost_user::memory::Userfault::new() {
        return println!("not run: {test}: no userfaultfd for this user: {error}");
    }
    let (stream, served) = Served::with(Movable(Disk::new(InMemory::new(64), 1)));
    let protocol = ProtocolFeatures::PAGEFAULT | ProtocolFeatures::REPLY_ACK;
    let mut front = negotiated(stream, asks(Features::empty(), protocol));
    let mut here = Memory::at(0, 1 << 20).unwrap();
    let away = Memory::at(1 << 30, 8 * PAGE as usize).unwrap();
    let missing = front.postcopy(&[&here, &away]).unwrap();
    here.region().memory.slice().fill(0);
    let mut queue = front.start_queue(0, SIZE, &mut here).unwrap();
    let slots = here.part(Requests::bytes(SIZE), 64).unwrap();
    let address = here.address_of(&slots);
    let mut requests = Requests::new(SIZE, slots, address).unwrap();
    let data = Segment { address: 1 << 30, length: PAGE as u32 };
    requests.write(&mut queue.ring, 0, &[data], 7).unwrap();
    queue.submit().unwrap();
    // Those that are here are brought, until it waits for one that is not.
    loop {
        match missing.next(TIMEOUT).unwrap() {
            Some(page) if page < 1 << 30 => missing.is_there(page).unwrap(),
            Some(page) => break assert_eq!(page, 1 << 30),
            None => {}
        }
    }
    drop((front, missing));
    served.ended().unwrap();
}

/// Postcopy and slots exclude each other, so who offers the one does not offer the other.
#[test]
fn who_can_be_migrated_by_postcopy_has_no_slots() {
    let (stream, served) = Served::with(Movable(Disk::new(InMemory::new(64), 1)));
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    let negotiated = front.negotiate(wanted(Features::empty())).unwrap();
    assert!(!negotiated.protocol.contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS));
    drop(front);
    served.ended().unwrap();
}

//! Either side may be gone after any byte of anything that it says.

use crate::toy::{EVERYTHING, asks};
use crate::{Served, TIMEOUT, wanted};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vhost_user::ProtocolFeatures;
use vhost_user::back::Request as Asks;
use vhost_user::backend::{Device, Guest};
use vhost_user::framing::{Framing, Raw};
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, Channel, ChannelError, FrontEnd, Wanted};
use vhost_user::session::Answer;
use vhost_user::socket::{Canceller, Socket, SocketError};
use vhost_user::wire::{Body, Facts, Header, Message};
use virtio::features::Features;

/// Every request of a side, with as many bytes and descriptors as the least of its kind has.
fn every<M: Message>(count: usize) -> Vec<(M, usize)> {
    let all: Vec<_> = M::FACTS
        .iter()
        .filter_map(|facts| {
            let payload = vec![0; facts.payload.bytes().0 as usize];
            Some((M::get(facts.number, &payload).ok()?, facts.descriptors.0.into()))
        })
        .collect();
    assert_eq!(all.len(), count);
    all
}

fn bytes_of<M: Message>(request: &M) -> Vec<u8> {
    let mut payload = Vec::new();
    request.put(&mut payload);
    let header =
        Header { request: request.number(), reply: false, need_reply: false, size: payload.len() as u32 };
    [header.encode().as_slice(), &payload].concat()
}

/// The shortest answer to a request: its own, or an acknowledgement.
fn answer_to(facts: &Facts) -> Vec<u8> {
    let size = facts.reply.unwrap_or(Body::U64).bytes().0;
    let header = Header { request: facts.number, reply: true, need_reply: false, size };
    [header.encode().as_slice(), &vec![0; size as usize]].concat()
}

/// Says so much, and nothing more: what the other side says it could still hear.
fn says(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let socket = Socket::new(stream.try_clone().unwrap(), Canceller::new().unwrap()).unwrap();
    socket.expire_after(Some(TIMEOUT)).unwrap();
    if !bytes.is_empty() {
        socket.send(bytes, descriptors).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// The session ends, in order between two messages and with the reason within one.
#[test]
fn a_front_end_may_end_after_any_byte_of_any_message() {
    let mut device = vhost_user::devices::Disk::new(vhost_user::devices::InMemory::new(8), 1);
    let file = tempfile::tempfile().unwrap();
    for (request, descriptors) in every::<Request>(45) {
        let bytes = bytes_of(&request);
        for cut in 0..=bytes.len() {
            let (ours, its) = UnixStream::pair().unwrap();
            says(&ours, &bytes[..cut], &vec![file.as_fd(); descriptors]);
            drop(ours);
            let ended = vhost_user::backend::serve(&mut device, its, &Canceller::new().unwrap());
            match cut {
                0 => ended.unwrap(),
                cut if cut < bytes.len() => {
                    let error = ended.unwrap_err();
                    assert_eq!(error.to_string(), "the peer closed the connection", "{request:?}");
                }
                // Whole, it was done or refused.
                _ => drop(ended),
            }
        }
    }
}

const REQUIRED: Features = Features::VERSION_1.union(Features::ACCESS_PLATFORM);

/// A front-end that may send a request, negotiated with answers that were written before they were asked for.
fn front_end_of(facts: &Facts) -> (FrontEnd, UnixStream) {
    let number = |request: u32, number: u64| {
        let header = Header { request, reply: true, need_reply: false, size: 8 };
        [header.encode().as_slice(), &number.to_ne_bytes()].concat()
    };
    // What excludes each other is there for who needs it.
    let other = if facts.name.starts_with("POSTCOPY") {
        ProtocolFeatures::CONFIGURE_MEM_SLOTS
    } else {
        ProtocolFeatures::PAGEFAULT
    };
    let protocol = EVERYTHING.difference(other);
    let features = REQUIRED | Features::PROTOCOL_FEATURES;
    let (ours, mut its) = UnixStream::pair().unwrap();
    let (owner, set) = (number(3, 0), number(2, 0));
    its.write_all(&[number(1, features.bits()), number(15, protocol.bits()), owner, set].concat()).unwrap();
    let mut front = FrontEnd::new(ours, TIMEOUT).unwrap();
    let wanted = Wanted { protocol, required: REQUIRED, ..wanted(Features::empty()) };
    let negotiated = front.negotiate(wanted).unwrap();
    assert!(negotiated.allows(facts.gate), "{}", facts.name);
    (front, its)
}

/// The call fails, as does every other; whole, the answer is one.
#[test]
fn a_back_end_may_end_after_any_byte_of_any_answer() {
    let file = tempfile::tempfile().unwrap();
    for (request, descriptors) in every::<Request>(45) {
        let facts = request.facts();
        let bytes = answer_to(facts);
        let comes = vec![file.as_fd(); facts.reply_descriptors.0.into()];
        for cut in 0..=bytes.len() {
            let (mut front, its) = front_end_of(facts);
            says(&its, &bytes[..cut], &comes);
            let given = vec![file.as_fd(); descriptors];
            let called = front.call(&request, &given);
            if cut == bytes.len() {
                // An empty configuration space is none.
                assert!(called.is_ok(), "{request:?}: {called:?}");
            } else {
                let error = called.unwrap_err();
                let is_closed = matches!(error, CallError::Socket { error: SocketError::Closed, .. });
                assert!(is_closed, "{request:?}, {cut} bytes: {error}");
                assert!(matches!(front.call(&request, &given), Err(CallError::Broken)), "it is over");
            }
        }
    }
}

/// The next message that comes here.
fn heard(socket: &Socket, framing: &mut Framing) -> Raw {
    let mut buffer = [0; 4096];
    loop {
        let want = framing.want().min(buffer.len());
        let (count, descriptors) = socket.receive(&mut buffer[..want]).unwrap();
        if let Some(message) = framing.feed(&buffer[..count], descriptors).unwrap() {
            return message;
        }
    }
}

/// The front-end's end of a channel, and the back-end's.
fn channel() -> (Channel, UnixStream) {
    let facts = Request::facts_of(21).unwrap();
    let (mut front, its) = front_end_of(facts);
    let socket = Socket::new(its, Canceller::new().unwrap()).unwrap();
    socket.send(&answer_to(facts), &[]).unwrap();
    let channel = front.open_channel().unwrap();
    let mut framing = Framing::default();
    loop {
        let mut message = heard(&socket, &mut framing);
        if let Some(descriptor) = message.descriptors.pop() {
            return (channel, descriptor.into());
        }
    }
}

#[test]
fn a_channel_may_end_after_any_byte_of_any_request() {
    let file = tempfile::tempfile().unwrap();
    for (request, descriptors) in every::<Asks>(10) {
        let bytes = bytes_of(&request);
        for cut in 0..=bytes.len() {
            let (mut channel, its) = channel();
            says(&its, &bytes[..cut], &vec![file.as_fd(); descriptors]);
            if cut == bytes.len() {
                assert_eq!(channel.next(TIMEOUT).unwrap().request, request);
            }
            let ended = channel.next(TIMEOUT);
            let is_closed = matches!(ended, Err(ChannelError::Socket(SocketError::Closed)));
            assert!(is_closed, "{request:?}, {cut} bytes: {ended:?}");
        }
    }
}

/// Asks the front-end something when it is rung, and counts what it is answered.
struct Asking {
    what: Asks,
    descriptors: usize,
    bell: OwnedFd,
    answered: Arc<AtomicUsize>,
}

impl Device for Asking {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        guest.each(queue, |_| 0);
    }
    fn protocol(&self) -> ProtocolFeatures {
        EVERYTHING.difference(ProtocolFeatures::XEN_MMAP | ProtocolFeatures::PAGEFAULT)
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.bell.as_fd()]
    }
    fn ready(&mut self, _: usize, guest: &mut Guest<'_>) {
        let _ = read(&self.bell, &mut [0; 8]);
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        assert!(guest.ask(self.what.clone(), (0..self.descriptors).map(|_| null()).collect()));
    }
    fn answered(&mut self, request: &Asks, _: Answer, _: &mut Guest<'_>) {
        assert_eq!(request, &self.what);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session whose device has asked its front-end something, that front-end, and its end of the channel.
struct Asked {
    front: FrontEnd,
    served: Served,
    channel: UnixStream,
    answered: Arc<AtomicUsize>,
}

impl Asked {
    fn new(what: &Asks, descriptors: usize) -> Self {
        let bell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let rings = bell.try_clone().unwrap();
        let answered = Arc::<AtomicUsize>::default();
        let device = Asking { what: what.clone(), descriptors, bell, answered: Arc::clone(&answered) };
        let (stream, served) = Served::with(device);
        let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
        front.negotiate(asks(Features::ACCESS_PLATFORM, EVERYTHING)).unwrap();
        let (channel, its) = UnixStream::pair().unwrap();
        front.call(&Request::SetBackendReqFd, &[its.as_fd()]).unwrap();
        drop(its);
        write(&rings, &1_u64.to_ne_bytes()).unwrap();
        let socket = Socket::new(channel.try_clone().unwrap(), Canceller::new().unwrap()).unwrap();
        socket.expire_after(Some(TIMEOUT)).unwrap();
        let message = heard(&socket, &mut Framing::default());
        assert_eq!(message.header.request, what.number());
        Self { front, served, channel, answered }
    }

    /// Ends it, and gives how many answers the device has heard.
    fn ended(mut self) -> usize {
        drop(self.channel);
        // It is asked once more, for what it heard before to have been heard.
        for _ in 0..2 {
            self.front.call(&Request::GetFeatures, &[]).unwrap();
        }
        drop(self.front);
        self.served.ended().unwrap();
        self.answered.load(Ordering::Relaxed)
    }
}

/// The session goes on without its channel, and the device has heard nothing that is no answer.
#[test]
fn a_channel_may_end_after_any_byte_of_any_answer() {
    for (what, descriptors) in every::<Asks>(10) {
        let bytes = answer_to(what.facts());
        for cut in 0..=bytes.len() {
            let asked = Asked::new(&what, descriptors);
            says(&asked.channel, &bytes[..cut], &[]);
            assert_eq!(asked.ended(), usize::from(cut == bytes.len()), "{what:?}, {cut} bytes");
        }
    }
}

/// What is no answer to what was asked would leave those that follow to the wrong questions: the channel ends with it.
#[test]
fn a_channel_ends_with_what_is_no_answer() {
    let (what, _) = every::<Asks>(10).swap_remove(7);
    for (request, size) in [(what.number(), 4), (what.number(), 12), (what.number() + 1, 8)] {
        let asked = Asked::new(&what, 0);
        let header = Header { request, reply: true, need_reply: false, size };
        let bytes = [header.encode().as_slice(), &vec![0; size as usize]].concat();
        let socket = Socket::new(asked.channel.try_clone().unwrap(), Canceller::new().unwrap()).unwrap();
        socket.expire_after(Some(TIMEOUT)).unwrap();
        socket.send(&bytes, &[]).unwrap();
        let ended = socket.receive(&mut [0]);
        assert!(matches!(ended, Err(SocketError::Closed)), "request {request}, {size} bytes: {ended:?}");
        assert_eq!(asked.ended(), 0);
    }
}

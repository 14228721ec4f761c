//! A session over a socket.

use super::channel::Channel;
use super::guest::Guest;
use super::ring::Ring;
use super::session::{CHANNEL, SOURCES};
use super::{Device, Failure, Outgoing, Session, SessionError};
use crate::clock;
use crate::framing::Framing;
use crate::polling::{self, Polling};
use crate::socket::{Canceller, Socket, SocketError};
#[cfg(feature = "tokio")]
use crate::sys::reactor::readable;
use crate::wire::HeaderError;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use thiserror::Error;

/// How long a message that has begun may take, and an answer to be taken.
const MESSAGE: Duration = Duration::from_secs(10);

/// How long rings have their turns before the connection has one.
const ROUND: Duration = Duration::from_micros(50);

/// What a session's epoll tells of, beside what is its own.
const SOCKET: u64 = u64::MAX;
const CANCELLED: u64 = u64::MAX - 1;
const LATE: u64 = u64::MAX - 3;

/// Why serving ended otherwise than by the front-end's leaving.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What the front-end did.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What it sent was no message.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The connection broke, or somebody ended it.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a front-end until it closes the connection, or `canceller` ends it from another thread. The device is as new for it.
///
/// Between requests that come soon after each other it looks for the next instead of sleeping, up to 32 us: [`serve_polling`].
///
/// Memory is the front-end's: one that makes its file shorter while it is mapped ends this process with `SIGBUS` at the next access.
///
/// # Errors
/// [`ServeError`].
pub fn serve<D: Device>(device: &mut D, stream: UnixStream, canceller: &Canceller) -> Result<(), ServeError> {
    serve_polling(device, stream, canceller, polling::MOST)
}

/// The same, looking for the next request for at most so long before sleeping; 0: not at all. Nobody looks while requests are rarer than
/// that.
///
/// # Errors
/// [`ServeError`].
pub fn serve_polling<D: Device>(
    device: &mut D,
    stream: UnixStream,
    canceller: &Canceller,
    most: Duration,
) -> Result<(), ServeError> {
    let polling = (!most.is_zero()).then(|| Polling::new(most, clock::monotonic));
    let mut serving = Serving::new(device, stream, canceller, polling)?;
    loop {
        let wait = serving.look();
        if let Turn::Left = serving.turn(wait)? {
            return Ok(());
        }
    }
}

/// The same as a future of tokio's, which waits in its reactor. The device works in the task that it is: one that waits holds up the others
/// of its thread. Dropped, the session ends where it is.
///
/// # Errors
/// [`ServeError`].
#[cfg(feature = "tokio")]
pub async fn serve_async<D: Device>(
    device: &mut D,
    stream: UnixStream,
    canceller: &Canceller,
) -> Result<(), ServeError> {
    let mut serving = Serving::new(device, stream, canceller, None)?;
    let ready = readable(serving.session.epoll.try_clone()?)?;
    loop {
        match serving.turn(Wait::No)? {
            Turn::Left => return Ok(()),
            // Others have their turn too.
            Turn::More => tokio::task::yield_now().await,
            Turn::Idle => ready.readable().await?.clear_ready(),
        }
    }
}

/// A session, its connection, and what is half said on it.
struct Serving<'d, D> {
    session: Session<'d, D>,
    socket: Socket,
    framing: Framing,
    /// An answer that the front-end has no room for yet, and how much of it has gone out. Nothing else is read before.
    answer: Option<(Outgoing, usize)>,
    /// What is half said, and has to be said whole before long.
    half: Option<Half>,
    events: Vec<Event>,
    /// How long rings are looked at; in a reactor not at all, where others wait for their turn.
    polling: Option<Polling>,
    /// A look that goes on when the connection has had its turn.
    looking: Option<polling::Wait>,
    /// Since when nothing came on any ring.
    idle: Option<polling::Wait>,
}

/// What has been said in part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    /// A message of the front-end's.
    Message,
    /// An answer to it.
    Answer,
}

/// Whether to wait until there is something to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

/// What a turn came to.
enum Turn {
    /// There was something to be done, and may be more.
    More,
    /// There is nothing to be done.
    Idle,
    /// The front-end has left.
    Left,
}

impl<'d, D: Device> Serving<'d, D> {
    fn new(
        device: &'d mut D,
        stream: UnixStream,
        canceller: &Canceller,
        polling: Option<Polling>,
    ) -> io::Result<Self> {
        let socket = Socket::new(stream, canceller.clone())?;
        let session = Session::new(device, canceller.clone())?;
        session.watch(&socket)?;
        let framing = Framing::default();
        Ok(Self {
            session,
            socket,
            framing,
            answer: None,
            half: None,
            events: Vec::with_capacity(32),
            polling,
            looking: None,
            idle: None,
        })
    }

    /// Looks at the rings, and gives them their turns, until nothing comes soon or the connection is to have its turn.
    fn look(&mut self) -> Wait {
        let Some(polling) = &mut self.polling else { return Wait::Yes };
        if !self.session.is_watched() {
            return Wait::Yes;
        }
        let round = polling.begin();
        let mut left = ROUND;
        loop {
            // What a device has under way ends elsewhere, and would wait for a look at rings.
            if self.session.has_deferred() {
                self.looking = None;
                self.session.unwatch();
                return Wait::Yes;
            }
            let (wait, before) = match self.looking.take() {
                Some(wait) => {
                    let before = wait.took();
                    (wait, before)
                }
                None => (polling.begin(), Duration::ZERO),
            };
            if !polling.look(&wait, before + left, || self.session.is_due()) {
                if !polling.is_over(&wait) {
                    self.looking = Some(wait);
                    return Wait::No;
                }
                self.session.unwatch();
                self.idle = Some(wait);
                return Wait::Yes;
            }
            polling.ended(&wait);
            self.idle = None;
            self.session.run(true);
            left = ROUND.saturating_sub(round.took());
            if left.is_zero() {
                return Wait::No;
            }
        }
    }

    /// Does what there is to be done.
    fn turn(&mut self, wait: Wait) -> Result<Turn, ServeError> {
        let mut events = std::mem::take(&mut self.events);
        let is_idle = self.session.events(wait, &mut events)?;
        let mut message = false;
        for event in events.drain(..) {
            match event {
                Event::Cancelled => return Err(SocketError::Cancelled.into()),
                Event::Late => return Err(SocketError::TimedOut.into()),
                Event::Message => message = true,
                Event::Other(told) => {
                    if let (Some(polling), Some(idle)) = (&mut self.polling, self.idle.take()) {
                        // What else comes is not seen by looking at rings, and would wait for that.
                        if told.of < SOURCES { polling.ended(&idle) } else { polling.stop() }
                    }
                    self.session.told(told);
                }
            }
        }
        self.events = events;
        // Before the message, which may bring other descriptors.
        if self.session.run(self.polling.is_some()) {
            self.looking = None;
        }
        if message && !self.message()? {
            return Ok(Turn::Left);
        }
        Ok(if is_idle { Turn::Idle } else { Turn::More })
    }

    /// Reads on, and answers a message that is whole now; `false`: the front-end has left.
    fn message(&mut self) -> Result<bool, ServeError> {
        let mut buffer = [0; 4096];
        let mut is_another = false;
        while self.answered()? {
            let want = self.framing.want().min(buffer.len());
            let (count, descriptors) = match self.socket.try_receive(&mut buffer[..want]) {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(SocketError::Closed) if !self.framing.within() => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let Some(message) = self.framing.feed(&buffer[..count], descriptors)? else { continue };
            is_another = true;
            let answer = match self.session.handle(message) {
                Err(SessionError::Failed { failure: Failure::Cancelled, .. }) => {
                    return Err(SocketError::Cancelled.into());
                }
                other => other?,
            };
            if let Some(answer) = answer {
                self.answer = Some((answer, 0));
                self.answered()?;
            }
            // Rings have their turn before the next.
            break;
        }
        self.timed(is_another)?;
        Ok(true)
    }

    /// Sends what is left of an answer; `false`: there is no room for it.
    fn answered(&mut self) -> Result<bool, ServeError> {
        while let Some(((bytes, descriptors), sent)) = &mut self.answer {
            let along: Vec<_> = descriptors.iter().map(|it| it.as_fd()).collect();
            match self.socket.try_send(bytes.get(*sent..).unwrap_or_default(), &along)? {
                0 => return Ok(false),
                count => {
                    *sent += count;
                    descriptors.clear();
                    if *sent == bytes.len() {
                        self.answer = None;
                    }
                }
            }
        }
        Ok(true)
    }

    /// What is half said has a time of its own, `is_another`: than what was half said before; what else there is to hear of the connection
    /// follows.
    fn timed(&mut self, is_another: bool) -> io::Result<()> {
        let half = match () {
            () if self.answer.is_some() => Some(Half::Answer),
            () if self.framing.within() => Some(Half::Message),
            () => None,
        };
        if half == self.half && !(is_another && half.is_some()) {
            return Ok(());
        }
        self.half = half;
        self.socket.expire_after(half.map(|_| MESSAGE))?;
        // Whose answer waits is not read.
        let flags = if half == Some(Half::Answer) { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        epoll::modify(&self.session.epoll, &self.socket, epoll::EventData::new_u64(SOCKET), flags)?;
        Ok(())
    }
}

enum Event {
    Cancelled,
    /// The time for a message, or an answer, is over.
    Late,
    Message,
    Other(Told),
}

/// Something of a ring's, a source's or the channel's.
struct Told {
    of: u64,
    hung_up: bool,
    has_room: bool,
}

impl<D: Device> Session<'_, D> {
    fn watch(&self, socket: &Socket) -> io::Result<()> {
        let add = |descriptor, of| {
            epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(of), epoll::EventFlags::IN)
        };
        add(socket.as_fd(), SOCKET)?;
        add(socket.deadline(), LATE)?;
        add(self.canceller.as_fd(), CANCELLED)?;
        Ok(())
    }

    /// Hears of kicks, of what the device waits for and of what is said on the channel, and gives each ring that may have something its
    /// turn. It waits for nothing: a session without a socket has one whenever its descriptor is readable, and after each message.
    /// `true`: there was something, and may be more.
    ///
    /// # Errors
    /// That of the system call.
    pub fn turn(&mut self) -> io::Result<bool> {
        let mut events = Vec::new();
        let is_idle = self.events(Wait::No, &mut events)?;
        for event in events {
            if let Event::Other(told) = event {
                self.told(told);
            }
        }
        Ok(self.run(false) || !is_idle)
    }

    /// What there is to be done, of which rings that are due are not told; waits for some if there is nothing. `true`: there is nothing.
    fn events(&mut self, wait: Wait, into: &mut Vec<Event>) -> io::Result<bool> {
        if let Some(channel) = &mut self.channel
            && let Some(wants) = channel.wants()
        {
            epoll::modify(&self.epoll, channel, epoll::EventData::new_u64(CHANNEL), wants)?;
        }
        let is_due = self.rings.iter().any(|ring| ring.due && ring.is_mapped() || ring.is_polled());
        let time = (is_due || wait == Wait::No).then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        let mut space = [MaybeUninit::uninit(); 32];
        let events = match epoll::wait(&self.epoll, &mut space, time.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let is_idle = events.is_empty() && !is_due;
        into.extend(events.iter().map(|event| {
            let flags = event.flags;
            match event.data.u64() {
                CANCELLED => Event::Cancelled,
                LATE => Event::Late,
                SOCKET => Event::Message,
                of => {
                    let has_room = flags.contains(epoll::EventFlags::OUT);
                    let hung_up = !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::OUT);
                    Event::Other(Told { of, hung_up, has_room })
                }
            }
        }));
        Ok(is_idle)
    }

    fn told(&mut self, Told { of, hung_up, has_room }: Told) {
        if of == CHANNEL {
            if hung_up || self.channel_told(has_room).is_err() {
                self.drop_channel();
            }
            return;
        }
        if let Some(source) = of.checked_sub(SOURCES) {
            let mut guest =
                Guest::new(&mut self.rings, &self.memory, self.log.as_ref(), self.channel.as_mut());
            self.device.ready(source as usize, &mut guest);
            guest.over();
            return;
        }
        if let Some(ring) = self.rings.get_mut(of as usize) {
            ring.due = true;
            if hung_up {
                ring.drop_kick(&self.epoll);
            }
        }
    }

    /// The front-end reads on, or has answered.
    fn channel_told(&mut self, has_room: bool) -> Result<(), SocketError> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        if has_room {
            channel.sent_on()?;
        }
        while let Some((request, answer)) = self.channel.as_mut().map_or(Ok(None), Channel::answered)? {
            let mut guest =
                Guest::new(&mut self.rings, &self.memory, self.log.as_ref(), self.channel.as_mut());
            self.device.answered(&request, answer, &mut guest);
            guest.over();
        }
        Ok(())
    }

    /// Whether any ring is looked at.
    fn is_watched(&self) -> bool {
        self.rings.iter().any(Ring::is_watched)
    }

    fn is_due(&self) -> bool {
        self.rings.iter().any(Ring::is_due)
    }

    /// Whether the device serves any chain beyond its turn.
    fn has_deferred(&self) -> bool {
        self.rings.iter().any(Ring::has_deferred)
    }

    /// Drivers kick from now on.
    fn unwatch(&mut self) {
        let Self { rings, log, .. } = self;
        rings.iter_mut().for_each(|ring| ring.unwatch(log.as_ref()));
    }

    /// Gives each ring that may have something its turn; `true`: there was one. `watched`: somebody looks at it afterwards, until
    /// [`Self::unwatch`].
    fn run(&mut self, watched: bool) -> bool {
        let mut is_any = false;
        let Self { device, rings, memory, log, channel, .. } = self;
        for index in 0..rings.len() {
            let Some(ring) = rings.get_mut(index) else { break };
            let is_due = ring.is_due() || ring.due || ring.is_polled();
            ring.due = false;
            if !is_due || !ring.is_mapped() {
                continue;
            }
            is_any = true;
            let is_enabled = ring.can_run();
            if is_enabled {
                ring.begin(watched);
            }
            let mut guest = Guest::new(rings, memory, log.as_ref(), channel.as_mut());
            if is_enabled {
                device.run(index as u16, &mut guest);
            } else {
                guest = guest.draining(index as u16);
                device.run_disabled(index as u16, &mut guest);
            }
            guest.over();
        }
        is_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Entropy;
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    /// However long a look is worth its while, messages and whoever ends the session have their turn.
    #[test]
    fn a_long_look_leaves_the_connection_its_turns() {
        let mut device = Entropy::new(File::open("/dev/null").unwrap());
        let (_front, its) = UnixStream::pair().unwrap();
        let canceller = Canceller::new().unwrap();
        let polling = Polling::learnt(Duration::from_secs(5), clock::monotonic);
        let mut serving = Serving::new(&mut device, its, &canceller, Some(polling)).unwrap();
        serving.session.rings[0].begin(true);
        for _ in 0..2 {
            assert!(serving.look() == Wait::No);
            assert!(serving.session.is_watched() && serving.looking.is_some() && serving.idle.is_none());
        }
        canceller.cancel();
        let wait = serving.look();
        assert!(matches!(serving.turn(wait), Err(ServeError::Socket(SocketError::Cancelled))));
    }

    const QUESTION: [u8; 12] = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    const ANSWER: usize = 20;

    fn turn<D: Device>(serving: &mut Serving<'_, D>) -> bool {
        matches!(serving.turn(Wait::No).unwrap(), Turn::Idle)
    }

    /// Questions of a front-end that reads nothing, until there is no room for an answer; gives how many.
    fn filled<D: Device>(serving: &mut Serving<'_, D>, front: &mut UnixStream) -> usize {
        let mut asked = 0;
        while serving.answer.is_none() {
            front.write_all(&QUESTION).unwrap();
            asked += 1;
            turn(serving);
        }
        asked
    }

    /// What is half said becomes another thing that is: what is heard of the connection follows, and there is no turn for nothing.
    #[test]
    fn what_is_half_said_is_heard_of_as_what_it_is() {
        let mut device = Entropy::new(File::open("/dev/null").unwrap());
        let (mut front, its) = UnixStream::pair().unwrap();
        front.set_nonblocking(true).unwrap();
        let canceller = Canceller::new().unwrap();
        let mut serving = Serving::new(&mut device, its, &canceller, None).unwrap();
        let read = |front: &mut UnixStream| {
            let mut all = Vec::new();
            let _ = front.read_to_end(&mut all);
            all.len()
        };
        // An answer that waits for room, and then the first half of a question.
        let asked = filled(&mut serving, &mut front);
        front.write_all(&QUESTION[..6]).unwrap();
        let mut came = read(&mut front);
        turn(&mut serving);
        came += read(&mut front);
        assert_eq!(came, asked * ANSWER);
        assert!(serving.framing.within() && turn(&mut serving), "there is room, and nothing to send");
        front.write_all(&QUESTION[6..]).unwrap();
        turn(&mut serving);
        assert_eq!(read(&mut front), ANSWER);

        // Half a question, and then an answer that waits for room: there is some for all but the last of so many.
        for _ in 1..asked {
            front.write_all(&QUESTION).unwrap();
            turn(&mut serving);
        }
        front.write_all(&QUESTION[..6]).unwrap();
        turn(&mut serving);
        assert!(serving.framing.within() && serving.answer.is_none());
        front.write_all(&QUESTION[6..]).unwrap();
        turn(&mut serving);
        assert!(serving.answer.is_some(), "there is no room");
        came = read(&mut front);
        turn(&mut serving);
        came += read(&mut front);
        assert_eq!(came, asked * ANSWER, "it waits for nothing but room");
    }

    /// Keeps what it is given, and never gives it back.
    struct Forgets(Vec<crate::backend::Deferred>);

    impl Device for Forgets {
        fn features(&self) -> virtio::features::Features {
            virtio::features::Features::empty()
        }
        fn queues(&self) -> u16 {
            1
        }
        fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
            while let Some(held) = guest.take(queue) {
                self.0.push(guest.defer(queue, held));
            }
        }
    }

    /// A ring does not stop before all of it is back, nor does memory go; and who waits in vain does so no longer than it may.
    #[test]
    fn what_is_never_finished_is_not_waited_for_without_end() {
        use crate::frontend::{FrontEnd, Wanted};
        use crate::memory::Memory;
        use virtio::Segment;
        use virtio::features::Features;
        let (ours, its) = UnixStream::pair().unwrap();
        let canceller = Canceller::new().unwrap();
        let served = std::thread::spawn(move || {
            let mut device = Forgets(Vec::new());
            let mut serving = Serving::new(&mut device, its, &canceller, None).unwrap();
            serving.session.drain = Duration::from_millis(10);
            loop {
                if let Turn::Left = serving.turn(Wait::Yes)? {
                    return Ok(());
                }
            }
        });
        let mut front = FrontEnd::new(ours, Duration::from_secs(30)).unwrap();
        let protocol = crate::ProtocolFeatures::REPLY_ACK | crate::ProtocolFeatures::CONFIGURE_MEM_SLOTS;
        let wanted = Wanted { features: Features::empty(), required: Features::VERSION_1, protocol };
        front.negotiate(wanted).unwrap();
        let mut memory = Memory::new(1 << 20).unwrap();
        front.add_memory(&memory).unwrap();
        let mut queue = front.start_queue(0, 16, &mut memory).unwrap();
        queue.ring.add(&[], &[Segment { address: memory.region().address, length: 1 }]).unwrap();
        queue.submit().unwrap();
        // Refused, and everything is as it was.
        while front.remove_memory(&memory).is_ok() {
            front.add_memory(&memory).unwrap();
        }
        front.call(&crate::front::Request::GetFeatures, &[]).unwrap();
        // What has an answer of its own cannot be refused.
        front.stop_queue(0).unwrap_err();
        let ended: Result<(), ServeError> = served.join().unwrap();
        let Err(ServeError::Session(SessionError::Failed { failure: Failure::Ring { .. }, .. })) = ended
        else {
            panic!("{ended:?}")
        };
    }
}

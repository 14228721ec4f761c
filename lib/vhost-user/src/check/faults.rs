//! Back-ends that are wrong on purpose, each in what one check finds and no other does: they show what a report looks like, and that every check
//! can fail.
//!
//! ```text
//!   front-end <--Heard--> Tap <--> backend::serve(Wrong, a device)
//!                          |                       '-- a queue's turn: when it has this, do that
//!                          '-- a message: when this is said, do that
//! ```
//!
//! A fault is as narrow as that takes. Profiles repeat what other checks ask, in the order of a front-end, so that what fails other checks may
//! fail them too: their own faults leave the others alone.

mod beside;
mod configuration;
mod framing;
mod hostile;
mod inflight;
mod known;
mod memory;
mod negotiation;
mod profiles;
mod queues;
mod reconnection;
mod rings;
mod state;
mod tap;
mod types;

use super::peer::Received;
use super::{Kind, Options, Profile, checks};
use crate::back;
use crate::backend::{self, Device};
use crate::socket::{Canceller, Socket};
use known::{Heard, Known};
use queues::Wrong;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tap::Tap;

/// A back-end that is wrong in what one check finds.
pub struct Faulty {
    fault: Fault,
    queue: u16,
    died: AtomicBool,
    /// How often it was started again.
    lives: AtomicU64,
    closes_next: AtomicBool,
    /// The last session that has ended, for where the end of one must be known before the next begins.
    ended: Mutex<u64>,
    turn: Condvar,
    /// Sessions that have begun.
    begun: Mutex<u64>,
    another: Condvar,
    leaked: Mutex<Vec<OwnedFd>>,
}

impl Faulty {
    /// The one that a check of devices of this kind finds; `None`: there is no such check.
    pub fn new(check: &str, kind: Kind) -> Option<Arc<Self>> {
        let profiles = Profile::ALL.map(|(profile, _)| profile).to_vec();
        let options = Options { kind: Some(kind), profiles, writes: true, ..Options::default() };
        let known = checks(&options).iter().any(|it| it.id == check);
        let fault = fault(check).filter(|_| known)?;
        Some(Arc::new(Self {
            fault,
            queue: kind.queue() as u16,
            died: AtomicBool::new(false),
            lives: AtomicU64::new(0),
            closes_next: AtomicBool::new(false),
            ended: Mutex::new(0),
            turn: Condvar::new(),
            begun: Mutex::new(0),
            another: Condvar::new(),
            leaked: Mutex::new(Vec::new()),
        }))
    }

    /// A front-end has come.
    pub fn session(self: &Arc<Self>) -> Session {
        let mut begun = lock(&self.begun);
        *begun += 1;
        self.another.notify_all();
        Session { faulty: Arc::clone(self), number: *begun, life: self.lives.load(Ordering::Relaxed) }
    }

    /// Whether it has died of its fault.
    pub fn has_died(&self) -> bool {
        self.died.load(Ordering::Relaxed)
    }

    /// It is started again.
    pub fn revive(&self) {
        self.lives.fetch_add(1, Ordering::Relaxed);
        self.died.store(false, Ordering::Relaxed);
    }

    /// These stay open, unless very many do already: who serves for long is not to run out of descriptors.
    fn leak(&self, descriptors: impl IntoIterator<Item = OwnedFd>) {
        let mut leaked = lock(&self.leaked);
        let room = MOST_LEAKED.saturating_sub(leaked.len());
        leaked.extend(descriptors.into_iter().take(room));
    }

    fn die(&self) {
        self.died.store(true, Ordering::Relaxed);
    }

    /// Waits until another session begins than the last that had when this one did, or for a while; `true`: one has.
    fn has_company(&self, number: u64) -> bool {
        let begun = lock(&self.begun);
        let waited = self.another.wait_timeout_while(begun, WHILE, |begun| *begun == number);
        waited.is_ok_and(|(begun, _)| *begun > number)
    }
}

/// A session of it that is to be served.
pub struct Session {
    faulty: Arc<Faulty>,
    number: u64,
    life: u64,
}

impl Session {
    /// Serves its front-end, as [`backend::serve_polling`] does without looking, but for the fault. A back-end that has died serves nobody until it is revived.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn serve<D: Device>(
        self,
        device: &mut D,
        stream: UnixStream,
        canceller: &Canceller,
    ) -> io::Result<()> {
        let (faulty, number, life) = (&*self.faulty, self.number, self.life);
        if faulty.fault.at_end.is_some() {
            // In the order in which they came, whichever thread is first.
            let before = |ended: &mut u64| *ended + 1 < number;
            drop(faulty.turn.wait_while(lock(&faulty.ended), before).unwrap_or_else(PoisonError::into_inner));
        }
        let is_gone = faulty.has_died() || faulty.lives.load(Ordering::Relaxed) != life;
        if is_gone || faulty.closes_next.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        if faulty.fault.rules.is_empty() && faulty.fault.at_end.is_none() {
            // Nothing that is said is wrong. One that dies takes all with it.
            let mut wrong = Wrong::new(device, faulty, canceller.clone())?;
            let _ = backend::serve_polling(&mut wrong, stream, canceller, LOOKS);
            return Ok(());
        }
        let (ours, its) = UnixStream::pair()?;
        let front = Socket::new(stream, canceller.clone())?;
        let ends = Canceller::new()?;
        let mut wrong = Wrong::new(device, faulty, ends.clone())?;
        std::thread::scope(|scope| {
            let mut tap = Tap::new(faulty, number, front, ours)?;
            scope.spawn(move || tap.run());
            // What the front-end does wrong ends its session, and is what is checked.
            let _ = backend::serve_polling(&mut wrong, its, &ends, LOOKS);
            Ok(())
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut ended = lock(&self.faulty.ended);
        *ended = self.number.max(*ended);
        self.faulty.turn.notify_all();
    }
}

/// Who looks at rings may find what nobody kicked for, and hide a fault of kicks.
const LOOKS: Duration = Duration::ZERO;

/// Descriptors that are left open: more than any check looks for.
const MOST_LEAKED: usize = 256;

/// How long something is waited for that only the check of a fault does.
const WHILE: Duration = Duration::from_secs(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong.
#[derive(Default)]
struct Fault {
    /// The first that fits says what is done with a message.
    rules: Vec<Rule>,
    at_end: Option<(Ended, Aftermath)>,
    queue: Option<queues::Fault>,
    /// What the front-end is asked becomes something else.
    asks: Option<fn(&mut back::Request)>,
    /// Postcopy is offered, and memory comes as a table.
    has_postcopy: bool,
}

struct Rule {
    when: Fits,
    deed: Deed,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Between two messages.
    Between,
    /// Within one.
    Within,
}

/// What comes of a session that has ended.
#[derive(Clone, Copy)]
enum Aftermath {
    Die,
    /// The next front-end is not served.
    CloseNext,
    /// Its descriptors stay open.
    Leak,
}

type Fits = Box<dyn Fn(&Known, &Heard) -> bool + Send + Sync>;
type Ended = Box<dyn Fn(&Known, End) -> bool + Send + Sync>;
type Spoil = Arc<dyn Fn(&Known, &mut Received) + Send + Sync>;

/// What is done with a message otherwise than it should be.
#[derive(Clone)]
enum Deed {
    /// The back-end dies, with all its sessions.
    Die,
    /// It closes the connection.
    Close,
    /// It does nothing, and says this to who waits for an acknowledgement or an answer.
    Acknowledge(u64),
    /// The same to who waits for nothing.
    Answer(u64),
    /// It does what it should, and says this beside it.
    Also(u64),
    /// It does what another message asks for.
    Change(fn(&mut Heard)),
    /// It does what it should, and answers something else.
    Spoil(Spoil),
    /// From now on it acknowledges what has no answer of its own, and does nothing.
    Pretend,
    /// It does what it should, and keeps the descriptors of memory that goes.
    Leak,
    /// It does nothing, says so, and keeps the descriptors that came.
    RefuseAndKeep,
    /// It says that a ring is stopped, and goes on with it.
    GoOn,
    /// It closes the connection if the front-end has ended its side.
    CloseIfEnded,
    /// It closes the connection if another front-end comes.
    CloseIfOthers,
}

/// The fault that a check finds.
fn fault(check: &str) -> Option<Fault> {
    let (group, name) = check.split_once('.')?;
    match group {
        "framing" => framing::fault(name),
        "negotiation" => negotiation::fault(name),
        "acknowledgements" => negotiation::unacknowledged(name),
        "memory" => memory::fault(name),
        "rings" => rings::fault(name).or_else(|| queues::ring(name)),
        "hostile" => hostile::fault(name),
        "configuration" => configuration::fault(name),
        "state" => state::fault(name),
        "reconnection" => reconnection::fault(name),
        "profile" => profiles::fault(name),
        "type" => types::fault(name),
        _ => queues::device(check).or_else(|| configuration::device(check)).or_else(|| types::device(check)),
    }
}

/// A message upon which it does something else.
fn when(fits: impl Fn(&Known, &Heard) -> bool + Send + Sync + 'static, deed: Deed) -> Fault {
    Fault { rules: vec![Rule { when: Box::new(fits), deed }], ..Fault::default() }
}

/// The same of a request, by its name in the specification.
fn upon(
    request: &'static str,
    fits: impl Fn(&Known, &Heard) -> bool + Send + Sync + 'static,
    deed: Deed,
) -> Fault {
    when(move |known, it| it.is(request) && fits(known, it), deed)
}

/// The end of a session, upon which something happens.
fn at_end(fits: impl Fn(&Known, End) -> bool + Send + Sync + 'static, aftermath: Aftermath) -> Fault {
    Fault { at_end: Some((Box::new(fits), aftermath)), ..Fault::default() }
}

fn spoil(how: impl Fn(&Known, &mut Received) + Send + Sync + 'static) -> Deed {
    Deed::Spoil(Arc::new(how))
}

/// Bytes of a payload become others, if it has them: what is hostile is short.
fn overwrite(payload: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = payload.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// The number that is the answer becomes another.
fn spoil_number(how: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Deed {
    spoil(move |_, answer| {
        if let Some(number) = answer.u64() {
            answer.payload = how(number).to_ne_bytes().to_vec();
        }
    })
}

impl Fault {
    /// One session after the other, though nothing happens at their ends.
    fn alone(mut self) -> Self {
        self.at_end.get_or_insert((Box::new(|_, _| false), Aftermath::Die));
        self
    }

    /// Of a back-end that offers postcopy.
    const fn in_postcopy(mut self) -> Self {
        self.has_postcopy = true;
        self
    }

    /// What is looked at next.
    fn or(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self
    }
}

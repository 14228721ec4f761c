//! For programs without an executor: the same connection, and calls that wait.
//!
//! ```text
//!   a thread that waits ──> writes, waits on the socket alone, reads its reply, returns      no executor takes part
//!     for longer, or for anything but a reply ──> drives the executor itself                 no other thread takes part
//!   several that wait   ──> one drives; the others sleep until their replies, or until it is their turn to drive
//!   nobody waits        ──> after a while the keeper drives: answers the daemon's questions, takes events
//! ```

use crate::connect::{Builder, Connect};
use crate::connection::{Interrupt, Watch};
use crate::error::Error;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// How long the keeper watches before it takes over from threads that come and go.
const PAUSE: Duration = Duration::from_millis(5);

/// A connection whose calls can be waited for on any thread.
///
/// Who waits moves the connection for itself: a lone call costs no switch between threads. While nobody waits, a thread of its own keeps
/// it alive. The connection ends with the last clone of this. Everything behind it is the same as elsewhere:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let uri = "qemu:///system";
/// # // Run with the tests, against a daemon in memory.
/// # let directory = tempfile::tempdir()?;
/// # let socket = directory.path().join("sock");
/// # let elsewhere = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
/// # let listener = elsewhere.block_on(async { tokio::net::UnixListener::bind(&socket) })?;
/// # elsewhere.spawn(libvirt_server::Server::builder().build().serve(Some(listener)));
/// # let uri = &format!("test+unix:///default?socket={}", socket.display());
/// # let mut seen = Vec::new();
/// let libvirt = libvirt_client::Blocking::open(uri)?;
/// for domain in libvirt.wait(libvirt.connect().domains(Default::default()))? {
///     println!("{} {:?}", domain.name(), libvirt.wait(domain.state())?.state);
/// #   seen.push(domain.name());
/// }
/// # assert_eq!(seen, ["test"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Blocking {
    connect: Connect,
    front: Arc<Front>,
}

/// Of so many waits one goes through the executor even if it need not: timers and other connections are looked after there.
const SHARE: u64 = 64;
/// What may come on a connection, without being waited for, before the executor has its turn.
const STRAY: usize = 64;

/// What the threads that wait share; the keeper ends when this does.
#[derive(Debug)]
struct Front {
    shared: Arc<Shared>,
    keeper: Thread,
}

#[derive(Debug)]
struct Shared {
    /// Taken when everything ends.
    runtime: Option<Runtime>,
    /// Threads that wait now.
    waiting: AtomicUsize,
    /// Waits that are over.
    turns: AtomicU64,
    /// The keeper drives.
    kept: AtomicBool,
    /// The keeper sleeps until the next wait is over.
    asleep: AtomicBool,
    ended: AtomicBool,
    /// Somebody else wants to drive.
    wanted: Notify,
    /// Who waits without the executor has this; one at a time.
    interrupt: Mutex<Arc<Interrupt>>,
}

impl Blocking {
    /// Opens a connection.
    ///
    /// # Errors
    /// As [`Builder::open_with`].
    pub fn open(uri: &str) -> Result<Self, Error> {
        Self::open_with(Connect::builder(uri))
    }

    /// Opens a connection with everything said.
    ///
    /// # Errors
    /// As [`Builder::open_with`]; also when no thread can be started.
    ///
    /// # Panics
    /// On a thread of an executor of tokio's.
    pub fn open_with(builder: Builder) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let connect = runtime.block_on(builder.open_with(move |driver| drop(handle.spawn(driver))))?;
        let shared = Arc::new(Shared {
            runtime: Some(runtime),
            waiting: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            wanted: Notify::new(),
            interrupt: Mutex::default(),
        });
        let kept = Arc::clone(&shared);
        let keeper = std::thread::Builder::new().name("libvirt".to_owned()).spawn(move || kept.keep())?;
        let keeper = keeper.thread().clone();
        Ok(Self { connect, front: Arc::new(Front { shared, keeper }) })
    }

    /// The connection.
    #[must_use]
    pub fn connect(&self) -> &Connect {
        &self.connect
    }

    /// Waits for a call, a piece of a stream, an event, or anything else of this connection.
    ///
    /// # Panics
    /// On a thread of an executor of tokio's: there, await it.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let turn = Turn::new(&self.front);
        let mut future = pin!(future);
        if turn.alone
            && let Some(done) = self.front.shared.without_executor(future.as_mut())
        {
            return done;
        }
        self.front.shared.runtime().block_on(future)
    }
}

/// A thread that waits.
struct Turn<'a> {
    front: &'a Front,
    /// Nobody else waits or drives.
    alone: bool,
}

impl<'a> Turn<'a> {
    fn new(front: &'a Front) -> Self {
        let shared = &front.shared;
        let others = shared.waiting.fetch_add(1, Ordering::SeqCst);
        // Either we see that the keeper drives, or it sees that we wait.
        let kept = shared.kept.load(Ordering::SeqCst);
        if kept {
            shared.wanted.notify_one();
        }
        Self { front, alone: others == 0 && !kept }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let shared = &self.front.shared;
        shared.turns.fetch_add(1, Ordering::SeqCst);
        shared.waiting.fetch_sub(1, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) {
            self.front.keeper.unpark();
        }
    }
}

impl Shared {
    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken only when nobody else is left")
    }

    /// Waits for a reply on its connection alone, which spares the executor's way around: its timers, its reactor, its queue. Nothing when the
    /// executor is needed after all.
    fn without_executor<T>(&self, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        // On a thread of an executor's it is to be told that it must not wait.
        if self.turns.load(Ordering::Relaxed).is_multiple_of(SHARE)
            || tokio::runtime::Handle::try_current().is_ok()
        {
            return None;
        }
        let interrupt = match self.interrupt.try_lock() {
            Ok(interrupt) => interrupt,
            Err(TryLockError::Poisoned(interrupt)) => interrupt.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let waker = Waker::from(Arc::clone(&interrupt));
        let mut context = Context::from_waker(&waker);
        let _within = self.runtime().enter();
        let watch = Watch::begin();
        let mut strays = 0;
        loop {
            interrupt.take();
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return Some(done);
            }
            let connection = watch.waited_for()?;
            while !interrupt.take() {
                strays += 1;
                if strays > STRAY || !connection.step(&interrupt) {
                    return None;
                }
            }
        }
    }

    /// Drives while nobody waits. Threads that come and go in quick succession are left alone: to take over and to give back in between
    /// would cost each of them two switches between threads.
    fn keep(&self) {
        let mut seen = 0;
        while !self.ended.load(Ordering::SeqCst) {
            let turns = self.turns.load(Ordering::SeqCst);
            if turns != seen {
                seen = turns;
                std::thread::park_timeout(PAUSE);
            } else if self.waiting.load(Ordering::SeqCst) > 0 {
                // One that takes its time: whoever is done says so.
                self.asleep.store(true, Ordering::SeqCst);
                if self.turns.load(Ordering::SeqCst) == seen && !self.ended.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.asleep.store(false, Ordering::SeqCst);
            } else {
                self.kept.store(true, Ordering::SeqCst);
                if self.waiting.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
                    self.runtime().block_on(self.wanted.notified());
                }
                self.kept.store(false, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wanted.notify_one();
        self.keeper.unpark();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whoever is last may be inside another executor, where none may be waited for.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

//! Moving a connection from the thread that waits for a reply on it, without an executor.
//!
//! ```text
//!   thread ──> polls the future, which starts a call and waits for its reply: noted is on which connection
//!          ──> waits on that connection's socket alone, reads it, and polls the future again
//! ```
//!
//! The executor loses nothing by it: what is read here is gone from the socket, and what is left there is told to its reactor as ever.

use super::Shared;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// How long a thread waits so: everything else of the executor's stands still meanwhile.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

thread_local! {
    /// On which connection this thread's future waits for a reply, while somebody wants to know.
    static WAITED_FOR: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

/// Where a future waits.
enum Noted {
    Nowhere,
    On(Arc<Shared>),
    /// One socket alone will not do.
    OnSeveral,
}

/// A future of this thread's waits for a reply on this connection.
pub(super) fn note(shared: &Arc<Shared>) {
    WAITED_FOR.with_borrow_mut(|noted| match noted {
        Some(noted @ Noted::Nowhere) => *noted = Noted::On(Arc::clone(shared)),
        Some(Noted::On(known)) if Arc::ptr_eq(known, shared) => {}
        Some(noted) => *noted = Noted::OnSeveral,
        None => {}
    });
}

/// While it lives, this thread's waits are noted.
pub(crate) struct Watch(());

impl Watch {
    pub(crate) fn begin() -> Self {
        WAITED_FOR.set(Some(Noted::Nowhere));
        Self(())
    }

    /// Where it waits; nothing when it waits for anything but replies on one connection.
    pub(crate) fn waited_for(&self) -> Option<Direct> {
        match WAITED_FOR.replace(Some(Noted::Nowhere)) {
            Some(Noted::On(shared)) => Some(Direct(shared)),
            _ => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WAITED_FOR.set(None);
    }
}

/// What wakes a thread that waits on a socket: another thread may have read its reply.
#[derive(Debug)]
pub(crate) struct Interrupt {
    woken: AtomicBool,
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { woken: AtomicBool::new(false), asleep: AtomicBool::new(false), event })
    }

    /// Whether the future is to be polled again.
    pub(crate) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Interrupt {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        // Either we see that it sleeps, or it sees that it is woken.
        if self.asleep.load(Ordering::SeqCst) {
            // When it is full, it wakes as well.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

/// A connection that the thread moves by itself.
pub(crate) struct Direct(Arc<Shared>);

impl Direct {
    /// Waits until there is something on the connection, and takes it. False when it has waited long enough, or cannot wait so.
    pub(crate) fn step(&self, interrupt: &Interrupt) -> bool {
        let Some(socket) = self.0.lock().readable() else { return false };
        let mut on = [
            PollFd::new(&socket, PollFlags::IN),
            PollFd::from_borrowed_fd(interrupt.event.as_fd(), PollFlags::IN),
        ];
        interrupt.asleep.store(true, Ordering::SeqCst);
        let ready =
            if interrupt.woken.load(Ordering::SeqCst) { Ok(0) } else { poll(&mut on, Some(&PATIENCE)) };
        interrupt.asleep.store(false, Ordering::SeqCst);
        if !on[1].revents().is_empty() {
            let _ = rustix::io::read(&interrupt.event, &mut [0; 8]);
        }
        match ready {
            Ok(0) if interrupt.woken.load(Ordering::SeqCst) => true,
            Ok(0) | Err(_) => false,
            Ok(_) if on[0].revents().is_empty() => true,
            Ok(_) => {
                let mut state = self.0.lock();
                match state.turn_now() {
                    Ok(able) => able,
                    Err(reason) => {
                        state.close(&reason);
                        // It ends with this reason, too.
                        state.wake_driver();
                        true
                    }
                }
            }
        }
    }
}

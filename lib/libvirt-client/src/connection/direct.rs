//! Moving a connection from the thread that waits for a reply on it, without an executor.
//!
//! ```text
//!   thread ──> polls the future, which starts a call and waits for its reply: noted is on which connection
//!          ──> waits in a read of that connection's socket, takes what comes, and polls the future again
//! ```
//!
//! The executor loses nothing by it: what is read here is gone from the socket, and what is left there is told to its reactor as ever.

use super::Shared;
use super::reading::Taken;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

/// How long a thread waits so: everything else of the executor's stands still meanwhile.
const PATIENCE: Duration = Duration::from_millis(2);
/// What is read at first, without the lock: most replies are shorter.
const SHORT: usize = 256;

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

/// What tells a thread that waits that its future is to be polled again: another thread may have read its reply.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    woken: AtomicBool,
}

impl Interrupt {
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
    }
}

/// A connection that the thread moves by itself.
pub(crate) struct Direct(Arc<Shared>);

impl Direct {
    /// Waits until there is something on the connection, and takes it. False when it has waited long enough, or cannot wait so.
    ///
    /// The lock is free while it waits. Nobody else reads then, so that replies of others, too, come by here and wake who waits for them.
    pub(crate) fn step(&self, interrupt: &Interrupt) -> bool {
        let Some(waiting) = self.0.lock().begin_read(PATIENCE) else { return false };
        let (mut bytes, mut descriptors) = ([0; SHORT], Vec::new());
        let read = waiting.read(&mut bytes, &mut descriptors);
        let mut state = self.0.lock();
        match state.end_read(&bytes, read, descriptors) {
            Ok(Taken::All) => true,
            Ok(Taken::Nothing) => interrupt.woken.load(Ordering::SeqCst),
            Err(reason) => {
                state.close(&reason);
                // It ends with this reason, too.
                state.wake_driver();
                true
            }
        }
    }
}

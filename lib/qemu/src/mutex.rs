//! Mutexes for short sections.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Has it, also after a panic elsewhere: every section under these locks leaves the value whole.
pub(crate) fn guarded<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What keeps a benchmark from waiting for ever, and on which processors it runs.

use crate::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take that is awaited by looking again and again.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A wait that ends.
pub struct Patience(Instant);

impl Patience {
    pub fn begin() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// # Errors
    /// The time is over.
    pub fn left(&self, what: &str) -> Result<Duration> {
        match self.0.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(format!("{what}: not in {PATIENCE:?}").into()),
            left => Ok(left),
        }
    }
}

/// Of two processors one drives the queue, and the back-end has the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Drives,
    Serves,
}

impl Side {
    /// Its processor: of those that this program was given when it began, the first or the second.
    ///
    /// # Errors
    /// There is one only.
    pub fn processor(self) -> Result<usize> {
        static GIVEN: OnceLock<Vec<usize>> = OnceLock::new();
        let given = match GIVEN.get() {
            Some(given) => given,
            None => {
                let set = sched_getaffinity(None)?;
                GIVEN.get_or_init(|| (0..CpuSet::MAX_CPU).filter(|it| set.is_set(*it)).collect())
            }
        };
        match (self, given.as_slice()) {
            (Self::Drives, [first, _, ..]) => Ok(*first),
            (Self::Serves, [_, second, ..]) => Ok(*second),
            _ => Err(format!("two processors are needed, and this program may run on {given:?}").into()),
        }
    }

    pub const fn other(self) -> Self {
        match self {
            Self::Drives => Self::Serves,
            Self::Serves => Self::Drives,
        }
    }

    /// This thread runs there, and what it starts.
    ///
    /// # Errors
    /// As [`Side::processor`].
    pub fn stay(self) -> Result<()> {
        let mut only = CpuSet::new();
        only.set(self.processor()?);
        Ok(sched_setaffinity(None, &only)?)
    }
}

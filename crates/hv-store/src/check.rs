//! The limits of a transaction, checked before any back-end looks at it.

use crate::{Compare, MAX_KEY_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES, Op, StoreError, Txn};
use std::collections::BTreeSet;

impl Txn {
    /// Refuses what no back-end accepts, whichever branch would run.
    ///
    /// - at most [`MAX_TXN_OPS`] compares, and as many operations in each branch;
    /// - keys of 1 to [`MAX_KEY_BYTES`] bytes, values of at most [`MAX_VALUE_BYTES`];
    /// - a branch changes a key once: it neither puts a key twice, nor puts a key that it also deletes. etcd has the
    ///   same rule ("duplicate key given in txn request"), and it is why a [`Batch`](crate::Batch) names a key once.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], naming what is wrong.
    pub fn check(&self) -> Result<(), StoreError> {
        within("compares", self.compares.len())?;
        for compare in &self.compares {
            check_key(compare.key())?;
            if let Compare::Value(key, value) = compare {
                check_value(key, value.len())?;
            }
        }
        check_branch("then", &self.then)?;
        check_branch("otherwise", &self.otherwise)
    }
}

impl Compare {
    /// The key that is looked at.
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key)
            | Self::Exists(key)
            | Self::ModRevision(key, _)
            | Self::CreateRevision(key, _)
            | Self::Value(key, _) => key,
        }
    }
}

fn check_branch(name: &str, ops: &[Op]) -> Result<(), StoreError> {
    within(name, ops.len())?;
    let mut puts = BTreeSet::new();
    for op in ops {
        match op {
            Op::Put { key, value, .. } => {
                check_key(key)?;
                check_value(key, value.len())?;
                if !puts.insert(key.as_str()) {
                    return Err(StoreError::Invalid(format!("`{name}` puts key {key:?} twice")));
                }
            }
            Op::Delete(key) | Op::Get(key) => check_key(key)?,
            Op::DeletePrefix(prefix) => check_prefix(prefix)?,
        }
    }
    for op in ops {
        let clash = match op {
            Op::Delete(key) => puts.get(key.as_str()),
            Op::DeletePrefix(prefix) => {
                puts.range(prefix.as_str()..).next().filter(|key| key.starts_with(prefix))
            }
            Op::Put { .. } | Op::Get(_) => None,
        };
        if let Some(key) = clash {
            return Err(StoreError::Invalid(format!("`{name}` puts key {key:?} and deletes it")));
        }
    }
    Ok(())
}

/// A prefix may be empty, which means every key, but no longer than a key.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.len() > MAX_KEY_BYTES {
        return Err(StoreError::Invalid(format!(
            "a prefix of {} bytes; the limit is {MAX_KEY_BYTES}",
            prefix.len()
        )));
    }
    Ok(())
}

/// An empty key does not exist.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::Invalid("an empty key".into()));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(StoreError::Invalid(format!(
            "a key of {} bytes; the limit is {MAX_KEY_BYTES}",
            key.len()
        )));
    }
    Ok(())
}

/// A lease of no length could never be used.
pub(crate) fn check_ttl(ttl: std::time::Duration) -> Result<(), StoreError> {
    if ttl < std::time::Duration::from_millis(1) {
        return Err(StoreError::Invalid("a lease of less than one millisecond".into()));
    }
    Ok(())
}

fn check_value(key: &str, bytes: usize) -> Result<(), StoreError> {
    if bytes > MAX_VALUE_BYTES {
        let limit = MAX_VALUE_BYTES;
        return Err(StoreError::Invalid(format!(
            "a value of {bytes} bytes for key {key:?}; the limit is {limit}"
        )));
    }
    Ok(())
}

fn within(what: &str, count: usize) -> Result<(), StoreError> {
    if count > MAX_TXN_OPS {
        return Err(StoreError::Invalid(format!("{count} entries in `{what}`; the limit is {MAX_TXN_OPS}")));
    }
    Ok(())
}

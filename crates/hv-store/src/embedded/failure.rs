//! Why the files could not be read or written, before it is known what they are called.

use crate::StoreError;
use std::io::{self, ErrorKind};

#[derive(Debug)]
pub(super) enum Failure {
    Redb(redb::Error),
    Io(io::Error),
    /// Another version of the format: the one found.
    Format(u64),
    Damaged(String),
    /// A file of format 1 beside a log of format 2.
    Mixed,
    /// What was to be read has been dropped meanwhile.
    Gone,
    /// An earlier write has failed, and what it left on disk is not known.
    Unknown,
}

impl Failure {
    pub(super) fn record(revision: u64) -> Self {
        Self::Damaged(format!("revision {revision} is missing or not a whole record"))
    }

    /// As the caller is told of it; `name` is the store's file, `supported` the format this program writes.
    pub(super) fn explain(self, name: &str, supported: u64) -> StoreError {
        match self {
            Self::Format(found) => StoreError::WrongFormat { found, supported },
            Self::Damaged(what) => StoreError::Corrupt(format!("{name}: {what}; restore it from a snapshot")),
            Self::Mixed => StoreError::Corrupt(format!(
                "{name} is of format 1, older than its log {name}.log: put the {name} that belongs to the log back; or move the log away to lose what is in it and go on with the older file"
            )),
            Self::Gone => StoreError::Corrupt(format!(
                "{name}: a record of its log is missing; restore it from a snapshot"
            )),
            Self::Unknown => StoreError::Unavailable(format!(
                "writing {name} has failed; restart the program to read it anew"
            )),
            Self::Io(error) | Self::Redb(redb::Error::Io(error)) => explain_io(name, &error),
            Self::Redb(redb::Error::PreviousIo) => StoreError::Unavailable(format!(
                "{name}: an earlier write failed; restart the program to read it anew"
            )),
            Self::Redb(error) => StoreError::Corrupt(format!("{name}: {error}; restore it from a snapshot")),
        }
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}

from_redb!(Error, DatabaseError, TransactionError, TableError, StorageError, CommitError);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) fn explain_io(name: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full,
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            StoreError::Corrupt(format!("{name}: {error}; restore it from a snapshot"))
        }
        _ => StoreError::Unavailable(format!("{name}: {error}")),
    }
}

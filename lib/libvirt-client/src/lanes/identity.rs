//! On whose behalf the calls of one handle are (`virConnectSetIdentity`).
//!
//! A daemon knows it of each connection for itself, so every one that is made says it before anything else, and those that said something
//! else take no more calls, as those from before the first connection was made again.

use crate::connection::Connection;
use crate::error::Error;
use crate::params::Params;
use libvirt_protocol::NoFlags;
use libvirt_protocol::remote::{self, ConnectSetIdentityArgs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who the connections of one handle speak for.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// Guards the parameters alone.
    params: Mutex<Option<Params>>,
    /// How often it has changed, or the first connection was made again.
    changes: AtomicU64,
}

impl Identity {
    fn lock(&self) -> MutexGuard<'_, Option<Params>> {
        self.params.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it has changed, or the first connection was made again. Looked at before a connection is made: one that says it is then at least as new.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Connections that are made from now on say this.
    pub(crate) fn set(&self, params: Params) {
        *self.lock() = Some(params);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// The first connection is made again: those that were made until now may lead nowhere any more, or to another daemon.
    pub(crate) fn moved(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Says it on a new connection.
    ///
    /// # Errors
    /// As every call.
    pub(super) async fn introduce(&self, connection: &Connection) -> Result<(), Error> {
        let params = self.lock().clone();
        match params {
            Some(params) => say(connection, &params).await,
            None => Ok(()),
        }
    }
}

/// Tells a daemon on whose behalf the further calls of a connection are.
///
/// # Errors
/// As every call.
pub(crate) async fn say(connection: &Connection, params: &Params) -> Result<(), Error> {
    let args = ConnectSetIdentityArgs { params: params.as_slice().into(), flags: NoFlags::empty() };
    connection.call::<remote::ConnectSetIdentity>(&args).await.map(drop)
}

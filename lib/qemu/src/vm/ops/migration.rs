//! Migration: a running machine goes on in another process, or is kept in a file.
//!
//! ```text
//!   source                                destination (StartSpec::incoming)
//!     |                                       | listens
//!     |---- memory, again and again --------->|
//!     |  [post-copy: the guest runs there and asks for the rest]
//!     | stands, sends the last                |
//!     | postmigrate                           | stands; resumed once the source is known to stand
//! ```

use super::{OperationError, failed};
use crate::{
    Vm,
    config::{Address, ConfigError},
    socket,
};
use qmp::{
    Event, EventError, Filter, Subscription,
    commands::{
        MigrationInfo, MigrationStatus, QueryMigrate, QueryStatus, QueryYank, RunState, Yank, YankInstance,
    },
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// How memory is moved. Both ends must agree: [`Vm::migrate_to`] sees to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationOptions {
    /// Connections that carry memory beside the first; `None` for one connection in all.
    pub channels: Option<u8>,
    /// Let the guest run at the destination before all its memory is there. A connection that breaks then costs the guest.
    pub postcopy: bool,
    /// Most bytes per second; `None` for QEMU's default.
    pub bandwidth: Option<u64>,
    /// How long the guest may stand; `None` for QEMU's default of 300 ms.
    pub downtime: Option<Duration>,
    /// Credentials of both ends by name ([`crate::config::Config::tls`]): a client's at the source, a server's at the destination.
    pub tls: Option<MigrationTls>,
}

/// Credentials of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationTls {
    /// Credentials of the source.
    pub source: String,
    /// Credentials of the destination.
    pub destination: String,
    /// Name in the destination's certificate.
    pub hostname: String,
}

/// What a migration took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// From its start to its end.
    pub total: Duration,
    /// How long the guest stood.
    pub downtime: Duration,
    /// Bytes of memory sent.
    pub bytes: u64,
}

/// A migration that is going on. Dropping it leaves it going.
#[derive(Debug)]
pub struct Migration {
    vm: Vm,
    events: Subscription,
}

impl Vm {
    /// Moves the machine to another process that was started with [`crate::StartSpec::incoming`] and the same configuration, over `via`.
    /// On success the guest runs there if it ran here, and this process waits to be ended. On an error it goes on here, and the other
    /// process is to be ended, unless post-copy had begun.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn migrate_to(
        &self,
        destination: &Self,
        via: &Address,
        options: &MigrationOptions,
    ) -> Result<Migrated, OperationError> {
        let ran = self.status().run_state == qmp::commands::RunState::Running;
        let mut arriving = destination.await_migration(via, options).await?;
        let moved = self.migrate(via, options).await?.done().await?;
        arriving.until_over().await?;
        destination.settled_after_migration().await?;
        if ran {
            destination.resume().await.map_err(failed("let the guest run at its destination"))?;
        }
        Ok(moved)
    }

    /// Lets the destination listen. Its machine stands until it is told to run.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn await_migration(
        &self,
        at: &Address,
        options: &MigrationOptions,
    ) -> Result<Migration, OperationError> {
        let events = self.qmp().subscribe(Filter::Names(EVENT), EVENTS);
        let credentials = options.tls.as_ref().map(|tls| (tls.destination.as_str(), ""));
        self.prepare_migration(options, credentials).await?;
        self.run("listen for a machine", "migrate-incoming", json!({"uri": uri(at)?})).await?;
        Ok(Migration { vm: self.clone(), events })
    }

    /// Starts to send the machine to a destination that listens. It can be followed and given up.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn migrate(
        &self,
        to: &Address,
        options: &MigrationOptions,
    ) -> Result<Migration, OperationError> {
        let events = self.qmp().subscribe(Filter::Names(EVENT), EVENTS);
        let credentials = options.tls.as_ref().map(|tls| (tls.source.as_str(), tls.hostname.as_str()));
        self.prepare_migration(options, credentials).await?;
        self.run("send the machine", "migrate", json!({"uri": uri(to)?})).await?;
        let mut migration = Migration { vm: self.clone(), events };
        // Only then there is something to follow.
        migration.until(&[MigrationStatus::Active]).await?;
        if options.postcopy {
            self.run("begin post-copy", "migrate-start-postcopy", json!({})).await?;
        }
        Ok(migration)
    }

    /// Stops the guest and writes its state to a new file (mode 0600, synced with its directory), which is larger than the memory the
    /// guest uses. Disks are not part of it. The process then waits to be ended; on an error the guest stands, unless the file could not
    /// be made, and can be resumed.
    ///
    /// A call that is dropped leaves the guest standing and no file; what QEMU was sending fails by itself.
    ///
    /// # Errors
    /// [`OperationError`]; among others for a run directory whose path is too long for QEMU to connect to.
    pub async fn save(&self, file: &Path) -> Result<Migrated, OperationError> {
        let host = |source| OperationError::Host { action: format!("write {}", file.display()), source };
        let place = self.record.qmp_socket.with_file_name("state.sock");
        let mut output = File::options().write(true).create_new(true).mode(0o600).open(file).map_err(host)?;
        let half_a_state = Removed(file);
        let listener = socket::listen(&place).map_err(host)?;
        let _meeting_point = Removed(&place);
        listener.set_nonblocking(true).map_err(host)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(host)?;
        let directory =
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = File::open(directory).map_err(host)?;
        self.pause().await.map_err(failed("stop the guest"))?;
        let written = async {
            let (stream, _) = listener.accept().await?;
            let mut input = stream.into_std()?;
            input.set_nonblocking(false)?;
            let copied = tokio::task::spawn_blocking(move || -> io::Result<()> {
                io::copy(&mut input, &mut output)?;
                output.flush()?;
                output.sync_all()?;
                directory.sync_all()
            });
            copied.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
        };
        let sent = async {
            // As fast as the file takes it.
            let options = MigrationOptions { bandwidth: Some(u64::MAX >> 1), ..MigrationOptions::default() };
            self.migrate(&Address::Unix(place.clone()), &options).await?.done().await
        };
        tokio::pin!(written, sent);
        // Cancel safety: both are kept and run to their end; where sending fails nobody may have connected, so only then it is not waited for.
        let (sent, written) = tokio::select! {
            sent = &mut sent => match sent {
                Ok(moved) => (Ok(moved), written.await),
                Err(error) => (Err(error), Ok(())),
            },
            // All is written before QEMU tells that it is over; one that cannot be written ends the connection and so the sending.
            written = &mut written => (sent.await, written),
        };
        written.map_err(host)?;
        let moved = sent?;
        std::mem::forget(half_a_state);
        Ok(moved)
    }

    /// Reads a state that [`Vm::save`] wrote into a machine that was started with [`crate::StartSpec::incoming`] and the same configuration.
    /// The guest stands then, where it stood.
    ///
    /// # Errors
    /// [`OperationError`]; the process is to be ended then.
    pub async fn restore(&self, file: &Path) -> Result<(), OperationError> {
        let host = |source| OperationError::Host { action: format!("read {}", file.display()), source };
        let mut input = tokio::fs::File::open(file).await.map_err(host)?;
        let place = self.record.qmp_socket.with_file_name("state.sock");
        let mut arriving =
            self.await_migration(&Address::Unix(place.clone()), &MigrationOptions::default()).await?;
        let mut stream = socket::connect(&place).await.map_err(host)?;
        let sent = async {
            tokio::io::copy(&mut input, &mut stream).await?;
            stream.shutdown().await
        };
        // A state that QEMU does not take ends the connection before the file ends; its own words are more useful.
        let (sent, arrived) = tokio::join!(sent, arriving.until_over());
        let _ = std::fs::remove_file(&place);
        arrived.map(drop)?;
        self.settled_after_migration().await?;
        sent.map_err(host)
    }

    /// Breaks the connections of migrations and of network disks, out of band: for a QEMU that hangs because their other ends do not answer.
    /// What waited for them fails. Answers how many were broken. Those of consoles and monitors are left alone: one of them is ours.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn yank(&self) -> Result<usize, OperationError> {
        let action = || "break hanging connections";
        let mut instances = self.qmp().call(&QueryYank {}).await.map_err(failed(action()))?;
        instances.retain(|instance| !matches!(instance, YankInstance::Chardev(_)));
        let count = instances.len();
        if count > 0 {
            self.qmp().call(&Yank { instances }).await.map_err(failed(action()))?;
        }
        Ok(count)
    }

    /// QEMU says that it is over a moment before it is in its last state, and announces that by no event.
    async fn settled_after_migration(&self) -> Result<(), OperationError> {
        let moving = |state: &RunState| matches!(state, RunState::FinishMigrate | RunState::Inmigrate);
        let settling = async {
            while moving(
                &self.slow().call(&QueryStatus {}).await.map_err(failed("ask for the state"))?.status,
            ) {}
            Ok::<(), OperationError>(())
        };
        match tokio::time::timeout(super::SLOW, settling).await {
            Ok(settled) => settled?,
            Err(_) => return Err(OperationError::Lost { what: "the end of the migration".to_owned() }),
        }
        self.read_again(|state| !moving(state)).await;
        Ok(())
    }

    async fn prepare_migration(
        &self,
        options: &MigrationOptions,
        credentials: Option<(&str, &str)>,
    ) -> Result<(), OperationError> {
        let capability = |name: &str, state: bool| json!({"capability": name, "state": state});
        let capabilities = json!([
            capability("events", true),
            capability("multifd", options.channels.is_some()),
            capability("postcopy-ram", options.postcopy),
        ]);
        self.run("prepare a migration", "migrate-set-capabilities", json!({"capabilities": capabilities}))
            .await?;
        let mut parameters = json!({});
        if let Some(channels) = options.channels {
            parameters["multifd-channels"] = json!(channels);
        }
        if let Some(bandwidth) = options.bandwidth {
            parameters["max-bandwidth"] = json!(bandwidth);
        }
        if let Some(downtime) = options.downtime {
            parameters["downtime-limit"] = json!(u64::try_from(downtime.as_millis()).unwrap_or(u64::MAX));
        }
        let (credentials, hostname) = credentials.unwrap_or_default();
        (parameters["tls-creds"], parameters["tls-hostname"]) = (json!(credentials), json!(hostname));
        self.run("prepare a migration", "migrate-set-parameters", parameters).await.map(drop)
    }
}

impl Migration {
    /// Bytes of memory sent and still to be sent, as of now; a guest that writes makes the rest grow again.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<(u64, u64), OperationError> {
        let ram = self.info().await?.ram;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(ram.map_or((0, 0), |ram| (number(ram.transferred), number(ram.remaining))))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`OperationError::Job`] with QEMU's words when it failed or was given up; the guest goes on where it was.
    pub async fn done(mut self) -> Result<Migrated, OperationError> {
        let info = self.until_over().await?;
        self.vm.settled_after_migration().await?;
        let milliseconds = |value: Option<i64>| {
            Duration::from_millis(value.and_then(|it| u64::try_from(it).ok()).unwrap_or(0))
        };
        Ok(Migrated {
            total: milliseconds(info.total_time),
            downtime: milliseconds(info.downtime),
            bytes: info.ram.and_then(|ram| u64::try_from(ram.transferred).ok()).unwrap_or(0),
        })
    }

    /// Gives it up and waits until the machine is back to itself. One that is just over stays over.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn cancel(mut self) -> Result<(), OperationError> {
        self.vm.run("give up a migration", "migrate_cancel", json!({})).await?;
        match self.until_over().await {
            Ok(_) | Err(OperationError::Job { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn until_over(&mut self) -> Result<MigrationInfo, OperationError> {
        let over = [MigrationStatus::Completed, MigrationStatus::Failed, MigrationStatus::Cancelled];
        let info = self.until(&over).await?;
        match &info.status {
            Some(MigrationStatus::Completed) => Ok(info),
            status => {
                let status = status.as_ref().map_or("none", MigrationStatus::as_str);
                let message = info.error_desc.unwrap_or_else(|| status.to_owned());
                Err(OperationError::Job { action: "the migration".to_owned(), message })
            }
        }
    }

    /// Waits until it is in one of these states, or over.
    async fn until(&mut self, wanted: &[MigrationStatus]) -> Result<MigrationInfo, OperationError> {
        let over = [MigrationStatus::Completed, MigrationStatus::Failed, MigrationStatus::Cancelled];
        let is_it = |status: &str| wanted.iter().chain(&over).any(|wanted| wanted.as_str() == status);
        loop {
            let info = self.info().await?;
            if info.status.as_ref().is_some_and(|status| is_it(status.as_str())) {
                return Ok(info);
            }
            loop {
                let state =
                    |event: &Event| event.data.get("status").and_then(Value::as_str).is_some_and(is_it);
                match self.events.next().await {
                    Ok(event) if state(&event) => break,
                    Ok(_) => {}
                    // What was lost may have been it.
                    Err(EventError::Lagged(_)) => break,
                    Err(EventError::Closed) => {
                        return Err(OperationError::Lost { what: "the migration".to_owned() });
                    }
                }
            }
        }
    }

    async fn info(&self) -> Result<MigrationInfo, OperationError> {
        self.vm.slow().call(&QueryMigrate {}).await.map_err(failed("ask for the migration"))
    }
}

/// A file that goes with this; one that is gone is as good.
struct Removed<'p>(&'p Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// The form that every version of QEMU takes.
fn uri(address: &Address) -> Result<String, OperationError> {
    address.check("migration")?;
    match address {
        Address::Unix(path) => match path.to_str() {
            Some(path) => Ok(format!("unix:{path}")),
            None => Err(ConfigError::NotUtf8 { field: "migration", path: path.clone() }.into()),
        },
        Address::Tcp(host, port) if host.contains(':') => Ok(format!("tcp:[{host}]:{port}")),
        Address::Tcp(host, port) => Ok(format!("tcp:{host}:{port}")),
    }
}

const EVENT: &[&str] = &["MIGRATION"];

/// A migration changes its state a dozen times.
const EVENTS: usize = 64;

//! What the agent remembers across its own death: one record per instance, and who this node is.
//!
//! One thread owns the database; it takes all writes that wait, commits them once, and answers them all: twenty instances
//! created at once cost a few commits, not twenty.

use crate::instance::Record;
use hv_api::internal::v1 as wire;
use prost::Message;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::path::Path;
use std::sync::mpsc;
use tokio::sync::oneshot;

const INSTANCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("instances");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

/// The layout of this file; another one is refused.
const FORMAT: &str = "1";

/// How often another agent's lock is looked at, and the time between: 2 s in all.
const ATTEMPTS: u32 = 40;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why the journal failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another agent has it.
    #[error("the journal {0} is in use by another agent")]
    InUse(String),
    /// Another version wrote it.
    #[error(
        "the journal {path} has format {found}, this agent reads {FORMAT}; use the agent that wrote it, or move the file away"
    )]
    Format {
        /// The file.
        path: String,
        /// Its format.
        found: String,
    },
    /// It cannot be read or written.
    #[error("journal: {0}")]
    Database(String),
    /// Its thread is gone.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    fn database(error: impl Into<redb::Error>) -> Self {
        Self::Database(error.into().to_string())
    }
}

/// What a write waits for.
type Written = oneshot::Sender<Result<(), JournalError>>;

enum Change {
    Instance { uid: String, bytes: Vec<u8> },
    Forget { uid: String },
    Session { node_uid: String, session: u64, incarnation: String },
    Close,
}

/// A handle to the journal; clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: mpsc::Sender<(Change, Written)>,
}

/// What was in the journal when it was opened.
#[derive(Debug, Default)]
pub struct Contents {
    /// The node's uid, once a server has given it one.
    pub node_uid: Option<String>,
    /// The newest session number.
    pub session: u64,
    /// The store incarnation of the newest session.
    pub incarnation: String,
    /// All instances.
    pub instances: Vec<Record>,
}

impl Journal {
    /// Opens or makes the journal and starts its thread, which ends with the last handle.
    pub fn open(path: &Path) -> Result<(Self, Contents), JournalError> {
        let name = path.display().to_string();
        if let Some(found) = format_of_copy(path).filter(|found| found != FORMAT) {
            return Err(JournalError::Format { path: name, found });
        }
        let mut attempts = 0;
        let database = loop {
            attempts += 1;
            match Database::create(path) {
                Ok(database) => break database,
                // A guest that an agent was just starting when it was killed holds what that agent had open, until it
                // executes its own program.
                Err(redb::DatabaseError::DatabaseAlreadyOpen) if attempts < ATTEMPTS => {
                    std::thread::sleep(PAUSE);
                }
                Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(JournalError::InUse(name)),
                Err(error) => return Err(JournalError::Database(format!("{name}: {error}"))),
            }
        };
        Self::serve(database, &name)
    }

    /// A copy in memory of a journal that cannot be opened for writing: what is written to it is forgotten.
    pub fn open_copy(path: &Path) -> Result<(Self, Contents), JournalError> {
        let name = path.display().to_string();
        let database = copy(path).map_err(|error| JournalError::Database(format!("{name}: {error}")))?;
        Self::serve(database, &name)
    }

    fn serve(database: Database, name: &str) -> Result<(Self, Contents), JournalError> {
        let contents = read(&database, name)?;
        let (queue, work) = mpsc::channel();
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || serve(database, &work))
            .map_err(|error| JournalError::Database(error.to_string()))?;
        Ok((Self { queue }, contents))
    }

    /// Writes a record durably.
    pub async fn write(&self, record: &Record) -> Result<(), JournalError> {
        let bytes = record.to_wire().encode_to_vec();
        self.change(Change::Instance { uid: record.desired.id.to_string(), bytes }).await
    }

    /// Forgets a record.
    pub async fn forget(&self, id: hv_core::InstanceId) -> Result<(), JournalError> {
        self.change(Change::Forget { uid: id.to_string() }).await
    }

    /// Writes who this node is, and the newest session, durably.
    pub async fn write_session(
        &self,
        node_uid: &str,
        session: u64,
        incarnation: &str,
    ) -> Result<(), JournalError> {
        let (node_uid, incarnation) = (node_uid.to_owned(), incarnation.to_owned());
        self.change(Change::Session { node_uid, session, incarnation }).await
    }

    /// Writes what waits, and lets go of the file: another agent may open it afterwards. Later writes fail.
    pub async fn close(&self) {
        // An error means that it is closed already.
        let _ = self.change(Change::Close).await;
    }

    async fn change(&self, change: Change) -> Result<(), JournalError> {
        let (written, answer) = oneshot::channel();
        self.queue.send((change, written)).map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }
}

/// The format, read from a copy in memory: opening a file for writing changes it, and one of another version is none of
/// our business. `None` when there is nothing to read, or when the file must be repaired or locked first.
fn format_of_copy(path: &Path) -> Option<String> {
    let meta = copy(path).ok()?.begin_read().ok()?.open_table(META).ok()?;
    Some(meta.get("format").ok()??.value().to_owned())
}

fn copy(path: &Path) -> Result<Database, redb::Error> {
    let bytes = std::fs::read(path)?;
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64)?;
    copy.write(0, &bytes)?;
    Ok(Database::builder().create_with_backend(copy)?)
}

fn read(database: &Database, name: &str) -> Result<Contents, JournalError> {
    let mut contents = Contents::default();
    // Nothing is written to one that is in order: the disk may be full.
    if !is_made(database) {
        let transaction = database.begin_write().map_err(JournalError::database)?;
        let mut meta = transaction.open_table(META).map_err(JournalError::database)?;
        let format =
            meta.get("format").map_err(JournalError::database)?.map(|value| value.value().to_owned());
        match format {
            None => {
                meta.insert("format", FORMAT).map_err(JournalError::database)?;
            }
            Some(found) if found != FORMAT => {
                return Err(JournalError::Format { path: name.to_owned(), found });
            }
            Some(_) => {}
        }
        drop(meta);
        transaction.open_table(INSTANCES).map_err(JournalError::database)?;
        transaction.commit().map_err(JournalError::database)?;
    }
    let transaction = database.begin_read().map_err(JournalError::database)?;
    let meta = transaction.open_table(META).map_err(JournalError::database)?;
    let text = |key: &str| -> Result<Option<String>, JournalError> {
        Ok(meta.get(key).map_err(JournalError::database)?.map(|value| value.value().to_owned()))
    };
    contents.node_uid = text("node_uid")?;
    contents.session = text("session")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    contents.incarnation = text("incarnation")?.unwrap_or_default();
    let instances = transaction.open_table(INSTANCES).map_err(JournalError::database)?;
    for entry in instances.iter().map_err(JournalError::database)? {
        let (uid, bytes) = entry.map_err(JournalError::database)?;
        let record = wire::AgentRecord::decode(bytes.value())
            .map_err(|error| error.to_string())
            .and_then(|record| Record::from_wire(&record).map_err(|error| error.to_string()))
            .map_err(|error| JournalError::Database(format!("{name}: instance {}: {error}", uid.value())))?;
        contents.instances.push(record);
    }
    Ok(contents)
}

/// Whether the tables are there, of this format.
fn is_made(database: &Database) -> bool {
    let look = || -> Option<bool> {
        let transaction = database.begin_read().ok()?;
        let meta = transaction.open_table(META).ok()?;
        transaction.open_table(INSTANCES).ok()?;
        Some(meta.get("format").ok()??.value() == FORMAT)
    };
    look().unwrap_or(false)
}

fn serve(database: Database, work: &mpsc::Receiver<(Change, Written)>) {
    while let Ok(first) = work.recv() {
        let mut group = vec![first];
        group.extend(work.try_iter());
        let close = group.iter().any(|(change, _)| matches!(change, Change::Close));
        let result = commit(&database, &group);
        if close {
            drop(database);
            return answer(group, &result);
        }
        answer(group, &result);
    }
}

fn answer(group: Vec<(Change, Written)>, result: &Result<(), JournalError>) {
    for (_, written) in group {
        // Nobody waits any more: the caller was stopped.
        let _ = written.send(result.clone());
    }
}

fn commit(database: &Database, group: &[(Change, Written)]) -> Result<(), JournalError> {
    let transaction = database.begin_write().map_err(JournalError::database)?;
    {
        let mut instances = transaction.open_table(INSTANCES).map_err(JournalError::database)?;
        let mut meta = transaction.open_table(META).map_err(JournalError::database)?;
        for (change, _) in group {
            match change {
                Change::Instance { uid, bytes } => {
                    instances.insert(uid.as_str(), bytes.as_slice()).map_err(JournalError::database)?;
                }
                Change::Forget { uid } => {
                    instances.remove(uid.as_str()).map_err(JournalError::database)?;
                }
                Change::Session { node_uid, session, incarnation } => {
                    let session = session.to_string();
                    for (key, value) in
                        [("node_uid", node_uid), ("session", &session), ("incarnation", incarnation)]
                    {
                        meta.insert(key, value.as_str()).map_err(JournalError::database)?;
                    }
                }
                Change::Close => {}
            }
        }
    }
    transaction.commit().map_err(JournalError::database)
}

/// A write that a test takes up.
#[cfg(test)]
pub(crate) struct Taken {
    pub(crate) record: Record,
    written: Written,
}

#[cfg(test)]
impl Taken {
    pub(crate) fn settle(self) {
        // Nobody waits any more: the test is over.
        let _ = self.written.send(Ok(()));
    }

    pub(crate) fn fail(self) {
        // Nobody waits any more: the test is over.
        let _ = self.written.send(Err(JournalError::Database("no space left on device".into())));
    }
}

/// A journal whose writes a test takes up: a call waits for the next.
#[cfg(test)]
pub(crate) fn by_hand() -> (Journal, impl FnMut() -> Option<Taken> + Send + 'static) {
    let (queue, work) = mpsc::channel::<(Change, Written)>();
    let next = move || loop {
        let (change, written) = work.recv().ok()?;
        if let Change::Instance { bytes, .. } = change {
            let record = wire::AgentRecord::decode(bytes.as_slice()).expect("our own");
            return Some(Taken { record: Record::from_wire(&record).expect("our own"), written });
        }
    };
    (Journal { queue }, next)
}

//! What the agent remembers of an instance across its own death.

use hv_api::convert::{spec_read, spec_to};
use hv_api::internal::v1 as wire;
use hv_core::instance::{Epoch, InstanceSpec};
use hv_core::{Error, ErrorKind, InstanceId};

/// What the server wants, under one assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Which instance.
    pub id: InstanceId,
    /// Its name and project, for people.
    pub name: String,
    /// Its project.
    pub project: String,
    /// The assignment.
    pub epoch: Epoch,
    /// The generation of the specification.
    pub generation: u64,
    /// The specification.
    pub spec: InstanceSpec,
    /// Tear it down.
    pub deleted: bool,
    /// With `deleted`: do not ask the guest.
    pub force: bool,
}

/// Who ended the newest guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The guest powered itself off.
    PowerOff,
    /// It was asked to power off and did, or was ended, because that was wanted.
    Order,
    /// It crashed, died, or could not be started.
    Failure,
}

/// How the guest of the newest start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who ended it.
    pub by: EndedBy,
    /// For people.
    pub message: String,
    /// Starting again by itself would not help.
    pub permanent: bool,
}

/// The newest start of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The restart serial it answered.
    pub serial: u64,
    /// The boot of the node it happened in: guests do not outlive it.
    pub boot_id: String,
    /// What the guest was given.
    pub spec: InstanceSpec,
    /// It was seen alive.
    pub came_up: bool,
    /// It was asked to end because the node goes down: that is no end of its own, whoever sees it.
    pub taken_down: bool,
    /// How it ended.
    pub ended: Option<Ended>,
}

/// Everything the journal holds of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What is wanted, under the highest epoch seen. Kept, with its epoch, after the instance is gone: a late repetition of
    /// an old assignment must not bring it back.
    pub desired: Desired,
    /// The node can make it: asked once. A later assignment of what is here already is not asked again: it would part it from
    /// its disks.
    pub admitted: bool,
    /// Why the assignment was refused.
    pub rejected: Option<String>,
    /// Nothing of it is left here.
    pub gone: bool,
    /// The server gave up this node, and the assignments up to this epoch with it: no guest of theirs may live. Cleared when
    /// there is a newer assignment and the old guest is gone.
    pub revoked: Option<Epoch>,
    /// The boot of the node in which a server last named it, under an assignment that was followed. Empty once the node went
    /// down in order: while it is down, the server may give it to another.
    pub confirmed_boot: String,
    /// The newest full set of a server did not name it. What is here is left alone, and nothing is started before a server names it:
    /// it may run elsewhere by now.
    pub unnamed: bool,
    /// The newest start.
    pub started: Option<Started>,
    /// Starts so far.
    pub starts: u64,
    /// Failures in a row; they space out further attempts.
    pub failures: u32,
}

impl Record {
    /// The record of an assignment that the server has just made, in this boot of the node.
    pub fn new(desired: Desired, boot_id: impl Into<String>) -> Self {
        Self {
            desired,
            admitted: false,
            rejected: None,
            gone: false,
            revoked: None,
            confirmed_boot: boot_id.into(),
            unnamed: false,
            started: None,
            starts: 0,
            failures: 0,
        }
    }

    /// Whether the newest assignment is one that the server has given up.
    pub fn is_revoked(&self) -> bool {
        self.revoked.is_some_and(|epoch| self.desired.epoch <= epoch)
    }

    /// For the journal.
    pub fn to_wire(&self) -> wire::AgentRecord {
        let Desired { id, name, project, epoch, generation, spec, deleted, force } = &self.desired;
        let started = self.started.as_ref();
        wire::AgentRecord {
            uid: id.to_string(),
            name: name.clone(),
            project: project.clone(),
            epoch: epoch.0,
            generation: *generation,
            spec: Some(spec_to(spec)),
            deleted: *deleted,
            force: *force,
            rejected: self.rejected.clone().unwrap_or_default(),
            gone: self.gone,
            revoked_epoch: self.revoked.map_or(0, |epoch| epoch.0),
            started_serial_plus_one: started.map_or(0, |started| started.serial + 1),
            started_boot_id: started.map(|started| started.boot_id.clone()).unwrap_or_default(),
            started_spec: started.map(|started| spec_to(&started.spec)),
            came_up: started.is_some_and(|started| started.came_up),
            ended: started.and_then(|started| started.ended.as_ref()).map(|ended| wire::Ended {
                failed: ended.by == EndedBy::Failure,
                ordered: ended.by == EndedBy::Order,
                message: ended.message.clone(),
                permanent: ended.permanent,
            }),
            starts: self.starts,
            failures: self.failures,
            admitted: self.admitted,
            taken_down: started.is_some_and(|started| started.taken_down),
            confirmed_boot_id: self.confirmed_boot.clone(),
            unnamed: self.unnamed,
        }
    }

    /// From the journal.
    pub fn from_wire(record: &wire::AgentRecord) -> Result<Self, Error> {
        let id = record
            .uid
            .parse()
            .map_err(|_| Error::new(ErrorKind::Internal, "a journal record without a uid"))?;
        let started = match (&record.started_spec, record.started_serial_plus_one.checked_sub(1)) {
            (Some(spec), Some(serial)) => Some(Started {
                serial,
                boot_id: record.started_boot_id.clone(),
                spec: spec_read(spec)?,
                came_up: record.came_up,
                taken_down: record.taken_down,
                ended: record.ended.as_ref().map(|ended| Ended {
                    by: match (ended.failed, ended.ordered) {
                        (true, _) => EndedBy::Failure,
                        (false, true) => EndedBy::Order,
                        (false, false) => EndedBy::PowerOff,
                    },
                    message: ended.message.clone(),
                    permanent: ended.permanent,
                }),
            }),
            _ => None,
        };
        Ok(Self {
            desired: Desired {
                id,
                name: record.name.clone(),
                project: record.project.clone(),
                epoch: Epoch(record.epoch),
                generation: record.generation,
                spec: spec_read(&record.spec.clone().unwrap_or_default())?,
                deleted: record.deleted,
                force: record.force,
            },
            admitted: record.admitted,
            rejected: (!record.rejected.is_empty()).then(|| record.rejected.clone()),
            gone: record.gone,
            revoked: (record.revoked_epoch != 0).then_some(Epoch(record.revoked_epoch)),
            confirmed_boot: record.confirmed_boot_id.clone(),
            unnamed: record.unnamed,
            started,
            starts: record.starts,
            failures: record.failures,
        })
    }
}

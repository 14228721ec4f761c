//! Taking back what an operation began and did not finish: because QEMU refused, because an answer was lost, or because its caller left.
//!
//! A caller that drops an operation takes nothing back himself. What is to be removed then is handed to the future that supervises the
//! machine, which lives longer.

use super::{
    OperationError,
    backup::{Pulled, goes_on, join_notes, leave_filter},
    follow::Follow,
    host,
    migration::Migration,
    nbd,
    places::Reservation,
    undone,
};
use crate::{
    Vm,
    config::Address,
    vm::{Pauses, supervisor::Chore},
};
use qmp::{
    Client,
    aside::leave,
    commands::{
        BlockdevDel, BlockdevRemoveMedium, ChardevRemove, Command, JobCancel, JobDismiss, NetdevDel,
        ObjectDel, QomList, QueryStatus, RemoveFd,
    },
};
use serde_json::Value;
use std::path::PathBuf;
use tokio::sync::mpsc::error::SendError;

/// Something made in QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// A block node.
    Node(String),
    /// An object such as limits or memory.
    Object(String),
    /// The back end of a network card.
    Netdev(String),
    /// A stream to another process.
    Stream(String),
    /// The disc in a drive, whose tray is open.
    Disc(String),
    /// A set of descriptors.
    FdSet(i64),
    /// QEMU's NBD server at this place, with all it exports.
    NbdServer(Address),
    /// A job.
    Job(String),
    /// A migration that has not let go of its guest: given up, the guest goes on here. One that is over stays over.
    Migration,
    /// A migration that was let go, or was about to be: it is followed to its end.
    Departure,
    /// The guest stands for a moment, since this was noted of those who pause it.
    Stop(Pauses),
    /// The filter of a disk, which its device uses in place of what is below.
    Filter(String),
    /// A file that was made for a node, which has it open unless that went wrong.
    File {
        /// The file.
        path: PathBuf,
        /// The node.
        node: String,
        /// Nothing is on it that is nowhere else: it goes with the process, too.
        is_copy: bool,
    },
    /// The bitmap that notes changes while the one of this node and name is read.
    NextNotes(String, String),
    /// A device. The guest may use it: an operation that has come so far is not taken back.
    Device(String),
}

/// What to take back, latest first, unless it is kept.
#[derive(Debug)]
pub(crate) struct Rollback {
    vm: Vm,
    made: Vec<Made>,
    /// What nobody else is to have until all is taken back.
    alone: Option<Reservation>,
}

impl Rollback {
    pub(super) fn new(vm: &Vm) -> Self {
        Self { vm: vm.clone(), made: Vec::new(), alone: None }
    }

    /// The same with something that is reserved until all is kept or taken back, also where the caller leaves.
    pub(super) fn holding(vm: &Vm, alone: Reservation) -> Self {
        Self { vm: vm.clone(), made: Vec::new(), alone: Some(alone) }
    }

    /// Runs a command that makes something. Where its answer is lost QEMU is asked whether it is there.
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::Undecided`] only for what QEMU cannot be asked for.
    pub(super) async fn make<C: Command>(
        &mut self,
        action: impl Into<String>,
        command: &C,
        made: Made,
    ) -> Result<(), OperationError> {
        let action = action.into();
        // Before it is asked for: a caller may leave at any moment from here.
        self.made.push(made.clone());
        let error = match self.vm.tell(action.clone(), command).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        self.decide(action, error, made).await
    }

    /// The same for arguments in the form of the command line's.
    pub(super) async fn run(
        &mut self,
        action: impl Into<String>,
        command: &str,
        arguments: Value,
        made: Made,
    ) -> Result<(), OperationError> {
        let client = self.vm.qmp();
        self.run_on(&client, action, command, arguments, made).await
    }

    /// The same on the connection that has what the command needs.
    pub(super) async fn run_on(
        &mut self,
        client: &Client,
        action: impl Into<String>,
        command: &str,
        arguments: Value,
        made: Made,
    ) -> Result<(), OperationError> {
        let action = action.into();
        self.made.push(made.clone());
        let Value::Object(arguments) = arguments else { unreachable!("arguments are an object") };
        match client.execute(command, arguments).await {
            Ok(_) => Ok(()),
            Err(error) => self.decide(action.clone(), undone(action)(error), made).await,
        }
    }

    async fn decide(
        &mut self,
        action: String,
        error: OperationError,
        made: Made,
    ) -> Result<(), OperationError> {
        let OperationError::Undecided { source, .. } = error else {
            self.made.pop();
            return Err(error);
        };
        let mut follow = Follow::new(&self.vm, &[]);
        match exists(&mut follow, &made).await? {
            Some(true) => Ok(()),
            Some(false) => {
                self.made.pop();
                Err(OperationError::Qmp { action, source })
            }
            None => Err(OperationError::Undecided { action, source }),
        }
    }

    /// Also this is to be taken back.
    pub(super) fn also(&mut self, made: Made) {
        self.made.push(made);
    }

    /// Keeps all of an operation that was done, or takes it back.
    ///
    /// # Errors
    /// That of the operation.
    pub(super) async fn settle<T>(self, outcome: Result<T, OperationError>) -> Result<T, OperationError> {
        match outcome {
            Ok(_) => self.keep(),
            Err(_) => self.undo().await,
        }
        outcome
    }

    /// The latest is not there any more.
    pub(super) fn gone(&mut self, made: &Made) {
        self.made.retain(|it| it != made);
    }

    /// All is done.
    pub(super) fn keep(mut self) {
        self.made.clear();
    }

    /// Takes all back and waits for it.
    pub(crate) async fn undo(mut self) {
        let mut follow = Follow::new(&self.vm, &[]);
        // The caller may leave here, too: what is done is forgotten one by one.
        match follow.read(WHAT, &QueryStatus {}).await {
            Ok(_) => {}
            // Nobody has them open.
            Err(OperationError::Ended { .. }) => self.made.retain(is_copy),
            Err(_) => self.made.clear(),
        }
        while let Some(made) = self.made.last().cloned() {
            if matches!(made, Made::Device(_))
                && exists(&mut follow, &made).await.ok().flatten() != Some(false)
            {
                self.made.clear();
                return;
            }
            if let Err(error) = remove(&mut follow, WHAT, &made).await {
                // The error that matters is the one before; what is not there cannot be removed either.
                tracing::debug!(?made, error = &error as &dyn std::error::Error, "not taken back");
            }
            self.made.pop();
        }
    }
}

impl Drop for Rollback {
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        let rest =
            Self { vm: self.vm.clone(), made: std::mem::take(&mut self.made), alone: self.alone.take() };
        if let Err(SendError(Chore::Undo(mut rest))) = self.vm.chores.send(Chore::Undo(rest)) {
            // Nobody supervises the machine any more, so there is no connection to it either.
            let made = std::mem::take(&mut rest.made);
            if self.vm.status().exit.is_some() {
                leave(move || made.into_iter().for_each(remove_copy));
            }
        }
    }
}

fn is_copy(made: &Made) -> bool {
    matches!(made, Made::File { is_copy: true, .. })
}

/// Of a process that has ended.
fn remove_copy(made: Made) {
    if let Made::File { path, is_copy: true, .. } = made {
        // One that is gone is as good.
        let _ = std::fs::remove_file(path);
    }
}

/// Whether it is there; `None` for what QEMU cannot be asked for.
async fn exists(follow: &mut Follow, made: &Made) -> Result<Option<bool>, OperationError> {
    let mut among = async |path: &str, name: &str| {
        let items = follow.read(WHAT, &QomList { path: path.to_owned() }).await?;
        Ok::<_, OperationError>(Some(items.iter().any(|item| item.name == *name)))
    };
    match made {
        Made::Device(id) => among("/machine/peripheral", id).await,
        Made::Object(id) => among("/objects", id).await,
        Made::Node(name) => {
            let nodes = follow.nodes(WHAT).await?;
            Ok(Some(nodes.iter().any(|node| node.node_name.as_ref() == Some(name))))
        }
        Made::Stream(id) => among("/chardevs", id).await,
        Made::Disc(_)
        | Made::FdSet(_)
        | Made::Netdev(_)
        | Made::NbdServer(_)
        | Made::Job(_)
        | Made::Migration
        | Made::Departure
        | Made::Stop(_)
        | Made::Filter(_)
        | Made::File { .. }
        | Made::NextNotes(..) => Ok(None),
    }
}

/// Removes something. That it is not there any more is no error.
pub(super) async fn remove(follow: &mut Follow, what: &str, made: &Made) -> Result<(), OperationError> {
    match remove_once(follow, what, made).await {
        // The answer to an earlier attempt was lost, or there was one of another caller.
        Err(OperationError::Qmp { .. }) if exists(follow, made).await? == Some(false) => Ok(()),
        removed => removed,
    }
}

async fn remove_once(follow: &mut Follow, what: &str, made: &Made) -> Result<(), OperationError> {
    match made {
        Made::Node(name) => follow.insist(what, &BlockdevDel { node_name: name.clone() }).await,
        Made::Object(id) => follow.insist(what, &ObjectDel { id: id.clone() }).await,
        Made::Netdev(id) => follow.insist(what, &NetdevDel { id: id.clone() }).await,
        Made::Stream(id) => follow.insist(what, &ChardevRemove { id: id.clone() }).await,
        Made::Disc(id) => follow.insist(what, &BlockdevRemoveMedium { id: id.clone() }).await,
        Made::FdSet(id) => follow.insist(what, &RemoveFd { fdset_id: *id, fd: None }).await,
        Made::NbdServer(at) => {
            let mut follow = Follow::new(follow.vm(), nbd::EVENTS);
            nbd::end(&mut follow, what, Some(at), |_| true).await
        }
        Made::Job(id) => {
            super::job::break_copy(follow, id).await?;
            // One that has concluded is only to be dismissed.
            let _ = follow.insist(what, &JobCancel { id: id.clone() }).await;
            super::job::concluded(follow, id).await?;
            follow.insist(what, &JobDismiss { id: id.clone() }).await
        }
        Made::Migration => Migration::of(follow.vm()).cancel().await,
        Made::Departure => Migration::of(follow.vm()).goes().await,
        Made::Stop(since) => goes_on(follow, what, *since).await,
        Made::Filter(disk) => leave_filter(follow, what, disk).await,
        Made::NextNotes(node, name) => join_notes(follow, what, node, name, Pulled::GivenUp).await,
        Made::File { path, node, is_copy } => {
            // As long as QEMU has it open something may stand on it, also when the command that did so is known to have failed.
            let is_free = match exists(follow, &Made::Node(node.clone())).await {
                Err(OperationError::Ended { .. }) => *is_copy,
                exists => exists? == Some(false),
            };
            if is_free {
                let place = path.clone();
                host(format!("remove {}", path.display()), path, move |_| std::fs::remove_file(place))
                    .await?;
            }
            Ok(())
        }
        Made::Device(_) => Ok(()),
    }
}

const WHAT: &str = "take back what was begun";

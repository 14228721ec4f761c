//! Following what QEMU does, over as many connections to its monitor as that takes.
//!
//! ```text
//!   connection 1:  subscribe, read --event--event--X
//!   connection 2:                                   subscribe, read --event-- ...      until it is done, or the process ends
//! ```
//! A connection that breaks tells nothing of what QEMU does: supervision opens another, and what was missed is read.

use super::{OperationError, failed, undone};
use crate::Vm;
use qmp::{
    CallError, Client, Event, EventError, Filter, Subscription,
    commands::{Command, QueryStatus, RunState},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Events of some names from now on, whatever becomes of the connection.
#[derive(Debug)]
pub(super) struct Follow {
    vm: Vm,
    filter: Filter,
    clients: watch::Receiver<Client>,
    client: Client,
    events: Subscription,
    /// What was raised before is a gap, as where another connection was opened for an answer.
    missed: bool,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// An event.
    Event(Arc<Event>),
    /// Events were missed: the state tells what they said.
    Gap,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was carried out.
    Answered,
    /// Its answer was lost, and it was carried out or never will be.
    Lost,
}

impl Follow {
    /// Subscribes. Make it before the command whose effect is followed.
    pub(super) fn new(vm: &Vm, names: &'static [&'static str]) -> Self {
        let mut clients = vm.client.clone();
        let client = clients.borrow_and_update().clone();
        let filter = Filter::names(names.iter().copied());
        let events = client.subscribe(filter.clone(), EVENTS);
        Self { vm: vm.clone(), filter, clients, client, events, missed: false }
    }

    /// The machine.
    pub(super) fn vm(&self) -> &Vm {
        &self.vm
    }

    /// What was announced until now is not heard any more.
    pub(super) fn forget(&mut self) {
        self.events = self.client.subscribe(self.filter.clone(), EVENTS);
        self.missed = false;
    }

    /// There was something before: it is a gap.
    pub(super) fn misses(&mut self) {
        self.missed = true;
    }

    /// Waits for an event, or for a gap in them. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`OperationError::Ended`], [`OperationError::Lost`].
    pub(super) async fn heard(&mut self, what: &str) -> Result<Heard, OperationError> {
        if std::mem::take(&mut self.missed) {
            return Ok(Heard::Gap);
        }
        match self.events.next().await {
            Ok(event) => Ok(Heard::Event(event)),
            Err(EventError::Lagged(_)) => Ok(Heard::Gap),
            Err(EventError::Closed) => self.another(what).await.map(|()| Heard::Gap),
        }
    }

    /// Asks until there is an answer: a question changes nothing, so it can be repeated. QEMU carries out what it was told on any of its
    /// monitors one after another; an answer is therefore newer than every command before it, also one whose own answer was lost.
    ///
    /// # Errors
    /// [`OperationError`]; never that of a deadline or of a connection.
    pub(super) async fn read<C: Command>(
        &mut self,
        what: &str,
        question: &C,
    ) -> Result<C::Reply, OperationError> {
        loop {
            match self.client.call(question).await {
                Err(CallError::Closed { .. }) => {
                    self.another(what).await?;
                    self.missed = true;
                }
                // It is busy, or its process is stopped: whoever does not want to wait drops the operation.
                Err(CallError::Deadline { .. }) => {}
                answer => return answer.map_err(failed(what)),
            }
        }
    }

    /// Tells QEMU to do something that may be told twice, until it answers, on whatever connection.
    ///
    /// # Errors
    /// [`OperationError`]; never that of a deadline or of a connection.
    pub(super) async fn insist<C: Command>(&mut self, what: &str, command: &C) -> Result<(), OperationError> {
        while self.told(what, command).await? == Told::Lost {}
        Ok(())
    }

    /// The same once, for what is to be looked at before it is told again: where the answer is lost, waits until QEMU answers again.
    ///
    /// # Errors
    /// [`OperationError`]; never that of a deadline or of a connection.
    pub(super) async fn told<C: Command>(&mut self, what: &str, command: &C) -> Result<Told, OperationError> {
        match self.vm.qmp().call(command).await {
            Ok(_) => Ok(Told::Answered),
            Err(CallError::Closed { .. } | CallError::Deadline { .. }) => {
                // What is answered from here on is newer.
                self.read(what, &QueryStatus {}).await?;
                Ok(Told::Lost)
            }
            Err(error) => Err(undone(what)(error)),
        }
    }

    /// Waits until the machine is in none of these states and answers the one that it is in. For changes that no event announces: it
    /// is asked again and again, with growing pauses.
    ///
    /// # Errors
    /// As [`Follow::read`].
    pub(super) async fn leaves(
        &mut self,
        what: &str,
        states: &[RunState],
    ) -> Result<RunState, OperationError> {
        let mut pause = Duration::from_millis(1);
        loop {
            let state = self.read(what, &QueryStatus {}).await?.status;
            if !states.contains(&state) {
                return Ok(state);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Waits for another connection.
    async fn another(&mut self, what: &str) -> Result<(), OperationError> {
        // Cancel safety: neither loses anything when dropped. Supervision ends with the process, and the process is the news.
        let opened = tokio::select! {
            biased;
            exit = self.vm.process.exited() => {
                return Err(OperationError::Ended { what: what.to_owned(), exit });
            }
            changed = self.clients.changed() => changed.is_ok(),
        };
        if !opened {
            return Err(OperationError::Lost { what: what.to_owned() });
        }
        self.client = self.clients.borrow_and_update().clone();
        // Before anything is read: what changes in between is heard.
        self.events = self.client.subscribe(self.filter.clone(), EVENTS);
        Ok(())
    }
}

/// Those of a job or a migration come by the dozen; what is missed is read.
const EVENTS: usize = 64;

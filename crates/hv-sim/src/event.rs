//! What is going to happen, in the order of virtual time. Events of one instant come in the order they were made.

use hv_api::v1;
use hv_core::InstanceId;
use hv_driver::{DriverError, Observation};
use hv_store::{Revision, StoreError, TxnOutcome};
use hypervisor_server::reconcile::{Conn, Subject};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who waits for a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Controller(Subject),
    /// A call, by its number: also its idempotency key.
    Client(u64),
}

/// A life of a program: the index of its host and a number that no other life has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) node: usize,
    pub(crate) number: u64,
}

#[derive(Debug)]
pub(crate) enum Event {
    // The store and the server's view of it. The first field is the server's life.
    Commit(u64),
    Answer(u64, Caller, Result<TxnOutcome, StoreError>),
    Visible(u64, Revision),
    ServerTick(u64),
    ServerStart,
    Expire,
    Snapshot,
    Restore,
    Repeat(u64),
    // The network.
    Opened(Conn),
    Up(Conn, Box<v1::AgentMessage>),
    Down(Conn, Box<v1::ServerMessage>),
    ClosedAtServer(Conn),
    ClosedAtAgent(Conn),
    // The agents.
    AgentStart(usize),
    Falter(Life, InstanceId),
    Dial(Life),
    Survey(Life),
    LinkTick(Life, Conn),
    Durable(usize, u64),
    Timer(Life, InstanceId, u64),
    Changed(Life, InstanceId),
    GoingDown(Life, Duration),
    // The driver's calls and the guests.
    Act(usize, u64),
    Done(usize, u64),
    Look(Life, InstanceId, u64),
    Looked(Life, InstanceId, u64, Result<Observation, DriverError>),
    GuestDown(usize, InstanceId, u64),
    GuestAnswers(usize, InstanceId),
    // What drives a run.
    Request,
    Fault,
    Isolate(usize),
    Rejoin,
    Calm,
    Inspect,
}

/// The events to come.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: BTreeMap<(Duration, u64), Event>,
    made: u64,
}

impl Queue {
    pub(crate) fn at(&mut self, time: Duration, event: Event) {
        self.made += 1;
        self.events.insert((time, self.made), event);
    }

    pub(crate) fn pop(&mut self) -> Option<(Duration, Event)> {
        self.events.pop_first().map(|((time, _), event)| (time, event))
    }
}

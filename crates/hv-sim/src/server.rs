//! The server and its store: transactions take time, changes become visible later, and a crash leaves the one or the other
//! transaction undone.

use crate::Mutation;
use crate::event::{Caller, Event};
use crate::world::{World, say};
use hv_api::internal::v1::Placement;
use hv_core::NodeId;
use hv_store::{Batch, Event as StoreEvent, LeaseId, List, Op, Revision, StoreError, Txn, TxnOutcome};
use hypervisor_server::reconcile::{Conn, Controller, Effect, Input, Now, Timing};
use hypervisor_server::state::{Cluster, keys};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// How long what has ended is kept at least, and how long one lease serves it: a day and an hour in life.
const KEEP: Duration = Duration::from_secs(20);
const BUCKET: Duration = Duration::from_secs(10);

/// Beats are rarer than in life, which makes runs shorter; what matters is that some fit into the grace period.
const TIMING: Timing = Timing { beat: Duration::from_secs(4), grace: Duration::from_secs(12) };

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) running: Option<Running>,
    pub(crate) life: u64,
}

pub(crate) struct Running {
    pub(crate) controller: Controller,
    pub(crate) cluster: Cluster,
    pub(crate) expiry: LeaseId,
    /// When the present lease was granted.
    granted: Duration,
}

/// A transaction on its way.
pub(crate) struct Pending {
    life: u64,
    caller: Caller,
    txn: Txn,
}

impl World {
    pub(crate) fn server_start(&mut self) {
        if self.server.running.is_some() {
            return;
        }
        self.server.life = self.number();
        let life = self.server.life;
        let list = List { prefix: keys::ROOT.to_owned(), ..List::default() };
        let page = self.model.list(&list).expect("the newest revision is always there");
        let events =
            page.items.into_iter().map(|current| StoreEvent::Put { current, previous: None }).collect();
        let mut cluster = Cluster::default();
        cluster.apply(&Batch { revision: page.revision, events }).expect("this program wrote it");
        let incarnation = self.model.status().incarnation;
        let controller = Controller::new(&cluster, TIMING, incarnation, self.now);
        // The store is a part of the server: it starts with it, and every lease has its full time.
        self.model.restart(self.now);
        let expiry = self.lease();
        say!(self, "server starts at revision {}", page.revision);
        self.server.running = Some(Running { controller, cluster, expiry, granted: self.now });
        self.server_step(Input::Tick);
        self.after(500, 1_000, Event::ServerTick(life));
    }

    /// The server dies. Each transaction on its way has been applied or not, in order.
    pub(crate) fn server_crash(&mut self) {
        if self.server.running.take().is_none() {
            return;
        }
        self.summary.server_crashes += 1;
        say!(self, "server dies");
        self.server.life = self.number();
        let mut goes_on = true;
        while let Some((_, pending)) = self.pending.pop_first() {
            goes_on &= self.rng.permille(500);
            if goes_on {
                let _ = self.apply(&pending.txn, pending.caller);
            }
        }
        for conn in self.wires.keys().copied().collect::<Vec<_>>() {
            self.after(1, 500, Event::ClosedAtAgent(conn));
        }
        self.after(100, 20_000, Event::ServerStart);
    }

    pub(crate) fn server_tick(&mut self, life: u64) {
        if life == self.server.life {
            let due = |running: &Running, now| now - running.granted >= BUCKET;
            if self.server.running.as_ref().is_some_and(|running| due(running, self.now)) {
                let (expiry, now) = (self.lease(), self.now);
                if let Some(running) = &mut self.server.running {
                    (running.expiry, running.granted) = (expiry, now);
                }
            }
            self.server_step(Input::Tick);
            let pace = if self.rough { 1_000 } else { 3_000 };
            self.after(pace - 100, pace, Event::ServerTick(life));
        }
    }

    fn lease(&mut self) -> LeaseId {
        let ttl = KEEP + BUCKET;
        self.queue.at(self.now + ttl, Event::Expire);
        self.model.lease_grant(self.now, ttl).expect("a valid time")
    }

    /// Leases whose time has come end, unless the store is not running.
    pub(crate) fn expire(&mut self) {
        if self.server.running.is_none() {
            return;
        }
        let before = self.model.revision();
        let keys = self.model.status().keys;
        self.model.expire(self.now);
        self.summary.expired += keys.saturating_sub(self.model.status().keys);
        self.stored(before);
        let (life, revision) = (self.server.life, self.model.revision());
        self.after(1, 30, Event::Visible(life, revision));
        if let Some(next) = self.model.next_expiry() {
            self.queue.at(next, Event::Expire);
        }
    }

    pub(crate) fn server_step(&mut self, input: Input<'_>) {
        let (wall, mono) = (self.wall(), self.now);
        let Some(Running { controller, cluster, expiry, .. }) = &mut self.server.running else { return };
        let effects = controller.step(input, cluster, Now { wall, mono, expiry: *expiry });
        for effect in effects {
            match effect {
                Effect::Txn(subject, txn) => self.submit(Caller::Controller(subject), txn),
                Effect::Send(conn, frame) => self.send_down(conn, *frame),
                Effect::Close(conn, why) => {
                    say!(self, "server closes {conn:?}: {why}");
                    self.close_at_server(conn);
                }
                Effect::Forward(_) => {}
            }
        }
    }

    pub(crate) fn open_at_server(&mut self, conn: Conn) {
        let candidate = NodeId::new(self.uid());
        self.server_step(Input::Opened { conn, candidate });
    }

    pub(crate) fn submit(&mut self, caller: Caller, txn: Txn) {
        let number = self.number();
        self.pending.insert(number, Pending { life: self.server.life, caller, txn });
        let most = if self.mishap(20) { 3_000 } else { 15 };
        self.after(1, most, Event::Commit(number));
    }

    pub(crate) fn commit(&mut self, number: u64) {
        let Some(Pending { life, caller, txn }) = self.pending.remove(&number) else { return };
        let unavailable = || Err(StoreError::Unavailable("simulated".into()));
        let result = if self.mishap(10) {
            self.summary.store_faults += 1;
            if self.rng.permille(500) {
                let _ = self.apply(&txn, caller);
            }
            unavailable()
        } else {
            self.apply(&txn, caller)
        };
        self.after(1, 10, Event::Answer(life, caller, result));
        let revision = self.model.revision();
        self.after(1, 30, Event::Visible(life, revision));
    }

    fn apply(&mut self, txn: &Txn, caller: Caller) -> Result<TxnOutcome, StoreError> {
        self.summary.transactions += 1;
        let before = self.model.revision();
        let mut txn = txn.clone();
        if self.mutation == Mutation::ConditionsIgnored {
            txn.compares.clear();
        }
        if self.mutation == Mutation::OpenOperationsLeased
            && let Some(running) = &self.server.running
        {
            let operation = |key: &str| matches!(keys::Key::parse(key), keys::Key::Operation(_));
            for op in &mut txn.then {
                match op {
                    Op::Put { key, lease, .. } if operation(key) => *lease = Some(running.expiry),
                    _ => {}
                }
            }
        }
        if self.mutation == Mutation::ReservationForgotten {
            forget_reservations(&mut txn);
        }
        let result = self.model.txn(&txn);
        let done = matches!(&result, Ok(outcome) if outcome.succeeded);
        say!(
            self,
            "store {} {caller:?} at {}: {:?}",
            if done { "applies" } else { "refuses" },
            self.model.revision(),
            txn.then.iter().map(op_name).collect::<Vec<_>>()
        );
        if let Err(error) = &result {
            // Nothing that the server or a client writes may break the store's limits.
            self.ledger.store_refused(error);
        }
        self.stored(before);
        result
    }

    /// Tells the observer what the store has taken in since a revision.
    pub(crate) fn stored(&mut self, before: Revision) {
        let changes = self.model.events_since(keys::ROOT, before, 0).expect("nothing is compacted");
        for batch in &changes.batches {
            self.ledger.stored(batch, &mut self.summary);
        }
    }

    pub(crate) fn answer(&mut self, life: u64, caller: Caller, result: Result<TxnOutcome, StoreError>) {
        if life != self.server.life {
            return;
        }
        match caller {
            Caller::Controller(subject) => self.server_step(Input::Done(subject, result)),
            Caller::Client(call) => self.client_hears(call, result),
        }
    }

    /// Everything up to a revision becomes visible to the server.
    pub(crate) fn visible(&mut self, life: u64, revision: Revision) {
        if life != self.server.life {
            return;
        }
        let Some(running) = &mut self.server.running else { return };
        let from = running.cluster.revision();
        if revision <= from {
            return;
        }
        let changes = self.model.events_since(keys::ROOT, from, 0).expect("nothing is compacted");
        let mut changed = Vec::new();
        for batch in changes.batches.iter().filter(|batch| batch.revision <= revision) {
            let applied = running.cluster.apply(batch).expect("this program wrote it");
            changed.extend(applied.into_iter().map(Arc::new));
        }
        self.server_step(Input::Changes(&changed));
    }
}

/// Placements lose the node on which room is kept.
fn forget_reservations(txn: &mut Txn) {
    for op in &mut txn.then {
        if let Op::Put { key, value, .. } = op
            && matches!(keys::Key::parse(key), keys::Key::Placement(_))
        {
            let mut placement = Placement::decode(value.clone()).expect("this program wrote it");
            placement.reserved_node_uid.clear();
            *value = placement.encode_to_vec().into();
        }
    }
}

fn op_name(op: &Op) -> String {
    let short = |key: &str| {
        let mut parts: Vec<_> = key.trim_start_matches("/hv1/").split('/').collect();
        let last = parts.pop().unwrap_or_default();
        format!("{} {}", parts.join("/"), last.get(last.len().saturating_sub(4)..).unwrap_or(last))
    };
    match op {
        Op::Put { key, .. } => format!("put {}", short(key)),
        Op::Delete(key) | Op::DeletePrefix(key) => format!("delete {}", short(key)),
        Op::Get(key) => format!("get {}", short(key)),
    }
}

//! The simulated world: its parts, its clock and its loop.

use crate::agent::Node;
use crate::check::{Ledger, Violation};
use crate::client::Call;
use crate::event::{Event, Queue};
use crate::network::Wire;
use crate::rng::Rng;
use crate::server::{Pending, Server};
use crate::{Mutation, Scenario};
use hv_core::Timestamp;
use hv_store::Snapshot;
use hv_store::model::Model;
use hypervisor_server::reconcile::Conn;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Lines of the log that a failure shows.
const LOG: usize = 60;
/// Wall clock at the start of a run.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// How often things happened in one run: shows that a set of seeds reaches what it is meant to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say what is counted")]
pub struct Summary {
    pub events: u64,
    pub virtual_time: Duration,
    pub requests: u64,
    pub transactions: u64,
    pub boots: u64,
    pub placements: u64,
    pub rejections: u64,
    pub removals: u64,
    pub server_crashes: u64,
    pub agent_crashes: u64,
    pub host_reboots: u64,
    pub cuts: u64,
    pub frames_lost: u64,
    pub frames_doubled: u64,
    pub driver_faults: u64,
    pub guest_faults: u64,
    pub journal_faults: u64,
    pub store_faults: u64,
    pub quiesces: u64,
    pub answers_lost: u64,
    pub repetitions: u64,
    pub expired: u64,
    pub restores: u64,
    pub found_again: u64,
    pub started_anew: u64,
    pub abandonments: u64,
    pub revocations: u64,
    pub departures: u64,
}

impl Summary {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        let Self {
            events,
            virtual_time,
            requests,
            transactions,
            boots,
            placements,
            rejections,
            removals,
            server_crashes,
            agent_crashes,
            host_reboots,
            cuts,
            frames_lost,
            frames_doubled,
            driver_faults,
            guest_faults,
            journal_faults,
            store_faults,
            quiesces,
            answers_lost,
            repetitions,
            expired,
            restores,
            found_again,
            started_anew,
            abandonments,
            revocations,
            departures,
        } = other;
        self.virtual_time += *virtual_time;
        for (sum, more) in [
            (&mut self.events, events),
            (&mut self.requests, requests),
            (&mut self.transactions, transactions),
            (&mut self.boots, boots),
            (&mut self.placements, placements),
            (&mut self.rejections, rejections),
            (&mut self.removals, removals),
            (&mut self.server_crashes, server_crashes),
            (&mut self.agent_crashes, agent_crashes),
            (&mut self.host_reboots, host_reboots),
            (&mut self.cuts, cuts),
            (&mut self.frames_lost, frames_lost),
            (&mut self.frames_doubled, frames_doubled),
            (&mut self.driver_faults, driver_faults),
            (&mut self.guest_faults, guest_faults),
            (&mut self.journal_faults, journal_faults),
            (&mut self.store_faults, store_faults),
            (&mut self.quiesces, quiesces),
            (&mut self.answers_lost, answers_lost),
            (&mut self.repetitions, repetitions),
            (&mut self.expired, expired),
            (&mut self.restores, restores),
            (&mut self.found_again, found_again),
            (&mut self.started_anew, started_anew),
            (&mut self.abandonments, abandonments),
            (&mut self.revocations, revocations),
            (&mut self.departures, departures),
        ] {
            *sum += *more;
        }
    }
}

/// Whether events are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logging {
    Off,
    On,
}

/// How rough a run is; drawn from the seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Climate {
    /// Frames are lost, doubled and reordered.
    pub(crate) hostile: bool,
    /// Driver calls that fail, of a thousand.
    pub(crate) driver_faults: u64,
    /// Admissions that are refused, of a thousand, per node.
    pub(crate) refusals: [u64; 2],
    /// Longest pause between two faults, in milliseconds.
    pub(crate) fault_every: u64,
    /// Longest pause between two requests, in milliseconds.
    pub(crate) request_every: u64,
    /// When faults and requests end.
    pub(crate) calm_at: Duration,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) rng: Rng,
    pub(crate) queue: Queue,
    pub(crate) mutation: Mutation,
    pub(crate) scenario: Scenario,
    /// The host that is cut off.
    pub(crate) isolated: Option<usize>,
    pub(crate) climate: Climate,
    /// Faults and requests still happen.
    pub(crate) rough: bool,
    pub(crate) model: Model,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) server: Server,
    /// What a restore would bring back.
    pub(crate) snapshot: Option<Snapshot>,
    /// Calls of the client that it has no answer to, and since when.
    pub(crate) calls: BTreeMap<u64, (Duration, Call)>,
    pub(crate) nodes: [Node; 2],
    pub(crate) wires: BTreeMap<Conn, Wire>,
    pub(crate) ledger: Ledger,
    pub(crate) summary: Summary,
    pub(crate) settled_since: Option<Duration>,
    numbers: u64,
    logging: Logging,
    log: VecDeque<String>,
}

/// Writes a line to the log, if there is one.
macro_rules! say {
    ($world:expr, $($text:tt)*) => {
        if $world.logs() {
            let line = format!($($text)*);
            $world.write(line);
        }
    };
}
pub(crate) use say;

impl World {
    pub(crate) fn new(seed: u64, mutation: Mutation, scenario: Scenario, logging: Logging) -> Self {
        let mut rng = Rng::new(seed);
        let climate = Climate {
            hostile: rng.permille(300),
            driver_faults: *rng.pick(&[0, 30, 150]).unwrap_or(&0),
            refusals: [*rng.pick(&[0, 200, 600]).unwrap_or(&0), *rng.pick(&[0, 200, 600]).unwrap_or(&0)],
            fault_every: *rng.pick(&[2_000, 6_000, 20_000]).unwrap_or(&6_000),
            request_every: *rng.pick(&[1_000, 4_000, 10_000]).unwrap_or(&4_000),
            calm_at: match scenario {
                Scenario::Usual | Scenario::Drain => rng.millis(20_000, 70_000),
                Scenario::Abandon => rng.millis(60_000, 110_000),
            },
        };
        let mut world = Self {
            now: Duration::ZERO,
            rng,
            queue: Queue::default(),
            mutation,
            scenario,
            isolated: None,
            climate,
            rough: true,
            model: Model::new("simulated"),
            pending: BTreeMap::new(),
            server: Server::default(),
            snapshot: None,
            calls: BTreeMap::new(),
            nodes: [Node::new("alpha"), Node::new("beta")],
            wires: BTreeMap::new(),
            ledger: Ledger::default(),
            summary: Summary::default(),
            settled_since: None,
            numbers: 0,
            logging,
            log: VecDeque::new(),
        };
        world.after(0, 10, Event::ServerStart);
        world.after(0, 500, Event::AgentStart(0));
        world.after(0, 500, Event::AgentStart(1));
        world.after(500, 3_000, Event::Request);
        world.after(1_000, 8_000, Event::Fault);
        world.queue.at(climate.calm_at, Event::Calm);
        for node in 0..world.nodes.len() {
            world.ledger.hosts.insert(world.nodes[node].id(), node);
        }
        if world.rng.permille(250) {
            world.after(1_000, 15_000, Event::Snapshot);
            if scenario == Scenario::Abandon {
                // Perhaps one that knows who was abandoned.
                world.after(25_000, 55_000, Event::Snapshot);
            }
            let before_calm = climate.calm_at.as_millis() as u64;
            world.after(before_calm / 3, before_calm - 1_000, Event::Restore);
        }
        world.plan_isolation();
        world
    }

    /// Runs to the end: everything has settled, or an invariant is broken.
    pub(crate) fn run(&mut self) -> Result<Summary, Violation> {
        while let Some((time, event)) = self.queue.pop() {
            self.now = time;
            self.summary.events += 1;
            if matches!(event, Event::Inspect) {
                if self.inspect()? {
                    break;
                }
                continue;
            }
            self.happen(event);
            self.ledger.verdict()?;
            self.check_guests()?;
        }
        self.summary.virtual_time = self.now;
        Ok(self.summary)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Commit(number) => self.commit(number),
            Event::Answer(life, caller, result) => self.answer(life, caller, result),
            Event::Visible(life, revision) => self.visible(life, revision),
            Event::ServerTick(life) => self.server_tick(life),
            Event::ServerStart => self.server_start(),
            Event::Expire => self.expire(),
            Event::Snapshot => self.take_snapshot(),
            Event::Restore => self.restore(),
            Event::Repeat(call) => self.repeat(call),
            Event::Opened(conn) => self.opened(conn),
            Event::Up(conn, frame) => self.up(conn, *frame),
            Event::Down(conn, frame) => self.down(conn, *frame),
            Event::ClosedAtServer(conn) => self.closed_at_server(conn),
            Event::ClosedAtAgent(conn) => self.closed_at_agent(conn),
            Event::AgentStart(node) => self.agent_start(node),
            Event::Falter(life, id) => self.falter(life, id),
            Event::Dial(life) => self.dial(life),
            Event::Survey(life) => self.survey_again(life),
            Event::LinkTick(life, conn) => self.link_tick(life, conn),
            Event::Durable(node, write) => self.durable(node, write),
            Event::Timer(life, id, token) => self.timer(life, id, token),
            Event::Changed(life, id) => self.changed(life, id),
            Event::GoingDown(life, since) => self.going_down(life, since),
            Event::Act(node, call) => self.act(node, call),
            Event::Done(node, call) => self.done(node, call),
            Event::Look(life, id, number) => self.look(life, id, number),
            Event::Looked(life, id, number, result) => self.looked(life, id, number, result),
            Event::GuestDown(node, id, boots) => self.guest_down(node, id, boots),
            Event::GuestAnswers(node, id) => self.guest_answers(node, id),
            Event::Request => self.request(),
            Event::Fault => self.fault(),
            Event::Isolate(node) => self.isolate(node),
            Event::Rejoin => self.rejoin(),
            Event::Calm => self.calm(),
            Event::Inspect => {}
        }
    }

    /// Makes something happen after a random time, in milliseconds.
    pub(crate) fn after(&mut self, least: u64, most: u64, event: Event) {
        let delay = self.rng.millis(least, most);
        self.queue.at(self.now + delay, event);
    }

    /// The wall clock: one for all.
    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp(EPOCH_MS).plus(self.now)
    }

    /// A number that was never given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A uid that was never given before; in order of creation, as UUIDv7 are.
    pub(crate) fn uid(&mut self) -> uuid::Uuid {
        let number = u128::from(self.number());
        uuid::Uuid::from_u128(0x018f_4e2a_0000_7000_8000_0000_0000_0000 | number)
    }

    /// Yes in so many of a thousand cases, while things are rough.
    pub(crate) fn mishap(&mut self, permille: u64) -> bool {
        self.rough && self.rng.permille(permille)
    }

    pub(crate) fn logs(&self) -> bool {
        self.logging == Logging::On
    }

    pub(crate) fn write(&mut self, line: String) {
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:>9.3} s  {line}", self.now.as_secs_f64()));
    }

    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log).into()
    }
}

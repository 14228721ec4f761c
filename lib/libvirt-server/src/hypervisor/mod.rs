//! The hypervisor in memory, as a value: a call and the time in, effects out. No I/O, no clock, no randomness of its own.
//!
//! ```text
//!            call, data, hole, finish, abort                  pop
//!   client ───────────────────────────────────> Hypervisor ────────> (client, Effect)
//!                                    now ──────────┘  ^
//!                                                     └─ pull: more of a download, when there is room
//! ```
//!
//! Its state at the start is that of libvirt's `test:///default`, and it answers in that driver's words; see [`Scope`] for what it can
//! do beyond.

mod admin;
mod backup;
mod block_job;
mod checkpoint;
mod connect;
mod cpu;
mod domain;
mod events;
mod filter;
mod flags;
mod guest;
mod happening;
mod host;
mod ids;
mod interface;
mod job;
mod lease;
mod migration;
mod native;
mod network;
mod node_device;
mod port;
mod qemu;
mod refusal;
mod routes;
mod sasl;
mod secret;
mod snapshot;
mod storage;
mod stream;
mod tree;
mod validate;

pub(crate) use admin::Reload;
pub use admin::{Peer, PeerProcess, Service};
#[cfg(test)]
pub(crate) use events::event;
pub use guest::{Answer, Form, Guest, StandIn};
pub use happening::Happening;
pub(crate) use migration::Errand;
pub use refusal::Refusal;
pub use sasl::{Mechanism, Sasl};

use crate::xml::Element;
use events::Subscription;
use ids::Ids;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::procedure::{Info, Procedure, Program, Release};
use libvirt_protocol::session::CallId;
use libvirt_protocol::xdr::{List, Uuid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A client of the hypervisor: one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u64);

/// How much the hypervisor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// What libvirt's test driver can do, and refusals where it refuses: what a comparison with a real daemon wants.
    #[default]
    TestDriver,
    /// Also what the test driver refuses: contents of volumes, devices that come and go, secrets, network filters, consoles.
    Complete,
}

/// What the hypervisor wants done.
#[derive(Debug)]
pub enum Effect {
    /// Answer a call.
    Reply {
        /// The call.
        call: CallId,
        /// The result, encoded.
        result: Vec<u8>,
        /// What travels with it.
        descriptors: Vec<OwnedFd>,
    },
    /// Refuse a call.
    Refuse {
        /// The call.
        call: CallId,
        /// Why.
        refusal: Refusal,
    },
    /// Send an event.
    Event {
        /// Its procedure.
        info: &'static Info,
        /// Its content, encoded.
        payload: Vec<u8>,
    },
    /// There is data for a stream: [`Hypervisor::pull`] it when there is room.
    Readable(CallId),
    /// Send data on a stream.
    Data(CallId, Vec<u8>),
    /// Send a hole on a stream; its length in bytes.
    Hole(CallId, i64),
    /// A stream has no more data.
    End(CallId),
    /// Confirm the end of a stream.
    Finish(CallId),
    /// Confirm that a stream is broken off.
    Aborted(CallId),
    /// Break a stream off.
    Break {
        /// The call that opened it.
        call: CallId,
        /// Why.
        refusal: Refusal,
    },
    /// Send what can be sent at once, and close the connection.
    Close,
}

/// The result of a procedure, or why there is none.
type Reply<P> = Result<<P as Procedure>::Ret<'static>, Refusal>;

/// A hypervisor in memory.
#[derive(Debug)]
pub struct Hypervisor {
    scope: Scope,
    hostname: String,
    version: Release,
    ids: Ids,
    /// Since the epoch; of the input under way.
    now: Duration,
    caller: Caller,
    clients: BTreeMap<Client, Connected>,
    effects: VecDeque<(Client, Effect)>,
    domains: BTreeMap<Uuid, domain::Domain>,
    last_domain_id: i32,
    /// Saved domains by the path of their image.
    images: BTreeMap<String, domain::Image>,
    networks: BTreeMap<Uuid, network::Network>,
    pools: BTreeMap<Uuid, storage::Pool>,
    interfaces: interface::Interfaces,
    devices: Vec<node_device::Device>,
    host: host::Host,
    secrets: BTreeMap<Uuid, secret::Secret>,
    filters: BTreeMap<Uuid, filter::Filter>,
    /// How long the jobs take that end by themselves.
    job_duration: Duration,
    jobs: Vec<job::Job>,
    /// What is to be carried out by whoever runs it.
    errands: VecDeque<Errand>,
    block_jobs: Vec<block_job::BlockJob>,
    /// By domain.
    backups: BTreeMap<Uuid, backup::Backup>,
    ports: BTreeMap<Uuid, port::Port>,
    /// By device.
    bindings: BTreeMap<String, port::Binding>,
    /// Who answers for the domains.
    guest: Box<dyn Guest>,
    /// The call under way is answered when its job has ended.
    deferred: bool,
    /// What came with the call under way, and what goes with its reply.
    received: Vec<OwnedFd>,
    given: Vec<OwnedFd>,
    administration: admin::Administration,
    /// `None`: everybody is let in.
    sasl: Option<Sasl>,
    /// `None`: everybody is let in; else users by their numbers.
    polkit: Option<BTreeSet<u32>>,
    /// How many clients each server has had.
    counted: BTreeMap<Service, u64>,
}

/// Who is being answered.
#[derive(Clone, Copy, Debug)]
struct Caller {
    client: Client,
    call: Option<CallId>,
}

/// What is kept for a client.
#[derive(Debug, Default)]
struct Connected {
    peer: Peer,
    /// Its number on its server.
    number: u64,
    /// When it came, since the epoch.
    since: Duration,
    /// Who it has proved to be.
    user: Option<String>,
    /// A policy lets it in.
    permitted: bool,
    exchange: sasl::Exchange,
    open: bool,
    read_only: bool,
    /// Wants to hear when the driver has gone.
    close_callback: bool,
    next_callback: i32,
    subscriptions: Vec<Subscription>,
    /// Of monitors' events.
    watches: Vec<qemu::Watch>,
    streams: BTreeMap<stream::Key, stream::Stream>,
}

impl Hypervisor {
    /// A hypervisor in the state of `test:///default`. UUIDs and addresses that it generates follow from the seed.
    #[must_use]
    pub fn new(scope: Scope, hostname: &str, seed: u64) -> Self {
        let mut hypervisor = Self {
            scope,
            hostname: hostname.to_owned(),
            version: Release(9, 0, 0),
            ids: Ids::new(seed),
            now: Duration::ZERO,
            caller: Caller { client: Client(0), call: None },
            clients: BTreeMap::new(),
            effects: VecDeque::new(),
            domains: BTreeMap::new(),
            last_domain_id: 0,
            images: BTreeMap::new(),
            networks: BTreeMap::new(),
            pools: BTreeMap::new(),
            interfaces: interface::Interfaces::default(),
            devices: node_device::defaults(scope),
            host: host::Host::default(),
            secrets: BTreeMap::new(),
            filters: BTreeMap::new(),
            job_duration: Duration::ZERO,
            jobs: Vec::new(),
            errands: VecDeque::new(),
            block_jobs: Vec::new(),
            backups: BTreeMap::new(),
            ports: BTreeMap::new(),
            bindings: BTreeMap::new(),
            guest: Box::new(StandIn),
            deferred: false,
            received: Vec::new(),
            given: Vec::new(),
            administration: admin::Administration::default(),
            sasl: None,
            polkit: None,
            counted: BTreeMap::new(),
        };
        hypervisor.interfaces = interface::Interfaces::defaults();
        hypervisor.add_default_network();
        hypervisor.add_default_pool();
        hypervisor.add_default_domain();
        hypervisor
    }

    /// The release of libvirt that it claims to be; answers stay those of 9.0.0.
    pub fn set_version(&mut self, version: Release) {
        self.version = version;
    }

    /// A client has come. `now` is the time since the epoch.
    pub fn connect(&mut self, client: Client, peer: Peer, now: Duration) {
        self.now = now;
        self.administration.idle(false, now);
        let number = self.counted.entry(peer.service).or_default();
        *number += 1;
        let connected = Connected { peer, number: *number, since: now, ..Connected::default() };
        self.clients.insert(client, connected);
    }

    /// A client has gone; nothing more is sent to it.
    pub fn disconnect(&mut self, client: Client, now: Duration) {
        self.now = now;
        self.clients.remove(&client);
        self.end_owned(client);
        self.effects.retain(|(to, _)| *to != client);
        self.administration.idle(self.clients.is_empty(), now);
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// A client calls. `now` is the time since the epoch.
    pub fn call(
        &mut self,
        client: Client,
        call: CallId,
        info: Option<&'static Info>,
        payload: &[u8],
        descriptors: Vec<OwnedFd>,
        now: Duration,
    ) {
        self.now = now;
        self.received = descriptors;
        self.given = Vec::new();
        self.caller = Caller { client, call: Some(call) };
        let before = self.effects.len();
        self.deferred = false;
        let answer = self.answer(call, info, payload);
        tracing::trace!(
            target: "libvirt_server::answered",
            program = info.map(|info| tracing::field::debug(info.program)),
            procedure = info.map(|info| info.name),
            flags = info.and_then(|info| (info.recode?.flags)(payload).ok()),
            refused = answer.as_ref().err().map(|refusal| format!("{:?}", refusal.code)),
        );
        let effect = match answer {
            Ok(_) if self.deferred => return,
            Ok(result) => Effect::Reply { call, result, descriptors: std::mem::take(&mut self.given) },
            Err(refusal) => Effect::Refuse { call, refusal },
        };
        self.received.clear();
        // A reply goes before what the call set going: streams and events.
        self.effects.insert(before, (client, effect));
    }

    fn answer(
        &mut self,
        call: CallId,
        info: Option<&'static Info>,
        payload: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let service =
            self.clients.get(&self.caller.client).map(|client| client.peer.service).unwrap_or_default();
        let known = Program::from_number(call.program()).filter(|program| {
            // Administrators have a socket of their own, with nothing else on it.
            program.version() == call.version() && (*program == Program::Admin) == (service == Service::Admin)
        });
        let Some(program) = known else {
            let text = format!("Cannot find program {} version {}", call.program(), call.version());
            return Err(Refusal::rpc(text));
        };
        let unknown = || Refusal::rpc(format!("unknown procedure: {}", call.procedure()));
        let info = info.ok_or_else(unknown)?;
        if self.client()?.streams.contains_key(&call.serial()) {
            // What would come with this serial could belong to either.
            return Err(Refusal::rpc(format!("a stream is open with serial {}", call.serial())));
        }
        if self.is_stranger() && !routes::before_authentication(info) {
            return Err(Refusal::rpc("authentication required".to_owned()));
        }
        let client = self.clients.get(&self.caller.client);
        if !client.is_some_and(|client| client.open) && !routes::before_open(info) {
            return Err(Refusal::internal("hypervisor connection not open").of(ErrorDomain::Rpc));
        }
        if client.is_some_and(|client| client.read_only) && !only_reads(info) {
            return Err(Refusal::read_only(info));
        }
        match routes::find(program, call.procedure(), self.scope) {
            Some(handler) => {
                let bits = info.recode.and_then(|recode| (recode.flags)(payload).ok());
                if let Some(bits) = bits.filter(|_| self.scope == Scope::Complete) {
                    flags::check(info, bits)?;
                }
                handler(self, payload)
            }
            None => Err(Refusal::unsupported(info)),
        }
    }

    /// What is to be done next, and for whom.
    pub fn pop(&mut self) -> Option<(Client, Effect)> {
        self.effects.pop_front()
    }

    fn client(&mut self) -> Result<&mut Connected, Refusal> {
        self.clients.get_mut(&self.caller.client).ok_or_else(|| Refusal::internal("the client has gone"))
    }

    fn seconds(&self) -> u64 {
        self.now.as_secs()
    }

    /// Reads a document whose root has this name; `what` names it in the error.
    fn document(&self, xml: &str, root: &str, what: &str) -> Result<Element, Refusal> {
        let element = Element::parse(xml).map_err(|error| {
            Refusal::new(ErrorNumber::XmlDetail, format!("({what}):{}: {}", error.line, error.what))
                .of(ErrorDomain::Domain)
        })?;
        if element.name == root {
            return Ok(element);
        }
        let text = format!("expecting root element of '{root}', not '{}'", element.name);
        Err(Refusal::xml(text).of(ErrorDomain::Xml))
    }

    /// The UUID that a document names, or a new one.
    fn uuid_of(&mut self, document: &Element, part: ErrorDomain) -> Result<Uuid, Refusal> {
        match document.text_of("uuid") {
            None => Ok(self.ids.uuid()),
            Some(text) => {
                text.trim().parse().map_err(|_| Refusal::internal("malformed uuid element").of(part))
            }
        }
    }
}

/// Whether a procedure needs no permission but to look.
fn only_reads(info: &Info) -> bool {
    info.acl.iter().all(|needs| {
        let mut parts = needs.split(':').skip(1);
        let permission = parts.next().unwrap_or_default();
        // A third part tells which flag makes the permission necessary.
        parts.next().is_some()
            || permission == "getattr"
            || permission == "read"
            || permission.starts_with("search_")
    })
}

/// Whether an object passes a filter of bits: in every group of which a bit is asked for, one of those asked for must fit.
fn fits<G>(filter: u32, groups: impl IntoIterator<Item = G>) -> bool
where
    G: IntoIterator<Item = (u32, bool)>,
{
    groups.into_iter().all(|group| {
        let mut asked = group.into_iter().filter(|(bit, _)| filter & bit != 0).peekable();
        asked.peek().is_none() || asked.any(|(_, fit)| fit)
    })
}

/// How many, as the protocol counts.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A text among parameters.
fn text<'a>(params: &List<'a, TypedParam<'a>, 64>, name: &str) -> Option<String> {
    let found = params.iter().find(|param| param.field == name)?;
    found.value.as_text().map(|text| text.to_string())
}

#[cfg(test)]
mod tests;

//! The daemon's own administration: its two servers, who is connected to them, its workers, its logs. On a socket of its own.
//!
//! Limits of clients are kept ([`Hypervisor::has_room`]), and the daemon ends when it is told to or has had no clients for long enough
//! ([`Hypervisor::ended`]). Workers and logs are numbers and words only: what was set is what is told.

use super::{Client, Connected, Effect, Hypervisor, Refusal, Reply, count};
use libvirt_protocol::admin::{self, *};
use libvirt_protocol::enums::{ClientTransport, ErrorDomain, ErrorNumber};
use libvirt_protocol::parameters as names;
use libvirt_protocol::params::{TypedParam, TypedValue};
use libvirt_protocol::xdr::{List, Text};
use std::time::Duration;

/// A server inside the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The one that serves hypervisors: `libvirtd`.
    #[default]
    Main,
    /// The one that serves administrators: `admin`.
    Admin,
}

impl Service {
    /// In the order in which libvirtd lists them.
    const ALL: [Self; 2] = [Self::Admin, Self::Main];

    fn name(self) -> &'static str {
        match self {
            Self::Main => "libvirtd",
            Self::Admin => "admin",
        }
    }

    fn wire(self) -> admin::Server<'static> {
        admin::Server { name: self.name().into() }
    }

    fn find(server: &admin::Server<'_>) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|known| server.name == known.name()).ok_or_else(|| {
            let text = format!("No server named '{}'", server.name);
            Refusal::new(ErrorNumber::NoServer, text).of(ErrorDomain::Rpc)
        })
    }
}

/// Who a client is, and how it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Whose socket it came to.
    pub service: Service,
    /// How.
    pub transport: ClientTransport,
    /// Address and port, where it came over a network.
    pub address: Option<String>,
    /// Its process, where it came over a unix socket.
    pub process: Option<PeerProcess>,
}

/// The process at the other end of a unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerProcess {
    /// Its number, where the system tells.
    pub id: Option<i32>,
    /// Its user.
    pub user: u32,
    /// The name of its user, where it has one.
    pub user_name: Option<String>,
    /// Its group.
    pub group: u32,
    /// The name of its group, where it has one.
    pub group_name: Option<String>,
}

/// Reads certificates again; says why they cannot be used.
pub(crate) struct Reload(pub(crate) Box<dyn Fn() -> Result<(), String> + Send>);

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reload")
    }
}

/// What administrators see and set.
#[derive(Debug)]
pub(super) struct Administration {
    main: Settings,
    admin: Settings,
    /// Each with its priority in front: `3:stderr`.
    outputs: Vec<String>,
    filters: Vec<String>,
    /// After so much time without clients the daemon ends.
    timeout: Option<Duration>,
    idle_since: Option<Duration>,
    shut_down: bool,
    tls: Option<Reload>,
}

/// Settings of a server.
#[derive(Clone, Copy, Debug)]
struct Settings {
    workers_min: u32,
    workers_max: u32,
    workers: u32,
    workers_priority: u32,
    clients_max: u32,
    unauthenticated_max: u32,
}

/// What libvirtd begins with (`max_workers` and so on of libvirtd.conf).
const MAIN: Settings = Settings {
    workers_min: 5,
    workers_max: 20,
    workers: 5,
    workers_priority: 5,
    clients_max: 5000,
    unauthenticated_max: 20,
};
/// The same for its administration.
const ADMIN: Settings = Settings { workers_priority: 0, unauthenticated_max: 0, ..MAIN };
/// Where the daemon logs to when nobody says otherwise.
const OUTPUT: &str = "3:stderr";

impl Default for Administration {
    fn default() -> Self {
        Self {
            main: MAIN,
            admin: ADMIN,
            outputs: vec![OUTPUT.to_owned()],
            filters: Vec::new(),
            timeout: None,
            idle_since: None,
            shut_down: false,
            tls: None,
        }
    }
}

impl Administration {
    fn settings(&mut self, service: Service) -> &mut Settings {
        match service {
            Service::Main => &mut self.main,
            Service::Admin => &mut self.admin,
        }
    }

    /// When the daemon ends if nobody comes.
    pub(super) fn deadline(&self) -> Option<Duration> {
        Some(self.idle_since? + self.timeout?)
    }

    /// Whether anybody is connected, from now on.
    pub(super) fn idle(&mut self, idle: bool, now: Duration) {
        self.idle_since = idle.then(|| self.idle_since.unwrap_or(now));
    }
}

/// An error of the administration's own.
fn wrong(text: String) -> Refusal {
    Refusal::new(ErrorNumber::InvalidArg, text).of(ErrorDomain::Rpc)
}

/// An error of the part that writes logs.
fn unloggable(text: String) -> Refusal {
    wrong(text).of(ErrorDomain::None)
}

/// The numbers among parameters by name; others than these are refused.
fn numbers<'a, const N: usize>(
    params: &List<'a, TypedParam<'a>, 32>,
    known: [&str; N],
) -> Result<[Option<u32>; N], Refusal> {
    let mut found = [None; N];
    for param in params.iter() {
        let Some(at) = known.iter().position(|name| param.field == *name) else {
            let text = format!("parameter '{}' not supported", param.field);
            return Err(Refusal::new(ErrorNumber::ArgumentUnsupported, text).of(ErrorDomain::None));
        };
        let TypedValue::UInt(value) = param.value else {
            return Err(unloggable(format!("invalid type for parameter '{}', expected 'uint'", param.field)));
        };
        found[at] = Some(value);
    }
    Ok(found)
}

fn words(text: Option<&Text<'_>>) -> Vec<String> {
    text.map(|text| text.to_str_lossy().split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
}

/// A filter as the daemon tells it: the name with a star on both sides.
fn filter(word: &str) -> Result<String, Refusal> {
    let malformed = || unloggable(format!("Malformed format for filter '{word}'"));
    let (priority, name) = word.split_once(':').ok_or_else(malformed)?;
    if !matches!(priority, "1" | "2" | "3" | "4") {
        return Err(unloggable(format!("Invalid priority '{priority}' for filter '{word}'")));
    }
    match name.trim_start_matches('+') {
        "" => Err(malformed()),
        name => Ok(format!("{priority}:*{name}*")),
    }
}

fn output(word: &str) -> Result<String, Refusal> {
    let (priority, rest) = word
        .split_once(':')
        .ok_or_else(|| unloggable(format!("Malformed format for log output '{word}'")))?;
    if !matches!(priority, "1" | "2" | "3" | "4") {
        return Err(unloggable(format!("Invalid log priority '{priority}' for log output '{word}'")));
    }
    let (destination, argument) = match rest.split_once(':') {
        Some((destination, argument)) => (destination, Some(argument)),
        None => (rest, None),
    };
    let fits = match destination {
        "stderr" | "journald" => argument.is_none(),
        "syslog" => argument.is_some(),
        // What would be a path from the daemon's directory is one from the root.
        "file" => match argument {
            Some(path) => return Ok(format!("{priority}:file:/{}", path.trim_start_matches('/'))),
            None => false,
        },
        _ => {
            let text = format!("Invalid log destination '{destination}' for log output '{word}'");
            return Err(unloggable(text));
        }
    };
    let mismatch = format!(
        "Log output '{word}' does not meet the format requirements for destination type '{destination}'"
    );
    if fits { Ok(word.to_owned()) } else { Err(unloggable(mismatch)) }
}

impl Connected {
    fn wire(&self) -> admin::Client<'static> {
        admin::Client {
            srv: self.peer.service.wire(),
            id: self.number,
            timestamp: i64::try_from(self.since.as_secs()).unwrap_or(i64::MAX),
            transport: u32::try_from(i32::from(self.peer.transport)).unwrap_or_default(),
        }
    }
}

impl Hypervisor {
    /// Whether one more client may come to a server.
    #[must_use]
    pub fn has_room(&self, service: Service) -> bool {
        let most = match service {
            Service::Main => self.administration.main.clients_max,
            Service::Admin => self.administration.admin.clients_max,
        };
        count(self.connected(service).count()) < most
    }

    /// Whether the daemon has been told to end, or has been without clients for as long as it was told.
    #[must_use]
    pub fn ended(&self) -> bool {
        let idle = self.administration.deadline().is_some_and(|deadline| deadline <= self.now);
        self.administration.shut_down || idle
    }

    /// What reads the certificates again when an administrator says so.
    pub(crate) fn set_tls(&mut self, reload: Reload) {
        self.administration.tls = Some(reload);
    }

    fn connected(&self, service: Service) -> impl Iterator<Item = (&Client, &Connected)> {
        self.clients.iter().filter(move |(_, connected)| connected.peer.service == service)
    }

    fn connected_as(&self, service: Service, number: u64) -> Result<(Client, &Connected), Refusal> {
        let found = self.connected(service).find(|(_, connected)| connected.number == number);
        found.map(|(client, connected)| (*client, connected)).ok_or_else(|| {
            let text = format!("No client with matching ID '{number}'");
            Refusal::new(ErrorNumber::NoClient, text).of(ErrorDomain::Rpc)
        })
    }

    pub(super) fn admin_open(&mut self, args: ConnectOpenArgs) -> Reply<admin::ConnectOpen> {
        self.only(args.flags.bits(), 0, "adminDispatchConnectOpen")?;
        self.client()?.open = true;
        Ok(())
    }

    pub(super) fn admin_close(&mut self, (): ()) -> Reply<admin::ConnectClose> {
        self.client()?.open = false;
        Ok(())
    }

    pub(super) fn admin_lib_version(&mut self, (): ()) -> Reply<admin::ConnectGetLibVersion> {
        Ok(ConnectGetLibVersionRet { lib_ver: self.lib_version() })
    }

    pub(super) fn admin_servers(&mut self, args: ConnectListServersArgs) -> Reply<admin::ConnectListServers> {
        let wanted = if args.need_results == 0 { &[][..] } else { &Service::ALL[..] };
        let servers = wanted.iter().map(|service| service.wire()).collect();
        Ok(ConnectListServersRet { servers, ret: count(Service::ALL.len()) })
    }

    pub(super) fn admin_server(
        &mut self,
        args: ConnectLookupServerArgs<'_>,
    ) -> Reply<admin::ConnectLookupServer> {
        let srv = Service::find(&admin::Server { name: args.name })?.wire();
        Ok(ConnectLookupServerRet { srv })
    }

    pub(super) fn admin_threadpool(
        &mut self,
        args: ServerGetThreadpoolParametersArgs<'_>,
    ) -> Reply<admin::ServerGetThreadpoolParameters> {
        let service = Service::find(&args.srv)?;
        let settings = *self.administration.settings(service);
        // Who asks keeps one busy; so does each call that takes its time.
        let busy = match service {
            Service::Main => count(self.calls_under_way()),
            Service::Admin => 1,
        };
        let params = [
            (names::THREADPOOL_WORKERS_MIN, settings.workers_min),
            (names::THREADPOOL_WORKERS_MAX, settings.workers_max),
            (names::THREADPOOL_WORKERS_CURRENT, settings.workers),
            (names::THREADPOOL_WORKERS_FREE, settings.workers.saturating_sub(busy)),
            (names::THREADPOOL_WORKERS_PRIORITY, settings.workers_priority),
            (names::THREADPOOL_JOB_QUEUE_DEPTH, busy.saturating_sub(settings.workers)),
        ];
        let params = params.into_iter().map(|(name, value)| TypedParam::new(name, value)).collect();
        Ok(ServerGetThreadpoolParametersRet { params })
    }

    pub(super) fn admin_set_threadpool(
        &mut self,
        args: ServerSetThreadpoolParametersArgs<'_>,
    ) -> Reply<admin::ServerSetThreadpoolParameters> {
        let settings = self.administration.settings(Service::find(&args.srv)?);
        let known = [
            names::THREADPOOL_WORKERS_MIN,
            names::THREADPOOL_WORKERS_MAX,
            names::THREADPOOL_WORKERS_PRIORITY,
        ];
        let [min, max, priority] = numbers(&args.params, known)?;
        let (min, max) = (min.unwrap_or(settings.workers_min), max.unwrap_or(settings.workers_max));
        if min > max {
            return Err(unloggable("minWorkers cannot be larger than maxWorkers".to_owned()));
        }
        (settings.workers_min, settings.workers_max) = (min, max);
        settings.workers = settings.workers.clamp(min, max);
        settings.workers_priority = priority.unwrap_or(settings.workers_priority);
        Ok(())
    }

    pub(super) fn admin_clients(
        &mut self,
        args: ServerListClientsArgs<'_>,
    ) -> Reply<admin::ServerListClients> {
        let service = Service::find(&args.srv)?;
        let found: Vec<_> = self.connected(service).map(|(_, connected)| connected.wire()).collect();
        let ret = count(found.len());
        let clients = if args.need_results == 0 { Vec::new() } else { found };
        Ok(ServerListClientsRet { clients: clients.into(), ret })
    }

    pub(super) fn admin_client(
        &mut self,
        args: ServerLookupClientArgs<'_>,
    ) -> Reply<admin::ServerLookupClient> {
        let (_, connected) = self.connected_as(Service::find(&args.srv)?, args.id)?;
        Ok(ServerLookupClientRet { clnt: connected.wire() })
    }

    pub(super) fn admin_client_info(&mut self, args: ClientGetInfoArgs<'_>) -> Reply<admin::ClientGetInfo> {
        let (_, connected) = self.connected_as(Service::find(&args.clnt.srv)?, args.clnt.id)?;
        let read_only = TypedValue::Boolean(i32::from(connected.read_only));
        let mut params = vec![TypedParam::new(names::CLIENT_INFO_READONLY, read_only)];
        let mut text = |name: &'static str, value: &Option<String>| {
            params.extend(value.clone().map(|value| TypedParam::new(name, TypedValue::String(value.into()))));
        };
        text(names::CLIENT_INFO_SASL_USER_NAME, &connected.user);
        let peer = &connected.peer;
        text(names::CLIENT_INFO_SOCKET_ADDR, &peer.address);
        if let Some(process) = &peer.process {
            // C ints, as uid_t and gid_t are told.
            let number = |name, value: u32| TypedParam::new(name, TypedValue::Int(value.cast_signed()));
            let named = |name: &'static str, value: &Option<String>| {
                value.clone().map(|value| TypedParam::new(name, TypedValue::String(value.into())))
            };
            params.push(number(names::CLIENT_INFO_UNIX_USER_ID, process.user));
            params.extend(named(names::CLIENT_INFO_UNIX_USER_NAME, &process.user_name));
            params.push(number(names::CLIENT_INFO_UNIX_GROUP_ID, process.group));
            params.extend(named(names::CLIENT_INFO_UNIX_GROUP_NAME, &process.group_name));
            params.extend(
                process.id.map(|id| TypedParam::new(names::CLIENT_INFO_UNIX_PROCESS_ID, TypedValue::Int(id))),
            );
        }
        Ok(ClientGetInfoRet { params: params.into() })
    }

    pub(super) fn admin_client_close(&mut self, args: ClientCloseArgs<'_>) -> Reply<admin::ClientClose> {
        let (client, _) = self.connected_as(Service::find(&args.clnt.srv)?, args.clnt.id)?;
        self.effects.push_back((client, Effect::Close));
        Ok(())
    }

    pub(super) fn admin_limits(
        &mut self,
        args: ServerGetClientLimitsArgs<'_>,
    ) -> Reply<admin::ServerGetClientLimits> {
        let service = Service::find(&args.srv)?;
        let settings = *self.administration.settings(service);
        let unauthenticated = self.connected(service).filter(|(_, connected)| {
            self.sasl.is_some() && service == Service::Main && connected.user.is_none()
        });
        let params = [
            (names::SERVER_CLIENTS_MAX, settings.clients_max),
            (names::SERVER_CLIENTS_CURRENT, count(self.connected(service).count())),
            (names::SERVER_CLIENTS_UNAUTH_MAX, settings.unauthenticated_max),
            (names::SERVER_CLIENTS_UNAUTH_CURRENT, count(unauthenticated.count())),
        ];
        let params = params.into_iter().map(|(name, value)| TypedParam::new(name, value)).collect();
        Ok(ServerGetClientLimitsRet { params })
    }

    pub(super) fn admin_set_limits(
        &mut self,
        args: ServerSetClientLimitsArgs<'_>,
    ) -> Reply<admin::ServerSetClientLimits> {
        let settings = self.administration.settings(Service::find(&args.srv)?);
        let known = [names::SERVER_CLIENTS_MAX, names::SERVER_CLIENTS_UNAUTH_MAX];
        let [all, unauthenticated] = numbers(&args.params, known)?;
        let all = all.unwrap_or(settings.clients_max);
        let unauthenticated = unauthenticated.unwrap_or(settings.unauthenticated_max);
        if all < unauthenticated {
            // The words of libvirtd 9.0.0, which mean the opposite.
            let text = "The overall maximum number of clients waiting for authentication must not be less than the \
                        overall maximum number of clients";
            return Err(wrong(text.to_owned()));
        }
        (settings.clients_max, settings.unauthenticated_max) = (all, unauthenticated);
        Ok(())
    }

    pub(super) fn admin_outputs(
        &mut self,
        _args: ConnectGetLoggingOutputsArgs,
    ) -> Reply<admin::ConnectGetLoggingOutputs> {
        let outputs = &self.administration.outputs;
        Ok(ConnectGetLoggingOutputsRet { outputs: outputs.join(" ").into(), noutputs: count(outputs.len()) })
    }

    pub(super) fn admin_filters(
        &mut self,
        _args: ConnectGetLoggingFiltersArgs,
    ) -> Reply<admin::ConnectGetLoggingFilters> {
        let filters = &self.administration.filters;
        // Each has a blank behind it.
        let text: String = filters.iter().flat_map(|filter| [filter, " "]).collect();
        let text = Some(text).filter(|text| !text.is_empty()).map(Text::from);
        Ok(ConnectGetLoggingFiltersRet { filters: text, nfilters: count(filters.len()) })
    }

    pub(super) fn admin_set_outputs(
        &mut self,
        args: ConnectSetLoggingOutputsArgs<'_>,
    ) -> Reply<admin::ConnectSetLoggingOutputs> {
        let mut outputs =
            words(args.outputs.as_ref()).iter().map(|word| output(word)).collect::<Result<Vec<_>, _>>()?;
        if outputs.is_empty() {
            outputs.push(OUTPUT.to_owned());
        }
        self.administration.outputs = outputs;
        Ok(())
    }

    pub(super) fn admin_set_filters(
        &mut self,
        args: ConnectSetLoggingFiltersArgs<'_>,
    ) -> Reply<admin::ConnectSetLoggingFilters> {
        let filters = words(args.filters.as_ref()).iter().map(|word| filter(word)).collect::<Result<_, _>>();
        self.administration.filters = filters?;
        Ok(())
    }

    pub(super) fn admin_update_tls(
        &mut self,
        args: ServerUpdateTlsFilesArgs<'_>,
    ) -> Reply<admin::ServerUpdateTlsFiles> {
        let service = Service::find(&args.srv)?;
        match self.administration.tls.as_ref().filter(|_| service == Service::Main) {
            Some(Reload(reload)) => {
                reload().map_err(|why| Refusal::new(ErrorNumber::SystemError, why).of(ErrorDomain::Rpc))
            }
            None => {
                let text = "no tls service found, unable to update tls files";
                Err(Refusal::internal(text).of(ErrorDomain::Rpc))
            }
        }
    }

    pub(super) fn admin_set_timeout(
        &mut self,
        args: ConnectSetDaemonTimeoutArgs,
    ) -> Reply<admin::ConnectSetDaemonTimeout> {
        self.administration.timeout = match args.timeout {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        };
        Ok(())
    }

    pub(super) fn admin_shut_down(
        &mut self,
        _args: ConnectDaemonShutdownArgs,
    ) -> Reply<admin::ConnectDaemonShutdown> {
        self.administration.shut_down = true;
        let all: Vec<Client> = self.clients.keys().copied().collect();
        self.effects.extend(all.into_iter().map(|client| (client, Effect::Close)));
        Ok(())
    }
}

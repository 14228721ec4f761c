// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Administration of the daemon itself.

use crate::NoFlags;
use crate::generated::flags;
use crate::params::TypedParam;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, structure};

procedure! {
/// [`virAdmConnectOpen`](https://libvirt.org/search.html?q=virAdmConnectOpen), since libvirt 2.0.0.
ConnectOpen(ConnectOpenArgs) -> () = Info::new(Program::Admin, 1, "connect_open", Release(2, 0, 0)).function("virAdmConnectOpen")
}

structure! {
/// What [`ConnectOpen`] takes.
ConnectOpenArgs {
/// `flags`
flags: flags::ConnectFlags,
}}

procedure! {
/// [`virAdmConnectClose`](https://libvirt.org/search.html?q=virAdmConnectClose), since libvirt 2.0.0.
ConnectClose(()) -> () = Info::new(Program::Admin, 2, "connect_close", Release(2, 0, 0)).function("virAdmConnectClose")
}

procedure! {
/// [`virAdmConnectGetLibVersion`](https://libvirt.org/search.html?q=virAdmConnectGetLibVersion), since libvirt 2.0.0.
ConnectGetLibVersion(()) -> ConnectGetLibVersionRet = Info::new(Program::Admin, 3, "connect_get_lib_version", Release(2, 0, 0)).function("virAdmConnectGetLibVersion")
}

structure! {
/// What [`ConnectGetLibVersion`] returns.
ConnectGetLibVersionRet {
/// `libVer`
lib_ver: u64,
}}

procedure! {
/// [`virAdmConnectListServers`](https://libvirt.org/search.html?q=virAdmConnectListServers), since libvirt 2.0.0.
ConnectListServers(ConnectListServersArgs) -> ConnectListServersRet<'a> = Info::new(Program::Admin, 4, "connect_list_servers", Release(2, 0, 0)).function("virAdmConnectListServers")
}

structure! {
/// What [`ConnectListServers`] takes.
ConnectListServersArgs {
/// `need_results`
need_results: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectListServers`] returns.
ConnectListServersRet<'a> {
/// `servers`
servers: List<'a, Server<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virAdmConnectLookupServer`](https://libvirt.org/search.html?q=virAdmConnectLookupServer), since libvirt 2.0.0.
ConnectLookupServer(ConnectLookupServerArgs<'a>) -> ConnectLookupServerRet<'a> = Info::new(Program::Admin, 5, "connect_lookup_server", Release(2, 0, 0)).function("virAdmConnectLookupServer")
}

structure! {
/// What [`ConnectLookupServer`] takes.
ConnectLookupServerArgs<'a> {
/// `name`
name: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectLookupServer`] returns.
ConnectLookupServerRet<'a> {
/// `srv`
srv: Server<'a>,
}}

procedure! {
/// [`virAdmServerGetThreadPoolParameters`](https://libvirt.org/search.html?q=virAdmServerGetThreadPoolParameters), since libvirt 2.0.0.
ServerGetThreadpoolParameters(ServerGetThreadpoolParametersArgs<'a>) -> ServerGetThreadpoolParametersRet<'a> = Info::new(Program::Admin, 6, "server_get_threadpool_parameters", Release(2, 0, 0)).function("virAdmServerGetThreadPoolParameters")
}

structure! {
/// What [`ServerGetThreadpoolParameters`] takes.
ServerGetThreadpoolParametersArgs<'a> {
/// `srv`
srv: Server<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ServerGetThreadpoolParameters`] returns.
ServerGetThreadpoolParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 32>,
}}

procedure! {
/// [`virAdmServerSetThreadPoolParameters`](https://libvirt.org/search.html?q=virAdmServerSetThreadPoolParameters), since libvirt 2.0.0.
ServerSetThreadpoolParameters(ServerSetThreadpoolParametersArgs<'a>) -> () = Info::new(Program::Admin, 7, "server_set_threadpool_parameters", Release(2, 0, 0)).function("virAdmServerSetThreadPoolParameters")
}

structure! {
/// What [`ServerSetThreadpoolParameters`] takes.
ServerSetThreadpoolParametersArgs<'a> {
/// `srv`
srv: Server<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 32>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virAdmServerListClients`](https://libvirt.org/search.html?q=virAdmServerListClients), since libvirt 2.0.0.
ServerListClients(ServerListClientsArgs<'a>) -> ServerListClientsRet<'a> = Info::new(Program::Admin, 8, "server_list_clients", Release(2, 0, 0)).function("virAdmServerListClients")
}

structure! {
/// What [`ServerListClients`] takes.
ServerListClientsArgs<'a> {
/// `srv`
srv: Server<'a>,
/// `need_results`
need_results: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ServerListClients`] returns.
ServerListClientsRet<'a> {
/// `clients`
clients: List<'a, Client<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virAdmServerLookupClient`](https://libvirt.org/search.html?q=virAdmServerLookupClient), since libvirt 2.0.0.
ServerLookupClient(ServerLookupClientArgs<'a>) -> ServerLookupClientRet<'a> = Info::new(Program::Admin, 9, "server_lookup_client", Release(2, 0, 0)).function("virAdmServerLookupClient")
}

structure! {
/// What [`ServerLookupClient`] takes.
ServerLookupClientArgs<'a> {
/// `srv`
srv: Server<'a>,
/// `id`
id: u64,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ServerLookupClient`] returns.
ServerLookupClientRet<'a> {
/// `clnt`
clnt: Client<'a>,
}}

procedure! {
/// [`virAdmClientGetInfo`](https://libvirt.org/search.html?q=virAdmClientGetInfo), since libvirt 2.0.0.
ClientGetInfo(ClientGetInfoArgs<'a>) -> ClientGetInfoRet<'a> = Info::new(Program::Admin, 10, "client_get_info", Release(2, 0, 0)).function("virAdmClientGetInfo")
}

structure! {
/// What [`ClientGetInfo`] takes.
ClientGetInfoArgs<'a> {
/// `clnt`
clnt: Client<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ClientGetInfo`] returns.
ClientGetInfoRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
}}

procedure! {
/// [`virAdmClientClose`](https://libvirt.org/search.html?q=virAdmClientClose), since libvirt 2.0.0.
ClientClose(ClientCloseArgs<'a>) -> () = Info::new(Program::Admin, 11, "client_close", Release(2, 0, 0)).function("virAdmClientClose")
}

structure! {
/// What [`ClientClose`] takes.
ClientCloseArgs<'a> {
/// `clnt`
clnt: Client<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virAdmServerGetClientLimits`](https://libvirt.org/search.html?q=virAdmServerGetClientLimits), since libvirt 2.0.0.
ServerGetClientLimits(ServerGetClientLimitsArgs<'a>) -> ServerGetClientLimitsRet<'a> = Info::new(Program::Admin, 12, "server_get_client_limits", Release(2, 0, 0)).function("virAdmServerGetClientLimits")
}

structure! {
/// What [`ServerGetClientLimits`] takes.
ServerGetClientLimitsArgs<'a> {
/// `srv`
srv: Server<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ServerGetClientLimits`] returns.
ServerGetClientLimitsRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 32>,
}}

procedure! {
/// [`virAdmServerSetClientLimits`](https://libvirt.org/search.html?q=virAdmServerSetClientLimits), since libvirt 2.0.0.
ServerSetClientLimits(ServerSetClientLimitsArgs<'a>) -> () = Info::new(Program::Admin, 13, "server_set_client_limits", Release(2, 0, 0)).function("virAdmServerSetClientLimits")
}

structure! {
/// What [`ServerSetClientLimits`] takes.
ServerSetClientLimitsArgs<'a> {
/// `srv`
srv: Server<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 32>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virAdmConnectGetLoggingOutputs`](https://libvirt.org/search.html?q=virAdmConnectGetLoggingOutputs), since libvirt 3.0.0.
ConnectGetLoggingOutputs(ConnectGetLoggingOutputsArgs) -> ConnectGetLoggingOutputsRet<'a> = Info::new(Program::Admin, 14, "connect_get_logging_outputs", Release(3, 0, 0)).function("virAdmConnectGetLoggingOutputs")
}

structure! {
/// What [`ConnectGetLoggingOutputs`] takes.
ConnectGetLoggingOutputsArgs {
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectGetLoggingOutputs`] returns.
ConnectGetLoggingOutputsRet<'a> {
/// `outputs`
outputs: Text<'a>,
/// `noutputs`
noutputs: u32,
}}

procedure! {
/// [`virAdmConnectGetLoggingFilters`](https://libvirt.org/search.html?q=virAdmConnectGetLoggingFilters), since libvirt 3.0.0.
ConnectGetLoggingFilters(ConnectGetLoggingFiltersArgs) -> ConnectGetLoggingFiltersRet<'a> = Info::new(Program::Admin, 15, "connect_get_logging_filters", Release(3, 0, 0)).function("virAdmConnectGetLoggingFilters")
}

structure! {
/// What [`ConnectGetLoggingFilters`] takes.
ConnectGetLoggingFiltersArgs {
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectGetLoggingFilters`] returns.
ConnectGetLoggingFiltersRet<'a> {
/// `filters`
filters: Option<Text<'a>>,
/// `nfilters`
nfilters: u32,
}}

procedure! {
/// [`virAdmConnectSetLoggingOutputs`](https://libvirt.org/search.html?q=virAdmConnectSetLoggingOutputs), since libvirt 3.0.0.
ConnectSetLoggingOutputs(ConnectSetLoggingOutputsArgs<'a>) -> () = Info::new(Program::Admin, 16, "connect_set_logging_outputs", Release(3, 0, 0)).function("virAdmConnectSetLoggingOutputs")
}

structure! {
/// What [`ConnectSetLoggingOutputs`] takes.
ConnectSetLoggingOutputsArgs<'a> {
/// `outputs`
outputs: Option<Text<'a>>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virAdmConnectSetLoggingFilters`](https://libvirt.org/search.html?q=virAdmConnectSetLoggingFilters), since libvirt 3.0.0.
ConnectSetLoggingFilters(ConnectSetLoggingFiltersArgs<'a>) -> () = Info::new(Program::Admin, 17, "connect_set_logging_filters", Release(3, 0, 0)).function("virAdmConnectSetLoggingFilters")
}

structure! {
/// What [`ConnectSetLoggingFilters`] takes.
ConnectSetLoggingFiltersArgs<'a> {
/// `filters`
filters: Option<Text<'a>>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virAdmServerUpdateTlsFiles`](https://libvirt.org/search.html?q=virAdmServerUpdateTlsFiles), since libvirt 3.0.0.
ServerUpdateTlsFiles(ServerUpdateTlsFilesArgs<'a>) -> () = Info::new(Program::Admin, 18, "server_update_tls_files", Release(3, 0, 0)).function("virAdmServerUpdateTlsFiles")
}

structure! {
/// What [`ServerUpdateTlsFiles`] takes.
ServerUpdateTlsFilesArgs<'a> {
/// `srv`
srv: Server<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virAdmConnectSetDaemonTimeout`](https://libvirt.org/search.html?q=virAdmConnectSetDaemonTimeout), since libvirt 8.6.0.
ConnectSetDaemonTimeout(ConnectSetDaemonTimeoutArgs) -> () = Info::new(Program::Admin, 19, "connect_set_daemon_timeout", Release(8, 6, 0)).function("virAdmConnectSetDaemonTimeout")
}

structure! {
/// What [`ConnectSetDaemonTimeout`] takes.
ConnectSetDaemonTimeoutArgs {
/// `timeout`
timeout: u32,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virAdmConnectDaemonShutdown`](https://libvirt.org/search.html?q=virAdmConnectDaemonShutdown), since libvirt 11.2.0.
ConnectDaemonShutdown(ConnectDaemonShutdownArgs) -> () = Info::new(Program::Admin, 20, "connect_daemon_shutdown", Release(11, 2, 0)).function("virAdmConnectDaemonShutdown")
}

structure! {
/// What [`ConnectDaemonShutdown`] takes.
ConnectDaemonShutdownArgs {
/// `flags`
flags: NoFlags,
}}

structure! {
/// A part of several calls.
Server<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// A part of several calls.
Client<'a> {
/// `srv`
srv: Server<'a>,
/// `id`
id: u64,
/// `timestamp`
timestamp: i64,
/// `transport`
transport: u32,
}}

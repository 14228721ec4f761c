// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! What only QEMU has.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::Domain;
use crate::procedure::{Descriptors, Info, Program, Release, procedure};
use crate::xdr::{Text, structure};

procedure! {
/// [`virDomainQemuMonitorCommand`](https://libvirt.org/search.html?q=virDomainQemuMonitorCommand), since libvirt 0.8.3.
DomainMonitorCommand(DomainMonitorCommandArgs<'a>) -> DomainMonitorCommandRet<'a> = Info::new(Program::Qemu, 1, "domain_monitor_command", Release(0, 8, 3)).function("virDomainQemuMonitorCommand").acl(&["domain:write"])
}

structure! {
/// What [`DomainMonitorCommand`] takes.
DomainMonitorCommandArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cmd`
cmd: Text<'a>,
/// `flags`
flags: flags::DomainQemuMonitorCommandFlags,
}}

structure! {
/// What [`DomainMonitorCommand`] returns.
DomainMonitorCommandRet<'a> {
/// `result`
result: Text<'a>,
}}

procedure! {
/// [`virDomainQemuAttach`](https://libvirt.org/search.html?q=virDomainQemuAttach), since libvirt 0.9.4.
DomainAttach(DomainAttachArgs) -> DomainAttachRet<'a> = Info::new(Program::Qemu, 2, "domain_attach", Release(0, 9, 4)).function("virDomainQemuAttach").acl(&["domain:start", "domain:write"])
}

structure! {
/// What [`DomainAttach`] takes.
DomainAttachArgs {
/// `pid_value`
pid_value: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainAttach`] returns.
DomainAttachRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainQemuAgentCommand`](https://libvirt.org/search.html?q=virDomainQemuAgentCommand), since libvirt 0.10.0.
DomainAgentCommand(DomainAgentCommandArgs<'a>) -> DomainAgentCommandRet<'a> = Info::new(Program::Qemu, 3, "domain_agent_command", Release(0, 10, 0)).function("virDomainQemuAgentCommand").acl(&["domain:write"])
}

structure! {
/// What [`DomainAgentCommand`] takes.
DomainAgentCommandArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cmd`
cmd: Text<'a>,
/// `timeout`
timeout: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainAgentCommand`] returns.
DomainAgentCommandRet<'a> {
/// `result`
result: Option<Text<'a>>,
}}

procedure! {
/// [`virConnectDomainQemuMonitorEventRegister`](https://libvirt.org/search.html?q=virConnectDomainQemuMonitorEventRegister), since libvirt 1.2.3.
ConnectDomainMonitorEventRegister(ConnectDomainMonitorEventRegisterArgs<'a>) -> ConnectDomainMonitorEventRegisterRet = Info::new(Program::Qemu, 4, "connect_domain_monitor_event_register", Release(1, 2, 3)).function("virConnectDomainQemuMonitorEventRegister").urgent().acl(&["connect:search_domains", "connect:write"])
}

structure! {
/// What [`ConnectDomainMonitorEventRegister`] takes.
ConnectDomainMonitorEventRegisterArgs<'a> {
/// `dom`
dom: Option<Domain<'a>>,
/// `event`
event: Option<Text<'a>>,
/// `flags`
flags: flags::ConnectDomainQemuMonitorEventRegisterFlags,
}}

structure! {
/// What [`ConnectDomainMonitorEventRegister`] returns.
ConnectDomainMonitorEventRegisterRet {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectDomainQemuMonitorEventDeregister`](https://libvirt.org/search.html?q=virConnectDomainQemuMonitorEventDeregister), since libvirt 1.2.3.
ConnectDomainMonitorEventDeregister(ConnectDomainMonitorEventDeregisterArgs) -> () = Info::new(Program::Qemu, 5, "connect_domain_monitor_event_deregister", Release(1, 2, 3)).function("virConnectDomainQemuMonitorEventDeregister").urgent().acl(&["connect:write"])
}

structure! {
/// What [`ConnectDomainMonitorEventDeregister`] takes.
ConnectDomainMonitorEventDeregisterArgs {
/// `callbackID`
callback_id: i32,
}}

structure! {
/// The event `domain_monitor_event`, since libvirt 1.2.3.
DomainMonitorEventMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `event`
event: Text<'a>,
/// `seconds`
seconds: i64,
/// `micros`
micros: u32,
/// `details`
details: Option<Text<'a>>,
}}

procedure! {
/// [`virDomainQemuMonitorCommandWithFiles`](https://libvirt.org/search.html?q=virDomainQemuMonitorCommandWithFiles), since libvirt 8.2.0.
DomainMonitorCommandWithFiles(DomainMonitorCommandWithFilesArgs<'a>) -> DomainMonitorCommandWithFilesRet<'a> = Info::new(Program::Qemu, 7, "domain_monitor_command_with_files", Release(8, 2, 0)).function("virDomainQemuMonitorCommandWithFiles").descriptors(Descriptors::Receive).acl(&["domain:write"])
}

structure! {
/// What [`DomainMonitorCommandWithFiles`] takes.
DomainMonitorCommandWithFilesArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cmd`
cmd: Text<'a>,
/// `flags`
flags: flags::DomainQemuMonitorCommandFlags,
}}

structure! {
/// What [`DomainMonitorCommandWithFiles`] returns.
DomainMonitorCommandWithFilesRet<'a> {
/// `result`
result: Text<'a>,
}}

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Structures that several calls share.

use crate::generated::enums;
use crate::params::TypedParam;
use crate::xdr::{Bytes, List, Text, Uuid, structure};

structure! {
/// `domain`: a part of several calls.
Domain<'a> {
/// `name`
name: Text<'a>,
/// `uuid`
uuid: Uuid,
/// `id`
id: i32,
}}

structure! {
/// `network`: a part of several calls.
Network<'a> {
/// `name`
name: Text<'a>,
/// `uuid`
uuid: Uuid,
}}

structure! {
/// `network_port`: a part of several calls.
NetworkPort<'a> {
/// `net`
net: Network<'a>,
/// `uuid`
uuid: Uuid,
}}

structure! {
/// `nwfilter`: a part of several calls.
NwFilter<'a> {
/// `name`
name: Text<'a>,
/// `uuid`
uuid: Uuid,
}}

structure! {
/// `nwfilter_binding`: a part of several calls.
NwFilterBinding<'a> {
/// `portdev`
portdev: Text<'a>,
/// `filtername`
filtername: Text<'a>,
}}

structure! {
/// `interface`: a part of several calls.
Interface<'a> {
/// `name`
name: Text<'a>,
/// `mac`
mac: Text<'a>,
}}

structure! {
/// `storage_pool`: a part of several calls.
StoragePool<'a> {
/// `name`
name: Text<'a>,
/// `uuid`
uuid: Uuid,
}}

structure! {
/// `storage_vol`: a part of several calls.
StorageVol<'a> {
/// `pool`
pool: Text<'a>,
/// `name`
name: Text<'a>,
/// `key`
key: Text<'a>,
}}

structure! {
/// `node_device`: a part of several calls.
NodeDevice<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// `secret`: a part of several calls.
Secret<'a> {
/// `uuid`
uuid: Uuid,
/// `usageType`
usage_type: enums::SecretUsageType,
/// `usageID`
usage_id: Text<'a>,
}}

structure! {
/// `domain_checkpoint`: a part of several calls.
DomainCheckpoint<'a> {
/// `name`
name: Text<'a>,
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// `domain_snapshot`: a part of several calls.
DomainSnapshot<'a> {
/// `name`
name: Text<'a>,
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// `error`: a part of several calls.
Error<'a> {
/// `code`
code: enums::ErrorNumber,
/// `domain`
domain: enums::ErrorDomain,
/// `message`
message: Option<Text<'a>>,
/// `level`
level: enums::ErrorLevel,
/// `dom`
dom: Option<Domain<'a>>,
/// `str1`
str1: Option<Text<'a>>,
/// `str2`
str2: Option<Text<'a>>,
/// `str3`
str3: Option<Text<'a>>,
/// `int1`
int1: i32,
/// `int2`
int2: i32,
/// `net`
net: Option<Network<'a>>,
}}

structure! {
/// `vcpu_info`: a part of several calls.
VcpuInfo {
/// `number`
number: u32,
/// `state`
state: enums::VcpuState,
/// `cpu_time`
cpu_time: u64,
/// `cpu`
cpu: i32,
}}

structure! {
/// `node_get_cpu_stats`: a part of several calls.
NodeGetCpuStatsEntry<'a> {
/// `field`
field: Text<'a>,
/// `value`
value: u64,
}}

structure! {
/// `node_get_memory_stats`: a part of several calls.
NodeGetMemoryStatsEntry<'a> {
/// `field`
field: Text<'a>,
/// `value`
value: u64,
}}

structure! {
/// `domain_disk_error`: a part of several calls.
DomainDiskError<'a> {
/// `disk`
disk: Text<'a>,
/// `error`
error: enums::DomainDiskErrorCode,
}}

structure! {
/// `domain_memory_stat`: a part of several calls.
DomainMemoryStat {
/// `tag`
tag: enums::DomainMemoryStatTags,
/// `val`
val: u64,
}}

structure! {
/// `domain_iothread_info`: a part of several calls.
DomainIoThreadInfo<'a> {
/// `iothread_id`
iothread_id: u32,
/// `cpumap`
cpumap: Bytes<'a, 2048>,
}}

structure! {
/// `domain_event_graphics_address`: a part of several calls.
DomainEventGraphicsAddress<'a> {
/// `family`
family: enums::DomainEventGraphicsAddressType,
/// `node`
node: Text<'a>,
/// `service`
service: Text<'a>,
}}

structure! {
/// `domain_event_graphics_identity`: a part of several calls.
DomainEventGraphicsIdentity<'a> {
/// `type`
kind: Text<'a>,
/// `name`
name: Text<'a>,
}}

structure! {
/// `network_dhcp_lease`: a part of several calls.
NetworkDhcpLease<'a> {
/// `iface`
iface: Text<'a>,
/// `expirytime`
expirytime: i64,
/// `type`
kind: enums::IpAddrType,
/// `mac`
mac: Option<Text<'a>>,
/// `iaid`
iaid: Option<Text<'a>>,
/// `ipaddr`
ipaddr: Text<'a>,
/// `prefix`
prefix: u32,
/// `hostname`
hostname: Option<Text<'a>>,
/// `clientid`
clientid: Option<Text<'a>>,
}}

structure! {
/// `domain_stats_record`: a part of several calls.
DomainStatsRecord<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 262144>,
}}

structure! {
/// `domain_fsinfo`: a part of several calls.
DomainFsinfo<'a> {
/// `mountpoint`
mountpoint: Text<'a>,
/// `name`
name: Text<'a>,
/// `fstype`
fstype: Text<'a>,
/// `dev_aliases`
dev_aliases: List<'a, Text<'a>, 256>,
}}

structure! {
/// `domain_ip_addr`: a part of several calls.
DomainIpAddr<'a> {
/// `type`
kind: enums::IpAddrType,
/// `addr`
addr: Text<'a>,
/// `prefix`
prefix: u32,
}}

structure! {
/// `domain_interface`: a part of several calls.
DomainInterface<'a> {
/// `name`
name: Text<'a>,
/// `hwaddr`
hwaddr: Option<Text<'a>>,
/// `addrs`
addrs: List<'a, DomainIpAddr<'a>, 2048>,
}}

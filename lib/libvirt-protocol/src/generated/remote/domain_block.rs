// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Block devices of domains.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::Domain;
use crate::params::TypedParam;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{Bytes, List, Text, structure};

procedure! {
/// [`virDomainBlockStats`](https://libvirt.org/search.html?q=virDomainBlockStats), since libvirt 0.3.2.
DomainBlockStats(DomainBlockStatsArgs<'a>) -> DomainBlockStatsRet = Info::new(Program::Remote, 64, "domain_block_stats", Release(0, 3, 2)).function("virDomainBlockStats").acl(&["domain:read"])
}

structure! {
/// What [`DomainBlockStats`] takes.
DomainBlockStatsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
}}

structure! {
/// What [`DomainBlockStats`] returns.
DomainBlockStatsRet {
/// `rd_req`
rd_req: i64,
/// `rd_bytes`
rd_bytes: i64,
/// `wr_req`
wr_req: i64,
/// `wr_bytes`
wr_bytes: i64,
/// `errs`
errs: i64,
}}

procedure! {
/// [`virDomainBlockPeek`](https://libvirt.org/search.html?q=virDomainBlockPeek), since libvirt 0.4.2.
DomainBlockPeek(DomainBlockPeekArgs<'a>) -> DomainBlockPeekRet<'a> = Info::new(Program::Remote, 103, "domain_block_peek", Release(0, 4, 2)).function("virDomainBlockPeek").acl(&["domain:block_read"])
}

structure! {
/// What [`DomainBlockPeek`] takes.
DomainBlockPeekArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `offset`
offset: u64,
/// `size`
size: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainBlockPeek`] returns.
DomainBlockPeekRet<'a> {
/// `buffer`
buffer: Bytes<'a, 4194304>,
}}

procedure! {
/// [`virDomainBlockJobAbort`](https://libvirt.org/search.html?q=virDomainBlockJobAbort), since libvirt 0.9.4.
DomainBlockJobAbort(DomainBlockJobAbortArgs<'a>) -> () = Info::new(Program::Remote, 237, "domain_block_job_abort", Release(0, 9, 4)).function("virDomainBlockJobAbort").acl(&["domain:write"])
}

structure! {
/// What [`DomainBlockJobAbort`] takes.
DomainBlockJobAbortArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `flags`
flags: flags::DomainBlockJobAbortFlags,
}}

procedure! {
/// [`virDomainBlockJobSetSpeed`](https://libvirt.org/search.html?q=virDomainBlockJobSetSpeed), since libvirt 0.9.4.
DomainBlockJobSetSpeed(DomainBlockJobSetSpeedArgs<'a>) -> () = Info::new(Program::Remote, 239, "domain_block_job_set_speed", Release(0, 9, 4)).function("virDomainBlockJobSetSpeed").acl(&["domain:write"])
}

structure! {
/// What [`DomainBlockJobSetSpeed`] takes.
DomainBlockJobSetSpeedArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `bandwidth`
bandwidth: u64,
/// `flags`
flags: flags::DomainBlockJobSetSpeedFlags,
}}

procedure! {
/// [`virDomainBlockPull`](https://libvirt.org/search.html?q=virDomainBlockPull), since libvirt 0.9.4.
DomainBlockPull(DomainBlockPullArgs<'a>) -> () = Info::new(Program::Remote, 240, "domain_block_pull", Release(0, 9, 4)).function("virDomainBlockPull").acl(&["domain:block_write"])
}

structure! {
/// What [`DomainBlockPull`] takes.
DomainBlockPullArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `bandwidth`
bandwidth: u64,
/// `flags`
flags: flags::DomainBlockPullFlags,
}}

procedure! {
/// [`virDomainBlockStatsFlags`](https://libvirt.org/search.html?q=virDomainBlockStatsFlags), since libvirt 0.9.5.
DomainBlockStatsFlags(DomainBlockStatsFlagsArgs<'a>) -> DomainBlockStatsFlagsRet<'a> = Info::new(Program::Remote, 243, "domain_block_stats_flags", Release(0, 9, 5)).function("virDomainBlockStatsFlags").acl(&["domain:read"])
}

structure! {
/// What [`DomainBlockStatsFlags`] takes.
DomainBlockStatsFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `nparams`
nparams: i32,
/// `flags`
flags: flags::TypedParameterFlags,
}}

structure! {
/// What [`DomainBlockStatsFlags`] returns.
DomainBlockStatsFlagsRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainBlockResize`](https://libvirt.org/search.html?q=virDomainBlockResize), since libvirt 0.9.8.
DomainBlockResize(DomainBlockResizeArgs<'a>) -> () = Info::new(Program::Remote, 251, "domain_block_resize", Release(0, 9, 8)).function("virDomainBlockResize").acl(&["domain:block_write"])
}

structure! {
/// What [`DomainBlockResize`] takes.
DomainBlockResizeArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `disk`
disk: Text<'a>,
/// `size`
size: u64,
/// `flags`
flags: flags::DomainBlockResizeFlags,
}}

procedure! {
/// [`virDomainBlockRebase`](https://libvirt.org/search.html?q=virDomainBlockRebase), since libvirt 0.9.10.
DomainBlockRebase(DomainBlockRebaseArgs<'a>) -> () = Info::new(Program::Remote, 266, "domain_block_rebase", Release(0, 9, 10)).function("virDomainBlockRebase").acl(&["domain:block_write"])
}

structure! {
/// What [`DomainBlockRebase`] takes.
DomainBlockRebaseArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `base`
base: Option<Text<'a>>,
/// `bandwidth`
bandwidth: u64,
/// `flags`
flags: flags::DomainBlockRebaseFlags,
}}

procedure! {
/// [`virDomainBlockCommit`](https://libvirt.org/search.html?q=virDomainBlockCommit), since libvirt 0.10.2.
DomainBlockCommit(DomainBlockCommitArgs<'a>) -> () = Info::new(Program::Remote, 290, "domain_block_commit", Release(0, 10, 2)).function("virDomainBlockCommit").acl(&["domain:block_write"])
}

structure! {
/// What [`DomainBlockCommit`] takes.
DomainBlockCommitArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `disk`
disk: Text<'a>,
/// `base`
base: Option<Text<'a>>,
/// `top`
top: Option<Text<'a>>,
/// `bandwidth`
bandwidth: u64,
/// `flags`
flags: flags::DomainBlockCommitFlags,
}}

procedure! {
/// [`virDomainBlockCopy`](https://libvirt.org/search.html?q=virDomainBlockCopy), since libvirt 1.2.8.
DomainBlockCopy(DomainBlockCopyArgs<'a>) -> () = Info::new(Program::Remote, 345, "domain_block_copy", Release(1, 2, 8)).function("virDomainBlockCopy").acl(&["domain:block_write"])
}

structure! {
/// What [`DomainBlockCopy`] takes.
DomainBlockCopyArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `destxml`
destxml: Text<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `flags`
flags: flags::DomainBlockCopyFlags,
}}

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Migration, step by step.

use crate::generated::flags;
use crate::generated::types::Domain;
use crate::params::TypedParam;
use crate::procedure::{Direction, Info, Program, Release, procedure};
use crate::xdr::{Bytes, List, Text, structure};
use crate::{NoFlags, Wide};

procedure! {
/// The step `domain_migrate_prepare` of the protocol, since libvirt 0.3.2.
DomainMigratePrepare(DomainMigratePrepareArgs<'a>) -> DomainMigratePrepareRet<'a> = Info::new(Program::Remote, 61, "domain_migrate_prepare", Release(0, 3, 2)).acl(&["domain:migrate", "domain:start", "domain:write"])
}

structure! {
/// What [`DomainMigratePrepare`] takes.
DomainMigratePrepareArgs<'a> {
/// `uri_in`
uri_in: Option<Text<'a>>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
}}

structure! {
/// What [`DomainMigratePrepare`] returns.
DomainMigratePrepareRet<'a> {
/// `cookie`
cookie: Bytes<'a, 4194304>,
/// `uri_out`
uri_out: Option<Text<'a>>,
}}

procedure! {
/// The step `domain_migrate_perform` of the protocol, since libvirt 0.3.2.
DomainMigratePerform(DomainMigratePerformArgs<'a>) -> () = Info::new(Program::Remote, 62, "domain_migrate_perform", Release(0, 3, 2)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigratePerform`] takes.
DomainMigratePerformArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cookie`
cookie: Bytes<'a, 4194304>,
/// `uri`
uri: Text<'a>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
}}

procedure! {
/// The step `domain_migrate_finish` of the protocol, since libvirt 0.3.2.
DomainMigrateFinish(DomainMigrateFinishArgs<'a>) -> DomainMigrateFinishRet<'a> = Info::new(Program::Remote, 63, "domain_migrate_finish", Release(0, 3, 2)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateFinish`] takes.
DomainMigrateFinishArgs<'a> {
/// `dname`
dname: Text<'a>,
/// `cookie`
cookie: Bytes<'a, 4194304>,
/// `uri`
uri: Text<'a>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
}}

structure! {
/// What [`DomainMigrateFinish`] returns.
DomainMigrateFinishRet<'a> {
/// `ddom`
ddom: Domain<'a>,
}}

procedure! {
/// The step `domain_migrate_prepare2` of the protocol, since libvirt 0.5.0.
DomainMigratePrepare2(DomainMigratePrepare2Args<'a>) -> DomainMigratePrepare2Ret<'a> = Info::new(Program::Remote, 108, "domain_migrate_prepare2", Release(0, 5, 0)).acl(&["domain:migrate", "domain:start", "domain:write"])
}

structure! {
/// What [`DomainMigratePrepare2`] takes.
DomainMigratePrepare2Args<'a> {
/// `uri_in`
uri_in: Option<Text<'a>>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
/// `dom_xml`
dom_xml: Text<'a>,
}}

structure! {
/// What [`DomainMigratePrepare2`] returns.
DomainMigratePrepare2Ret<'a> {
/// `cookie`
cookie: Bytes<'a, 4194304>,
/// `uri_out`
uri_out: Option<Text<'a>>,
}}

procedure! {
/// The step `domain_migrate_finish2` of the protocol, since libvirt 0.5.0.
DomainMigrateFinish2(DomainMigrateFinish2Args<'a>) -> DomainMigrateFinish2Ret<'a> = Info::new(Program::Remote, 109, "domain_migrate_finish2", Release(0, 5, 0)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateFinish2`] takes.
DomainMigrateFinish2Args<'a> {
/// `dname`
dname: Text<'a>,
/// `cookie`
cookie: Bytes<'a, 4194304>,
/// `uri`
uri: Text<'a>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `retcode`
retcode: i32,
}}

structure! {
/// What [`DomainMigrateFinish2`] returns.
DomainMigrateFinish2Ret<'a> {
/// `ddom`
ddom: Domain<'a>,
}}

procedure! {
/// The step `domain_migrate_prepare_tunnel` of the protocol, since libvirt 0.7.2.
DomainMigratePrepareTunnel(DomainMigratePrepareTunnelArgs<'a>) -> () = Info::new(Program::Remote, 148, "domain_migrate_prepare_tunnel", Release(0, 7, 2)).stream(Direction::Write).acl(&["domain:migrate", "domain:start", "domain:write"])
}

structure! {
/// What [`DomainMigratePrepareTunnel`] takes.
DomainMigratePrepareTunnelArgs<'a> {
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
/// `dom_xml`
dom_xml: Text<'a>,
}}

procedure! {
/// [`virDomainMigrateSetMaxDowntime`](https://libvirt.org/search.html?q=virDomainMigrateSetMaxDowntime), since libvirt 0.8.0.
DomainMigrateSetMaxDowntime(DomainMigrateSetMaxDowntimeArgs<'a>) -> () = Info::new(Program::Remote, 166, "domain_migrate_set_max_downtime", Release(0, 8, 0)).function("virDomainMigrateSetMaxDowntime").acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateSetMaxDowntime`] takes.
DomainMigrateSetMaxDowntimeArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `downtime`
downtime: u64,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainMigrateSetMaxSpeed`](https://libvirt.org/search.html?q=virDomainMigrateSetMaxSpeed), since libvirt 0.9.0.
DomainMigrateSetMaxSpeed(DomainMigrateSetMaxSpeedArgs<'a>) -> () = Info::new(Program::Remote, 207, "domain_migrate_set_max_speed", Release(0, 9, 0)).function("virDomainMigrateSetMaxSpeed").acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateSetMaxSpeed`] takes.
DomainMigrateSetMaxSpeedArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `bandwidth`
bandwidth: u64,
/// `flags`
flags: flags::DomainMigrateMaxSpeedFlags,
}}

procedure! {
/// The step `domain_migrate_begin3` of the protocol, since libvirt 0.9.2.
DomainMigrateBegin3(DomainMigrateBegin3Args<'a>) -> DomainMigrateBegin3Ret<'a> = Info::new(Program::Remote, 213, "domain_migrate_begin3", Release(0, 9, 2)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateBegin3`] takes.
DomainMigrateBegin3Args<'a> {
/// `dom`
dom: Domain<'a>,
/// `xmlin`
xmlin: Option<Text<'a>>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
}}

structure! {
/// What [`DomainMigrateBegin3`] returns.
DomainMigrateBegin3Ret<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// The step `domain_migrate_prepare3` of the protocol, since libvirt 0.9.2.
DomainMigratePrepare3(DomainMigratePrepare3Args<'a>) -> DomainMigratePrepare3Ret<'a> = Info::new(Program::Remote, 214, "domain_migrate_prepare3", Release(0, 9, 2)).acl(&["domain:migrate", "domain:start", "domain:write"])
}

structure! {
/// What [`DomainMigratePrepare3`] takes.
DomainMigratePrepare3Args<'a> {
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `uri_in`
uri_in: Option<Text<'a>>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
/// `dom_xml`
dom_xml: Text<'a>,
}}

structure! {
/// What [`DomainMigratePrepare3`] returns.
DomainMigratePrepare3Ret<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
/// `uri_out`
uri_out: Option<Text<'a>>,
}}

procedure! {
/// The step `domain_migrate_prepare_tunnel3` of the protocol, since libvirt 0.9.2.
DomainMigratePrepareTunnel3(DomainMigratePrepareTunnel3Args<'a>) -> DomainMigratePrepareTunnel3Ret<'a> = Info::new(Program::Remote, 215, "domain_migrate_prepare_tunnel3", Release(0, 9, 2)).stream(Direction::Write).acl(&["domain:migrate", "domain:start", "domain:write"])
}

structure! {
/// What [`DomainMigratePrepareTunnel3`] takes.
DomainMigratePrepareTunnel3Args<'a> {
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
/// `dom_xml`
dom_xml: Text<'a>,
}}

structure! {
/// What [`DomainMigratePrepareTunnel3`] returns.
DomainMigratePrepareTunnel3Ret<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
}}

procedure! {
/// The step `domain_migrate_perform3` of the protocol, since libvirt 0.9.2.
DomainMigratePerform3(DomainMigratePerform3Args<'a>) -> DomainMigratePerform3Ret<'a> = Info::new(Program::Remote, 216, "domain_migrate_perform3", Release(0, 9, 2)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigratePerform3`] takes.
DomainMigratePerform3Args<'a> {
/// `dom`
dom: Domain<'a>,
/// `xmlin`
xmlin: Option<Text<'a>>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `dconnuri`
dconnuri: Option<Text<'a>>,
/// `uri`
uri: Option<Text<'a>>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `dname`
dname: Option<Text<'a>>,
/// `resource`
resource: u64,
}}

structure! {
/// What [`DomainMigratePerform3`] returns.
DomainMigratePerform3Ret<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
}}

procedure! {
/// The step `domain_migrate_finish3` of the protocol, since libvirt 0.9.2.
DomainMigrateFinish3(DomainMigrateFinish3Args<'a>) -> DomainMigrateFinish3Ret<'a> = Info::new(Program::Remote, 217, "domain_migrate_finish3", Release(0, 9, 2)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateFinish3`] takes.
DomainMigrateFinish3Args<'a> {
/// `dname`
dname: Text<'a>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `dconnuri`
dconnuri: Option<Text<'a>>,
/// `uri`
uri: Option<Text<'a>>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `cancelled`
cancelled: i32,
}}

structure! {
/// What [`DomainMigrateFinish3`] returns.
DomainMigrateFinish3Ret<'a> {
/// `dom`
dom: Domain<'a>,
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
}}

procedure! {
/// The step `domain_migrate_confirm3` of the protocol, since libvirt 0.9.2.
DomainMigrateConfirm3(DomainMigrateConfirm3Args<'a>) -> () = Info::new(Program::Remote, 218, "domain_migrate_confirm3", Release(0, 9, 2)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateConfirm3`] takes.
DomainMigrateConfirm3Args<'a> {
/// `dom`
dom: Domain<'a>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `flags`
flags: Wide<flags::DomainMigrateFlags>,
/// `cancelled`
cancelled: i32,
}}

procedure! {
/// [`virDomainMigrateGetMaxSpeed`](https://libvirt.org/search.html?q=virDomainMigrateGetMaxSpeed), since libvirt 0.9.5.
DomainMigrateGetMaxSpeed(DomainMigrateGetMaxSpeedArgs<'a>) -> DomainMigrateGetMaxSpeedRet = Info::new(Program::Remote, 242, "domain_migrate_get_max_speed", Release(0, 9, 5)).function("virDomainMigrateGetMaxSpeed").acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateGetMaxSpeed`] takes.
DomainMigrateGetMaxSpeedArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainMigrateMaxSpeedFlags,
}}

structure! {
/// What [`DomainMigrateGetMaxSpeed`] returns.
DomainMigrateGetMaxSpeedRet {
/// `bandwidth`
bandwidth: u64,
}}

procedure! {
/// [`virDomainMigrateGetCompressionCache`](https://libvirt.org/search.html?q=virDomainMigrateGetCompressionCache), since libvirt 1.0.3.
DomainMigrateGetCompressionCache(DomainMigrateGetCompressionCacheArgs<'a>) -> DomainMigrateGetCompressionCacheRet = Info::new(Program::Remote, 299, "domain_migrate_get_compression_cache", Release(1, 0, 3)).function("virDomainMigrateGetCompressionCache").acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateGetCompressionCache`] takes.
DomainMigrateGetCompressionCacheArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainMigrateGetCompressionCache`] returns.
DomainMigrateGetCompressionCacheRet {
/// `cacheSize`
cache_size: u64,
}}

procedure! {
/// [`virDomainMigrateSetCompressionCache`](https://libvirt.org/search.html?q=virDomainMigrateSetCompressionCache), since libvirt 1.0.3.
DomainMigrateSetCompressionCache(DomainMigrateSetCompressionCacheArgs<'a>) -> () = Info::new(Program::Remote, 300, "domain_migrate_set_compression_cache", Release(1, 0, 3)).function("virDomainMigrateSetCompressionCache").acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateSetCompressionCache`] takes.
DomainMigrateSetCompressionCacheArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cacheSize`
cache_size: u64,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// The step `domain_migrate_begin3_params` of the protocol, since libvirt 1.1.0.
DomainMigrateBegin3Params(DomainMigrateBegin3ParamsArgs<'a>) -> DomainMigrateBegin3ParamsRet<'a> = Info::new(Program::Remote, 302, "domain_migrate_begin3_params", Release(1, 1, 0)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateBegin3Params`] takes.
DomainMigrateBegin3ParamsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: flags::DomainMigrateFlags,
}}

structure! {
/// What [`DomainMigrateBegin3Params`] returns.
DomainMigrateBegin3ParamsRet<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// The step `domain_migrate_prepare3_params` of the protocol, since libvirt 1.1.0.
DomainMigratePrepare3Params(DomainMigratePrepare3ParamsArgs<'a>) -> DomainMigratePrepare3ParamsRet<'a> = Info::new(Program::Remote, 303, "domain_migrate_prepare3_params", Release(1, 1, 0)).acl(&["domain:migrate", "domain:start", "domain:write"])
}

structure! {
/// What [`DomainMigratePrepare3Params`] takes.
DomainMigratePrepare3ParamsArgs<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `flags`
flags: flags::DomainMigrateFlags,
}}

structure! {
/// What [`DomainMigratePrepare3Params`] returns.
DomainMigratePrepare3ParamsRet<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
/// `uri_out`
uri_out: Option<Text<'a>>,
}}

procedure! {
/// The step `domain_migrate_prepare_tunnel3_params` of the protocol, since libvirt 1.1.0.
DomainMigratePrepareTunnel3Params(DomainMigratePrepareTunnel3ParamsArgs<'a>) -> DomainMigratePrepareTunnel3ParamsRet<'a> = Info::new(Program::Remote, 304, "domain_migrate_prepare_tunnel3_params", Release(1, 1, 0)).stream(Direction::Write).acl(&["domain:migrate", "domain:start", "domain:write"])
}

structure! {
/// What [`DomainMigratePrepareTunnel3Params`] takes.
DomainMigratePrepareTunnel3ParamsArgs<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `flags`
flags: flags::DomainMigrateFlags,
}}

structure! {
/// What [`DomainMigratePrepareTunnel3Params`] returns.
DomainMigratePrepareTunnel3ParamsRet<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
}}

procedure! {
/// The step `domain_migrate_perform3_params` of the protocol, since libvirt 1.1.0.
DomainMigratePerform3Params(DomainMigratePerform3ParamsArgs<'a>) -> DomainMigratePerform3ParamsRet<'a> = Info::new(Program::Remote, 305, "domain_migrate_perform3_params", Release(1, 1, 0)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigratePerform3Params`] takes.
DomainMigratePerform3ParamsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `dconnuri`
dconnuri: Option<Text<'a>>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `flags`
flags: flags::DomainMigrateFlags,
}}

structure! {
/// What [`DomainMigratePerform3Params`] returns.
DomainMigratePerform3ParamsRet<'a> {
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
}}

procedure! {
/// The step `domain_migrate_finish3_params` of the protocol, since libvirt 1.1.0.
DomainMigrateFinish3Params(DomainMigrateFinish3ParamsArgs<'a>) -> DomainMigrateFinish3ParamsRet<'a> = Info::new(Program::Remote, 306, "domain_migrate_finish3_params", Release(1, 1, 0)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateFinish3Params`] takes.
DomainMigrateFinish3ParamsArgs<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `flags`
flags: flags::DomainMigrateFlags,
/// `cancelled`
cancelled: i32,
}}

structure! {
/// What [`DomainMigrateFinish3Params`] returns.
DomainMigrateFinish3ParamsRet<'a> {
/// `dom`
dom: Domain<'a>,
/// `cookie_out`
cookie_out: Bytes<'a, 4194304>,
}}

procedure! {
/// The step `domain_migrate_confirm3_params` of the protocol, since libvirt 1.1.0.
DomainMigrateConfirm3Params(DomainMigrateConfirm3ParamsArgs<'a>) -> () = Info::new(Program::Remote, 307, "domain_migrate_confirm3_params", Release(1, 1, 0)).acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateConfirm3Params`] takes.
DomainMigrateConfirm3ParamsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `cookie_in`
cookie_in: Bytes<'a, 4194304>,
/// `flags`
flags: flags::DomainMigrateFlags,
/// `cancelled`
cancelled: i32,
}}

procedure! {
/// [`virDomainMigrateStartPostCopy`](https://libvirt.org/search.html?q=virDomainMigrateStartPostCopy), since libvirt 1.3.3.
DomainMigrateStartPostCopy(DomainMigrateStartPostCopyArgs<'a>) -> () = Info::new(Program::Remote, 364, "domain_migrate_start_post_copy", Release(1, 3, 3)).function("virDomainMigrateStartPostCopy").acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateStartPostCopy`] takes.
DomainMigrateStartPostCopyArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainMigrateGetMaxDowntime`](https://libvirt.org/search.html?q=virDomainMigrateGetMaxDowntime), since libvirt 3.7.0.
DomainMigrateGetMaxDowntime(DomainMigrateGetMaxDowntimeArgs<'a>) -> DomainMigrateGetMaxDowntimeRet = Info::new(Program::Remote, 387, "domain_migrate_get_max_downtime", Release(3, 7, 0)).function("virDomainMigrateGetMaxDowntime").acl(&["domain:migrate"])
}

structure! {
/// What [`DomainMigrateGetMaxDowntime`] takes.
DomainMigrateGetMaxDowntimeArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainMigrateGetMaxDowntime`] returns.
DomainMigrateGetMaxDowntimeRet {
/// `downtime`
downtime: u64,
}}

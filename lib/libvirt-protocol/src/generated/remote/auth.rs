// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Authentication.

use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, Words, structure};

procedure! {
/// The step `auth_list` of the protocol, since libvirt 0.4.1.
AuthList(()) -> AuthListRet<'a> = Info::new(Program::Remote, 66, "auth_list", Release(0, 4, 1)).urgent()
}

structure! {
/// What [`AuthList`] returns.
AuthListRet<'a> {
/// `types`
types: List<'a, i32, 20>,
}}

procedure! {
/// The step `auth_sasl_init` of the protocol, since libvirt 0.4.1.
AuthSaslInit(()) -> AuthSaslInitRet<'a> = Info::new(Program::Remote, 67, "auth_sasl_init", Release(0, 4, 1)).urgent()
}

structure! {
/// What [`AuthSaslInit`] returns.
AuthSaslInitRet<'a> {
/// `mechlist`
mechlist: Text<'a>,
}}

procedure! {
/// The step `auth_sasl_start` of the protocol, since libvirt 0.4.1.
AuthSaslStart(AuthSaslStartArgs<'a>) -> AuthSaslStartRet = Info::new(Program::Remote, 68, "auth_sasl_start", Release(0, 4, 1)).urgent()
}

structure! {
/// What [`AuthSaslStart`] takes.
AuthSaslStartArgs<'a> {
/// `mech`
mech: Text<'a>,
/// `nil`
nil: i32,
/// `data`
data: Words<65536>,
}}

structure! {
/// What [`AuthSaslStart`] returns.
AuthSaslStartRet {
/// `complete`
complete: i32,
/// `nil`
nil: i32,
/// `data`
data: Words<65536>,
}}

procedure! {
/// The step `auth_sasl_step` of the protocol, since libvirt 0.4.1.
AuthSaslStep(AuthSaslStepArgs) -> AuthSaslStepRet = Info::new(Program::Remote, 69, "auth_sasl_step", Release(0, 4, 1)).urgent()
}

structure! {
/// What [`AuthSaslStep`] takes.
AuthSaslStepArgs {
/// `nil`
nil: i32,
/// `data`
data: Words<65536>,
}}

structure! {
/// What [`AuthSaslStep`] returns.
AuthSaslStepRet {
/// `complete`
complete: i32,
/// `nil`
nil: i32,
/// `data`
data: Words<65536>,
}}

procedure! {
/// The step `auth_polkit` of the protocol, since libvirt 0.4.1.
AuthPolkit(()) -> AuthPolkitRet = Info::new(Program::Remote, 70, "auth_polkit", Release(0, 4, 1)).urgent()
}

structure! {
/// What [`AuthPolkit`] returns.
AuthPolkitRet {
/// `complete`
complete: i32,
}}

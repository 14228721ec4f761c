//! One function for each call, for those who want nothing between.

use super::super::model::{Descriptors, Many, Procedure, Program, Type};
use super::super::names;
use super::{HEAD, OBJECTS, Printer, object, reference};
use crate::codegen::Output;
use anyhow::Result;
use std::fmt::Write;

const CLIENT: &str = "lib/libvirt-client/src/generated/raw";

/// A list of all calls, for tests of the client and of the server.
const EVERY: &str = "lib/libvirt-client/tests/generated/every.rs";

/// Objects that the test driver has, and structures that name them.
const NAMED: [(&str, &str); 5] = [
    ("domain", "domain"),
    ("network", "network"),
    ("storage_pool", "pool"),
    ("interface", "interface"),
    ("storage_vol", "volume"),
];

/// Objects whose calls fill several files: their prefixes begin the prefixes of the parts.
const WHOLE: [&str; 1] = ["domain"];

/// Where a call's function is: `domain::block_stats`.
pub(super) fn path(program: &Program, procedure: &Procedure) -> String {
    if program.name != "remote" {
        return format!("{}::{}", program.name, procedure.name);
    }
    let object = object(&procedure.name);
    let (_, prefix, _) = OBJECTS.iter().find(|(_, prefix, _)| *prefix == object).unwrap_or(&OBJECTS[1]);
    // Snapshots and checkpoints are objects of their own; other parts of an object are not.
    let module = WHOLE
        .iter()
        .find(|whole| {
            prefix.starts_with(*whole) && !["domain_snapshot", "domain_checkpoint"].contains(prefix)
        })
        .unwrap_or(prefix);
    let name = procedure.name.strip_prefix(module).and_then(|rest| rest.strip_prefix('_'));
    format!("{module}::{}", name.unwrap_or(&procedure.name))
}

impl Printer<'_> {
    pub(super) fn raw(&self, output: &mut Output) -> Result<()> {
        output.owns(CLIENT);
        let file = |name: &str| format!("{CLIENT}/{name}.rs");
        let mut modules = String::from(HEAD);
        modules.push_str("//! Every call, under the name that the protocol gives it.\n\n");
        let mut about_of = Vec::new();
        for program in self.programs {
            if program.name == "remote" {
                for (module, prefix, about) in OBJECTS {
                    let calls =
                        program.procedures.iter().filter(|p| p.event.is_none() && object(&p.name) == prefix);
                    let parts: Vec<&str> = OBJECTS
                        .iter()
                        .map(|(part, ..)| *part)
                        .filter(|part| *part != module && WHOLE.contains(&module))
                        .filter(|part| {
                            part.starts_with(module)
                                && !["domain_snapshot", "domain_checkpoint"].contains(part)
                        })
                        .collect();
                    output.rust(file(module), &self.raw_module(program, about, calls, &parts)?)?;
                    let own = !WHOLE.iter().any(|whole| {
                        module.starts_with(whole)
                            && module != *whole
                            && !["domain_snapshot", "domain_checkpoint"].contains(&module)
                    });
                    about_of.push((module, own));
                }
                continue;
            }
            let about = match program.name.as_str() {
                "qemu" => "What only QEMU has.",
                "lxc" => "What only LXC has.",
                _ => "Administration of the daemon itself.",
            };
            let calls = program.procedures.iter().filter(|p| p.event.is_none());
            output.rust(file(&program.name), &self.raw_module(program, about, calls, &[])?)?;
            about_of.push((&program.name, true));
        }
        for (module, own) in about_of {
            writeln!(modules, "{}mod {module};", if own { "pub " } else { "" })?;
        }
        output.rust(file("mod"), &modules)?;
        output.rust(EVERY, &self.every()?)
    }

    /// Every call of a `Connect`, with objects that exist where it takes some, and nothing else said.
    fn every(&self) -> Result<String> {
        let mut list = String::new();
        let calls = self.calls().filter(|(program, _)| program.name != "admin");
        for (program, procedure) in calls {
            let name = names::pascal(&procedure.name);
            let kind = format!("{}::{name}", program.name);
            let bits = self.flags_of(procedure).map(|(_, bits)| bits).filter(|bits| !bits.is_empty());
            let mut call = format!("raw::{}(connect", path(program, procedure));
            if let Some(args) = &procedure.args {
                let mut fields = String::new();
                for field in args.iter().filter(|field| field.many == Many::One) {
                    let name = names::field(&field.name);
                    if bits.is_some() && name == "flags" {
                        let of = self.field_type(&program.name, field)?;
                        match of.strip_prefix("Wide<").and_then(|of| of.strip_suffix('>')) {
                            Some(of) => write!(fields, "flags: {of}::from_bits_retain(flags).into(),")?,
                            None => write!(fields, "flags: {of}::from_bits_retain(flags),")?,
                        }
                        continue;
                    }
                    match &field.of {
                        Type::Named(of) => {
                            if let Some((_, object)) = NAMED.iter().find(|(structure, _)| structure == of) {
                                write!(fields, "{name}: objects.{object}.clone(),")?;
                            }
                        }
                        // Lists are to come with what they list.
                        Type::I32 if name == "need_results" => write!(fields, "{name}: 1,")?,
                        Type::I32 if name.starts_with("max") => write!(fields, "{name}: 16,")?,
                        _ => {}
                    }
                }
                let all = fields.matches(": ").count() == args.len();
                let rest = if all { "" } else { "..Default::default()" };
                if fields.is_empty() {
                    call.push_str(", &Default::default()");
                } else {
                    write!(call, ", &{kind}Args {{ {fields} {rest} }}")?;
                }
            }
            if matches!(procedure.descriptors, Some(Descriptors::Send | Descriptors::Both)) {
                call.push_str(", Vec::new()");
            }
            let has_reply = procedure.ret.is_some()
                || matches!(procedure.descriptors, Some(Descriptors::Receive | Descriptors::Both));
            let tail = if procedure.stream.is_some() {
                "?.0.result().map(drop)"
            } else if has_reply {
                "?.result().map(drop)"
            } else {
                ""
            };
            let objects = if call.contains("objects.") { "objects" } else { "_" };
            let mask = bits.iter().flatten().fold(0, |mask, bit| mask | bit);
            let flags = if bits.is_some() { "flags" } else { "_" };
            writeln!(
                list,
                "({kind}::INFO, {mask:#x}, |connect, {objects}, {flags}| Box::pin(async move {{ {call}).await{tail} }})),"
            )?;
        }
        Ok(format!(
            "{HEAD}//! Every call, once.\n\n\
             use libvirt_client::protocol::procedure::{{Info, Procedure}};\n\
             use libvirt_client::protocol::{{flags, lxc, qemu, remote, types}};\n\
             use libvirt_client::{{Connect, Error, raw}};\nuse std::pin::Pin;\n\n\
             /// Objects that exist.\npub(crate) struct Objects {{\n\
             pub(crate) domain: types::Domain<'static>,\npub(crate) network: types::Network<'static>,\n\
             pub(crate) pool: types::StoragePool<'static>,\npub(crate) interface: types::Interface<'static>,\n\
             pub(crate) volume: types::StorageVol<'static>,\n}}\n\n\
             /// Makes one call with these flags.\n\
             pub(crate) type Call =\n\
             for<'a> fn(&'a Connect, &'a Objects, u32) -> Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;\n\n\
             /// All of them: without flags, and with each flag that has a name.\n\
             pub(crate) fn calls() -> impl Iterator<Item = (&'static Info, u32, Call)> {{\n\
             let bits = |mask: u32| (0..32).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0);\n\
             CALLS.iter().flat_map(move |(info, mask, call)| \
             std::iter::once(0).chain(bits(*mask)).map(move |flags| (*info, flags, *call)))\n}}\n\n\
             /// Each with its named flags.\nconst CALLS: &[(&Info, u32, Call)] = &[\n{list}];\n"
        ))
    }

    fn raw_module<'p>(
        &self,
        program: &Program,
        about: &str,
        calls: impl Iterator<Item = &'p Procedure>,
        parts: &[&str],
    ) -> Result<String> {
        let mut body = String::new();
        let handle = if program.name == "admin" { "Admin" } else { "Connect" };
        let (mut streams, mut replies, mut descriptors) = (false, false, false);
        for procedure in calls {
            let name = names::pascal(&procedure.name);
            let kind = format!("{}::{name}", program.name);
            let what = procedure.function.as_ref().map_or_else(
                || format!("The step `{}` of the protocol", procedure.name),
                |function| format!("[`{function}`]({})", reference(function)),
            );
            writeln!(body, "/// {what}, since libvirt {}.\n///", procedure.since)?;
            writeln!(body, "/// # Errors\n/// As [`{handle}::call`].\n#[inline]")?;
            let function = path(program, procedure);
            let function = function.rsplit("::").next().unwrap_or_default();
            let life = if self.borrowing.contains(&format!("{}.{}_args", program.name, procedure.name)) {
                "<'_>"
            } else {
                ""
            };
            let (takes, gives) = match procedure.args {
                Some(_) => (format!(", args: &{}::{name}Args{life}", program.name), "args"),
                None => (String::new(), "&()"),
            };
            let sends = matches!(procedure.descriptors, Some(Descriptors::Send | Descriptors::Both));
            let extra = if sends { ", descriptors: Vec<OwnedFd>" } else { "" };
            descriptors |= sends;
            let reply = match (&procedure.ret, procedure.descriptors) {
                (None, Some(Descriptors::Receive | Descriptors::Both)) | (Some(_), _) => {
                    format!("Reply<{kind}>")
                }
                (None, _) => "()".to_owned(),
            };
            replies |= reply != "()" || procedure.stream.is_some();
            streams |= procedure.stream.is_some();
            let (returns, expression) = if procedure.stream.is_some() {
                let both = format!("(Reply<{kind}>, ByteStream)");
                (both, format!("connect.call_stream::<{kind}>({gives}).await"))
            } else {
                let call = if sends {
                    format!("connect.call_with::<{kind}>({gives}, descriptors).await")
                } else {
                    format!("connect.call::<{kind}>({gives}).await")
                };
                let call = if reply == "()" { format!("{call}.map(drop)") } else { call };
                (reply, call)
            };
            writeln!(
                body,
                "pub async fn {function}(connect: &{handle}{takes}{extra}) -> Result<{returns}, Error> {{\n{expression}\n}}\n"
            )?;
        }
        let mut out = String::from(HEAD);
        writeln!(out, "//! {about}\n")?;
        for part in parts {
            writeln!(out, "pub use super::{part}::*;")?;
        }
        let mut used = vec!["Error", handle];
        if replies {
            used.push("Reply");
        }
        if streams {
            used.push("ByteStream");
        }
        used.sort_unstable();
        writeln!(out, "use crate::{{{}}};", used.join(", "))?;
        writeln!(out, "use libvirt_protocol::{};", program.name)?;
        if descriptors {
            out.push_str("use std::os::fd::OwnedFd;\n");
        }
        out.push('\n');
        out.push_str(&body);
        Ok(out)
    }
}

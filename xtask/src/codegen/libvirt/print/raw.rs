//! One function for each call, for those who want nothing between.

use super::super::model::{Descriptors, Procedure, Program};
use super::super::names;
use super::{HEAD, OBJECTS, Printer, object, reference};
use crate::codegen::Output;
use anyhow::Result;
use std::fmt::Write;

const CLIENT: &str = "lib/libvirt-client/src/generated/raw";

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
        output.rust(file("mod"), &modules)
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

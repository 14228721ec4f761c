//! Prints the description as Rust.

use super::model::{
    Constants, Descriptors, Field, Many, Priority, Procedure, Program, SetKind, StreamKind, Structure, Type,
};
use super::names;
use crate::codegen::Output;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const PROTOCOL: &str = "lib/libvirt-protocol/src/generated";

/// The first lines of every file. Fields and constants bear libvirt's own names, under which its reference explains them.
const HEAD: &str = "// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.\n\n";

/// Files of the main program: module, prefix of its procedures' names, what it holds. The longest prefix wins.
const OBJECTS: [(&str, &str, &str); 17] = [
    ("auth", "auth", "Authentication."),
    ("connect", "connect", "The connection, and lists of everything behind it."),
    ("domain", "domain", "Domains."),
    ("domain_block", "domain_block", "Block devices of domains."),
    ("domain_checkpoint", "domain_checkpoint", "Checkpoints of domains."),
    ("domain_get", "domain_get", "What can be read of domains."),
    ("domain_migrate", "domain_migrate", "Migration, step by step."),
    ("domain_set", "domain_set", "What can be set of domains."),
    ("domain_snapshot", "domain_snapshot", "Snapshots of domains."),
    ("interface", "interface", "Network interfaces of the host."),
    ("network", "network", "Virtual networks and their ports."),
    ("node", "node", "The host."),
    ("node_device", "node_device", "Devices of the host."),
    ("nwfilter", "nwfilter", "Network filters and their bindings."),
    ("secret", "secret", "Secrets."),
    ("storage_pool", "storage_pool", "Storage pools."),
    ("storage_vol", "storage_vol", "Storage volumes."),
];

/// Everything that the printers look up.
struct Context_<'a> {
    programs: &'a [Program],
    constants: &'a Constants,
    /// Structures that borrow, by program and name.
    borrowing: BTreeSet<String>,
    /// Rust names of constant types, and what they are.
    sets: BTreeMap<String, (String, SetKind)>,
}

/// Adds all files.
///
/// # Errors
/// When a type or a set of constants has no definition, or two have one name.
pub(super) fn all(programs: &[Program], constants: &Constants, output: &mut Output) -> Result<()> {
    output.owns(PROTOCOL);
    let mut sets = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for set in &constants.sets {
        let name = names::constant_type(&set.name);
        if !seen.insert(name.clone()) {
            bail!("two sets of constants are called {name}");
        }
        sets.insert(set.name.clone(), (name, set.kind));
    }
    let mut context = Context_ { programs, constants, borrowing: BTreeSet::new(), sets };
    context.find_borrowing();
    let file = |name: &str| format!("{PROTOCOL}/{name}.rs");
    output.rust(file("mod"), &context.root()?)?;
    output.rust(file("types"), &context.types()?)?;
    output.rust(file("flags"), &context.sets(SetKind::Flags)?)?;
    output.rust(file("enums"), &context.sets(SetKind::Enum)?)?;
    output.rust(file("parameters"), &context.parameters()?)?;
    output.rust(file("event"), &context.events()?)?;
    output.rust(file("all"), &context.list()?)?;
    for program in programs {
        if program.name == "remote" {
            let mut modules = String::from(HEAD);
            modules.push_str("//! The main program: calls of every object, and events.\n\n");
            for (module, _, _) in OBJECTS {
                writeln!(modules, "mod {module};")?;
            }
            writeln!(modules, "mod events;")?;
            for (module, _, _) in OBJECTS {
                writeln!(modules, "pub use {module}::*;")?;
            }
            writeln!(modules, "pub use events::*;")?;
            output.rust(file("remote"), &modules)?;
            for (module, prefix, about) in OBJECTS {
                let chosen =
                    program.procedures.iter().filter(|p| p.event.is_none() && object(&p.name) == prefix);
                let text = context.procedures(program, about, chosen)?;
                output.rust(file(&format!("remote/{module}")), &text)?;
            }
            let events = program.procedures.iter().filter(|p| p.event.is_some());
            output
                .rust(file("remote/events"), &context.procedures(program, "Contents of events.", events)?)?;
        } else {
            let about = match program.name.as_str() {
                "qemu" => "What only QEMU has.",
                "lxc" => "What only LXC has.",
                _ => "Administration of the daemon itself.",
            };
            let mut text = context.procedures(program, about, program.procedures.iter())?;
            for structure in &program.structs {
                context.structure(
                    &mut text,
                    program,
                    &structure.name,
                    "A part of several calls.",
                    &structure.fields,
                )?;
            }
            output.rust(file(&program.name), &text)?;
        }
    }
    Ok(())
}

fn object(name: &str) -> &'static str {
    let fits = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_'));
    OBJECTS
        .iter()
        .map(|(_, prefix, _)| *prefix)
        .filter(|prefix| fits(prefix))
        .max_by_key(|p| p.len())
        .unwrap_or("connect")
}

impl Context_<'_> {
    /// Structures borrow when a part of them does; parts may be declared later.
    fn find_borrowing(&mut self) {
        loop {
            let mut found = Vec::new();
            for (key, fields) in self.all_structures() {
                let program = key.split('.').next().unwrap_or_default();
                if !self.borrowing.contains(&key) && fields.iter().any(|field| self.borrows(program, field)) {
                    found.push(key);
                }
            }
            if found.is_empty() {
                return;
            }
            self.borrowing.extend(found);
        }
    }

    fn all_structures(&self) -> impl Iterator<Item = (String, &[Field])> {
        self.programs.iter().flat_map(|program| {
            let shared =
                program.structs.iter().map(|s| (format!("{}.{}", program.name, s.name), s.fields.as_slice()));
            let own = program.procedures.iter().flat_map(|p| {
                [("args", &p.args), ("ret", &p.ret), ("msg", &p.event)].into_iter().filter_map(
                    |(kind, fields)| {
                        Some((format!("{}.{}_{kind}", program.name, p.name), fields.as_ref()?.as_slice()))
                    },
                )
            });
            shared.chain(own)
        })
    }

    fn borrows(&self, program: &str, field: &Field) -> bool {
        match (&field.of, field.many) {
            (Type::Char | Type::UChar, _) => false,
            (_, Many::UpTo(_)) | (Type::Text | Type::Opaque, _) => true,
            (Type::Named(name), _) if name.starts_with("typed_param") => true,
            (Type::Named(name), _) => {
                self.owner(program, name).is_some_and(|key| self.borrowing.contains(&key))
            }
            _ => false,
        }
    }

    /// The key of a structure: the program's own, or the main program's.
    fn owner(&self, program: &str, name: &str) -> Option<String> {
        [program, "remote"]
            .into_iter()
            .map(|program| format!("{program}.{name}"))
            .find(|key| self.all_structures().any(|(known, _)| known == *key))
    }

    fn field_type(&self, program: &str, field: &Field) -> Result<String> {
        let plain = match &field.of {
            Type::I32 => "i32".to_owned(),
            Type::U32 => "u32".to_owned(),
            Type::I64 => "i64".to_owned(),
            Type::U64 => "u64".to_owned(),
            Type::F64 => "f64".to_owned(),
            Type::UChar => "u8".to_owned(),
            Type::UShort => "u16".to_owned(),
            Type::Uuid => "Uuid".to_owned(),
            Type::Text => "Text<'a>".to_owned(),
            Type::Char => match field.many {
                Many::Fixed(n) => return Ok(format!("FixedWords<{n}>")),
                Many::UpTo(n) => return Ok(format!("Words<{n}>")),
                _ => "u8".to_owned(),
            },
            Type::Opaque => match field.many {
                Many::UpTo(n) => return Ok(format!("Bytes<'a, {n}>")),
                other => bail!("opaque data, {other:?}"),
            },
            Type::Named(name) if name == "typed_param" => "TypedParam<'a>".to_owned(),
            Type::Named(name) if name == "typed_param_value" => "TypedValue<'a>".to_owned(),
            Type::Named(name) => {
                let key = self.owner(program, name).with_context(|| format!("no structure {name}"))?;
                let life = if self.borrowing.contains(&key) { "<'a>" } else { "" };
                let owner = key.split('.').next().unwrap_or_default();
                format!("{}{life}", self.structure_name(owner, name))
            }
        };
        let plain = match &field.meaning {
            None => plain,
            Some(none) if none == "none" => "NoFlags".to_owned(),
            Some(meaning) => {
                let (name, kind) =
                    self.sets.get(meaning).with_context(|| format!("no constants {meaning}"))?;
                let module = if *kind == SetKind::Flags { "flags" } else { "enums" };
                match field.of {
                    Type::U64 | Type::I64 => format!("Wide<{module}::{name}>"),
                    _ => format!("{module}::{name}"),
                }
            }
        };
        Ok(match field.many {
            Many::One => plain,
            Many::Optional => format!("Option<{plain}>"),
            Many::UpTo(n) => format!("List<'a, {plain}, {n}>"),
            Many::Fixed(n) => bail!("{n} of {plain}"),
        })
    }

    /// Two structures are called as a procedure is.
    fn structure_name(&self, program: &str, name: &str) -> String {
        let procedures =
            self.programs.iter().filter(|known| known.name == program).flat_map(|p| &p.procedures);
        let clash = procedures.into_iter().any(|procedure| procedure.name == name);
        format!("{}{}", names::pascal(name), if clash { "Entry" } else { "" })
    }

    fn structure(
        &self,
        out: &mut String,
        program: &Program,
        name: &str,
        about: &str,
        fields: &[Field],
    ) -> Result<()> {
        let life = if self.borrowing.contains(&format!("{}.{name}", program.name)) { "<'a>" } else { "" };
        writeln!(out, "structure! {{\n/// {about}\n{}{life} {{", self.structure_name(&program.name, name))?;
        for field in fields {
            let of =
                self.field_type(&program.name, field).with_context(|| format!("{name}.{}", field.name))?;
            writeln!(out, "/// `{}`\n{}: {of},", field.name, names::field(&field.name))?;
        }
        out.push_str("}}\n\n");
        Ok(())
    }

    /// The main program's structures, without typed parameters, which are written by hand.
    fn shared(&self) -> impl Iterator<Item = &Structure> {
        self.programs[0].structs.iter().filter(|structure| !structure.name.starts_with("typed_param"))
    }

    fn types(&self) -> Result<String> {
        let mut out = String::from(HEAD);
        out.push_str("//! Structures that several calls share.\n\n");
        let mut body = String::new();
        let remote = &self.programs[0];
        for structure in self.shared() {
            let about = format!("`{}`: a part of several calls.", structure.name);
            self.structure(&mut body, remote, &structure.name, &about, &structure.fields)?;
        }
        out.push_str(&imports(&body, &[]));
        out.push_str(&body);
        Ok(out)
    }

    fn procedures<'p>(
        &self,
        program: &Program,
        about: &str,
        chosen: impl Iterator<Item = &'p Procedure>,
    ) -> Result<String> {
        let mut body = String::new();
        for procedure in chosen {
            let name = names::pascal(&procedure.name);
            if let Some(fields) = &procedure.event {
                let about = format!("The event `{}`, since libvirt {}.", procedure.name, procedure.since);
                self.structure(&mut body, program, &format!("{}_msg", procedure.name), &about, fields)?;
                continue;
            }
            let part = |kind: &str, fields: &Option<Vec<Field>>| -> String {
                let key = format!("{}.{}_{kind}", program.name, procedure.name);
                let life = if self.borrowing.contains(&key) { "<'a>" } else { "" };
                fields.as_ref().map_or_else(
                    || "()".to_owned(),
                    |_| format!("{}{life}", names::pascal(&format!("{}_{kind}", procedure.name))),
                )
            };
            let (args, ret) = (part("args", &procedure.args), part("ret", &procedure.ret));
            let what = procedure.function.as_ref().map_or_else(
                || format!("The step `{}` of the protocol", procedure.name),
                |function| format!("[`{function}`]({})", reference(function)),
            );
            writeln!(body, "procedure! {{\n/// {what}, since libvirt {}.", procedure.since)?;
            writeln!(body, "{name}({args}) -> {ret} = {}\n}}\n", self.info(program, procedure)?)?;
            if let Some(fields) = &procedure.args {
                let about = format!("What [`{name}`] takes.");
                self.structure(&mut body, program, &format!("{}_args", procedure.name), &about, fields)?;
            }
            if let Some(fields) = &procedure.ret {
                let about = format!("What [`{name}`] returns.");
                self.structure(&mut body, program, &format!("{}_ret", procedure.name), &about, fields)?;
            }
        }
        let mut out = String::from(HEAD);
        writeln!(out, "//! {about}\n")?;
        let shared: Vec<String> = self.shared().map(|s| self.structure_name("remote", &s.name)).collect();
        out.push_str(&imports(&body, &shared));
        out.push_str(&body);
        Ok(out)
    }

    /// A constant expression of type `Info`.
    fn info(&self, program: &Program, procedure: &Procedure) -> Result<String> {
        let mut text = format!(
            "Info::new(Program::{}, {}, {:?}, {})",
            names::pascal(&program.name),
            procedure.number,
            procedure.name,
            release(&procedure.since)?
        );
        if let Some(function) = &procedure.function {
            write!(text, ".function({function:?})")?;
        }
        if procedure.priority == Priority::High {
            text.push_str(".urgent()");
        }
        if let Some(stream) = procedure.stream {
            let direction = match stream {
                StreamKind::Read => "Read",
                StreamKind::Write => "Write",
                StreamKind::Both => "Both",
            };
            write!(text, ".stream(Direction::{direction})")?;
        }
        if let Some(bit) = procedure.sparse {
            write!(text, ".sparse({bit})")?;
        }
        if let Some(descriptors) = procedure.descriptors {
            let direction = if descriptors == Descriptors::Send { "Send" } else { "Receive" };
            write!(text, ".descriptors(Descriptors::{direction})")?;
        }
        if procedure.event.is_some() {
            text.push_str(".event()");
        }
        if !procedure.acl.is_empty() {
            write!(text, ".acl(&{:?})", procedure.acl)?;
        }
        Ok(text)
    }

    fn sets(&self, kind: SetKind) -> Result<String> {
        let mut out = String::from(HEAD);
        let (about, macro_name) = match kind {
            SetKind::Flags => ("Sets of flags. Bits without a name are kept.", "flags"),
            SetKind::Enum => ("Enumerations. Values without a name are kept.", "enumeration"),
        };
        writeln!(out, "//! {about}\n\nuse crate::constants::{macro_name};\n")?;
        for set in self.constants.sets.iter().filter(|set| set.kind == kind) {
            let (name, _) = &self.sets[&set.name];
            let parsed = set.parsed()?;
            let long: Vec<&str> = parsed.iter().map(|(name, ..)| name.as_str()).collect();
            let short = match set.name.as_str() {
                // Errors and warnings share the numbers, but not the prefix.
                "virErrorNumber" => long
                    .iter()
                    .map(|name| name.trim_start_matches("VIR_ERR_").trim_start_matches("VIR_").to_owned())
                    .collect(),
                _ => names::constants(&set.name, &long),
            };
            writeln!(out, "{macro_name}! {{\n/// [`{}`]({})", set.name, reference(&set.name))?;
            writeln!(out, "{name} {{")?;
            let mut values = BTreeSet::new();
            let mut aliases = Vec::new();
            for ((constant, value, since), short) in parsed.iter().zip(&short) {
                let about = format!("`{constant}`, since {since}.");
                match kind {
                    SetKind::Flags => {
                        let bits = u32::try_from(*value).with_context(|| format!("{constant} is no bit"))?;
                        writeln!(out, "/// {about}\n{short} = {bits:#x};")?;
                    }
                    SetKind::Enum if values.insert(*value) => {
                        writeln!(out, "/// {about}\n{} = {value},", names::variant(short))?;
                    }
                    SetKind::Enum => aliases.push((about, short, *value)),
                }
            }
            out.push_str("}\n}\n\n");
            if !aliases.is_empty() {
                writeln!(out, "impl {name} {{")?;
                for (about, short, value) in aliases {
                    let same = parsed.iter().position(|(_, known, _)| *known == value).context("no twin")?;
                    writeln!(
                        out,
                        "/// {about} The same as [`Self::{}`].",
                        names::variant(&self.shorts(set)?[same])
                    )?;
                    writeln!(
                        out,
                        "pub const {short}: Self = Self::{};",
                        names::variant(&self.shorts(set)?[same])
                    )?;
                }
                out.push_str("}\n\n");
            }
        }
        Ok(out)
    }

    fn shorts(&self, set: &super::model::ConstantSet) -> Result<Vec<String>> {
        let parsed = set.parsed()?;
        let long: Vec<&str> = parsed.iter().map(|(name, ..)| name.as_str()).collect();
        Ok(names::constants(&set.name, &long))
    }

    fn parameters(&self) -> Result<String> {
        let mut out = String::from(HEAD);
        out.push_str("//! Names of typed parameters and other strings of the interface, under the names of their C macros.\n\n");
        for line in &self.constants.parameters {
            let mut words = line.splitn(3, ' ');
            let (Some(name), Some(text), Some(since)) = (words.next(), words.next(), words.next()) else {
                bail!("`{line}` is not `MACRO text since`");
            };
            let short = name.strip_prefix("VIR_").unwrap_or(name);
            writeln!(out, "/// `{name}`, since {since}.\npub const {short}: &str = {text:?};")?;
        }
        Ok(out)
    }

    /// A macro that names every structure, for tests of all of them.
    fn list(&self) -> Result<String> {
        let mut out = String::from(HEAD);
        out.push_str("//! Every structure by name.\n\n/// Calls a macro with the type of every structure.\n");
        out.push_str("macro_rules! for_each_structure {\n($call:ident) => {\n");
        for (key, _) in self.all_structures() {
            let (program, name) = key.split_once('.').context("a structure without a program")?;
            if name.starts_with("typed_param") {
                continue;
            }
            let shared = program == "remote" && self.shared().any(|structure| structure.name == name);
            let module = if shared { "types" } else { program };
            let life = if self.borrowing.contains(&key) { "<'_>" } else { "" };
            writeln!(out, "$call!($crate::{module}::{}{life});", self.structure_name(program, name))?;
        }
        out.push_str("};\n}\npub(crate) use for_each_structure;\n");
        Ok(out)
    }

    fn root(&self) -> Result<String> {
        let mut out = String::from(HEAD);
        out.push_str("//! Everything that the description in schema/ says.\n\n");
        out.push_str("#[cfg(test)]\npub(crate) mod all;\npub mod enums;\npub mod event;\npub mod flags;\npub mod parameters;\npub mod remote;\npub mod types;\n");
        for program in &self.programs[1..] {
            writeln!(out, "pub mod {};", program.name)?;
        }
        out.push_str("\nuse crate::procedure::{Info, Procedure, Program, Release};\n\n");
        out.push_str("impl Program {\n/// Its number on the wire.\n#[must_use]\npub const fn number(self) -> u32 {\nmatch self {\n");
        for program in self.programs {
            writeln!(out, "Self::{} => {:#x},", names::pascal(&program.name), program.number)?;
        }
        out.push_str("}\n}\n\n/// Its version on the wire.\n#[must_use]\npub const fn version(self) -> u32 {\nmatch self {\n");
        for program in self.programs {
            writeln!(out, "Self::{} => {},", names::pascal(&program.name), program.version)?;
        }
        out.push_str("}\n}\n\n/// All its procedures, by number; the first has number 1.\n#[must_use]\n");
        out.push_str("pub fn procedures(self) -> &'static [&'static Info] {\nmatch self {\n");
        for program in self.programs {
            writeln!(
                out,
                "Self::{} => {},",
                names::pascal(&program.name),
                program.name.to_ascii_uppercase()
            )?;
        }
        out.push_str("}\n}\n}\n\n");
        for program in self.programs {
            let table = program.name.to_ascii_uppercase();
            writeln!(out, "static {table}: &[&Info] = &[")?;
            for procedure in &program.procedures {
                if procedure.event.is_some() {
                    writeln!(out, "const {{ &{} }},", self.info(program, procedure)?)?;
                } else {
                    writeln!(out, "{}::{}::INFO,", program.name, names::pascal(&procedure.name))?;
                }
            }
            out.push_str("];\n\n");
        }
        Ok(out)
    }

    /// One variant for each event, whichever message carries it.
    fn events(&self) -> Result<String> {
        let mut kinds: BTreeMap<String, EventKind<'_>> = BTreeMap::new();
        for program in self.programs {
            for procedure in program.procedures.iter().filter(|p| p.event.is_some()) {
                let name =
                    procedure.name.replace("event_callback_", "event_").replacen("connect_event_", "", 1);
                let name = if program.name == "qemu" {
                    "qemu_monitor".to_owned()
                } else {
                    name.replacen("_event_", "_", 1)
                };
                kinds.entry(names::pascal(&name)).or_default().messages.push((program, procedure));
            }
        }
        let mut out = String::from(HEAD);
        out.push_str(
            "//! What a daemon sends without being asked.\n\nuse crate::procedure::{Program, Release};\n",
        );
        out.push_str("use crate::xdr::{self, DecodeError, IntoOwned};\nuse super::{qemu, remote};\n\n");
        out.push_str("/// An event, whichever message carried it.\n#[derive(Clone, Debug, PartialEq)]\n#[non_exhaustive]\npub enum Event<'a> {\n");
        for (name, kind) in &kinds {
            let (module, body) = kind.body();
            let (_, procedure) = kind.messages[0];
            writeln!(
                out,
                "/// Since libvirt {}; `{}`.",
                procedure.since,
                procedure.subscription.as_deref().unwrap_or_default()
            )?;
            let life = if self.borrowing.contains(&format!("{module}.{body}")) { "<'a>" } else { "" };
            writeln!(out, "{name}({module}::{}{life}),", names::pascal(&body))?;
        }
        out.push_str("}\n\nimpl Event<'_> {\n/// The same event, held by itself.\n#[must_use]\npub fn into_owned(self) -> Event<'static> {\nmatch self {\n");
        for name in kinds.keys() {
            writeln!(out, "Self::{name}(body) => Event::{name}(body.into_owned()),")?;
        }
        out.push_str(
            "}\n}\n\n/// Which one it is.\n#[must_use]\npub fn kind(&self) -> Kind {\nmatch self {\n",
        );
        for name in kinds.keys() {
            writeln!(out, "Self::{name}(_) => Kind::{name},")?;
        }
        out.push_str("}\n}\n}\n\n/// Which event.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[non_exhaustive]\npub enum Kind {\n");
        for name in kinds.keys() {
            writeln!(out, "/// [`Event::{name}`]\n{name},")?;
        }
        writeln!(out, "}}\n\nimpl Kind {{\n/// All of them.\npub const ALL: [Self; {}] = [", kinds.len())?;
        for name in kinds.keys() {
            writeln!(out, "Self::{name},")?;
        }
        out.push_str("];\n\n/// What subscribes to it.\n#[must_use]\npub const fn subscription(self) -> Subscription {\nmatch self {\n");
        for (name, kind) in &kinds {
            writeln!(out, "Self::{name} => {},", self.subscription(kind)?)?;
        }
        out.push_str("}\n}\n\n/// The release that brought it.\n#[must_use]\npub const fn since(self) -> Release {\nmatch self {\n");
        for (name, kind) in &kinds {
            writeln!(out, "Self::{name} => {},", release(&kind.messages[0].1.since)?)?;
        }
        out.push_str("}\n}\n}\n\n");
        out.push_str(SUBSCRIPTION);
        out.push_str("/// Decodes an event. `None` when the message is none that this library knows: a newer daemon's, to be passed over.\n///\n/// # Errors\n/// When the content is not what the message has.\n");
        out.push_str("pub fn decode(program: Program, procedure: i32, payload: &[u8]) -> Option<Result<Message<'_>, DecodeError>> {\nSome(match (program, procedure) {\n");
        for (name, kind) in &kinds {
            for (program, procedure) in &kind.messages {
                writeln!(
                    out,
                    "(Program::{}, {}) => {},",
                    names::pascal(&program.name),
                    procedure.number,
                    self.decoding(kind, name, program, procedure)
                )?;
            }
        }
        out.push_str("_ => return None,\n})\n}\n");
        Ok(out)
    }

    /// The arm of a match that decodes one message.
    fn decoding(&self, kind: &EventKind<'_>, name: &str, program: &Program, procedure: &Procedure) -> String {
        let module = if program.name == "qemu" { "qemu" } else { "remote" };
        let key = format!("{}_msg", procedure.name);
        let life = if self.borrowing.contains(&format!("{module}.{key}")) { "<'_>" } else { "" };
        let message = format!("{module}::{}", names::pascal(&key));
        let body = format!("{module}::{}", names::pascal(&kind.body().1));
        let take = format!("xdr::decode::<{message}{life}>(payload)");
        match form(procedure) {
            Form::Wraps(_) => format!(
                "{take}.map(|m| Message {{ callback_id: Some(m.callback_id), event: Event::{name}(m.msg) }})"
            ),
            Form::Own => format!(
                "{take}.map(|m| Message {{ callback_id: Some(m.callback_id), event: Event::{name}(m) }})"
            ),
            Form::Old if message == body => {
                format!("{take}.map(|m| Message {{ callback_id: None, event: Event::{name}(m) }})")
            }
            // The newer message has more than the older one; what the older lacks is 0.
            Form::Old => format!(
                "{take}.map(|msg| Message {{ callback_id: None, event: Event::{name}({body} {{ msg, ..Default::default() }}) }})"
            ),
        }
    }

    fn subscription(&self, kind: &EventKind<'_>) -> Result<String> {
        let (_, procedure) = kind.messages.last().context("a kind without messages")?;
        let text = procedure.subscription.as_deref().unwrap_or_default();
        let Some((class, id)) = text.split_once(' ') else {
            return Ok(match text {
                "connect_register_close_callback" => "Subscription::Close".to_owned(),
                "connect_domain_monitor_event_register" => "Subscription::QemuMonitor".to_owned(),
                other => bail!("`{other}` is no subscription"),
            });
        };
        let mut constants = Vec::new();
        for set in &self.constants.sets {
            constants.extend(set.parsed()?);
        }
        let (_, value, _) =
            constants.iter().find(|(name, ..)| name == id).with_context(|| format!("no {id}"))?;
        Ok(format!("Subscription::{}({value})", names::pascal(class)))
    }
}

/// An event and the messages that carry it: without a callback's number, and with one.
#[derive(Default)]
struct EventKind<'a> {
    messages: Vec<(&'a Program, &'a Procedure)>,
}

/// What follows the callback's number in a message: the old message as a whole, the old one and more, or fields of its own.
enum Form {
    Old,
    Wraps(String),
    Own,
}

fn form(procedure: &Procedure) -> Form {
    let fields = procedure.event.as_deref().unwrap_or_default();
    match fields {
        [first, second] if first.name == "callbackID" && second.name == "msg" => match &second.of {
            Type::Named(name) => Form::Wraps(name.clone()),
            _ => Form::Own,
        },
        [first, ..] if first.name == "callbackID" => Form::Own,
        _ => Form::Old,
    }
}

impl EventKind<'_> {
    /// Module and structure of the variant's content.
    fn body(&self) -> (&'static str, String) {
        let (program, last) = self.messages[self.messages.len() - 1];
        let module = if program.name == "qemu" { "qemu" } else { "remote" };
        match form(last) {
            Form::Wraps(name) => (module, name),
            Form::Old | Form::Own => (module, format!("{}_msg", last.name)),
        }
    }
}

const SUBSCRIPTION: &str = "\
/// What subscribes to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subscription {
    /// A domain event with this id (`virDomainEventID`).
    Domain(i32),
    /// A network event (`virNetworkEventID`).
    Network(i32),
    /// A storage pool event (`virStoragePoolEventID`).
    StoragePool(i32),
    /// A node device event (`virNodeDeviceEventID`).
    NodeDevice(i32),
    /// A secret event (`virSecretEventID`).
    Secret(i32),
    /// The callback for the end of the daemon's own connection.
    Close,
    /// QEMU's monitor events.
    QemuMonitor,
}

/// A message that carried an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The number of the subscription that it belongs to; `None` in messages of daemons older than 1.2.1.
    pub callback_id: Option<i32>,
    /// The event.
    pub event: Event<'a>,
}

";

fn release(text: &str) -> Result<String> {
    let parts: Vec<&str> = text.split('.').collect();
    match parts.as_slice() {
        [major, minor, micro] => Ok(format!("Release({major}, {minor}, {micro})")),
        _ => bail!("`{text}` is no release"),
    }
}

/// Where libvirt's reference explains a function or type. Which page holds it is not in the description, so the search finds it.
fn reference(name: &str) -> String {
    format!("https://libvirt.org/search.html?q={name}")
}

/// `use` lines for what the text names.
fn imports(body: &str, shared: &[String]) -> String {
    let generated = "crate::generated::";
    let has = |word: &str| {
        body.match_indices(word).any(|(at, _)| {
            let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            edge(body[..at].chars().next_back()) && edge(body[at + word.len()..].chars().next())
        })
    };
    let mut out = String::new();
    let mut group = |path: &str, words: &[&str]| {
        let found: Vec<_> = words.iter().copied().filter(|word| has(word)).collect();
        if !found.is_empty() {
            let _ = writeln!(out, "use {path}{{{}}};", found.join(", "));
        }
    };
    group("crate::", &["NoFlags", "Wide"]);
    group("crate::params::", &["TypedParam", "TypedValue"]);
    group("crate::procedure::", &["Descriptors", "Direction", "Info", "Program", "Release", "procedure"]);
    group("crate::xdr::", &["Bytes", "FixedWords", "List", "Text", "Uuid", "Words", "structure"]);
    let modules: Vec<_> =
        ["enums", "flags"].into_iter().filter(|word| body.contains(&format!("{word}::"))).collect();
    if !modules.is_empty() {
        let _ = writeln!(out, "use {generated}{{{}}};", modules.join(", "));
    }
    let shared: Vec<_> = shared.iter().map(String::as_str).filter(|word| has(word)).collect();
    if !shared.is_empty() {
        let _ = writeln!(out, "use {generated}types::{{{}}};", shared.join(", "));
    }
    out.push('\n');
    out
}

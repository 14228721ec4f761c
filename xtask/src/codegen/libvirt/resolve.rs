//! Joins protocol files, API descriptions and our overrides into the description. Every override must be used, and every
//! procedure must be classified: a new libvirt release shows what it brought by failing here.

use super::api::Api;
use super::model::{
    ConstantSet, Constants, Descriptors, Field, Many, Priority, Procedure, Program, SetKind, StreamKind,
    Structure, Type,
};
use super::xdr;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What neither the protocol files nor the API descriptions say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overrides {
    /// Values of C macros that the protocol files name.
    macros: BTreeMap<String, u32>,
    /// `program.procedure` to the C function that stands for it, where the rule finds none; empty for none.
    functions: BTreeMap<String, String>,
    /// `program.procedure` to the release that brought it, where the function does not tell it.
    since: BTreeMap<String, String>,
    /// `structure.field` to the C type of constants that it holds.
    meanings: BTreeMap<String, String>,
    /// `program.procedure` to the stream it opens, where the annotations are wrong or absent.
    streams: BTreeMap<String, StreamKind>,
    /// `program.procedure` to the direction of its file descriptors.
    descriptors: BTreeMap<String, Descriptors>,
    /// `program.procedure` of an event to what subscribes to it.
    subscriptions: BTreeMap<String, String>,
    /// Sets of flags whose name does not say so.
    flag_sets: Vec<String>,
    /// Constant types of which nothing travels on the wire and no caller needs.
    unused_sets: Vec<String>,
    /// Structures of one program that equal one of another: `admin.typed_param` to `typed_param`.
    same: BTreeMap<String, String>,
    /// Procedures of releases newer than the source, by program.
    later: BTreeMap<String, Vec<Procedure>>,
    /// Constants of releases newer than the source: set to `NAME value since` lines.
    later_constants: BTreeMap<String, Vec<String>>,
}

/// The overrides, with a note of which were used.
pub(super) struct Used<'a> {
    overrides: &'a Overrides,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Used<'a> {
    /// Nothing used yet.
    #[must_use]
    pub(super) fn new(overrides: &'a Overrides) -> Self {
        Self { overrides, used: RefCell::default() }
    }

    fn take<T>(&self, table: &str, entries: &'a BTreeMap<String, T>, key: &str) -> Option<&'a T> {
        let found = entries.get(key)?;
        self.used.borrow_mut().insert(format!("{table}.{key}"));
        Some(found)
    }

    fn listed(&self, table: &str, entries: &[String], key: &str) -> bool {
        let found = entries.iter().any(|entry| entry == key);
        if found {
            self.used.borrow_mut().insert(format!("{table}.{key}"));
        }
        found
    }

    /// # Errors
    /// Names the entries that nothing asked for.
    pub(super) fn all_used(&self) -> Result<()> {
        let o = self.overrides;
        let mut all = BTreeSet::new();
        let mut add = |table: &str, keys: Vec<&String>| {
            all.extend(keys.into_iter().map(|key| format!("{table}.{key}")));
        };
        add("macros", o.macros.keys().collect());
        add("functions", o.functions.keys().collect());
        add("since", o.since.keys().collect());
        add("meanings", o.meanings.keys().collect());
        add("streams", o.streams.keys().collect());
        add("descriptors", o.descriptors.keys().collect());
        add("subscriptions", o.subscriptions.keys().collect());
        add("same", o.same.keys().collect());
        add("later", o.later.keys().collect());
        add("later_constants", o.later_constants.keys().collect());
        add("flag_sets", o.flag_sets.iter().collect());
        add("unused_sets", o.unused_sets.iter().collect());
        let used = self.used.borrow();
        let idle: Vec<_> = all.difference(&used).cloned().collect();
        if !idle.is_empty() {
            bail!("overrides that nothing uses: {}", idle.join(", "));
        }
        Ok(())
    }
}

/// What a protocol file is, besides its text.
pub(super) struct Source<'a> {
    /// Short name of the program.
    pub program: &'a str,
    /// What precedes `VIR` names: `vir` or `virAdm`.
    pub function_prefix: &'a str,
    /// Release.
    pub origin: &'a str,
}

/// Makes the description of a program. `shared` are the programs before it, whose structures it may use.
///
/// # Errors
/// With everything that is unclassified.
pub(super) fn program(
    source: &Source<'_>,
    file: &xdr::File,
    api: &Api,
    shared: &[Program],
    used: &Used<'_>,
) -> Result<Program> {
    let reader = FieldReader { source, file, used };
    let upper = source.program.to_ascii_uppercase();
    let number = reader.constant(&format!("{upper}_PROGRAM"))?;
    let version = reader.constant(&format!("{upper}_PROTOCOL_VERSION"))?;
    let procedures = file
        .enums
        .iter()
        .find(|known| known.name == format!("{}_procedure", source.program))
        .context("no enumeration of procedures")?;
    let mut structs: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    let mut order = Vec::new();
    for structure in &file.structs {
        let name = short(source.program, &structure.name);
        let fields = reader.fields(&name, &structure.members)?;
        let key = format!("{}.{name}", source.program);
        if let Some(same) = used.take("same", &used.overrides.same, &key) {
            let twin = shared.iter().flat_map(|program| &program.structs).find(|known| known.name == *same);
            if twin.is_none_or(|twin| twin.fields != fields) {
                bail!("{key} is not the same as {same}");
            }
            continue;
        }
        order.push(name.clone());
        structs.insert(name, fields);
    }
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for (constant, value, annotations) in &procedures.constants {
        let name = constant.strip_prefix(&format!("{upper}_PROC_")).context("a foreign procedure")?;
        let name = name.to_ascii_lowercase();
        let key = format!("{}.{name}", source.program);
        match procedure(&key, &name, i32::try_from(*value)?, annotations, &mut structs, source, api, used) {
            Ok(procedure) => found.push(procedure),
            Err(problem) => problems.push(format!("{problem:#}")),
        }
    }
    if let Some(later) = used.take("later", &used.overrides.later, source.program) {
        found.extend(later.iter().cloned());
    }
    not_before(&mut found, &used.overrides.since, source.program);
    problems.extend(gaps(&found));
    if !problems.is_empty() {
        bail!("{} of {}:\n  {}", problems.len(), source.program, problems.join("\n  "));
    }
    let structs = order
        .into_iter()
        .filter_map(|name| structs.remove(&name).map(|fields| Structure { name, fields }))
        .collect();
    Ok(Program {
        name: source.program.to_owned(),
        number,
        version,
        origin: source.origin.to_owned(),
        structs,
        procedures: found,
    })
}

#[expect(clippy::too_many_arguments, reason = "the one place where all sources meet")]
fn procedure(
    key: &str,
    name: &str,
    number: i32,
    annotations: &xdr::Annotations,
    structs: &mut BTreeMap<String, Vec<Field>>,
    source: &Source<'_>,
    api: &Api,
    used: &Used<'_>,
) -> Result<Procedure> {
    let o = used.overrides;
    let mut args = structs.remove(&format!("{name}_args"));
    let event = structs.remove(&format!("{name}_msg"));
    let ret = structs.remove(&format!("{name}_ret"));
    if event.is_some() && (args.is_some() || ret.is_some()) {
        bail!("{key} is both an event and a call");
    }
    let rule = api.functions.keys().find(|function| {
        let squeezed: String = name.split('_').collect();
        function.strip_prefix(source.function_prefix).is_some_and(|rest| rest.eq_ignore_ascii_case(&squeezed))
    });
    let function = match (used.take("functions", &o.functions, key), rule) {
        (Some(_), Some(rule)) => bail!("{key}: the rule finds {rule}; drop the override"),
        (Some(none), None) if none.is_empty() => None,
        (Some(function), None) => Some(function.clone()),
        (None, Some(rule)) => Some(rule.clone()),
        (None, None) if event.is_some() => None,
        (None, None) => bail!("{key} has no function and no override"),
    };
    let known = match &function {
        Some(function) => {
            Some(api.functions.get(function).with_context(|| format!("{key}: no function {function}"))?)
        }
        None => None,
    };
    let subscription = match (&event, used.take("subscriptions", &o.subscriptions, key)) {
        (None, None) => None,
        (None, Some(_)) => bail!("{key} is no event, but has a subscription"),
        (Some(_), Some(found)) => Some(found.clone()),
        (Some(_), None) => Some(subscription(name, api).with_context(|| format!("{key}: who subscribes?"))?),
    };
    let since_subscription = subscription.as_ref().and_then(|found| {
        let id = found.split(' ').nth(1)?;
        api.types.iter().flat_map(|set| &set.constants).find(|c| c.name == id).map(|c| c.since.clone())
    });
    let since = used
        .take("since", &o.since, key)
        .cloned()
        .or_else(|| known.map(|known| known.since.clone()))
        .or(since_subscription)
        .with_context(|| format!("{key}: since when?"))?;
    let unexplained = |field: &&mut Field| field.name == "flags" && field.meaning.is_none();
    if let Some(field) = args.iter_mut().flatten().find(unexplained) {
        let flags = known.and_then(|known| known.flags.clone());
        field.meaning = match flags {
            Some(flags) if flags.is_empty() => Some("none".to_owned()),
            Some(flags) => Some(flags),
            None => bail!("{key}: what are its flags?"),
        };
    }
    let annotation = |word: &str| annotations.get(word).and_then(|values| values.first()).map(String::as_str);
    let annotated = match (annotation("readstream"), annotation("writestream")) {
        (Some(_), Some(_)) => Some(StreamKind::Both),
        (Some(_), None) => Some(StreamKind::Read),
        (None, Some(_)) => Some(StreamKind::Write),
        (None, None) => None,
    };
    let stream = used.take("streams", &o.streams, key).copied().or(annotated);
    let sparse = match annotation("sparseflag") {
        None => None,
        Some(name) => {
            let constant = api.types.iter().flat_map(|set| &set.constants).find(|c| c.name == name);
            Some(u32::try_from(constant.with_context(|| format!("{key}: no {name}"))?.value)?)
        }
    };
    let priority = match annotation("priority") {
        Some("high") => Priority::High,
        None | Some("low") => Priority::Low,
        Some(other) => bail!("{key}: priority {other}"),
    };
    let mut acl = annotations.get("acl").cloned().unwrap_or_default();
    acl.retain(|rule| rule != "none");
    Ok(Procedure {
        number,
        name: name.to_owned(),
        since,
        function,
        priority,
        stream,
        sparse,
        descriptors: used.take("descriptors", &o.descriptors, key).copied(),
        acl,
        args,
        ret,
        event,
        subscription,
    })
}

/// `domain VIR_DOMAIN_EVENT_ID_REBOOT` for `domain_event_reboot` and `domain_event_callback_reboot`.
fn subscription(name: &str, api: &Api) -> Option<String> {
    let (class, rest) = name.split_once("_event_")?;
    let rest = rest.strip_prefix("callback_").unwrap_or(rest);
    let id = format!("VIR_{}_EVENT_ID_{}", class, rest).to_ascii_uppercase();
    let known = api.types.iter().flat_map(|set| &set.constants).any(|constant| constant.name == id);
    known.then(|| format!("{class} {id}"))
}

/// Procedures are numbered in the order of releases, but a C function may be older than its procedure: then its procedure is not
/// older than the one before it. What an override says stands.
fn not_before(procedures: &mut [Procedure], fixed: &BTreeMap<String, String>, program: &str) {
    let version = |text: &str| -> Vec<u32> { text.split('.').filter_map(|part| part.parse().ok()).collect() };
    let mut newest = FIRST_RELEASE.to_owned();
    for procedure in procedures {
        if fixed.contains_key(&format!("{program}.{}", procedure.name)) {
            continue;
        }
        if version(&procedure.since) < version(&newest) {
            procedure.since.clone_from(&newest);
        } else {
            newest.clone_from(&procedure.since);
        }
    }
}

/// The release that brought the protocol.
const FIRST_RELEASE: &str = "0.3.0";

fn gaps(procedures: &[Procedure]) -> Vec<String> {
    procedures
        .iter()
        .zip(1..)
        .filter(|(procedure, number)| procedure.number != *number)
        .take(1)
        .map(|(procedure, number)| {
            format!("{} has number {}, not {number}", procedure.name, procedure.number)
        })
        .collect()
}

fn short(program: &str, name: &str) -> String {
    let name = name.strip_prefix(&format!("{program}_")).unwrap_or(name);
    name.strip_prefix("nonnull_").unwrap_or(name).to_owned()
}

struct FieldReader<'a> {
    source: &'a Source<'a>,
    file: &'a xdr::File,
    used: &'a Used<'a>,
}

impl FieldReader<'_> {
    fn constant(&self, name: &str) -> Result<u32> {
        if let Some(hex) = name.strip_prefix("0x") {
            return Ok(u32::from_str_radix(hex, 16)?);
        }
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        if let Some((_, value)) = self.file.constants.iter().find(|(known, _)| known == name) {
            return self.constant(value);
        }
        let found = self.used.take("macros", &self.used.overrides.macros, name);
        found.copied().with_context(|| format!("{name} has no value"))
    }

    fn fields(&self, structure: &str, members: &[xdr::Member]) -> Result<Vec<Field>> {
        members
            .iter()
            .map(|member| {
                self.field(structure, member).with_context(|| format!("{structure}.{}", member.name))
            })
            .collect()
    }

    fn field(&self, structure: &str, member: &xdr::Member) -> Result<Field> {
        let (of, optional) = self.of(&member.of)?;
        let many = match (&member.many, optional) {
            (xdr::Many::One, false) => Many::One,
            (xdr::Many::One, true) | (xdr::Many::Optional, false) => Many::Optional,
            (xdr::Many::Fixed(bound), false) => Many::Fixed(self.constant(bound)?),
            (xdr::Many::UpTo(bound), false) => Many::UpTo(self.constant(bound)?),
            _ => bail!("many of an optional type"),
        };
        let key = format!("{structure}.{}", member.name);
        let meaning = self.used.take("meanings", &self.used.overrides.meanings, &key).cloned();
        Ok(Field { name: member.name.clone(), of, many, meaning })
    }

    /// The type that a name stands for, and whether it may be absent.
    fn of(&self, written: &str) -> Result<(Type, bool)> {
        let program = self.source.program;
        let plain = match written {
            "int" => Type::I32,
            "unsigned int" => Type::U32,
            "hyper" => Type::I64,
            "unsigned hyper" => Type::U64,
            "double" => Type::F64,
            "char" => Type::Char,
            "unsigned char" => Type::UChar,
            "unsigned short" => Type::UShort,
            "opaque" => Type::Opaque,
            // An enumeration is a signed word; its constants come by way of the overrides.
            "remote_auth_type" => Type::I32,
            name => {
                let typedef = |name: &str| self.file.types.iter().find(|known| known.name == name);
                // The other programs use the main program's types by its name.
                let (owner, base) = match name.strip_prefix("remote_") {
                    Some(base) => ("remote", base),
                    None => (program, name.strip_prefix(&format!("{program}_")).unwrap_or(name)),
                };
                let base = base.strip_prefix("nonnull_").map_or((base, false), |base| (base, true));
                return Ok(match base {
                    ("string", nonnull) => (Type::Text, !nonnull),
                    ("uuid", _) => (Type::Uuid, false),
                    (base, nonnull) => {
                        let optional = !nonnull
                            && (typedef(name).is_some_and(|known| known.many == xdr::Many::Optional)
                                || (owner == "remote" && program != "remote" && base == "domain"));
                        let key = format!("{owner}.{base}");
                        let same = self.used.overrides.same.get(&key);
                        (Type::Named(same.map_or_else(|| base.to_owned(), Clone::clone)), optional)
                    }
                });
            }
        };
        Ok((plain, false))
    }
}

/// Makes the description of the constants.
///
/// # Errors
/// With the types of constants that are neither flags nor enumeration by name nor by override.
pub(super) fn constants(origin: &str, api: &Api, used: &Used<'_>) -> Result<Constants> {
    let o = used.overrides;
    let mut sets = Vec::new();
    for known in &api.types {
        if used.listed("unused_sets", &o.unused_sets, &known.name) {
            continue;
        }
        let by_name = known.name.contains("Flag");
        let flags = by_name || used.listed("flag_sets", &o.flag_sets, &known.name);
        let mut constants: Vec<_> = known
            .constants
            .iter()
            .map(|constant| format!("{} {} {}", constant.name, constant.value, constant.since))
            .collect();
        if let Some(later) = used.take("later_constants", &o.later_constants, &known.name) {
            constants.extend(later.iter().cloned());
        }
        let kind = if flags { SetKind::Flags } else { SetKind::Enum };
        sets.push(ConstantSet { name: known.name.clone(), kind, constants });
    }
    let functions =
        api.functions.iter().map(|(name, function)| format!("{name} {}", function.since)).collect();
    let flag_arguments = api
        .functions
        .iter()
        .filter_map(|(name, function)| Some((name.clone(), function.flags.clone()?)))
        .collect();
    let parameters = api.strings.iter().map(|(name, text, since)| format!("{name} {text} {since}")).collect();
    Ok(Constants { origin: origin.to_owned(), functions, flag_arguments, sets, parameters })
}

#[cfg(test)]
mod tests {
    use super::super::api::Function;
    use super::*;

    /// Overrides with this in them, and nothing else.
    fn overrides(table: &str, entry: &str) -> Overrides {
        let tables = [
            "macros",
            "functions",
            "since",
            "meanings",
            "streams",
            "descriptors",
            "subscriptions",
            "same",
            "later",
            "later_constants",
        ];
        let mut text = "flag_sets = []\nunused_sets = []\n".to_owned();
        for known in tables {
            text += &format!("[{known}]\n");
            if known == table {
                text += &format!("{entry}\n");
            }
        }
        toml::from_str(&text).unwrap()
    }

    /// One procedure, which no rule joins to a function.
    fn resolved(overrides: &Overrides) -> Result<Program> {
        let text = "const REMOTE_PROGRAM = 1; const REMOTE_PROTOCOL_VERSION = 1;\n\
                    enum remote_procedure { /** @acl: none */ REMOTE_PROC_FLY = 1 };";
        let source = Source { program: "remote", function_prefix: "vir", origin: "1.0.0" };
        let mut api = Api::default();
        api.functions.insert("virSoar".to_owned(), Function { since: "0.9.0".to_owned(), flags: None });
        let used = Used::new(overrides);
        let program = program(&source, &xdr::parse(text)?, &api, &[], &used)?;
        used.all_used()?;
        Ok(program)
    }

    #[test]
    fn a_procedure_without_a_function_fails_the_run() {
        let problem = format!("{:#}", resolved(&overrides("", "")).unwrap_err());
        assert!(
            problem.contains("1 of remote") && problem.contains("remote.fly has no function"),
            "{problem}"
        );
        let found = resolved(&overrides("functions", "\"remote.fly\" = \"virSoar\"")).unwrap();
        assert_eq!(found.procedures[0].function.as_deref(), Some("virSoar"));
        assert_eq!(found.procedures[0].since, "0.9.0");
    }

    #[test]
    fn an_override_that_nothing_uses_fails_the_run() {
        for (table, entry, idle) in [
            ("streams", "\"remote.swim\" = \"read\"", "streams.remote.swim"),
            ("macros", "DEPTH = 3", "macros.DEPTH"),
        ] {
            let mut text = overrides(table, entry);
            text.functions.insert("remote.fly".to_owned(), "virSoar".to_owned());
            let problem = format!("{:#}", resolved(&text).unwrap_err());
            assert_eq!(problem, format!("overrides that nothing uses: {idle}"));
        }
    }
}

//! Events: one enumeration for all messages that carry one.

use super::super::model::{Procedure, Program, Type};
use super::super::names;
use super::{HEAD, Printer, release};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;

impl Printer<'_> {
    /// One variant for each event, whichever message carries it.
    pub(super) fn events(&self) -> Result<String> {
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
        out.push_str("}\n}\n\n/// The name of its message in the protocol.\n#[must_use]\npub const fn name(self) -> &'static str {\nmatch self {\n");
        for (name, kind) in &kinds {
            writeln!(out, "Self::{name} => {:?},", kind.messages[0].1.name)?;
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
        out.push_str("_ => return None,\n})\n}\n\n");
        out.push_str("/// Decodes the content of an event and encodes it again, for proxies. `None` as with [`decode`].\n///\n/// # Errors\n/// As [`decode`].\n");
        out.push_str("pub fn recode(program: Program, procedure: i32, payload: &[u8]) -> Option<Result<Vec<u8>, DecodeError>> {\nSome(match (program, procedure) {\n");
        for kind in kinds.values() {
            for (program, procedure) in &kind.messages {
                let message = self.message(program, procedure);
                let (program, number) = (names::pascal(&program.name), procedure.number);
                writeln!(out, "(Program::{program}, {number}) => xdr::recode::<{message}>(payload),")?;
            }
        }
        out.push_str("_ => return None,\n})\n}\n");
        Ok(out)
    }

    /// The type of a message, with the life of what it borrows from.
    fn message(&self, program: &Program, procedure: &Procedure) -> String {
        let module = if program.name == "qemu" { "qemu" } else { "remote" };
        let key = format!("{}_msg", procedure.name);
        let life = if self.borrowing.contains(&format!("{module}.{key}")) { "<'_>" } else { "" };
        format!("{module}::{}{life}", names::pascal(&key))
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

//! Who answers in a guest's name, where no guest runs: what a test scripts.

use serde_json::{Value, json};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// The language of a monitor's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, of QEMU's machine protocol.
    Json,
    /// Words for people.
    Words,
}

/// What QEMU's monitor answers.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its words: JSON to JSON.
    pub text: String,
    /// Files that go with them.
    pub files: Vec<OwnedFd>,
    /// Events that come of it, each with its details, if it has some.
    pub events: Vec<(String, Option<Value>)>,
}

impl Answer {
    /// Words alone.
    #[must_use]
    pub fn words(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// What a program at the other end of a domain's monitor, agent, screen or container says. Every method has an answer that does for tests
/// of other things; a test of these calls has its own.
///
/// ```
/// use libvirt_server::{Answer, Form, Guest};
///
/// #[derive(Debug)]
/// struct Balloon;
///
/// impl Guest for Balloon {
///     fn monitor(&mut self, _domain: &str, command: &str, _: Form, _: Vec<std::os::fd::OwnedFd>) -> Answer {
///         assert!(command.contains("query-balloon"));
///         Answer::words(r#"{"return":{"actual":1073741824}}"#)
///     }
/// }
/// ```
pub trait Guest: std::fmt::Debug + Send {
    /// QEMU's monitor. The files are those that came with the command.
    fn monitor(&mut self, domain: &str, command: &str, form: Form, files: Vec<OwnedFd>) -> Answer {
        let _ = domain;
        match form {
            Form::Json => json_monitor(command, &files),
            Form::Words => Answer::words(words_monitor(command)),
        }
    }

    /// The agent in the guest: JSON to JSON. `None` is the silence of a guest without one.
    fn agent(&mut self, domain: &str, command: &str) -> Option<String> {
        let _ = (domain, command);
        None
    }

    /// A viewer's socket is joined to a screen of the domain.
    fn screen(&mut self, domain: &str, screen: u32, socket: OwnedFd) {
        let _ = (domain, screen);
        // A server of VNC's that says who it is, and hangs up. Who has hung up before it hears nothing.
        let _ = UnixStream::from(socket).write_all(b"RFB 003.008\n");
    }

    /// The name spaces of a container's first process.
    fn name_spaces(&mut self, domain: &str) -> Vec<OwnedFd> {
        let _ = domain;
        // Ours are as good as any.
        let spaces = ["ipc", "net", "uts"].into_iter();
        spaces
            .filter_map(|name| Some(std::fs::File::open(format!("/proc/self/ns/{name}")).ok()?.into()))
            .collect()
    }

    /// Files that a container's first process begins with, or that disks of a domain will be.
    fn files(&mut self, domain: &str, files: Vec<OwnedFd>) {
        let _ = (domain, files);
    }
}

/// The guest that is there when nobody gives another: it knows a few commands of QEMU's monitor, and has no agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandIn;

impl Guest for StandIn {}

fn json_monitor(command: &str, files: &[OwnedFd]) -> Answer {
    let Ok(parsed) = serde_json::from_str::<Value>(command) else {
        return Answer::words(failed("GenericError", "Invalid JSON syntax"));
    };
    let name = parsed["execute"].as_str().unwrap_or_default();
    let result = match name {
        "query-status" => json!({ "status": "running", "singlestep": false, "running": true }),
        "query-version" => {
            json!({ "qemu": { "micro": 0, "minor": 2, "major": 7 }, "package": "" })
        }
        "query-kvm" => json!({ "enabled": false, "present": true }),
        "query-block" | "query-pci" => json!([]),
        "getfd" if files.len() == 1 => json!({}),
        "getfd" => {
            return Answer::words(failed("GenericError", "No file descriptor supplied via SCM_RIGHTS"));
        }
        "closefd" => json!({}),
        "stop" | "cont" => {
            let event = if name == "stop" { "STOP" } else { "RESUME" };
            return Answer { events: vec![(event.to_owned(), None)], ..Answer::words(said(&json!({}))) };
        }
        "" => return Answer::words(failed("GenericError", "QMP input lacks member 'execute'")),
        other => {
            let text = format!("The command {other} has not been found");
            return Answer::words(failed("CommandNotFound", &text));
        }
    };
    Answer::words(said(&result))
}

fn said(result: &Value) -> String {
    json!({ "return": result, "id": "libvirt-1" }).to_string()
}

fn failed(class: &str, text: &str) -> String {
    json!({ "id": "libvirt-1", "error": { "class": class, "desc": text } }).to_string()
}

fn words_monitor(command: &str) -> String {
    match command.trim() {
        "info version" => "7.2.0\r\n".to_owned(),
        "info status" => "VM status: running\r\n".to_owned(),
        other => {
            let name = other.split_whitespace().next().unwrap_or_default();
            format!("unknown command: '{name}'\r\n")
        }
    }
}

//! A recorded reply to `query-qmp-schema`, and how it is asked for.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// What one program says of its interface, by the name of the entry. Names of types are numbers without a meaning.
pub(super) type Schema = HashMap<String, Entry>;

/// One entry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    pub name: String,
    pub meta_type: Meta,
    #[serde(default)]
    pub arg_type: Option<String>,
    #[serde(default)]
    pub ret_type: Option<String>,
    #[serde(default)]
    pub element_type: Option<String>,
    #[serde(default)]
    pub allow_oob: bool,
    #[serde(default)]
    pub features: Vec<String>,
    #[serde(default)]
    pub tag: Option<String>,
    #[serde(default)]
    pub members: Vec<Member>,
    #[serde(default)]
    pub variants: Vec<Variant>,
}

/// Kinds of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Meta {
    #[default]
    Builtin,
    Enum,
    Array,
    Object,
    Alternate,
    Command,
    Event,
}

/// A member of an object, a value of an enumeration or an arm of an alternate.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Member {
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Present, and null, when the member may be left out.
    #[serde(default, deserialize_with = "present")]
    pub default: bool,
    #[serde(default)]
    pub features: Vec<String>,
}

/// Members that come with a value of the tag.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Variant {
    pub case: String,
    #[serde(rename = "type")]
    pub kind: String,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Starts a program and asks it. `storage` says whether it is the storage daemon, which takes other options.
///
/// # Errors
/// When it cannot be started or does not answer as QEMU does.
pub(super) fn ask(program: &mut Command, storage: bool) -> Result<(String, Schema)> {
    if storage {
        program.args(["--chardev", "stdio,id=monitor", "--monitor", "monitor"]);
    } else {
        program.args(["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none"]);
        program.args(["-qmp", "stdio"]);
    }
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("it cannot be started")?;
    let answer = converse(&mut child);
    // It ends with its input.
    drop(child.stdin.take());
    if answer.is_err() {
        let _ = child.kill();
    }
    child.wait()?;
    answer
}

fn converse(child: &mut std::process::Child) -> Result<(String, Schema)> {
    #[derive(Deserialize)]
    struct Greeting {
        #[serde(rename = "QMP")]
        qmp: Versions,
    }
    #[derive(Deserialize)]
    struct Versions {
        version: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        qemu: Triple,
    }
    #[derive(Deserialize)]
    struct Triple {
        major: u32,
        minor: u32,
        micro: u32,
    }
    #[derive(Deserialize)]
    struct Reply {
        #[serde(rename = "return")]
        entries: Vec<Entry>,
    }
    let mut input = child.stdin.as_ref().context("no input")?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut line = || lines.next().context("it has closed the monitor")?.context("reading from the monitor");
    let Triple { major, minor, micro } = serde_json::from_str::<Greeting>(&line()?)?.qmp.version.qemu;
    writeln!(input, r#"{{"execute":"qmp_capabilities"}}"#)?;
    line()?;
    writeln!(input, r#"{{"execute":"query-qmp-schema"}}"#)?;
    let entries = serde_json::from_str::<Reply>(&line()?).context("reading the schema")?.entries;
    writeln!(input, r#"{{"execute":"quit"}}"#)?;
    let count = entries.len();
    let schema: Schema = entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    if schema.len() != count {
        bail!("two entries of its schema have one name");
    }
    Ok((format!("{major}.{minor}.{micro}"), schema))
}

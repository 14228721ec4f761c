//! Calls, lists, streams and connecting, and what they cost: beside libvirt's own C client, its Python bindings and the bare socket, in
//! turn, on the same daemon.
//!
//! Writes `target/bench/libvirt.json`. Each round runs every contender once; the figures are medians over the rounds, of CPU means.
//! All contenders for the daemon run on one processor, the last; the daemon wherever it likes.

#[path = "../../tests/shared/running.rs"]
mod running;
#[path = "../../tests/daemon/support.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the tests' private daemon; not all of it is used here"
)]
mod support;

#[path = "../../tests/daemon/observed.rs"]
#[allow(clippy::allow_attributes, clippy::unwrap_used, reason = "what the tests' daemon needs")]
mod observed;

#[path = "../../tests/daemon/authority.rs"]
#[allow(dead_code, clippy::allow_attributes, clippy::unwrap_used, reason = "the tests' certificates")]
mod authority;

#[path = "../../tests/daemon/sshd.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the tests' private sshd; not all of it is used here"
)]
mod sshd;

mod calls;
mod floors;
mod lists;
mod measure;
mod opening;
mod peer;
mod streams;

use measure::{Rounds, row, with};
use peer::Peer;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the parts measure with.
struct Rig {
    runtime: tokio::runtime::Runtime,
    daemon: support::Daemon,
    peers: Vec<Peer>,
}

impl Rig {
    fn socket(&self) -> PathBuf {
        self.daemon.path("libvirt/libvirt-sock")
    }

    fn test_uri(&self) -> String {
        format!("test+unix:///default?socket={}", self.socket().display())
    }

    fn session_uri(&self) -> String {
        format!("qemu+unix:///session?socket={}", self.socket().display())
    }

    /// A row of ours, once for each peer.
    fn beside(
        &self,
        name: &str,
        unit: &str,
        ours: Option<f64>,
        peers: &[(&str, &Rounds)],
        figure: fn(&Rounds) -> Option<f64>,
        load: Option<f64>,
    ) -> impl Iterator<Item = Value> + use<> {
        let better = if unit.ends_with("/s") { "higher" } else { "lower" };
        let peers = peers.iter().filter_map(|(peer, rounds)| Some((*peer, figure(rounds)?)));
        let rows = ours.map(|ours| Self::against(&row(name, ours, unit, better, load), peers));
        rows.unwrap_or_default().into_iter()
    }

    /// The row once for each peer, or alone.
    fn against<'p>(ours: &Value, peers: impl Iterator<Item = (&'p str, f64)>) -> Vec<Value> {
        let mut rows: Vec<Value> = peers
            .map(|(peer, value)| {
                let row = with(ours.clone(), "peer", Value::from(peer));
                with(row, "peer_value", Value::from(value))
            })
            .collect();
        if rows.is_empty() {
            rows.push(ours.clone());
        }
        rows
    }
}

/// From now on this process, and what it starts, runs on the last processor.
fn pin() {
    let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let own = std::process::id().to_string();
    // Without taskset the figures are a little less steady.
    let _ = Command::new("taskset")
        .args(["-a", "-c", "-p", &last.to_string(), &own])
        .stdout(Stdio::null())
        .status();
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this flag; they are not tests.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, uri] = arguments.as_slice()
        && flag == streams::UNREAD
    {
        streams::unread_alone(uri);
        return;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    if let [who, count, ..] = &arguments[..]
        && let Ok(count) = count.parse()
    {
        calls::alone(who, count);
        return;
    }
    // Words are parts that are wanted alone; nothing is written then.
    let parts: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| *word == part);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&target).expect("a directory of ours");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    let Some(daemon) = support::Daemon::start("bench libvirt") else { return };
    // Client and answers on a processor each.
    let mut rows = Vec::new();
    if wanted("replayed") {
        rows.extend(calls::pipelined(&runtime));
    }
    pin();
    let mut rig = Rig { runtime, daemon, peers: peer::all(&target) };
    if wanted("serial") {
        rows.extend(calls::serial(&mut rig));
    }
    if wanted("together") {
        rows.extend(calls::together(&mut rig));
    }
    if wanted("lists") {
        rows.push(lists::decoding());
        rows.extend(lists::lists(&mut rig, 1_000, 100));
        rows.extend(lists::lists(&mut rig, 16_000, 5));
    }
    if wanted("connecting") {
        rows.extend(opening::connecting(&mut rig));
    }
    if wanted("streams") || wanted("files") {
        streams::prepare(&rig);
    }
    if wanted("files") {
        rows.extend(streams::files(&mut rig));
    }
    if wanted("streams") {
        rows.extend(streams::throughput(&mut rig));
        rows.extend(streams::stalled(&mut rig));
        rows.extend(streams::carried(&mut rig));
        rows.extend(streams::unread(&mut rig));
    }
    let text = serde_json::to_string_pretty(&rows).expect("rows are plain values");
    if parts.is_empty() {
        std::fs::write(target.join("libvirt.json"), text).expect("a file of ours");
    } else {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

//! Commands per second and what they cost, beside a bare loop on the socket and python's `qemu.qmp`; reading a schema; a storm of events.
//!
//! Writes `target/bench/qmp.json`. Contenders have a paused QEMU of their own each, and take turns in each of seven rounds; the figures
//! are medians over the rounds. `cargo xtask bench` puts the python peer into `target/bench/python`.

mod local;
mod measure;
mod real;

use serde_json::Value;
use std::io::Write as _;
use std::path::Path;

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this flag; they are not tests.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    // Words are parts that are wanted alone; nothing is written then.
    let parts: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| *word == part);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    let mut rows: Vec<Value> = Vec::new();
    // First, while little memory was used.
    if wanted("storm") {
        rows.extend(local::storm(&runtime));
    }
    if wanted("answered") {
        rows.extend(local::answered(&runtime));
    }
    if wanted("commands") {
        rows.extend(real::commands(&runtime));
    }
    if wanted("large") {
        rows.extend(local::large());
    }
    if wanted("schema") {
        rows.extend(real::schema());
    }
    let text = serde_json::to_string_pretty(&rows).expect("rows are JSON");
    if parts.is_empty() {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
        std::fs::create_dir_all(&target).expect("a directory of ours");
        std::fs::write(target.join("qmp.json"), &text).expect("a file of ours");
    }
    let _ = writeln!(std::io::stdout(), "{text}");
}

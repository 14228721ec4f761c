//! Commands for developers: `cargo xtask <command>`.

use anyhow::{Result, bail};
use std::path::PathBuf;
use xtask::sh;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["demo-image"] => xtask::demo_image::build(&sh::root().join("target/demo")).map(drop),
        ["demo-image", "--out", out] => xtask::demo_image::build(&PathBuf::from(out)).map(drop),
        [] | ["help" | "--help" | "-h"] => {
            sh::say(HELP);
            Ok(())
        }
        other => bail!("no such command: {}\n{HELP}", other.join(" ")),
    }
}

const HELP: &str = "\
usage: cargo xtask <command>
  demo-image [--out DIR]   build the demo guest from Debian packages (default: target/demo)";

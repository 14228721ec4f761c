//! The program, run to its end.

use std::process::{Command, Output, Stdio};

pub(crate) fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vhost-user-check"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

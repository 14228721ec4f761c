//! The program on a terminal of its own, made by script(1).

mod common;

use common::{Script, Server};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Reads until the output ends with what `wanted` finds in it.
fn read_until(output: &mut impl Read, text: &mut String, wanted: &str) {
    let mut buffer = [0; 1024];
    while !text.contains(wanted) {
        let length = output.read(&mut buffer).unwrap_or(0);
        assert!(length > 0, "ended without `{wanted}`: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[test]
fn every_key_goes_to_the_guest_but_one_and_the_terminal_is_as_before() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("not run: every_key_goes_to_the_guest_but_one_and_the_terminal_is_as_before: script(1)");
        return;
    }
    let server = Server::start(Script { console: vec!["login: "], ..Default::default() });
    let ctl = env!("CARGO_BIN_EXE_hypervisor-ctl");
    let ended = Command::new("script")
        .args(["-qec", &format!("stty -a; {ctl} instance console web; echo left $?; stty -a"), "/dev/null"])
        .env("HYPERVISOR_SERVER", format!("unix:{}", server.dir.path().join("server.sock").display()))
        .env("HYPERVISOR_TOKEN_FILE", server.dir.path().join("token"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = ended.unwrap_or_else(|error| panic!("{error}"));
    let (mut input, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut text = String::new();
    read_until(&mut output, &mut text, "connected to web; Ctrl-] leaves");
    read_until(&mut output, &mut text, "login: ");
    // Ctrl-C is the guest's; what follows the key that leaves is nobody's.
    input.write_all(b"ro\x03ot").expect("the terminal takes input");
    read_until(&mut output, &mut text, "\x03ot");
    input.write_all(b"\x1dlost").expect("the terminal takes input");
    read_until(&mut output, &mut text, "left 0");
    drop(input);
    let _ = output.read_to_string(&mut text);
    let _ = child.wait();
    assert_eq!(server.seen().typed, b"ro\x03ot", "{text}");
    let modes: Vec<&str> = text.lines().filter(|line| line.contains("icanon")).collect();
    assert_eq!(modes.len(), 2, "{text}");
    assert_eq!(modes[0], modes[1], "{text}");
}

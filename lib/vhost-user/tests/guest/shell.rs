//! A Linux guest that is nothing but a shell on its console, with the drivers that it was given.

use crate::{Machine, QEMU, demo};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// The machine, its console and its monitor.
pub(crate) struct Shell {
    _machine: Machine,
    keys: ChildStdin,
    console: BufReader<ChildStdout>,
    monitor: BufReader<UnixStream>,
}

impl Shell {
    /// Starts it, with further arguments; `None` where something is missing, which is told. The monitor's socket is in `directory`.
    pub(crate) fn start(test: &str, directory: &Path, arguments: &[String]) -> Option<Self> {
        for file in ["vmlinuz", "initrd.img"] {
            if !demo(file).exists() {
                println!("not run: {test}: {} is missing (cargo xtask demo-image)", demo(file).display());
                return None;
            }
        }
        let socket = directory.join("monitor.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let machine = Command::new(QEMU)
            .args(["-accel", "tcg", "-m", "192", "-machine", "q35,memory-backend=memory", "-nodefaults"])
            .args(["-object", "memory-backend-memfd,id=memory,size=192M,share=on", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio", "-append"])
            // Debian's QEMU 7.2 ends by itself when a guest that is translated has message interrupts of a vhost-user card.
            .arg("console=ttyS0 quiet panic=-1 rdinit=/bin/sh pci=nomsi")
            .arg("-kernel")
            .arg(demo("vmlinuz"))
            .arg("-initrd")
            .arg(demo("initrd.img"))
            .arg("-qmp")
            .arg(format!("unix:{}", socket.display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut machine = match machine {
            Ok(child) => Machine(child),
            Err(error) => {
                println!("not run: {test}: {QEMU}: {error}");
                return None;
            }
        };
        let keys = machine.0.stdin.take().unwrap();
        let console = BufReader::new(machine.0.stdout.take().unwrap());
        let monitor = BufReader::new(listener.accept().unwrap().0);
        let mut shell = Self { _machine: machine, keys, console, monitor };
        shell.message();
        shell.execute("qmp_capabilities", json!({}));
        Some(shell)
    }

    /// Waits for the shell, and loads the drivers.
    pub(crate) fn ready(&mut self) {
        self.until("# ");
        self.say(
            "export PATH=/bin; mount -t proc proc /proc; mount -t devtmpfs dev /dev; \
             while read -r module; do insmod /lib/modules/$module; done </lib/modules/order; echo rea''dy",
        );
        self.until("ready");
    }

    /// A line at its prompt. What is echoed is not what is waited for, if there are quotes in it.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.keys, "{line}").unwrap();
    }

    /// Everything up to a text, which need not end a line.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        while !said.ends_with(text.as_bytes()) {
            let mut byte = [0];
            let count = self.console.read(&mut byte).unwrap();
            assert!(count == 1, "the machine has ended: {}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    fn message(&mut self) -> Value {
        let mut line = String::new();
        self.monitor.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// What a command of the monitor returns.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.monitor.get_mut(), "{line}").unwrap();
        loop {
            let mut message = self.message();
            if message.get("event").is_none() {
                assert!(message.get("return").is_some(), "{command}: {message}");
                return message["return"].take();
            }
        }
    }
}

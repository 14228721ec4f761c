//! A Linux guest that is nothing but a shell on its console, with the drivers that it was given.

use crate::{Machine, QEMU, demo};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// On a busy machine it finds no interrupts of its timer within the time that it looks for them, and would end.
/// Pages that the kernel fills with zeroes are written by it, not by the device alone. And Debian's QEMU 7.2 ends by itself when a guest that is
/// translated has message interrupts of a vhost-user card.
pub(crate) const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 no_timer_check rdinit=/bin/sh pci=nomsi init_on_alloc=0";

/// The machine, its console and its monitor.
pub(crate) struct Shell {
    _machine: Machine,
    keys: ChildStdin,
    console: BufReader<ChildStdout>,
    monitor: BufReader<UnixStream>,
    /// What its monitor told besides answers.
    events: VecDeque<Value>,
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
        // That of a machine before.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let machine = Command::new(QEMU)
            .args(["-accel", "tcg", "-m", "192", "-machine", "q35,memory-backend=memory", "-nodefaults"])
            .args(["-object", "memory-backend-memfd,id=memory,size=192M,share=on", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio", "-append", COMMAND_LINE])
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
        let mut shell = Self { _machine: machine, keys, console, monitor, events: VecDeque::new() };
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
            self.listen(&said);
            let mut byte = [0];
            let count = self.console.read(&mut byte).unwrap();
            assert!(count == 1, "the machine has ended: {}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Waits until there is something on the console. A machine that stops meanwhile says nothing any more.
    fn listen(&mut self, said: &[u8]) {
        while self.console.buffer().is_empty() {
            let stopped = |it: &Value| it["event"] == "STOP";
            assert!(!self.events.iter().any(stopped), "it stands still: {}", String::from_utf8_lossy(said));
            if !self.monitor.buffer().is_empty() {
                let message = self.message();
                self.events.push_back(message);
                continue;
            }
            let mut both = [
                PollFd::new(self.console.get_ref(), PollFlags::IN),
                PollFd::new(self.monitor.get_ref(), PollFlags::IN),
            ];
            poll(&mut both, None).unwrap();
            let [console, monitor] = both.map(|it| !it.revents().is_empty());
            if monitor {
                self.monitor.fill_buf().unwrap();
            }
            if console {
                return;
            }
        }
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
            if message.get("event").is_some() {
                self.events.push_back(message);
                continue;
            }
            assert!(message.get("return").is_some(), "{command}: {message}");
            return message["return"].take();
        }
    }

    /// Waits until its monitor tells this, `{"event": .., "data": ..}`; what is told before that is passed over.
    pub(crate) fn told(&mut self, is_it: impl Fn(&Value) -> bool) {
        loop {
            let message = self.events.pop_front().unwrap_or_else(|| self.message());
            if is_it(&message) {
                return;
            }
        }
    }
}

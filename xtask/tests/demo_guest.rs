//! The demo guest under a real QEMU, driven by hand.

#![cfg(test)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A running guest: its console and its monitor.
struct Guest {
    qemu: Child,
    input: ChildStdin,
    console: Arc<Console>,
    monitor: BufReader<UnixStream>,
}

/// All that the guest has printed.
#[derive(Default)]
struct Console {
    text: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Console {
    /// Waits until `needle` has been printed after byte `from`; returns its line and where the line ends.
    fn line_with(&self, needle: &str, from: usize) -> (String, usize) {
        let found = |text: &str| {
            let at = from + text[from..].find(needle)?;
            let end = at + text[at..].find('\n')?;
            Some((text[at..end].trim_end().to_owned(), end))
        };
        // The limit only ends a test that hangs.
        let guard = self.text.lock().unwrap();
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, Duration::from_secs(120), |(text, over)| {
                !*over && found(text).is_none()
            })
            .unwrap();
        found(&guard.0).unwrap_or_else(|| panic!("no {needle:?} after byte {from}:\n{}", guard.0))
    }

    /// The same for text that no line end follows, such as a prompt.
    fn prompt(&self, needle: &str, from: usize) -> usize {
        let guard = self.text.lock().unwrap();
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, Duration::from_secs(120), |(text, over)| {
                !*over && !text[from..].contains(needle)
            })
            .unwrap();
        let at = guard.0[from..].find(needle);
        from + at.unwrap_or_else(|| panic!("no {needle:?} after byte {from}:\n{}", guard.0)) + needle.len()
    }
}

impl Guest {
    fn boot(demo: &Path, work: &Path, extra: &[&str]) -> Self {
        let disk = format!(
            r#"{{"driver":"qcow2","node-name":"d","file":{{"driver":"file","filename":"{}"}}}}"#,
            work.join("disk.qcow2").display()
        );
        let socket = work.join("qmp");
        let _ = std::fs::remove_file(&socket);
        let mut qemu = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-M",
                "q35",
                "-accel",
                "tcg",
                "-m",
                "256",
            ])
            .arg("-kernel")
            .arg(demo.join("vmlinuz"))
            .arg("-initrd")
            .arg(demo.join("initrd.img"))
            .args(["-append", "console=ttyS0 quiet panic=-1", "-serial", "stdio"])
            .args(["-blockdev", &disk, "-device", "virtio-blk-pci,drive=d"])
            .args([
                "-netdev",
                "user,id=n,hostfwd=tcp:127.0.0.1:0-:80",
                "-device",
                "virtio-net-pci,netdev=n,romfile=",
            ])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", socket.display())])
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = qemu.stdin.take().unwrap();
        let mut output = qemu.stdout.take().unwrap();
        let console = Arc::new(Console::default());
        let reader = Arc::clone(&console);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = output.read(&mut buffer).unwrap_or(0);
                let mut state = reader.text.lock().unwrap();
                state.0.push_str(&String::from_utf8_lossy(&buffer[..n]));
                state.1 = n == 0;
                reader.changed.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        // QEMU listens before it lets the guest run, so the socket is there once the guest has printed anything.
        console.line_with("hypervisor-demo: up ", 0);
        let monitor = BufReader::new(UnixStream::connect(&socket).unwrap());
        let mut guest = Self { qemu, input, console, monitor };
        guest.monitor.read_line(&mut String::new()).unwrap();
        guest.qmp(r#"{"execute":"qmp_capabilities"}"#);
        guest
    }

    fn qmp(&mut self, command: &str) -> serde_json::Value {
        writeln!(self.monitor.get_mut(), "{command}").unwrap();
        loop {
            let mut line = String::new();
            assert!(self.monitor.read_line(&mut line).unwrap() > 0, "the monitor is gone");
            let mut reply: serde_json::Value = serde_json::from_str(&line).unwrap();
            if reply.get("event").is_none() {
                assert!(reply.get("error").is_none(), "{command}: {line}");
                return reply["return"].take();
            }
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// The port of this host that leads to port 80 of the guest.
    fn published_port(&mut self) -> u16 {
        let text =
            self.qmp(r#"{"execute":"human-monitor-command","arguments":{"command-line":"info usernet"}}"#);
        let text = text.as_str().unwrap().to_owned();
        let line = text.lines().find(|line| line.contains("HOST_FORWARD")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse().unwrap_or_else(|_| panic!("{text}"))
    }

    /// Asks at the shell, whose prompt ends at byte `end`, until there is an address: a busy host's lease can come after the guest is up.
    fn address_once_leased(&mut self, mut end: usize) -> String {
        // The limit only ends a test that hangs: each turn is a program that the guest starts.
        for _ in 0..1000 {
            self.type_line("status");
            let (status, after) = self.console.line_with("hypervisor-demo: up ", end);
            assert_eq!(value(&status, "boot"), "1", "{status}");
            if value(&status, "ip") != "-" {
                return value(&status, "ip").to_owned();
            }
            end = self.console.prompt("$ ", after);
        }
        panic!("no lease:\n{}", self.console.text.lock().unwrap().0)
    }

    fn power_button(mut self) {
        self.qmp(r#"{"execute":"system_powerdown"}"#);
        self.console.line_with("hypervisor-demo: power button", 0);
        let status = self.qemu.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn value<'a>(line: &'a str, key: &str) -> &'a str {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key} in {line:?}"))
}

#[test]
fn boots_answers_counts_and_obeys_the_power_button() {
    for tool in ["qemu-system-x86_64", "qemu-img", "mke2fs", "dpkg-deb"] {
        if xtask::sh::find(tool).is_none() {
            println!("not run: boots_answers_counts_and_obeys_the_power_button: {tool} is missing");
            return;
        }
    }
    let demo = xtask::sh::root().join("target/demo");
    if let Err(error) = xtask::demo_image::build(&demo) {
        println!("not run: boots_answers_counts_and_obeys_the_power_button: {error:#}");
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let disk = work.path().join("disk.qcow2");
    let overlay = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([demo.join("demo.qcow2"), disk.clone()])
        .status();
    assert!(overlay.unwrap().success());

    let mut first = Guest::boot(&demo, work.path(), &[]);
    let (up, end) = first.console.line_with("hypervisor-demo: up ", 0);
    println!("{up}");
    assert_eq!(value(&up, "boot"), "1", "{up}");

    let end = first.console.prompt("login: ", end);
    first.type_line("demo");
    let end = first.console.prompt("Password: ", end);
    first.type_line("demo");
    let end = first.console.prompt("$ ", end);
    assert_eq!(first.address_once_leased(end), "10.0.2.15");

    let port = first.published_port();
    let mut http = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    http.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).unwrap();
    assert!(page.contains("hypervisor-demo: up boot=1 "), "{page}");
    first.power_button();

    // Clean: e2fsck would find the journal in need of recovery, and the kernel says so too.
    let second = Guest::boot(&demo, work.path(), &[]);
    let (up, _) = second.console.line_with("hypervisor-demo: up ", 0);
    assert_eq!(value(&up, "boot"), "2", "{up}");
    second.power_button();
}

#[test]
fn equal_input_gives_equal_bytes() {
    let demo = xtask::sh::root().join("target/demo");
    let Ok(first) = xtask::demo_image::build(&demo) else {
        println!("not run: equal_input_gives_equal_bytes: the packages cannot be had here");
        return;
    };
    let other = tempfile::tempdir().unwrap();
    // The packages are taken from the first build's cache.
    std::os::unix::fs::symlink(demo.join("packages"), other.path().join("packages")).unwrap();
    let second = xtask::demo_image::build(other.path()).unwrap();
    assert_eq!(first, second);
}

//! Who does the same work: a program on libvirt's C library, and one on its Python bindings. Each runs as long as the benchmark.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Debian's own, which its bindings are for.
const PYTHON: &str = "/usr/bin/python3";

/// What a peer answers to a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Nanoseconds: a median, or the whole.
    pub(crate) time: f64,
    /// User CPU in nanoseconds.
    pub(crate) user: f64,
    /// What else the command is about.
    pub(crate) more: f64,
}

/// A peer's process.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts one that reads commands.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Option<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        Some(Self { name, process, input, output })
    }

    /// Has a command done; `None` when the peer has failed.
    pub(crate) fn ask(&mut self, command: &str) -> Option<Answer> {
        writeln!(self.input, "{command}").ok()?;
        self.input.flush().ok()?;
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
        Some(Answer { time: numbers.next()??, user: numbers.next()??, more: numbers.next()?? })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its input ends with it, if it has not failed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The peers that can be had: the C client, which is compiled, and Python's.
pub(crate) fn all(target: &Path) -> Vec<Peer> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/client");
    let program = target.join("libvirt-peer");
    let mut cc = Command::new("cc");
    cc.arg("-O2").arg("-o").arg(&program).arg(sources.join("peer.c")).args(["-lvirt", "-lpthread"]);
    let built = cc.status().is_ok_and(|status| status.success());
    let python = Command::new(PYTHON).args(["-c", "import libvirt"]).stderr(Stdio::null()).status();
    let python = python.is_ok_and(|status| status.success());
    for (missing, what) in
        [(!built, "C client: gcc or libvirt-dev"), (!python, "Python client: python3-libvirt")]
    {
        if missing {
            let _ = writeln!(std::io::stdout(), "not run: bench libvirt beside the {what} is missing");
        }
    }
    let c = built.then(|| Peer::start("C client", &mut Command::new(&program))).flatten();
    let script = sources.join("peer.py");
    let python = python.then(|| Peer::start("libvirt-python", Command::new(PYTHON).arg(script))).flatten();
    c.into_iter().chain(python).collect()
}

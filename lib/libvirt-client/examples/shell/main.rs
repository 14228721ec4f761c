//! A small `virsh`: what the client is used for, one short function for each command.
//!
//! ```text
//! cargo run --example shell -- -c qemu:///session list
//! cargo run --example shell -- console GUEST
//! ```
//!
//! `commands` knows nothing of terminals or processes, so that tests drive it in memory.

mod commands;

use commands::Failure;
use libvirt_client::Connect;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{Write, stderr, stdin, stdout};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut uri = String::new();
    if words.first().is_some_and(|word| word == "-c") && words.len() > 1 {
        uri = words.remove(1);
        words.remove(0);
    }
    let ended = run(&uri, &words).await;
    // A read of the standard input that is still waiting must not hold the program up: it ends with the process.
    let code = match ended {
        Ok(()) => 0,
        Err(failure) => {
            // There is nowhere left to complain when this fails.
            let _ = writeln!(stderr(), "error: {failure:#}");
            if let Some(advice) = failure.advice() {
                let _ = writeln!(stderr(), "  {advice}");
            }
            failure.exit_code()
        }
    };
    std::process::exit(code)
}

async fn run(uri: &str, words: &[String]) -> Result<(), Failure> {
    // Before anything is opened: a typing error needs no daemon.
    commands::check(words)?;
    let connect = Connect::open(uri).await?;
    let terminal = words.first().is_some_and(|word| word == "console").then(RawTerminal::enter).flatten();
    let ended = commands::run(&connect, words, &mut tokio::io::stdin(), &mut stdout()).await;
    drop(terminal);
    ended?;
    connect.close().await?;
    Ok(())
}

/// A terminal that hands on every key; it is as before when this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` when the standard input is no terminal.
    fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

//! `instance console`: the guest's serial console on this terminal, or in a script.
//!
//! ```text
//!   standard input ── thread ──> frames ──> server ──> node ──> guest
//!   standard output <────────── frames <────┘              (the past first, then what comes)
//! ```
//!
//! On a terminal every key goes to the guest, but one that leaves. In a script standard input is sent as it is; its end ends
//! nothing by itself, since a script reads on: the guest's answer comes later.

use crate::Context;
use crate::connect::Connection;
use crate::exit::Failure;
use crate::parse::{self, Escape};
use crate::terminal::{self, RawMode};
use clap::Args;
use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::console_input::Input;
use hv_api::v1::console_output::Output;
use hv_core::{Error, ErrorKind};
use std::io::Read;
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;

/// Frames of input under way; a guest that reads slowly slows the typing only.
const WINDOW: usize = 16;
const CHUNK: usize = 4096;

/// Attach to an instance's serial console
///
/// Begins with the last 64 KiB that the console printed. On a terminal, Ctrl-] leaves; the guest runs on. In a
/// script, standard input is sent to the guest as it is, and the console goes on until the guest ends, --wait-for
/// was seen, --timeout is over, or there is no more input and nothing was printed for as long as --idle says.
///
/// Examples:
///   hypervisor-ctl instance console web
///   hypervisor-ctl instance console web --wait-for 'login:' --timeout 2m </dev/null
///   echo uptime | hypervisor-ctl instance console web --no-replay --idle 2s
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Console {
    /// Name or uid
    instance: String,
    /// Do not begin with what was printed before
    #[arg(long)]
    no_replay: bool,
    /// Leave as soon as the console has printed this text; fail when it ends without
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    wait_for: Option<String>,
    /// Leave after this time; a failure only with --wait-for
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// Leave when standard input has ended and the console has printed nothing for this long; a failure only with
    /// --wait-for
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    idle: Option<Duration>,
    /// The key that leaves, on a terminal: ^] or Ctrl-A, or none
    #[arg(long, value_name = "KEY", default_value = "^]", value_parser = parse::escape)]
    escape: Escape,
}

/// Why an attached console was left.
enum Left {
    /// The caller's key, or the text that was waited for.
    Done,
    /// The guest or its node ended it.
    Closed(String),
    /// The time was over.
    Timeout,
}

pub(crate) async fn run(context: &mut Context, asked: Console) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let (up, frames) = mpsc::channel(WINDOW);
    let (columns, rows) = if context.io.input_is_terminal { terminal::size() } else { (0, 0) };
    let open = v1::ConsoleOpen {
        instance: asked.instance.clone(),
        project: context.globals.project.clone(),
        columns,
        rows,
        skip_replay: asked.no_replay,
    };
    let attach = async {
        send(&up, Input::Open(open)).await;
        Ok::<_, Failure>(connection.compute().attach_console(ReceiverStream::new(frames)).await?.into_inner())
    };
    let left = {
        let attached = async { carry(context, &asked, &up, attach.await?).await };
        match asked.timeout {
            Some(timeout) => tokio::time::timeout(timeout, attached).await.unwrap_or(Ok(Left::Timeout)),
            None => attached.await,
        }?
    };
    match (left, asked.wait_for) {
        (Left::Done, _) => Ok(()),
        (Left::Closed(why), None) => {
            context.note(format!("the console has ended: {why}"));
            Ok(())
        }
        (Left::Timeout, None) => Ok(()),
        (Left::Closed(why), Some(text)) => {
            let message = format!("the console ended before it printed `{text}`: {why}");
            Err(Error::new(ErrorKind::FailedPrecondition, message).into())
        }
        (Left::Timeout, Some(text)) => {
            Err(Error::new(ErrorKind::Timeout, format!("the console has not printed `{text}` in time"))
                .into())
        }
    }
}

async fn carry(
    context: &mut Context,
    asked: &Console,
    up: &mpsc::Sender<v1::ConsoleInput>,
    mut output: tonic::Streaming<v1::ConsoleOutput>,
) -> Result<Left, Failure> {
    let on_terminal = context.io.input_is_terminal;
    let mut finder = asked.wait_for.as_ref().map(|text| Finder::new(text.as_bytes()));
    let mut resized = if on_terminal { Some(signal(SignalKind::window_change())?) } else { None };
    let mut typed: Option<mpsc::Receiver<Vec<u8>>> = None;
    // From the end of the input on, and anew with whatever is printed.
    let mut idle: Option<Pin<Box<Sleep>>> = None;
    // Restores the terminal when this function is left, however it is.
    let mut raw: Option<RawMode> = None;
    loop {
        tokio::select! {
            // Cancel-safe: each arm takes one whole item, and its work is awaited in the arm that won.
            frame = output.next() => match frame.transpose().map_err(broken)?.and_then(|frame| frame.output) {
                Some(Output::Opened(opened)) => {
                    greet(context, asked, &opened.instance_name);
                    if on_terminal && raw.is_none() {
                        raw = Some(RawMode::enter()?);
                    }
                    typed = context.io.input.take().map(read);
                    if typed.is_none() {
                        idle = asked.idle.map(|wait| Box::pin(tokio::time::sleep(wait)));
                    }
                }
                Some(Output::Data(bytes)) => {
                    if idle.is_some() {
                        idle = asked.idle.map(|wait| Box::pin(tokio::time::sleep(wait)));
                    }
                    context.io.out.write_all(&bytes)?;
                    context.io.out.flush()?;
                    if finder.as_mut().is_some_and(|finder| finder.saw(&bytes)) {
                        return Ok(Left::Done);
                    }
                }
                Some(Output::Closed(why)) => return Ok(Left::Closed(why)),
                None => return Ok(Left::Closed("the server closed it".into())),
            },
            () = passed(&mut idle) => return Ok(Left::Timeout),
            typed = next(&mut typed) => match typed {
                Some(bytes) => {
                    let escape = asked.escape.0.filter(|_| on_terminal);
                    let (bytes, leave) = until(&bytes, escape);
                    if !bytes.is_empty() {
                        send(up, Input::Data(bytes.to_vec())).await;
                    }
                    if leave {
                        drop(raw);
                        context.note("");
                        return Ok(Left::Done);
                    }
                }
                None => idle = asked.idle.map(|wait| Box::pin(tokio::time::sleep(wait))),
            },
            () = changed(&mut resized) => {
                let (columns, rows) = terminal::size();
                send(up, Input::Resize(v1::ConsoleResize { columns, rows })).await;
            }
        }
    }
}

/// The first line, for people: how to get out again.
fn greet(context: &mut Context, asked: &Console, name: &str) {
    if context.io.input_is_terminal {
        let how = match asked.escape.0 {
            Some(key) => format!("Ctrl-{} leaves", char::from(key + b'@')),
            None => "no key leaves; end this program to leave".to_owned(),
        };
        context.note(format!("connected to {name}; {how}"));
    }
}

/// Why nothing comes any more, where it was neither the guest nor its node that ended it.
fn broken(status: tonic::Status) -> Failure {
    // A status of the server's has no source: this one is the transport's.
    if std::error::Error::source(&status).is_none() {
        return status.into();
    }
    Error::new(ErrorKind::Unavailable, format!("the connection to the server broke: {}", status.message()))
        .with_hint("the guest runs on; attach again when the server is back")
        .into()
}

/// Sends a frame. A stream that is gone says so, and why, where it is read.
async fn send(up: &mpsc::Sender<v1::ConsoleInput>, input: Input) {
    let _ = up.send(v1::ConsoleInput { input: Some(input) }).await;
}

/// Reads input on a thread of its own: a read of a terminal cannot be called off, so nobody waits for that thread.
fn read(mut input: Box<dyn Read + Send>) -> mpsc::Receiver<Vec<u8>> {
    let (chunks, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = [0; CHUNK];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    if chunks.blocking_send(buffer[..length].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    typed
}

/// The next input, and once that there is no more; never, before there is any source of it and after its end.
async fn next(typed: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    let Some(chunks) = typed else { return std::future::pending().await };
    let bytes = chunks.recv().await;
    if bytes.is_none() {
        *typed = None;
    }
    bytes
}

async fn passed(time: &mut Option<Pin<Box<Sleep>>>) {
    match time {
        Some(time) => time.await,
        None => std::future::pending().await,
    }
}

async fn changed(resized: &mut Option<Signal>) {
    if let Some(signal) = resized
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// The bytes before the key that leaves, and whether it was there.
fn until(bytes: &[u8], escape: Option<u8>) -> (&[u8], bool) {
    match escape.and_then(|escape| memchr::memchr(escape, bytes)) {
        Some(end) => (&bytes[..end], true),
        None => (bytes, false),
    }
}

/// Looks for a text in a stream of chunks that cut it anywhere.
struct Finder {
    text: memchr::memmem::Finder<'static>,
    tail: Vec<u8>,
}

impl Finder {
    fn new(text: &[u8]) -> Self {
        Self { text: memchr::memmem::Finder::new(text).into_owned(), tail: Vec::new() }
    }

    fn saw(&mut self, bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        if self.text.find(&self.tail).is_some() {
            return true;
        }
        let keep = (self.text.needle().len() - 1).min(self.tail.len());
        self.tail.drain(..self.tail.len() - keep);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_the_chunks_cut_it() {
        let stream = b"booting\r\nlog login: ";
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut finder = Finder::new(b"login:");
                let chunks = [&stream[..first], &stream[first..second], &stream[second..]];
                assert!(chunks.iter().any(|chunk| finder.saw(chunk)), "{first} {second}");
            }
        }
        assert!(!Finder::new(b"login:").saw(b"log in:"));
    }

    #[test]
    fn only_the_key_leaves() {
        assert_eq!(until(b"ab\x1dcd", Some(0x1d)), (&b"ab"[..], true));
        assert_eq!(until(b"ab\x03cd", Some(0x1d)), (&b"ab\x03cd"[..], false));
        assert_eq!(until(b"ab\x1dcd", None), (&b"ab\x1dcd"[..], false));
    }
}

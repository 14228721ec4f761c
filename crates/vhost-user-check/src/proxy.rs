//! Between a front-end and a back-end: shown, written down, made harder, and played again.

use crate::serve::Signals;
use crate::socket::{Place, listen};
use crate::target::{Clock, connected};
use crate::{Failure, Of};
use clap::Args;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use vhost_user::check::Backend as _;
use vhost_user::framing::{Framing, Raw};
use vhost_user::front::{self, Request};
use vhost_user::payload::VringState;
use vhost_user::proxy::{Chaos, Ended, From, Passed, relay};
use vhost_user::socket::{Canceller, Socket, SocketError};
use vhost_user::wire::{Header, Message as _};
use vhost_user::with_causes;

/// Stands between front-ends and a back-end, any number at once.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Where front-ends connect.
    #[arg(long, value_name = "PATH")]
    listen: PathBuf,
    /// Where the back-end listens.
    #[arg(long, value_name = "PATH")]
    connect: PathBuf,
    /// Write every message down, one JSON object a line, for `replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// End after so many sessions.
    #[arg(long, value_name = "COUNT")]
    sessions: Option<u64>,
    /// Say nothing of single messages.
    #[arg(long)]
    quiet: bool,
    /// What the disturbances come from: the same number, the same disturbances.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How often a message arrives in pieces, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pieces: f64,
    /// How often a message is late.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    delays: f64,
    /// Milliseconds that it is late at most.
    #[arg(long, value_name = "MS", default_value_t = 10)]
    delay: u64,
    /// How often an answer waits for the next one, and comes behind it; 5 ms at most.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    reorder: f64,
    /// How often the connection ends, in the middle of a message or between two.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    cuts: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("a number from 0 to 1".to_owned()) }
}

/// Plays what a front-end said to a back-end again, and compares the answers.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    of: Of,
    /// What `proxy --record` wrote.
    recording: PathBuf,
}

pub(crate) fn proxy(arguments: &Proxy) -> Result<ExitCode, Failure> {
    let at = |path: &PathBuf| {
        let path = path.display().to_string();
        move |error: io::Error| Failure::Other(format!("{path}: {error}"))
    };
    let signals = Signals::new()?;
    let place = listen(&arguments.listen).map_err(|error| Failure::Misused(error.to_string()))?;
    let record = match &arguments.record {
        Some(path) => Some(File::create(path).map_err(at(path))?),
        None => None,
    };
    let canceller = Canceller::new()?;
    // Whoever ends us does not leave a socket at which nobody listens.
    std::thread::spawn({
        let canceller = canceller.clone();
        move || {
            signals.wait();
            canceller.cancel();
        }
    });
    let told = Told { clock: Clock::start(), record: record.map(Mutex::new), quiet: arguments.quiet };
    sessions(arguments, &place, &canceller, &told)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes front-ends until there were enough, each beside the others.
fn sessions(arguments: &Proxy, place: &Place, canceller: &Canceller, told: &Told) -> Result<(), Failure> {
    let mut number = 0;
    std::thread::scope(|scope| {
        while arguments.sessions.is_none_or(|most| number < most) {
            let Some(front) = place.accepted(canceller) else { break };
            // A back-end that is away comes back, and front-ends try again.
            let back = match connected(&arguments.connect) {
                Ok(back) => back,
                Err(error) => {
                    writeln!(io::stdout(), "no back-end at {error}; the front-end was sent away")?;
                    continue;
                }
            };
            number += 1;
            let chaos = Chaos {
                seed: arguments.seed.wrapping_add(number),
                pieces: arguments.pieces,
                delays: arguments.delays,
                delay: Duration::from_millis(arguments.delay),
                reorder: arguments.reorder,
                cuts: arguments.cuts,
            };
            std::thread::Builder::new().spawn_scoped(scope, move || {
                let ended = relay(front, back, chaos, canceller, |passed| told.message(number, passed));
                let how = match ended {
                    Ok(Ended::By(From::FrontEnd)) => "the front-end left".to_owned(),
                    Ok(Ended::By(From::BackEnd)) => "the back-end left".to_owned(),
                    Ok(Ended::Cut) => "cut on purpose".to_owned(),
                    Err(error) => with_causes(&error),
                };
                // Nobody may be left who reads it.
                let _ = writeln!(io::stdout(), "{number} ended: {how}");
            })?;
        }
        Ok(())
    })
}

/// Where messages are told.
struct Told {
    clock: Clock,
    record: Option<Mutex<File>>,
    quiet: bool,
}

impl Told {
    fn message(&self, session: u64, passed: &Passed) {
        let time = self.clock.elapsed();
        if !self.quiet {
            let _ = writeln!(io::stdout(), "{}", line(session, time, passed));
        }
        if let Some(record) = &self.record {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = writeln!(record, "{}", recorded(session, time, passed)) {
                let _ = writeln!(io::stderr(), "the recording is not whole: {error}");
            }
        }
    }
}

const fn arrow(from: From) -> &'static str {
    match from {
        From::FrontEnd => "->",
        From::BackEnd => "<-",
    }
}

fn line(session: u64, time: Duration, passed: &Passed) -> String {
    let words = passed
        .in_words()
        .unwrap_or_else(|| format!("{} bytes: {}", passed.payload.len(), hex(&passed.payload)));
    let descriptors = match passed.descriptors {
        0 => String::new(),
        1 => ", 1 descriptor".to_owned(),
        many => format!(", {many} descriptors"),
    };
    let acknowledge = if passed.flags & 1 << 3 != 0 { ", to be acknowledged" } else { "" };
    let channel = if passed.channel { "channel: " } else { "" };
    let words = if words.is_empty() { words } else { format!(" {words}") };
    format!(
        "{session} {:>9.6} {} {channel}{}{words}{descriptors}{acknowledge}",
        time.as_secs_f64(),
        arrow(passed.from),
        passed.name()
    )
}

fn recorded(session: u64, time: Duration, passed: &Passed) -> Value {
    json!({
        "session": session,
        "seconds": time.as_secs_f64(),
        "channel": passed.channel,
        "from": match passed.from { From::FrontEnd => "front-end", From::BackEnd => "back-end" },
        "number": passed.number,
        "name": passed.name(),
        "flags": passed.flags,
        "payload": hex(&passed.payload),
        "descriptors": passed.descriptors,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// A message of a recording.
struct Recorded {
    session: u64,
    from_front: bool,
    number: u32,
    flags: u32,
    payload: Vec<u8>,
    descriptors: usize,
}

/// A line of a recording, and whether it is of the back-end's channel.
fn read(text: &str) -> Option<(Recorded, bool)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let number = |name: &str| value[name].as_u64();
    let recorded = Recorded {
        session: number("session")?,
        from_front: value["from"] == "front-end",
        number: u32::try_from(number("number")?).ok()?,
        flags: u32::try_from(number("flags")?).ok()?,
        payload: unhex(value["payload"].as_str()?)?,
        descriptors: usize::try_from(number("descriptors")?).ok()?,
    };
    Some((recorded, value["channel"] == true))
}

pub(crate) fn replay(arguments: &Replay) -> Result<ExitCode, Failure> {
    let path = arguments.recording.display();
    let file =
        File::open(&arguments.recording).map_err(|error| Failure::Misused(format!("{path}: {error}")))?;
    let mut messages = Vec::new();
    for (number, text) in BufReader::new(file).lines().enumerate() {
        let (message, of_channel) = read(&text?)
            .ok_or_else(|| Failure::Misused(format!("{path}: line {} is no message", number + 1)))?;
        // What the back-end asks it asks by itself.
        if !of_channel {
            messages.push(message);
        }
    }
    // Those of sessions that went on side by side are between each other.
    messages.sort_by_key(|message| message.session);
    if messages.is_empty() {
        return Err(Failure::Misused(format!("{path}: there is no message in it")));
    }
    let mut target = arguments.of.target()?;
    let timeout = arguments.of.timeout()?;
    let mut out = io::stdout();
    let (mut same, mut different, mut stops) = (0, 0, 0);
    for session in messages.chunk_by(|one, next| one.session == next.session) {
        let stream = target.connect().map_err(Failure::Unreachable)?;
        let socket = Socket::new(stream, Canceller::new()?)?;
        let mut framing = Framing::default();
        for message in session {
            let name = front::Request::facts_of(message.number).map_or("unknown", |facts| facts.name);
            let failed = |error: SocketError| Failure::BackEnd(format!("{name}: {}", with_causes(&error)));
            socket.expire_after(Some(timeout))?;
            if message.from_front {
                let files: Vec<OwnedFd> =
                    (0..message.descriptors).map(|_| stand_in(message)).collect::<io::Result<_>>()?;
                let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
                let mut bytes = Vec::new();
                for word in [message.number, message.flags, message.payload.len() as u32] {
                    bytes.extend(word.to_ne_bytes());
                }
                bytes.extend(&message.payload);
                socket.send(&bytes, &files).map_err(failed)?;
                continue;
            }
            let answer = receive(&socket, &mut framing).map_err(failed)?;
            stops += usize::from(stops_a_ring(message.number));
            match difference(&answer, message) {
                None => same += 1,
                Some(difference) => {
                    different += 1;
                    writeln!(out, "{name}: {difference}")?;
                }
            }
        }
    }
    writeln!(out, "{same} answers are the same, {different} are others")?;
    if stops > 0 {
        writeln!(
            out,
            "of {stops} that tell where a ring stopped only the ring was compared: rings are empty here"
        )?;
    }
    Ok(ExitCode::from(u8::from(different > 0)))
}

fn receive(socket: &Socket, framing: &mut Framing) -> Result<Raw, SocketError> {
    let mut buffer = [0; 4096];
    loop {
        let want = framing.want().min(buffer.len());
        let (count, descriptors) = socket.receive(&mut buffer[..want])?;
        let message = framing.feed(&buffer[..count], descriptors);
        let message = message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some(message) = message {
            return Ok(message);
        }
    }
}

/// Rings are empty here, so that they stop elsewhere; only which ring it is can be the same.
fn stops_a_ring(number: u32) -> bool {
    let stops =
        [Request::GetVringBase(VringState::default()), Request::GetVringBaseSkipDrain(VringState::default())];
    stops.iter().any(|it| it.number() == number)
}

/// In what an answer is not the one that was recorded; `None`: in nothing that can be the same.
fn difference(answer: &Raw, recorded: &Recorded) -> Option<String> {
    let Header { request, reply, need_reply, .. } = answer.header;
    let mut flags = [0; 4];
    flags.copy_from_slice(&answer.header.encode()[4..8]);
    let flags = u32::from_ne_bytes(flags);
    if request != recorded.number {
        return Some(format!("the answer is to request {request}"));
    }
    if flags != recorded.flags {
        return Some(format!(
            "the flags are {flags:#x} and not {:#x} (answer {reply}, to be acknowledged {need_reply})",
            recorded.flags
        ));
    }
    if answer.descriptors.len() != recorded.descriptors {
        return Some(format!(
            "{} descriptors came, and not {}",
            answer.descriptors.len(),
            recorded.descriptors
        ));
    }
    let known = if stops_a_ring(request) { 4 } else { usize::MAX };
    let part = |bytes: &[u8]| bytes.get(..known.min(bytes.len())).unwrap_or_default().to_vec();
    let is_same =
        answer.payload.len() == recorded.payload.len() && part(&answer.payload) == part(&recorded.payload);
    (!is_same).then(|| format!("it answered {} and not {}", hex(&answer.payload), hex(&recorded.payload)))
}

/// In the place of a descriptor that the front-end had: memory as long as any of the message's regions, or an eventfd.
fn stand_in(message: &Recorded) -> io::Result<OwnedFd> {
    let file = memfd_create("vhost-user-replay", MemfdFlags::CLOEXEC)?;
    let bytes = match front::Request::get(message.number, &message.payload) {
        Ok(front::Request::SetMemTable(table)) => {
            table.regions.iter().map(|it| it.size.saturating_add(it.mmap_offset)).max().unwrap_or(0)
        }
        Ok(front::Request::AddMemReg(it)) => it.size.saturating_add(it.mmap_offset),
        Ok(front::Request::SetLogBase(it)) => it.size.saturating_add(it.offset),
        Ok(front::Request::SetInflightFd(it)) => it.mmap_size.saturating_add(it.mmap_offset),
        _ => {
            let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
            return Ok(rustix::event::eventfd(0, flags)?);
        }
    };
    // Holes cost nothing; what is beyond this is no memory of a machine.
    ftruncate(&file, bytes.min(1 << 40))?;
    Ok(file)
}

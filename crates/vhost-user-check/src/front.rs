//! The other way round: a front-end is tested, by a back-end that behaves in a way of its own.

use crate::Failure;
use crate::serve::{Common, Ended as Unserved, Serve, Signals, session};
use crate::socket::listen;
use crate::target::Clock;
use clap::{Args, ValueEnum};
use rustix::event::{Timespec, poll};
use seeded::Random;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vhost_user::proxy::{Chaos, Ended, From, Passed, relay};
use vhost_user::socket::{Canceller, SocketError};
use vhost_user::wire::REPLY;
use vhost_user::with_causes;

/// How the back-end behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Manner {
    /// Refuses whatever the specification does not allow, and says what that was.
    Strict,
    /// Acknowledges everything as done, also what it refused.
    Lenient,
    /// Answers late.
    Slow,
    /// Answers once in each session what cannot be.
    Lying,
    /// Is gone after a few messages, and there again.
    Dying,
}

/// A back-end for front-ends under test: it serves a device, in a manner of its own, and tells what the front-end makes of it.
#[derive(Debug, Args)]
pub(crate) struct Front {
    #[command(flatten)]
    serve: Serve,
    /// How it behaves.
    #[arg(long = "as", value_enum, default_value_t = Manner::Strict)]
    manner: Manner,
    /// What the lie, and the moment of death, come from: the same number, the same in the same session.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Milliseconds that a slow one takes for each answer.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    delay: u64,
    /// End after so many sessions; the exit code is 1 if a front-end did what it must not.
    #[arg(long, value_name = "COUNT")]
    sessions: Option<u64>,
}

pub(crate) fn front(arguments: &Front) -> Result<ExitCode, Failure> {
    let (kind, socket) = arguments.serve.where_and_what()?;
    if arguments.serve.is_faulty() {
        return Err(Failure::Misused(
            "--fault is for `serve`: here the manner says what is wrong".to_owned(),
        ));
    }
    if arguments.serve.verbose {
        return Err(Failure::Misused("--verbose is for `serve`: here every session is told".to_owned()));
    }
    let common = arguments.serve.opened()?;
    let signals = Signals::new()?;
    let place = listen(socket).map_err(|error| Failure::Misused(error.to_string()))?;
    let canceller = Canceller::new()?;
    std::thread::spawn({
        let canceller = canceller.clone();
        move || {
            signals.wait();
            canceller.cancel();
        }
    });
    writeln!(io::stdout(), "serving {kind} at {}", socket.display())?;
    let (mut number, wrong) = (0, AtomicU64::new(0));
    std::thread::scope(|scope| -> io::Result<()> {
        while arguments.sessions.is_none_or(|most| number < most) {
            let Some(stream) = place.accepted(&canceller) else { break };
            number += 1;
            let (canceller, common, wrong) = (&canceller, &common, &wrong);
            std::thread::Builder::new().spawn_scoped(scope, move || {
                let told = match play(arguments, common, number, stream, canceller) {
                    Ok((text, is_wrong)) => {
                        wrong.fetch_add(is_wrong.into(), Ordering::Relaxed);
                        text
                    }
                    Err(error) => error.to_string(),
                };
                // Nobody may be left who reads it.
                let _ = writeln!(io::stdout(), "front-end {number}: {told}");
            })?;
        }
        Ok(())
    })?;
    Ok(ExitCode::from(u8::from(wrong.load(Ordering::Relaxed) > 0)))
}

/// One session: what the front-end made of it, and whether that is wrong.
fn play(
    arguments: &Front,
    common: &Common,
    number: u64,
    front: UnixStream,
    all: &Canceller,
) -> io::Result<(String, bool)> {
    let (ours, its) = UnixStream::pair()?;
    let (kind, _) = arguments.serve.where_and_what().map_err(io::Error::other)?;
    let serving = std::thread::scope(|scope| {
        let serving = scope.spawn(|| session(kind, &arguments.serve, common, None, its, all));
        let mut player = Player::new(arguments, number)?;
        let ended =
            relay(front, ours, Chaos::default(), &player.canceller.clone(), |passed| player.told(passed));
        let served = serving.join().unwrap_or_else(|_| Err(Unserved::Ours("the device ended".to_owned())));
        Ok::<_, io::Error>((player, ended, served))
    });
    let (player, ended, served) = serving?;
    Ok(player.verdict(ended, served))
}

/// What a session has come to.
struct Player {
    manner: Manner,
    delay: Duration,
    clock: Clock,
    canceller: Canceller,
    /// Messages of both, and the one at which something happens.
    messages: u64,
    at: u64,
    which: u64,
    /// What was done, and how many messages the front-end sent after that.
    done: Option<(String, u64)>,
    refused: Vec<&'static str>,
}

impl Player {
    fn new(arguments: &Front, number: u64) -> io::Result<Self> {
        // Seeds that follow each other, and sessions of one, have nothing in common.
        let mut of_seed = Random::new(arguments.seed);
        let mut random = Random::new(of_seed.number().wrapping_add(number));
        Ok(Self {
            manner: arguments.manner,
            delay: Duration::from_millis(arguments.delay),
            clock: Clock::start(),
            canceller: Canceller::new()?,
            messages: 0,
            at: 1 + random.below(12),
            which: random.number(),
            done: None,
            refused: Vec::new(),
        })
    }

    /// A message goes through, perhaps as another.
    fn told(&mut self, passed: &mut Passed) {
        if passed.channel {
            return;
        }
        self.messages += 1;
        if passed.from == From::FrontEnd
            && let Some((_, after)) = &mut self.done
        {
            *after += 1;
        }
        let is_answer = passed.from == From::BackEnd && passed.is_answer();
        match self.manner {
            Manner::Strict => {}
            Manner::Lenient => {
                // The answers of others may be any number.
                let refuses = passed.payload.iter().any(|byte| *byte != 0);
                if passed.is_acknowledgement() && passed.from == From::BackEnd && refuses {
                    self.refused.push(passed.name());
                    passed.payload.fill(0);
                }
            }
            Manner::Slow if is_answer => pause(self.delay),
            Manner::Lying if is_answer && self.done.is_none() && self.messages >= self.at => {
                let lie = lie(passed, self.which);
                self.done = Some((format!("{lie} in the answer to {}", passed.name()), 0));
            }
            Manner::Dying if self.messages >= self.at => {
                self.done = Some((format!("died at {}", passed.name()), 0));
                self.canceller.cancel();
            }
            Manner::Slow | Manner::Lying | Manner::Dying => {}
        }
    }

    fn verdict(self, ended: Result<Ended, SocketError>, served: Result<(), Unserved>) -> (String, bool) {
        let seconds = self.clock.elapsed().as_secs_f64();
        let left = match &ended {
            Ok(Ended::By(From::FrontEnd)) => "it left".to_owned(),
            Ok(Ended::By(From::BackEnd)) => "its session was ended".to_owned(),
            Ok(Ended::Cut) | Err(SocketError::Cancelled) => "its session was cut".to_owned(),
            Err(error) => with_causes(error),
        };
        match (self.manner, self.done, served) {
            (_, _, Err(Unserved::Ours(why))) => (format!("was not served: {why}"), false),
            (Manner::Strict, _, Err(why)) => (format!("broke the rules: {why}"), true),
            // What came was not even a message.
            (Manner::Strict, ..) if matches!(ended, Err(SocketError::Io(_))) => {
                (format!("broke the rules: {left}"), true)
            }
            (Manner::Strict, _, Ok(())) => {
                (format!("{} messages, all as they should be; {left}", self.messages), false)
            }
            (Manner::Lenient, ..) if self.refused.is_empty() => {
                (format!("{} messages, none that would be refused; {left}", self.messages), false)
            }
            (Manner::Lenient, ..) => {
                (format!("asked for what is refused elsewhere: {}; {left}", self.refused.join(", ")), true)
            }
            (Manner::Slow, ..) => (format!("{} messages in {seconds:.1} s; {left}", self.messages), false),
            // Who takes a lie for an answer goes on as if nothing were.
            (Manner::Lying, Some((lie, after)), _) if after > 0 => {
                (format!("{lie}: it went on with {after} messages; {left}"), true)
            }
            (Manner::Lying | Manner::Dying, Some((what, _)), _) => (format!("{what}: {left}"), false),
            (Manner::Lying | Manner::Dying, None, _) => {
                (format!("{} messages, before anything was done; {left}", self.messages), false)
            }
        }
    }
}

/// Makes an answer one that cannot be, and says in what.
fn lie(passed: &mut Passed, which: u64) -> &'static str {
    match which % 6 {
        0 => {
            passed.flags &= !REPLY;
            "no reply flag"
        }
        1 => {
            passed.flags |= 1 << 9;
            "a reserved flag"
        }
        2 => {
            passed.flags = passed.flags & !3 | 2;
            "version 2"
        }
        3 => {
            passed.number = passed.number.wrapping_add(100);
            "another request's number"
        }
        4 => {
            passed.payload.truncate(passed.payload.len() / 2);
            "half a payload"
        }
        _ => {
            passed.payload.extend([0; 8]);
            "a payload that is too long"
        }
    }
}

fn pause(time: Duration) {
    if let Ok(time) = Timespec::try_from(time) {
        let _ = poll(&mut [], Some(&time));
    }
}

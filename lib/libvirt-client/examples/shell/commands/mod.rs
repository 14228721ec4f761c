//! The commands, without a process around them.

mod domain;
mod failure;
mod volume;

pub(crate) use failure::Failure;

use libvirt_client::Connect;
use std::io::Write;
use tokio::io::AsyncRead;

/// What can be typed.
pub(crate) const USAGE: &str = "usage: shell [-c URI] COMMAND
  list                                   all domains
  stats                                  the host and what its domains use
  dominfo DOMAIN                         state, memory, CPUs
  dumpxml DOMAIN                         definition
  define FILE                            define a domain from XML
  start | shutdown | destroy DOMAIN      start, ask to power off, take the power away
  console DOMAIN                         first console; Ctrl-] leaves it
  events KIND [COUNT]                    print events, such as DomainLifecycle
  vol-download POOL VOLUME FILE [sparse] contents of a volume to a file
  vol-upload POOL VOLUME FILE [sparse]   contents of a file to a volume";

/// Whether a command is understood, as far as can be said without a daemon.
pub(crate) fn check(words: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list" | "stats"]
        | ["dominfo" | "dumpxml" | "define" | "start" | "shutdown" | "destroy" | "console", _]
        | ["vol-download" | "vol-upload", _, _, _]
        | ["vol-download" | "vol-upload", _, _, _, "sparse"] => Ok(()),
        ["events", kind] => domain::event_kind(kind).map(drop),
        ["events", kind, count] => domain::event_kind(kind).and(number(count)).map(drop),
        [] => Err(Failure::Usage("what is to be done?".to_owned())),
        [command, ..] => Err(Failure::Usage(format!("`{command}` is no command, or is used in another way"))),
    }
}

/// Runs a command.
pub(crate) async fn run(
    connect: &Connect,
    words: &[String],
    input: &mut (impl AsyncRead + Unpin),
    out: &mut impl Write,
) -> Result<(), Failure> {
    check(words)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => domain::list(connect, out).await,
        ["stats"] => domain::stats(connect, out).await,
        ["dominfo", name] => domain::info(connect, name, out).await,
        ["dumpxml", name] => domain::xml(connect, name, out).await,
        ["define", file] => domain::define(connect, file, out).await,
        [action @ ("start" | "shutdown" | "destroy"), name] => {
            domain::power(connect, action, name, out).await
        }
        ["console", name] => domain::console(connect, name, input, out).await,
        ["events", kind] => domain::events(connect, kind, u64::MAX, out).await,
        ["events", kind, count] => domain::events(connect, kind, number(count)?, out).await,
        ["vol-download", pool, volume, file, ref sparse @ ..] => {
            volume::download(connect, (pool, volume), file, volume::holes(sparse)).await
        }
        ["vol-upload", pool, volume, file, ref sparse @ ..] => {
            volume::upload(connect, (pool, volume), file, volume::holes(sparse)).await
        }
        _ => Err(Failure::Usage(words.join(" "))),
    }
}

fn number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::Usage(format!("`{text}` is no number")))
}

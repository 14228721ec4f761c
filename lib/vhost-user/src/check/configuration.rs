//! Configuration space.

use super::peer::{NEED_REPLY, PLAIN, Reaction, message, payload};
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::Config;
use crate::wire::Message as _;

const CONFIG: &str = "vhost-user: VHOST_USER_GET_CONFIG, VHOST_USER_SET_CONFIG";

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "configuration.whole",
            Level::Must,
            CONFIG,
            "configuration space is the same each time it is read",
            |run| {
                let whole = known(run)?;
                let again = read(run, 0, whole.len() as u32)?;
                if again.as_deref() == Some(&*whole) {
                    Ok(())
                } else {
                    failed(format!("{whole:?}, and then {again:?}"))
                }
            },
        ),
        Check::new("configuration.parts", Level::Must, CONFIG, "a part of it is that part", |run| {
            let whole = known(run)?;
            for (offset, size) in [(0, 4), (4, 4), (2, 2), (1, 1)] {
                let Some(expected) = whole.get(offset..offset + size) else { continue };
                let part = read(run, offset as u32, size as u32)?;
                if part.as_deref() != Some(expected) {
                    return failed(format!(
                        "{size} bytes from {offset} on are {part:?} and not {expected:?}"
                    ));
                }
            }
            Ok(())
        }),
        Check::new(
            "configuration.echo",
            Level::Must,
            CONFIG,
            "the answer says which part it is, and how long",
            |run| {
                known(run)?;
                let asked = Config { offset: 0, size: 4, flags: 0, bytes: vec![0; 4] };
                let answer = run.ordinary()?.ask(&Request::GetConfig(asked), PLAIN, &[])?;
                let expected = [0_u32, 4].map(u32::to_ne_bytes).concat();
                if answer.payload.get(..8) == Some(&*expected) {
                    Ok(())
                } else {
                    failed(format!("it begins with {:?}", answer.payload.get(..8)))
                }
            },
        ),
        Check::new(
            "configuration.beyond",
            Level::Robust,
            CONFIG,
            "what is beyond its end is an answer without bytes",
            |run| {
                known(run)?;
                match read(run, 4096 - 4, 4)? {
                    None => Ok(()),
                    Some(bytes) => failed(format!("{bytes:?}")),
                }
            },
        ),
        Check::new(
            "configuration.far",
            Level::Robust,
            CONFIG,
            "an offset near the largest number is no part of it",
            |run| {
                known(run)?;
                match read(run, u32::MAX - 3, 4)? {
                    None => Ok(()),
                    Some(bytes) => failed(format!("{bytes:?}")),
                }
            },
        ),
        Check::new(
            "configuration.size",
            Level::Robust,
            CONFIG,
            "a size that is not that of the payload is refused",
            |run| {
                known(run)?;
                let mut asked =
                    payload(&Request::GetConfig(Config { offset: 0, size: 4, flags: 0, bytes: vec![0; 4] }));
                asked[4..8].copy_from_slice(&200_u32.to_ne_bytes());
                let peer = run.ordinary()?;
                peer.bytes(&message(Request::GetConfig(Config::default()).number(), PLAIN, &asked), &[])?;
                match peer.receive()? {
                    None => Ok(()),
                    Some(answer) if answer.payload.len() <= 12 => Ok(()),
                    Some(answer) => failed(format!("it answered {} bytes", answer.payload.len())),
                }
            },
        ),
        Check::new(
            "configuration.write.beyond",
            Level::Robust,
            CONFIG,
            "what is beyond its end cannot be written",
            |run| {
                known(run)?;
                refused(run, Config { offset: 4096 - 4, size: 4, flags: 0, bytes: vec![0; 4] })
            },
        ),
        Check::new(
            "configuration.write.flags",
            Level::Robust,
            CONFIG,
            "a write with flags that mean nothing is refused",
            |run| {
                let whole = known(run)?;
                let bytes = whole.get(..1).unwrap_or_default().to_vec();
                refused(run, Config { offset: 0, size: 1, flags: 0x80, bytes })
            },
        ),
        Check::new(
            "configuration.write.same",
            Level::Robust,
            CONFIG,
            "writing what is there changes nothing",
            |run| {
                let whole = known(run)?;
                let first = whole.get(..4).unwrap_or_default().to_vec();
                let write = Request::SetConfig(Config {
                    offset: 0,
                    size: first.len() as u32,
                    flags: 0,
                    bytes: first,
                });
                let peer = run.ordinary()?;
                let flags = if run.can_refuse() { NEED_REPLY } else { PLAIN };
                let reaction = peer.reaction(&message(write.number(), flags, &payload(&write)), &[])?;
                if reaction == Reaction::Silent && run.can_refuse() {
                    return failed("it did not say whether it was written");
                }
                let asked =
                    Config { offset: 0, size: whole.len() as u32, flags: 0, bytes: vec![0; whole.len()] };
                // Who refuses it may close the connection, also after having said so.
                let is_open = reaction != Reaction::Closed;
                let again = match peer.ask(&Request::GetConfig(asked), PLAIN, &[]) {
                    Ok(answer) => answer.payload.get(12..).map(<[u8]>::to_vec),
                    Err(_) if !is_open || matches!(reaction, Reaction::Refused(_)) => {
                        drop(peer);
                        read(run, 0, whole.len() as u32)?
                    }
                    Err(Trouble::Failed(why)) if reaction == Reaction::Accepted => {
                        return failed(format!("it acknowledged success, and then {why}"));
                    }
                    Err(trouble) => return Err(trouble),
                };
                if again.as_deref() == Some(&*whole) { Ok(()) } else { failed("it is another") }
            },
        ),
    ]
}

fn known(run: &Run<'_>) -> Result<Vec<u8>, Trouble> {
    run.needs(ProtocolFeatures::CONFIG)?;
    run.offer.config.clone().map_or_else(|| not_applicable("it has no configuration space"), Ok)
}

/// A part of it; `None`: there is no such part.
fn read(run: &mut Run<'_>, offset: u32, size: u32) -> Result<Option<Vec<u8>>, Trouble> {
    let asked = Config { offset, size, flags: 0, bytes: vec![0; size as usize] };
    let peer = run.ordinary()?;
    if !peer.send(&Request::GetConfig(asked), PLAIN, &[])? {
        return Ok(None);
    }
    // Closing the connection says no as well.
    let Some(answer) = peer.receive()? else { return Ok(None) };
    Ok(answer.payload.get(12..).filter(|bytes| !bytes.is_empty()).map(<[u8]>::to_vec))
}

fn refused(run: &mut Run<'_>, config: Config) -> Outcome {
    let write = Request::SetConfig(config);
    let can_refuse = run.can_refuse();
    run.ordinary()?.rejects(&message(write.number(), NEED_REPLY, &payload(&write)), &[], can_refuse)
}

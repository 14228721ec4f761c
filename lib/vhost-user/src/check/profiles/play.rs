//! A script is said to a back-end.

use super::super::peer::{NEED_REPLY, PLAIN, Peer, REPLY, Received};
use super::super::session::file;
use super::super::work::eventfd;
use super::super::{Outcome, Run, Trouble, failed};
use super::Profile;
use super::script::{self, MEMORY, Said};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::Inflight;
use crate::wire::{Message as _, Reply};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use virtio::features::Features;

/// A session in which a script is said.
pub(super) struct Playing {
    peer: Peer,
    profile: Profile,
    file: OwnedFd,
    /// Acknowledgements were negotiated.
    acknowledges: bool,
    inflight: Option<(Inflight, OwnedFd)>,
    /// Our ends of what was given, which stay open.
    _kept: Vec<OwnedFd>,
}

/// All that is said until rings run.
pub(super) fn begun(run: &mut Run<'_>, profile: Profile) -> Result<Playing, Trouble> {
    let said = script::begins(profile, run.options.kind, &run.offer);
    let (peer, file) = (run.bare()?, file(MEMORY)?);
    let mut playing = Playing { peer, profile, file, acknowledges: false, inflight: None, _kept: Vec::new() };
    playing.all(&said)?;
    // An answer: what came before has been worked off.
    playing.peer.number(&Request::GetFeatures)?;
    Ok(playing)
}

/// The same for what builds upon it.
fn on(run: &mut Run<'_>, profile: Profile) -> Result<Playing, Trouble> {
    run.builds_upon(&format!("profile.{profile}.order"), |run| begun(run, profile))
}

/// Its rings stop, or it only leaves; and it comes again.
pub(super) fn stopped(run: &mut Run<'_>, profile: Profile) -> Outcome {
    let said = script::ends(profile, run.options.kind, &run.offer);
    let mut playing = on(run, profile)?;
    playing.all(&said)?;
    drop(playing);
    on(run, profile).map(drop)
}

pub(super) fn migrated(run: &mut Run<'_>, profile: Profile) -> Outcome {
    run.needs(ProtocolFeatures::LOG_SHMFD)?;
    run.needs_features(Features::LOG_ALL)?;
    let said = script::migrates(run.options.kind, &run.offer);
    let mut playing = on(run, profile)?;
    playing.all(&said)?;
    playing.peer.number(&Request::GetFeatures).map(drop)
}

/// Where faults of pages are told comes with the answer.
pub(super) fn advised(run: &mut Run<'_>, profile: Profile) -> Outcome {
    let answer = on(run, profile)?.peer.ask(&Request::PostcopyAdvise, PLAIN, &[])?;
    match answer.descriptors.len() {
        1 => Ok(()),
        count => failed(format!("{count} descriptors came with the answer to POSTCOPY_ADVISE and not 1")),
    }
}

impl Playing {
    fn all(&mut self, all: &[Said]) -> Outcome {
        all.iter().try_for_each(|said| self.say(said))
    }

    fn say(&mut self, said: &Said) -> Outcome {
        let mut request = said.request.clone();
        let along = match (&mut request, &self.inflight) {
            (Request::AddMemReg(_) | Request::SetMemTable(_), _) => Some(self.file.try_clone()?),
            (Request::SetLogBase(_), _) => Some(file(MEMORY)?),
            (Request::SetInflightFd(asked), Some((told, descriptor))) => {
                *asked = *told;
                Some(descriptor.try_clone()?)
            }
            (Request::SetBackendReqFd, _) => {
                let (ours, its) = UnixStream::pair()?;
                self._kept.push(ours.into());
                Some(its.into())
            }
            (it, _) if it.facts().descriptors.1 > 0 => {
                let ours = eventfd()?;
                self._kept.push(ours.try_clone()?);
                Some(ours)
            }
            _ => None,
        };
        let along: Vec<_> = along.iter().map(|it| it.as_fd()).collect();
        let name = request.facts().name;
        if !self.peer.send(&request, if said.asks { NEED_REPLY } else { PLAIN }, &along)? {
            return failed(format!("it closed the connection before {name}"));
        }
        let has_answer = request.facts().reply.is_some();
        let is_awaited = has_answer || said.asks && self.acknowledges;
        if let Request::SetProtocolFeatures(bits) = &request {
            let set = ProtocolFeatures::from_bits_truncate(*bits);
            self.acknowledges = set.contains(ProtocolFeatures::REPLY_ACK);
        }
        if !is_awaited {
            return Ok(());
        }
        match self.peer.receive()? {
            None => failed(format!("it closed the connection upon {name}")),
            Some(answer) => self.takes(&request, answer),
        }
    }

    /// What the front-end makes of an answer.
    fn takes(&mut self, request: &Request, mut answer: Received) -> Outcome {
        let facts = request.facts();
        let name = facts.name;
        if answer.number != facts.number {
            return failed(format!("it answered {name} with request number {}", answer.number));
        }
        let is_right = match self.profile {
            // Neither takes a flag more or less (`vhost_user_read` of either).
            Profile::Qemu | Profile::Dpdk => answer.flags == REPLY,
            // Any known flag beside those of an answer.
            Profile::CloudHypervisor => answer.flags & !NEED_REPLY == 1 << 2 && answer.flags & 3 == 1,
            Profile::Libblkio => answer.flags & 1 << 2 != 0,
        };
        if !is_right {
            return failed(format!("the flags of its answer to {name} are {:#x}", answer.flags));
        }
        if facts.reply.is_none() {
            return match answer.u64() {
                Some(0) => Ok(()),
                other => failed(format!("it acknowledged {name} with {other:?} and not 0")),
            };
        }
        // QEMU, which alone is played with a log, looks no further at this one.
        if matches!(request, Request::SetLogBase(_)) {
            return Ok(());
        }
        let expected = match request {
            Request::GetConfig(asked) => Some(12 + asked.bytes.len()),
            _ => None,
        };
        if expected.is_some_and(|bytes| answer.payload.len() != bytes) {
            return failed(format!("its answer to {name} has {} bytes", answer.payload.len()));
        }
        match Request::get_reply(facts.number, &answer.payload) {
            Ok(Reply::Inflight(told)) => {
                let Some(descriptor) = answer.descriptors.pop() else {
                    return failed("no descriptor came with the inflight region");
                };
                self.inflight = Some((told, descriptor));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => failed(format!("its answer to {name}: {error}")),
        }
    }
}

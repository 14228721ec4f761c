//! Front-ends that leave, and come again.

use super::peer::PLAIN;
use super::session::{file, give, region};
use super::work::{Work, eventfd};
use super::{Check, Level, Outcome, Run, failed, not_applicable, probe};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::VringState;
use std::os::fd::AsFd as _;

const COMMUNICATION: &str = "vhost-user: Communication";
const PROTOCOL: &str = "vhost-user: Protocol features";

/// Steps of a handshake after which a front-end may go away.
const STEPS: usize = 9;

pub(super) fn checks() -> Vec<Check> {
    let mut all = vec![
        Check::new(
            "reconnection.offer",
            Level::Must,
            PROTOCOL,
            "every front-end is offered the same",
            |run| {
                let again = probe(run.backend, run.options.timeout)
                    .map_err(|error| super::Trouble::Failed(error.to_string()))?;
                if again == run.offer {
                    Ok(())
                } else {
                    failed(format!("{:?}, and then {again:?}", run.offer))
                }
            },
        ),
        Check::new(
            "reconnection.forgets",
            Level::Must,
            COMMUNICATION,
            "what a front-end set does not hold for the next",
            |run| {
                let base = |peer: &super::peer::Peer| {
                    let request = Request::GetVringBase(VringState { index: 0, num: 0 });
                    peer.ask(&request, PLAIN, &[]).map(|answer| answer.payload)
                };
                let (peer, _kick) = run.started(0, 5)?;
                if base(&peer)?.get(4) != Some(&5) {
                    return not_applicable("it does not tell the base of a ring that it was given");
                }
                drop(peer);
                // The next gives none.
                let (peer, _kick) = run.started_anew()?;
                match base(&peer)?.get(4..8) {
                    Some([0, 0, 0, 0]) => Ok(()),
                    other => failed(format!("the base of a ring is {other:?} at the beginning")),
                }
            },
        ),
        Check::new(
            "reconnection.running",
            Level::Must,
            COMMUNICATION,
            "a front-end may leave while its rings run, and the next is served",
            |run| {
                for _ in 0..5 {
                    Work::start(run)?.once()?;
                }
                Ok(())
            },
        ),
        Check::new(
            "reconnection.busy",
            Level::Must,
            COMMUNICATION,
            "a front-end may leave with requests under way, and the next is served",
            |run| {
                for _ in 0..5 {
                    let mut work = Work::start(run)?;
                    let room = work.room();
                    for _ in 0..room {
                        work.offer()?;
                    }
                    work.queue.submit()?;
                }
                Work::start(run)?.once()
            },
        ),
        Check::new(
            "reconnection.second",
            Level::Robust,
            COMMUNICATION,
            "a second front-end does not end the first one's session",
            |run| {
                if run.backend.connects() {
                    return not_applicable("it connects to one front-end at a time");
                }
                let first = run.ordinary()?;
                // It may be served, refused, or kept waiting.
                if let Ok(stream) = run.backend.connect() {
                    drop(stream);
                }
                first.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "reconnection.resources",
            Level::Robust,
            COMMUNICATION,
            "fifty front-ends leave no descriptor and no mapping behind",
            |run| {
                if run.backend.is_single() {
                    return not_applicable("each front-end has a process of its own");
                }
                let Some(_) = run.backend.resources() else {
                    return not_applicable("its process cannot be looked into");
                };
                run.started(0, 0)?;
                run.still_serves();
                let Some(before) = run.backend.resources() else { return Ok(()) };
                for _ in 0..50 {
                    run.started(0, 0)?;
                }
                match run.settled(before) {
                    Some(after)
                        if after.descriptors > before.descriptors + 2
                            || after.mappings > before.mappings + 4 =>
                    {
                        failed(format!("{before:?}, and then {after:?}"))
                    }
                    _ => Ok(()),
                }
            },
        ),
    ];
    // The first, a request for the features, is how each check begins.
    for step in 2..=STEPS {
        let title = format!("a front-end may leave after {}, and the next is served", step_name(step));
        all.push(Check::new(
            format!("reconnection.step.{step}"),
            Level::Must,
            COMMUNICATION,
            title,
            move |run| session(run, step),
        ));
    }
    all
}

/// What is said last in it.
const fn step_name(step: usize) -> &'static str {
    match step {
        2 => "its protocol features",
        3 => "SET_OWNER",
        4 => "SET_FEATURES",
        5 => "its memory",
        6 => "SET_VRING_NUM",
        7 => "SET_VRING_ADDR",
        8 => "SET_VRING_CALL",
        _ => "SET_VRING_KICK",
    }
}

/// A handshake up to a step.
fn session(run: &mut Run<'_>, until: usize) -> Outcome {
    let peer = run.bare()?;
    peer.number(&Request::GetFeatures)?;
    if run.offer.protocol.is_some() {
        peer.number(&Request::GetProtocolFeatures)?;
        let wanted = ProtocolFeatures::MQ
            | ProtocolFeatures::REPLY_ACK
            | ProtocolFeatures::CONFIG
            | ProtocolFeatures::CONFIGURE_MEM_SLOTS;
        peer.send(&Request::SetProtocolFeatures((run.offer.known() & wanted).bits()), PLAIN, &[])?;
    }
    if until == 2 {
        return Ok(());
    }
    let (kick, call, file) = (eventfd()?, eventfd()?, file(1 << 16)?);
    let one = region(0, 1 << 16, 0);
    let base = one.user_address;
    let address = crate::payload::VringAddress {
        descriptors: base,
        available: base + 4096,
        used: base + 8192,
        ..Default::default()
    };
    for step in 3..=until {
        match step {
            3 => peer.send(&Request::SetOwner, PLAIN, &[])?,
            4 => peer.send(&Request::SetFeatures(run.features().bits()), PLAIN, &[])?,
            5 => {
                give(run, &peer, one, &file)?;
                true
            }
            6 => peer.send(&Request::SetVringNum(VringState { index: 0, num: 8 }), PLAIN, &[])?,
            7 => peer.send(&Request::SetVringAddr(address), PLAIN, &[])?,
            8 => peer.send(&Request::SetVringCall(0), PLAIN, &[call.as_fd()])?,
            _ => peer.send(&Request::SetVringKick(0), PLAIN, &[kick.as_fd()])?,
        };
    }
    peer.number(&Request::GetFeatures).map(drop)
}

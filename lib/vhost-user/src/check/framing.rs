//! Messages: headers, payloads, descriptors.

use super::peer::{NEED_REPLY, PLAIN, REPLY, Reaction, message, payload};
use super::{Check, Level, Outcome, Run, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::{DeviceState, Inflight, Log, MemoryTable, SingleRegion, VringAddress, VringState};
use crate::wire::{Gate, Message as _};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};

const MESSAGES: &str = "vhost-user: Message Specification";
const HEADER: &str = "vhost-user: Message Specification, Header";
const ANCILLARY: &str = "vhost-user: Communication, ancillary data";

pub(super) fn checks() -> Vec<Check> {
    let mut all = vec![
        Check::new(
            "framing.answer.flags",
            Level::Should,
            HEADER,
            "an answer has version 1 and the reply flag, and no flag of its request",
            |run| {
                // Who does not know the flag may take it for a fault of the message.
                run.needs(ProtocolFeatures::REPLY_ACK)?;
                // What is wrong with every answer leaves nothing to be checked.
                let peer = run.ordinary()?;
                peer.send(&Request::GetFeatures, NEED_REPLY, &[])?;
                match peer.receive()? {
                    Some(answer) if answer.flags == REPLY => Ok(()),
                    Some(answer) => failed(format!("flags {:#x}", answer.flags)),
                    None => failed("it closed the connection"),
                }
            },
        ),
        Check::new(
            "framing.answer.size",
            Level::Must,
            MESSAGES,
            "the answer to GET_FEATURES has 8 bytes and no descriptor",
            |run| {
                let peer = run.bare()?;
                for _ in 0..2 {
                    let answer = peer.ask(&Request::GetFeatures, PLAIN, &[])?;
                    match (answer.payload.len(), answer.descriptors.len()) {
                        (8, 0) => {}
                        (bytes, descriptors) => {
                            return failed(format!("{bytes} bytes and {descriptors} descriptors"));
                        }
                    }
                }
                Ok(())
            },
        ),
        Check::new(
            "framing.pieces.header",
            Level::Must,
            HEADER,
            "a header that arrives in pieces is understood",
            |run| {
                let peer = run.bare()?;
                // It is awake, and reads what comes as it comes.
                peer.number(&Request::GetFeatures)?;
                let bytes = message(1, PLAIN, &[]);
                for piece in [&bytes[..1], &bytes[1..5], &bytes[5..]] {
                    if !peer.bytes(piece, &[])? {
                        return failed("it closed the connection in the middle of the header");
                    }
                    peer.pause()?;
                }
                answered(&peer)
            },
        ),
        Check::new(
            "framing.pieces.payload",
            Level::Must,
            MESSAGES,
            "a payload that arrives in pieces is understood",
            |run| {
                let peer = run.bare()?;
                peer.number(&Request::GetFeatures)?;
                let bytes =
                    message(Request::SetFeatures(0).number(), PLAIN, &run.features().bits().to_ne_bytes());
                peer.bytes(&bytes[..12], &[])?;
                for piece in [&bytes[12..13], &bytes[13..17], &bytes[17..]] {
                    if !peer.bytes(piece, &[])? {
                        return failed("it closed the connection in the middle of the payload");
                    }
                    peer.pause()?;
                }
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "framing.pipelined",
            Level::Must,
            MESSAGES,
            "requests that arrive together are answered one after the other",
            |run| {
                let peer = run.bare()?;
                let three = [message(1, PLAIN, &[]), message(3, PLAIN, &[]), message(1, PLAIN, &[])].concat();
                peer.bytes(&three, &[])?;
                answered(&peer)?;
                answered(&peer)
            },
        ),
        Check::new(
            "framing.pressure",
            Level::Robust,
            MESSAGES,
            "two hundred requests are answered though nobody reads the answers at first",
            |run| {
                let peer = run.bare()?;
                for _ in 0..200 {
                    peer.bytes(&message(1, PLAIN, &[]), &[])?;
                }
                (0..200).try_for_each(|_| answered(&peer))
            },
        ),
        Check::new(
            "framing.half-close",
            Level::Robust,
            MESSAGES,
            "requests are answered though the sender has ended its side",
            |run| {
                let peer = run.bare()?;
                peer.bytes(&message(1, PLAIN, &[]).repeat(2), &[])?;
                peer.finish()?;
                answered(&peer)?;
                answered(&peer)
            },
        ),
        Check::new(
            "framing.reply-flag",
            Level::Robust,
            HEADER,
            "a request with the flag of answers is not answered",
            |run| {
                let peer = run.bare()?;
                match peer.reaction(&message(3, REPLY, &[]), &[])? {
                    Reaction::Accepted => failed(Reaction::Accepted.in_words()),
                    _ => Ok(()),
                }
            },
        ),
        Check::new(
            "framing.unknown.plain",
            Level::Robust,
            MESSAGES,
            "an unknown request is not acknowledged when nobody asked",
            |run| {
                let peer = run.ordinary()?;
                match peer.reaction(&message(200, PLAIN, &[]), &[])? {
                    Reaction::Closed | Reaction::Silent => Ok(()),
                    other => failed(other.in_words()),
                }
            },
        ),
        Check::new(
            "framing.unknown.acknowledged",
            Level::Must,
            "vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK",
            "an unknown request is not acknowledged with success",
            |run| {
                run.needs(ProtocolFeatures::REPLY_ACK)?;
                run.ordinary()?.rejects(&message(200, NEED_REPLY, &[]), &[], true)
            },
        ),
        Check::new(
            "framing.unknown.zero",
            Level::Robust,
            MESSAGES,
            "request number 0 is not acknowledged with success",
            |run| {
                let can_refuse = run.can_refuse();
                run.ordinary()?.rejects(&message(0, NEED_REPLY, &[]), &[], can_refuse)
            },
        ),
        Check::new(
            "framing.end.every-byte",
            Level::Robust,
            MESSAGES,
            "the back-end survives a connection that ends after any byte of a message",
            |run| {
                let bytes =
                    message(8, PLAIN, &payload(&Request::SetVringNum(VringState { index: 0, num: 8 })));
                for cut in 1..bytes.len() {
                    let peer = run.bare()?;
                    peer.bytes(&bytes[..cut], &[])?;
                }
                Ok(())
            },
        ),
        Check::new(
            "framing.descriptors.many",
            Level::Robust,
            ANCILLARY,
            "more descriptors than any message has are refused",
            |run| {
                let null = File::open("/dev/null")?;
                let many = [null.as_fd(); 8];
                let can_refuse = run.can_refuse();
                // The most that our own socket sends; no request but the memory table has more than one.
                run.ordinary()?.rejects(&message(13, NEED_REPLY, &0_u64.to_ne_bytes()), &many, can_refuse)
            },
        ),
        Check::new(
            "framing.descriptors.late",
            Level::Robust,
            ANCILLARY,
            "the back-end survives descriptors that come with the payload and not with the header",
            |run| {
                let null = File::open("/dev/null")?;
                let peer = run.ordinary()?;
                let bytes = message(13, PLAIN, &0_u64.to_ne_bytes());
                peer.bytes(&bytes[..12], &[])?;
                peer.bytes(&bytes[12..], &[null.as_fd()])?;
                Ok(())
            },
        ),
    ];
    for version in [0, 2, 3] {
        let id = format!("framing.version.{version}");
        all.push(Check::new(
            id,
            Level::Robust,
            HEADER,
            format!("version {version} is refused"),
            move |run| run.bare()?.rejects_header(version),
        ));
    }
    for bit in [4, 5, 15, 16, 31] {
        let id = format!("framing.reserved.{bit}");
        all.push(Check::new(
            id,
            Level::Robust,
            HEADER,
            format!("reserved bit {bit} of the flags is refused"),
            move |run| run.bare()?.rejects_header(1 | 1 << bit),
        ));
    }
    for size in [8192_u32, 1 << 16, 1 << 20, u32::MAX] {
        let id = format!("framing.size.{size}");
        let title = format!("a payload of {size} bytes is refused before it arrives");
        all.push(Check::new(id, Level::Robust, MESSAGES, title, move |run| {
            let peer = run.bare()?;
            let mut bytes = message(8, PLAIN, &[]);
            bytes[8..12].copy_from_slice(&size.to_ne_bytes());
            peer.bytes(&bytes, &[])?;
            match peer.receive()? {
                None => Ok(()),
                Some(answer) => failed(format!("it answered request number {}", answer.number)),
            }
        }));
    }
    for request in samples() {
        let facts = request.facts();
        let sample = request.clone();
        let title = format!("{} with a payload that is too short is refused", facts.name);
        all.push(Check::new(
            format!("framing.short.{}", facts.name),
            Level::Robust,
            MESSAGES,
            title,
            move |run| misshapen(run, &sample, |payload| payload.truncate(payload.len() / 2)),
        ));
        let sample = request.clone();
        let title = format!("{} with a payload that is too long is refused", facts.name);
        all.push(Check::new(
            format!("framing.long.{}", facts.name),
            Level::Robust,
            MESSAGES,
            title,
            move |run| misshapen(run, &sample, |payload| payload.extend([0; 8])),
        ));
        if facts.descriptors == (0, 0) {
            let sample = request.clone();
            let title = format!(
                "{} with a descriptor that it does not take is refused, and the descriptor closed",
                facts.name
            );
            all.push(Check::new(
                format!("framing.stray.{}", facts.name),
                Level::Robust,
                ANCILLARY,
                title,
                move |run| stray(run, &sample),
            ));
        }
    }
    all
}

fn answered(peer: &super::peer::Peer) -> Outcome {
    match peer.receive()? {
        Some(answer) if answer.number == 1 => Ok(()),
        Some(answer) => failed(format!("it answered request number {}", answer.number)),
        None => failed("it closed the connection"),
    }
}

impl super::peer::Peer {
    /// A request for the features with these flags must not be answered as if they were right.
    fn rejects_header(&self, flags: u32) -> Outcome {
        self.bytes(&message(1, flags, &[]), &[])?;
        self.finish()?;
        match self.receive()? {
            None => Ok(()),
            Some(answer) => failed(format!("it answered, with the flags {:#x}", answer.flags)),
        }
    }
}

/// A request of each kind whose payload has a size of its own, which would be right but for what a check does to it.
fn samples() -> Vec<Request> {
    let state = VringState { index: 0, num: 0 };
    vec![
        Request::SetFeatures(0),
        Request::SetProtocolFeatures(0),
        Request::SetVringNum(VringState { index: 0, num: 8 }),
        Request::SetVringAddr(VringAddress::default()),
        Request::SetVringBase(state),
        Request::GetVringBase(state),
        Request::SetVringKick(1 << 8),
        Request::SetVringCall(1 << 8),
        Request::SetVringErr(1 << 8),
        Request::SetVringEnable(state),
        Request::SetMemTable(MemoryTable::default()),
        Request::SetLogBase(Log::default()),
        Request::AddMemReg(SingleRegion::default()),
        Request::RemMemReg(SingleRegion::default()),
        Request::GetInflightFd(Inflight { queues: 1, queue_size: 8, ..Inflight::default() }),
        Request::SetInflightFd(Inflight::default()),
        Request::SetStatus(0),
        Request::SetDeviceStateFd(DeviceState::default()),
    ]
}

/// Whether a request may be sent to this back-end.
fn sendable(run: &Run<'_>, request: &Request) -> Outcome {
    let facts = request.facts();
    match facts.gate {
        Gate::Open => Ok(()),
        Gate::ProtocolFeatures if run.offer.protocol.is_some() => Ok(()),
        Gate::Feature(feature) => run.needs(feature),
        Gate::ProtocolFeatures | Gate::AccessPlatform => {
            not_applicable(format!("it has no use for {}", facts.name))
        }
    }
}

fn misshapen(run: &mut Run<'_>, request: &Request, spoil: impl Fn(&mut Vec<u8>)) -> Outcome {
    sendable(run, request)?;
    let facts = request.facts();
    let mut payload = payload(request);
    spoil(&mut payload);
    let null = File::open("/dev/null")?;
    let descriptors: Vec<BorrowedFd<'_>> = (0..facts.descriptors.0).map(|_| null.as_fd()).collect();
    let peer = run.ordinary()?;
    let flags = if facts.reply.is_none() { NEED_REPLY } else { PLAIN };
    match peer.reaction(&message(facts.number, flags, &payload), &descriptors)? {
        Reaction::Closed => Ok(()),
        Reaction::Refused(_) if facts.reply.is_none() => Ok(()),
        Reaction::Silent if !run.can_refuse() => Ok(()),
        // Requests that have an answer are not refused by one.
        Reaction::Refused(_) | Reaction::Accepted if facts.reply.is_some() => {
            failed("it answered as if it were right")
        }
        other => failed(other.in_words()),
    }
}

fn stray(run: &mut Run<'_>, request: &Request) -> Outcome {
    sendable(run, request)?;
    let facts = request.facts();
    let peer = run.ordinary()?;
    // Whoever has the other end of a pipe hears when nobody has this one any more; a back-end that is started is not to have it either.
    let (heard, stray) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let flags = if facts.reply.is_none() { NEED_REPLY } else { PLAIN };
    let reaction = peer.reaction(&message(facts.number, flags, &payload(request)), &[stray.as_fd()])?;
    drop((peer, stray));
    if !run.is_over(&heard)? {
        return failed("the descriptor is still open though its session has ended");
    }
    match reaction {
        Reaction::Closed | Reaction::Refused(_) => Ok(()),
        Reaction::Silent if !run.can_refuse() => Ok(()),
        other => failed(other.in_words()),
    }
}

//! What a packet means.

use super::client::{Call, Stage};
use super::incoming::Failure;
use super::{hole, keepalive};
use crate::packet::{Header, Kind, Status};
use crate::procedure::Program;
use crate::types;
use crate::xdr::{self, IntoOwned};

/// What a packet means, given the call that its serial names, and whether the serial was ever a call's. Decided without changing anything.
pub(super) enum Step {
    Pass,
    Pong,
    Stray,
    /// A reply to what was never sent.
    Unasked,
    Event(Program),
    Reply {
        opens_stream: bool,
    },
    Failed(Failure),
    Data,
    Hole(u64),
    End,
    Finished,
    Broken(Failure),
}

impl Step {
    pub(super) fn of(header: &Header, payload: &[u8], call: Option<&Call>, issued: bool) -> Self {
        match header.kind {
            Kind::Message if header.program == keepalive::PROGRAM => {
                if header.procedure == keepalive::PING {
                    Self::Pong
                } else {
                    Self::Pass
                }
            }
            // A newer daemon's program is passed over, as its events are.
            Kind::Message => Program::from_number(header.program).map_or(Self::Pass, Self::Event),
            Kind::Reply | Kind::ReplyWithFds => match call {
                Some(call) if matches!(call.stage, Stage::Sent { .. }) => Self::reply(header, payload, call),
                Some(Call { stage: Stage::Queued, .. }) => Self::Unasked,
                None if !issued => Self::Unasked,
                // A second one; also of a call that was given up before it was sent, whose serial nobody waits for.
                _ => Self::Stray,
            },
            Kind::Stream | Kind::StreamHole => match call {
                // The daemon's event loop may send a stream's first packets before a worker of it has sent the reply.
                Some(call)
                    if matches!(call.stage, Stage::Stream | Stage::Closing { .. })
                        || (matches!(call.stage, Stage::Sent { .. }) && call.info.stream.is_some()) =>
                {
                    Self::stream(header, payload, call)
                }
                // Packets of a stream that is closed may still be under way.
                _ => Self::Pass,
            },
            Kind::Call | Kind::CallWithFds => Self::Stray,
        }
    }

    fn reply(header: &Header, payload: &[u8], call: &Call) -> Self {
        if header.program != call.info.program.number() || header.procedure != call.info.number {
            return Self::Failed(Failure::Mismatch { procedure: header.procedure });
        }
        match header.status {
            Status::Error => Self::Failed(failure(payload)),
            Status::Ok | Status::Continue => Self::Reply { opens_stream: call.info.stream.is_some() },
        }
    }

    fn stream(header: &Header, payload: &[u8], call: &Call) -> Self {
        let closing = matches!(call.stage, Stage::Closing { .. });
        match (header.kind, header.status) {
            // An error without a reason confirms our abort, and an `OK` our end; to whom neither was said they say nothing true.
            (_, Status::Error) if payload.is_empty() => match call.stage {
                Stage::Closing { aborted: true } => Self::Finished,
                _ => Self::Broken(Failure::Unasked),
            },
            (_, Status::Error) => Self::Broken(failure(payload)),
            (_, Status::Ok) if closing => Self::Finished,
            (_, Status::Ok) => Self::Broken(Failure::Unasked),
            // What comes after our end is not wanted any more, nor what comes after something that was no use.
            (_, Status::Continue) if (closing && call.abandoned) || call.ended.is_some() => Self::Pass,
            (Kind::StreamHole, Status::Continue) => match hole::decode(payload) {
                Ok(length) => Self::Hole(length),
                Err(error) => Self::Broken(Failure::Hole(error)),
            },
            (_, Status::Continue) if payload.is_empty() => Self::End,
            (_, Status::Continue) => Self::Data,
        }
    }
}

fn failure(payload: &[u8]) -> Failure {
    match xdr::decode::<types::Error<'_>>(payload) {
        Ok(error) => Failure::Daemon(Box::new(error.into_owned())),
        Err(error) => Failure::Undecodable(error),
    }
}

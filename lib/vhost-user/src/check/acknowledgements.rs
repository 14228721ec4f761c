//! `REPLY_ACK`: who asks whether a request succeeded is told.

use super::peer::{NEED_REPLY, PLAIN, Reaction, message, payload};
use super::session::{file, region, single};
use super::work::eventfd;
use super::{Check, Level, Outcome, Run, failed};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::{Config, MemoryTable, VringState};
use crate::wire::Message as _;
use std::os::fd::AsFd as _;

const ACK: &str = "vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK";

type Make = fn(&Run<'_>) -> Request;

pub(super) fn checks() -> Vec<Check> {
    let plain: [(&str, Option<ProtocolFeatures>, Make); 8] = [
        ("SET_OWNER", None, |_| Request::SetOwner),
        ("SET_FEATURES", None, |run| Request::SetFeatures(run.features().bits())),
        ("SET_PROTOCOL_FEATURES", None, |run| {
            Request::SetProtocolFeatures(
                (run.offer.known() & (ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK)).bits(),
            )
        }),
        ("SET_VRING_NUM", None, |_| Request::SetVringNum(VringState { index: 0, num: 8 })),
        ("SET_VRING_BASE", None, |_| Request::SetVringBase(VringState { index: 0, num: 0 })),
        ("SET_VRING_ENABLE", None, |_| Request::SetVringEnable(VringState { index: 0, num: 0 })),
        ("SET_STATUS", Some(ProtocolFeatures::STATUS), |_| Request::SetStatus(3)),
        ("RESET_DEVICE", Some(ProtocolFeatures::RESET_DEVICE), |_| Request::ResetDevice),
    ];
    let mut all: Vec<Check> = plain
        .into_iter()
        .map(|(name, gate, make)| {
            acknowledged(name, move |run| {
                gate.map_or(Ok(()), |feature| run.needs(feature))?;
                let request = make(run);
                run.ordinary()?.acknowledged(&request, &[])
            })
        })
        .collect();
    all.extend([
        acknowledged("SET_VRING_CALL", |run| {
            run.ordinary()?.acknowledged(&Request::SetVringCall(0), &[eventfd()?.as_fd()])
        }),
        acknowledged("SET_VRING_CALL.none", |run| {
            run.ordinary()?.acknowledged(&Request::SetVringCall(1 << 8), &[])
        }),
        acknowledged("SET_VRING_ERR", |run| {
            run.ordinary()?.acknowledged(&Request::SetVringErr(0), &[eventfd()?.as_fd()])
        }),
        acknowledged("SET_VRING_ERR.none", |run| {
            run.ordinary()?.acknowledged(&Request::SetVringErr(1 << 8), &[])
        }),
        acknowledged("SET_MEM_TABLE", |run| {
            let file = file(1 << 16)?;
            let table = MemoryTable { regions: vec![region(0, 1 << 16, 0)] };
            // Slots and tables are not mixed.
            let protocol = ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ;
            run.negotiated(protocol)?.acknowledged(&Request::SetMemTable(table), &[file.as_fd()])
        }),
        acknowledged("ADD_MEM_REG", |run| {
            run.needs(ProtocolFeatures::CONFIGURE_MEM_SLOTS)?;
            let file = file(3 << 12)?;
            run.ordinary()?.acknowledged(&Request::AddMemReg(single(region(0, 3 << 12, 0))), &[file.as_fd()])
        }),
        acknowledged("REM_MEM_REG", |run| {
            run.needs(ProtocolFeatures::CONFIGURE_MEM_SLOTS)?;
            let file = file(5 << 12)?;
            let one = single(region(0, 5 << 12, 0));
            let peer = run.ordinary()?;
            peer.acknowledged(&Request::AddMemReg(one), &[file.as_fd()])?;
            peer.acknowledged(&Request::RemMemReg(one), &[])
        }),
        acknowledged("SET_BACKEND_REQ_FD", |run| {
            run.needs(ProtocolFeatures::BACKEND_REQ)?;
            let (_ours, its) = std::os::unix::net::UnixStream::pair()?;
            run.ordinary()?.acknowledged(&Request::SetBackendReqFd, &[its.as_fd()])
        }),
        Check::new(
            "acknowledgements.not-negotiated",
            Level::Robust,
            ACK,
            "nothing is acknowledged where that was not negotiated",
            |run| {
                let peer = run.negotiated(ProtocolFeatures::MQ)?;
                let request = Request::SetVringBase(VringState { index: 0, num: 0 });
                match peer.reaction(&message(request.number(), NEED_REPLY, &payload(&request)), &[])? {
                    Reaction::Silent => Ok(()),
                    other => failed(other.in_words()),
                }
            },
        ),
        Check::new(
            "acknowledgements.not-asked",
            Level::Must,
            ACK,
            "nothing is acknowledged that did not ask for it",
            |run| {
                run.needs(ProtocolFeatures::REPLY_ACK)?;
                let request = Request::SetVringBase(VringState { index: 0, num: 0 });
                match run.ordinary()?.reaction(&message(request.number(), PLAIN, &payload(&request)), &[])? {
                    Reaction::Silent => Ok(()),
                    other => failed(other.in_words()),
                }
            },
        ),
        Check::new(
            "acknowledgements.own-answer",
            Level::Must,
            ACK,
            "a request that has an answer is not acknowledged beside it",
            |run| {
                run.needs(ProtocolFeatures::REPLY_ACK)?;
                let peer = run.ordinary()?;
                peer.send(&Request::GetFeatures, NEED_REPLY, &[])?;
                // What its flags are is another check's.
                peer.receive()?;
                // A second answer would come now, and say that all is well.
                match peer.number(&Request::GetFeatures)? {
                    0 => failed("an acknowledgement came too"),
                    _ => Ok(()),
                }
            },
        ),
        Check::new(
            "acknowledgements.config",
            Level::Must,
            ACK,
            "a write to configuration space that must not be is refused by an acknowledgement",
            |run| {
                run.needs(ProtocolFeatures::CONFIG | ProtocolFeatures::REPLY_ACK)?;
                let far = Request::SetConfig(Config { offset: 1 << 20, size: 1, flags: 0, bytes: vec![0] });
                run.ordinary()?.rejects(&message(far.number(), NEED_REPLY, &payload(&far)), &[], true)
            },
        ),
    ]);
    all
}

fn acknowledged(name: &str, run: impl Fn(&mut Run<'_>) -> Outcome + Send + 'static) -> Check {
    let request = name.split('.').next().unwrap_or(name);
    let title = match name.contains('.') {
        true => format!("{request} without a descriptor is acknowledged"),
        false => format!("{request} is acknowledged"),
    };
    Check::new(format!("acknowledgements.{name}"), Level::Must, ACK, title, move |it| {
        it.needs(ProtocolFeatures::REPLY_ACK)?;
        run(it)
    })
}

//! Kicks, calls and errors that are messages.

use super::channel::heard;
use super::session::ORDINARY;
use super::work::{Work, served};
use super::{Check, Level, Outcome, Run, Trouble, failed};
use crate::ProtocolFeatures;
use crate::back::Request as Asks;
use crate::front::Request;
use crate::frontend::Channel;
use crate::payload::VringState;
use virtio::Segment;
use virtio::features::Features;

const IN_BAND: &str = "vhost-user: In-band notifications";

/// No descriptor comes with it.
const NONE: u64 = 1 << 8;

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "state.in-band.kick",
            Level::Must,
            IN_BAND,
            "a ring starts with a kick that is a message, and is served upon the next",
            |run| {
                let (mut work, _channel) = told(run)?;
                work.place()?;
                for _ in 0..2 {
                    work.offer()?;
                    work.queue.ring.publish();
                    for index in 0..=work.queue.index() {
                        work.call(&Request::VringKick(VringState { index, num: 0 }), &[])?;
                    }
                    work.ended()?;
                }
                Ok(())
            },
        ),
        Check::new(
            "state.in-band.call",
            Level::Must,
            IN_BAND,
            "a ring without a descriptor for calls is told of on the channel",
            |run| {
                let (mut work, mut channel) = told(run)?;
                let index = work.queue.index();
                work.attach()?;
                work.call(&Request::SetVringCall(u64::from(index) | NONE), &[])?;
                work.offer()?;
                work.queue.submit()?;
                says(run, &mut channel, |asked| matches!(asked, Asks::VringCall(it) if it.index == index))?;
                work.ended()
            },
        ),
        Check::new(
            "state.in-band.error",
            Level::Should,
            IN_BAND,
            "a ring that is broken, and has no descriptor for errors, is told of on the channel",
            |run| {
                let (mut work, mut channel) = told(run)?;
                let index = work.queue.index();
                work.attach()?;
                work.call(&Request::SetVringErr(u64::from(index) | NONE), &[])?;
                work.once()?;
                // Where no memory is.
                let nowhere = [Segment { address: 16, length: 16 }];
                work.queue.ring.add(&nowhere, &[]).map_err(|error| Trouble::Failed(error.to_string()))?;
                work.queue.submit()?;
                says(run, &mut channel, |asked| matches!(asked, Asks::VringErr(it) if it.index == index))
            },
        ),
    ]
}

/// Queues of which nothing was told, and the channel.
fn told(run: &mut Run<'_>) -> Result<(Work, Channel), Trouble> {
    const NEEDED: ProtocolFeatures = ProtocolFeatures::INBAND_NOTIFICATIONS
        .union(ProtocolFeatures::BACKEND_REQ)
        .union(ProtocolFeatures::REPLY_ACK);
    run.needs(NEEDED)?;
    let kind = served(run)?;
    let front = run.front_with(Features::empty(), ORDINARY | NEEDED)?;
    let mut work = Work::laid_out_on(run, front, kind)?;
    let channel = work.front.open_channel()?;
    Ok((work, channel))
}

/// It says this before long.
fn says(run: &Run<'_>, channel: &mut Channel, is_it: impl Fn(&Asks) -> bool) -> Outcome {
    let time = run.patience.time();
    while let Some(asked) = heard(channel, time)? {
        if is_it(&asked.request) {
            return Ok(());
        }
    }
    failed("nothing is said of it")
}

//! Status, reset, logs, inflight regions, device state and the back-end's own channel.

use super::peer::{PLAIN, Peer, message, payload};
use super::session::file;
use super::work::Work;
use super::{Check, Level, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::frontend::{CallError, Direction};
use crate::payload::{DeviceState, Log};
use crate::wire::Message as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::pread;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use virtio::features::Features;

const STATUS: &str = "vhost-user: VHOST_USER_SET_STATUS, VHOST_USER_GET_STATUS";
const RESET: &str = "vhost-user: VHOST_USER_RESET_DEVICE";
const LOG: &str = "vhost-user: Migration";
const STATE: &str = "vhost-user: Migrating back-end state";
const CHANNEL: &str = "vhost-user: Back-end communication";

pub(super) fn checks() -> Vec<Check> {
    let mut all = vec![
        Check::new("state.status.begin", Level::Must, STATUS, "the status is 0 at first", |run| {
            status(run)?;
            match run.front(Features::empty())?.status()? {
                0 => Ok(()),
                other => failed(format!("it is {other:#x}")),
            }
        }),
        Check::new("state.status.set", Level::Must, STATUS, "the status is what was set", |run| {
            status(run)?;
            let mut front = run.front(Features::empty())?;
            for wanted in [1, 3, 0xb, 0xf] {
                front.set_status(wanted)?;
                let status = front.status()?;
                if status != wanted {
                    return failed(format!("{wanted:#x} was set, and it is {status:#x}"));
                }
            }
            Ok(())
        }),
        Check::new(
            "state.status.zero",
            Level::Must,
            STATUS,
            "setting the status to 0 resets the device, and not the session",
            |run| {
                status(run)?;
                let mut front = run.front(Features::empty())?;
                front.set_status(0xf)?;
                front.set_status(0)?;
                match front.status()? {
                    0 => Ok(()),
                    other => failed(format!("it is {other:#x}")),
                }
            },
        ),
        Check::new(
            "state.status.stop",
            Level::Must,
            STATUS,
            "a ring says where it stopped though the status was set to 0 before, as QEMU does it",
            |run| {
                status(run)?;
                let mut work = Work::start(run)?;
                work.batch(5)?;
                work.front.set_status(0)?;
                match work.front.stop_queue(work.queue.index())? {
                    5 => Ok(()),
                    other => failed(format!("after 5 requests it stopped at {other}")),
                }
            },
        ),
        Check::new(
            "state.reset.session",
            Level::Must,
            RESET,
            "a device that was reset keeps its session",
            |run| {
                run.needs(ProtocolFeatures::RESET_DEVICE)?;
                let peer = run.ordinary()?;
                peer.send(&Request::ResetDevice, PLAIN, &[])?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "state.reset.rings",
            Level::Must,
            RESET,
            "rings can be started anew after a reset",
            |run| {
                run.needs(ProtocolFeatures::RESET_DEVICE)?;
                let mut work = Work::start(run)?;
                work.once()?;
                work.front.reset()?;
                let index = work.queue.index();
                let mut more = crate::memory::Memory::new(1 << 18)?;
                work.front.add_memory(&more)?;
                let queue = work.front.start_queue(index, super::work::SIZE, &mut more)?;
                work.queue = queue;
                work.once()
            },
        ),
        Check::new("state.log.taken", Level::Must, LOG, "a dirty log is taken, and answered", |run| {
            log(run)?;
            let file = file(1 << 20)?;
            let peer = run.ordinary()?;
            let answer =
                peer.ask(&Request::SetLogBase(Log { size: 1 << 20, offset: 0 }), PLAIN, &[file.as_fd()])?;
            if answer.descriptors.is_empty() { Ok(()) } else { failed("a descriptor came with the answer") }
        }),
        Check::new(
            "state.log.again",
            Level::Must,
            LOG,
            "a dirty log takes the place of the one before",
            |run| {
                log(run)?;
                if run.writes() {
                    return logged_anew(run);
                }
                let file = file(1 << 20)?;
                let peer = run.ordinary()?;
                for size in [1 << 16, 1 << 20, 1 << 12] {
                    peer.ask(&Request::SetLogBase(Log { size, offset: 0 }), PLAIN, &[file.as_fd()])?;
                }
                Ok(())
            },
        ),
        Check::new(
            "state.log.short",
            Level::Robust,
            LOG,
            "the back-end survives a dirty log that is longer than its file",
            |run| {
                log(run)?;
                let file = file(4096)?;
                let request = Request::SetLogBase(Log { size: 1 << 30, offset: 1 << 40 });
                run.ordinary()?
                    .reaction(&message(request.number(), PLAIN, &payload(&request)), &[file.as_fd()])
                    .map(drop)
            },
        ),
        Check::new(
            "state.log.data",
            Level::Must,
            LOG,
            "pages that the device writes are in the log, and others are not",
            logged,
        ),
        Check::new(
            "state.log.used",
            Level::Must,
            LOG,
            "what the device writes of a ring is in the log where that is asked for",
            |run| run.builds_upon("state.log.data", logged_used),
        ),
        Check::new(
            "state.device.save",
            Level::Must,
            STATE,
            "the state of a device that is stopped goes through the pipe, and succeeds",
            |run| {
                run.needs(ProtocolFeatures::DEVICE_STATE)?;
                saved(run).map(drop)
            },
        ),
        Check::new("state.device.load", Level::Must, STATE, "what was saved is loaded", |run| {
            run.needs(ProtocolFeatures::DEVICE_STATE)?;
            let state = run.builds_upon("state.device.save", saved)?;
            let mut front = run.front(Features::empty())?;
            let (reads, writes) = rustix::pipe::pipe().map_err(std::io::Error::from)?;
            let end = front.transfer(Direction::Load, reads)?.unwrap_or(writes);
            poured(end, &state, run.options.timeout)?;
            front.transferred().map_err(Into::into)
        }),
        Check::new(
            "state.device.nothing",
            Level::Must,
            STATE,
            "without a transfer there is none that succeeded",
            |run| {
                run.needs(ProtocolFeatures::DEVICE_STATE)?;
                match run.front(Features::empty())?.transferred() {
                    Err(CallError::Refused { .. }) => Ok(()),
                    Ok(()) => failed("it says that it succeeded"),
                    Err(other) => Err(other.into()),
                }
            },
        ),
        Check::new(
            "state.device.phase",
            Level::Robust,
            STATE,
            "a phase that there is not is refused",
            |run| {
                run.needs(ProtocolFeatures::DEVICE_STATE)?;
                let (_reads, writes) = rustix::pipe::pipe().map_err(std::io::Error::from)?;
                let peer = run.ordinary()?;
                peer.send(
                    &Request::SetDeviceStateFd(DeviceState { direction: 0, phase: 7 }),
                    PLAIN,
                    &[writes.as_fd()],
                )?;
                match peer.receive()? {
                    None => Ok(()),
                    Some(answer) if answer.u64().is_some_and(|code| code & 0xff != 0) => Ok(()),
                    Some(_) => failed("it began"),
                }
            },
        ),
        Check::new(
            "state.channel.open",
            Level::Must,
            CHANNEL,
            "a channel of its own is taken, and requests are served",
            |run| {
                let (peer, _channel) = with_channel(run)?;
                peer.number(&Request::GetFeatures).map(drop)
            },
        ),
        Check::new(
            "state.channel.closed",
            Level::Robust,
            CHANNEL,
            "a channel that is closed does not end the session",
            |run| {
                let (peer, channel) = with_channel(run)?;
                drop(channel);
                (0..3).try_for_each(|_| peer.number(&Request::GetFeatures).map(drop))
            },
        ),
        Check::new(
            "state.channel.again",
            Level::Robust,
            CHANNEL,
            "a channel takes the place of the one before",
            |run| {
                let (peer, first) = with_channel(run)?;
                let (second, its) = UnixStream::pair()?;
                peer.send(&Request::SetBackendReqFd, PLAIN, &[its.as_fd()])?;
                drop(its);
                peer.number(&Request::GetFeatures)?;
                if !has_ended(&first, run.options.timeout)? {
                    return failed("the first one is open still");
                }
                if has_ended(&second, Duration::ZERO)? { failed("the second one is closed") } else { Ok(()) }
            },
        ),
    ];
    all.push(Check::new(
        "state.status.wide",
        Level::Robust,
        STATUS,
        "the back-end survives a status of more than 8 bits",
        |run| {
            status(run)?;
            let request = Request::SetStatus(1 << 16 | 0xf);
            run.ordinary()?.reaction(&message(request.number(), PLAIN, &payload(&request)), &[]).map(drop)
        },
    ));
    all
}

/// A session whose back-end has a channel of its own, and our end of that.
fn with_channel(run: &mut Run<'_>) -> Result<(Peer, UnixStream), Trouble> {
    run.needs(ProtocolFeatures::BACKEND_REQ)?;
    let peer = run.ordinary()?;
    let (ours, its) = UnixStream::pair()?;
    peer.send(&Request::SetBackendReqFd, PLAIN, &[its.as_fd()])?;
    Ok((peer, ours))
}

/// Whether the other end of a channel is closed, or will be before long.
fn has_ended(channel: &UnixStream, time: Duration) -> Result<bool, Trouble> {
    let mut all = [PollFd::new(channel, PollFlags::RDHUP)];
    let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 2, tv_nsec: 0 });
    Ok(poll(&mut all, Some(&time)).map_err(std::io::Error::from)? > 0)
}

fn status(run: &Run<'_>) -> Outcome {
    run.needs(ProtocolFeatures::STATUS)
}

fn log(run: &Run<'_>) -> Outcome {
    run.needs(ProtocolFeatures::LOG_SHMFD)?;
    run.needs_features(Features::LOG_ALL)
}

/// A dirty log of all memory of a session.
struct Logged {
    file: OwnedFd,
    /// The pages of that memory.
    pages: std::ops::Range<u64>,
}

impl Logged {
    /// It is given to the back-end, in the place of any other.
    fn set(work: &mut Work) -> Result<Self, Trouble> {
        let region = work.memory.region();
        let first = region.address / 4096;
        let pages = first..first + region.memory.len() as u64 / 4096;
        // A bit for each page up to the last of the memory: a file with a hole.
        let bytes = (pages.end / 8 + 1).next_multiple_of(4096);
        let file = file(bytes)?;
        work.front.set_log(file.as_fd(), bytes)?;
        Ok(Self { file, pages })
    }

    /// Whether the page of an address is in it.
    fn has(&self, address: u64) -> Result<bool, Trouble> {
        let page = address / 4096;
        let mut byte = [0];
        pread(&self.file, &mut byte, page / 8).map_err(std::io::Error::from)?;
        Ok(byte[0] & 1 << (page % 8) != 0)
    }

    /// How many pages are in it.
    fn count(&self) -> Result<usize, Trouble> {
        let first = self.pages.start / 8;
        let mut bits = vec![0; (self.pages.end / 8 - first + 1) as usize];
        pread(&self.file, &mut bits, first).map_err(std::io::Error::from)?;
        let is_dirty = |page: &u64| {
            bits.get((page / 8 - first) as usize).is_some_and(|byte| byte & 1 << (page % 8) != 0)
        };
        Ok(self.pages.clone().filter(is_dirty).count())
    }
}

fn logged(run: &mut Run<'_>) -> Outcome {
    log(run)?;
    if !run.writes() {
        return not_applicable("it is not known to be a device that writes");
    }
    let mut work = Work::start(run)?;
    work.once()?;
    let logged = Logged::set(&mut work)?;
    let features = work.front.negotiated().features;
    work.front.set_features(features | Features::LOG_ALL)?;
    work.once()?;
    match logged.count()? {
        0 => failed("no page is in the log"),
        // The data and its status, and the used ring.
        1..=8 => Ok(()),
        many => failed(format!("{many} pages are in the log, and one was written")),
    }
}

/// The used entries of a ring lie in a page that no request writes.
fn logged_used(run: &mut Run<'_>) -> Outcome {
    log(run)?;
    let mut work = Work::start(run)?;
    let logged = Logged::set(&mut work)?;
    let features = work.front.negotiated().features;
    work.front.set_features(features | Features::LOG_ALL)?;
    work.front.log_queue(&work.queue)?;
    work.once()?;
    // It may be written down behind the call.
    work.call(&Request::GetFeatures, &[])?;
    match logged.has(work.queue.address().used)? {
        true => Ok(()),
        false => failed("the page of the used entries is not in the log"),
    }
}

/// What is written once there is another log is in that one, and in it alone.
fn logged_anew(run: &mut Run<'_>) -> Outcome {
    let mut work = Work::start(run)?;
    let first = Logged::set(&mut work)?;
    let features = work.front.negotiated().features;
    work.front.set_features(features | Features::LOG_ALL)?;
    let second = Logged::set(&mut work)?;
    work.once()?;
    match (first.count()?, second.count()?) {
        (0, 1..) => Ok(()),
        (_, 0) => failed("no page is in the second log"),
        (many, _) => failed(format!("{many} pages are in the first log after the second came")),
    }
}

fn saved(run: &mut Run<'_>) -> Result<Vec<u8>, Trouble> {
    let mut front = run.front(Features::empty())?;
    let (reads, writes) = rustix::pipe::pipe().map_err(std::io::Error::from)?;
    let end = front.transfer(Direction::Save, writes)?.unwrap_or(reads);
    let state = drawn(end, run.options.timeout)?;
    front.transferred()?;
    Ok(state)
}

/// Waits until a pipe is ready, so long at most.
fn ready(pipe: &OwnedFd, what: PollFlags, time: Duration) -> Outcome {
    let mut all = [PollFd::new(pipe, what)];
    let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 2, tv_nsec: 0 });
    match poll(&mut all, Some(&time)).map_err(std::io::Error::from)? {
        0 => failed("the pipe of its state stands still"),
        _ => Ok(()),
    }
}

/// All that comes out of a pipe.
fn drawn(pipe: OwnedFd, time: Duration) -> Result<Vec<u8>, Trouble> {
    const MOST: usize = 64 << 20;
    let mut state = Vec::new();
    let mut buffer = [0; 1 << 16];
    while state.len() < MOST {
        ready(&pipe, PollFlags::IN, time)?;
        match rustix::io::read(&pipe, &mut buffer).map_err(std::io::Error::from)? {
            0 => return Ok(state),
            count => state.extend_from_slice(&buffer[..count]),
        }
    }
    failed("its state has no end")
}

/// Lets all of it into a pipe, and closes it.
fn poured(pipe: OwnedFd, state: &[u8], time: Duration) -> Outcome {
    let flags = fcntl_getfl(&pipe).map_err(std::io::Error::from)?;
    fcntl_setfl(&pipe, flags | OFlags::NONBLOCK).map_err(std::io::Error::from)?;
    let mut left = state;
    while !left.is_empty() {
        ready(&pipe, PollFlags::OUT, time)?;
        match rustix::io::write(&pipe, left) {
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
    Ok(())
}

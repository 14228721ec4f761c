//! Requests through real rings, and what they cost.

use crate::target::{Clock, Target};
use crate::{Failure, Of};
use clap::Args;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::check::{Backend as _, Kind};
use vhost_user::clock::processor;
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use vhost_user::with_causes;
use virtio::Segment;
use virtio::blk::{Config, Requests};
use virtio::features::Features;
use virtio::post::{Inbox, Outbox};

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    of: Of,
    /// blk: random reads; net: frames that are sent; rng: bytes that are taken.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Kind,
    /// Requests under way at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    depth: u16,
    /// Bytes of a request.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(64..=65536))]
    size: u32,
    /// How long.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// A packed ring.
    #[arg(long)]
    packed: bool,
    /// Look again and again instead of waiting to be called.
    #[arg(long)]
    polled: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A queue under load.
struct Load {
    front: FrontEnd,
    queue: Queue,
    _others: Vec<Queue>,
    memory: Memory,
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::BackEnd(vhost_user::with_causes(&error))
}

fn connect(arguments: &Bench) -> Result<(Load, Target), Failure> {
    let mut target = arguments.of.target()?;
    let stream = target.connect().map_err(Failure::Unreachable)?;
    let mut front = FrontEnd::new(stream, arguments.of.timeout()?)?;
    let packed = if arguments.packed { Features::RING_PACKED } else { Features::empty() };
    let protocol = ProtocolFeatures::MQ
        | ProtocolFeatures::REPLY_ACK
        | ProtocolFeatures::CONFIG
        | ProtocolFeatures::CONFIGURE_MEM_SLOTS;
    front
        .negotiate(Wanted { features: Features::EVENT_IDX, required: Features::VERSION_1 | packed, protocol })
        .map_err(failed)?;
    let room = usize::from(arguments.depth) * (arguments.size as usize + 4096);
    let mut memory = Memory::new((1 << 20) + room)?;
    front.add_memory(&memory).map_err(failed)?;
    let index = match arguments.kind {
        Kind::Blk | Kind::Rng => 0,
        Kind::Net => 1,
        other => return Err(Failure::Misused(format!("{other} is not measured: blk, net, rng are"))),
    };
    let entries = if arguments.kind == Kind::Blk { 4 } else { 1 };
    let size = (arguments.depth * entries).next_power_of_two();
    let mut others = Vec::new();
    for before in 0..index {
        others.push(front.start_queue(before, size, &mut memory).map_err(failed)?);
    }
    let queue = front.start_queue(index, size, &mut memory).map_err(failed)?;
    Ok((Load { front, queue, _others: others, memory }, target))
}

pub(crate) fn bench(arguments: &Bench) -> Result<ExitCode, Failure> {
    let time = Duration::try_from_secs_f64(arguments.seconds)
        .map_err(|_| Failure::Misused(format!("--seconds {}: no time", arguments.seconds)))?;
    let (mut load, _target) = connect(arguments)?;
    let (wall, cpu) = (Clock::start(), processor());
    let count = match arguments.kind {
        Kind::Blk => reads(&mut load, arguments, &wall, time)?,
        Kind::Net => frames(&mut load, arguments, &wall, time)?,
        _ => random(&mut load, arguments, &wall, time)?,
    };
    let (wall, cpu) = (wall.elapsed(), processor().saturating_sub(cpu));
    if count == 0 {
        return Err(Failure::BackEnd("no request is served".to_owned()));
    }
    let rate = count as f64 / wall.as_secs_f64();
    let each = cpu.as_nanos() as f64 / count as f64;
    // As many are under way all the time (Little's law).
    let latency = f64::from(arguments.depth) * wall.as_secs_f64() * 1e6 / count as f64;
    let Bench { kind, depth, size, packed, polled, .. } = arguments;
    let text = if arguments.json {
        let value = serde_json::json!({
            "type": kind.to_string(), "depth": depth, "size": size, "packed": packed, "polled": polled,
            "requests": count, "seconds": wall.as_secs_f64(), "per_second": rate,
            "latency_us": latency, "cpu_ns_per_request": each,
        });
        format!("{value:#}\n")
    } else {
        let ring = if *packed { "packed" } else { "split" };
        let mode = if *polled { "polled" } else { "called" };
        format!(
            "{kind}, {size} bytes, {depth} at once, {ring} ring, {mode}: {rate:.0} requests/s, each under way for {latency:.1} us on average, \
             {each:.0} ns of processor time of the front-end for each\n"
        )
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Requests that have ended since the last look at the clock, which is no cheaper than a request.
const LOOK: u64 = 256;

fn wait(queue: &mut Queue, arguments: &Bench) -> Result<(), Failure> {
    if arguments.polled {
        std::hint::spin_loop();
        return Ok(());
    }
    match queue.wait(arguments.of.timeout()?) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::BackEnd("a request is not served".to_owned())),
        Err(error) => Err(Failure::BackEnd(with_causes(&error))),
    }
}

fn reads(load: &mut Load, arguments: &Bench, clock: &Clock, time: Duration) -> Result<u64, Failure> {
    let Load { front, queue, memory, .. } = load;
    let config = front.config(0, Config::BYTES as u32).or_else(|_| front.config(0, 8)).map_err(failed)?;
    let sectors = u64::from(arguments.size.div_ceil(512));
    let blocks = Config::parse(&config).capacity / sectors;
    if blocks == 0 {
        return Err(Failure::Other("the disk is smaller than a request".to_owned()));
    }
    let part = |memory: &mut Memory, bytes| {
        memory.part(bytes, 4096).ok_or_else(|| Failure::Other("no memory is left".to_owned()))
    };
    let slots = part(memory, Requests::bytes(queue.ring.size()))?;
    let address = slots.host_address();
    let mut requests = Requests::new(queue.ring.size(), slots, address)
        .ok_or_else(|| Failure::Other("no memory is left".to_owned()))?;
    let length = sectors as u32 * 512;
    let data = part(memory, usize::from(arguments.depth) * length as usize)?.host_address();
    let mut places = seeded::Random::new(1);
    let mut add = |requests: &mut Requests, queue: &mut Queue, tag: u64| {
        let sector = places.below(blocks) * sectors;
        let segment = [Segment { address: data + tag * u64::from(length), length }];
        requests.read(&mut queue.ring, sector, &segment, tag).map_err(failed)
    };
    for tag in 0..arguments.depth {
        add(&mut requests, queue, tag.into())?;
    }
    queue.submit()?;
    let mut count = 0;
    loop {
        let mut some = false;
        while let Some(done) = requests.reap(&mut queue.ring).map_err(failed)? {
            done.result.map_err(failed)?;
            add(&mut requests, queue, done.tag)?;
            some = true;
            count += 1;
            if count % LOOK == 0 && clock.elapsed() > time {
                return Ok(count);
            }
        }
        if some {
            queue.submit()?
        } else {
            wait(queue, arguments)?
        }
        if clock.elapsed() > time {
            return Ok(count);
        }
    }
}

fn frames(load: &mut Load, arguments: &Bench, clock: &Clock, time: Duration) -> Result<u64, Failure> {
    let Load { queue, memory, .. } = load;
    let each = arguments.size + 12;
    let part = memory.part(usize::from(arguments.depth) * each as usize, 4096);
    let part = part.ok_or_else(|| Failure::Other("no memory is left".to_owned()))?;
    let address = part.host_address();
    let mut outbox = Outbox::new(queue.ring.size(), each, part, address)
        .ok_or_else(|| Failure::Other("no memory is left".to_owned()))?;
    let mut frame = vec![0; each as usize];
    frame[12..26].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    let mut count = 0;
    while clock.elapsed() < time {
        while outbox.send(&mut queue.ring, &[&frame]).is_ok() {}
        queue.submit()?;
        match outbox.taken(&mut queue.ring).map_err(failed)? {
            0 => wait(queue, arguments)?,
            some => count += some as u64,
        }
    }
    Ok(count)
}

fn random(load: &mut Load, arguments: &Bench, clock: &Clock, time: Duration) -> Result<u64, Failure> {
    let Load { queue, memory, .. } = load;
    let part = memory.part(usize::from(arguments.depth) * arguments.size as usize, 4096);
    let part = part.ok_or_else(|| Failure::Other("no memory is left".to_owned()))?;
    let address = part.host_address();
    let mut inbox = Inbox::new(queue.ring.size(), arguments.size, part, address)
        .ok_or_else(|| Failure::Other("no memory is left".to_owned()))?;
    let mut count = 0;
    while clock.elapsed() < time {
        inbox.offer(&mut queue.ring).map_err(failed)?;
        queue.submit()?;
        let mut some = false;
        while let Some(letter) = inbox.next(&mut queue.ring).map_err(failed)? {
            inbox.offer_again(letter);
            (some, count) = (true, count + 1);
        }
        if !some {
            wait(queue, arguments)?;
        }
    }
    Ok(count)
}

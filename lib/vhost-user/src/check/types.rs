//! Whether a device is of the type that it is said to be: what it offers can be that of such a device.
//!
//! Bits and configuration space mean something else for each type, so that much of what one type offers makes no sense for another. What can
//! be judged by what a back-end says is judged by functions of that alone, for the checks and for whoever only asks ([`doubts`]).

use super::peer::{PLAIN, Peer};
use super::{Check, Kind, Level, Offer, Outcome, Run, Trouble, failed, not_applicable};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::Config;
use virtio::{balloon, blk, console, fs, net};

fn has(offer: &Offer, feature: u64) -> bool {
    offer.features.bits() & feature != 0
}

/// Bytes of configuration space; what is missing is 0, and another's finding.
fn part<const N: usize>(offer: &Offer, at: usize) -> [u8; N] {
    let config = offer.config.as_deref().unwrap_or_default();
    config.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// What is asked of one aspect, of devices of a type.
struct Aspect {
    name: &'static str,
    level: Level,
    section: &'static str,
    title: &'static str,
    reads: Reads,
    judge: fn(&Offer) -> Result<(), String>,
}

/// What a check of it asks the back-end for, beside what is known already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Features,
    Configuration,
    Queues,
}

const fn must(
    name: &'static str,
    section: &'static str,
    title: &'static str,
    reads: Reads,
    judge: fn(&Offer) -> Result<(), String>,
) -> Aspect {
    Aspect { name, level: Level::Must, section, title, reads, judge }
}

const fn should(
    name: &'static str,
    section: &'static str,
    title: &'static str,
    reads: Reads,
    judge: fn(&Offer) -> Result<(), String>,
) -> Aspect {
    Aspect { name, level: Level::Should, section, title, reads, judge }
}

/// What is asked of a type besides its bits and the length of its configuration space.
fn aspects(kind: Kind) -> &'static [Aspect] {
    match kind {
        Kind::Net => &NET,
        Kind::Blk => &BLK,
        Kind::Console => &CONSOLE,
        Kind::Balloon => &BALLOON,
        Kind::Fs => &FS,
        Kind::Rng => &[],
    }
}

static NET: [Aspect; 6] = [
    must(
        "requirements",
        "VIRTIO 1.4: 2.2.2, 5.1.3.1",
        "what a feature of networks needs is offered with it",
        Reads::Features,
        |it| unmet(it, &NEEDS),
    ),
    must(
        "configuration.pairs",
        "VIRTIO 1.4: 5.1.4.1",
        "a network with several pairs of queues has between 1 and 32,768 of them",
        Reads::Configuration,
        |it| match u16::from_le_bytes(part(it, 8)) {
            1..=0x8000 => Ok(()),
            _ if !has(it, PAIRS) => Ok(()),
            other => Err(format!("it has {other} pairs of queues")),
        },
    ),
    must(
        "configuration.mtu",
        "VIRTIO 1.4: 5.1.4.1",
        "the largest frame of a network has 68 bytes at least",
        Reads::Configuration,
        |it| match u16::from_le_bytes(part(it, 10)) {
            mtu @ 0..68 if has(it, net::Features::MTU.bits()) => Err(format!("its MTU is {mtu}")),
            _ => Ok(()),
        },
    ),
    should(
        "configuration.status",
        "VIRTIO 1.4: 5.1.4",
        "the status of a network's link has two bits",
        Reads::Configuration,
        |it| match u16::from_le_bytes(part(it, 6)) {
            status @ 4.. if has(it, net::Features::STATUS.bits()) => {
                Err(format!("the status of its link is {status:#x}"))
            }
            _ => Ok(()),
        },
    ),
    must(
        "configuration.speed",
        "VIRTIO 1.4: 5.1.4.1",
        "the speed of a network's link is a number or unknown, its duplex half, full, or unknown",
        Reads::Configuration,
        |it| {
            let (speed, [duplex]) = (u32::from_le_bytes(part(it, 12)), part(it, 16));
            let is_one = (speed <= i32::MAX as u32 || speed == u32::MAX) && matches!(duplex, 0 | 1 | 0xff);
            match has(it, net::Features::SPEED_DUPLEX.bits()) && !is_one {
                true => Err(format!("its speed is {speed:#x}, its duplex {duplex:#x}")),
                false => Ok(()),
            }
        },
    ),
    should(
        "configuration.valid",
        "VIRTIO 1.4: 5.1.4",
        "something of a network's configuration space is said to be valid, where it is the back-end's",
        Reads::Features,
        |it| {
            let of_it = net::Features::MAC | net::Features::STATUS | net::Features::MQ;
            let of_it = of_it | net::Features::MTU | net::Features::SPEED_DUPLEX;
            says_something(it, of_it.bits() | HASHES)
        },
    ),
];

static BLK: [Aspect; 3] = [
    should(
        "configuration.offered",
        "VIRTIO 1.4: 5.2.4; vhost-user: VHOST_USER_GET_CONFIG",
        "the back-end, which alone knows how large its disk is, has its configuration space (CONFIG)",
        Reads::Features,
        offered,
    ),
    must(
        "configuration.flags",
        "VIRTIO 1.4: 5.2.4, 5.2.5",
        "what is yes or no in a disk's configuration space is one of both",
        Reads::Configuration,
        |it| {
            let flags = [
                ("writeback", 32, blk::Features::CONFIG_WCE),
                ("write_zeroes_may_unmap", 56, blk::Features::WRITE_ZEROES),
            ];
            flags.into_iter().try_for_each(|(name, at, feature)| match part(it, at) {
                [flag] if flag > 1 && has(it, feature.bits()) => Err(format!("{name} is {flag}")),
                _ => Ok(()),
            })
        },
    ),
    should(
        "configuration.sizes",
        "VIRTIO 1.4: 5.2.4",
        "a disk's blocks have a power of two of bytes from 512 on, and what has a limit may be more than nothing",
        Reads::Configuration,
        |it| {
            let config = blk::Config::parse(it.config.as_deref().unwrap_or_default());
            let block = config.block_size;
            if has(it, blk::Features::BLK_SIZE.bits()) && !(block.is_power_of_two() && block >= 512) {
                return Err(format!("its blocks have {block} bytes"));
            }
            // Not size_max: that of the storage daemon of QEMU is 0, which its front-ends take for none.
            let limits = [
                ("seg_max", config.seg_max, blk::Features::SEG_MAX),
                ("num_queues", config.queues.into(), blk::Features::MQ),
                ("max_discard_sectors", config.discard_sectors, blk::Features::DISCARD),
                ("max_discard_seg", config.discard_segments, blk::Features::DISCARD),
                ("max_write_zeroes_sectors", config.zeroes_sectors, blk::Features::WRITE_ZEROES),
                ("max_write_zeroes_seg", config.zeroes_segments, blk::Features::WRITE_ZEROES),
            ];
            limits.into_iter().try_for_each(|(name, limit, feature)| match limit {
                0 if has(it, feature.bits()) => Err(format!("{name} is 0")),
                _ => Ok(()),
            })
        },
    ),
];

static CONSOLE: [Aspect; 3] = [
    should(
        "configuration.valid",
        "VIRTIO 1.4: 5.3.4",
        "something of a console's configuration space is said to be valid, where it is the back-end's",
        Reads::Features,
        |it| says_something(it, console::Features::all().bits()),
    ),
    must(
        "queues",
        "VIRTIO 1.4: 5.3.2",
        "a console has a queue for what comes in and one for what goes out, and two more with ports",
        Reads::Queues,
        |it| at_least(it, if has(it, console::Features::MULTIPORT.bits()) { 4 } else { 2 }),
    ),
    should(
        "configuration.ports",
        "VIRTIO 1.4: 5.3.4",
        "a console with ports has one at least",
        Reads::Configuration,
        |it| match u32::from_le_bytes(part(it, 4)) {
            0 if has(it, console::Features::MULTIPORT.bits()) => Err("it has none".to_owned()),
            _ => Ok(()),
        },
    ),
];

static BALLOON: [Aspect; 2] = [
    must(
        "queues",
        "VIRTIO 1.4: 5.5.2",
        "a balloon has queues to inflate and to deflate, and one for each of statistics, hints and reports that it offers",
        Reads::Queues,
        |it| {
            let features = balloon::Features::from_bits_truncate(it.features.bits());
            at_least(it, balloon::roles(features).count() as u64)
        },
    ),
    should(
        "configuration.offered",
        "VIRTIO 1.4: 5.5.4; vhost-user: VHOST_USER_GET_CONFIG",
        "the back-end, which alone knows how many pages it wants, has its configuration space (CONFIG)",
        Reads::Features,
        offered,
    ),
];

static FS: [Aspect; 3] = [
    must(
        "queues",
        "VIRTIO 1.4: 5.11.2",
        "a file system has a queue of high priority and one for requests, and one more with notifications",
        Reads::Queues,
        |it| at_least(it, if has(it, fs::Features::NOTIFICATION.bits()) { 3 } else { 2 }),
    ),
    must(
        "configuration.queues",
        "VIRTIO 1.4: 5.11.4.2",
        "a file system has one queue for requests at least",
        Reads::Configuration,
        |it| match u32::from_le_bytes(part(it, 36)) {
            0 => Err("it has none".to_owned()),
            _ => Ok(()),
        },
    ),
    must(
        "configuration.tag",
        "VIRTIO 1.4: 5.11.4",
        "the name of a file system is UTF-8, with nothing behind it",
        Reads::Configuration,
        |it| {
            let tag: [u8; 36] = part(it, 0);
            let end = tag.iter().position(|byte| *byte == 0).unwrap_or(tag.len());
            let (name, rest) = tag.split_at(end);
            match std::str::from_utf8(name) {
                Ok(_) if rest.iter().all(|byte| *byte == 0) => Ok(()),
                _ => Err(format!("it is {}", String::from_utf8_lossy(&tag).escape_debug())),
            }
        },
    ),
];

/// What tells how many pairs of queues a network may have, and what tells how it spreads them.
const PAIRS: u64 = net::Features::MQ.union(net::Features::RSS).bits();
const HASHES: u64 = net::Features::RSS.union(net::Features::HASH_REPORT).bits();

/// What each type has of the bits that are a type's own (section 2.2), those of legacy devices among them.
const fn bits_of(kind: Kind) -> u64 {
    match kind {
        // All below 24 but 4, and from 50 on all but 58 (sections 5.1.3 and 5.1.3.2).
        Kind::Net => OF_TYPES & !(1 << 4) & !(1 << 58),
        // Besides those that are known: barriers and commands of SCSI (section 5.2.3.1).
        Kind::Blk => blk::Features::all().bits() | 1 << 0 | 1 << 7,
        Kind::Console => console::Features::all().bits(),
        Kind::Balloon => balloon::Features::all().bits(),
        Kind::Fs => fs::Features::all().bits(),
        Kind::Rng => 0,
    }
}

/// Bits that mean something for a type of device only (section 2.2), and one that legacy networks took (section 5.1.3.2); their other, 41, is
/// every device's today (section 6).
const OF_TYPES: u64 = ((1 << 24) - 1) | (1 << 42) | !((1 << 50) - 1);

fn foreign(kind: Kind, features: u64) -> Result<(), String> {
    let foreign = features & OF_TYPES & !bits_of(kind);
    if foreign == 0 {
        return Ok(());
    }
    let bits: Vec<_> = (0..64).filter(|bit| foreign >> bit & 1 == 1).map(|bit| bit.to_string()).collect();
    let (bit, is) = if bits.len() == 1 { ("bit", "is") } else { ("bits", "are") };
    Err(format!("{bit} {} {is} offered, which mean nothing for a {kind}", bits.join(", ")))
}

/// A feature, and those of which it needs one.
type Need = (net::Features, net::Features);

/// Section 5.1.3.1. The queue of commands is often the front-end's, so that networks offer what needs it and not the queue itself
/// (vhost-user-bridge of QEMU). What it says of congestion is a check of its own: DPDK offers that without segmentation, and is a network all the same.
static NEEDS: [Need; 6] = {
    use net::Features as F;
    [
        (F::GUEST_TSO4, F::GUEST_CSUM),
        (F::GUEST_TSO6, F::GUEST_CSUM),
        (F::GUEST_UFO, F::GUEST_CSUM),
        (F::HOST_TSO4, F::CSUM),
        (F::HOST_TSO6, F::CSUM),
        (F::HOST_UFO, F::CSUM),
    ]
};

static NEEDS_OF_CONGESTION: [Need; 2] = {
    use net::Features as F;
    [(F::GUEST_ECN, F::GUEST_TSO4.union(F::GUEST_TSO6)), (F::HOST_ECN, F::HOST_TSO4.union(F::HOST_TSO6))]
};

fn unmet(it: &Offer, needs: &[Need]) -> Result<(), String> {
    let unmet = needs.iter().find(|(feature, one)| has(it, feature.bits()) && !has(it, one.bits()));
    unmet.map_or(Ok(()), |(feature, one)| {
        let names = |features: &net::Features| {
            features.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" or ")
        };
        let bit = feature.bits().trailing_zeros();
        Err(format!("{} (bit {bit}) is offered, and {}, which it needs, is not", names(feature), names(one)))
    })
}

fn at_least(it: &Offer, least: u64) -> Result<(), String> {
    match it.queues {
        Some(queues) if queues < least => Err(format!("it has {queues} of at least {least}")),
        _ => Ok(()),
    }
}

fn has_configuration(it: &Offer) -> bool {
    it.known().contains(ProtocolFeatures::CONFIG)
}

/// Who speaks of no protocol features at all cannot offer it, which is another's finding.
fn offered(it: &Offer) -> Result<(), String> {
    match it.protocol {
        Some(_) if !has_configuration(it) => Err("CONFIG is not offered".to_owned()),
        _ => Ok(()),
    }
}

/// There is something in configuration space, and one of these says that it means something.
fn says_something(it: &Offer, features: u64) -> Result<(), String> {
    match it.config {
        Some(_) if !has(it, features) => Err("no feature says that any of it means something".to_owned()),
        _ => Ok(()),
    }
}

/// Bytes of configuration space that a device with these features has at least.
fn length(kind: Kind, features: u64) -> usize {
    let ends: &[(u64, usize)] = match kind {
        Kind::Net => &[
            (net::Features::MAC.bits(), 6),
            (net::Features::STATUS.bits(), 8),
            (PAIRS, 10),
            (net::Features::MTU.bits(), 12),
            (net::Features::SPEED_DUPLEX.bits(), 17),
            (HASHES, 24),
        ],
        Kind::Blk => &[
            (!0, 8),
            (blk::Features::SIZE_MAX.bits(), 12),
            (blk::Features::SEG_MAX.bits(), 16),
            (blk::Features::GEOMETRY.bits(), 20),
            (blk::Features::BLK_SIZE.bits(), 24),
            (blk::Features::TOPOLOGY.bits(), 32),
            (blk::Features::CONFIG_WCE.bits(), 33),
            (blk::Features::MQ.bits(), 36),
            (blk::Features::DISCARD.bits(), 48),
            (blk::Features::WRITE_ZEROES.bits(), 57),
            (blk::Features::SECURE_ERASE.bits(), 72),
            (blk::Features::ZONED.bits(), 96),
        ],
        Kind::Console => &[
            (console::Features::SIZE.bits(), 4),
            (console::Features::MULTIPORT.bits(), 8),
            (console::Features::EMERG_WRITE.bits(), 12),
        ],
        Kind::Balloon => &[
            (!0, 8),
            (balloon::Features::FREE_PAGE_HINT.bits(), 12),
            (balloon::Features::PAGE_POISON.bits(), 16),
        ],
        Kind::Fs => &[(!0, 40), (fs::Features::NOTIFICATION.bits(), 44)],
        Kind::Rng => &[],
    };
    let ends = ends.iter().filter(|(feature, _)| *feature == !0 || features & feature != 0);
    ends.map(|(_, end)| *end).max().unwrap_or(0)
}

/// What a back-end offers and a device of this type cannot, in words; empty: it may well be one.
pub fn doubts(kind: Kind, offer: &Offer) -> Vec<String> {
    let features = offer.features.bits();
    let config = offer.config.as_deref();
    let least = length(kind, features);
    let mut all: Vec<_> = foreign(kind, features).err().into_iter().collect();
    let is_short = has_configuration(offer) && config.map_or(0, <[u8]>::len) < least;
    all.extend(is_short.then(|| format!("its configuration space has fewer than {least} bytes")));
    let judged = aspects(kind).iter();
    let judged = judged.filter(|it| it.reads != Reads::Configuration || config.is_some() && !is_short);
    all.extend(judged.filter_map(|it| Some(format!("{} ({})", (it.judge)(offer).err()?, it.title))));
    all
}

pub(super) fn checks(kind: Kind) -> Vec<Check> {
    let (of_features, of_configuration) = match kind {
        Kind::Net => ("VIRTIO 1.4: 2.2.2, 5.1.3", "VIRTIO 1.4: 5.1.4"),
        Kind::Blk => ("VIRTIO 1.4: 2.2.2, 5.2.3", "VIRTIO 1.4: 5.2.4"),
        Kind::Console => ("VIRTIO 1.4: 2.2.2, 5.3.3", "VIRTIO 1.4: 5.3.4"),
        Kind::Rng => ("VIRTIO 1.4: 2.2.2, 5.4.3", "VIRTIO 1.4: 5.4.4"),
        Kind::Balloon => ("VIRTIO 1.4: 2.2.2, 5.5.3", "VIRTIO 1.4: 5.5.4"),
        Kind::Fs => ("VIRTIO 1.4: 2.2.2, 5.11.3", "VIRTIO 1.4: 5.11.4"),
    };
    let mut all = vec![Check::new(
        format!("type.{kind}.features"),
        Level::Must,
        of_features,
        format!("no feature is offered that means nothing for a {kind}"),
        move |run| foreign(kind, run.offer.features.bits()).map_err(Trouble::Failed),
    )];
    if kind != Kind::Rng {
        all.push(Check::new(
            length_of(kind),
            Level::Must,
            of_configuration,
            format!("the configuration space of a {kind} has all that its features speak of"),
            move |run| space(run, kind).map(drop),
        ));
    }
    all.extend(aspects(kind).iter().map(|aspect| {
        let id = format!("type.{kind}.{}", aspect.name);
        Check::new(id, aspect.level, aspect.section, aspect.title, move |run| asked(run, kind, aspect))
    }));
    if kind == Kind::Net {
        all.push(Check::new(
            "net.congestion",
            Level::Must,
            "VIRTIO 1.4: 2.2.2, 5.1.3.1",
            "congestion is told of in segments only where there are segments (ECN needs TSO)",
            |run| unmet(&run.offer, &NEEDS_OF_CONGESTION).map_err(Trouble::Failed),
        ));
    }
    if kind == Kind::Balloon {
        all.push(Check::new(
            "type.balloon.actual",
            Level::Must,
            "VIRTIO 1.4: 5.5.6.1",
            "the driver may say how many pages the balloon has",
            actual,
        ));
    }
    all
}

fn length_of(kind: Kind) -> String {
    format!("type.{kind}.configuration.length")
}

fn asked(run: &mut Run<'_>, kind: Kind, aspect: &Aspect) -> Outcome {
    let mut offer = run.offer.clone();
    match aspect.reads {
        Reads::Configuration => {
            offer.config = Some(run.builds_upon(&length_of(kind), |run| space(run, kind))?);
        }
        Reads::Queues => {
            run.needs(ProtocolFeatures::MQ)?;
            offer.queues = Some(plain(run, ProtocolFeatures::MQ)?.number(&Request::GetQueueNum)?);
        }
        Reads::Features => {}
    }
    (aspect.judge)(&offer).map_err(Trouble::Failed)
}

/// A session with this protocol feature, and nothing besides.
fn plain(run: &mut Run<'_>, feature: ProtocolFeatures) -> Result<Peer, Trouble> {
    run.negotiated(feature | ProtocolFeatures::REPLY_ACK)
}

/// Configuration space, as far as its features say that it goes at least. Some back-ends have one length of it and no other, so that it is asked
/// for in the one in which it was found before, and in those that front-ends know.
fn space(run: &mut Run<'_>, kind: Kind) -> Result<Vec<u8>, Trouble> {
    run.needs(ProtocolFeatures::CONFIG)?;
    let least = length(kind, run.offer.features.bits());
    if least == 0 {
        return not_applicable("no feature speaks of it");
    }
    let found = run.offer.config.as_ref().map(Vec::len);
    let mut asked = Vec::new();
    for length in found.into_iter().chain([least]).chain(lengths(kind).iter().copied()) {
        if length >= least && !asked.contains(&length) {
            asked.push(length);
        }
    }
    for length in asked {
        let peer = plain(run, ProtocolFeatures::CONFIG)?;
        let request = Config { offset: 0, size: length as u32, flags: 0, bytes: vec![0; length] };
        // Closing the connection says no as well, and so does saying nothing.
        let answer = match peer.send(&Request::GetConfig(request), PLAIN, &[]) {
            Ok(true) => peer.receive(),
            other => other.map(|_| None),
        };
        let answer = match answer {
            Err(Trouble::Failed(_)) => None,
            other => other?,
        };
        match answer.and_then(|answer| Some(answer.payload.get(12..)?.to_vec())) {
            Some(bytes) if bytes.len() >= least => return Ok(bytes),
            _ => {}
        }
    }
    failed(format!("it has fewer than {least} bytes"))
}

/// Lengths of it that front-ends ask for whatever is offered: those of the structure as it was at one time or another.
const fn lengths(kind: Kind) -> &'static [usize] {
    match kind {
        Kind::Net => &[12, 24],
        // 57: QEMU up to 7.2; 60: that behind it, libblkio and Cloud Hypervisor; 96: with zones.
        Kind::Blk => &[57, 60, 96],
        Kind::Console => &[12],
        Kind::Balloon => &[16],
        Kind::Fs => &[44],
        Kind::Rng => &[],
    }
}

/// As many as there are: nothing changes.
fn actual(run: &mut Run<'_>) -> Outcome {
    run.needs(ProtocolFeatures::CONFIG | ProtocolFeatures::REPLY_ACK)?;
    let config = run.builds_upon(&length_of(Kind::Balloon), |run| space(run, Kind::Balloon))?;
    let at = balloon::Config::ACTUAL;
    let bytes = config.get(at..at + 4).unwrap_or_default().to_vec();
    let write = Request::SetConfig(Config { offset: at as u32, size: 4, flags: 0, bytes });
    plain(run, ProtocolFeatures::CONFIG)?.acknowledged(&write, &[])
}

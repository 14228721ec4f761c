//! What known front-ends need, and in which order they ask.

use super::peer::{NEED_REPLY, PLAIN, Peer};
use super::session::{file, names, region, single};
use super::work::eventfd;
use super::{Check, Level, Outcome, Run, failed};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::payload::{MemoryTable, VringAddress, VringState};
use std::fmt;
use std::os::fd::AsFd as _;
use std::str::FromStr;
use virtio::features::Features;

/// A front-end that a back-end is to work with. What each needs was read in its source, and its order seen on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// QEMU 7.2 and later.
    Qemu,
    /// DPDK's virtio-user, 22.11.
    Dpdk,
    /// Cloud Hypervisor.
    CloudHypervisor,
    /// libblkio 1.5.
    Libblkio,
}

impl Profile {
    /// All of them, and how they are called.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Qemu, "qemu"),
        (Self::Dpdk, "dpdk"),
        (Self::CloudHypervisor, "cloud-hypervisor"),
        (Self::Libblkio, "libblkio"),
    ];
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(profile, _)| profile == self).map_or("", |(_, name)| name))
    }
}

/// A front-end of which nothing is known.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0:?} is none of qemu, dpdk, cloud-hypervisor, libblkio")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;
    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(profile, _)| *profile).ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

pub(super) fn checks(profile: Profile) -> Vec<Check> {
    let needs = match profile {
        Profile::Qemu => ProtocolFeatures::empty(),
        Profile::Dpdk => ProtocolFeatures::empty(),
        Profile::CloudHypervisor => {
            ProtocolFeatures::MQ.union(ProtocolFeatures::CONFIG).union(ProtocolFeatures::REPLY_ACK)
        }
        Profile::Libblkio => ProtocolFeatures::REPLY_ACK
            .union(ProtocolFeatures::CONFIG)
            .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS),
    };
    let section = "the front-end's own demands";
    let mut all = vec![
        Check::new(
            format!("profile.{profile}.features"),
            Level::Should,
            section,
            format!("{profile} finds the features that it needs"),
            move |run| {
                let missing = needs.difference(run.offer.known());
                if !missing.is_empty() {
                    return failed(format!("{} is missing", names(missing)));
                }
                if run.offer.features.contains(Features::VERSION_1) {
                    Ok(())
                } else {
                    failed("VERSION_1 is missing")
                }
            },
        ),
        Check::new(
            format!("profile.{profile}.order"),
            Level::Should,
            section,
            format!("requests are taken in the order in which {profile} sends them"),
            move |run| order(run, profile),
        ),
    ];
    if profile == Profile::Qemu {
        all.push(Check::new(
            "profile.qemu.status-before-stop",
            Level::Should,
            section,
            "a ring can be stopped after the status was set to 0",
            |run| {
                run.needs(ProtocolFeatures::STATUS)?;
                let (peer, _kick) = run.started(0, 0)?;
                peer.send(&Request::SetStatus(0xf), PLAIN, &[])?;
                peer.send(&Request::SetStatus(0), PLAIN, &[])?;
                peer.ask(&Request::GetVringBase(VringState { index: 0, num: 0 }), PLAIN, &[]).map(drop)
            },
        ));
    }
    all
}

/// The whole way of a front-end to a ring that runs, and its stop.
fn order(run: &mut Run<'_>, profile: Profile) -> Outcome {
    let known = run.offer.known();
    let has = |feature| known.contains(feature);
    let peer = run.bare()?;
    let file = file(1 << 20)?;
    let one = region(0, 1 << 20, 0);
    let base = one.user_address;
    let (kick, call, error) = (eventfd()?, eventfd()?, eventfd()?);
    let address = VringAddress {
        descriptors: base,
        available: base + 0x4000,
        used: base + 0x8000,
        ..VringAddress::default()
    };
    let plain = |request: &Request| told(&peer, request);
    let protocol = |wanted: ProtocolFeatures| Request::SetProtocolFeatures((known & wanted).bits());
    let table = || Request::SetMemTable(MemoryTable { regions: vec![one] });
    let features = Request::SetFeatures(run.features().bits());
    match profile {
        Profile::Qemu => {
            peer.number(&Request::GetFeatures)?;
            if run.offer.protocol.is_some() {
                peer.number(&Request::GetProtocolFeatures)?;
                plain(&protocol(
                    ProtocolFeatures::all()
                        .difference(ProtocolFeatures::PAGEFAULT | ProtocolFeatures::INBAND_NOTIFICATIONS),
                ))?;
            }
            if has(ProtocolFeatures::MQ) {
                peer.number(&Request::GetQueueNum)?;
            }
            if has(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
                peer.number(&Request::GetMaxMemSlots)?;
            }
            plain(&Request::SetOwner)?;
            peer.number(&Request::GetFeatures)?;
            peer.send(&Request::SetVringCall(0), PLAIN, &[call.as_fd()])?;
            peer.send(&Request::SetVringErr(0), PLAIN, &[error.as_fd()])?;
            plain(&features)?;
            peer.send(&Request::SetVringCall(0), PLAIN, &[call.as_fd()])?;
            plain(&features)?;
            if has(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
                peer.send(
                    &Request::AddMemReg(single(one)),
                    if has(ProtocolFeatures::REPLY_ACK) { NEED_REPLY } else { PLAIN },
                    &[file.as_fd()],
                )?;
                if has(ProtocolFeatures::REPLY_ACK) {
                    peer.receive()?;
                }
            } else {
                peer.send(&table(), PLAIN, &[file.as_fd()])?;
            }
        }
        Profile::Dpdk => {
            plain(&Request::SetOwner)?;
            peer.number(&Request::GetFeatures)?;
            if run.offer.protocol.is_some() {
                peer.number(&Request::GetProtocolFeatures)?;
                plain(&protocol(
                    ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK | ProtocolFeatures::STATUS,
                ))?;
            }
            peer.send(&Request::SetVringCall(0), PLAIN, &[call.as_fd()])?;
            plain(&features)?;
            if has(ProtocolFeatures::STATUS) {
                plain(&Request::SetStatus(0xb))?;
                peer.number(&Request::GetStatus)?;
            }
            peer.send(&table(), PLAIN, &[file.as_fd()])?;
        }
        Profile::CloudHypervisor | Profile::Libblkio => {
            plain(&Request::SetOwner)?;
            peer.number(&Request::GetFeatures)?;
            if run.offer.protocol.is_some() {
                peer.number(&Request::GetProtocolFeatures)?;
                let wanted = ProtocolFeatures::MQ
                    | ProtocolFeatures::REPLY_ACK
                    | ProtocolFeatures::CONFIG
                    | ProtocolFeatures::CONFIGURE_MEM_SLOTS;
                plain(&protocol(wanted))?;
            }
            plain(&features)?;
            if has(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
                super::session::give(run, &peer, one, &file)?;
            } else {
                peer.send(&table(), PLAIN, &[file.as_fd()])?;
            }
        }
    }
    plain(&Request::SetVringNum(VringState { index: 0, num: 128 }))?;
    plain(&Request::SetVringBase(VringState { index: 0, num: 0 }))?;
    plain(&Request::SetVringAddr(address))?;
    peer.send(&Request::SetVringKick(0), PLAIN, &[kick.as_fd()])?;
    peer.send(&Request::SetVringCall(0), PLAIN, &[call.as_fd()])?;
    if run.offer.protocol.is_some() {
        plain(&Request::SetVringEnable(VringState { index: 0, num: 1 }))?;
    }
    let base = peer.ask(&Request::GetVringBase(VringState { index: 0, num: 0 }), PLAIN, &[])?;
    if base.payload.len() == 8 { Ok(()) } else { failed("GET_VRING_BASE has no answer of 8 bytes") }
}

fn told(peer: &Peer, request: &Request) -> Outcome {
    use crate::wire::Message as _;
    if peer.send(request, PLAIN, &[])? {
        Ok(())
    } else {
        failed(format!("it closed the connection before {}", request.facts().name))
    }
}

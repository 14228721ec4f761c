//! What known front-ends need, and what they say.

mod play;
mod script;

pub use script::Said;

use super::{Check, Kind, Level, Offer, Run, failed, not_applicable};
use crate::ProtocolFeatures;
use std::fmt;
use std::str::FromStr;

/// A front-end that a back-end is to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// QEMU 7.2, as it was seen on the wire.
    Qemu,
    /// DPDK's virtio-user 22.11, as it was seen on the wire.
    Dpdk,
    /// Cloud Hypervisor, as its source has it (`virtio-devices/src/vhost_user/vu_common_ctrl.rs`).
    CloudHypervisor,
    /// libblkio 1.5 (the crates `blkio` 0.5 and `virtio-driver` 0.6), as it was seen on the wire.
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

    /// What it says to a device of this kind from the connection to rings that run, where this is offered.
    pub fn begins(self, kind: Option<Kind>, offer: &Offer) -> Vec<Said> {
        script::begins(self, kind, offer)
    }

    /// What it says to stop them.
    pub fn ends(self, kind: Option<Kind>, offer: &Offer) -> Vec<Said> {
        script::ends(self, kind, offer)
    }

    /// Protocol features without which it does not work with such a device.
    const fn needs(self, kind: Option<Kind>) -> ProtocolFeatures {
        match (self, kind) {
            // Both read the capacity of a disk when they begin.
            (Self::Qemu | Self::CloudHypervisor, Some(Kind::Blk)) => ProtocolFeatures::CONFIG,
            (Self::Qemu | Self::CloudHypervisor | Self::Dpdk, _) => ProtocolFeatures::empty(),
            // It says so before anything else (`virtio-driver/src/transports/vhost_user.rs`).
            (Self::Libblkio, _) => ProtocolFeatures::REPLY_ACK
                .union(ProtocolFeatures::CONFIG)
                .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS),
        }
    }
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

// What each is about, beside which the front-end's own words say more.
const FEATURES: &str = "vhost-user: Protocol features; as the front-end needs them";
const ORDER: &str = "vhost-user: Communication, Ring states; in the front-end's own words";
const STOP: &str = "vhost-user: Ring states, VHOST_USER_GET_VRING_BASE; in the front-end's own words";
const LEAVE: &str = "vhost-user: Communication; as the front-end leaves";
const MIGRATION: &str = "vhost-user: Migration; in the front-end's own words";
const POSTCOPY: &str = "vhost-user: VHOST_USER_POSTCOPY_ADVISE; in the front-end's own words";

pub(super) fn checks(profile: Profile, kind: Option<Kind>) -> Vec<Check> {
    let mut all = Vec::new();
    let mut add = |name: &str, of, title: String, run: fn(&mut Run<'_>, Profile) -> super::Outcome| {
        let id = format!("profile.{profile}.{name}");
        all.push(Check::new(id, Level::Should, of, title, move |it| run(it, profile)));
    };
    if !profile.needs(kind).is_empty() {
        add("features", FEATURES, format!("{profile} finds the features that it needs"), |run, profile| {
            let missing = profile.needs(run.options.kind).difference(run.offer.known());
            if missing.is_empty() {
                return Ok(());
            }
            failed(format!("{} is missing", super::session::names(missing)))
        });
    }
    add("order", ORDER, format!("what {profile} says is taken, until its rings run"), |run, profile| {
        has_needs(run, profile)?;
        play::begun(run, profile).map(drop)
    });
    let (of, stop) = match profile {
        Profile::Qemu | Profile::Dpdk | Profile::CloudHypervisor => {
            (STOP, format!("rings stop in the order in which {profile} stops them, and are begun again"))
        }
        Profile::Libblkio => (LEAVE, format!("{profile} leaves while its rings run, and begins again")),
    };
    add("stop", of, stop, |run, profile| {
        has_needs(run, profile)?;
        play::stopped(run, profile)
    });
    if profile == Profile::Qemu {
        let title = "a dirty log comes while rings run, as qemu gives it";
        add("migration", MIGRATION, title.to_owned(), |run, profile| {
            has_needs(run, profile)?;
            play::migrated(run, profile)
        });
        add(
            "postcopy",
            POSTCOPY,
            "a migration by postcopy is prepared, as qemu asks for it".to_owned(),
            |run, profile| {
                has_needs(run, profile)?;
                run.needs(ProtocolFeatures::PAGEFAULT)?;
                play::advised(run, profile)
            },
        );
    }
    all
}

/// What it lacks is a finding of its own.
fn has_needs(run: &Run<'_>, profile: Profile) -> super::Outcome {
    if profile == Profile::Libblkio && run.options.kind.is_some_and(|kind| kind != Kind::Blk) {
        return not_applicable("libblkio drives disks only");
    }
    if run.offer.known().contains(profile.needs(run.options.kind)) {
        return Ok(());
    }
    not_applicable(format!("it lacks what {profile} needs: profile.{profile}.features"))
}

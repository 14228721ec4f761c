//! What nodes have of instances that the store does not have there: after a restore, or left behind by what nobody foresaw.

use hv_api::v1;
use hv_core::condition::{Conditions, STRAY};
use hv_core::instance::{Epoch, InstanceStatus, Phase};
use hv_core::{ConditionStatus, Timestamp};

/// Something of an instance is on a node. Of several, the greatest is the likeliest to be where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sighting {
    /// Its guest lives, or may. That counts most: what does not live elsewhere can wait, and two guests must not live.
    lives: bool,
    /// The assignment that it is there under; 0 where the agent does not remember one.
    epoch: Epoch,
}

/// What a report tells of where its instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is not there, or says nothing of where it is: refused, deleted, or left on a node that was given up.
    Nothing,
    /// Its agent has just started, and has not looked.
    NotYet,
    /// It is there.
    There(Sighting),
}

impl Seen {
    pub(super) fn of(report: &v1::ObservedInstance, status: &InstanceStatus) -> Self {
        let lives = match status.phase {
            _ if report.gone || report.rejected || report.revoked => return Self::Nothing,
            Phase::Deleting => return Self::Nothing,
            Phase::Unknown if status.message.is_empty() => return Self::NotYet,
            Phase::Pending | Phase::Scheduled | Phase::Preparing | Phase::Stopped | Phase::Failed => false,
            _ => true,
        };
        Self::There(Sighting { lives, epoch: Epoch(report.epoch) })
    }
}

impl Sighting {
    /// Whether an instance of a restored store may be taken up there. Disks and guests that no assignment explains may be anything:
    /// what somebody copied, or what a node that lost its journal had long ago.
    pub(super) fn settles(self) -> bool {
        self.epoch != Epoch(0)
    }

    fn describe(self, node: &str) -> String {
        let what = if self.lives { "a guest" } else { "disks" };
        match self.epoch {
            Epoch(0) => format!("{what} of it on node {node}, which remembers no assignment"),
            epoch => format!("{what} of it on node {node}, under assignment {epoch}"),
        }
    }
}

/// Shows in the conditions what is elsewhere than where the instance belongs. It is left alone: people decide.
pub(super) fn show(
    conditions: &mut Conditions,
    before: &Conditions,
    strays: impl Iterator<Item = (Sighting, String)>,
    now: Timestamp,
) {
    let mut strays: Vec<_> = strays.collect();
    strays.sort_by(|a, b| b.cmp(a));
    let Some((worst, _)) = strays.first() else {
        conditions.clear(STRAY);
        return;
    };
    // The agent's conditions replaced it; its time goes on.
    if let Some(old) = before.get(STRAY) {
        conditions.0.insert(STRAY.to_owned(), old.clone());
    }
    let reason = if worst.lives { "GuestElsewhere" } else { "DisksElsewhere" };
    let all: Vec<_> = strays.iter().map(|(sighting, node)| sighting.describe(node)).collect();
    let message = format!(
        "there is {}; it is left alone: end it on that host, and remove its directory there",
        all.join(", and ")
    );
    conditions.set(STRAY, ConditionStatus::True, reason, &message, now);
}

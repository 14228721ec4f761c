//! What nodes have of instances that the store does not have there: after a restore, or left behind by what nobody foresaw.

use crate::state::write::Stray;
use hv_api::v1;
use hv_core::condition::{Conditions, STRAY};
use hv_core::instance::{Epoch, InstanceStatus, Phase};
use hv_core::{ConditionStatus, NodeId, Timestamp};

/// What a report tells of where its instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is not there, or says nothing of where it is: refused, deleted, or left on a node that was given up.
    Nothing,
    /// Its agent has just started, and has not looked.
    NotYet,
    /// It is there.
    There(Stray),
}

impl Seen {
    pub(super) fn of(node: NodeId, report: &v1::ObservedInstance, status: &InstanceStatus) -> Self {
        let lives = match status.phase {
            _ if report.gone || report.rejected || report.revoked => return Self::Nothing,
            Phase::Deleting => return Self::Nothing,
            _ if !status.has_looked() => return Self::NotYet,
            Phase::Pending | Phase::Scheduled | Phase::Preparing | Phase::Stopped | Phase::Failed => false,
            _ => true,
        };
        Self::There(Stray { lives, epoch: Epoch(report.epoch), node })
    }
}

/// Whether an instance of a restored store may be taken up there. Disks and guests that no assignment explains may be anything:
/// what somebody copied, or what a node that lost its journal had long ago.
pub(super) fn settles(sighting: Stray) -> bool {
    sighting.epoch != Epoch(0)
}

/// In two words.
pub(super) fn what(stray: Stray) -> &'static str {
    if stray.lives { "a guest" } else { "disks" }
}

fn describe(stray: Stray, node: &str) -> String {
    let what = what(stray);
    match stray.epoch {
        Epoch(0) => format!("{what} of it on node {node}, which remembers no assignment"),
        epoch => format!("{what} of it on node {node}, under assignment {epoch}"),
    }
}

/// Shows in the conditions what is elsewhere than where the instance belongs, the worst first. It is left alone: people decide.
pub(super) fn show(
    conditions: &mut Conditions,
    before: &Conditions,
    strays: &[Stray],
    name: impl Fn(NodeId) -> String,
    now: Timestamp,
) {
    let Some(worst) = strays.first() else {
        conditions.clear(STRAY);
        return;
    };
    // The agent's conditions replaced it; its time goes on.
    if let Some(old) = before.get(STRAY) {
        conditions.0.insert(STRAY.to_owned(), old.clone());
    }
    let reason = if worst.lives { "GuestElsewhere" } else { "DisksElsewhere" };
    let all: Vec<_> = strays.iter().map(|stray| describe(*stray, &name(stray.node))).collect();
    let message = format!(
        "elsewhere there still is: {}. It is left alone, and not started again there: end it on that host, and remove its directory",
        all.join(", and ")
    );
    conditions.set(STRAY, ConditionStatus::True, reason, &message, now);
}

//! Conditions: observed aspects of an object beside its phase.

use crate::Timestamp;
use std::collections::BTreeMap;

/// Three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It cannot be told.
    Unknown,
}

impl ConditionStatus {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Reads the word; anything else is `Unknown`.
    pub fn from_word(word: &str) -> Self {
        match word {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

/// The guest and its monitor answer.
pub const RESPONSIVE: &str = "Responsive";
/// The running guest lacks changes that a restart would bring.
pub const RESTART_REQUIRED: &str = "RestartRequired";
/// A node has reported it since the store was restored from a snapshot.
pub const REPORTED: &str = "Reported";
/// Something of it is on a node where it does not belong.
pub const STRAY: &str = "Stray";
/// The host can carry out what the guest writes: `False` while the guest is halted because it cannot.
pub const STORAGE: &str = "Storage";
/// The server has placed it on its node since the node's host was down: `False` while it waits for that.
pub const PLACEMENT_CONFIRMED: &str = "PlacementConfirmed";
/// What the server gave up with an earlier node of this host has ended here: `False` while a guest of it cannot be ended.
pub const REVOCATION: &str = "Revocation";
/// A node has guests or disks of instances that are not in the store.
pub const UNKNOWN_INSTANCES: &str = "UnknownInstances";
/// A node keeps disks that an earlier node of its host was given up with.
pub const KEPT_DISKS: &str = "KeptDisks";
/// The object can do its work.
pub const READY: &str = "Ready";

/// One condition; its type is the key in [`Conditions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The answer.
    pub status: ConditionStatus,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When `status` last changed.
    pub since: Timestamp,
}

/// Conditions by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions(pub BTreeMap<String, Condition>);

impl Conditions {
    /// Sets a condition; the time changes only with the status. Says whether anything changed.
    pub fn set(
        &mut self,
        kind: &str,
        status: ConditionStatus,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> bool {
        let since = match self.0.get(kind) {
            Some(old) if old.status == status && old.reason == reason && old.message == message => {
                return false;
            }
            Some(old) if old.status == status => old.since,
            _ => now,
        };
        let condition = Condition { status, reason: reason.to_owned(), message: message.to_owned(), since };
        self.0.insert(kind.to_owned(), condition);
        true
    }

    /// Removes a condition. Says whether it was there.
    pub fn clear(&mut self, kind: &str) -> bool {
        self.0.remove(kind).is_some()
    }

    /// One condition.
    pub fn get(&self, kind: &str) -> Option<&Condition> {
        self.0.get(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_changes_with_the_status_only() {
        let mut conditions = Conditions::default();
        assert!(conditions.set(RESPONSIVE, ConditionStatus::True, "Ok", "", Timestamp(1)));
        assert!(!conditions.set(RESPONSIVE, ConditionStatus::True, "Ok", "", Timestamp(2)));
        assert!(conditions.set(RESPONSIVE, ConditionStatus::True, "Ok", "more", Timestamp(3)));
        assert_eq!(conditions.get(RESPONSIVE).unwrap().since, Timestamp(1));
        assert!(conditions.set(RESPONSIVE, ConditionStatus::False, "Silent", "", Timestamp(4)));
        assert_eq!(conditions.get(RESPONSIVE).unwrap().since, Timestamp(4));
    }
}

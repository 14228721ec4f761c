//! What keeps a guest's process from the files of the node, and whether that is enough to start one.
//!
//! ```text
//!   another user | Landlock |  started
//!   -------------+----------+------------------------------------
//!   yes          | any      |  yes: the agent's files are not its own
//!   no           | yes      |  yes: they do not exist for it
//!   no           | no       |  only when the settings allow it in words
//! ```

use crate::users::Users;
use hv_driver::{DriverError, DriverErrorKind};
use std::fmt;

/// What holds a guest's process back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Confined {
    /// The user it becomes, when that is not the driver's own; in words.
    user: Option<String>,
    /// Whether the kernel applies Landlock.
    landlock: bool,
    /// Whether guests may be started with neither.
    allow_unconfined: bool,
}

impl Confined {
    /// By the driver's user, the guests' users, the kernel and the settings.
    pub(crate) fn decide(own: u32, users: &Users, landlock: bool, allow_unconfined: bool) -> Self {
        Self { user: (!users.include(own)).then(|| users.to_string()), landlock, allow_unconfined }
    }

    pub(crate) fn landlock(&self) -> bool {
        self.landlock
    }

    /// # Errors
    /// Nothing would keep a guest from what the driver may read; the message says what to do.
    pub(crate) fn check(&self, operation: &'static str) -> Result<(), DriverError> {
        if self.user.is_some() || self.landlock || self.allow_unconfined {
            return Ok(());
        }
        Err(DriverError::new(DriverErrorKind::Missing, operation, REFUSED))
    }
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, self.landlock) {
            (Some(user), true) => write!(f, "{user} + landlock"),
            (Some(user), false) => f.write_str(user),
            (None, true) => f.write_str("landlock"),
            (None, false) => f.write_str("none"),
        }
    }
}

const REFUSED: &str = "guests would run as the agent's own user and could read all its files, because the kernel has no \
                       Landlock; run the agent as root, or enable Landlock (kernel parameter lsm=landlock,...), or set \
                       qemu.allow_unconfined";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Range;
    use std::path::Path;

    #[test]
    fn a_guest_without_another_user_and_landlock_is_refused_unless_allowed_in_words() {
        let shared = |uid| Users::Shared(qemu::Identity { uid, gid: uid, groups: Vec::new() });
        let each = || Users::Each(Range::new(61_000..=61_009, Path::new("/nowhere"), Path::new("/nowhere")));
        let cases = [
            // own, guests', landlock, allowed -> told, started
            (0, each(), true, false, "uid for each, 61000 to 61009 + landlock", true),
            (0, each(), false, false, "uid for each, 61000 to 61009", true),
            (0, shared(61_000), true, false, "uid 61000 + landlock", true),
            (0, shared(61_000), false, false, "uid 61000", true),
            (0, shared(0), true, false, "landlock", true),
            (0, shared(0), false, false, "none", false),
            (1000, Users::Own, true, false, "landlock", true),
            (1000, Users::Own, false, false, "none", false),
            (1000, Users::Own, false, true, "none", true),
            (1000, Users::Own, true, true, "landlock", true),
        ];
        for (own, users, landlock, allowed, told, started) in cases {
            let confined = Confined::decide(own, &users, landlock, allowed);
            let case = (own, users, landlock, allowed);
            assert_eq!(confined.to_string(), told, "{case:?}");
            assert_eq!(confined.check("start").is_ok(), started, "{case:?}");
        }
        let error = Confined::decide(1000, &Users::Own, false, false).check("start").unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Missing);
        for way_out in ["as root", "lsm=landlock", "allow_unconfined"] {
            assert!(error.message.contains(way_out), "{}", error.message);
        }
    }
}

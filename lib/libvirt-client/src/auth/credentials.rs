//! Who to be, and the file that says so.

use super::refused;
use crate::error::Error;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A user and a password. The password is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What `auth.conf` says: groups with credentials, and groups for a service on a host that name one of these.
///
/// ```
/// use libvirt_client::AuthFile;
/// let file: AuthFile = "[credentials-a]\nauthname=me\npassword=secret\n[auth-libvirt-host1]\ncredentials=a\n".parse()?;
/// assert_eq!(file.credentials("libvirt", "host1").unwrap().user, "me");
/// assert!(file.credentials("libvirt", "host2").is_none());
/// # Ok::<(), libvirt_client::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct AuthFile {
    groups: HashMap<String, HashMap<String, String>>,
}

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their names only: what is in them may be a password.
        f.debug_struct("AuthFile").field("groups", &self.groups.keys()).finish_non_exhaustive()
    }
}

impl std::str::FromStr for AuthFile {
    type Err = Error;

    /// Reads the form of GLib's key files: groups in brackets, `key=value` lines, comments after `#`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut file = Self::default();
        let mut group: Option<&mut HashMap<String, String>> = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                group = Some(file.groups.entry(name.to_owned()).or_default());
                continue;
            }
            match (line.split_once('='), &mut group) {
                (Some((key, value)), Some(group)) => {
                    group.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                // Not the line itself: it may hold a password.
                _ => {
                    return Err(refused(format!(
                        "line {} of the file with credentials says nothing",
                        number + 1
                    )));
                }
            }
        }
        Ok(file)
    }
}

impl AuthFile {
    /// What the file has for a service (`libvirt`) on a host, or else for its `default`.
    #[must_use]
    pub fn credentials(&self, service: &str, host: &str) -> Option<Credentials> {
        [host, "default"].into_iter().find_map(|host| {
            let name = self.groups.get(&format!("auth-{service}-{host}"))?.get("credentials")?;
            let found = self.groups.get(&format!("credentials-{name}"))?;
            Some(Credentials {
                user: found.get("authname").or_else(|| found.get("username"))?.clone(),
                password: found.get("password")?.clone(),
            })
        })
    }
}

/// How long what a daemon has refused is not said again by itself: services that lock whoever is wrong too often count for some minutes.
const SPENT: Duration = Duration::from_secs(600);

/// What the daemon of a handle has refused. A handle logs in for each of its connections: with a password that was changed meanwhile it would
/// soon have the user locked out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent(Arc<Mutex<Option<(Credentials, Instant)>>>);

impl Spent {
    /// Whether these may be said.
    ///
    /// # Errors
    /// When they were refused a moment ago.
    pub(super) fn check(&self, credentials: &Credentials, now: Instant) -> Result<(), Error> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((spent, at)) if spent == credentials && now < *at + SPENT => Err(refused(format!(
                "the daemon has refused user {} with this password, which is not said again for {} minutes; another one is, as soon as it is known",
                spent.user,
                SPENT.as_secs() / 60
            ))),
            _ => Ok(()),
        }
    }

    /// These were refused.
    pub(super) fn add(&self, credentials: Credentials, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((credentials, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_goes_before_the_default() {
        let file: AuthFile = "# who\n[credentials-test]\nauthname=fred\npassword=12=3456\n\n[credentials-prod]\n\
            authname=bar\npassword=letmein\n[auth-libvirt-default]\ncredentials=prod\n[auth-libvirt-dev1]\ncredentials=test\n\
            [auth-libvirt-lost]\ncredentials=nowhere\n"
            .parse()
            .unwrap();
        let found = |host| file.credentials("libvirt", host).map(|found| (found.user, found.password));
        assert_eq!(found("dev1"), Some(("fred".into(), "12=3456".into())));
        assert_eq!(found("other"), Some(("bar".into(), "letmein".into())));
        assert_eq!(found("lost"), Some(("bar".into(), "letmein".into())));
        assert!(file.credentials("esx", "dev1").is_none());
    }

    #[test]
    fn what_was_refused_is_not_said_again_for_a_while() {
        let (begin, spent) = (crate::connection::now(), Spent::default());
        let known = |password: &str| Credentials { user: "me".into(), password: password.into() };
        assert!(spent.check(&known("hunter2"), begin).is_ok());
        spent.add(known("hunter2"), begin);
        let problem = spent.clone().check(&known("hunter2"), begin + SPENT / 2).unwrap_err().to_string();
        assert!(problem.contains("user me") && !problem.contains("hunter2"), "{problem}");
        assert!(spent.check(&known("hunter3"), begin).is_ok());
        assert!(spent.check(&known("hunter2"), begin + SPENT).is_ok());
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let shown = format!("{:?}", Credentials { user: "me".into(), password: "hunter2".into() });
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
        let file: AuthFile = "[credentials-a]\npassword=hunter2\n".parse().unwrap();
        let shown = format!("{file:?}");
        assert!(shown.contains("credentials-a") && !shown.contains("hunter2"), "{shown}");
        let problem = "[credentials-a]\nhunter2\n".parse::<AuthFile>().unwrap_err().to_string();
        assert!(problem.contains("line 2") && !problem.contains("hunter2"), "{problem}");
    }
}

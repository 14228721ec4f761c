//! How a handle finds its daemon: again each time that its first connection is made, since sockets move, and passwords and certificates
//! are renewed while a program runs.
//!
//! ```text
//!   Route ── find ──> Place: what to connect to, who to be there, what to open
//!     what was said once          what that means now
//! ```

use crate::auth::{self, Auth, Credentials, Spent};
use crate::dial::{Dialer, Target};
use crate::error::{Error, ErrorKind};
use crate::transport::Tls;
use crate::uri::{Access, Environment, Transport, Uri};
use std::sync::Arc;

/// What a program has said about where its daemon is, and who it is there itself.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) uri: String,
    pub(crate) environment: Environment,
    pub(crate) access: Access,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: Option<Tls>,
    /// By which name the daemon's host proves itself, if the URI does not say it.
    pub(crate) host: Option<String>,
    pub(crate) by: By,
    /// What daemons have refused.
    pub(crate) spent: Spent,
}

/// Who connects.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// We do, as the URI says.
    Uri,
    /// A function of the program's, as often as it takes.
    Dialer(Dialer),
    /// The program has, once.
    Program,
}

/// A daemon, and how to come in.
#[derive(Debug)]
pub(crate) struct Place {
    /// What the daemon is asked to open.
    pub(crate) name: String,
    pub(crate) auth: Auth,
    /// `None` when the program has connected: there is no second connection then.
    pub(crate) target: Option<Target>,
    /// What carries it, where the URI says that.
    pub(crate) transport: Option<Transport>,
}

impl Route {
    /// Where that is now.
    ///
    /// # Errors
    /// When it names nothing, or does not fit together.
    pub(crate) fn find(&self) -> Result<Place, Error> {
        let uri = self.uri()?;
        let target = match &self.by {
            By::Uri => {
                let mut target = Target::of(&uri, &self.environment, self.access)?;
                if let (Target::Tls(_, _, tls), Some(wished)) = (&mut target, &self.tls) {
                    let priority = wished.priority.clone().and(&tls.priority);
                    *tls = Tls { priority, ..wished.clone() };
                }
                Some(target)
            }
            By::Dialer(dialer) => Some(Target::Own(dialer.clone())),
            By::Program => None,
        };
        let host = self.host.clone().or_else(|| uri.host.clone());
        let auth = Auth {
            wish: auth::Wish::of(uri.parameter("auth"))?,
            host: host.unwrap_or_else(|| auth::LOCALHOST.to_owned()),
            spent: self.spent.clone(),
            credentials: match self.credentials.clone() {
                Some(said) => Arc::new(move || Ok(Some(said.clone()))),
                None => {
                    let (environment, uri) = (self.environment.clone(), uri.clone());
                    Arc::new(move || environment.credentials(&uri))
                }
            },
        };
        let transport = matches!(self.by, By::Uri).then(|| uri.transport());
        Ok(Place { name: uri.remote_name(), auth, target, transport })
    }

    /// The URI that is meant now.
    fn uri(&self) -> Result<Uri, Error> {
        if matches!(self.by, By::Uri) {
            return Uri::resolve(&self.uri, &self.environment);
        }
        let config = self.environment.config()?;
        let meant = config.resolve(&self.uri);
        if meant.is_empty() {
            // What is on this host says nothing of a daemon that only the program can reach.
            return Ok(Uri::of_nobody());
        }
        let uri: Uri = meant.parse()?;
        let transport = uri.named_transport.map(|_| "transport");
        let port = uri.port.map(|_| "port");
        // A program that connects by itself has decided how.
        match transport.or(port).or(uri.way()) {
            None => Ok(uri),
            Some(way) => Err(Error::new(ErrorKind::Uri(format!(
                "`{meant}`: the program connects by itself, so that `{way}` of the URI would say nothing: leave it out"
            )))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Privacy, Stream};
    use std::path::Path;

    fn route(uri: &str, directory: &Path, by: By) -> Route {
        let environment = Environment {
            user: crate::uri::User::Root,
            run: directory.join("run"),
            etc: directory.join("etc"),
            ..Environment::default()
        };
        let (uri, access) = (uri.to_owned(), Access::Full);
        Route {
            uri,
            environment,
            access,
            credentials: None,
            tls: None,
            host: None,
            by,
            spent: Spent::default(),
        }
    }

    fn dialer() -> By {
        By::Dialer(Dialer::new(|| async { Ok(Stream::new(tokio::io::duplex(1).0, Privacy::Private)) }))
    }

    #[test]
    fn what_has_moved_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let route = route("qemu:///system", directory.path(), By::Uri);
        let target = || route.find().unwrap().target.unwrap();
        let user = || (route.find().unwrap().auth.credentials)().unwrap().map(|found| found.user);
        std::fs::create_dir_all(at("run/libvirt")).unwrap();
        std::fs::create_dir_all(at("etc/libvirt")).unwrap();
        assert_eq!((target(), user()), (Target::Unix(at("run/libvirt/libvirt-sock")), None));
        std::fs::write(at("run/libvirt/virtqemud-sock"), "").unwrap();
        let text = "[credentials-a]\nauthname=me\npassword=x\n[auth-libvirt-localhost]\ncredentials=a\n";
        std::fs::write(at("etc/libvirt/auth.conf"), text).unwrap();
        assert_eq!((target(), user()), (Target::Unix(at("run/libvirt/virtqemud-sock")), Some("me".into())));
    }

    #[test]
    fn certificates_that_have_come_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let route = route("qemu://h/system", directory.path(), By::Uri);
        let identity = || match route.find().unwrap().target {
            Some(Target::Tls(_, _, tls)) => tls.identity,
            other => panic!("{other:?}"),
        };
        assert_eq!(identity(), None);
        let libvirt = directory.path().join("etc/pki/libvirt");
        std::fs::create_dir_all(&libvirt).unwrap();
        std::fs::write(libvirt.join("clientcert.pem"), "").unwrap();
        assert!(identity().is_some());
    }

    #[test]
    fn of_a_uri_only_the_daemons_part_counts_for_who_connects_by_himself() {
        let directory = tempfile::tempdir().unwrap();
        for by in [dialer(), By::Program] {
            let place = |uri: &str| route(uri, directory.path(), by.clone()).find();
            for (uri, name, host) in [
                ("qemu:///system", "qemu:///system", "localhost"),
                ("qemu://h/system?color=red", "qemu:///system?color=red", "h"),
                ("test:///default?name=lxc:///system", "lxc:///system", "localhost"),
                // Whatever is on this host.
                ("", "", "localhost"),
            ] {
                let place = place(uri).unwrap();
                assert_eq!((place.name.as_str(), place.auth.host.as_str()), (name, host), "{uri}");
            }
            for (uri, way) in [
                ("qemu+ssh://h/system", "`transport`"),
                ("qemu://h:1/system", "`port`"),
                ("qemu:///system?socket=/s", "`socket`"),
                ("qemu://h/system?NO_verify=1", "`no_verify`"),
            ] {
                let problem = place(uri).unwrap_err().to_string();
                assert!(problem.contains(way), "{uri}: {problem}");
            }
        }
    }
}

//! Authentication: what the daemon demands, and what may be said on which connection.
//!
//! | on | SCRAM | PLAIN | GSSAPI (feature `gssapi`) | anonymous |
//! |---|---|---|---|---|
//! | a socket of this host, TLS, ssh | yes | yes | yes | no |
//! | TLS or ssh that check nobody | yes: it tells no password | only as `auth=sasl.PLAIN` | yes, and encrypts what follows | no |
//! | bare TCP, and `ext`, of which nobody knows what it goes over | no: it brings no encryption of what follows | no | yes, and encrypts what follows | no |

mod aside;
mod credentials;
#[cfg(feature = "gssapi")]
mod gssapi;
mod sasl;

pub(crate) use credentials::Spent;
pub use credentials::{AuthFile, Credentials};

use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use libvirt_protocol::remote;
use std::sync::Arc;

/// Ways to authenticate (`remote_auth_type`).
mod way {
    pub(super) const NONE: i32 = 0;
    pub(super) const SASL: i32 = 1;
    pub(super) const POLKIT: i32 = 2;
}

/// The host that a URI without one means.
pub(crate) const LOCALHOST: &str = "localhost";

/// Says who to be; `None` when nobody has said it.
pub(crate) type Asked = dyn Fn() -> Result<Option<Credentials>, Error> + Send + Sync;

/// How a connection authenticates.
#[derive(Clone)]
pub(crate) struct Auth {
    /// What the URI's parameter `auth` asks for.
    pub(crate) wish: Wish,
    /// Asked when a daemon wants to know, and each time anew: a file may say something else by then.
    pub(crate) credentials: Arc<Asked>,
    /// What is not said again.
    pub(crate) spent: Spent,
    /// The daemon's host, by the name that it proves itself with.
    #[cfg_attr(not(any(feature = "gssapi", test)), expect(dead_code, reason = "only Kerberos proves it"))]
    pub(crate) host: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("wish", &self.wish).finish_non_exhaustive()
    }
}

/// What the URI's parameter `auth` asks for (`doRemoteOpen` in `remote_driver.c`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    /// What the daemon offers.
    #[default]
    Any,
    /// polkit alone.
    Polkit,
    /// SASL alone, with one mechanism if one is named.
    Sasl(Option<String>),
}

impl Wish {
    /// Reads the parameter.
    ///
    /// # Errors
    /// When it says something else than `polkit`, `sasl` or `sasl.MECHANISM`.
    pub(crate) fn of(parameter: Option<&str>) -> Result<Self, Error> {
        match parameter {
            None => Ok(Self::Any),
            Some("polkit") => Ok(Self::Polkit),
            Some("sasl") => Ok(Self::Sasl(None)),
            Some(other) => match other.strip_prefix("sasl.") {
                Some(mechanism) if !mechanism.is_empty() => Ok(Self::Sasl(Some(mechanism.to_owned()))),
                _ => {
                    let problem = format!("auth={other}: there are polkit, sasl and sasl.MECHANISM");
                    Err(Error::new(ErrorKind::Uri(problem)))
                }
            },
        }
    }
}

impl Auth {
    /// Does what the daemon demands.
    ///
    /// # Errors
    /// When it refuses, or demands what is not possible or not safe here.
    pub(crate) async fn authenticate(&self, connection: &Connection) -> Result<(), Error> {
        let reply = connection.call::<remote::AuthList>(&()).await?;
        let offered: Vec<i32> = reply.result()?.types.iter().collect();
        let chosen = match &self.wish {
            Wish::Any => offered.first().copied().unwrap_or(way::NONE),
            wish => {
                let way = if *wish == Wish::Polkit { way::POLKIT } else { way::SASL };
                if !offered.contains(&way) {
                    return Err(refused(format!(
                        "the URI asks for a way that the daemon does not offer: {wish:?}"
                    )));
                }
                way
            }
        };
        match chosen {
            way::NONE => Ok(()),
            way::POLKIT => connection.call::<remote::AuthPolkit>(&()).await.map(drop),
            way::SASL => sasl::authenticate(connection, self).await,
            other => Err(refused(format!("the daemon demands the unknown way {other}"))),
        }
    }
}

/// Authentication does not come about, for this reason.
fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Auth(why.into()))
}

//! The server as a client of other daemons: it migrates a guest by itself, as libvirt's daemon does when it is told to (peer to peer).
//!
//! ```text
//!   the client ── perform, with the destination's URI ──> server
//!                        own end ── begin, perform, confirm ──> the same server, as any client of its own
//!                        far end ── prepare, finish ──────────> the destination, over TCP or a unix socket
//!                                   with a tunnel the memory, which is none, as a stream
//!   the client <── the end of it ──────────────────────── server
//! ```
//!
//! It gives no password, so that only daemons that let everybody in are destinations.

use crate::hypervisor::{Errand, Refusal};
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::DomainMigrateFlags as F;
use libvirt_protocol::parameters::{MIGRATE_PARAM_DEST_NAME, MIGRATE_PARAM_DEST_XML, MIGRATE_PARAM_URI};
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::remote::{self, *};
use libvirt_protocol::session::{ClientSession, Failure, Incoming, Limits, Serial, Transmit};
use libvirt_protocol::types;
use libvirt_protocol::xdr::{self, Bytes};
use libvirt_transport::{Privacy, Stream, Transport, Unix};
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// Where a daemon listens whose URI names no port (`LIBVIRTD_TCP_PORT`).
const PORT: u16 = 16_509;
/// What goes through a tunnel in place of a guest's memory, which is none: what a stream of QEMU's begins with.
const MEMORY: &[u8] = b"QEVM\0\0\0\x03";

/// Carries a migration out; `own` leads to the server itself.
pub(crate) async fn migrate(own: Box<dyn Transport>, errand: &Errand) -> Result<Vec<u8>, Refusal> {
    let Errand { uri, dom, params, flags, result, .. } = errand;
    let (mut here, flags) = (Link::new(own), *flags);
    here.open("test:///default").await?;
    let begin = DomainMigrateBegin3ParamsArgs { dom: dom.clone(), params: params.clone().into(), flags };
    let begun = here.call::<remote::DomainMigrateBegin3Params>(&begin).await?;
    let begun: DomainMigrateBegin3ParamsRet<'_> = read(&begun)?;
    let mut given = params.clone();
    set(&mut given, MIGRATE_PARAM_DEST_XML, begun.xml.to_string());
    if !given.iter().any(|param| param.field == MIGRATE_PARAM_DEST_NAME) {
        set(&mut given, MIGRATE_PARAM_DEST_NAME, dom.name.to_string());
    }
    let sent = send(&mut here, uri, dom, &mut given, flags, &begun.cookie_out.0).await;
    let confirm = DomainMigrateConfirm3ParamsArgs {
        dom: dom.clone(),
        params: given.into(),
        flags,
        cancelled: i32::from(sent.is_err()),
        ..Default::default()
    };
    let confirmed = here.call::<remote::DomainMigrateConfirm3Params>(&confirm).await;
    sent?;
    confirmed?;
    Ok(result.clone())
}

/// From its preparation until it runs at the destination.
async fn send(
    here: &mut Link,
    uri: &str,
    dom: &types::Domain<'static>,
    given: &mut Vec<TypedParam<'static>>,
    flags: F,
    cookie: &[u8],
) -> Result<(), Refusal> {
    let (transport, name) = dial(uri).await?;
    let mut there = Link::new(transport);
    there.open(&name).await?;
    let cookie_in = || Bytes(cookie.to_vec().into());
    let tunnel = if flags.contains(F::TUNNELLED) {
        let params = given.clone().into();
        let args = DomainMigratePrepareTunnel3ParamsArgs { params, cookie_in: cookie_in(), flags };
        Some(there.begin::<remote::DomainMigratePrepareTunnel3Params>(&args).await?.0)
    } else {
        let args =
            DomainMigratePrepare3ParamsArgs { params: given.clone().into(), cookie_in: cookie_in(), flags };
        let prepared = there.call::<remote::DomainMigratePrepare3Params>(&args).await?;
        if let Some(uri) = read::<DomainMigratePrepare3ParamsRet<'_>>(&prepared)?.uri_out {
            set(given, MIGRATE_PARAM_URI, uri.to_string());
        }
        None
    };
    let performed = async {
        if !flags.contains(F::OFFLINE) {
            let perform = DomainMigratePerform3ParamsArgs {
                dom: dom.clone(),
                params: given.clone().into(),
                flags: flags - F::PEER2PEER - F::TUNNELLED,
                ..Default::default()
            };
            here.call::<remote::DomainMigratePerform3Params>(&perform).await?;
        }
        match tunnel {
            Some(tunnel) => there.pour(tunnel, MEMORY).await,
            None => Ok(()),
        }
    };
    let performed = performed.await;
    let finish = DomainMigrateFinish3ParamsArgs {
        params: given.clone().into(),
        flags,
        cancelled: i32::from(performed.is_err()),
        ..Default::default()
    };
    let finished = there.call::<remote::DomainMigrateFinish3Params>(&finish).await;
    performed?;
    finished.map(drop)
}

fn set(params: &mut Vec<TypedParam<'static>>, name: &'static str, value: String) {
    params.retain(|param| param.field != name);
    params.push(TypedParam::new(name, value));
}

fn read<'a, T: xdr::Wire<'a>>(payload: &'a [u8]) -> Result<T, Refusal> {
    xdr::decode(payload).map_err(|error| lost(&error))
}

/// The other daemon cannot be reached, or makes no sense.
fn lost(why: &impl Display) -> Refusal {
    let text = format!("the destination's daemon: {why}");
    Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Qemu)
}

/// Connects to the daemon that a URI names; also what that is to open.
async fn dial(uri: &str) -> Result<(Box<dyn Transport>, String), Refusal> {
    let Some(place) = Place::of(uri) else {
        let text =
            format!("{uri}: this server goes out to driver+tcp://host/path and driver+unix:///path?socket=");
        return Err(Refusal::argument(text));
    };
    let transport: io::Result<Box<dyn Transport>> = match place.way {
        Way::Tcp(host, port) => TcpStream::connect((host, port))
            .await
            .map(|stream| Box::new(Stream::new(stream, Privacy::Open)) as Box<dyn Transport>),
        Way::Unix(socket) => {
            Unix::connect(Path::new(socket)).await.map(|stream| Box::new(stream) as Box<dyn Transport>)
        }
    };
    transport.map(|transport| (transport, place.name)).map_err(|error| lost(&error))
}

/// Where a daemon is, and what it is to open.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    way: Way<'a>,
    name: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Way<'a> {
    Tcp(&'a str, u16),
    Unix(&'a str),
}

impl<'a> Place<'a> {
    fn of(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let (driver, way) = scheme.split_once('+')?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let at = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        let way = match way {
            "tcp" => {
                let (host, port) = match host.rsplit_once(':') {
                    Some((host, port)) => (host, port.parse().ok()?),
                    None => (host, PORT),
                };
                Way::Tcp(Some(host).filter(|host| !host.is_empty())?, port)
            }
            "unix" => Way::Unix(query.split('&').find_map(|part| part.strip_prefix("socket="))?),
            _ => return None,
        };
        Some(Self { way, name: format!("{driver}://{path}") })
    }
}

/// A connection to a daemon, which makes one call after the other.
struct Link {
    session: ClientSession,
    transport: Box<dyn Transport>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a session wants to know the time for signs of life, which are not asked for here"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

impl Link {
    fn new(transport: Box<dyn Transport>) -> Self {
        Self { session: ClientSession::new(Limits::default(), None, now()), transport }
    }

    /// Says what is to be opened.
    async fn open(&mut self, name: &str) -> Result<(), Refusal> {
        // A daemon that wants to know who it is refuses what comes next.
        self.call::<remote::AuthList>(&()).await?;
        let args = ConnectOpenArgs { name: Some(name.into()), ..Default::default() };
        self.call::<remote::ConnectOpen>(&args).await.map(drop)
    }

    async fn call<P: Procedure>(&mut self, args: &P::Args<'_>) -> Result<Vec<u8>, Refusal> {
        self.begin::<P>(args).await.map(|(_, reply)| reply)
    }

    /// Calls, and tells by which number its stream goes, if it opens one.
    async fn begin<P: Procedure>(&mut self, args: &P::Args<'_>) -> Result<(Serial, Vec<u8>), Refusal> {
        let call = self.session.call::<P>(args, Vec::new()).map_err(|error| lost(&error))?;
        let reply = self.wait(|incoming| match incoming {
            Incoming::Reply { serial, payload, .. } if *serial == call => Some(Ok(payload.to_vec())),
            Incoming::Failed { serial, failure } if *serial == call => Some(Err(refusal(failure))),
            _ => None,
        });
        Ok((call, reply.await??))
    }

    /// Sends bytes on a stream, and its end, and waits until they have been taken.
    async fn pour(&mut self, stream: Serial, bytes: &[u8]) -> Result<(), Refusal> {
        let session = &mut self.session;
        let said = session.stream_send(stream, bytes).and_then(|()| session.stream_finish(stream));
        said.map_err(|error| lost(&error))?;
        self.wait(|incoming| match incoming {
            Incoming::Finished { serial } if *serial == stream => Some(Ok(())),
            Incoming::Broken { serial, failure } if *serial == stream => Some(Err(refusal(failure))),
            _ => None,
        })
        .await?
    }

    /// Moves the connection until something comes that is waited for.
    async fn wait<T>(&mut self, mut take: impl FnMut(&Incoming<'_>) -> Option<T>) -> Result<T, Refusal> {
        std::future::poll_fn(|context| self.poll(context, &mut take)).await.map_err(|error| lost(&error))
    }

    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        take: &mut impl FnMut(&Incoming<'_>) -> Option<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            while let Some(next) = self.session.transmit() {
                match self.transport.poll_write(context, &next)? {
                    Poll::Ready(bytes) => match next {
                        Transmit::Bytes(_) => self.session.sent(bytes),
                        Transmit::Descriptor(_) => self.session.descriptor_sent(),
                    },
                    Poll::Pending => break,
                }
            }
            let _ = self.transport.poll_flush(context)?;
            let none = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            while let Some(incoming) = self.session.next().map_err(none)? {
                if let Some(taken) = take(&incoming) {
                    return Poll::Ready(Ok(taken));
                }
            }
            let mut descriptors = Vec::new();
            match self.transport.poll_read(context, self.session.space(), &mut descriptors)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(bytes) => self.session.filled(bytes, descriptors, now()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A daemon's refusal, to be passed on.
fn refusal(failure: &Failure) -> Refusal {
    match failure {
        Failure::Daemon(error) => {
            let text = error.message.as_ref().map(ToString::to_string).unwrap_or_default();
            let (code, domain) = (error.code, error.domain);
            Refusal { message: text, form: "%s".into(), ..Refusal::bare(code).of(domain) }
        }
        other => lost(&format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_host_or_a_socket() {
        let place = |way, name: &str| Some(Place { way, name: name.into() });
        for (uri, expected) in [
            ("test+tcp://127.0.0.1:7/default", place(Way::Tcp("127.0.0.1", 7), "test:///default")),
            ("qemu+tcp://host/system", place(Way::Tcp("host", PORT), "qemu:///system")),
            ("test+unix:///default?mode=auto&socket=/s", place(Way::Unix("/s"), "test:///default")),
            ("test+unix:///default", None),
            ("test+tcp:///default", None),
            ("test+tcp://host:x/default", None),
            ("test+ssh://host/default", None),
            ("test:///default", None),
            ("", None),
        ] {
            assert_eq!(Place::of(uri), expected, "{uri}");
        }
    }
}

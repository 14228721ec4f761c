//! On whose behalf calls are, on however many connections.

use crate::mortal::{Back, Mortal};
use libvirt_client::protocol::flags::DomainConsoleFlags;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{
    self, ConnectOpen, ConnectSetIdentity as Identify, DomainFdAssociate, DomainGetAutostart,
    DomainOpenConsole, NodeAllocPages,
};
use libvirt_client::protocol::xdr;
use libvirt_client::{Connect, Error, ErrorKind, Params, Reconnect};
use libvirt_server::{Scope, Server};
use std::time::Duration;

fn named(user: &str) -> Params {
    Params::new().with("user-name", user.to_owned())
}

/// A name that the daemon does not know.
fn refused() -> Params {
    Params::new().with("shoe-size", 42_i32)
}

fn mortal() -> Mortal {
    Mortal::new(super::start(Server::builder().scope(Scope::Complete)), Back::AtOnce)
}

async fn open(mortal: &Mortal) -> Connect {
    let policy = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    Connect::builder(&mortal.uri()).reconnect(policy).open_with(super::run).await.unwrap()
}

/// A call that goes over a lane for work; what it brings does not matter.
async fn work(connect: &Connect) -> Result<i32, Error> {
    connect.allocate_pages(&[4], &[0], 0, 0, Default::default()).await
}

/// Who a connection spoke for when it made its last call of a procedure.
fn spoke_for<P: Procedure>(mortal: &Mortal) -> Option<String> {
    let calls = mortal.sequence();
    let (connection, _, _) = *calls.iter().rfind(|(_, number, _)| *number == P::INFO.number).unwrap();
    let at = calls.iter().rposition(|(_, number, _)| *number == P::INFO.number).unwrap();
    let said =
        calls[..at].iter().rfind(|(on, number, _)| (*on, *number) == (connection, Identify::INFO.number));
    said.map(|(_, _, args)| {
        let args = xdr::decode::<remote::ConnectSetIdentityArgs<'_>>(args).unwrap();
        args.params.iter().next().unwrap().value.as_text().unwrap().to_string()
    })
}

#[tokio::test]
async fn every_connection_speaks_for_whom_it_is_told() {
    let mortal = mortal();
    let connect = open(&mortal).await;
    let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><console type='pty'/></devices></domain>";
    let guest = connect.create_domain(xml, Default::default()).await.unwrap();
    let _ = work(&connect).await;
    assert_eq!(spoke_for::<NodeAllocPages>(&mortal), None, "the process itself");
    for user in ["fred", "wilma"] {
        // Its connection would be the next stream's.
        let (_, picture) = guest.screenshot(0).await.unwrap();
        picture.finish().await.unwrap();
        connect.set_identity(&named(user)).await.unwrap();
        // The lane for work and the stream's were there before.
        let _ = work(&connect).await;
        guest.autostart().await.unwrap();
        guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap().abort();
        assert_eq!(spoke_for::<NodeAllocPages>(&mortal).as_deref(), Some(user));
        assert_eq!(spoke_for::<DomainGetAutostart>(&mortal).as_deref(), Some(user));
        assert_eq!(spoke_for::<DomainOpenConsole>(&mortal).as_deref(), Some(user));
    }
    // A connection that is made again says it before anything else.
    let before = mortal.sequence().len();
    mortal.kill();
    while guest.autostart().await.is_err() {}
    let _ = work(&connect).await;
    assert_eq!(spoke_for::<DomainGetAutostart>(&mortal).as_deref(), Some("wilma"));
    assert_eq!(spoke_for::<NodeAllocPages>(&mortal).as_deref(), Some("wilma"));
    let calls = mortal.sequence();
    let opened =
        calls[before..].iter().enumerate().filter(|(_, (_, number, _))| *number == ConnectOpen::INFO.number);
    for (at, (connection, _, _)) in opened {
        let next = calls[before + at + 1..].iter().find(|(on, _, _)| on == connection).unwrap();
        assert_eq!(next.1, Identify::INFO.number);
    }
}

#[tokio::test]
async fn an_identity_that_is_refused_changes_nothing() {
    let mortal = mortal();
    let connect = open(&mortal).await;
    connect.set_identity(&named("fred")).await.unwrap();
    let _ = work(&connect).await;
    assert!(connect.set_identity(&refused()).await.unwrap_err().refusal().is_some());
    let connections = mortal.connections();
    let _ = work(&connect).await;
    assert_eq!(mortal.connections(), connections, "the lane is still the same");
    assert_eq!(spoke_for::<NodeAllocPages>(&mortal).as_deref(), Some("fred"));
    mortal.kill();
    while connect.hostname().await.is_err() {}
    let _ = work(&connect).await;
    assert_eq!(spoke_for::<NodeAllocPages>(&mortal).as_deref(), Some("fred"));
    // On one of several connections alone it cannot be said.
    let params = named("x");
    let args = remote::ConnectSetIdentityArgs { params: params.as_slice().into(), ..Default::default() };
    let error = connect.call::<Identify>(&args).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Misuse(_)), "{error}");
}

/// The number of the connection on which a procedure was called last.
fn connection_of<P: Procedure>(mortal: &Mortal) -> usize {
    let calls = mortal.sequence();
    calls.iter().rfind(|(_, number, _)| *number == P::INFO.number).unwrap().0
}

/// A daemon forgets files with the connection on which they came, and a lane for work ends with the identity it was made for.
#[tokio::test]
async fn files_are_handed_over_where_they_stay() {
    let mortal = mortal();
    let connect = open(&mortal).await;
    let guest = connect.domain_by_name("test").await.unwrap();
    // Without any, because what is between here and the server carries bytes alone; the daemon may well refuse that.
    let associate = || guest.associate_files("group", Vec::new(), Default::default());
    for user in ["fred", "wilma"] {
        let _ = work(&connect).await;
        let _ = associate().await;
        connect.set_identity(&named(user)).await.unwrap();
        assert_eq!(connection_of::<DomainFdAssociate>(&mortal), connection_of::<Identify>(&mortal));
        assert_ne!(connection_of::<DomainFdAssociate>(&mortal), connection_of::<NodeAllocPages>(&mortal));
    }
}

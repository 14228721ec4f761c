//! Every flag that the server takes: made with a call that is done, and looked at for what came of it. `docs/protocols/libvirt-coverage.md`
//! counts from these which flags are exercised.

mod disks;
mod documents;
mod domains;
mod guards;
mod guests;
mod impact;
mod lists;
mod migration;
mod moments;
mod refused;
mod storage;

use super::{complete, connect, start};
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, types};
use libvirt_client::{Connect, Domain, Reply};

/// A server of its own that is as new as can be, and a connection.
async fn fresh() -> Connect {
    connect(&start(complete().version(super::NEWEST))).await
}

/// Makes a call that must be done.
async fn done<P: Procedure>(connect: &Connect, args: &P::Args<'_>) -> Reply<P> {
    match connect.call::<P>(args).await {
        Ok(reply) => reply,
        Err(error) => panic!("{}: {error}", P::INFO.name),
    }
}

/// Makes a call that must be refused; tells why.
async fn refused<P: Procedure>(connect: &Connect, args: &P::Args<'_>) -> ErrorNumber {
    match connect.call::<P>(args).await {
        Ok(_) => panic!("{} was done", P::INFO.name),
        Err(error) => error.refusal().unwrap_or_else(|| panic!("{}: {error}", P::INFO.name)).code,
    }
}

async fn domain(connect: &Connect) -> Domain {
    connect.domain_by_name("test").await.unwrap()
}

/// The domain as it travels.
async fn dom(connect: &Connect) -> types::Domain<'static> {
    use libvirt_client::protocol::xdr::IntoOwned;
    domain(connect).await.wire().into_owned()
}

/// What runs.
async fn live(connect: &Connect) -> String {
    domain(connect).await.xml(Default::default()).await.unwrap()
}

/// What will run next time.
async fn kept(connect: &Connect) -> String {
    use libvirt_client::protocol::flags::DomainXmlFlags;
    domain(connect).await.xml(DomainXmlFlags::INACTIVE).await.unwrap()
}

/// A domain of this name, with more in it.
fn xml(name: &str, more: &str) -> String {
    format!(
        "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os>{more}</domain>"
    )
}

/// Starts a domain that is not kept.
async fn run(connect: &Connect, xml: &str) -> Domain {
    connect.create_domain(xml, Default::default()).await.unwrap()
}

async fn define(connect: &Connect, xml: &str) -> Domain {
    connect.define_domain(xml, Default::default()).await.unwrap()
}

async fn state(domain: &Domain) -> libvirt_client::protocol::enums::DomainState {
    domain.state().await.unwrap().state
}

//! The three calls with which a daemon opens a tunnel to another one, made by a client: what goes through it is a guest that was saved.

use crate::guests::awake;
use crate::migration_flags::{BASE, Hosts};
use crate::support::run;
use libvirt_client::protocol::enums::DomainState;
use libvirt_client::protocol::flags::{
    DomainConsoleFlags, DomainDestroyFlags, DomainMigrateFlags as F, DomainSaveRestoreFlags, DomainXmlFlags,
};
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::{Bytes, IntoOwned};
use libvirt_client::{ByteStream, Connect, Domain, Error, MigrateParameters, Params};

/// The head of a file with a saved guest (`virQEMUSaveHeader`): a mark of 16 bytes, and in 19 words among others how long the text is
/// that stands before the guest itself.
const HEAD: usize = 16 + 19 * 4;

/// What a save of libvirt's holds of the guest itself.
fn content(file: &[u8]) -> &[u8] {
    let word = |at: usize| u32::from_ne_bytes(file[16 + 4 * at..][..4].try_into().unwrap());
    assert!(file.starts_with(b"LibvirtQemudSave") && word(0) == 2 && word(3) == 0, "not compressed");
    &file[HEAD + word(1) as usize..]
}

/// Opens a tunnel to where the guest of a definition is to come from it; answers what the end must be told too.
async fn open(
    target: &Connect,
    named: bool,
    cookie: &[u8],
    xml: &str,
    flags: F,
) -> Result<(Vec<u8>, ByteStream), Error> {
    let cookie_in = Bytes(cookie.to_vec().into());
    if named {
        let parameters = MigrateParameters {
            destination_xml: Some(xml.into()),
            destination_name: Some("guest".into()),
            ..Default::default()
        };
        let params = Params::from(&parameters);
        let args = remote::DomainMigratePrepareTunnel3ParamsArgs {
            params: params.as_slice().into(),
            cookie_in,
            flags,
        };
        let (reply, stream) = target.call_stream::<remote::DomainMigratePrepareTunnel3Params>(&args).await?;
        Ok((reply.result()?.cookie_out.0.into_owned(), stream))
    } else {
        let args = remote::DomainMigratePrepareTunnel3Args {
            cookie_in,
            flags: flags.into(),
            dom_xml: xml.into(),
            ..Default::default()
        };
        let (reply, stream) = target.call_stream::<remote::DomainMigratePrepareTunnel3>(&args).await?;
        Ok((reply.result()?.cookie_out.0.into_owned(), stream))
    }
}

async fn finish(target: &Connect, cookie: Vec<u8>, flags: F, cancelled: i32) -> Result<(), Error> {
    let args = remote::DomainMigrateFinish3Args {
        dname: "guest".into(),
        cookie_in: Bytes(cookie.into()),
        flags: flags.into(),
        cancelled,
        ..Default::default()
    };
    target.call::<remote::DomainMigrateFinish3>(&args).await.map(drop)
}

async fn state(guest: &Domain) -> DomainState {
    guest.state().await.unwrap().state
}

/// Two daemons, and what the second must know beside the definition of the guest that runs at the first.
struct Tunnels {
    hosts: Hosts,
    target: Connect,
    guest: Domain,
    cookie: Vec<u8>,
    xml: String,
}

const TUNNEL: F = BASE.union(F::TUNNELLED).union(F::PEER2PEER);

impl Tunnels {
    async fn start(test: &str) -> Option<Self> {
        let hosts = Hosts::start(test).await?;
        // A guest that is to come ends with the connection that it was prepared on: the tunnel has none of its own.
        let target = hosts.to.builder("qemu:///session").lanes(0).open_with(run).await.unwrap();
        let guest = hosts.running(false).await;
        let mut console = guest.open_console(None, DomainConsoleFlags::FORCE).await.unwrap();
        awake(&mut console).await;
        let dom = guest.wire().into_owned();
        let args = remote::DomainMigrateBegin3Args { dom, flags: BASE.into(), ..Default::default() };
        let begun = hosts.source.call::<remote::DomainMigrateBegin3>(&args).await.unwrap();
        let cookie = begun.result().unwrap().cookie_out.0.into_owned();
        let xml = guest.xml(DomainXmlFlags::MIGRATABLE | DomainXmlFlags::SECURE).await.unwrap();
        Some(Self { hosts, target, guest, cookie, xml })
    }

    async fn open(&self, named: bool, flags: F) -> Result<(Vec<u8>, ByteStream), Error> {
        open(&self.target, named, &self.cookie, &self.xml, flags).await
    }
}

#[tokio::test]
async fn a_guest_comes_through_a_tunnel_of_the_clients_own() {
    let test = "a_guest_comes_through_a_tunnel_of_the_clients_own";
    let Some(tunnels) = Tunnels::start(test).await else { return };
    let Tunnels { hosts, target, guest, .. } = &tunnels;
    let file = hosts.from.path("saved");
    let save = guest.save(&file.display().to_string(), None, DomainSaveRestoreFlags::empty()).await.unwrap();
    save.await.unwrap();
    let saved = std::fs::read(&file).unwrap();
    for named in [false, true] {
        let (answer, mut stream) = tunnels.open(named, TUNNEL).await.unwrap();
        stream.send(content(&saved)).await.unwrap();
        stream.finish().await.unwrap();
        // What it has answered is for the source, which would have another to tell it.
        drop(answer);
        finish(target, Vec::new(), TUNNEL, 0).await.unwrap();
        let moved = target.domain_by_name("guest").await.unwrap();
        assert_eq!(moved.uuid(), guest.uuid());
        assert_eq!(state(&moved).await, DomainState::Running);
        let mut console = moved.open_console(None, DomainConsoleFlags::FORCE).await.unwrap();
        awake(&mut console).await;
        moved.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    }
}

/// With flags that change nothing of the way in: what they do nobody sees, as nothing comes through.
#[tokio::test]
async fn a_tunnel_that_is_given_up_leaves_no_guest() {
    let Some(tunnels) = Tunnels::start("a_tunnel_that_is_given_up_leaves_no_guest").await else { return };
    let target = &tunnels.target;
    for named in [false, true] {
        for flags in [
            F::PERSIST_DEST | F::UNDEFINE_SOURCE | F::PAUSED | F::CHANGE_PROTECTION,
            F::COMPRESSED | F::ABORT_ON_ERROR | F::AUTO_CONVERGE | F::RDMA_PIN_ALL,
            F::PARALLEL | F::ZEROCOPY,
        ] {
            let (answer, stream) = match tunnels.open(named, TUNNEL | flags).await {
                Ok(opened) => opened,
                // Newer QEMUs know at once that one tunnel is not several.
                Err(error) => {
                    assert!(
                        flags.contains(F::PARALLEL) && error.to_string().contains("multi-channel"),
                        "{error}"
                    );
                    continue;
                }
            };
            let waits = target.domain_by_name("guest").await.unwrap();
            assert_eq!(state(&waits).await, DomainState::Paused, "{flags:?}");
            stream.abort();
            // The destination's daemon has nothing to answer with but that there is no guest.
            finish(target, answer, TUNNEL | flags, 1).await.unwrap_err();
            assert!(target.domain_by_name("guest").await.unwrap_err().is_not_found(), "{flags:?}");
        }
    }
}

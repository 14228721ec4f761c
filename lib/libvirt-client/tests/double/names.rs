//! What a daemon is asked to open, and what names the objects that it lists.

use crate::mortal::{Back, Mortal};
use libvirt_client::Connect;
use libvirt_client::protocol::remote::{ConnectOpen, ConnectOpenArgs};
use libvirt_client::protocol::xdr;
use libvirt_client::uri::{Environment, User};
use libvirt_server::Server;

/// What it was asked for last.
fn asked(mortal: &Mortal) -> Option<String> {
    let heard = mortal.heard::<ConnectOpen>();
    let args = xdr::decode::<ConnectOpenArgs<'_>>(heard.last().unwrap()).unwrap();
    args.name.map(|name| name.to_string())
}

#[tokio::test]
async fn who_names_no_driver_leaves_it_to_the_daemon() {
    let mortal = Mortal::new(super::start(Server::builder()), Back::AtOnce);
    let uri = mortal.uri();
    Connect::builder(&uri).open_with(super::run).await.unwrap();
    assert_eq!(asked(&mortal).as_deref(), Some("test:///default"));
    let (_, socket) = uri.split_once("socket=").unwrap();
    Connect::builder(&format!("remote+unix:///?socket={socket}")).open_with(super::run).await.unwrap();
    assert_eq!((asked(&mortal).as_deref(), mortal.heard::<ConnectOpen>().len()), (Some(""), 2));
    // Nobody says anything, and there is the host's daemon, beside one of a driver that is not asked.
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("libvirt")).unwrap();
    std::os::unix::fs::symlink(socket, directory.path().join("libvirt/libvirt-sock")).unwrap();
    std::fs::write(directory.path().join("libvirt/virtqemud-sock"), "").unwrap();
    let environment = Environment {
        user: User::Root,
        run: directory.path().to_owned(),
        etc: directory.path().to_owned(),
        ..Environment::default()
    };
    Connect::builder("").environment(environment).open_with(super::run).await.unwrap();
    assert_eq!((asked(&mortal).as_deref(), mortal.heard::<ConnectOpen>().len()), (Some(""), 3));
}

#[tokio::test]
async fn every_handle_of_a_long_list_is_of_its_own_object() {
    let mortal = Mortal::new(super::start(Server::builder()), Back::AtOnce);
    let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    let mut names: Vec<_> = (0..150).map(|number| format!("guest-{number}")).collect();
    for name in &names {
        let xml = format!(
            "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
        );
        connect.define_domain(&xml, Default::default()).await.unwrap();
    }
    let listed = connect.domains(Default::default()).await.unwrap();
    // One that is kept is what it was when the rest of the list is gone.
    let last = listed.last().unwrap().clone();
    for domain in &listed {
        assert_eq!(connect.domain_by_uuid(domain.uuid()).await.unwrap().name(), domain.name());
        assert!(domain.is_active().await.is_ok());
    }
    let mut found: Vec<_> = listed.iter().map(|domain| domain.name()).filter(|it| it != "test").collect();
    drop(listed);
    found.sort();
    names.sort();
    assert_eq!(found, names);
    assert!(last.xml(Default::default()).await.unwrap().contains(&last.name()));
}

//! What a daemon is asked to open.

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

//! A connection that is made again.

use crate::authority::{Authority, Expired};
use libvirt_client::transport::{Tls, Verify};
use libvirt_client::{Connect, Reconnect};
use libvirt_server::{Clients, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// TLS alone has no deadline: it is spoken before there are calls.
#[tokio::test]
async fn a_peer_that_says_nothing_costs_one_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("cacert.pem"), &authority.pem).unwrap();
    authority.issue(&["127.0.0.1"], "server", &at("servercert.pem"), &at("serverkey.pem"), Expired::No);
    let tls = libvirt_server::Tls::in_directory(directory.path(), Clients::Anybody).unwrap();
    let handle = super::start(Server::builder());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cut = Arc::new(Notify::new());
    let cutting = Arc::clone(&cut);
    super::run(async move {
        // The first is served until it is cut, the second hears nothing, all others are served.
        let (first, _) = listener.accept().await?;
        let (near, far) = tokio::io::duplex(65_536);
        super::run(async move {
            let (mut near, mut first) = (near, first);
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut first, &mut near) => {}
                () = cutting.notified() => {}
            }
        });
        handle.attach(tls.accept(far).await?);
        let _silent = listener.accept().await?;
        while let Ok((stream, _)) = listener.accept().await {
            handle.attach(tls.accept(stream).await?);
        }
        std::io::Result::Ok(())
    });
    let reconnect = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    let connect = Connect::builder(&format!("test://127.0.0.1:{port}/default"))
        .tls(Tls::in_directory(&authority.client(at("client"), None), Verify::Required))
        .lanes(0)
        .reconnect(reconnect)
        .deadline(Duration::from_millis(500))
        .open_with(super::run)
        .await
        .unwrap();
    connect.hostname().await.unwrap();
    cut.notify_one();
    // Each waits for its own deadline; the attempt that hears nothing for one.
    let mut tries = 0;
    while let Err(error) = connect.hostname().await {
        tries += 1;
        assert!(tries < 50, "{error}");
    }
}

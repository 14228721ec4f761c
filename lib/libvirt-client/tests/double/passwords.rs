//! Who is told a password.

use libvirt_client::transport::Privacy;
use libvirt_client::{Connect, Credentials, Error, ErrorKind};
use libvirt_server::{Handle, Mechanism, Sasl, Server};

async fn login(handle: &Handle, privacy: Privacy) -> Result<Connect, Error> {
    let credentials = Credentials { user: "fred".into(), password: "geheim".into() };
    let builder = Connect::builder("test:///default").credentials(credentials);
    builder.open_on(super::end(handle, privacy), super::run).await
}

#[tokio::test]
async fn a_daemon_that_proves_nothing_is_told_no_password() {
    let server =
        |mechanism| super::start(Server::builder().sasl(Sasl::new([mechanism]).user("fred", "geheim")));
    let plain = server(Mechanism::Plain);
    login(&plain, Privacy::Private).await.unwrap();
    let refused = login(&plain, Privacy::Unproven).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Auth(_)), "{refused}");
    assert!(refused.to_string().contains("auth=sasl.PLAIN"), "{refused}");
    // SCRAM tells it to nobody, but needs a connection that nobody else reads.
    let scram = server(Mechanism::ScramSha256);
    login(&scram, Privacy::Unproven).await.unwrap();
    assert!(matches!(login(&scram, Privacy::Open).await.unwrap_err().kind(), ErrorKind::Auth(_)));
}

#[tokio::test]
async fn a_connection_is_as_secure_as_the_way_to_the_daemon() {
    let server = super::start(Server::builder());
    for (privacy, is_secure) in [(Privacy::Private, true), (Privacy::Unproven, true), (Privacy::Open, false)]
    {
        let transport = super::end(&server, privacy);
        let connect = Connect::builder("test:///default").open_on(transport, super::run).await.unwrap();
        assert_eq!(connect.is_secure().await.unwrap(), is_secure, "{privacy:?}");
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_by_its_transport_alone() {
    let server = super::start(Server::builder());
    for privacy in [Privacy::Private, Privacy::Unproven, Privacy::Open] {
        for is_encrypted in [false, true] {
            let transport = super::end(&server, privacy);
            let transport = if is_encrypted { transport.encrypting() } else { transport };
            let connect = Connect::builder("test:///default").open_on(transport, super::run).await.unwrap();
            assert_eq!(connect.is_encrypted().await.unwrap(), is_encrypted, "{privacy:?}");
        }
    }
}

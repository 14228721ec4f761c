//! Passwords: our client's mechanisms against our server's.

use super::{complete, connect, start};
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::remote;
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{Connect, Credentials, Error, ErrorKind, Options};
use libvirt_server::{Handle, Mechanism, Sasl};

async fn login(handle: &Handle, user: &str, password: &str) -> Result<Connect, Error> {
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    let credentials = Credentials { user: user.into(), password: password.into() };
    let builder = Connect::builder("test:///default").credentials(credentials);
    builder.open_on(Stream::new(ours, Privacy::Private), super::run).await
}

#[tokio::test]
async fn a_password_lets_in_with_every_mechanism() {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain] {
        let handle = start(complete().sasl(Sasl::new([mechanism]).user("fr=ed,", "geheim")));
        let connect = login(&handle, "fr=ed,", "geheim").await.unwrap();
        assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test", "{mechanism:?}");
        for (user, password) in [("fr=ed,", "falsch"), ("nobody", "geheim"), ("fr=ed,", "")] {
            let error = login(&handle, user, password).await.unwrap_err();
            let refusal = error.refusal().unwrap_or_else(|| panic!("{mechanism:?}: {error}"));
            assert_eq!(refusal.code, ErrorNumber::AuthFailed);
        }
        // Nobody talks before.
        let (ours, theirs) = tokio::io::duplex(65_536);
        handle.attach(Stream::new(theirs, Privacy::Private));
        let (stranger, driver) =
            libvirt_client::connection(Stream::new(ours, Privacy::Private), Options::default());
        super::run(driver);
        let open = remote::ConnectOpenArgs { name: Some("test:///default".into()), ..Default::default() };
        let error = stranger.call::<remote::ConnectOpen>(&open).await.unwrap_err();
        assert!(error.to_string().contains("authentication required"), "{error}");
    }
    // Typed in two signs what is stored in one.
    for mechanism in [Mechanism::ScramSha256, Mechanism::Plain] {
        let handle = start(complete().sasl(Sasl::new([mechanism]).user("fred", "caf\u{e9}")));
        login(&handle, "fred", "cafe\u{301}").await.unwrap();
        login(&handle, "fred", "cafe").await.unwrap_err();
    }
    // Without credentials there is nothing to say.
    let handle = start(complete().sasl(Sasl::new([Mechanism::Plain])));
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    let builder = Connect::builder("test:///default");
    let opened = builder.open_on(Stream::new(ours, Privacy::Private), super::run).await;
    assert!(matches!(opened.unwrap_err().kind(), ErrorKind::Auth(_)));
    // It can be taken back.
    handle.with(|hypervisor| hypervisor.set_sasl(None)).await.unwrap();
    assert!(!connect(&handle).await.hostname().await.unwrap().is_empty());
}

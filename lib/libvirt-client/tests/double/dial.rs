//! A program that connects by itself has all that a URI has, or hears what it has not.

use crate::lanes::{endless, is_answered_beside_slow_calls};
use crate::mortal::{Back, Mortal};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::remote::ConnectGetHostname;
use libvirt_client::transport::{Privacy, Stream, Tls, Unix, Verify};
use libvirt_client::{Blocking, Builder, Connect, ErrorKind, Item, Options, Piece, Reconnect};
use libvirt_server::{Scope, Server};
use std::io;
use std::time::Duration;
use tokio::io::DuplexStream;

fn complete() -> Mortal {
    Mortal::new(super::start(Server::builder().scope(Scope::Complete)), Back::AtOnce)
}

#[tokio::test]
async fn calls_that_take_for_ever_delay_no_other_there_either() {
    let mortal = Mortal::new(super::start(endless()), Back::AtOnce);
    for lanes in [4, 0] {
        let connect = mortal.dialled().lanes(lanes).open_with(super::run).await.unwrap();
        is_answered_beside_slow_calls(&connect, lanes).await;
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_delays_no_call() {
    let mortal = complete();
    for builder in [Connect::builder(&mortal.uri()), mortal.dialled()] {
        let connect = builder.open_with(super::run).await.unwrap();
        let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
        let most = 8 << 20;
        let xml = format!("<volume><name>v</name><capacity>{most}</capacity></volume>");
        let volume = pool.create_volume(&xml, Default::default()).await.unwrap();
        let mut up = volume.upload(.., Default::default()).await.unwrap();
        up.send(&vec![7; most]).await.unwrap();
        up.finish().await.unwrap();
        // Far more than may wait for its reader.
        let mut down = volume.download(.., Default::default()).await.unwrap();
        for _ in 0..100 {
            assert_eq!(connect.hostname().await.unwrap(), "localhost");
            assert_eq!(volume.info().await.unwrap().capacity, most as u64);
        }
        let mut read = 0;
        while let Some(Piece::Data(data)) = down.receive().await.unwrap() {
            read += data.len();
        }
        down.finish().await.unwrap();
        assert_eq!(read, most);
        volume.delete(Default::default()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_lost_is_dialled_again() {
    let mortal = complete();
    let policy = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    let connect = mortal.dialled().reconnect(policy).open_with(super::run).await.unwrap();
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let test = connect.domain_by_name("test").await.unwrap();
    for _ in 0..3 {
        mortal.kill();
        assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
        test.suspend().await.unwrap();
        assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
        test.resume().await.unwrap();
        assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
    }
}

#[tokio::test]
async fn a_program_that_runs_here_needs_to_say_no_more() {
    let mortal = complete();
    let connect = mortal.dialled().read_only().open().await.unwrap();
    let refused = connect.define_domain("<domain/>", Default::default()).await.unwrap_err();
    assert!(refused.refusal().is_some(), "{refused}");
}

#[test]
fn a_program_that_waits_dials_too() {
    let elsewhere =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mortal = elsewhere.block_on(async { complete() });
    let libvirt = Blocking::open_with(mortal.dialled()).unwrap();
    for _ in 0..100 {
        assert_eq!(libvirt.wait(libvirt.connect().hostname()).unwrap(), "localhost");
        assert_eq!(libvirt.wait(libvirt.connect().domains(Default::default())).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn why_nothing_was_dialled_is_told() {
    let dial = || async { Err::<Unix, _>(io::Error::other("the bastion is shut")) };
    let error = Connect::builder("test:///default").dial(dial).open().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Transport(_)), "{error}");
    assert!(format!("{error:#}").contains("the bastion is shut"), "{error:#}");
}

fn nobody() -> (Stream<DuplexStream>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64);
    (Stream::new(ours, Privacy::Private), theirs)
}

#[tokio::test]
async fn what_one_connection_cannot_do_is_refused() {
    let builder = || Connect::builder("test:///default");
    let tls = Tls::in_directory(std::path::Path::new("/none"), Verify::Required);
    let dial = || async { Ok(nobody().0) };
    let cases: [(&str, Builder); 4] = [
        ("Builder::lanes", builder().lanes(1)),
        ("Builder::reconnect", builder().reconnect(Reconnect::default())),
        ("Builder::tls", builder().tls(tls.clone())),
        ("Builder::dial", builder().dial(dial)),
    ];
    for (setting, builder) in cases {
        let error = builder.open_on(nobody().0, super::run).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Misuse(_)), "{error}");
        assert!(error.to_string().contains(setting), "{error}");
    }
    let error = builder().dial(dial).tls(tls).open_with(super::run).await.unwrap_err();
    assert!(error.to_string().contains("Builder::tls"), "{error}");
    let error = Connect::builder("test+tcp://h/default").dial(dial).open().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Uri(_)), "{error}");
    let server = super::start(Server::builder());
    let one = builder().lanes(0).open_on(super::end(&server, Privacy::Private), super::run);
    assert_eq!(one.await.unwrap().hostname().await.unwrap(), "localhost");
}

#[tokio::test]
async fn a_deadline_holds_in_whatever_order_it_is_said() {
    let mortal = complete();
    // It also holds for the calls that a connection begins with, which are answered sooner on any machine.
    let deadline = Duration::from_secs(2);
    let options = Options { deadline: Some(Duration::from_secs(3600)), ..Options::default() };
    let uri = mortal.uri();
    for builder in [
        Connect::builder(&uri).deadline(deadline).options(options),
        Connect::builder(&uri).options(options).deadline(deadline),
    ] {
        let connect = builder.open_with(super::run).await.unwrap();
        mortal.silence::<ConnectGetHostname>(true);
        let late = tokio::time::timeout(Duration::from_secs(30), connect.hostname()).await;
        assert!(matches!(late.expect("it is forgotten").unwrap_err().kind(), ErrorKind::Timeout));
        mortal.silence::<ConnectGetHostname>(false);
    }
}

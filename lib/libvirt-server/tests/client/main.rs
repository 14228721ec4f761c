//! The client of this workspace drives the server: calls, refusals, events, streams, jobs.
#![cfg(test)]

mod admin;
#[path = "../../../libvirt-client/tests/daemon/authority.rs"]
mod authority;
mod calls;
mod events;
#[path = "../../../libvirt-client/tests/generated/every.rs"]
mod every;
mod flags;
mod fuzz;
mod guests;
mod limits;
#[path = "../../../libvirt-client/tests/daemon/observed.rs"]
mod observed;
#[path = "../../../libvirt-client/tests/shared/running.rs"]
mod running;
mod sasl;

use libvirt_client::protocol::enums::{DomainEventType, DomainState, ErrorNumber};
use libvirt_client::protocol::event::{self, Event, Kind};
use libvirt_client::protocol::flags::{
    DomainCreateFlags, DomainDestroyFlags, DomainXmlFlags, StorageVolDownloadFlags, StorageVolUploadFlags,
};
use libvirt_client::protocol::procedure::{Program, Release};
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::protocol::{remote, types};
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{Connect, ErrorKind, Item, Piece, StorageVol};
use libvirt_server::{Builder, Handle, Scope, Server};
use running::run;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

fn start(builder: Builder) -> Handle {
    observed::observe("libvirt_server::answered");
    let server = builder.build();
    let handle = server.handle();
    run(async move { server.serve(None).await.is_ok() });
    handle
}

/// A connection in memory.
async fn connect(handle: &Handle) -> Connect {
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    let transport = Stream::new(ours, Privacy::Private);
    Connect::builder("test:///default").open_on(transport, run).await.unwrap()
}

fn complete() -> Builder {
    Server::builder().scope(Scope::Complete)
}

async fn volume(connect: &Connect, size: usize) -> StorageVol {
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let xml = format!("<volume><name>v</name><capacity>{size}</capacity><allocation>0</allocation></volume>");
    pool.create_volume(&xml, Default::default()).await.unwrap()
}

/// Bytes that repeat nowhere nearby, and hold no run of zeros.
fn pattern(size: usize) -> Vec<u8> {
    let mut value = 1_u32;
    std::iter::repeat_with(|| {
        value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        value.to_be_bytes()[0]
    })
    .take(size)
    .collect()
}

#[tokio::test]
async fn over_a_unix_socket_it_is_a_daemon_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let server = Server::builder().hostname("there").build();
    run(async move { server.serve(Some(listener)).await.is_ok() });
    let uri = format!("test+unix:///default?socket={}", socket.display());
    let connect = Connect::builder(&uri).open_with(run).await.unwrap();
    assert_eq!(connect.hostname().await.unwrap(), "there");
    assert_eq!(connect.uri().await.unwrap(), "test:///default");
    assert!(connect.capabilities().await.unwrap().contains("<arch>i686</arch>"));
    let domain = connect.domain_by_name("test").await.unwrap();
    assert_eq!(domain.state().await.unwrap().state, DomainState::Running);
    connect.close().await.unwrap();
}

#[tokio::test]
async fn events_come_in_order_to_those_who_asked_and_to_nobody_else() {
    let handle = start(Server::builder());
    let (watcher, actor) = (connect(&handle).await, connect(&handle).await);
    let mut all = watcher.subscribe(Kind::DomainLifecycle).await.unwrap();
    let mut networks = watcher.subscribe(Kind::NetworkLifecycle).await.unwrap();
    let other = "<domain type='test'><name>other</name><memory>1</memory><os><type>hvm</type></os></domain>";
    let other = actor.create_domain(other, DomainCreateFlags::empty()).await.unwrap();
    let domain = actor.domain_by_name("test").await.unwrap();
    let mut one = domain
        .connect()
        .domain_by_name("test")
        .await
        .unwrap()
        .subscribe(Kind::DomainLifecycle)
        .await
        .unwrap();
    domain.suspend().await.unwrap();
    domain.resume().await.unwrap();
    other.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    domain.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    let args = remote::NetworkLookupByNameArgs { name: "default".into() };
    let found = actor.call::<remote::NetworkLookupByName>(&args).await.unwrap();
    let net = types::Network { name: "default".into(), uuid: found.result().unwrap().net.uuid };
    actor.call::<remote::NetworkDestroy>(&remote::NetworkDestroyArgs { net }).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        match all.next().await.unwrap() {
            Item::Event(Event::DomainLifecycle(event)) => {
                seen.push((event.dom.name.to_string(), event.event))
            }
            unexpected => panic!("{unexpected:?}"),
        }
    }
    use DomainEventType as T;
    let expected = [
        ("other", T::Started),
        ("test", T::Suspended),
        ("test", T::Resumed),
        ("other", T::Stopped),
        ("test", T::Stopped),
    ];
    assert_eq!(seen, expected.map(|(name, event)| (name.to_owned(), event)));
    for expected in [T::Suspended, T::Resumed, T::Stopped] {
        match one.next().await.unwrap() {
            Item::Event(Event::DomainLifecycle(event)) => {
                assert_eq!((event.dom.name.to_string().as_str(), event.event), ("test", expected));
            }
            unexpected => panic!("{unexpected:?}"),
        }
    }
    match networks.next().await.unwrap() {
        Item::Event(Event::NetworkLifecycle(event)) => assert_eq!(event.net.name, "default"),
        unexpected => panic!("{unexpected:?}"),
    }
}

#[tokio::test]
async fn what_goes_up_comes_down_dense_and_in_part() {
    let connect = connect(&start(complete())).await;
    let size = 3 * MIB + 77;
    let volume = volume(&connect, size).await;
    let data = pattern(size);
    let mut up = volume.upload(.., StorageVolUploadFlags::empty()).await.unwrap();
    up.send(&data).await.unwrap();
    up.finish().await.unwrap();
    for range in [0..size as u64, 100..5000] {
        let mut down = volume.download(range.clone(), StorageVolDownloadFlags::empty()).await.unwrap();
        let mut back = Vec::new();
        while let Some(piece) = down.receive().await.unwrap() {
            match piece {
                Piece::Data(piece) => back.extend(piece),
                Piece::Hole(_) => panic!("a hole in a dense stream"),
            }
        }
        down.finish().await.unwrap();
        let part = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(back == data[part], "{range:?}");
    }
}

#[tokio::test]
async fn holes_travel_both_ways_and_only_when_they_were_asked_for() {
    let connect = connect(&start(complete())).await;
    let volume = volume(&connect, 8 * MIB).await;
    let data = pattern(MIB);
    let mut up = volume.upload(.., StorageVolUploadFlags::SPARSE_STREAM).await.unwrap();
    up.send_hole(2 * MIB as u64).await.unwrap();
    up.send(&data).await.unwrap();
    up.send_hole(5 * MIB as u64).await.unwrap();
    up.finish().await.unwrap();
    let mut down = volume.download(.., StorageVolDownloadFlags::SPARSE_STREAM).await.unwrap();
    let (mut place, mut back, mut holes) = (0, vec![0; 8 * MIB], 0);
    while let Some(piece) = down.receive().await.unwrap() {
        match piece {
            Piece::Data(piece) => {
                back[place..place + piece.len()].copy_from_slice(&piece);
                place += piece.len();
            }
            Piece::Hole(length) => {
                holes += 1;
                place += usize::try_from(length).unwrap();
            }
        }
    }
    down.finish().await.unwrap();
    assert_eq!((place, holes), (8 * MIB, 2));
    assert!(back[2 * MIB..3 * MIB] == data && back[3 * MIB..].iter().all(|byte| *byte == 0));
    let mut dense = volume.upload(.., StorageVolUploadFlags::empty()).await.unwrap();
    let refused = match dense.send_hole(1).await {
        Ok(()) => dense.finish().await,
        refused => refused,
    };
    assert!(refused.is_err(), "a hole in a dense stream");
}

#[tokio::test]
async fn more_than_a_volume_holds_breaks_the_stream_and_nothing_else() {
    let connect = connect(&start(complete())).await;
    let volume = volume(&connect, 1000).await;
    let mut up = volume.upload(.., StorageVolUploadFlags::empty()).await.unwrap();
    let result = async {
        up.send(&pattern(2 * MIB)).await?;
        up.finish().await
    };
    let error = result.await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::SystemError);
    assert_eq!(connect.domains(Default::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_console_gives_back_what_it_gets_and_a_screenshot_is_a_picture() {
    let connect = connect(&start(complete())).await;
    let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><console type='pty'/></devices></domain>";
    let domain = connect.create_domain(xml, DomainCreateFlags::empty()).await.unwrap();
    let dom = types::Domain { name: "c".into(), uuid: domain.uuid(), id: domain.id().unwrap() };
    let args = remote::DomainOpenConsoleArgs { dom: dom.clone(), ..Default::default() };
    let mut console = connect.open_stream::<remote::DomainOpenConsole>(&args).await.unwrap();
    for text in ["hello", "there"] {
        console.send(text.as_bytes()).await.unwrap();
        assert_eq!(console.receive().await.unwrap(), Some(Piece::Data(text.into())));
    }
    console.abort();
    let args = remote::DomainScreenshotArgs { dom, ..Default::default() };
    let mut picture = connect.open_stream::<remote::DomainScreenshot>(&args).await.unwrap();
    match picture.receive().await.unwrap() {
        Some(Piece::Data(data)) => assert!(data.starts_with(b"\x89PNG")),
        unexpected => panic!("{unexpected:?}"),
    }
    picture.finish().await.unwrap();
}

#[tokio::test]
async fn what_the_test_driver_refuses_is_refused_unless_everything_was_asked_for() {
    let strict = connect(&start(Server::builder())).await;
    let error = volume(&strict, 10).await.upload(.., StorageVolUploadFlags::empty()).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.code, ErrorNumber::NoSupport);
    assert!(refusal.message.ends_with("connection driver: virStorageVolUpload"), "{}", refusal.message);
    let wide = connect(&start(complete())).await;
    volume(&wide, 10).await.upload(.., StorageVolUploadFlags::empty()).await.unwrap().finish().await.unwrap();
}

#[tokio::test]
async fn a_job_takes_its_time_can_be_watched_and_aborted() {
    let builder = complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
    let handle = start(builder);
    let (saver, watcher) = (connect(&handle).await, connect(&handle).await);
    let domain = watcher.domain_by_name("test").await.unwrap();
    let dom = types::Domain { name: "test".into(), uuid: domain.uuid(), id: 1 };
    let args = remote::DomainSaveArgs { dom: dom.clone(), to: "/image".into() };
    let save = saver.start::<remote::DomainSave>(&args).await.unwrap();
    let mut saving = tokio::task::JoinSet::new();
    saving.spawn(async move { save.within(None).await.map(drop) });
    let info = loop {
        let args = remote::DomainGetJobInfoArgs { dom: dom.clone() };
        let info = watcher.call::<remote::DomainGetJobInfo>(&args).await.unwrap().result().unwrap();
        if info.time_remaining != 0 {
            break info;
        }
    };
    assert_eq!(info.time_remaining, 3_600_000);
    assert_eq!(domain.state().await.unwrap().state, DomainState::Running);
    watcher.call::<remote::DomainAbortJob>(&remote::DomainAbortJobArgs { dom }).await.unwrap();
    let error = saving.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::OperationAborted);
    assert_eq!(domain.state().await.unwrap().state, DomainState::Running);
    assert!(domain.xml(DomainXmlFlags::empty()).await.unwrap().contains("id='1'"));
}

#[tokio::test]
async fn a_thousand_calls_at_once_are_all_answered() {
    let connect = connect(&start(Server::builder())).await;
    let first = connect.connection().await.unwrap();
    let start = |_| first.start::<remote::ConnectGetHostname>(&(), Vec::new()).within(None);
    let calls: Vec<_> = (0..1000).map(start).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().result().unwrap().hostname, "localhost");
    }
}

/// The newest release that brought anything to the protocol.
const NEWEST: Release = Release(12, 5, 0);

/// The kinds of all events whose message bears a subscription's number, sent with all fields empty.
#[tokio::test]
async fn every_event_is_understood() {
    let handle = start(complete().version(NEWEST));
    let connect = connect(&handle).await;
    // One of each class: messages of a class are told apart by the number alone.
    let classes = [
        Kind::DomainLifecycle,
        Kind::NetworkLifecycle,
        Kind::StoragePoolLifecycle,
        Kind::NodeDeviceLifecycle,
        Kind::SecretLifecycle,
    ];
    let mut events = connect.subscribe_to(classes.map(Into::into)).await.unwrap();
    let mut expected = std::collections::BTreeSet::new();
    let mut sent = 0;
    for info in Program::ALL.iter().flat_map(|program| program.procedures()).filter(|info| info.event) {
        let program = info.program;
        let mut payload = vec![0_u8; 4];
        while event::decode(program, info.number, &payload).unwrap().is_err() {
            payload.extend([0; 4]);
            assert!(payload.len() < 4096, "{}", info.name);
        }
        let message = event::decode(program, info.number, &payload).unwrap().unwrap();
        let numbered = message.callback_id.is_some() && message.event.kind() != Kind::QemuMonitor;
        if numbered {
            expected.insert(format!("{:?}", message.event.kind()));
        }
        for number in 0..if numbered { classes.len() as u32 } else { 1 } {
            if numbered {
                payload[..4].copy_from_slice(&number.to_be_bytes());
            }
            let payload = payload.clone();
            handle.with(move |hypervisor| hypervisor.send_event(info, &payload)).await.unwrap();
        }
        sent += usize::from(numbered);
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..sent {
        let Item::Event(event) = events.next().await.unwrap() else { panic!("no event") };
        seen.insert(format!("{:?}", event.kind()));
    }
    assert_eq!(seen, expected);
    assert!(seen.len() >= 36, "{seen:?}");
    // Those without a number reach nobody, and harm nobody.
    assert!(!connect.hostname().await.unwrap().is_empty());
}

/// Each on a server of its own: nothing that one of them does is seen by the next.
#[tokio::test]
async fn every_call_is_understood_and_answered() {
    let (mut done, mut wrong) = (0, Vec::new());
    for (info, flags, call) in every::calls() {
        let connect = connect(&start(complete().version(NEWEST))).await;
        let objects = every::Objects {
            domain: connect.domain_by_name("test").await.unwrap().wire().into_owned(),
            network: connect.network_by_name("default").await.unwrap().wire().into_owned(),
            pool: connect.storage_pool_by_name("default-pool").await.unwrap().wire().into_owned(),
            interface: connect.interface_by_name("eth1").await.unwrap().wire().into_owned(),
            volume: volume(&connect, MIB).await.wire().into_owned(),
        };
        match call(&connect, &objects, flags).await {
            Ok(()) => done += 1,
            Err(error) => match error.kind() {
                ErrorKind::Libvirt(refusal) if refusal.code != ErrorNumber::Rpc => {}
                _ => wrong.push(format!("{} with {flags:#x}: {error}", info.name)),
            },
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(done > 130, "{done} done");
}

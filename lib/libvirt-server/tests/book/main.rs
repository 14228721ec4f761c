//! The programs of the book (`docs/libvirt/`) run: as they stand there, against the server in memory. Those that connect to an address are
//! compiled alone, with the client's documentation.
#![cfg(test)]

#[path = "../../../libvirt-client/tests/shared/running.rs"]
mod running;

use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainConsoleFlags, DomainCreateFlags, DomainDefineFlags, DomainMigrateFlags, DomainStatsTypes,
    StorageVolDownloadFlags, StorageVolUploadFlags,
};
use libvirt_client::protocol::{enums::DomainState, remote};
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{
    Aftermath, Connect, Domain, Error, ErrorKind, Execution, Holes, Item, MigrateParameters, Piece,
    StorageVol, Subscription,
};
use libvirt_server::{Scope, Server};
use std::fs::File;
use std::path::Path;
use tokio::io::AsyncWriteExt;

/// What stands in the book.
const PROGRAMS: &str = include_str!("main.rs");

async fn find(connect: &Connect, name: &str) -> Result<Option<Domain>, Error> {
    match connect.domain_by_name(name).await {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn may_repeat(error: &Error) -> bool {
    error.execution() == Execution::No && error.is_retryable()
}

async fn watch(connect: &Connect) -> Result<(), Error> {
    let mut events =
        connect.subscribe_to([Kind::DomainLifecycle.into(), Kind::NetworkLifecycle.into()]).await?;
    loop {
        match events.next().await? {
            Item::Event(Event::DomainLifecycle(event)) => println!("{} {:?}", event.dom.name, event.event),
            Item::Event(other) => println!("{other:?}"),
            Item::Lagged(lost) => println!("{lost} events are lost: look at the state again"),
            Item::Resynchronised => println!("connected again: look at the state again"),
        }
    }
}

async fn follow(connect: &Connect) -> Result<(Vec<Domain>, Subscription), Error> {
    let events = connect.subscribe(Kind::DomainLifecycle).await?;
    Ok((connect.domains(Default::default()).await?, events))
}

async fn run(connect: &Connect, xml: &str) -> Result<Domain, Error> {
    let domain = connect.define_domain(xml, DomainDefineFlags::VALIDATE).await?;
    domain.start(DomainCreateFlags::empty()).await
}

async fn cpu_times(connect: &Connect) -> Result<Vec<(String, Option<u64>)>, Error> {
    let host = connect.snapshot_host(DomainStatsTypes::CPU_TOTAL).await?;
    Ok(host.domains.iter().map(|stats| (stats.domain.name(), stats.cpu_time_ns())).collect())
}

async fn driver(connect: &Connect) -> Result<String, Error> {
    let reply = connect.call::<remote::ConnectGetType>(&()).await?;
    Ok(reply.result()?.kind.into())
}

async fn fill(volume: &StorageVol, content: &[u8]) -> Result<(), Error> {
    let mut up = volume.upload(.., StorageVolUploadFlags::empty()).await?;
    up.send(content).await?;
    up.finish().await
}

async fn there_and_back(volume: &StorageVol, image: &File, copy: &File) -> Result<u64, Error> {
    volume.upload_file(image, .., Holes::Keep).await?;
    volume.download_file(copy, .., Holes::Keep).await
}

async fn copied(from: &StorageVol, to: &StorageVol) -> Result<u64, Box<dyn std::error::Error>> {
    let mut down = from.download(.., Default::default()).await?;
    let mut up = to.upload(.., Default::default()).await?;
    let copied = tokio::io::copy(&mut down, &mut up).await?;
    up.shutdown().await?;
    Ok(copied)
}

async fn data_and_holes(volume: &StorageVol) -> Result<(u64, u64), Error> {
    let mut down = volume.download(.., StorageVolDownloadFlags::SPARSE_STREAM).await?;
    let (mut data, mut holes) = (0, 0);
    while let Some(piece) = down.receive().await? {
        match piece {
            Piece::Data(bytes) => data += bytes.len() as u64,
            Piece::Hole(length) => holes += length,
        }
    }
    down.finish().await?;
    Ok((data, holes))
}

async fn first_words(domain: &Domain, typed: &[u8]) -> Result<(), Error> {
    let (mut screen, mut keyboard) = domain.open_console(None, DomainConsoleFlags::empty()).await?.split();
    let (sent, shown) = tokio::join!(keyboard.send(typed), screen.receive());
    println!("{:?}", shown?);
    sent?;
    drop(screen);
    keyboard.finish().await
}

async fn moved(domain: &Domain, to: &Connect) -> Result<Domain, Error> {
    let job = domain.migrate(to, &MigrateParameters::default(), DomainMigrateFlags::LIVE).await?;
    // `job.progress()` tells how far it is, `job.abort()` ends it; dropped, it goes on.
    let error = match job.await {
        Ok(moved) => return Ok(moved),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::Migration { left: Aftermath::Moved(_), .. } => {
            println!("destroy what is left at the source")
        }
        ErrorKind::Migration { left: Aftermath::Stays, .. } => println!("resume it at the source"),
        ErrorKind::Migration { left: Aftermath::Split, .. } => println!("migrate again with POSTCOPY_RESUME"),
        ErrorKind::Migration { .. } => println!("look at the destination first: the source was told nothing"),
        _ => println!("the guest is at the source as before"),
    }
    Err(error)
}

/// A connection to a server in memory that has everything.
async fn connect() -> Connect {
    let server = Server::builder().scope(Scope::Complete).build();
    let (ours, theirs) = tokio::io::duplex(65_536);
    server.handle().attach(Stream::new(theirs, Privacy::Private));
    running::run(async move { server.serve(None).await.is_ok() });
    let transport = Stream::new(ours, Privacy::Private);
    let uri = "test:///default";
    Connect::builder(uri).open_on(transport, running::run).await.unwrap()
}

/// Programs that connect to where a test cannot be.
const ADDRESSES: [&str; 4] =
    ["async fn open()", "async fn open(credentials", "async fn list()", "fn host_name()"];

/// Without what a formatter may put elsewhere.
fn bare(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn every_program_of_the_book_is_here_as_it_stands_there() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/libvirt");
    let here = bare(PROGRAMS);
    let mut found = 0;
    for page in std::fs::read_dir(&book).unwrap() {
        let text = std::fs::read_to_string(page.unwrap().path()).unwrap();
        for program in text.split("```rust\n").skip(1) {
            let (program, _) = program.split_once("```").unwrap();
            if ADDRESSES.iter().any(|one| program.contains(one)) {
                continue;
            }
            // Behind the names that it uses, each of its functions.
            let (_, functions) = program.split_once(";\n\n").unwrap();
            for function in functions.split("\n\n") {
                assert!(here.contains(&bare(function)), "not here:\n{function}");
                found += 1;
            }
        }
    }
    assert_eq!(found, 13);
}

#[tokio::test]
async fn domains_are_found_run_and_counted() {
    let connect = connect().await;
    assert_eq!(find(&connect, "test").await.unwrap().unwrap().name(), "test");
    assert!(find(&connect, "nobody").await.unwrap().is_none());
    assert_eq!(driver(&connect).await.unwrap(), "TEST");
    let xml = "<domain type='test'><name>web</name><memory>1024</memory><os><type>hvm</type></os></domain>";
    let web = run(&connect, xml).await.unwrap();
    assert_eq!(web.state().await.unwrap().state, DomainState::Running);
    let mut times = cpu_times(&connect).await.unwrap();
    times.sort();
    assert!(times.iter().map(|(name, _)| name.as_str()).eq(["test", "web"]), "{times:?}");
    let error = run(&connect, "<domain").await.unwrap_err();
    assert!(!may_repeat(&error), "it is no better a second time");
}

#[tokio::test]
async fn events_are_followed_until_the_connection_ends() {
    let connect = connect().await;
    let (domains, mut events) = follow(&connect).await.unwrap();
    domains[0].suspend().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
    let other = connect.clone();
    let ends = async {
        domains[0].resume().await.unwrap();
        assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
        other.close().await.unwrap();
    };
    let (watched, ()) = tokio::join!(watch(&connect), ends);
    watched.unwrap_err();
}

#[tokio::test]
async fn a_volume_is_filled_and_its_holes_are_told() {
    let connect = connect().await;
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let xml = "<volume><name>v</name><capacity>1048576</capacity><allocation>0</allocation></volume>";
    let volume = pool.create_volume(xml, Default::default()).await.unwrap();
    fill(&volume, &[7; 65_536]).await.unwrap();
    assert_eq!(data_and_holes(&volume).await.unwrap(), (65_536, 1_048_576 - 65_536));
    let other = pool.create_volume(&xml.replace(">v<", ">w<"), Default::default()).await.unwrap();
    assert_eq!(copied(&volume, &other).await.unwrap(), 1_048_576);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("image"), [5; 100_000]).unwrap();
    let (image, copy) = (File::open(path("image")).unwrap(), File::create(path("copy")).unwrap());
    assert_eq!(there_and_back(&other, &image, &copy).await.unwrap(), 1_048_576);
    let back = std::fs::read(path("copy")).unwrap();
    assert!(back[..100_000] == [5; 100_000] && back[100_000..].iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_guest_is_spoken_to_and_moves() {
    let (here, there) = (connect().await, connect().await);
    let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><console type='pty'/></devices></domain>";
    let guest = here.create_domain(xml, Default::default()).await.unwrap();
    first_words(&guest, b"hello").await.unwrap();
    let guest = moved(&guest, &there).await.unwrap();
    assert_eq!(guest.state().await.unwrap().state, DomainState::Running);
    assert!(here.domain_by_name("c").await.unwrap_err().is_not_found());
    // Where one of that name is already it does not go.
    let test = here.domain_by_name("test").await.unwrap();
    moved(&test, &there).await.unwrap_err();
    assert_eq!(test.state().await.unwrap().state, DomainState::Running);
}

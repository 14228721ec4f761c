//! What our client makes of a damaged connection: an error of the right kind, no panic, nothing lost, and others unaffected.
#![cfg(test)]

#[path = "../../libvirt-client/tests/shared/running.rs"]
mod running;

use libvirt_client::protocol::flags::{StorageVolDownloadFlags, StorageVolUploadFlags};
use libvirt_client::protocol::remote;
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{Connect, Error, ErrorKind, Piece, StorageVol};
use libvirt_server::proxy::{Fault, Faults, relay};
use libvirt_server::{Handle, Scope, Server};
use running::run;
use tokio::io::{AsyncReadExt, DuplexStream};

const SEEDS: u64 = 20;

/// What ends a connection.
const BREAKING: [Fault; 5] = [Fault::Cut, Fault::Oversize, Fault::Undersize, Fault::Garbage, Fault::Stray];

fn start() -> Handle {
    let server = Server::builder().scope(Scope::Complete).build();
    let handle = server.handle();
    run(async move { server.serve(None).await.is_ok() });
    handle
}

/// A connection to the server with a fault on the way; the first replies, of opening, pass unharmed.
async fn through(handle: &Handle, fault: Fault, seed: u64) -> Connect {
    let (ours, near) = tokio::io::duplex(65_536);
    let (far, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    run(async move {
        let mut faults = Faults::new(fault, seed, 20);
        relay(Stream::new(near, Privacy::Private), Stream::new(far, Privacy::Private), &mut faults).await
    });
    open(ours).await
}

async fn direct(handle: &Handle) -> Connect {
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    open(ours).await
}

async fn open(stream: DuplexStream) -> Connect {
    let transport = Stream::new(stream, Privacy::Private);
    Connect::builder("test:///default").open_on(transport, run).await.unwrap()
}

/// Calls, several at a time, until one fails or all came back right.
async fn calls(connect: &Connect) -> Result<(), Error> {
    for _ in 0..20 {
        let first = connect.connection().await?;
        let some: Vec<_> = (0..4)
            .map(|number| {
                let args =
                    remote::ConnectListAllDomainsArgs { need_results: number % 2, flags: Default::default() };
                let call = first.start::<remote::ConnectListAllDomains>(&args, Vec::new());
                (number, call.within(None))
            })
            .collect();
        for (number, call) in some {
            let reply = call.await?;
            let domains = reply.result()?.domains.len();
            // Each call got its own reply, and no other's.
            assert_eq!(domains, usize::try_from(number % 2).unwrap());
        }
    }
    Ok(())
}

async fn volume(connect: &Connect, name: &str, size: usize) -> StorageVol {
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let xml =
        format!("<volume><name>{name}</name><capacity>{size}</capacity><allocation>0</allocation></volume>");
    pool.create_volume(&xml, Default::default()).await.unwrap()
}

async fn download(volume: &StorageVol) -> Result<Vec<u8>, Error> {
    let mut down = volume.download(.., StorageVolDownloadFlags::empty()).await?;
    let mut all = Vec::new();
    while let Some(piece) = down.receive().await? {
        let Piece::Data(piece) = piece else { panic!("a hole in a dense stream") };
        all.extend(piece);
    }
    down.finish().await?;
    Ok(all)
}

#[tokio::test]
async fn what_is_harmless_harms_neither_calls_nor_streams() {
    for fault in Fault::ALL.into_iter().filter(|fault| fault.is_harmless()) {
        let handle = start();
        let data: Vec<u8> = (0..700_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        for seed in 0..SEEDS {
            let connect = through(&handle, fault, seed).await;
            calls(&connect).await.unwrap_or_else(|error| panic!("{fault:?} {seed}: {error}"));
            let volume = volume(&connect, &format!("v{seed}"), data.len()).await;
            let mut up = volume.upload(.., StorageVolUploadFlags::empty()).await.unwrap();
            up.send(&data).await.unwrap();
            up.finish().await.unwrap();
            assert!(download(&volume).await.unwrap() == data, "{fault:?} {seed}: other data came down");
        }
    }
}

#[tokio::test]
async fn what_breaks_a_connection_fails_every_call_with_the_right_kind_and_no_other_connection() {
    let handle = start();
    let bystander = direct(&handle).await;
    for fault in BREAKING {
        for seed in 0..SEEDS {
            let connect = through(&handle, fault, seed).await;
            let error = calls(&connect).await.expect_err("a damaged connection works");
            let right = match fault {
                Fault::Cut => matches!(error.kind(), ErrorKind::Closed | ErrorKind::Transport(_)),
                _ => matches!(error.kind(), ErrorKind::Protocol(_)),
            };
            assert!(right, "{fault:?} {seed}: {error:?}");
            // It stays closed, and says why, at once.
            let again = connect.hostname().await.expect_err("a closed connection works");
            assert_eq!(
                std::mem::discriminant(again.kind()),
                std::mem::discriminant(error.kind()),
                "{again:?}"
            );
            calls(&bystander).await.unwrap();
        }
    }
    // Whatever was broken is forgotten: only the bystander is left.
    while handle.with(|hypervisor| hypervisor.clients()).await.unwrap() > 1 {
        tokio::task::yield_now().await;
    }
    calls(&bystander).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_while_it_is_opened_is_an_error_too() {
    let handle = start();
    for fault in BREAKING {
        for seed in 0..SEEDS {
            let (ours, near) = tokio::io::duplex(65_536);
            let (far, theirs) = tokio::io::duplex(65_536);
            handle.attach(Stream::new(theirs, Privacy::Private));
            run(async move {
                let mut faults = Faults::new(fault, seed, 0);
                relay(Stream::new(near, Privacy::Private), Stream::new(far, Privacy::Private), &mut faults)
                    .await
            });
            let transport = Stream::new(ours, Privacy::Private);
            let result = async {
                let builder = Connect::builder("test:///default");
                calls(&builder.open_on(transport, run).await?).await
            };
            let error = result.await.expect_err("a damaged connection works");
            let kind = error.kind();
            let right = matches!(kind, ErrorKind::Closed | ErrorKind::Transport(_) | ErrorKind::Protocol(_));
            assert!(right, "{fault:?} {seed}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_stuck_stream_holds_up_nothing_but_itself() {
    let handle = start();
    for seed in 0..SEEDS {
        let connect = through(&handle, Fault::StuckStream, seed).await;
        let volume = volume(&connect, &format!("v{seed}"), 2_000_000).await;
        let mut stuck = volume.download(.., StorageVolDownloadFlags::empty()).await.unwrap();
        assert!(stuck.receive().await.unwrap().is_some());
        calls(&connect).await.unwrap();
        let other = download(&volume).await.unwrap();
        assert_eq!(other.len(), 2_000_000);
        // Nothing more comes, and nothing is made up.
        let pending = std::future::poll_fn(|context| {
            let next = std::pin::pin!(stuck.receive());
            std::task::Poll::Ready(next.poll(context).is_pending())
        });
        assert!(pending.await);
        stuck.abort();
        calls(&connect).await.unwrap();
    }
}

#[tokio::test]
async fn the_server_outlives_clients_that_talk_nonsense() {
    let handle = start();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 64], &[0, 0, 0, 28, 9, 9]] {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        handle.attach(Stream::new(theirs, Privacy::Private));
        tokio::io::AsyncWriteExt::write_all(&mut ours, bytes).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut ours).await.unwrap();
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty(), "{answer:?}");
    }
    calls(&direct(&handle).await).await.unwrap();
}

//! Volumes through streams, and what a stream that nobody reads costs.

use crate::Rig;
use crate::measure::{Bare, Cost, Rounds, load, median, now, resident, row, user_ns, with};
use crate::peer::Peer;
use libvirt_client::Connect;
use libvirt_client::Piece;
use libvirt_client::protocol::flags::{
    StoragePoolBuildFlags, StorageVolDownloadFlags, StorageVolUploadFlags,
};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, xdr};
use serde_json::Value;
use std::io::Write;

const MIB: u64 = 1 << 20;
const ROUNDS: usize = 5;
/// What goes up and comes down.
const SIZE: u64 = 256 * MIB;
/// A volume with holes: its size, and what of it is data.
const SPARSE: (u64, u64) = (1024 * MIB, 32 * MIB);
const TRIVIAL: usize = 2_000;

/// A pool `p` with its volumes: `v` is full, `s` has holes, `w0` to `w4` are there to be wiped.
pub(crate) fn prepare(rig: &Rig) {
    rig.runtime.block_on(async {
        let connect = rig.daemon.open("qemu:///session").await;
        let at = rig.daemon.path("pool");
        let xml =
            format!("<pool type='dir'><name>p</name><target><path>{}</path></target></pool>", at.display());
        let pool = connect.define_storage_pool(&xml, Default::default()).await.expect("a pool");
        pool.build(StoragePoolBuildFlags::NEW).await.expect("a directory");
        pool.start(Default::default()).await.expect("a pool that runs");
        let names = ["v", "s", "w0", "w1", "w2", "w3", "w4"];
        for (name, size) in names.into_iter().zip([SIZE, SPARSE.0].into_iter().chain([128 * MIB; 5])) {
            let sparse = if name == "s" { "<allocation>0</allocation>" } else { "" };
            let xml = format!("<volume><name>{name}</name><capacity>{size}</capacity>{sparse}</volume>");
            pool.create_volume(&xml, Default::default()).await.expect("a volume");
        }
        let sparse = pool.volume_by_name("s").await.expect("a volume");
        let mut up = sparse.upload(0..0, StorageVolUploadFlags::SPARSE_STREAM).await.expect("a stream");
        up.send_hole(SPARSE.0 / 2).await.expect("a hole");
        up.send(&vec![0x5a; SPARSE.1 as usize]).await.expect("data");
        up.send_hole(SPARSE.0 / 2 - SPARSE.1).await.expect("a hole");
        up.finish().await.expect("an end");
        connect.close().await.expect("an end");
    });
}

async fn upload(connect: &Connect) {
    let volume = connect.storage_pool_by_name("p").await.expect("the pool").volume_by_name("v").await;
    let volume = volume.expect("the volume");
    let mut up = volume.upload(0..0, StorageVolUploadFlags::empty()).await.expect("a stream");
    let mut piece = vec![0; MIB as usize];
    for _ in 0..SIZE / MIB {
        // The peers fill their pieces too.
        piece.fill(0x5a);
        up.send(&piece).await.expect("the daemon takes it");
    }
    up.finish().await.expect("an end");
}

async fn download(connect: &Connect, name: &str, flags: StorageVolDownloadFlags) -> u64 {
    let volume = connect.storage_pool_by_name("p").await.expect("the pool").volume_by_name(name).await;
    let mut down = volume.expect("the volume").download(0..0, flags).await.expect("a stream");
    let mut length = 0;
    while let Some(piece) = down.receive().await.expect("the daemon sends") {
        length += match piece {
            Piece::Data(data) => data.len() as u64,
            Piece::Hole(hole) => hole,
        };
    }
    down.finish().await.expect("an end");
    length
}

/// The packets alone, thrown away.
fn bare_download(rig: &Rig) -> f64 {
    let mut bare = Bare::open(&rig.socket(), "qemu:///session");
    let lookup = remote::StoragePoolLookupByNameArgs { name: "p".into() };
    let reply =
        bare.call(remote::StoragePoolLookupByName::INFO.number, &xdr::encode(&lookup).expect("a name"));
    let pool: remote::StoragePoolLookupByNameRet<'_> = xdr::decode(reply).expect("a pool");
    let lookup = remote::StorageVolLookupByNameArgs { pool: pool.pool, name: "v".into() };
    let lookup = xdr::encode(&lookup).expect("a name");
    let reply = bare.call(remote::StorageVolLookupByName::INFO.number, &lookup);
    let volume: remote::StorageVolLookupByNameRet<'_> = xdr::decode(reply).expect("a volume");
    let args = remote::StorageVolDownloadArgs { vol: volume.vol, ..Default::default() };
    let args = xdr::encode(&args).expect("short names");
    let start = now();
    bare.call(remote::StorageVolDownload::INFO.number, &args);
    let mut length = 0;
    loop {
        match bare.next() {
            0 => break,
            bytes => length += bytes as u64,
        }
    }
    assert_eq!(length, SIZE);
    start.elapsed().as_nanos() as f64
}

/// Throughput.
pub(crate) fn throughput(rig: &mut Rig) -> Vec<Value> {
    let load = load();
    let uri = rig.session_uri();
    let connect = rig.runtime.block_on(rig.daemon.open(&uri));
    for peer in &mut rig.peers {
        peer.ask(&format!("open {uri}"));
    }
    let commands = [format!("upload v {SIZE}"), "download v".to_owned(), "sparse s".to_owned()];
    let mut ours = [const { Vec::new() }; 3];
    let mut peers: Vec<[Vec<Cost>; 3]> = rig.peers.iter().map(|_| [const { Vec::new() }; 3]).collect();
    let mut floor = Vec::new();
    for round in 0..ROUNDS {
        for (index, command) in commands.iter().enumerate() {
            let mut ask = |rig: &mut Rig| {
                for (peer, costs) in rig.peers.iter_mut().zip(&mut peers) {
                    let answer = peer.ask(command);
                    costs[index].extend(answer.map(|answer| Cost { time: answer.time, user: answer.user }));
                }
            };
            // Who comes first finds the disk in another state.
            if round % 2 == 1 {
                ask(rig);
            }
            let (start, user) = (now(), user_ns());
            rig.runtime.block_on(async {
                match index {
                    0 => upload(&connect).await,
                    1 => assert_eq!(download(&connect, "v", StorageVolDownloadFlags::empty()).await, SIZE),
                    _ => {
                        let length = download(&connect, "s", StorageVolDownloadFlags::SPARSE_STREAM).await;
                        assert_eq!(length, SPARSE.0);
                    }
                }
            });
            ours[index].push(Cost { time: start.elapsed().as_nanos() as f64, user: user_ns() - user });
            if round % 2 == 0 {
                ask(rig);
            }
        }
        floor.push(bare_download(rig));
    }
    let bytes = [SIZE, SIZE, SPARSE.1];
    let names = ["libvirt_upload_dense", "libvirt_download_dense", "libvirt_download_sparse"];
    let mut rows = Vec::new();
    for index in 0..3 {
        let mib = bytes[index] as f64 / MIB as f64;
        let rate = |costs: &[Cost]| {
            let mut rounds = Rounds::default();
            for cost in costs {
                // As a rate, so that more is better; CPU for each MiB.
                rounds.add(Cost { time: mib * 1e9 / cost.time, user: cost.user / mib });
            }
            rounds
        };
        let our = rate(&ours[index]);
        let rates: Vec<Rounds> = peers.iter().map(|costs| rate(&costs[index])).collect();
        let beside: Vec<(&str, &Rounds)> = rig.peers.iter().map(|peer| peer.name).zip(&rates).collect();
        rows.extend(rig.beside(names[index], "MiB/s", our.time(), &beside, Rounds::time, load).map(|row| {
            let row = with(row, "cpu_ns_per_op", our.user().map(Value::from));
            if index != 1 {
                return row;
            }
            let row = with(row, "floor", Value::from("bare socket, thrown away"));
            with(row, "floor_value", Value::from(mib * 1e9 / median(floor.clone())))
        }));
        let name = format!("{}_user_cpu", names[index]);
        rows.extend(rig.beside(&name, "ns/MiB", our.user(), &beside, Rounds::user, load));
    }
    rows
}

/// The argument with which this program measures [`unread_alone`], in a process whose memory nothing else has grown.
pub(crate) const UNREAD: &str = "--unread";

/// Trivial calls while a stream is not read, and what memory that takes; prints what a peer would.
pub(crate) fn unread_alone(uri: &str) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    let (times, worst, memory) = runtime.block_on(async {
        let connect = Connect::builder(uri).open_with(crate::support::run).await.expect("the daemon listens");
        let volume = connect.storage_pool_by_name("p").await.expect("the pool").volume_by_name("v").await;
        let before = resident();
        let down = volume.expect("the volume").download(0..0, StorageVolDownloadFlags::empty()).await;
        let mut down = down.expect("a stream");
        down.receive().await.expect("a piece");
        let mut took = Vec::new();
        for _ in 0..TRIVIAL {
            let start = now();
            connect.call::<remote::ConnectGetLibVersion>(&()).await.expect("the daemon answers");
            took.push(start.elapsed().as_nanos() as f64);
        }
        let worst = took.iter().copied().fold(0.0, f64::max);
        let grown = resident() - before;
        down.abort();
        (median(took), worst, grown)
    });
    let _ = writeln!(std::io::stdout(), "{times} {worst} {memory}");
}

/// The same in processes: ours, and the peers'.
pub(crate) fn unread(rig: &mut Rig) -> Vec<Value> {
    let load = load();
    let uri = rig.session_uri();
    let program = std::env::current_exe().expect("this program");
    let ours = Peer::start("ours", std::process::Command::new(program).args([UNREAD, &uri]));
    let Some(ours) = ours.and_then(|mut ours| ours.ask("")) else { return Vec::new() };
    let rows = [
        row("libvirt_call_beside_unread_stream_p50", ours.time, "ns", "lower", load),
        row("libvirt_call_beside_unread_stream_worst", ours.user, "ns", "lower", load),
        with(
            row("libvirt_unread_stream_memory", ours.more, "bytes", "lower", load),
            "goal",
            Value::from(8 * MIB),
        ),
    ];
    let answers: Vec<(&str, [f64; 3])> = rig
        .peers
        .iter_mut()
        .filter_map(|peer| {
            peer.ask(&format!("open {uri}"))?;
            let answer = peer.ask(&format!("unread v {TRIVIAL}"))?;
            Some((peer.name, [answer.time, answer.user, answer.more]))
        })
        .collect();
    let against = |(index, row): (usize, &Value)| {
        Rig::against(row, answers.iter().map(|(peer, values)| (*peer, values[index])))
    };
    rows.iter().enumerate().flat_map(against).collect()
}

/// A trivial call while five volumes are wiped.
pub(crate) fn stalled(rig: &mut Rig) -> Vec<Value> {
    let load = load();
    let uri = rig.session_uri();
    let connect = rig.runtime.block_on(rig.daemon.open(&uri));
    let mut ours = Vec::new();
    let mut peers: Vec<Vec<f64>> = rig.peers.iter().map(|_| Vec::new()).collect();
    for peer in &mut rig.peers {
        peer.ask(&format!("open {uri}"));
    }
    for _ in 0..ROUNDS {
        ours.push(rig.runtime.block_on(async {
            let pool = connect.storage_pool_by_name("p").await.expect("the pool");
            let mut volumes = Vec::new();
            for n in 0..5 {
                volumes.push(pool.volume_by_name(&format!("w{n}")).await.expect("a volume"));
            }
            let wipes = futures::future::join_all(volumes.iter().map(|volume| volume.wipe()));
            let trivial = async {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let start = now();
                connect.call::<remote::ConnectGetLibVersion>(&()).await.expect("the daemon answers");
                start.elapsed().as_nanos() as f64
            };
            let (wiped, took) = futures::future::join(wipes, trivial).await;
            assert!(wiped.iter().all(Result::is_ok));
            took
        }));
        for (peer, times) in rig.peers.iter_mut().zip(&mut peers) {
            times.extend(peer.ask("stall 5").map(|answer| answer.time));
        }
    }
    let first = row("libvirt_call_beside_5_slow_ones", median(ours), "ns", "lower", load);
    let first = with(first, "goal", Value::from(20e6));
    let times = rig.peers.iter().zip(peers).filter(|(_, times)| !times.is_empty());
    Rig::against(&first, times.map(|(peer, times)| (peer.name, median(times))))
}

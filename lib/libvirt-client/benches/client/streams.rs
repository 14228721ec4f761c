//! Volumes through streams, and what a stream that nobody reads costs.

use crate::Rig;
use crate::authority::{Authority, Expired};
use crate::measure::{Bare, Cost, Rounds, load, median, now, resident, row, user_ns, with};
use crate::peer::Peer;
use crate::sshd::Sshd;
use crate::support::{Daemon, Settings};
use libvirt_client::protocol::flags::{
    StoragePoolBuildFlags, StorageVolDownloadFlags, StorageVolUploadFlags,
};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, xdr};
use libvirt_client::{Connect, Holes, Piece, StorageVol};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MIB: u64 = 1 << 20;
const ROUNDS: usize = 5;
/// What goes up and comes down.
const SIZE: u64 = 256 * MIB;
/// A volume with holes: its size, and what of it is data.
const SPARSE: (u64, u64) = (1024 * MIB, 32 * MIB);
const TRIVIAL: usize = 2_000;

/// A pool `p` with its volumes: `v` is full, `s` has holes, `w0` to `w4` are there to be wiped.
pub(crate) fn prepare(rig: &Rig) {
    prepare_at(rig, &rig.daemon);
}

fn prepare_at(rig: &Rig, daemon: &Daemon) {
    rig.runtime.block_on(async {
        let connect = daemon.open("qemu:///session").await;
        let at = daemon.path("pool");
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
        let mut up = sparse.upload(.., StorageVolUploadFlags::SPARSE_STREAM).await.expect("a stream");
        up.send_hole(SPARSE.0 / 2).await.expect("a hole");
        up.send(&vec![0x5a; SPARSE.1 as usize]).await.expect("data");
        up.send_hole(SPARSE.0 / 2 - SPARSE.1).await.expect("a hole");
        up.finish().await.expect("an end");
        connect.close().await.expect("an end");
    });
}

async fn volume(connect: &Connect, name: &str) -> StorageVol {
    let pool = connect.storage_pool_by_name("p").await.expect("the pool");
    pool.volume_by_name(name).await.expect("the volume")
}

async fn upload(connect: &Connect) {
    let volume = volume(connect, "v").await;
    let mut up = volume.upload(.., StorageVolUploadFlags::empty()).await.expect("a stream");
    let mut piece = vec![0; MIB as usize];
    for _ in 0..SIZE / MIB {
        // The peers fill their pieces too.
        piece.fill(0x5a);
        up.send(&piece).await.expect("the daemon takes it");
    }
    up.finish().await.expect("an end");
}

async fn download(connect: &Connect, name: &str, flags: StorageVolDownloadFlags) -> u64 {
    let mut down = volume(connect, name).await.download(.., flags).await.expect("a stream");
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

async fn download_file(connect: &Connect, name: &str, path: &Path, holes: Holes) -> u64 {
    let volume = volume(connect, name).await;
    let file = File::create(path).expect("a file of ours");
    volume.download_file(&file, .., holes).await.expect("the daemon sends")
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

/// What is done with a volume: the command of the peers', and the name of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work<'p> {
    Upload,
    Download,
    Sparse,
    /// Into this file, which is not there yet.
    ToFile(&'p Path),
    SparseToFile(&'p Path),
    /// From this file.
    SparseFromFile(&'p Path),
}

impl Work<'_> {
    fn command(self) -> String {
        match self {
            Self::Upload => format!("upload v {SIZE}"),
            Self::Download => "download v".to_owned(),
            Self::Sparse => "sparse s".to_owned(),
            Self::ToFile(path) => format!("download_file v {}", path.display()),
            Self::SparseToFile(path) => format!("sparse_file s {}", path.display()),
            Self::SparseFromFile(path) => format!("upload_file s {}", path.display()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload_dense",
            Self::Download => "download_dense",
            Self::Sparse => "download_sparse",
            Self::ToFile(_) => "download_file_dense",
            Self::SparseToFile(_) => "download_file_sparse",
            Self::SparseFromFile(_) => "upload_file_sparse",
        }
    }

    /// Bytes of data.
    fn data(self) -> u64 {
        match self {
            Self::Upload | Self::Download | Self::ToFile(_) => SIZE,
            Self::Sparse | Self::SparseToFile(_) | Self::SparseFromFile(_) => SPARSE.1,
        }
    }

    /// Bytes of data and holes.
    fn length(self) -> u64 {
        match self {
            Self::Upload | Self::Download | Self::ToFile(_) => SIZE,
            Self::Sparse | Self::SparseToFile(_) | Self::SparseFromFile(_) => SPARSE.0,
        }
    }

    /// What comes before it and is not measured.
    fn prepare(self) {
        if let Self::ToFile(path) | Self::SparseToFile(path) = self {
            // The first one finds none.
            let _ = std::fs::remove_file(path);
        }
    }

    async fn done(self, connect: &Connect) {
        match self {
            Self::Upload => upload(connect).await,
            Self::Download => {
                let flags = StorageVolDownloadFlags::empty();
                assert_eq!(download(connect, "v", flags).await, self.length());
            }
            Self::Sparse => {
                let flags = StorageVolDownloadFlags::SPARSE_STREAM;
                assert_eq!(download(connect, "s", flags).await, self.length());
            }
            Self::ToFile(path) => {
                assert_eq!(download_file(connect, "v", path, Holes::Fill).await, self.length());
            }
            Self::SparseToFile(path) => {
                assert_eq!(download_file(connect, "s", path, Holes::Keep).await, self.length());
            }
            Self::SparseFromFile(path) => {
                let volume = volume(connect, "s").await;
                let file = File::open(path).expect("a file of ours");
                let length = volume.upload_file(&file, .., Holes::Keep).await.expect("the daemon takes it");
                assert_eq!(length, self.length());
            }
        }
    }
}

/// Throughput over the unix socket.
pub(crate) fn throughput(rig: &mut Rig) -> Vec<Value> {
    let uri = rig.session_uri();
    let connect = rig.runtime.block_on(rig.daemon.open(&uri));
    let rows = compared(rig, &connect, &uri, "libvirt", &[Work::Upload, Work::Download, Work::Sparse]);
    let floor = median((0..ROUNDS).map(|_| bare_download(rig)).collect());
    let floor = SIZE as f64 / MIB as f64 * 1e9 / floor;
    let floored = |row: Value| {
        if row["name"] != "libvirt_download_dense" {
            return row;
        }
        let row = with(row, "floor", Value::from("bare socket, thrown away"));
        with(row, "floor_value", Value::from(floor))
    };
    rows.into_iter().map(floored).collect()
}

/// Throughput from files and to files, in memory: no disk is measured but the daemon's.
pub(crate) fn files(rig: &mut Rig) -> Vec<Value> {
    let place = tempfile::Builder::new().prefix("libvirt-bench-").tempdir_in("/dev/shm");
    let place = place.expect("a directory of ours");
    let (full, sparse, source) =
        (place.path().join("full"), place.path().join("sparse"), place.path().join("source"));
    let file = File::create(&source).expect("a file of ours");
    file.set_len(SPARSE.0).expect("a hole");
    file.write_all_at(&vec![0x5a; SPARSE.1 as usize], SPARSE.0 / 2).expect("data");
    let uri = rig.session_uri();
    let connect = rig.runtime.block_on(rig.daemon.open(&uri));
    let works = [Work::ToFile(&full), Work::SparseToFile(&sparse), Work::SparseFromFile(&source)];
    compared(rig, &connect, &uri, "libvirt", &works)
}

/// Throughput over TLS and ssh, whose ends are all on this machine: what is measured is mostly encryption.
pub(crate) fn carried(rig: &mut Rig) -> Vec<Value> {
    let works = [Work::Upload, Work::Download];
    let mut rows = Vec::new();
    let (secure, port) = tls();
    prepare_at(rig, &secure);
    let pki = secure.path("client");
    let uri = format!("qemu+tls://127.0.0.1:{port}/session?pkipath={}", pki.display());
    let connect = rig.runtime.block_on(secure.open(&uri));
    rows.extend(compared(rig, &connect, &uri, "libvirt_tls", &works));
    drop(connect);
    // The peers keep their connections until they get others.
    let plain = rig.session_uri();
    for peer in &mut rig.peers {
        peer.ask(&format!("open {plain}"));
    }
    drop(secure);
    if let Some(sshd) = Sshd::prepare("bench libvirt over ssh", &rig.daemon.path("")) {
        let (command, socket) = (&sshd.command, rig.socket());
        let uri = format!(
            "qemu+ssh://root@elsewhere/session?command={command}&proxy=netcat&socket={}&no_tty=1",
            socket.display()
        );
        let connect = rig.runtime.block_on(rig.daemon.open(&uri));
        rows.extend(compared(rig, &connect, &uri, "libvirt_ssh", &works));
        for peer in &mut rig.peers {
            peer.ask(&format!("open {plain}"));
        }
    }
    rows
}

/// A daemon that listens with TLS, and the port.
fn tls() -> (Daemon, u16) {
    let daemon = Daemon::prepare("bench libvirt over TLS").expect("the other daemon is there too");
    let ca = Authority::new("ours");
    let at = |name: &str| daemon.path(name);
    std::fs::write(at("ca.pem"), &ca.pem).expect("a file of ours");
    ca.issue(&["127.0.0.1"], "the daemon", &at("server.pem"), &at("server.key"), Expired::No);
    ca.client(at("client"), Some("client"));
    for name in ["ca.pem", "server.pem", "server.key"] {
        daemon.own(&at(name));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    drop(listener);
    let config = format!(
        "listen_addr = \"127.0.0.1\"\nlisten_tls = 1\nlisten_tcp = 0\ntls_port = \"{port}\"\nauth_tls = \"none\"\n\
         ca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\ntls_no_sanity_certificate = 1\n",
        at("ca.pem").display(),
        at("server.pem").display(),
        at("server.key").display(),
    );
    daemon.run(&Settings { config, arguments: vec!["--listen".into()], ..Settings::default() });
    (daemon, port)
}

/// The same work by all contenders, in turn, each on a connection to the same place.
fn compared(rig: &mut Rig, connect: &Connect, uri: &str, prefix: &str, works: &[Work<'_>]) -> Vec<Value> {
    let load = load();
    for peer in &mut rig.peers {
        peer.ask(&format!("open {uri}"));
    }
    let mut ours: Vec<Vec<Cost>> = works.iter().map(|_| Vec::new()).collect();
    let mut peers: Vec<Vec<Vec<Cost>>> =
        rig.peers.iter().map(|_| works.iter().map(|_| Vec::new()).collect()).collect();
    for round in 0..ROUNDS {
        for (index, work) in works.iter().enumerate() {
            let mut ask = |rig: &mut Rig| {
                for (peer, costs) in rig.peers.iter_mut().zip(&mut peers) {
                    work.prepare();
                    let answer = peer.ask(&work.command());
                    assert!(answer.is_none_or(|answer| answer.more as u64 == work.length()), "{work:?}");
                    costs[index].extend(answer.map(|answer| Cost { time: answer.time, user: answer.user }));
                }
            };
            // Who comes first finds the disk in another state.
            if round % 2 == 1 {
                ask(rig);
            }
            work.prepare();
            let (start, user) = (now(), user_ns());
            rig.runtime.block_on(work.done(connect));
            ours[index].push(Cost { time: start.elapsed().as_nanos() as f64, user: user_ns() - user });
            if round % 2 == 0 {
                ask(rig);
            }
        }
    }
    let mut rows = Vec::new();
    for (index, work) in works.iter().enumerate() {
        let mib = work.data() as f64 / MIB as f64;
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
        let name = format!("{prefix}_{}", work.name());
        let times = rig.beside(&name, "MiB/s", our.time(), &beside, Rounds::time, load);
        rows.extend(times.map(|row| with(row, "cpu_ns_per_op", our.user().map(Value::from))));
        let name = format!("{name}_user_cpu");
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
        let down = volume.expect("the volume").download(.., StorageVolDownloadFlags::empty()).await;
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

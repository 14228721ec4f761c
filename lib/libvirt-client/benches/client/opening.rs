//! From nothing to the first answer, over a way that takes its time.

use crate::Rig;
use crate::measure::{load, median, now, row, with};
use libvirt_client::protocol::remote;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

const ROUNDS: usize = 5;

/// Passes bytes on to a socket, each way after half of a delay. It ends with the process.
fn delayed(to: PathBuf, at: &Path, delay: Duration) {
    let listener = UnixListener::bind(at).expect("the daemon's directory is ours");
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (Ok(near), Ok(far)) = (near, UnixStream::connect(&to)) else { return };
            let clones = (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
            passed(near, far, delay / 2);
            passed(clones.1, clones.0, delay / 2);
        }
    });
}

fn passed(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    let (sender, due) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            if sender.send((now() + delay, buffer[..bytes].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (when, bytes) in due {
            std::thread::sleep(when.saturating_duration_since(now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

/// Connecting, and one call.
pub(crate) fn connecting(rig: &mut Rig) -> Vec<Value> {
    let load = load();
    let mut rows = Vec::new();
    for delay in [0, 10, 50] {
        let socket = rig.daemon.path(&format!("delayed-{delay}"));
        delayed(rig.socket(), &socket, Duration::from_millis(delay));
        let uri = format!("test+unix:///default?socket={}", socket.display());
        let mut ours = Vec::new();
        let mut peers: Vec<Vec<f64>> = rig.peers.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            let start = now();
            rig.runtime.block_on(async {
                let connect = rig.daemon.open(&uri).await;
                let reply =
                    connect.call::<remote::ConnectGetLibVersion>(&()).await.expect("the daemon answers");
                assert!(reply.result().expect("a version").lib_ver > 0);
                ours.push(start.elapsed().as_nanos() as f64);
                drop(connect.close().await);
            });
            for (peer, times) in rig.peers.iter_mut().zip(&mut peers) {
                times.extend(peer.ask(&format!("connect {uri} 1")).map(|answer| answer.time));
            }
        }
        let first = row(&format!("libvirt_connect_and_call_{delay}_ms"), median(ours), "ns", "lower", load);
        // Three round trips to connect, one for the call.
        let goal = (delay > 0).then(|| Value::from((4.0 * delay as f64 + 5.0) * 1e6));
        let times = rig.peers.iter().zip(peers).filter(|(_, times)| !times.is_empty());
        let peers = times.map(|(peer, times)| (peer.name, median(times)));
        rows.extend(Rig::against(&with(first, "goal", goal), peers));
    }
    rows
}

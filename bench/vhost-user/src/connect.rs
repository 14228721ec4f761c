//! From nothing to a queue that runs, and from a back-end that is there again to the first request that ends.

use crate::servers::{Kind, Server};
use crate::{Client as _, Mode, Result, ours, peer};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use vhost_user::ProtocolFeatures;
use vhost_user::frontend::{Lasting, Wanted};
use vhost_user::memory::Memory;
use vhost_user::socket::Canceller;
use virtio::Segment;
use virtio::blk::Requests;
use virtio::features::Features;

const TIMES: usize = 200;
const KILLS: usize = 50;

fn middle(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    all[all.len() / 2].as_secs_f64() * 1e6
}

/// Microseconds from connecting to the first request that ended: ours, and the peer's, with our device.
pub fn handshake(directory: &Path) -> Result<(f64, f64)> {
    let server = Server::start(directory, Kind::Ours)?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let start = Instant::now();
        ours::Ours::new(server.socket(), 1, Mode::Called, Features::empty())?.turn()?;
        own.push(start.elapsed());
        let start = Instant::now();
        peer::Peer::new(server.socket(), 1, Mode::Called)?.turn()?;
        other.push(start.elapsed());
    }
    Ok((middle(own), middle(other)))
}

/// Microseconds from the moment in which a back-end that was killed listens again to the first request that ends.
pub fn gap(directory: &Path, features: Features) -> Result<f64> {
    const SIZE: u16 = 64;
    let path = directory.join("blk.sock");
    let mut server = Server::start(directory, Kind::Ours)?;
    let wanted = Wanted {
        features: features | Features::EVENT_IDX,
        required: Features::VERSION_1,
        protocol: ProtocolFeatures::REPLY_ACK | ProtocolFeatures::CONFIGURE_MEM_SLOTS,
    };
    let timeout = Duration::from_secs(10);
    let canceller = Canceller::new()?;
    let connect = || UnixStream::connect(&path);
    let mut device = Lasting::new(connect, wanted, timeout, (1, SIZE), canceller.clone())?;
    let mut memory = Memory::new(1 << 20)?;
    device.add_memory(&memory)?;
    let mut queue = device.start_queue(0, SIZE, &mut memory)?;
    let slots = memory.part(Requests::bytes(SIZE), 64).ok_or("memory")?;
    let address = slots.host_address();
    let mut requests = Requests::new(SIZE, slots, address).ok_or("memory")?;
    let data = memory.part(4096, 4096).ok_or("memory")?;
    let segment = [Segment { address: data.host_address(), length: 4096 }];

    let (ended, ends) = channel::<Instant>();
    let (go, goes) = channel::<()>();
    let mut gaps = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let _ends_with_it = scope.spawn(|| device.keep(|_| Ok(())));
        scope.spawn(move || {
            // One request at a time, the first of each when the back-end has died.
            while goes.recv().is_ok() {
                if requests.read(&mut queue.ring, 0, &segment, 0).is_err() || queue.submit().is_err() {
                    return;
                }
                while matches!(requests.reap(&mut queue.ring), Ok(None)) {
                    if !matches!(queue.wait(timeout), Ok(true)) {
                        return;
                    }
                }
                if ended.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        for _ in 0..KILLS {
            server.kill()?;
            go.send(())?;
            server = Server::start(directory, Kind::Ours)?;
            let listens = Instant::now();
            gaps.push(ends.recv_timeout(timeout)?.saturating_duration_since(listens));
        }
        drop(go);
        canceller.cancel();
        Ok(())
    })?;
    Ok(middle(gaps))
}

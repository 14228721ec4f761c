//! Frames of 64 bytes to dpdk-testpmd, ours beside those of another testpmd through its virtio-user port. The one that receives counts.

use crate::watch::{Patience, Side};
use crate::{Result, thread_time};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Lines, channel};
use std::time::{Duration, Instant};
use vhost_user::ProtocolFeatures;
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use virtio::features::Features;
use virtio::net::{HEADER, Header, Receiver, Sender};
use virtio::ring::AddError;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1000);
const QUEUE: u16 = 256;
const FRAME: usize = 64;
/// Frames that are published at once, as testpmd does it.
const BURST: usize = 32;

/// Frames in a second that arrived, and the sender's processor time for each in nanoseconds.
#[derive(Clone, Copy)]
pub struct Rate {
    pub per_second: f64,
    pub cpu_ns: f64,
}

/// A dpdk-testpmd that is told what to do.
struct Testpmd {
    child: Child,
    say: ChildStdin,
    /// What it says, read by a thread that ends with it.
    said: Lines<String>,
    prefix: String,
}

impl Testpmd {
    fn start(name: &str, device: &str, mode: &str, side: Side) -> Result<Self> {
        let prefix = format!("bench-{name}-{}", std::process::id());
        let (main, worker) = (side.other().processor()?, side.processor()?);
        // What it prints would come in blocks.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "dpdk-testpmd", "--no-huge", "-m", "256", "--no-pci", "--no-telemetry"])
            .args(["--log-level=error", &format!("--file-prefix={prefix}")])
            .args([format!("--lcores=0@{main},1@{worker}"), format!("--vdev={device}")])
            .args(["--", "-i", "--nb-cores=1", "--no-mlockall", "--total-num-mbufs=8192"])
            .args([format!("--forward-mode={mode}"), format!("--txpkts={FRAME}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(say), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("dpdk-testpmd has no pipes".into());
        };
        let (tell, said) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(|line| line.ok());
            lines.map_while(|line| tell.send(line).ok()).for_each(drop);
        });
        let mut it = Self { child, say, said, prefix };
        it.tell("start")?;
        it.until("packet forwarding")?;
        Ok(it)
    }

    fn tell(&mut self, what: &str) -> Result<()> {
        Ok(writeln!(self.say, "{what}")?)
    }

    fn until(&mut self, words: &str) -> Result<String> {
        let patience = Patience::begin();
        loop {
            let line = self.said.recv_timeout(patience.left(words)?)?;
            if line.contains(words) {
                return Ok(line);
            }
        }
    }

    /// Frames that came so far.
    fn received(&mut self) -> Result<u64> {
        self.tell("show port stats 0")?;
        let line = self.until("RX-packets:")?;
        let count = line.split_whitespace().nth(1).ok_or("no number of frames")?;
        Ok(count.parse()?)
    }

    /// Frames per second over a round that begins when they come.
    fn rate(&mut self) -> Result<f64> {
        let patience = Patience::begin();
        while self.received()? == 0 {
            patience.left("a frame that arrives")?;
        }
        let (start, before) = (Instant::now(), self.received()?);
        std::thread::sleep(ROUND);
        let after = self.received()?;
        Ok((after - before) as f64 / start.elapsed().as_secs_f64())
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(Path::new("/var/run/dpdk").join(&self.prefix));
    }
}

fn receiver(socket: &Path) -> Result<Testpmd> {
    let device = format!("net_vhost0,iface={},queues=1", socket.display());
    let it = Testpmd::start("receives", &device, "rxonly", Side::Serves)?;
    let patience = Patience::begin();
    while UnixStream::connect(socket).is_err() {
        patience.left("dpdk-testpmd that listens")?;
        std::thread::yield_now();
    }
    Ok(it)
}

/// Sends until it is told to stop; gives the frames that went, and the processor time they took.
fn send(socket: &Path, features: Features, stop: &AtomicBool) -> Result<(u64, Duration)> {
    let timeout = Duration::from_secs(10);
    let mut front = FrontEnd::new(UnixStream::connect(socket)?, timeout)?;
    front.negotiate(Wanted {
        features: features | Features::EVENT_IDX,
        required: features | Features::VERSION_1,
        protocol: ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ,
    })?;
    let mut memory = Memory::new(4 << 20)?;
    front.add_memory(&memory)?;
    let mut receive = front.start_queue(0, QUEUE, &mut memory)?;
    let mut transmit = front.start_queue(1, QUEUE, &mut memory)?;
    let each = (HEADER + FRAME).next_multiple_of(64);
    let mut buffers = |each: usize| {
        let part = memory.part(each * usize::from(QUEUE), 64).ok_or("memory")?;
        let address = part.host_address();
        Ok::<_, &str>((part, address))
    };
    let (part, address) = buffers(2048)?;
    let mut receiver = Receiver::new(QUEUE, 2048, part, address).ok_or("memory")?;
    receiver.offer(&mut receive.ring)?;
    receive.submit()?;
    let (part, address) = buffers(each)?;
    let mut sender = Sender::new(QUEUE, each as u32, part, address).ok_or("memory")?;
    transmit.ring.want_no_calls();

    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    let (start, mut sent) = (thread_time(), 0);
    while !stop.load(Ordering::Relaxed) {
        sent += burst(&mut transmit, &mut sender, &frame)?;
    }
    Ok((sent, thread_time() - start))
}

/// Gives the frames of a burst for which there was room.
fn burst(queue: &mut Queue, sender: &mut Sender, frame: &[u8]) -> Result<u64> {
    // As virtio-user does it: looked at only when there is no room, so that both sides write their own lines for long.
    if usize::from(queue.ring.free()) < BURST {
        sender.taken(&mut queue.ring)?;
    }
    for count in 0..BURST as u64 {
        match sender.send(&mut queue.ring, Header::default(), frame) {
            Ok(()) => {}
            Err(AddError::Full(_)) => {
                queue.submit()?;
                return Ok(count);
            }
            Err(error) => return Err(error.into()),
        }
    }
    queue.submit()?;
    Ok(BURST as u64)
}

fn ours(socket: &Path, features: Features) -> Result<Rate> {
    let mut receiver = receiver(socket)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| {
            let sent = Side::Drives.stay().and_then(|()| send(socket, features, &stop));
            sent.map_err(|error| std::io::Error::other(error.to_string()))
        });
        let rate = receiver.rate();
        stop.store(true, Ordering::Relaxed);
        let (sent, took) = sends.join().map_err(|_| "the sender panicked")??;
        Ok(Rate { per_second: rate?, cpu_ns: took.as_nanos() as f64 / sent as f64 })
    })
}

fn theirs(socket: &Path, options: &str) -> Result<Rate> {
    let mut receiver = receiver(socket)?;
    let device = format!("net_virtio_user0,path={},queues=1,{options}", socket.display());
    let _sends = Testpmd::start("sends", &device, "txonly", Side::Drives)?;
    let per_second = receiver.rate()?;
    // Its thread does nothing else and never sleeps.
    Ok(Rate { per_second, cpu_ns: 1e9 / per_second })
}

/// Ours, and virtio-user's, in turns; medians.
pub fn beside(directory: &Path, features: Features, options: &str) -> Result<[Rate; 2]> {
    let socket = directory.join("net.sock");
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let _ = std::fs::remove_file(&socket);
        own.push(ours(&socket, features)?);
        let _ = std::fs::remove_file(&socket);
        other.push(theirs(&socket, options)?);
    }
    Ok([own, other].map(|mut all| {
        all.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        all[all.len() / 2]
    }))
}

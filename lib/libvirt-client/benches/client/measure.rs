//! How time is taken, and what a row of the result holds.

use libvirt_client::protocol::packet::{Header, Kind, LENGTH_SIZE, PACKET_MIN, Status};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, xdr};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// User CPU of this process in nanoseconds, in steps of a hundredth of a second.
pub(crate) fn user_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold spaces: state is the third field, utime the fourteenth.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: Option<f64> = fields.split(' ').nth(11).and_then(|ticks| ticks.parse().ok());
    ticks.unwrap_or(0.0) * 1e9 / rustix::param::clock_ticks_per_second() as f64
}

/// Memory of this process in bytes.
pub(crate) fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<f64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0.0) * rustix::param::page_size() as f64
}

pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Time of one operation, and its user CPU, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) time: f64,
    pub(crate) user: f64,
}

/// Repeats something: the median of its times, the mean of its CPU.
pub(crate) fn measure(count: usize, warm: usize, mut call: impl FnMut()) -> Cost {
    for _ in 0..warm {
        call();
    }
    let mut took = Vec::with_capacity(count);
    let before = user_ns();
    for _ in 0..count {
        let start = now();
        call();
        took.push(start.elapsed().as_nanos() as f64);
    }
    Cost { time: median(took), user: (user_ns() - before) / count as f64 }
}

/// The same of something that is awaited.
pub(crate) async fn measured(count: usize, warm: usize, mut call: impl AsyncFnMut()) -> Cost {
    for _ in 0..warm {
        call().await;
    }
    let mut took = Vec::with_capacity(count);
    let before = user_ns();
    for _ in 0..count {
        let start = now();
        call().await;
        took.push(start.elapsed().as_nanos() as f64);
    }
    Cost { time: median(took), user: (user_ns() - before) / count as f64 }
}

/// What the rounds gave one contender.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    time: Vec<f64>,
    user: Vec<f64>,
}

impl Rounds {
    pub(crate) fn add(&mut self, cost: Cost) {
        self.time.push(cost.time);
        self.user.push(cost.user);
    }

    pub(crate) fn time(&self) -> Option<f64> {
        (!self.time.is_empty()).then(|| median(self.time.clone()))
    }

    /// The mean: the kernel counts it in steps that one round has few of.
    pub(crate) fn user(&self) -> Option<f64> {
        (!self.user.is_empty()).then(|| self.user.iter().sum::<f64>() / self.user.len() as f64)
    }
}

/// A row of `xtask bench`, without peer and floor.
pub(crate) fn row(name: &str, value: f64, unit: &str, better: &str, load: Option<f64>) -> Value {
    json!({"name": name, "value": value, "unit": unit, "better": better, "load": load})
}

/// Sets a field of a row, if there is something to set.
pub(crate) fn with(mut row: Value, field: &str, value: impl Into<Option<Value>>) -> Value {
    if let Some(value) = value.into() {
        row[field] = value;
    }
    row
}

pub(crate) fn packet(procedure: i32, kind: Kind, serial: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { program: 0x2000_8086, version: 1, procedure, kind, serial, status: Status::Ok };
    let length = u32::try_from(PACKET_MIN + payload.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &header.encode(), payload].concat()
}

pub(crate) fn read_packet(socket: &mut UnixStream, buffer: &mut Vec<u8>) -> std::io::Result<Header> {
    let mut length = [0; LENGTH_SIZE];
    socket.read_exact(&mut length)?;
    buffer.resize(u32::from_be_bytes(length) as usize - LENGTH_SIZE, 0);
    socket.read_exact(buffer)?;
    let header = buffer.first_chunk().and_then(|header| Header::decode(header).ok());
    header.ok_or_else(|| std::io::Error::other("no header"))
}

/// The least a client can do: the same bytes out, the reply in.
pub(crate) struct Bare {
    socket: UnixStream,
    buffer: Vec<u8>,
    serial: u32,
}

impl Bare {
    pub(crate) fn open(socket: &Path, name: &str) -> Self {
        let socket = UnixStream::connect(socket).expect("the daemon listens");
        let mut bare = Self { socket, buffer: Vec::new(), serial: 0 };
        bare.call(remote::AuthList::INFO.number, &[]);
        let open = remote::ConnectOpenArgs { name: Some(name.into()), ..Default::default() };
        bare.call(remote::ConnectOpen::INFO.number, &xdr::encode(&open).expect("a short name"));
        bare
    }

    /// The payload of the reply.
    pub(crate) fn call(&mut self, procedure: i32, payload: &[u8]) -> &[u8] {
        self.serial += 1;
        self.socket
            .write_all(&packet(procedure, Kind::Call, self.serial, payload))
            .expect("the daemon reads");
        self.next();
        &self.buffer[PACKET_MIN - LENGTH_SIZE..]
    }

    /// So many calls without arguments, with so many of them under way.
    pub(crate) fn calls(&mut self, procedure: i32, count: usize, window: usize) {
        for sent in 0..count + window {
            if sent < count {
                self.serial += 1;
                let call = packet(procedure, Kind::Call, self.serial, &[]);
                self.socket.write_all(&call).expect("the daemon reads");
            }
            if sent >= window {
                self.next();
            }
        }
    }

    /// The next packet's payload, in bytes.
    pub(crate) fn next(&mut self) -> usize {
        let header = read_packet(&mut self.socket, &mut self.buffer).expect("the daemon answers");
        assert!(header.status != Status::Error, "the daemon refuses");
        self.buffer.len() + LENGTH_SIZE - PACKET_MIN
    }
}

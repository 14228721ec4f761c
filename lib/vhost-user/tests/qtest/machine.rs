//! A machine without a guest: its processor halts at its first instruction, its memory is ours, and its ports and registers are reached
//! over a socket.
//!
//! The commands are those of QEMU's `docs/devel/testing/qtest.rst`; the way to the registers of a device is section 4.1 of the
//! specification.

use serde_json::{Value, json};
use std::fmt::Display;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vhost_user::memory::Memory;
use virtio::features::Features;
use virtio::memory::{PackedMemory, Shared, SplitMemory};
use virtio::ring::Driver;
use virtio::{Segment, Tables, packed, split};

const PROGRAM: &str = "qemu-system-x86_64";
const MEMORY: usize = 64 << 20;
/// Where the registers of the device are put: below 4 GiB, behind the memory.
const WINDOW: u64 = 0xe000_0000;
/// The instruction, which an interrupt would end: they are off after a reset.
const HLT: u8 = 0xf4;
/// How long the device may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Where each device is on the bus.
const SLOT: u32 = 5;

pub(crate) type Ring = Driver<SplitMemory, PackedMemory>;

/// The machine, ended with the value.
pub(crate) struct Machine {
    child: Child,
    lines: BufReader<UnixStream>,
    monitor: BufReader<UnixStream>,
    pub(crate) memory: Memory,
}

impl Machine {
    /// With these arguments; `DEVICE` among them stands for where a device is to be. `None` where QEMU is missing, which is told.
    pub(crate) fn start(test: &str, directory: &Path, arguments: &[&str]) -> Option<Self> {
        let [qtest, monitor] = ["qtest.sock", "monitor.sock"].map(|name| {
            let socket = directory.join(name);
            let _ = std::fs::remove_file(&socket);
            (UnixListener::bind(&socket).unwrap(), socket)
        });
        // A machine that was never started has no timers, and some devices do nothing.
        let firmware = directory.join("halt.rom");
        std::fs::write(&firmware, [HLT; 64 << 10]).unwrap();
        let mut memory = Memory::at(0, MEMORY).unwrap();
        // What is below 1 MiB is hidden by ROMs in part.
        memory.part(1 << 20, 4096).unwrap();
        let inherited: OwnedFd = memory.descriptor().try_clone_to_owned().unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        let child = Command::new(PROGRAM)
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-bios"])
            .arg(&firmware)
            .args(["-machine", "q35,memory-backend=ram,usb=off"])
            .arg("-object")
            .arg(format!(
                "memory-backend-file,id=ram,size={MEMORY},mem-path=/proc/self/fd/{},share=on",
                inherited.as_raw_fd()
            ))
            .args(["-qtest-log", "none", "-qtest"])
            .arg(format!("unix:{}", qtest.1.display()))
            .arg("-qmp")
            .arg(format!("unix:{}", monitor.1.display()))
            .args(arguments.iter().map(|it| it.replace("DEVICE", &format!("disable-legacy=on,addr={SLOT}"))))
            .stdin(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("not run: {test}: {PROGRAM} is missing");
                return None;
            }
            Err(error) => panic!("{PROGRAM}: {error}"),
        };
        let lines = accept(&qtest.0, &mut child);
        let monitor = accept(&monitor.0, &mut child);
        let mut machine = Self { child, lines, monitor, memory };
        machine.message();
        machine.execute("qmp_capabilities", json!({}));
        Some(machine)
    }

    /// What the monitor says next.
    fn message(&mut self) -> Value {
        let mut line = String::new();
        self.monitor.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// What a command of the monitor returns.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.monitor.get_mut(), "{line}").unwrap();
        loop {
            let mut message = self.message();
            if message.get("event").is_none() {
                assert!(message.get("return").is_some(), "{command}: {message}");
                return message["return"].take();
            }
        }
    }

    fn command(&mut self, command: impl Display) -> u64 {
        writeln!(self.lines.get_mut(), "{command}").unwrap();
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("OK"), "{command}: {line}");
        let number = |word: &str| match word.strip_prefix("0x") {
            Some(word) => u64::from_str_radix(word, 16),
            None => word.parse(),
        };
        words.next().map_or(0, |word| number(word).unwrap())
    }

    /// A word of the device's PCI configuration space.
    fn configuration(&mut self, at: u32) -> u32 {
        self.command(format_args!("outl 0xcf8 {:#x}", 1 << 31 | SLOT << 11 | at & !3));
        self.command("inl 0xcfc") as u32
    }

    fn set_configuration(&mut self, at: u32, value: u32) {
        self.command(format_args!("outl 0xcf8 {:#x}", 1 << 31 | SLOT << 11 | at & !3));
        self.command(format_args!("outl 0xcfc {value:#x}"));
    }

    /// A byte of it.
    fn configuration_byte(&mut self, at: u32) -> u32 {
        self.configuration(at) >> (at % 4 * 8) & 0xff
    }

    /// Memory that the device sees, and where it finds it.
    pub(crate) fn part(&mut self, bytes: usize) -> (Shared, u64) {
        let part = self.memory.part(bytes, 4096).unwrap();
        let address = self.memory.address_of(&part);
        (part, address)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accept(listener: &UnixListener, child: &mut Child) -> BufReader<UnixStream> {
    listener.set_nonblocking(true).unwrap();
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert_eq!(child.try_wait().unwrap(), None, "{PROGRAM} has ended");
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    BufReader::new(stream)
}

/// Parts of the registers (section 4.1.4).
#[derive(Default)]
struct Windows {
    common: u64,
    notify: u64,
    multiplier: u64,
    device: u64,
}

/// A device of the machine that a driver has taken.
pub(crate) struct Device {
    pub(crate) machine: Machine,
    windows: Windows,
    pub(crate) features: Features,
}

mod status {
    pub(super) const ACKNOWLEDGE: u64 = 1;
    pub(super) const DRIVER: u64 = 2;
    pub(super) const DRIVER_OK: u64 = 4;
    pub(super) const FEATURES_OK: u64 = 8;
}

impl Device {
    /// Takes it, with what it has of `features`, and all of `required`.
    pub(crate) fn take(mut machine: Machine, features: Features, required: Features) -> Self {
        let windows = Self::map(&mut machine);
        let mut device = Self { machine, windows, features: Features::empty() };
        device.set(0x14, 1, 0);
        device.set(0x14, 1, status::ACKNOWLEDGE);
        device.set(0x14, 1, status::ACKNOWLEDGE | status::DRIVER);
        let mut offered = 0;
        for half in 0..2 {
            device.set(0, 4, half);
            offered |= device.get(4, 4) << (32 * half);
        }
        let offered = Features::from_bits_retain(offered);
        let required = required | Features::VERSION_1;
        assert!(offered.contains(required), "missing: {:?}", required.difference(offered));
        device.features = offered & (features | required);
        for half in 0..2 {
            device.set(8, 4, half);
            device.set(0xc, 4, device.features.bits() >> (32 * half) & 0xffff_ffff);
        }
        let agreed = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        device.set(0x14, 1, agreed);
        assert_eq!(device.get(0x14, 1), agreed, "the device does not agree");
        device
    }

    /// Finds the registers, and makes them reachable.
    fn map(machine: &mut Machine) -> Windows {
        assert_eq!(machine.configuration(0) & 0xffff, 0x1af4, "no virtio device in the slot");
        let mut windows = Windows::default();
        let mut at = machine.configuration_byte(0x34);
        while at != 0 {
            let next = machine.configuration_byte(at + 1);
            if machine.configuration_byte(at) == 0x09 {
                let window = WINDOW + u64::from(machine.configuration(at + 8));
                match machine.configuration_byte(at + 3) {
                    1 => windows.common = window,
                    2 => {
                        windows.notify = window;
                        windows.multiplier = machine.configuration(at + 16).into();
                    }
                    4 => windows.device = window,
                    _ => {}
                }
                let bar = machine.configuration_byte(at + 4);
                machine.set_configuration(0x10 + 4 * bar, WINDOW as u32);
            }
            at = next;
        }
        // Memory, and being a master of the bus.
        let command = machine.configuration(4);
        machine.set_configuration(4, command | 6);
        windows
    }

    fn get(&mut self, at: u64, bytes: usize) -> u64 {
        let address = self.windows.common + at;
        self.read(address, bytes)
    }

    fn read(&mut self, address: u64, bytes: usize) -> u64 {
        let letter = ["b", "w", "l", "q"][bytes.ilog2() as usize];
        self.machine.command(format_args!("read{letter} {address:#x}"))
    }

    fn write(&mut self, address: u64, bytes: usize, value: u64) {
        let letter = ["b", "w", "l", "q"][bytes.ilog2() as usize];
        self.machine.command(format_args!("write{letter} {address:#x} {value:#x}"));
    }

    fn set(&mut self, at: u64, bytes: usize, value: u64) {
        let address = self.windows.common + at;
        self.write(address, bytes, value);
    }

    /// Queues that it has.
    pub(crate) fn queues(&mut self) -> u64 {
        self.get(0x12, 2)
    }

    /// The first bytes of its configuration space.
    pub(crate) fn config(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes as u64).map(|at| self.read(self.windows.device + at, 1) as u8).collect()
    }

    /// Writes a byte there.
    pub(crate) fn set_config_byte(&mut self, at: u64, value: u8) {
        self.write(self.windows.device + at, 1, value.into());
    }

    /// Writes a number of four bytes there.
    pub(crate) fn set_config(&mut self, at: u64, value: u32) {
        self.write(self.windows.device + at, 4, value.into());
    }

    /// Sets up a queue of `size`, of the kind that was negotiated.
    pub(crate) fn queue(&mut self, index: u16, size: u16) -> Queue {
        let options = self.features.options();
        let is_packed = self.features.contains(Features::RING_PACKED);
        let bytes = if is_packed { PackedMemory::bytes(size) } else { SplitMemory::bytes(size) };
        let [(table, first), (driver, second), (device, third)] = bytes.map(|bytes| self.machine.part(bytes));
        let ring = if is_packed {
            Driver::Packed(packed::Driver::new(
                PackedMemory::new(size, table, driver, device).unwrap(),
                options,
            ))
        } else {
            Driver::Split(split::Driver::new(SplitMemory::new(size, table, driver, device).unwrap(), options))
        };
        let ring = if options.indirect {
            let (tables, address) = self.machine.part(Tables::bytes(size, 16));
            ring.with_tables(Tables::new(tables, address, size, 16).unwrap())
        } else {
            ring
        };
        self.set(0x16, 2, index.into());
        assert!(self.get(0x18, 2) >= size.into(), "queue {index} is shorter");
        self.set(0x18, 2, size.into());
        for (at, address) in [(0x20, first), (0x28, second), (0x30, third)] {
            self.set(at, 4, address & 0xffff_ffff);
            self.set(at + 4, 4, address >> 32);
        }
        let doorbell = self.windows.notify + self.get(0x1e, 2) * self.windows.multiplier;
        self.set(0x1c, 2, 1);
        Queue { ring, index, doorbell }
    }

    /// All queues are set up.
    pub(crate) fn start(&mut self) {
        let agreed = self.get(0x14, 1);
        self.set(0x14, 1, agreed | status::DRIVER_OK);
    }

    /// Publishes what was added.
    pub(crate) fn submit(&mut self, queue: &mut Queue) {
        queue.ring.publish();
        if queue.ring.must_kick() {
            self.write(queue.doorbell, 2, queue.index.into());
        }
    }

    /// Publishes, and waits for what `reap` finds.
    pub(crate) fn wait<T>(&mut self, queue: &mut Queue, mut reap: impl FnMut(&mut Ring) -> Option<T>) -> T {
        self.submit(queue);
        let clock = rustix::time::ClockId::Monotonic;
        let start = rustix::time::clock_gettime(clock).tv_sec;
        loop {
            if let Some(found) = reap(&mut queue.ring) {
                return found;
            }
            assert!(
                rustix::time::clock_gettime(clock).tv_sec - start <= TIMEOUT.as_secs() as i64,
                "queue {} brings nothing in {TIMEOUT:?}",
                queue.index
            );
            std::thread::yield_now();
        }
    }
}

/// A queue of a device.
pub(crate) struct Queue {
    pub(crate) ring: Ring,
    index: u16,
    doorbell: u64,
}

pub(crate) fn segment((part, address): &(Shared, u64)) -> Segment {
    Segment { address: *address, length: part.len() as u32 }
}

//! Disks: `virtio-blk`, and a SCSI disk behind `virtio-scsi`.

use crate::machine::{Device, Machine, Queue, segment};
use crate::{KINDS, SIZE};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use virtio::blk::{self, Completed, Config, SECTOR};
use virtio::features::Features;
use virtio::memory::Shared;
use virtio::post::Inbox;
use virtio::scsi::{self, Answer, Completion, Event, Failure, Status, Task, Unit};

const BYTES: u64 = 16 << 20;

fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7) as u8 ^ (at as u8) ^ seed).collect()
}

fn image(directory: &Path) -> (File, String) {
    let path = directory.join("disk.raw");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.set_len(BYTES).unwrap();
    let blockdev =
        format!("driver=file,node-name=disk,filename={},discard=unmap,locking=off", path.display());
    (file, blockdev)
}

fn stored(file: &File, at: u64, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    file.read_exact_at(&mut all, at).unwrap();
    all
}

fn read((part, _): &(Shared, u64), count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    part.slice().read(&mut all);
    all
}

#[test]
fn a_disk_is_written_read_flushed_and_zeroed() {
    let test = "a_disk_is_written_read_flushed_and_zeroed";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let (file, blockdev) = image(directory.path());
        let device = format!("virtio-blk-pci,drive=disk,serial=one,num-queues=2,{kind},DEVICE");
        let arguments = ["-blockdev", blockdev.as_str(), "-device", device.as_str()];
        let Some(machine) = Machine::start(test, directory.path(), &arguments) else { return };
        let needed =
            blk::Features::FLUSH | blk::Features::DISCARD | blk::Features::WRITE_ZEROES | blk::Features::MQ;
        let features = features | Features::from_bits_retain(needed.bits());
        let mut device = Device::take(machine, features, features);
        let config = Config::parse(&device.config(Config::BYTES));
        assert_eq!((config.capacity, config.queues), (BYTES / SECTOR, 2));
        let mut queue = device.queue(1, SIZE);
        device.start();
        let (slots, address) = device.machine.part(blk::Requests::bytes(SIZE));
        let mut requests = blk::Requests::new(SIZE, slots, address).unwrap();
        let done = |device: &mut Device, queue: &mut Queue, requests: &mut blk::Requests| {
            device.wait(queue, |ring| requests.reap(ring).unwrap())
        };

        let data = device.machine.part(64 << 10);
        let written = pattern(9, 64 << 10);
        data.0.slice().write(&written);
        requests.write(&mut queue.ring, 2048, &[segment(&data)], 1).unwrap();
        assert_eq!(done(&mut device, &mut queue, &mut requests), Completed { tag: 1, result: Ok(()) });
        requests.flush(&mut queue.ring, 2).unwrap();
        assert_eq!(done(&mut device, &mut queue, &mut requests), Completed { tag: 2, result: Ok(()) });
        assert!(stored(&file, 2048 * SECTOR, 64 << 10) == written);

        // As many at once as there is room for, each into memory of its own.
        let all: Vec<_> = (0..20).map(|_| device.machine.part(512)).collect();
        for (into, sector) in all.iter().zip(0..) {
            requests.read(&mut queue.ring, 2048 + sector, &[segment(into)], sector).unwrap();
        }
        for _ in &all {
            assert_eq!(done(&mut device, &mut queue, &mut requests).result, Ok(()));
        }
        for (into, expected) in all.iter().zip(written.chunks(512)) {
            assert!(read(into, 512) == expected);
        }

        requests.write_zeroes(&mut queue.ring, 2048, 8, true, 3).unwrap();
        assert_eq!(done(&mut device, &mut queue, &mut requests).result, Ok(()));
        requests.discard(&mut queue.ring, 2056, 8, 4).unwrap();
        assert_eq!(done(&mut device, &mut queue, &mut requests).result, Ok(()));
        assert_eq!(stored(&file, 2048 * SECTOR, 4096), [0; 4096]);
        assert!(stored(&file, 2064 * SECTOR, 4096) == written[8192..12288]);

        let name = device.machine.part(20);
        requests.id(&mut queue.ring, segment(&name), 5).unwrap();
        assert_eq!(done(&mut device, &mut queue, &mut requests).result, Ok(()));
        assert_eq!(read(&name, 4), b"one\0");

        // Beyond the end.
        requests.read(&mut queue.ring, BYTES / SECTOR, &[segment(&name)], 6).unwrap();
        let failed = done(&mut device, &mut queue, &mut requests);
        assert_eq!(failed, Completed { tag: 6, result: Err(blk::Failure::Io) });
    }
}

struct Host {
    device: Device,
    queue: Queue,
    requests: scsi::Requests,
}

impl Host {
    fn ask(
        &mut self,
        unit: Unit,
        command: &[u8],
        out: &[(Shared, u64)],
        into: &[(Shared, u64)],
    ) -> Completion {
        let [out, into] = [out, into].map(|all| all.iter().map(segment).collect::<Vec<_>>());
        self.requests.send(&mut self.queue.ring, unit, command, [&out, &into], 77).unwrap();
        let Self { device, queue, requests } = self;
        device.wait(queue, |ring| requests.reap(ring).unwrap())
    }

    fn status(
        &mut self,
        unit: Unit,
        command: &[u8],
        out: &[(Shared, u64)],
        into: &[(Shared, u64)],
    ) -> Status {
        let Completion { tag, response } = self.ask(unit, command, out, into);
        assert_eq!(tag, 77);
        response.unwrap()
    }
}

const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;

#[test]
fn a_scsi_disk_is_asked_written_and_read() {
    let test = "a_scsi_disk_is_asked_written_and_read";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let (file, blockdev) = image(directory.path());
        let device = format!("virtio-scsi-pci,num_queues=1,{kind},DEVICE,id=host");
        let arguments = [
            "-blockdev",
            &blockdev,
            "-device",
            &device,
            "-device",
            "scsi-hd,bus=host.0,drive=disk,scsi-id=3,lun=300,vendor=US,product=DISK",
            "-blockdev",
            "driver=null-co,node-name=other,size=1048576",
        ];
        let Some(machine) = Machine::start(test, directory.path(), &arguments) else { return };
        let needed = scsi::Features::HOTPLUG | scsi::Features::CHANGE;
        let needed = features | Features::from_bits_retain(needed.bits());
        let mut device = Device::take(machine, needed, needed);
        let config = scsi::Config::parse(&device.config(scsi::Config::BYTES));
        assert_eq!((config.queues, config.event_bytes), (1, Event::BYTES as u32));
        assert_eq!((config.command_bytes, config.sense_bytes), (scsi::COMMAND as u32, scsi::SENSE as u32));
        assert_eq!((config.max_target, config.max_lun), (255, 16383));

        let mut control = device.queue(scsi::CONTROL, 8);
        let mut events = device.queue(scsi::EVENTS, 8);
        let queue = device.queue(scsi::REQUESTS, SIZE);
        device.start();
        let (memory, address) = device.machine.part(8 * Event::BYTES);
        let mut inbox = Inbox::new(8, Event::BYTES as u32, memory, address).unwrap();
        inbox.offer(&mut events.ring).unwrap();
        device.submit(&mut events);
        let (memory, address) = device.machine.part(scsi::Control::bytes(8));
        let mut tasks = scsi::Control::new(8, memory, address).unwrap();
        let (slots, address) = device.machine.part(scsi::Requests::bytes(SIZE));
        let requests = scsi::Requests::new(SIZE, slots, address).unwrap();
        let mut host = Host { device, queue, requests };
        let unit = Unit { target: 3, lun: 300 };

        // The first command after power on is told of it.
        let ready = host.status(unit, &[0; 6], &[], &[]);
        assert_eq!((ready.status, ready.sense_code()), (CHECK_CONDITION, Some((6, 0x29, 0))));
        assert_eq!(host.status(unit, &[0; 6], &[], &[]).status, GOOD);

        let inquiry = host.device.machine.part(96);
        let answer = host.status(unit, &[0x12, 0, 0, 0, 96, 0], &[], std::slice::from_ref(&inquiry));
        assert_eq!(answer.status, GOOD);
        assert_eq!(read(&inquiry, 32)[8..], *b"US      DISK            ");

        let capacity = host.device.machine.part(64);
        let answer =
            host.status(unit, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], std::slice::from_ref(&capacity));
        assert_eq!((answer.status, answer.residual), (GOOD, 56));
        let last = (BYTES / SECTOR - 1) as u32;
        assert_eq!(read(&capacity, 8), [last.to_be_bytes(), 512_u32.to_be_bytes()].concat());

        // 128 sectors in two pieces, by WRITE (10) and READ (10).
        let pieces = [host.device.machine.part(4096), host.device.machine.part(60 << 10)];
        let written = pattern(33, 64 << 10);
        pieces[0].0.slice().write(&written[..4096]);
        pieces[1].0.slice().write(&written[4096..]);
        assert_eq!(host.status(unit, &[0x2a, 0, 0, 0, 0, 8, 0, 0, 128, 0], &pieces, &[]).status, GOOD);
        assert!(stored(&file, 8 * SECTOR, 64 << 10) == written);
        for piece in &pieces {
            piece.0.slice().fill(0);
        }
        assert_eq!(host.status(unit, &[0x28, 0, 0, 0, 0, 8, 0, 0, 128, 0], &[], &pieces).status, GOOD);
        assert!([read(&pieces[0], 4096), read(&pieces[1], 60 << 10)].concat() == written);

        // Beyond the end: illegal request, logical block address out of range.
        let end = [0x28, 0, 0, 0, 0x80, 0, 0, 0, 1, 0];
        let beyond = host.status(unit, &end, &[], std::slice::from_ref(&pieces[0]));
        assert_eq!((beyond.status, beyond.sense_code()), (CHECK_CONDITION, Some((5, 0x21, 0))));
        let nobody = host.ask(Unit { target: 4, lun: 0 }, &[0; 6], &[], &[]);
        assert_eq!(nobody, Completion { tag: 77, response: Err(Failure::BadTarget) });

        for (unit, task, expected) in [
            (unit, Task::Query(1), Answer::Complete),
            (unit, Task::Abort(1), Answer::Complete),
            (unit, Task::ResetUnit, Answer::Complete),
            (Unit { target: 9, lun: 0 }, Task::ResetUnit, Answer::Failed(Failure::BadTarget)),
        ] {
            tasks.send(&mut control.ring, unit, task, 5).unwrap();
            let answer = host.device.wait(&mut control, |ring| tasks.reap(ring).unwrap());
            assert_eq!(answer, (5, expected), "{task:?}");
        }
        let reset = host.status(unit, &[0; 6], &[], &[]);
        assert_eq!((reset.status, reset.sense_code()), (CHECK_CONDITION, Some((6, 0x29, 0))));

        // Units that come, change and go are told.
        let other = Unit { target: 7, lun: 0 };
        let added = json!({ "driver": "scsi-hd", "bus": "host.0", "scsi-id": 7, "lun": 0, "drive": "other", "id": "other" });
        let resize = json!({ "node-name": "disk", "size": 2 * BYTES });
        for (command, arguments, expected) in [
            ("device_add", added, Event::Added(other)),
            ("block_resize", resize, Event::Changed(unit, 0x2a, 9)),
            ("device_del", json!({ "id": "other" }), Event::Removed(other)),
        ] {
            host.device.machine.execute(command, arguments);
            let letter = host.device.wait(&mut events, |ring| inbox.next(ring).unwrap());
            let mut event = [0; Event::BYTES];
            inbox.open(&letter).unwrap().read(&mut event);
            assert_eq!(Event::parse(&event), expected);
            inbox.offer_again(letter);
            inbox.offer(&mut events.ring).unwrap();
        }
    }
}

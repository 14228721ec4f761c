//! The balloon: all five queues.

use crate::KINDS;
use crate::machine::{Device, Machine, Queue, segment};
use serde_json::{Value, json};
use std::path::Path;
use virtio::Segment;
use virtio::balloon::{
    Config, Features, Hinted, Hints, PAGE, Pages, Role, Statistics, Step, Tag, Wish, report, roles,
};
use virtio::features;

const SIZE: u16 = 32;
const NAME: &str = "/machine/peripheral/balloon";

/// A balloon with all of its features, and a queue for each role.
fn balloon(
    test: &str,
    directory: &Path,
    kind: &str,
    features: features::Features,
) -> Option<(Device, Vec<Queue>)> {
    let device = format!(
        "virtio-balloon-pci,id=balloon,deflate-on-oom=on,free-page-reporting=on,free-page-hint=on,iothread=thread,{kind},DEVICE"
    );
    let arguments = ["-object", "iothread,id=thread", "-device", &device];
    let machine = Machine::start(test, directory, &arguments)?;
    let mine = Features::all() - Features::MUST_TELL_HOST;
    let features = features | features::Features::from_bits_retain(mine.bits());
    let mut device = Device::take(machine, features, features);
    assert_eq!(device.queues(), 5);
    let queues = roles(mine).zip(0..).map(|(_, index)| device.queue(index, SIZE)).collect();
    Some((device, queues))
}

fn index(role: Role) -> usize {
    [Role::Inflate, Role::Deflate, Role::Statistics, Role::Hints, Role::Reports]
        .iter()
        .position(|other| *other == role)
        .unwrap()
}

fn config(device: &mut Device) -> Config {
    Config::parse(&device.config(Config::BYTES))
}

/// What QEMU thinks that the guest has.
fn actual(device: &mut Device) -> u64 {
    device.machine.execute("query-balloon", json!({}))["actual"].as_u64().unwrap()
}

#[test]
fn pages_are_given_up_and_taken_back() {
    let test = "pages_are_given_up_and_taken_back";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let Some((mut device, mut queues)) = balloon(test, directory.path(), kind, features) else { return };
        device.start();
        let all = actual(&mut device);
        let (memory, address) = device.machine.part(Pages::bytes(SIZE));
        let mut given = Pages::new(SIZE, memory, address).unwrap();
        let (memory, address) = device.machine.part(Pages::bytes(SIZE));
        let mut back = Pages::new(SIZE, memory, address).unwrap();
        let (free, address) = device.machine.part(600 * PAGE as usize);
        free.slice().fill(0xa5);
        let first = (address / PAGE) as u32;

        device.machine.execute("balloon", json!({ "value": all - 600 * PAGE }));
        let Step::Inflate(count) = Step::between(config(&mut device).wanted, 0) else { panic!() };
        assert_eq!(count, 600);
        let pages: Vec<u32> = (first..first + count).collect();
        for some in pages.chunks(virtio::balloon::PAGES_AT_ONCE) {
            given.tell(&mut queues[0].ring, some).unwrap();
        }
        let mut told = Vec::new();
        while told.len() < pages.len() {
            let more = device.wait(&mut queues[0], |ring| {
                Some(given.told(ring).unwrap()).filter(|pages| !pages.is_empty())
            });
            told.extend(more);
        }
        assert_eq!(told, pages);
        let mut bytes = vec![0xff; free.len()];
        free.slice().read(&mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0), "QEMU has given the memory back to the host");
        device.set_config(Config::ACTUAL as u64, count);
        assert_eq!(actual(&mut device), all - 600 * PAGE);

        device.machine.execute("balloon", json!({ "value": all - 100 * PAGE }));
        assert_eq!(Step::between(config(&mut device).wanted, count), Step::Deflate(500));
        for some in pages[100..].chunks(virtio::balloon::PAGES_AT_ONCE) {
            back.tell(&mut queues[1].ring, some).unwrap();
        }
        let mut told = Vec::new();
        while told.len() < 500 {
            let more = device.wait(&mut queues[1], |ring| {
                Some(back.told(ring).unwrap()).filter(|pages| !pages.is_empty())
            });
            told.extend(more);
        }
        assert_eq!(told, pages[100..]);
        device.set_config(Config::ACTUAL as u64, 100);
        assert_eq!(actual(&mut device), all - 100 * PAGE);
        assert_eq!(Step::between(config(&mut device).wanted, 100), Step::Rest);
    }
}

#[test]
fn statistics_are_told_as_often_as_they_are_wanted() {
    let test = "statistics_are_told_as_often_as_they_are_wanted";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let Some((mut device, mut queues)) = balloon(test, directory.path(), kind, features) else { return };
        device.start();
        let (memory, address) = device.machine.part(Statistics::BYTES * usize::from(SIZE));
        let mut statistics = Statistics::new(SIZE, memory, address).unwrap();
        let interval = json!({ "path": NAME, "property": "guest-stats-polling-interval", "value": 1 });
        device.machine.execute("qom-set", interval);
        let queue = &mut queues[index(Role::Statistics)];
        for round in 1..3_u64 {
            device.wait(queue, |ring| statistics.are_wanted(ring).unwrap().then_some(()));
            let all = [
                (Tag::FreeMemory, 1000 * round),
                (Tag::TotalMemory, 64 << 20),
                (Tag::MajorFaults, u64::from(u32::MAX) + round),
                (Tag::OomKills, round),
            ];
            statistics.send(&mut queue.ring, &all).unwrap();
            device.submit(queue);
            assert!(!statistics.are_wanted(&mut queue.ring).unwrap(), "the device keeps it");
            let wanted = json!({ "path": NAME, "property": "guest-stats" });
            let stats = loop {
                let stats = device.machine.execute("qom-get", wanted.clone())["stats"].take();
                if stats["stat-free-memory"] == json!(1000 * round) {
                    break stats;
                }
                std::thread::yield_now();
            };
            assert_eq!(stats["stat-total-memory"], json!(64 << 20));
            assert_eq!(stats["stat-major-faults"], json!(u64::from(u32::MAX) + round));
        }
    }
}

fn migration(device: &mut Device) -> Value {
    device.machine.execute("query-migrate", json!({}))
}

#[test]
fn free_pages_are_left_out_of_a_migration() {
    let test = "free_pages_are_left_out_of_a_migration";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let Some((mut device, mut queues)) = balloon(test, directory.path(), kind, features) else { return };
        device.start();
        let (memory, address) = device.machine.part(Hints::bytes(SIZE));
        let mut hints = Hints::new(SIZE, memory, address).unwrap();
        let queue = &mut queues[index(Role::Hints)];
        // Content that is worth sending, 32 MiB of it free.
        let free: Vec<_> = (0..8).map(|_| device.machine.part(4 << 20)).collect();
        for (part, _) in &free {
            part.slice().fill(0x5a);
        }
        let capability = json!([{ "capability": "events", "state": true }]);
        device.machine.execute("migrate-set-capabilities", json!({ "capabilities": capability }));
        device.machine.execute("migrate-set-parameters", json!({ "max-bandwidth": 1 << 20 }));
        assert_eq!(Wish::parse(config(&mut device).hint_command), Wish::Stop);
        device.machine.execute("migrate", json!({ "uri": "exec:cat > /dev/null" }));
        // What is hinted while it is set up is sent all the same, now and then.
        while migration(&mut device)["ram"]["precopy-bytes"].as_u64().is_none_or(|sent| sent == 0) {
            std::thread::yield_now();
        }
        let round = loop {
            match Wish::parse(config(&mut device).hint_command) {
                Wish::Round(round) => break round,
                _ => std::thread::yield_now(),
            }
        };
        hints.begin(&mut queue.ring, round).unwrap();
        for part in &free {
            hints.hint(&mut queue.ring, segment(part)).unwrap();
        }
        hints.end(&mut queue.ring).unwrap();
        let mut hinted = Vec::new();
        let mut marks = 0;
        while hinted.len() < free.len() || marks < 2 {
            match device.wait(queue, |ring| hints.next(ring).unwrap()) {
                Hinted::Mark => marks += 1,
                Hinted::Free(segment) => hinted.push(segment),
            }
        }
        assert_eq!(hinted, free.iter().map(segment).collect::<Vec<_>>());
        let done = loop {
            let state = migration(&mut device);
            match state["status"].as_str() {
                Some("active" | "setup" | "device" | "pre-switchover") => std::thread::yield_now(),
                Some("completed") => break state,
                _ => panic!("{state}"),
            }
        };
        let sent = done["ram"]["normal-bytes"].as_u64().unwrap();
        assert!(sent < 16 << 20, "{kind}: {sent} bytes were sent: {done}");
        assert_eq!(Wish::parse(config(&mut device).hint_command), Wish::Release);
    }
}

#[test]
fn reported_pages_go_back_to_the_host_unless_they_are_poisoned() {
    let test = "reported_pages_go_back_to_the_host_unless_they_are_poisoned";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        for poison in [0, 0xaaaa_aaaa_u32] {
            let found = balloon(test, directory.path(), kind, features);
            let Some((mut device, mut queues)) = found else { return };
            device.set_config(12, poison);
            device.start();
            assert_eq!(config(&mut device).poison, poison);
            let queue = &mut queues[index(Role::Reports)];
            let (free, address) = device.machine.part(4 << 20);
            free.slice().fill(0xaa);
            let reported: [Segment; 2] = [report(address, 512), report(address + (2 << 20), 256)];
            let token = queue.ring.add(&[], &reported).unwrap();
            let done = device.wait(queue, |ring| ring.reap().unwrap());
            assert_eq!(done.token, token);
            let mut bytes = vec![0; free.len()];
            free.slice().read(&mut bytes);
            let (gone, kept) = bytes.split_at(3 << 20);
            let expected = if poison == 0 { 0 } else { 0xaa };
            assert!(gone.iter().all(|byte| *byte == expected));
            assert!(kept.iter().all(|byte| *byte == 0xaa));
        }
    }
}

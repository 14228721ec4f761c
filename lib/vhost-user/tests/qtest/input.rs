//! A keyboard and a tablet of QEMU's, whose keys are pressed by its monitor.

use crate::KINDS;
use crate::machine::{Device, Machine, Queue};
use serde_json::{Value, json};
use virtio::input::{Ask, CONFIG_BYTES, EVENTS, Event, STATUS, has, shown};
use virtio::post::{Inbox, Outbox};

const KEY: u16 = 1;
const PLACE: u16 = 3;
const LIGHT: u16 = 17;

struct Input {
    device: Device,
    events: Queue,
    status: Queue,
    inbox: Inbox,
    outbox: Outbox,
}

impl Input {
    fn start(
        test: &str,
        directory: &std::path::Path,
        kind: (&str, virtio::features::Features),
        name: &str,
    ) -> Option<Self> {
        let device = format!("{name},{},DEVICE", kind.0);
        let machine = Machine::start(test, directory, &["-device", &device])?;
        let mut device = Device::take(machine, kind.1, kind.1);
        let (events, status) = (device.queue(EVENTS, 64), device.queue(STATUS, 8));
        device.start();
        let (memory, address) = device.machine.part(64 * Event::BYTES);
        let inbox = Inbox::new(64, Event::BYTES as u32, memory, address).unwrap();
        let (memory, address) = device.machine.part(8 * Event::BYTES);
        let outbox = Outbox::new(8, Event::BYTES as u32, memory, address).unwrap();
        Some(Self { device, events, status, inbox, outbox })
    }

    fn ask(&mut self, ask: Ask) -> Vec<u8> {
        for (at, byte) in (0..).zip(ask.bytes()) {
            self.device.set_config_byte(at, byte);
        }
        let config: [u8; CONFIG_BYTES] = self.device.config(CONFIG_BYTES).try_into().unwrap();
        shown(&config).to_vec()
    }

    fn next(&mut self) -> Event {
        let Self { device, events, inbox, .. } = self;
        inbox.offer(&mut events.ring).unwrap();
        let letter = device.wait(events, |ring| inbox.next(ring).unwrap());
        let mut bytes = [0; Event::BYTES];
        assert_eq!(inbox.open(&letter).unwrap().read(&mut bytes), Event::BYTES);
        inbox.offer_again(letter);
        Event::parse(bytes)
    }

    /// Offers what the device fills, and has the monitor do something.
    fn does(&mut self, events: Value) {
        self.inbox.offer(&mut self.events.ring).unwrap();
        self.device.submit(&mut self.events);
        self.device.machine.execute("input-send-event", json!({ "events": events }));
    }
}

#[test]
fn a_keyboard_says_what_it_is_and_what_is_pressed() {
    let test = "a_keyboard_says_what_it_is_and_what_is_pressed";
    let directory = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let Some(mut input) = Input::start(test, directory.path(), kind, "virtio-keyboard-pci") else {
            return;
        };
        assert_eq!(input.ask(Ask::Name), b"QEMU Virtio Keyboard\0");
        assert_eq!(input.ask(Ask::Ids).len(), 8);
        let keys = input.ask(Ask::Codes(KEY as u8));
        // A is 30, and there is no key 0.
        assert!(has(&keys, 30) && !has(&keys, 0) && !has(&keys, u16::MAX));
        assert!(has(&input.ask(Ask::Codes(LIGHT as u8)), 1), "it has a light for capitals");
        assert!(input.ask(Ask::Codes(PLACE as u8)).is_empty(), "it is no tablet");
        for round in 0..50 {
            let down = round % 2 == 0;
            let key =
                json!([{ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": "a" } } }]);
            input.does(key);
            assert_eq!(input.next(), Event { kind: KEY, code: 30, value: u32::from(down) });
            assert_eq!(input.next(), Event::default(), "this was all");
        }
        // The light goes on and off.
        for value in [1, 0] {
            let Input { device, status, outbox, .. } = &mut input;
            outbox.send(&mut status.ring, &[&Event { kind: LIGHT, code: 1, value }.bytes()]).unwrap();
            let taken =
                device.wait(status, |ring| Some(outbox.taken(ring).unwrap()).filter(|count| *count > 0));
            assert_eq!(taken, 1);
        }
    }
}

#[test]
fn a_tablet_says_where_it_is_touched() {
    let test = "a_tablet_says_where_it_is_touched";
    let directory = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let Some(mut input) = Input::start(test, directory.path(), kind, "virtio-tablet-pci") else { return };
        assert_eq!(input.ask(Ask::Name), b"QEMU Virtio Tablet\0");
        for axis in [0, 1] {
            let range = input.ask(Ask::Axis(axis));
            let number = |at: usize| u32::from_le_bytes(range[at..at + 4].try_into().unwrap());
            assert_eq!((range.len(), number(0), number(4)), (20, 0, 0x7fff));
        }
        for place in [0_u32, 1, 0x1234, 0x7fff] {
            let touch = |axis: &str| json!({ "type": "abs", "data": { "axis": axis, "value": place } });
            input.does(json!([touch("x"), touch("y")]));
            assert_eq!(input.next(), Event { kind: PLACE, code: 0, value: place });
            assert_eq!(input.next(), Event { kind: PLACE, code: 1, value: place });
            assert_eq!(input.next(), Event::default());
        }
    }
}

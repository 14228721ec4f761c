//! The drivers of `virtio` with QEMU's own devices, without a guest: no code of ours is on the other side.
#![cfg(test)]

#[path = "../support/apart.rs"]
mod apart;
mod balloon;
mod console;
mod graphics;
mod input;
mod machine;
mod network;
mod offloads;
mod storage;

use machine::{Device, Machine};
use virtio::features::Features;
use virtio::post::Inbox;

/// Entries of each ring.
const SIZE: u16 = 64;

/// Rings of all kinds that QEMU's devices have. Each comes with the option that makes a device have it.
const KINDS: [(&str, Features); 3] = [
    ("packed=off", Features::empty()),
    ("packed=off", Features::EVENT_IDX.union(Features::INDIRECT_DESC)),
    ("packed=on", Features::RING_PACKED.union(Features::EVENT_IDX).union(Features::INDIRECT_DESC)),
];

#[test]
fn a_source_of_entropy_fills_what_it_is_given() {
    let test = "a_source_of_entropy_fills_what_it_is_given";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let device = format!("virtio-rng-pci,rng=source,{kind},DEVICE");
        let arguments = ["-object", "rng-random,id=source,filename=/dev/urandom", "-device", device.as_str()];
        let Some(machine) = Machine::start(test, directory.path(), &arguments) else { return };
        let mut device = Device::take(machine, features, features);
        let mut queue = device.queue(0, 8);
        device.start();
        let (memory, address) = device.machine.part(8 * 64);
        let mut inbox = Inbox::new(8, 64, memory, address).unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            inbox.offer(&mut queue.ring).unwrap();
            let letter = device.wait(&mut queue, |ring| inbox.next(ring).unwrap());
            let slice = inbox.open(&letter).unwrap();
            let mut bytes = vec![0; slice.len()];
            slice.read(&mut bytes);
            assert_eq!(bytes.len(), 64);
            assert!(seen.insert(bytes), "the same 64 bytes again");
            inbox.offer_again(letter);
        }
    }
}

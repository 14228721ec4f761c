//! A console with several ports: `virtio-serial`.

use crate::KINDS;
use crate::machine::{Device, Machine, Queue};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use virtio::console::{self, CONTROL_RECEIVE, CONTROL_TRANSMIT, Config, News};
use virtio::features::Features;
use virtio::post::{Inbox, Outbox};

const SIZE: u16 = 16;
/// The second port, which is the first of `virtserialport`: QEMU keeps the first for a console.
const PORT: u16 = 1;

fn inbox(device: &mut Device, each: u32) -> Inbox {
    let (memory, address) = device.machine.part(usize::from(SIZE) * each as usize);
    Inbox::new(SIZE, each, memory, address).unwrap()
}

fn outbox(device: &mut Device, each: u32) -> Outbox {
    let (memory, address) = device.machine.part(usize::from(SIZE) * each as usize);
    Outbox::new(SIZE, each, memory, address).unwrap()
}

fn receive(device: &mut Device, queue: &mut Queue, inbox: &mut Inbox) -> Vec<u8> {
    inbox.offer(&mut queue.ring).unwrap();
    let letter = device.wait(queue, |ring| inbox.next(ring).unwrap());
    let slice = inbox.open(&letter).unwrap();
    let mut bytes = vec![0; slice.len()];
    slice.read(&mut bytes);
    inbox.offer_again(letter);
    bytes
}

fn send(device: &mut Device, queue: &mut Queue, outbox: &mut Outbox, bytes: &[u8]) {
    outbox.send(&mut queue.ring, &[bytes]).unwrap();
    let taken = device.wait(queue, |ring| Some(outbox.taken(ring).unwrap()).filter(|count| *count > 0));
    assert_eq!(taken, 1);
}

#[test]
fn ports_are_found_by_name_and_carry_bytes_both_ways() {
    let test = "ports_are_found_by_name_and_carry_bytes_both_ways";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let socket = directory.path().join("port.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let chardev = format!("socket,id=port,path={}", socket.display());
        let host = format!("virtio-serial-pci,max_ports=4,id=serial,{kind},DEVICE");
        let port = "virtserialport,bus=serial.0,chardev=port,name=org.example.agent";
        let arguments = ["-chardev", &chardev, "-device", &host, "-device", port];
        let Some(machine) = Machine::start(test, directory.path(), &arguments) else { return };
        let (mut host, _) = listener.accept().unwrap();
        let features = features | Features::from_bits_retain(console::Features::MULTIPORT.bits());
        let mut device = Device::take(machine, features, features);
        assert_eq!(Config::parse(&device.config(Config::BYTES)).most_ports, 4);
        let mut queues: Vec<_> = (0..6).map(|index| device.queue(index, SIZE)).collect();
        device.start();

        let (mut news, mut words) = (inbox(&mut device, 128), outbox(&mut device, 8));
        news.offer(&mut queues[usize::from(CONTROL_RECEIVE)].ring).unwrap();
        device.submit(&mut queues[usize::from(CONTROL_RECEIVE)]);
        send(&mut device, &mut queues[usize::from(CONTROL_TRANSMIT)], &mut words, &console::ready());
        let mut seen = Vec::new();
        while !seen.iter().any(|one| matches!(one, News::Opened { .. })) {
            let bytes = receive(&mut device, &mut queues[usize::from(CONTROL_RECEIVE)], &mut news);
            let one = News::parse(&bytes).unwrap();
            for answer in one.answer() {
                send(&mut device, &mut queues[usize::from(CONTROL_TRANSMIT)], &mut words, &answer);
            }
            seen.push(one);
        }
        let port = u32::from(PORT);
        let expected = [
            News::Added(port),
            News::Named { port, name: "org.example.agent".to_owned() },
            News::Opened { port, is_open: true },
        ];
        assert_eq!(seen, expected);

        let opened = console::opened(port);
        send(&mut device, &mut queues[usize::from(CONTROL_TRANSMIT)], &mut words, &opened);
        let [from, to] = console::queues(PORT).map(usize::from);
        let (mut input, mut output) = (inbox(&mut device, 64), outbox(&mut device, 64));
        for round in 0..20_u8 {
            send(&mut device, &mut queues[to], &mut output, &[b'>', round]);
            let mut heard = [0; 2];
            host.read_exact(&mut heard).unwrap();
            assert_eq!(heard, [b'>', round]);
            let text: Vec<u8> = (0..500_u32).map(|at| at as u8 ^ round).collect();
            host.write_all(&text).unwrap();
            let mut heard = Vec::new();
            while heard.len() < text.len() {
                heard.extend(receive(&mut device, &mut queues[from], &mut input));
            }
            assert!(heard == text);
        }

        // The host hangs up.
        drop(host);
        let bytes = receive(&mut device, &mut queues[usize::from(CONTROL_RECEIVE)], &mut news);
        assert_eq!(News::parse(&bytes), Some(News::Opened { port, is_open: false }));
    }
}

//! A machine that has nothing but our disk to boot from.

use crate::{Machine, QEMU, observed};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use vhost_user::backend::serve;
use vhost_user::devices::{Disk, OnFile};
use vhost_user::socket::Canceller;

/// A boot sector: has the firmware read the sector behind it, and writes the text that is there to the serial port.
const BOOTS: [u8; 36] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0x8e, 0xc0, // mov es, ax
    0xb8, 0x01, 0x02, // mov ax, 0x0201: read one sector
    0xbb, 0x00, 0x7e, // mov bx, 0x7e00
    0xb9, 0x02, 0x00, // mov cx, 2: the second of the first track
    0xb6, 0x00, // mov dh, 0
    0xcd, 0x13, // int 0x13, of the disk in dl
    0xbe, 0x00, 0x7e, // mov si, 0x7e00
    0xac, // lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x06, // jz to the end
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xee, // out dx, al
    0xeb, 0xf5, // jmp to the next byte
    0xf4, // hlt
    0xeb, 0xfd, // jmp to hlt
];
const TEXT: &str = "booted from our disk";

#[test]
fn a_machine_boots_from_our_disk() {
    let test = "a_machine_boots_from_our_disk";
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut image = vec![0; 1 << 20];
    image[..BOOTS.len()].copy_from_slice(&BOOTS);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[512..512 + TEXT.len()].copy_from_slice(TEXT.as_bytes());
    image[512 + TEXT.len()] = b'\n';
    std::fs::write(path("disk"), image).unwrap();
    let (listener, disk) = (UnixListener::bind(path("blk.sock")).unwrap(), path("disk"));
    let server = observed::in_thread(move || {
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let file = File::options().read(true).write(true).open(&disk).unwrap();
            let mut disk = Disk::new(OnFile::new(file).unwrap(), 1);
            serve(&mut disk, observed::served_through(stream, "qemu"), &Canceller::new().unwrap()).unwrap();
        }
    });
    for packed in ["off", "on"] {
        let machine = Command::new(QEMU)
            .args(["-accel", "tcg", "-m", "64", "-machine", "q35,memory-backend=memory", "-nodefaults"])
            .args(["-object", "memory-backend-memfd,id=memory,size=64M,share=on"])
            .args(["-display", "none", "-serial", "stdio", "-chardev"])
            .arg(format!("socket,id=disk,path={}", path("blk.sock").display()))
            .arg("-device")
            .arg(format!("vhost-user-blk-pci,chardev=disk,num-queues=1,packed={packed},bootindex=0"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut machine = match machine {
            Ok(child) => Machine(child),
            Err(error) => return println!("not run: {test}: {QEMU}: {error}"),
        };
        let mut console = BufReader::new(machine.0.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains(TEXT) {
            let mut line = Vec::new();
            assert!(
                console.read_until(b'\n', &mut line).unwrap() > 0,
                "packed={packed}: it has ended: {said}"
            );
            said.push_str(&String::from_utf8_lossy(&line));
        }
    }
    server.join().unwrap();
}

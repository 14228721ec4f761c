//! A machine that has nothing but our disk to boot from.

use crate::{Machine, QEMU, demo, observed};
use std::fs::File;
use std::io::BufRead as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use vhost_user::backend::{Device, Guest, serve};
use vhost_user::devices::{Disk, OnFile};
use vhost_user::socket::Canceller;
use virtio::features::Features;

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
        let mut machine = Command::new(QEMU);
        machine
            .args(["-accel", "tcg", "-m", "64", "-machine", "q35,memory-backend=memory", "-nodefaults"])
            .args(["-object", "memory-backend-memfd,id=memory,size=64M,share=on"])
            .args(["-display", "none", "-serial", "stdio", "-chardev"])
            .arg(format!("socket,id=disk,path={}", path("blk.sock").display()))
            .arg("-device")
            .arg(format!("vhost-user-blk-pci,chardev=disk,num-queues=1,packed={packed},bootindex=0"));
        let Some((_machine, mut console)) = Machine::started(test, machine) else { return };
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

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// A disk that tells what each driver negotiates with it.
struct Telling(Disk<OnFile>, mpsc::Sender<Features>);

impl Device for Telling {
    fn features(&self) -> Features {
        self.0.features()
    }
    fn queues(&self) -> u16 {
        self.0.queues()
    }
    fn config(&self) -> &[u8] {
        self.0.config()
    }
    fn negotiated(&mut self, features: Features) {
        // Whoever listened may have heard enough.
        let _ = self.1.send(features);
        self.0.negotiated(features);
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        self.0.run(queue, guest);
    }
}

/// The firmware finds Linux on our disk, reads all of it by a driver of its own, and starts it; Linux finds the disk again, in rings of either kind.
#[test]
fn linux_boots_from_our_disk() {
    let test = "linux_boots_from_our_disk";
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    if let Err(why) = linux(directory.path()) {
        return println!("not run: {test}: {why}");
    }
    for packed in ["off", "on"] {
        std::fs::copy(VARS, path("vars")).unwrap();
        let socket = path(packed);
        let (listener, disk) = (UnixListener::bind(&socket).unwrap(), path("disk"));
        let (tells, told) = mpsc::channel();
        // What is said is what the machine above says, and seen there.
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let file = File::options().read(true).write(true).open(&disk).unwrap();
            let mut disk = Telling(Disk::new(OnFile::new(file).unwrap(), 1), tells);
            serve(&mut disk, stream, &Canceller::new().unwrap()).unwrap();
        });
        let mut machine = Command::new(QEMU);
        machine
            .args(["-accel", "tcg", "-m", "256", "-machine", "q35,memory-backend=memory", "-nodefaults"])
            .args(["-object", "memory-backend-memfd,id=memory,size=256M,share=on", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio", "-drive"])
            .arg(format!("if=pflash,format=raw,readonly=on,file={CODE}"))
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,file={}", path("vars").display()))
            .arg("-chardev")
            .arg(format!("socket,id=disk,path={}", socket.display()))
            .arg("-device")
            .arg(format!("vhost-user-blk-pci,chardev=disk,num-queues=1,packed={packed},bootindex=0"));
        let Some((machine, console)) = Machine::started(test, machine) else { return };
        let mut said = String::new();
        for line in console.split(b'\n') {
            said.push_str(&String::from_utf8_lossy(&line.unwrap()));
            said.push('\n');
            // The firmware would wait for somebody at its shell.
            if said.contains("hypervisor-demo: up ") || said.contains("BdsDxe: failed") {
                break;
            }
        }
        assert!(said.contains("hypervisor-demo: up "), "packed={packed}: {said}");
        // It looked for a file system that it knows, and said that it found another.
        assert!(said.contains("cannot mount /dev/vda as ext4"), "packed={packed}: {said}");
        drop(machine);
        server.join().unwrap();
        let drivers: Vec<_> = told.try_iter().collect();
        let last = drivers.last().expect("somebody negotiated");
        assert_eq!(last.contains(Features::RING_PACKED), packed == "on", "{drivers:?}");
    }
}

/// A FAT file system with the demo guest as the one program that a firmware looks for on a disk which it does not know (UEFI 2.10, section 3.5.1.1):
/// kernel, initrd and command line as sections behind systemd's stub. An error says what is missing.
fn linux(directory: &Path) -> Result<(), String> {
    let at = |name: &str| directory.join(name);
    let [kernel, initrd] = ["vmlinuz", "initrd.img"].map(demo);
    let packages = [(CODE, "the Debian package ovmf"), (STUB, "the Debian package systemd-boot-efi")];
    for (file, from) in packages.map(|(file, from)| (PathBuf::from(file), from)) {
        if !file.exists() {
            return Err(format!("{} is missing: {from}", file.display()));
        }
    }
    for file in [&kernel, &initrd] {
        if !file.exists() {
            return Err(format!("{} is missing (cargo xtask demo-image)", file.display()));
        }
    }
    let (text, program, disk) = (at("cmdline"), at("BOOTX64.EFI"), at("disk"));
    std::fs::write(&text, "console=ttyS0 quiet panic=-1 no_timer_check").unwrap();
    let mut objcopy = Command::new("objcopy");
    // systemd-stub(7). Each section begins after the one before it has ended; the stub itself ends below 16 MiB.
    for (section, file, address) in
        [(".cmdline", text, 0x0100_0000), (".linux", kernel, 0x0200_0000), (".initrd", initrd, 0x0500_0000)]
    {
        objcopy.arg("--add-section").arg(format!("{section}={}", file.display()));
        objcopy.arg("--change-section-vma").arg(format!("{section}={address:#x}"));
    }
    run(objcopy.arg(STUB).arg(&program))?;
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    run(Command::new("mformat").arg("-i").arg(&disk).args(["-F", "::"]))?;
    run(Command::new("mmd").arg("-i").arg(&disk).args(["::/EFI", "::/EFI/BOOT"]))?;
    run(Command::new("mcopy").arg("-i").arg(&disk).arg(&program).arg("::/EFI/BOOT/"))
}

/// An error where the program is missing; one that fails is a fault of the test.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

//! Whole machines as people use them.

use super::{Cases, I440FX, MICROVM};
use qemu::config::{
    Access, Address, Aio, Backing, Balloon, Cache, Channel, Clock, ClockBase, DirectKernel, Disk, DiskBus,
    Encoding, Firmware, Forward, Gpu, Image, Limits, MemoryHotplug, Nic, NicBackend, NicModel, Panic,
    PanicAction, PanicModel, Password, Protocol, Rng, RngSource, Secret, Serial, SerialKind, Share,
    ShareKind, Sharing, Sound, SoundBackend, SoundCard, Source, Spice, Stream, Switch, Throttle, Topology,
    Tpm, TpmModel, Usb, Vnc, VncShare, Watchdog, WatchdogAction, WatchdogModel,
};
use uuid::Uuid;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0xab, 0, 1];

fn user() -> NicBackend {
    NicBackend::User { forwards: Vec::new(), restrict: false }
}

pub(super) fn add(cases: &mut Cases) {
    cases.group("combined");
    servers(cases);
    desktops(cases);
    small(cases);
}

fn servers(cases: &mut Cases) {
    let overlay = Image::qcow2(cases.path("disk.qcow2")).on(Image::raw(cases.path("disk.raw")));
    let seed = Image::raw(cases.path("seed.iso"));
    let forwards =
        vec![Forward { protocol: Protocol::Tcp, host: "127.0.0.1:0".parse().unwrap(), guest_port: 22 }];
    cases.q35("cloud server", |c| {
        c.cpu.count = 2;
        (c.balloon, c.rng, c.spare_ports) = (Some(Balloon::default()), Some(Rng::default()), 4);
        c.disks =
            vec![Disk::new("root", overlay.clone()).serial("root"), Disk::read_only("seed", seed.clone())];
        c.nics = vec![Nic::new("nic-0", MAC, NicBackend::User { forwards, restrict: false })];
        c.channels = vec![Channel::guest_agent("agent", Stream::ListenOn("listening".into()))];
    });
    let limits = Limits { bytes: Some(100 << 20), requests: Some(1000), ..Limits::default() };
    let fast = Access { cache: Cache::None, aio: Some(Aio::Native), ..Access::default() };
    let data = Image { access: fast, ..Image::raw(cases.path("disk.raw")) };
    cases.q35("database server", |c| {
        c.cpu.count = 4;
        c.cpu.max = Some(8);
        c.cpu.topology = Some(Topology { sockets: 2, dies: 1, cores: 4, threads: 1 });
        c.memory.hotplug = Some(MemoryHotplug { slots: 8, max_mib: 4096 });
        c.iothreads = vec!["io-data".into()];
        let data = Disk { iothread: Some("io-data".into()), queues: Some(4), ..Disk::new("data", data) };
        c.disks = vec![Disk { throttle: Some(Throttle::Own(limits)), ..data }];
        c.watchdog = Some(Watchdog { model: WatchdogModel::I6300esb, action: WatchdogAction::Reset });
        c.panic = Some(Panic { model: PanicModel::Pci, action: PanicAction::Pause });
        c.generation = Some(Uuid::from_u128(9));
    });
    cases.q35("router", |c| {
        c.nics = (0..6).map(|n| Nic::new(&format!("nic-{n}"), [0x52, 0x54, 0, 0xab, 1, n], user())).collect();
    });
    let (disk, code) = (cases.path("disk.raw"), "/usr/share/OVMF/OVMF_CODE_4M.fd".into());
    let vars = Source::Path(cases.path("vars, 1.fd"));
    cases.q35("uefi server on scsi", |c| {
        c.boot.firmware = Firmware::Uefi { code, vars };
        c.disks = vec![
            Disk::new("root", Image::raw(disk)).on(DiskBus::Scsi(0)),
            Disk::cdrom("install", Some(seed)).on(DiskBus::Scsi(0)),
        ];
        c.nics = vec![Nic::new("nic-0", MAC, user())];
    });
    let socket = Stream::Connect { to: Address::Unix(cases.path("virtiofsd.sock")), again_s: 0 };
    cases.q35("container host with a shared directory", |c| {
        (c.memory.backing, c.memory.sharing) = (Backing::Memfd, Sharing::Shared);
        c.shares = vec![Share {
            id: "home".into(),
            tag: "home".into(),
            kind: ShareKind::Virtiofs { socket, queue: None },
        }];
        c.disks = vec![Disk::new("root", overlay)];
    });
}

fn desktops(cases: &mut Cases) {
    let secure = Firmware::UefiSecure {
        code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd".into(),
        vars: Source::Path(cases.path("vars.ms.fd")),
    };
    let control = Stream::Connect { to: Address::Unix(cases.path("swtpm.sock")), again_s: 0 };
    let (disk, cd) = (cases.path("disk.qcow2"), cases.path("seed.iso"));
    let secret = Secret {
        id: "password".into(),
        source: Source::Path(cases.path("password, 1")),
        encoding: Encoding::Raw,
    };
    let listen = Address::Unix(cases.path("vnc, 1.sock"));
    cases.q35("Windows 11", |c| {
        c.boot.firmware = secure;
        c.tpm = Some(Tpm { model: TpmModel::Crb, control });
        c.clock = Clock { base: ClockBase::LocalTime, source: None, catch_up: true };
        c.tuning.hpet = Some(Switch::Off);
        c.cpu.model = Some("qemu64".into());
        c.cpu.count = 2;
        c.disks = vec![
            Disk::new("root", Image::qcow2(disk)).on(DiskBus::Board),
            Disk::cdrom("install", Some(Image::raw(cd))),
        ];
        c.nics = vec![Nic::new("nic-0", MAC, user()).model(NicModel::E1000e)];
        c.usb = vec![Usb::Tablet];
        (c.display.gpus, c.secrets) = (vec![Gpu::Std], vec![secret]);
        c.display.vnc = Some(Vnc {
            listen,
            password: Password::Secret("password".into()),
            websocket: None,
            share: VncShare::default(),
            tls: None,
            lossy: false,
        });
    });
    let listen = Address::Unix(cases.path("spice, 1.sock"));
    let disk = cases.path("disk.qcow2");
    cases.q35("Linux desktop over spice", |c| {
        let on = Switch::On;
        c.display.spice = Some(Spice {
            listen,
            password: Password::None,
            tls: None,
            compression: None,
            clipboard: on,
            file_transfer: on,
        });
        (c.display.gpus, c.display.heads) = (vec![Gpu::Qxl], Some(2));
        c.channels = vec![Channel {
            id: "vdagent".into(),
            name: "com.redhat.spice.0".into(),
            chardev: Stream::SpiceChannel("vdagent".into()).into(),
        }];
        c.usb = vec![Usb::Tablet, Usb::Redirected(Stream::SpiceChannel("usbredir".into()).into())];
        c.sound = Some(Sound { card: SoundCard::Hda, backend: SoundBackend::Spice });
        c.disks = vec![Disk::new("root", Image::qcow2(disk))];
    });
    let disk = cases.path("disk.raw");
    cases.on(I440FX, "Windows XP", |c| {
        c.disks = vec![Disk::new("root", Image::raw(disk)).on(DiskBus::Board), Disk::cdrom("cd", None)];
        c.nics = vec![Nic::new("nic-0", MAC, user()).model(NicModel::Rtl8139)];
        (c.display.gpus, c.display.vram_mib) = (vec![Gpu::Cirrus], Some(4));
        c.sound = Some(Sound { card: SoundCard::Ac97, backend: SoundBackend::None });
        c.clock.base = ClockBase::LocalTime;
        c.usb = vec![Usb::Tablet];
    });
}

fn small(cases: &mut Cases) {
    let kernel = DirectKernel {
        kernel: cases.path("kernel, 1"),
        initrd: Some(cases.path("initrd, 1")),
        cmdline: "console=ttyS0 reboot=t panic=-1".into(),
    };
    let disk = cases.path("disk.raw");
    cases.on(MICROVM, "function", |c| {
        c.boot.kernel = Some(kernel.clone());
        c.disks = vec![Disk::new("root", Image::raw(disk))];
        c.nics = vec![Nic::new("nic-0", MAC, user())];
        c.rng = Some(Rng { source: RngSource::Builtin, limit: None });
        c.channels = vec![Channel::guest_agent("agent", Stream::ListenOn("listening".into()))];
    });
    cases.q35("kernel developer", |c| {
        (c.boot.kernel, c.dump_info) = (Some(kernel), true);
        c.serials = vec![
            Serial { id: "second".into(), kind: SerialKind::Isa(1), chardev: Stream::Pty.into() },
            Serial {
                id: "firmware".into(),
                kind: SerialKind::Debug(0x402),
                chardev: Stream::Ring { bytes: 65_536 }.into(),
            },
        ];
        c.panic = Some(Panic { model: PanicModel::Isa, action: PanicAction::Pause });
    });
    cases.q35("everything that has a place of its own", |c| {
        (c.balloon, c.rng, c.spare_ports) = (Some(Balloon::default()), Some(Rng::default()), 8);
        c.display.gpus = vec![Gpu::Std, Gpu::Virtio];
        c.usb = vec![Usb::Keyboard];
        c.inputs = vec![qemu::config::Input::Keyboard, qemu::config::Input::Tablet];
        c.sound = Some(Sound { card: SoundCard::Hda, backend: SoundBackend::None });
        c.channels = vec![Channel::guest_agent("agent", Stream::Null)];
        c.watchdog = Some(Watchdog { model: WatchdogModel::I6300esb, action: WatchdogAction::Pause });
        c.panic = Some(Panic { model: PanicModel::Pci, action: PanicAction::Pause });
        c.tuning.iommu = Some(qemu::config::Iommu::Virtio);
        c.serials = vec![Serial { id: "second".into(), kind: SerialKind::Pci, chardev: Stream::Null.into() }];
        c.disks = vec![
            Disk::new("root", Image::new(Source::Null { bytes: 1 << 20 }, qemu::config::Format::Raw))
                .on(DiskBus::Scsi(1)),
        ];
        c.nics = vec![Nic::new("nic-0", MAC, user())];
    });
}

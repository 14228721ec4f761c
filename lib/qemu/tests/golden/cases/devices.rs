//! Smaller devices, shares, devices of other processes, tables of the firmware, the sandbox.

use super::{Cases, I440FX, MICROVM};
use qemu::config::{
    Address, Backing, Balloon, Chardev, FwCfg, FwCfgContent, Gpu, Input, NinePSecurity, Panic, PanicAction,
    PanicModel, Permission, Rng, RngSource, Share, ShareKind, Sharing, Sound, SoundBackend, SoundCard,
    Source, Spice, Stream, Switch, Tpm, TpmModel, Usb, VhostUser, VhostUserKind, Vsock, Watchdog,
    WatchdogAction, WatchdogModel,
};
use uuid::Uuid;

pub(super) fn add(cases: &mut Cases) {
    small(cases);
    guards(cases);
    usb_and_sound(cases);
    shares(cases);
    tables(cases);
    sandbox(cases);
}

fn small(cases: &mut Cases) {
    cases.group("device");
    for (free_page_reporting, deflate_on_oom) in [(true, false), (false, true), (true, true)] {
        let balloon = Some(Balloon { free_page_reporting, deflate_on_oom });
        cases.q35(format!("balloon reporting {free_page_reporting}, deflating {deflate_on_oom}"), |c| {
            c.balloon = balloon
        });
    }
    cases.q35("random numbers of QEMU", |c| c.rng = Some(Rng { source: RngSource::Builtin, limit: None }));
    cases.q35("random numbers of a file", |c| {
        c.rng = Some(Rng { source: RngSource::File("/dev/random".into()), limit: None })
    });
    cases.q35("random numbers with a limit", |c| {
        c.rng = Some(Rng { limit: Some((1024, 1000)), ..Rng::default() })
    });
    let egd = Stream::Connect { to: Address::Unix(cases.path("peer.sock")), again_s: 0 };
    cases.q35("random numbers of a daemon", |c| {
        c.rng = Some(Rng { source: RngSource::Egd(egd), limit: None })
    });
    for machine in [super::Q35, I440FX] {
        for (name, model) in [("crb", TpmModel::Crb), ("tis", TpmModel::Tis)] {
            let control = Stream::Connect { to: Address::Unix(cases.path("swtpm.sock")), again_s: 0 };
            cases.on(machine, format!("{machine} tpm {name}"), |c| c.tpm = Some(Tpm { model, control }));
        }
    }
    cases.q35("vsock", |c| c.vsock = Some(Vsock { cid: 42, vhost: None }));
    cases.q35("vsock handed over", |c| {
        c.vsock = Some(Vsock { cid: u32::MAX - 1, vhost: Some("vhost-vsock".into()) })
    });
    for machine in [super::Q35, I440FX] {
        cases.on(machine, format!("{machine} generation"), |c| c.generation = Some(Uuid::from_u128(7)));
        cases.on(machine, format!("{machine} dump information"), |c| c.dump_info = true);
    }
}

fn guards(cases: &mut Cases) {
    cases.group("guard");
    for (model_name, model) in
        [("i6300esb", WatchdogModel::I6300esb), ("ib700", WatchdogModel::Ib700), ("tco", WatchdogModel::Tco)]
    {
        for action in [
            WatchdogAction::Reset,
            WatchdogAction::Shutdown,
            WatchdogAction::Poweroff,
            WatchdogAction::Pause,
            WatchdogAction::None,
            WatchdogAction::InjectNmi,
        ] {
            cases.q35(format!("{model_name} {action:?}"), |c| c.watchdog = Some(Watchdog { model, action }));
        }
    }
    for model in [PanicModel::Isa, PanicModel::Pci] {
        for action in [PanicAction::Pause, PanicAction::Poweroff, PanicAction::None] {
            cases.q35(format!("panic {model:?} {action:?}"), |c| c.panic = Some(Panic { model, action }));
        }
    }
    cases.on(MICROVM, "panic on microvm", |c| {
        c.panic = Some(Panic { model: PanicModel::Isa, action: PanicAction::Pause })
    });
    cases.q35("watchdog and panic", |c| {
        c.watchdog = Some(Watchdog { model: WatchdogModel::I6300esb, action: WatchdogAction::Reset });
        c.panic = Some(Panic { model: PanicModel::Pci, action: PanicAction::Poweroff });
    });
}

fn usb_and_sound(cases: &mut Cases) {
    cases.group("usb");
    let null = || Chardev::from(Stream::Null);
    for (name, usb) in [
        ("tablet", Usb::Tablet),
        ("mouse", Usb::Mouse),
        ("keyboard", Usb::Keyboard),
        ("smart card", Usb::SmartCard(null())),
        ("redirected", Usb::Redirected(null())),
        ("device of the host", Usb::Host { vendor: 0x1d6b, product: 0xffff }),
    ] {
        cases.q35(name, |c| c.usb = vec![usb.clone()]);
        cases.on(I440FX, format!("{name} on i440fx"), |c| c.usb = vec![usb]);
    }
    cases.q35("several", |c| c.usb = vec![Usb::Tablet, Usb::Keyboard, Usb::Mouse, Usb::Redirected(null())]);
    cases.group("input");
    for input in [Input::Keyboard, Input::Mouse, Input::Tablet] {
        cases.q35(format!("{input:?}"), |c| c.inputs = vec![input.clone()]);
    }
    cases.q35("all", |c| c.inputs = vec![Input::Keyboard, Input::Mouse, Input::Tablet]);
    cases.q35("of the host", |c| c.inputs = vec![Input::Host("/dev/input/event0".into())]);
    cases.group("sound");
    let wav = cases.path("sound, 1.wav");
    for card in [SoundCard::Hda, SoundCard::HdaMicro, SoundCard::HdaOutput, SoundCard::Ac97, SoundCard::Usb] {
        cases.q35(format!("{card:?}"), |c| c.sound = Some(Sound { card, backend: SoundBackend::None }));
        let backend = SoundBackend::Wav(wav.clone());
        cases.q35(format!("{card:?} to a file"), |c| c.sound = Some(Sound { card, backend }));
    }
    let listen = Address::Unix(cases.path("spice, 1.sock"));
    cases.q35("to spice", |c| {
        let on = Switch::On;
        let password = qemu::config::Password::None;
        c.display.spice =
            Some(Spice { listen, password, tls: None, compression: None, clipboard: on, file_transfer: on });
        (c.display.gpus, c.sound) =
            (vec![Gpu::Qxl], Some(Sound { card: SoundCard::Hda, backend: SoundBackend::Spice }));
    });
    cases.q35("to dbus", |c| {
        c.display.dbus = Some(qemu::config::Dbus::PeerToPeer);
        (c.display.gpus, c.sound) =
            (vec![Gpu::Virtio], Some(Sound { card: SoundCard::Hda, backend: SoundBackend::Dbus }));
    });
    let pulse = SoundBackend::Pulse("unix:/run/pulse/native".into());
    cases.q35("to PulseAudio", |c| c.sound = Some(Sound { card: SoundCard::Hda, backend: pulse }));
}

fn shares(cases: &mut Cases) {
    cases.group("share");
    let directory = cases.path("shared, 1");
    for security in [
        NinePSecurity::MappedXattr,
        NinePSecurity::MappedFile,
        NinePSecurity::Passthrough,
        NinePSecurity::None,
    ] {
        for read_only in [false, true] {
            let kind = ShareKind::NineP { path: directory.clone(), security, read_only };
            let share = Share { id: "home".into(), tag: "home, 1".into(), kind };
            cases.q35(format!("9p {security:?}, read-only {read_only}"), |c| c.shares.push(share));
        }
    }
    let kind = ShareKind::NineP { path: directory, security: NinePSecurity::None, read_only: false };
    let share = Share { id: "home".into(), tag: "home".into(), kind };
    cases.on(MICROVM, "9p on microvm", |c| c.shares.push(share));
    let shared =
        |c: &mut qemu::Config| (c.memory.backing, c.memory.sharing) = (Backing::Memfd, Sharing::Shared);
    for queue in [None, Some(512)] {
        let socket = Stream::Connect { to: Address::Unix(cases.path("virtiofsd.sock")), again_s: 0 };
        let share =
            Share { id: "home".into(), tag: "home".into(), kind: ShareKind::Virtiofs { socket, queue } };
        cases.q35(format!("virtiofs, queue {queue:?}"), |c| {
            shared(c);
            c.shares.push(share);
        });
    }
    let socket = Stream::Connect { to: Address::Unix(cases.path("vhost-user.sock")), again_s: 0 };
    for kind in [
        VhostUserKind::Block { queues: 1 },
        VhostUserKind::Block { queues: 4 },
        VhostUserKind::Scsi,
        VhostUserKind::Input,
        VhostUserKind::Rng,
        VhostUserKind::Vsock,
        VhostUserKind::I2c,
        VhostUserKind::Gpio,
        VhostUserKind::Gpu,
        VhostUserKind::Vga,
    ] {
        let device = VhostUser { id: "outside".into(), kind, socket: socket.clone() };
        cases.q35(format!("vhost-user {kind:?}"), |c| {
            shared(c);
            c.vhost_user.push(device);
        });
    }
}

fn tables(cases: &mut Cases) {
    cases.group("tables");
    let texts = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    cases.q35("bios", |c| {
        c.smbios.bios = texts(&[
            ("vendor", "A, B"),
            ("version", "1"),
            ("date", "01/01/2024"),
            ("release", "1.2"),
            ("uefi", "on"),
        ])
    });
    cases.q35("system", |c| {
        c.smbios.system = texts(&[
            ("manufacturer", "A, B"),
            ("product", "C=D"),
            ("version", "1"),
            ("serial", "ds=nocloud"),
            ("sku", "s"),
            ("family", "f"),
        ]);
    });
    cases.q35("board", |c| {
        c.smbios.board = texts(&[
            ("manufacturer", "A"),
            ("product", "B"),
            ("version", "1"),
            ("serial", "2"),
            ("asset", "3"),
            ("location", "4"),
        ])
    });
    cases.q35("chassis", |c| {
        c.smbios.chassis =
            texts(&[("manufacturer", "A"), ("version", "1"), ("serial", "2"), ("asset", "3"), ("sku", "4")])
    });
    cases.q35("processor", |c| {
        c.smbios.processor = texts(&[
            ("sock_pfx", "S"),
            ("manufacturer", "A"),
            ("version", "1"),
            ("max-speed", "3000"),
            ("current-speed", "2000"),
        ])
    });
    cases.q35("memory", |c| {
        c.smbios.memory =
            texts(&[("loc_pfx", "DIMM"), ("bank", "B"), ("manufacturer", "A"), ("speed", "3200")])
    });
    cases.q35("texts", |c| c.smbios.strings = vec!["io.systemd.credential:a=b, c".into(), "second".into()]);
    cases.on(I440FX, "system on i440fx", |c| c.smbios.system = texts(&[("serial", "1")]));
    let file = cases.path("key, 1");
    for (name, content) in [
        ("text", FwCfgContent::Text("a, b=c".into())),
        ("file", FwCfgContent::File(Source::Path(file))),
        ("descriptor", FwCfgContent::File(Source::Descriptor("key".into()))),
    ] {
        let file = FwCfg { name: "opt/org.test/a".into(), content };
        cases.q35(format!("fw_cfg {name}"), |c| c.fw_cfg.push(file.clone()));
        cases.on(MICROVM, format!("fw_cfg {name} on microvm"), |c| c.fw_cfg.push(file));
    }
}

fn sandbox(cases: &mut Cases) {
    cases.group("sandbox");
    cases.q35("off", |c| c.sandbox.filter = Switch::Off);
    cases.q35("spawning allowed", |c| c.sandbox.spawn = Permission::Allow);
    cases.q35("rights allowed", |c| c.sandbox.elevate = Permission::Allow);
    cases.q35("scheduling allowed", |c| c.sandbox.resources = Permission::Allow);
    cases.q35("obsolete calls allowed", |c| c.sandbox.obsolete = Permission::Allow);
}

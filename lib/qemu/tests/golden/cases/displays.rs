//! Graphics, and streams that people and agents use.

use super::{Cases, I440FX, MICROVM};
use qemu::config::{
    Address, Channel, Chardev, Dbus, Encoding, Gpu, ImageCompression, Password, Secret, Serial, SerialKind,
    Source, Spice, Stream, Switch, Tls, TlsRole, Vnc, VncShare,
};

pub(super) fn add(cases: &mut Cases) {
    cards(cases);
    servers(cases);
    streams(cases);
}

fn cards(cases: &mut Cases) {
    cases.group("gpu");
    for gpu in
        [Gpu::Std, Gpu::Bochs, Gpu::Cirrus, Gpu::Vmware, Gpu::Qxl, Gpu::VirtioVga, Gpu::Virtio, Gpu::Ramfb]
    {
        cases.q35(format!("{gpu:?}"), |c| c.display.gpus = vec![gpu]);
        cases.on(I440FX, format!("{gpu:?} on i440fx"), |c| c.display.gpus = vec![gpu]);
        cases.q35(format!("{gpu:?} with memory, size and heads"), |c| {
            c.display.gpus = vec![gpu];
            (c.display.vram_mib, c.display.size, c.display.heads) = (Some(16), Some((1280, 800)), Some(2));
        });
    }
    cases.q35("two cards", |c| c.display.gpus = vec![Gpu::Std, Gpu::Virtio]);
    cases.q35("three cards", |c| c.display.gpus = vec![Gpu::VirtioVga, Gpu::Bochs, Gpu::Virtio]);
}

fn vnc(listen: Address) -> Vnc {
    Vnc {
        listen,
        password: Password::None,
        websocket: None,
        share: VncShare::default(),
        tls: None,
        lossy: false,
    }
}

fn spice(listen: Address) -> Spice {
    let on = Switch::On;
    Spice { listen, password: Password::None, tls: None, compression: None, clipboard: on, file_transfer: on }
}

fn servers(cases: &mut Cases) {
    cases.group("display");
    let socket = Address::Unix(cases.path("vnc, 1.sock"));
    let secret = Secret {
        id: "password".into(),
        source: Source::Path(cases.path("password, 1")),
        encoding: Encoding::Raw,
    };
    let encoded = Secret {
        encoding: Encoding::Base64,
        source: Source::Path(cases.path("password.b64")),
        ..secret.clone()
    };
    let equals = cases.path("vnc=2.sock");
    let mut with_vnc = |name: &str, vnc: Vnc| {
        cases.q35(name, |c| {
            c.secrets = vec![secret.clone()];
            (c.display.gpus, c.display.vnc) = (vec![Gpu::Std], Some(vnc));
        });
    };
    with_vnc("vnc", vnc(socket.clone()));
    with_vnc("vnc at a path with an equals sign", vnc(Address::Unix(equals)));
    with_vnc(
        "vnc with a password",
        Vnc { password: Password::Secret("password".into()), ..vnc(socket.clone()) },
    );
    with_vnc("vnc with a password set later", Vnc { password: Password::Later, ..vnc(socket.clone()) });
    with_vnc("vnc always shared", Vnc { share: VncShare::ForceShared, ..vnc(socket.clone()) });
    with_vnc("vnc ignoring wishes", Vnc { share: VncShare::Ignore, ..vnc(socket.clone()) });
    with_vnc("vnc lossy", Vnc { lossy: true, ..vnc(socket.clone()) });
    let at = |port| Address::Tcp("127.0.0.1".into(), port);
    with_vnc("vnc on TCP", vnc(at(TCP)));
    with_vnc("vnc with websocket", Vnc { websocket: Some(TCP + 2), ..vnc(at(TCP + 1)) });
    let tls =
        Tls { id: "tls".into(), directory: cases.path("tls, 1"), role: TlsRole::Server, verify_peer: false };
    cases.q35("vnc with TLS", |c| {
        (c.tls, c.display.gpus) = (vec![tls], vec![Gpu::Std]);
        c.display.vnc = Some(Vnc { tls: Some("tls".into()), ..vnc(at(TCP + 3)) });
    });
    cases.q35("vnc with an encoded password", |c| {
        (c.secrets, c.display.gpus) = (vec![encoded], vec![Gpu::Std]);
        c.display.vnc = Some(Vnc { password: Password::Secret("password".into()), ..vnc(socket) });
    });
    let socket = Address::Unix(cases.path("spice, 1.sock"));
    let mut with_spice = |name: &str, spice: Spice| {
        cases.q35(name, |c| {
            c.secrets = vec![secret.clone()];
            (c.display.gpus, c.display.spice) = (vec![Gpu::Qxl], Some(spice));
        });
    };
    with_spice("spice", spice(socket.clone()));
    with_spice(
        "spice with a password",
        Spice { password: Password::Secret("password".into()), ..spice(socket.clone()) },
    );
    with_spice(
        "spice with a password set later",
        Spice { password: Password::Later, ..spice(socket.clone()) },
    );
    with_spice("spice on TCP", spice(at(TCP + 4)));
    let off = Spice { clipboard: Switch::Off, file_transfer: Switch::Off, ..spice(socket.clone()) };
    with_spice("spice without clipboard and files", off);
    for compression in [
        ImageCompression::AutoGlz,
        ImageCompression::AutoLz,
        ImageCompression::Quic,
        ImageCompression::Glz,
        ImageCompression::Lz,
        ImageCompression::Off,
    ] {
        let spice = Spice { compression: Some(compression), ..spice(socket.clone()) };
        with_spice(&format!("spice compression {compression:?}"), spice);
    }
    let certified = Some((TCP + 6, cases.path("tls-spice, 1")));
    let both = Spice { tls: certified, ..spice(at(TCP + 5)) };
    cases.q35("spice with TLS", |c| (c.display.gpus, c.display.spice) = (vec![Gpu::Qxl], Some(both)));
    cases.q35("vnc and spice", |c| {
        c.display.gpus = vec![Gpu::Qxl];
        c.display.vnc = Some(vnc(Address::Unix(c_path(&socket, "vnc.sock"))));
        c.display.spice = Some(spice(socket.clone()));
    });
    cases.q35("dbus peer to peer", |c| {
        (c.display.gpus, c.display.dbus) = (vec![Gpu::Virtio], Some(Dbus::PeerToPeer))
    });
    let bus = Dbus::Bus(format!("unix:path={}", cases.path("bus.sock").display()));
    cases.q35("dbus on a bus", |c| (c.display.gpus, c.display.dbus) = (vec![Gpu::Virtio], Some(bus)));
}

/// Beside another socket.
fn c_path(beside: &Address, name: &str) -> std::path::PathBuf {
    match beside {
        Address::Unix(path) => path.with_file_name(name),
        Address::Tcp(..) => name.into(),
    }
}

/// Ports of displays on TCP; nobody else's on a test machine, as nothing listens there for long.
const TCP: u16 = 59_700;

fn streams(cases: &mut Cases) {
    cases.group("stream");
    let kinds = [
        ("isa", SerialKind::Isa(1)),
        ("pci", SerialKind::Pci),
        ("usb", SerialKind::Usb),
        ("virtio", SerialKind::Virtio),
        ("debug", SerialKind::Debug(0xe9)),
    ];
    for (name, kind) in kinds {
        let serial = Serial { id: "second".into(), kind, chardev: Stream::Null.into() };
        cases.q35(name, |c| c.serials = vec![serial.clone()]);
        cases.on(I440FX, format!("{name} on i440fx"), |c| c.serials = vec![serial]);
    }
    cases.on(MICROVM, "virtio on microvm", |c| {
        c.serials =
            vec![Serial { id: "second".into(), kind: SerialKind::Virtio, chardev: Stream::Null.into() }];
    });
    cases.q35("all PC ports", |c| {
        let serial = |index: u8| Serial {
            id: format!("com-{}", index + 1),
            kind: SerialKind::Isa(index),
            chardev: Stream::Null.into(),
        };
        c.serials = (1..=3).map(serial).collect();
    });
    let peer = Address::Unix(cases.path("peer.sock"));
    let udp = Stream::Udp { to: ("127.0.0.1".into(), 9), on: ("127.0.0.1".into(), 0) };
    let own = cases.path("own, 1");
    for (name, stream) in [
        ("listening", Stream::Listen(Address::Unix(cases.path("own, 1.sock")))),
        ("listening on TCP", Stream::Listen(Address::Tcp("127.0.0.1".into(), 0))),
        ("listening on a descriptor", Stream::ListenOn("listening".into())),
        ("connecting", Stream::Connect { to: peer.clone(), again_s: 0 }),
        ("connecting again", Stream::Connect { to: peer, again_s: 5 }),
        ("connected", Stream::Connected("connected".into())),
        ("file", Stream::File(own.clone())),
        ("terminal", Stream::Pty),
        ("ring", Stream::Ring { bytes: 65_536 }),
        ("pipe", Stream::Pipe(cases.path("pipe, 1"))),
        ("udp", udp),
        ("agent", Stream::Agent),
    ] {
        let channel =
            Channel { id: "channel".into(), name: "org.test, 1".into(), chardev: stream.clone().into() };
        cases.q35(format!("channel {name}"), |c| c.channels.push(channel));
        let chardev = Chardev { stream, log: Some(Source::Path(cases.path("stream, 1.log"))) };
        let serial = Serial { id: "second".into(), kind: SerialKind::Isa(1), chardev };
        cases.q35(format!("serial {name} with a log"), |c| c.serials.push(serial));
    }
    cases.q35("log handed over", |c| {
        let chardev = Chardev { stream: Stream::Null, log: Some(Source::Descriptor("log".into())) };
        c.serials.push(Serial { id: "second".into(), kind: SerialKind::Pci, chardev });
    });
    let socket = Address::Unix(cases.path("spice, 1.sock"));
    for (name, stream) in [
        ("agent of spice", Stream::SpiceChannel("vdagent".into())),
        ("port of spice", Stream::SpicePort("org.test.0".into())),
    ] {
        cases.q35(name, |c| {
            (c.display.gpus, c.display.spice) = (vec![Gpu::Qxl], Some(spice(socket.clone())));
            c.channels.push(Channel {
                id: "channel".into(),
                name: "com.redhat.spice.0".into(),
                chardev: stream.into(),
            });
        });
    }
    cases.q35("guest agent and two consoles", |c| {
        c.channels.push(Channel::guest_agent("agent", Stream::Null));
        for id in ["hvc-0", "hvc-1"] {
            c.serials.push(Serial { id: id.into(), kind: SerialKind::Virtio, chardev: Stream::Null.into() });
        }
    });
}

//! Disks.

use super::{Cases, I440FX, MICROVM, Q35};
use qemu::config::{
    Access, Address, Aio, Cache, DetectZeroes, Discard, Disk, DiskBus, Encoding, Format, Image, Limits,
    OnError, Secret, Source, Switch, Throttle, ThrottleGroup,
};

pub(super) fn add(cases: &mut Cases) {
    buses(cases);
    images(cases);
    access(cases);
    limits(cases);
}

fn buses(cases: &mut Cases) {
    cases.group("disk");
    let raw = Image::raw(cases.path("disk.raw"));
    for (name, bus) in [
        ("virtio", DiskBus::Virtio),
        ("scsi", DiskBus::Scsi(0)),
        ("third scsi controller", DiskBus::Scsi(2)),
        ("sata", DiskBus::Board),
        ("nvme", DiskBus::Nvme),
        ("usb", DiskBus::Usb),
    ] {
        let disk = Disk::new("root", raw.clone()).on(bus).serial("serial, 1");
        cases.q35(name, |c| c.disks.push(disk.clone()));
        cases.on(I440FX, format!("{name} on i440fx"), |c| c.disks.push(disk));
        if matches!(bus, DiskBus::Virtio | DiskBus::Scsi(_) | DiskBus::Usb) {
            cases.q35(format!("{name} read-only"), |c| {
                c.disks.push(Disk::read_only("root", raw.clone()).on(bus))
            });
        }
        if !matches!(bus, DiskBus::Virtio | DiskBus::Nvme) {
            let drive = |image| Disk::cdrom("cd", image).on(bus);
            cases.q35(format!("{name} CD"), |c| c.disks.push(drive(Some(raw.clone()))));
            cases.q35(format!("{name} empty CD drive"), |c| c.disks.push(drive(None)));
            cases.on(I440FX, format!("{name} CD on i440fx"), |c| c.disks.push(drive(Some(raw.clone()))));
        }
        if bus != DiskBus::Nvme {
            for (policy_name, policy) in
                [("report", OnError::Report), ("stop", OnError::Stop), ("ignore", OnError::Ignore)]
            {
                let disk = Disk {
                    on_write_error: policy,
                    on_read_error: policy,
                    ..Disk::new("root", raw.clone()).on(bus)
                };
                cases.q35(format!("{name} errors {policy_name}"), |c| c.disks.push(disk));
            }
        }
        let large = Disk { sectors: Some((512, 4096)), ..Disk::new("root", raw.clone()).on(bus).serial("s") };
        cases.q35(format!("{name} physical sectors of 4096"), |c| c.disks.push(large));
    }
    for bus in [DiskBus::Virtio, DiskBus::Scsi(0)] {
        cases.on(MICROVM, format!("{bus:?} on microvm"), |c| {
            c.disks.push(Disk::new("root", raw.clone()).on(bus))
        });
    }
    let mut threaded =
        Disk { iothread: Some("io-1".into()), queues: Some(4), ..Disk::new("root", raw.clone()) };
    cases.q35("served by a thread", |c| {
        (c.iothreads, c.disks) = (vec!["io-1".into()], vec![threaded.clone()]);
    });
    (threaded.bus, threaded.queues) = (DiskBus::Scsi(0), None);
    cases.q35("controller served by a thread", |c| {
        (c.iothreads, c.disks) = (vec!["io-1".into()], vec![threaded])
    });
    cases.q35("shared", |c| c.disks.push(Disk { shared: true, ..Disk::new("root", raw.clone()) }));
    let null = |id: String, bus| {
        Disk::new(&id, Image::new(Source::Null { bytes: 1 << 20 }, Format::Raw)).on(bus).serial("s")
    };
    for count in [2, 8, 14] {
        cases.q35(format!("{count} virtio"), |c| {
            c.disks = (0..count).map(|n| null(format!("d-{n}"), DiskBus::Virtio)).collect()
        });
        cases.q35(format!("{count} scsi"), |c| {
            c.disks = (0..count).map(|n| null(format!("d-{n}"), DiskBus::Scsi(0))).collect()
        });
    }
    for (machine, count) in [(Q35, 6), (I440FX, 4)] {
        cases.on(machine, format!("{machine} {count} disks on the board"), |c| {
            c.disks = (0..count).map(|n| null(format!("d-{n}"), DiskBus::Board)).collect();
        });
    }
    cases.q35("chosen boot order", |c| {
        c.disks = vec![
            null("a".into(), DiskBus::Virtio),
            Disk { boot_index: Some(1), ..null("b".into(), DiskBus::Virtio) },
        ];
    });
}

fn images(cases: &mut Cases) {
    cases.group("image");
    for (name, format) in [
        ("raw", Format::Raw),
        ("qcow2", Format::Qcow2),
        ("vmdk", Format::Vmdk),
        ("vdi", Format::Vdi),
        ("vpc", Format::Vpc),
        ("vhdx", Format::Vhdx),
    ] {
        let image = Image::new(Source::Path(cases.path(&format!("disk.{name}"))), format);
        cases.q35(name, |c| c.disks.push(Disk::new("root", image.clone())));
        cases.q35(format!("{name} read-only"), |c| c.disks.push(Disk::read_only("root", image)));
    }
    let overlay = || Image::qcow2(cases_path(cases, "disk.qcow2"));
    let raw = Image::raw(cases.path("disk.raw"));
    let chains = [
        ("overlay on raw", overlay().on(raw.clone())),
        ("overlay on qcow2", overlay().on(Image::qcow2(cases.path("base.qcow2")))),
        ("two overlays", overlay().on(Image::qcow2(cases.path("base.qcow2")).on(raw.clone()))),
        ("overlay on a descriptor", overlay().on(Image::new(Source::Descriptor("base".into()), Format::Raw))),
    ];
    for (name, image) in chains {
        cases.q35(name, |c| c.disks.push(Disk::new("root", image.clone())));
        cases.q35(format!("{name}, copied on reading"), |c| {
            c.disks.push(Disk { copy_on_read: true, ..Disk::new("root", image) })
        });
    }
    cases.q35("descriptor", |c| {
        c.disks.push(Disk::new("root", Image::new(Source::Descriptor("disk".into()), Format::Raw)))
    });
    let at_device = cases.path("block device");
    let device = |access| Image { access, ..Image::new(Source::HostDevice(at_device.clone()), Format::Raw) };
    let direct = Access { cache: Cache::None, aio: Some(Aio::Native), ..Access::default() };
    cases.q35("block device", |c| c.disks.push(Disk::new("root", device(Access::default()))));
    cases.q35("block device, native AIO", |c| c.disks.push(Disk::new("root", device(direct))));
    cases.q35("block device read-only", |c| c.disks.push(Disk::read_only("root", device(Access::default()))));
    cases.q35("nothing", |c| {
        c.disks.push(Disk::new("root", Image::new(Source::Null { bytes: 1 << 40 }, Format::Raw)))
    });
    for name in ["a, b=c", "d\"e\\f", "g\nh", "\u{e4} \u{4e16}", "'i' %s {j}", "k:l"] {
        let image = Image::raw(cases.path(&format!("odd {name}")));
        cases.q35(format!("path {name:?}"), |c| c.disks.push(Disk::new("root", image.clone())));
        cases.q35(format!("CD path {name:?}"), |c| c.disks.push(Disk::cdrom("cd", Some(image))));
    }
    let nbd =
        |export: &str| Source::Nbd { server: Address::Unix(cases.path("nbd.sock")), export: export.into() };
    let exports = [nbd("first"), nbd("second, of 2")];
    for (name, source) in ["NBD", "NBD with an odd name"].into_iter().zip(exports) {
        cases.q35(name, |c| c.disks.push(Disk::new("root", Image::new(source, Format::Raw))));
    }
    let key =
        Secret { id: "key".into(), source: Source::Path(cases.path("key, 1")), encoding: Encoding::Raw };
    for (name, format) in [("luks", Format::Raw), ("encrypted.qcow2", Format::Qcow2)] {
        let image = Image { key: Some("key".into()), ..Image::new(Source::Path(cases.path(name)), format) };
        cases.q35(format!("encrypted {format:?}"), |c| {
            (c.secrets, c.disks) = (vec![key.clone()], vec![Disk::new("root", image)]);
        });
    }
    let handed = Secret { source: Source::Descriptor("key".into()), ..key };
    let image = Image { key: Some("key".into()), ..Image::raw(cases.path("luks")) };
    cases.q35("encrypted, key handed over", |c| {
        (c.secrets, c.disks) = (vec![handed], vec![Disk::new("root", image)])
    });
}

fn cases_path(cases: &Cases, name: &str) -> std::path::PathBuf {
    cases.path(name)
}

fn access(cases: &mut Cases) {
    cases.group("access");
    let image = |access| Image { access, ..Image::qcow2("") };
    let place = cases.path("disk.qcow2");
    let mut with = |name: String, access| {
        let image = Image { source: Source::Path(place.clone()), ..image(access) };
        cases.q35(name, |c| c.disks.push(Disk::new("root", image)));
    };
    for (cache_name, cache) in
        [("writeback", Cache::Writeback), ("none", Cache::None), ("unsafe", Cache::Unsafe)]
    {
        for (aio_name, aio) in [
            ("default", None),
            ("threads", Some(Aio::Threads)),
            ("native", Some(Aio::Native)),
            ("io_uring", Some(Aio::IoUring)),
        ] {
            if aio != Some(Aio::Native) || cache == Cache::None {
                with(
                    format!("cache {cache_name}, aio {aio_name}"),
                    Access { cache, aio, ..Access::default() },
                );
            }
        }
        for (discard_name, discard) in [("unmap", Discard::Unmap), ("ignore", Discard::Ignore)] {
            for (zeroes_name, detect_zeroes) in [("on", DetectZeroes::On), ("unmap", DetectZeroes::Unmap)] {
                if (discard, detect_zeroes) != (Discard::Ignore, DetectZeroes::Unmap) {
                    let access = Access { cache, discard, detect_zeroes, ..Access::default() };
                    with(format!("cache {cache_name}, discard {discard_name}, zeroes {zeroes_name}"), access);
                }
            }
        }
    }
    for (name, lock) in [("on", Switch::On), ("off", Switch::Off)] {
        with(format!("locks {name}"), Access { lock: Some(lock), ..Access::default() });
    }
}

fn limits(cases: &mut Cases) {
    cases.group("throttle");
    let raw = Image::raw(cases.path("disk.raw"));
    let none = Limits::default();
    let all = [
        ("bytes", Limits { bytes: Some(1 << 20), ..none }),
        ("bytes read", Limits { read_bytes: Some(1 << 20), ..none }),
        ("bytes written", Limits { write_bytes: Some(1 << 20), ..none }),
        ("bytes both ways", Limits { read_bytes: Some(1 << 20), write_bytes: Some(1 << 21), ..none }),
        ("requests", Limits { requests: Some(100), ..none }),
        ("requests read", Limits { read_requests: Some(100), ..none }),
        ("requests written", Limits { write_requests: Some(100), ..none }),
        ("burst of bytes", Limits { bytes: Some(1 << 20), burst_bytes: Some(1 << 22), ..none }),
        (
            "long burst",
            Limits { bytes: Some(1 << 20), burst_bytes: Some(1 << 22), burst_s: Some(30), ..none },
        ),
        (
            "burst of requests",
            Limits { requests: Some(100), burst_requests: Some(1000), burst_s: Some(5), ..none },
        ),
        ("large requests", Limits { requests: Some(100), request_bytes: Some(65_536), ..none }),
        (
            "all",
            Limits {
                bytes: Some(1 << 20),
                requests: Some(100),
                burst_bytes: Some(1 << 22),
                burst_requests: Some(500),
                ..none
            },
        ),
    ];
    for (name, limits) in all {
        let disk = Disk { throttle: Some(Throttle::Own(limits)), ..Disk::new("root", raw.clone()) };
        cases.q35(name, |c| c.disks.push(disk));
    }
    let group = ThrottleGroup { id: "slow".into(), limits: Limits { bytes: Some(1 << 20), ..none } };
    let member = |id: &str| Disk {
        throttle: Some(Throttle::Group("slow".into())),
        ..Disk::new(id, Image::new(Source::Null { bytes: 1 << 20 }, Format::Raw))
    };
    cases.q35("group", |c| {
        (c.throttle_groups, c.disks) = (vec![group.clone()], vec![member("a"), member("b")])
    });
    let cd = Disk { throttle: Some(Throttle::Group("slow".into())), ..Disk::cdrom("cd", Some(raw)) };
    cases.q35("group with a CD", |c| (c.throttle_groups, c.disks) = (vec![group], vec![cd]));
    let overlay = Image::qcow2(cases.path("disk.qcow2")).on(Image::raw(cases.path("disk.raw")));
    let limits = Limits { bytes: Some(1 << 20), ..none };
    let filters =
        Disk { throttle: Some(Throttle::Own(limits)), copy_on_read: true, ..Disk::new("root", overlay) };
    cases.q35("all filters", |c| c.disks.push(filters));
}

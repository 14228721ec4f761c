//! Features beside those of the kernel's own headers, which somebody else took from the specification.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use virtio::{balloon, blk, console, features, fs as file_system, gpu, net, scsi, vsock};

/// What the headers of Debian 12 (Linux 6.1) do not have yet, or never have.
const NOT_THERE: [&str; 11] = [
    "PROTOCOL_FEATURES",
    "NOTIFICATION_DATA",
    "NOTIF_CONFIG_DATA",
    "ADMIN_VQ",
    "SUSPEND",
    "ZONED",
    "SECURE_ERASE",
    "NOTIFICATION",
    "NO_IMPLIED_STREAM",
    "LIFETIME",
    "STREAM",
];

/// `#define NAME number`, by the name, of those that are simple numbers.
fn defined(header: &str) -> Option<BTreeMap<String, u64>> {
    let text = fs::read_to_string(format!("/usr/include/linux/{header}")).ok()?;
    let of = |line: &str| {
        let mut words = line.strip_prefix("#define")?.split_whitespace();
        let (name, number) = (words.next()?, words.next()?.trim_end_matches("UL"));
        let number = match number.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => number.parse(),
        };
        Some((name.to_owned(), number.ok()?))
    };
    Some(text.lines().filter_map(of).collect())
}

#[test]
fn features_have_the_bits_that_linux_knows_them_by() {
    fn named<F: bitflags::Flags<Bits = u64>>() -> Vec<(&'static str, u64)> {
        F::FLAGS
            .iter()
            .filter(|flag| !flag.name().is_empty())
            .map(|it| (it.name(), it.value().bits()))
            .collect()
    }
    let all = [
        ("virtio_blk.h", vec!["VIRTIO_BLK_F_"], named::<blk::Features>()),
        ("virtio_net.h", vec!["VIRTIO_NET_F_"], named::<net::Features>()),
        ("virtio_balloon.h", vec!["VIRTIO_BALLOON_F_"], named::<balloon::Features>()),
        ("virtio_console.h", vec!["VIRTIO_CONSOLE_F_"], named::<console::Features>()),
        ("virtio_scsi.h", vec!["VIRTIO_SCSI_F_"], named::<scsi::Features>()),
        ("virtio_gpu.h", vec!["VIRTIO_GPU_F_"], named::<gpu::Features>()),
        ("virtio_fs.h", vec!["VIRTIO_FS_F_"], named::<file_system::Features>()),
        ("virtio_vsock.h", vec!["VIRTIO_VSOCK_F_"], named::<vsock::Features>()),
        ("virtio_config.h", vec!["VIRTIO_F_", "VIRTIO_RING_F_", "VHOST_F_"], named::<features::Features>()),
    ];
    let mut missing = Vec::new();
    for (header, prefixes, ours) in all {
        let Some(mut theirs) = defined(header) else {
            println!(
                "not run: features_have_the_bits_that_linux_knows_them_by: /usr/include/linux/{header} (linux-libc-dev)"
            );
            return;
        };
        if header == "virtio_config.h" {
            theirs.extend(
                ["virtio_ring.h", "vhost_types.h", "vhost.h"].into_iter().filter_map(defined).flatten(),
            );
        }
        assert!(!ours.is_empty());
        for (name, bits) in ours {
            match prefixes.iter().find_map(|prefix| theirs.get(&format!("{prefix}{name}"))) {
                Some(bit) => assert_eq!(bits, 1 << bit, "{header}: {name}"),
                None => missing.push(name),
            }
        }
    }
    missing.retain(|name| !NOT_THERE.contains(name));
    assert_eq!(missing, [""; 0], "no header has these");
}

/// Places of rings, of which the layout's own tests say the rest.
#[test]
fn descriptors_have_the_flags_that_linux_knows_them_by() {
    use virtio::cells::{AVAILABLE, INDIRECT, NEXT, USED, WRITE};
    let Some(ring) = defined("virtio_ring.h") else {
        println!("not run: descriptors_have_the_flags_that_linux_knows_them_by: linux-libc-dev");
        return;
    };
    for (name, ours) in
        [("VRING_DESC_F_NEXT", NEXT), ("VRING_DESC_F_WRITE", WRITE), ("VRING_DESC_F_INDIRECT", INDIRECT)]
    {
        assert_eq!(ring[name], u64::from(ours), "{name}");
    }
    for (name, ours) in [("VRING_PACKED_DESC_F_AVAIL", AVAILABLE), ("VRING_PACKED_DESC_F_USED", USED)] {
        assert_eq!(1 << ring[name], u64::from(ours), "{name}");
    }
}

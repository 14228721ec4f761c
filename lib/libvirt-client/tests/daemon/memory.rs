//! A Linux guest that takes memory and gives it back when it is asked to: what its driver of virtio-mem has done the daemon tells.

use crate::agent::{demo, entry, with_init};
use crate::support::{Daemon, present};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{DomainDeviceModifyFlags, DomainXmlFlags};
use libvirt_client::{Filter, Item, Subscription};
use std::time::Duration;

/// The first process: it loads the driver, and that is all there is to be done.
const INIT: &str = "#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for list in order order-memory; do
    while read -r module; do insmod \"/lib/modules/$module\"; done <\"/lib/modules/$list\"
done
while :; do sleep 600; done
";

/// The device, which has 256 MiB and is asked to give so many of them.
fn device(requested_mib: u64) -> String {
    format!(
        "<memory model='virtio-mem'><target><size unit='MiB'>256</size><node>0</node>\
         <block unit='MiB'>2</block><requested unit='MiB'>{requested_mib}</requested></target></memory>"
    )
}

/// The device as the daemon has it, asked to give so much.
fn asked(xml: &str, mib: u64) -> String {
    let (_, device) = xml.split_once("<memory model='virtio-mem'>").unwrap();
    let (device, _) = device.split_once("</memory>").unwrap();
    let (before, after) = device.split_once("<requested unit='KiB'>").unwrap();
    let (_, after) = after.split_once("</requested>").unwrap();
    let kib = mib << 10;
    format!("<memory model='virtio-mem'>{before}<requested unit='KiB'>{kib}</requested>{after}</memory>")
}

/// Waits until the device gives so much.
async fn given(events: &mut Subscription, mib: u64) {
    loop {
        match tokio::time::timeout(Duration::from_secs(120), events.next()).await.expect("an event").unwrap()
        {
            Item::Event(Event::DomainMemoryDeviceSizeChange(event)) => {
                assert_eq!(event.alias.to_string(), "virtiomem0");
                // In KiB, as sizes in definitions are. It may come in several steps.
                if event.size == mib << 10 {
                    return;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_guest_that_takes_memory_and_gives_it_back_is_told() {
    let test = "a_guest_that_takes_memory_and_gives_it_back_is_told";
    let Some((kernel, files)) = demo(test) else { return };
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return;
    }
    let mut initrd = with_init(&files, INIT);
    entry(&mut initrd, "TRAILER!!!", 0, &[]);
    for (name, content) in [("vmlinuz", std::fs::read(&kernel).unwrap()), ("initrd", initrd)] {
        std::fs::write(daemon.path(name), content).unwrap();
        daemon.own(&daemon.path(name));
    }
    let connect = daemon.open("qemu:///session").await;
    let xml = format!(
        "<domain type='qemu'><name>guest</name><maxMemory slots='1' unit='MiB'>1024</maxMemory>\
         <memory unit='MiB'>448</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd>\
         <cmdline>console=ttyS0 quiet panic=-1</cmdline></os><features><acpi/></features>\
         <cpu><numa><cell id='0' cpus='0' memory='192' unit='MiB'/></numa></cpu><devices>\
         <emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='file'><source path='{}'/></serial>\
         <memballoon model='none'/>{}</devices></domain>",
        daemon.path("vmlinuz").display(),
        daemon.path("initrd").display(),
        daemon.path("console").display(),
        device(0)
    );
    let guest = connect.define_domain(&xml, Default::default()).await.unwrap();
    let filter = Filter::domain(Kind::DomainMemoryDeviceSizeChange, &guest);
    let mut events = connect.subscribe_to([filter]).await.unwrap();
    let guest = guest.start(Default::default()).await.unwrap();
    for mib in [128, 0] {
        let now = guest.xml(DomainXmlFlags::empty()).await.unwrap();
        guest.update_device(&asked(&now, mib), DomainDeviceModifyFlags::LIVE).await.unwrap();
        given(&mut events, mib).await;
        let now = guest.xml(DomainXmlFlags::empty()).await.unwrap();
        assert!(now.contains(&format!("<current unit='KiB'>{}</current>", mib << 10)), "{now}");
    }
}

//! What root's daemon tells of the host: its devices as they come and go, its board, its memory.

use crate::root::{HUGE_PAGES, MERGED_PAGES, Root};
use crate::support::present;
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::enums::NodeDeviceEventLifecycleType as T;
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    ConnectListAllNodeDeviceFlags as Devices, NodeAllocPagesFlags, NodeDeviceXmlFlags,
};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::{Autostart, Item, Subscription};
use std::path::Path;
use std::time::Duration;

/// Devices are those of its own network and, besides these, the host's. Their manager has no rules, so that it does nothing to them. The board
/// is the test's own: not every host has one that says anything.
const HOST: &str = "for at in /etc/udev /usr/lib/udev/rules.d; do mkdir -p $at; mount -t tmpfs tmpfs $at; done; \
    mount -t sysfs sysfs /sys; mount --bind \"${2%/*}/board\" /usr/sbin/dmidecode; \
    env -u NOTIFY_SOCKET /lib/systemd/systemd-udevd --resolve-names=never >/dev/null 2>&1 & \
    until [ -S /run/udev/control ]; do sleep 0.1; done";

const BOARD: &str = "#!/bin/sh\n\
    printf 'BIOS Information\\n\\tVendor: Acme\\n\\nSystem Information\\n\\tProduct Name: Anvil\\n\\n'\n";

fn start(test: &str) -> Option<Root> {
    let programs = [
        ("/lib/systemd/systemd-udevd", "udev"),
        ("/usr/sbin/dmidecode", "dmidecode"),
        ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ];
    if !present(test, &programs) {
        return None;
    }
    let prepare = format!("{}\n{HOST}", crate::networks::QEMU);
    Root::start_with(test, &["nodedev", "qemu"], &prepare, |daemon| {
        crate::root::program(daemon, "board", BOARD);
    })
}

async fn event(events: &mut Subscription) -> Event<'static> {
    // The host's own devices' manager may be late; it is not to be waited for for ever.
    let next = tokio::time::timeout(Duration::from_secs(60), events.next()).await;
    match next.expect("no event came").unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

/// Which device something has become of.
async fn told(events: &mut Subscription) -> (String, T) {
    match event(events).await {
        Event::NodeDeviceLifecycle(event) => (event.dev.name.into(), event.event),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn devices_come_and_go() {
    let Some(root) = start("devices_come_and_go") else { return };
    let connect = root.open("qemu").await;
    let mut coming = connect.subscribe(Kind::NodeDeviceLifecycle).await.unwrap();
    let mut changing = connect.subscribe(Kind::NodeDeviceUpdate).await.unwrap();
    root.inside("ip link add card0 type veth peer name card1");
    // Two ends, in whatever order.
    let mut names = [told(&mut coming).await, told(&mut coming).await];
    names.sort();
    let [(name, T::Created), (other, T::Created)] = names else { panic!("{names:?}") };
    assert!(name.starts_with("net_card0_") && other.starts_with("net_card1_"), "{name}, {other}");
    let card = connect.node_device_by_name(&name).await.unwrap();
    assert!(card.xml(Default::default()).await.unwrap().contains("<interface>card0</interface>"));
    // What is found is there, and is not there after a restart because it was defined.
    assert!(card.is_active().await.unwrap());
    assert!(!card.is_persistent().await.unwrap());
    assert!(!card.autostart().await.unwrap());
    root.inside("echo change > /sys/class/net/card0/uevent");
    match event(&mut changing).await {
        Event::NodeDeviceUpdate(event) => assert_eq!(String::from(event.dev.name), name),
        other => panic!("{other:?}"),
    }
    root.inside("ip link delete card0");
    let mut names = [told(&mut coming).await, told(&mut coming).await];
    names.sort();
    assert_eq!(names, [(name.clone(), T::Deleted), (other, T::Deleted)]);
    assert!(connect.node_device_by_name(&name).await.unwrap_err().is_not_found());
    // All that is found is there, and none was defined; the host itself counts as defined since 10.1.0.
    let all = connect.node_devices(Devices::empty()).await.unwrap().len();
    let defined = usize::from(connect.daemon_version() >= Release(10, 1, 0));
    for (flag, expected) in [
        (Devices::ACTIVE, all),
        (Devices::TRANSIENT, all - defined),
        (Devices::INACTIVE, 0),
        (Devices::PERSISTENT, defined),
    ] {
        // Lists of 9.0.0 know the first two, as what is not active is theirs alone.
        match connect.node_devices(flag).await {
            Ok(found) => assert_eq!(found.len(), expected, "{flag:?}"),
            Err(error) => {
                let since = connect.daemon_version() < Release(10, 1, 0);
                assert!(since && error.refusal().unwrap().code == ErrorNumber::InvalidArg, "{error}");
            }
        }
    }
    // What it will be next time is told since then too.
    if defined > 0 {
        let computer = connect.node_device_by_name("computer").await.unwrap();
        let next = computer.xml(NodeDeviceXmlFlags::INACTIVE).await.unwrap();
        assert!(next.contains("<name>computer</name>"), "{next}");
    }
    // Only mediated devices can be told to start with the host.
    let computer = connect.node_device_by_name("computer").await.unwrap();
    let error = computer.set_autostart(Autostart::On).await.unwrap_err();
    assert!(error.to_string().contains("Unsupported device type"), "{error}");
}

#[tokio::test]
async fn the_host_tells_of_its_board_and_memory() {
    const TEST: &str = "the_host_tells_of_its_board_and_memory";
    let Some(root) = start(TEST) else { return };
    let connect = root.open("qemu").await;
    let board = connect.system_info().await.unwrap();
    assert!(board.contains("<entry name='product'>Anvil</entry>"), "{board}");
    let free = connect.free_pages(&[4], 0, 1).await.unwrap();
    let total = connect.node_info().await.unwrap().memory_kib / 4;
    assert!(free.len() == 1 && (1..total).contains(&free[0]), "{free:?} of {total}");
    let huge = Path::new(HUGE_PAGES.path);
    if huge.exists() {
        let kept = root.keep(HUGE_PAGES).await;
        let count: u64 = kept.said.trim().parse().unwrap();
        // Asked of the kernel here, where no daemon is.
        let pages = || std::fs::read_to_string(huge).unwrap().trim().parse::<u64>().unwrap();
        let give = async |count: u64, how| connect.allocate_pages(&[2048], &[count], 0, 1, how).await;
        // One more, for a moment; then as many as there were; then one more than that, and as many as there were again.
        let (add, set) = (NodeAllocPagesFlags::ADD, NodeAllocPagesFlags::SET);
        for (number, how, expected) in [(count + 1, set, count + 1), (count, set, count), (1, add, count + 1)]
        {
            match give(number, how).await {
                Ok(given) => assert_eq!((given, pages()), (1, expected), "{number} {how:?}"),
                // A host that has no page in one piece to spare is told so, and no page came.
                Err(error) => {
                    assert!(error.to_string().contains("Allocated only"), "{error}");
                    assert!(expected > count && pages() == count, "{number} {how:?}: {}", pages());
                    println!("not run: {TEST}: that a page more is there: the host has none to spare");
                }
            }
        }
        give(count, set).await.unwrap();
        assert_eq!(pages(), count);
    } else {
        println!("not run: {TEST}: that pages are given: the host's kernel has no huge ones");
    }
    // How equal pages are merged is the whole host's: it is told another number for a moment.
    if Path::new(MERGED_PAGES.path).exists() {
        let _kept = root.keep(MERGED_PAGES).await;
        let before = connect.memory_parameters().await.unwrap();
        let pages = u32::try_from(before.u64("shm_pages_to_scan").unwrap()).unwrap();
        let there = || {
            let said = root.inside(&format!("cat {}", MERGED_PAGES.path));
            said.trim().parse::<u32>().unwrap()
        };
        assert_eq!(there(), pages);
        for number in [pages + 1, pages] {
            let scan = libvirt_client::Params::new().with("shm_pages_to_scan", number);
            connect.set_memory_parameters(&scan).await.unwrap();
            assert_eq!(there(), number);
        }
    }
}

use super::*;
use crate::config::{
    Accelerator, Address, Boot, Channel, DirectKernel, Disk, Firmware, Format, Forward, HostPolicy, Image,
    Nic, NicBackend, NumaNode, Protocol, Reconnect, Stream, UserNetwork,
};
use proptest::prelude::*;
use uuid::Uuid;

fn full() -> (Config, Descriptors) {
    let base = Image::new(Source::Descriptor("base".into()), Format::Raw);
    let overlay = Image::qcow2("/vm/a, b/root.qcow2").on(base);
    let seed = Image::raw("/vm/seed.iso");
    let forwards =
        vec![Forward { protocol: Protocol::Tcp, host: "127.0.0.1:2222".parse().unwrap(), guest_port: 22 }];
    let nic = |id: &str, backend| Nic::new(id, [0x52, 0x54, 0, 0xab, 0, 1], backend);
    let config = Config {
        accelerator: Accelerator::Kvm,
        boot: Boot {
            firmware: Firmware::Uefi {
                code: "/ovmf/code.fd".into(),
                vars: Source::Path("/vm/vars,1.fd".into()),
            },
            kernel: Some(DirectKernel {
                kernel: "/boot/k,1".into(),
                initrd: Some("/boot/i,1".into()),
                cmdline: "console=ttyS0 a,b".into(),
            }),
            ..Boot::default()
        },
        disks: vec![
            Disk::new("root", overlay).serial("root"),
            Disk::read_only("seed", seed.clone()),
            Disk::cdrom("cd", Some(seed)),
        ],
        nics: vec![
            nic("nic0", NicBackend::User { forwards, restrict: false }),
            nic("nic1", NicBackend::TapDescriptor("tap".into())),
            nic("nic2", NicBackend::Tap { ifname: "tap7".into() }),
        ],
        spare_ports: 1,
        ..Config::new("web, one", Uuid::from_u128(0x42), "pc-q35-7.2", 2, 512)
    };
    let keyed = BTreeMap::from([("base".to_owned(), 21), ("tap".to_owned(), 22)]);
    (config, Descriptors { qmp: 11, console: 12, console_log: 13, keyed })
}

fn lines(config: &Config, descriptors: &Descriptors) -> String {
    let mut text = String::new();
    for arg in argv(config, descriptors).unwrap() {
        let arg = arg.into_string().unwrap();
        text.push_str(if arg.starts_with('-') && !text.is_empty() { "\n" } else { "" });
        text.push_str(if arg.starts_with('-') { "" } else { " " });
        text.push_str(&arg);
    }
    text.push('\n');
    text
}

/// The whole line; a change here changes what guests see and must be meant.
#[test]
fn a_machine_with_everything_has_this_command_line() {
    let (config, descriptors) = full();
    let expected = include_str!("../../testdata/full.argv");
    assert_eq!(lines(&config, &descriptors), expected);
}

/// A disk's set is closed as a whole when it goes: nobody else's descriptor is in it.
#[test]
fn one_descriptor_for_a_disk_and_for_another_is_in_a_set_of_each() {
    let (mut config, mut descriptors) = full();
    descriptors.keyed.insert("vars".to_owned(), 23);
    config.boot.firmware =
        Firmware::Uefi { code: "/ovmf/code.fd".into(), vars: Source::Descriptor("vars".into()) };
    config.disks = vec![Disk::new("root", Image::new(Source::Descriptor("vars".into()), Format::Raw))];
    let args = argv(&config, &descriptors).unwrap();
    let added = args.iter().filter_map(|arg| arg.to_str()).filter(|arg| arg.starts_with("fd=23,"));
    let sets: Vec<_> = added.map(|arg| arg.split(',').nth(1).unwrap()).collect();
    let [firmware, disk] = sets[..] else { panic!("{sets:?}") };
    assert_ne!(firmware, disk);
}

#[test]
fn a_new_disk_moves_no_network_card_and_an_absent_balloon_no_device() {
    let (config, descriptors) = full();
    let places = |config: &Config| -> BTreeMap<String, String> {
        let text = lines(config, &descriptors);
        let devices = text.lines().filter_map(|line| line.strip_prefix("-device "));
        let devices = devices.map(|json| serde_json::from_str::<Value>(json).unwrap());
        devices.map(|device| (device["id"].to_string(), device["bus"].to_string())).collect()
    };
    let before = places(&config);
    let mut disks = config.disks.clone();
    disks.insert(0, Disk { id: "new".into(), ..config.disks[0].clone() });
    let after = places(&Config { disks, balloon: None, rng: None, ..config.clone() });
    for id in ["\"nic0\"", "\"nic1\"", "\"nic2\""] {
        assert_eq!(before[id], after[id]);
    }
    // A card that was plugged says where it is, and moves nothing.
    let mut plugged = config.clone();
    plugged.nics.insert(0, Nic { id: "added".into(), place: Some(7), ..config.nics[2].clone() });
    plugged.spare_ports = 0;
    let mut after = places(&plugged);
    assert_eq!(after.remove("\"added\"").unwrap(), "\"port7\"");
    assert_eq!(after, before);
}

fn node(size_mib: u64) -> NumaNode {
    NumaNode { size_mib, cpus: Vec::new(), host_nodes: Vec::new(), policy: HostPolicy::Default }
}

#[test]
fn faulty_configurations_name_the_fault() {
    let (good, descriptors) = full();
    let with = |change: fn(&mut Config)| {
        let mut config = good.clone();
        change(&mut config);
        argv(&config, &descriptors).map(drop).unwrap_err().to_string()
    };
    assert!(with(|c| c.cpu.count = 0).contains("1 to 255"));
    assert!(with(|c| c.memory.size_mib = 1).contains("memory_mib is 1"));
    let nodes = with(|c| c.memory.nodes = vec![node(u64::MAX), node(u64::MAX)]);
    assert!(nodes.contains("sum of the nodes' memory"), "{nodes}");
    assert!(with(|c| c.disks[0].id = "seed".into()).contains("\"seed\""));
    assert!(with(|c| c.disks[0].id = "balloon0".into()).contains("balloon0"));
    assert!(with(|c| c.disks[0].id = "a,b".into()).contains("a,b"));
    assert!(with(|c| c.nics[1].backend = NicBackend::TapDescriptor("none".into())).contains("\"none\""));
    assert!(with(|c| c.name.clear()).contains("name"));
    assert!(with(|c| c.spare_ports = 255).contains("224"));
    for (place, said) in [(1, "place is 1"), (8, "2 to 7"), (3, "place 3")] {
        let mut config = good.clone();
        config.nics[0].place = Some(place);
        config.nics[1].place = Some(3);
        let refused = argv(&config, &descriptors).map(drop).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    assert!(with(|c| c.disks[2].place = Some(5)).contains("only virtio and NVMe"));
}

proptest! {
    /// Whatever the path holds, the block node names exactly this file and no other option appears.
    #[test]
    fn any_path_reaches_its_node_unchanged(path in "/[a-z ,=\"'\\\\{}:;\u{e4}\u{4e16}]{1,40}") {
        let (mut config, descriptors) = full();
        let count = argv(&config, &descriptors).unwrap().len();
        config.disks[1].image.as_mut().unwrap().source = Source::Path(path.clone().into());
        let args = argv(&config, &descriptors).unwrap();
        prop_assert_eq!(args.len(), count);
        let named = args.iter().filter_map(|arg| serde_json::from_str::<Value>(arg.to_str()?).ok())
            .find(|value| value["node-name"] == "seed-file").unwrap();
        prop_assert_eq!(named["filename"].as_str(), Some(path.as_str()));
    }

    #[test]
    fn an_escaped_value_is_read_back_by_qemus_rule(value in "[a-z,= ]{0,20}", more in "[a-z]{1,5}") {
        // QEMU ends a value at a single comma and reads a double one as one.
        let line = format!("{},{more}", escape(&value));
        let (mut read, mut rest) = (String::new(), line.as_str());
        while let Some(at) = rest.find(',') {
            read.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(',') {
                read.push(',');
                rest = after;
            } else {
                break;
            }
        }
        prop_assert_eq!((read, rest), (value, more.as_str()));
    }
}

#[test]
fn the_pause_before_another_connection_is_spelt_as_the_program_does() {
    let (mut config, descriptors) = full();
    let stream = Stream::Connect { to: Address::Unix("/run/a.sock".into()), again_s: 3 };
    config.channels = vec![Channel::guest_agent("agent", stream)];
    for (reconnect, option) in
        [(Reconnect::Seconds, ",reconnect=3\n"), (Reconnect::Milliseconds, ",reconnect-ms=3000\n")]
    {
        config.reconnect = reconnect;
        let text = lines(&config, &descriptors);
        assert!(text.contains(option), "{text}");
    }
}

#[test]
fn what_a_back_end_cannot_do_is_refused() {
    let refused = |nic: &Nic| nic.check().expect_err("refused").to_string();
    let nic = |backend| Nic::new("nic", [0x52, 0x54, 0, 0, 0, 1], backend);
    let user = NicBackend::UserNetwork(UserNetwork {
        net: Some(([10, 1, 0, 0].into(), 16)),
        ..UserNetwork::default()
    });
    assert!(refused(&Nic { queues: 2, ..nic(user) }).contains("several queues"));
    let stream = Stream::Connect { to: Address::Tcp("peer".into(), 1), again_s: 1 };
    assert!(refused(&nic(NicBackend::Stream(stream))).contains("again_s"));
    assert!(Nic { queues: 4, ..nic(NicBackend::Tap { ifname: "tap7".into() }) }.check().is_ok());
}

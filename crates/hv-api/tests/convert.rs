//! Conversions lose nothing and name what is wrong.

use hv_api::convert::{instance_from, instance_to, spec_from, spec_to};
use hv_api::v1;
use hv_core::instance::{InstanceSpec, RunState};

fn full_spec() -> v1::InstanceSpec {
    use v1::network_interface_spec::Attachment;
    let port = v1::PublishedPort {
        protocol: "tcp".into(),
        host_address: "127.0.0.1".into(),
        host_port: 2222,
        guest_port: 22,
    };
    v1::InstanceSpec {
        r#type: v1::InstanceType::Vm.into(),
        cpus: 2,
        memory_bytes: 1 << 30,
        image: "/images/a, b.qcow2".into(),
        root_disk_bytes: 10 << 30,
        disks: vec![v1::DiskSpec { name: "data".into(), size_bytes: 1 << 30 }],
        network_interfaces: vec![
            v1::NetworkInterfaceSpec {
                name: "net0".into(),
                mac: "52:54:00:12:34:56".into(),
                attachment: Some(Attachment::User(v1::UserNetwork { publish: vec![port] })),
            },
            v1::NetworkInterfaceSpec {
                name: "net1".into(),
                mac: String::new(),
                attachment: Some(Attachment::Bridge("br0".into())),
            },
        ],
        boot: Some(v1::BootSpec {
            firmware: v1::Firmware::Uefi.into(),
            kernel: "/boot/vmlinuz".into(),
            initrd: "/boot/initrd".into(),
            cmdline: "console=ttyS0".into(),
        }),
        cloud_init: Some(v1::CloudInitSpec { user_data: "#cloud-config\n".into(), ..Default::default() }),
        run_state: v1::RunState::Paused.into(),
        restart_serial: 3,
        restart_policy: v1::RestartPolicy::Always.into(),
        stop_timeout_ms: 1234,
        placement: Some(v1::PlacementSpec {
            preferred_node: "a".into(),
            required_node: "b".into(),
            region: "r".into(),
            zone: "z".into(),
            node_selector: "disk=ssd".into(),
        }),
        force_stop: true,
        stop_timeout_once_ms: 77,
        relocation: v1::Relocation::Recreate.into(),
    }
}

#[test]
fn a_full_spec_survives_both_ways() {
    let wire = full_spec();
    assert_eq!(spec_to(&spec_from(&wire).unwrap()), wire);
}

#[test]
fn a_full_instance_survives_both_ways() {
    let wire = v1::Instance {
        metadata: Some(v1::Metadata {
            uid: "018f4e2a-0000-7000-8000-000000000001".into(),
            name: "demo".into(),
            project: "default".into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            annotations: [("c".to_owned(), "d".to_owned())].into(),
            generation: 4,
            revision: 9,
            created_at_ms: 5,
            deletion_requested_at_ms: 6,
            finalizers: vec!["agent".into()],
        }),
        spec: Some(full_spec()),
        status: Some(v1::InstanceStatus {
            phase: v1::InstancePhase::Running.into(),
            message: "m".into(),
            conditions: vec![v1::Condition {
                r#type: "Responsive".into(),
                status: "False".into(),
                reason: "Silent".into(),
                message: "x".into(),
                last_transition_at_ms: 7,
            }],
            observed_generation: 3,
            observed_restart_serial: 2,
            node_uid: "018f4e2a-0000-7000-8000-000000000002".into(),
            node_name: "node".into(),
            epoch: 5,
            started_at_ms: 8,
            addresses: vec!["10.0.2.15".into()],
            published_ports: vec![],
            details: [("pid".to_owned(), "1".to_owned())].into(),
            starts: 2,
            root_disk_bytes: 4096,
        }),
    };
    assert_eq!(instance_to(&instance_from(&wire).unwrap(), "node", 9), wire);
}

#[test]
fn unspecified_is_the_default() {
    let wire =
        v1::InstanceSpec { cpus: 1, memory_bytes: 512 << 20, image: "/i".into(), ..Default::default() };
    let spec = spec_from(&wire).unwrap();
    assert_eq!(spec, InstanceSpec { image: Some("/i".into()), ..InstanceSpec::default() });
    assert_eq!(spec.run_state, RunState::Running);
}

#[test]
fn wrong_fields_are_named_by_their_path() {
    let field = |change: fn(&mut v1::InstanceSpec)| {
        let mut wire = full_spec();
        change(&mut wire);
        spec_from(&wire).unwrap_err().field.unwrap()
    };
    assert_eq!(field(|s| s.r#type = 99), "spec.type");
    assert_eq!(field(|s| s.disks[0].name = "A".into()), "spec.disks[0].name");
    assert_eq!(field(|s| s.network_interfaces[1].attachment = None), "spec.network_interfaces[1].attachment");
    assert_eq!(field(|s| s.network_interfaces[0].mac = "x".into()), "spec.network_interfaces[0].mac");
    assert_eq!(
        field(|s| {
            let Some(v1::network_interface_spec::Attachment::User(user)) =
                &mut s.network_interfaces[0].attachment
            else {
                panic!("the first interface is a user network")
            };
            user.publish[0].host_port = 70_000;
        }),
        "spec.network_interfaces[0].user.publish[0].host_port"
    );
}

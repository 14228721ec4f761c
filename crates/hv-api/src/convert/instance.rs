//! Instances.

use super::{conditions_from, conditions_to, id_from, known, metadata_from, metadata_to};
use crate::v1;
use hv_core::instance::{
    Attachment, BootSpec, CloudInitSpec, DEFAULT_STOP_TIMEOUT, DiskSpec, Epoch, Firmware, Instance,
    InstanceKind, InstanceSpec, InstanceStatus, InterfaceSpec, Mac, Phase, Placement, PlacementSpec,
    Protocol, PublishedPort, Relocation, RestartPolicy, RunState,
};
use hv_core::{Error, InstanceId, Name, Timestamp};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

macro_rules! words {
    ($to:ident, $from:ident, $core:ty, $wire:ty, $default:expr, { $($a:ident = $b:ident),* $(,)? }) => {
        /// For the wire.
        pub fn $to(value: $core) -> $wire {
            match value { $(<$core>::$a => <$wire>::$b),* }
        }

        /// From the wire; unspecified is the default.
        pub fn $from(field: &str, value: i32) -> Result<$core, Error> {
            Ok(match known::<$wire>(field, value)? {
                <$wire>::Unspecified => $default,
                $(<$wire>::$b => <$core>::$a),*
            })
        }
    };
}

words!(kind_to, kind_from, InstanceKind, v1::InstanceType, InstanceKind::Vm, {
    Vm = Vm, Container = Container, MicroVm = Microvm,
});
words!(run_state_to, run_state_from, RunState, v1::RunState, RunState::Running, {
    Running = Running, Paused = Paused, Stopped = Stopped,
});
words!(restart_policy_to, restart_policy_from, RestartPolicy, v1::RestartPolicy, RestartPolicy::OnFailure, {
    Never = Never, OnFailure = OnFailure, Always = Always,
});
words!(relocation_to, relocation_from, Relocation, v1::Relocation, Relocation::Never, {
    Never = Never, Recreate = Recreate,
});
words!(firmware_to, firmware_from, Firmware, v1::Firmware, Firmware::Bios, { Bios = Bios, Uefi = Uefi });
words!(phase_to, phase_from, Phase, v1::InstancePhase, Phase::Pending, {
    Pending = Pending, Scheduled = Scheduled, Preparing = Preparing, Starting = Starting, Running = Running,
    Paused = Paused, Stopping = Stopping, Stopped = Stopped, Migrating = Migrating, Failed = Failed,
    Unknown = Unknown, Deleting = Deleting,
});

/// A specification for the wire.
pub fn spec_to(spec: &InstanceSpec) -> v1::InstanceSpec {
    let path =
        |path: &Option<PathBuf>| path.as_ref().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let boot = v1::BootSpec {
        firmware: firmware_to(spec.boot.firmware).into(),
        kernel: path(&spec.boot.kernel),
        initrd: path(&spec.boot.initrd),
        cmdline: spec.boot.cmdline.clone(),
    };
    v1::InstanceSpec {
        r#type: kind_to(spec.kind).into(),
        cpus: spec.cpus,
        memory_bytes: spec.memory_bytes,
        image: path(&spec.image),
        root_disk_bytes: spec.root_disk_bytes,
        disks: spec
            .disks
            .iter()
            .map(|disk| v1::DiskSpec { name: disk.name.to_string(), size_bytes: disk.size_bytes })
            .collect(),
        network_interfaces: spec.interfaces.iter().map(interface_to).collect(),
        boot: Some(boot),
        cloud_init: spec.cloud_init.as_ref().map(|cloud_init| v1::CloudInitSpec {
            user_data: cloud_init.user_data.clone(),
            meta_data: cloud_init.meta_data.clone(),
            network_config: cloud_init.network_config.clone(),
        }),
        run_state: run_state_to(spec.run_state).into(),
        restart_serial: spec.restart_serial,
        restart_policy: restart_policy_to(spec.restart_policy).into(),
        stop_timeout_ms: millis(spec.stop_timeout),
        placement: Some(v1::PlacementSpec {
            preferred_node: spec.placement.preferred_node.clone(),
            required_node: spec.placement.required_node.clone(),
            region: spec.placement.region.clone(),
            zone: spec.placement.zone.clone(),
            node_selector: spec.placement.node_selector.clone(),
        }),
        force_stop: spec.force_stop,
        stop_timeout_once_ms: spec.stop_timeout_once.map_or(0, millis),
        relocation: relocation_to(spec.relocation).into(),
    }
}

/// A specification that a caller sent: read, and checked against every limit.
pub fn spec_from(spec: &v1::InstanceSpec) -> Result<InstanceSpec, Error> {
    let read = spec_read(spec)?;
    read.check()?;
    Ok(read)
}

/// A specification that was accepted before, from the store, the journal or the stream: read, and not measured again. A limit
/// that a newer version tightens must not make what exists unreadable.
pub fn spec_read(spec: &v1::InstanceSpec) -> Result<InstanceSpec, Error> {
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let boot = spec.boot.clone().unwrap_or_default();
    let placement = spec.placement.clone().unwrap_or_default();
    let disk = |(index, disk): (usize, &v1::DiskSpec)| {
        Ok(DiskSpec {
            name: Name::parse(&format!("spec.disks[{index}].name"), &disk.name)?,
            size_bytes: disk.size_bytes,
        })
    };
    Ok(InstanceSpec {
        kind: kind_from("spec.type", spec.r#type)?,
        cpus: spec.cpus,
        memory_bytes: spec.memory_bytes,
        image: path(&spec.image),
        root_disk_bytes: spec.root_disk_bytes,
        disks: spec.disks.iter().enumerate().map(disk).collect::<Result<_, Error>>()?,
        interfaces: spec
            .network_interfaces
            .iter()
            .enumerate()
            .map(|(index, interface)| interface_from(&format!("spec.network_interfaces[{index}]"), interface))
            .collect::<Result<_, _>>()?,
        boot: BootSpec {
            firmware: firmware_from("spec.boot.firmware", boot.firmware)?,
            kernel: path(&boot.kernel),
            initrd: path(&boot.initrd),
            cmdline: boot.cmdline,
        },
        cloud_init: spec.cloud_init.as_ref().map(|cloud_init| CloudInitSpec {
            user_data: cloud_init.user_data.clone(),
            meta_data: cloud_init.meta_data.clone(),
            network_config: cloud_init.network_config.clone(),
        }),
        run_state: run_state_from("spec.run_state", spec.run_state)?,
        restart_serial: spec.restart_serial,
        restart_policy: restart_policy_from("spec.restart_policy", spec.restart_policy)?,
        stop_timeout: match spec.stop_timeout_ms {
            0 => DEFAULT_STOP_TIMEOUT,
            ms => Duration::from_millis(ms),
        },
        force_stop: spec.force_stop,
        stop_timeout_once: (spec.stop_timeout_once_ms != 0)
            .then(|| Duration::from_millis(spec.stop_timeout_once_ms)),
        relocation: relocation_from("spec.relocation", spec.relocation)?,
        placement: PlacementSpec {
            preferred_node: placement.preferred_node,
            required_node: placement.required_node,
            region: placement.region,
            zone: placement.zone,
            node_selector: placement.node_selector,
        },
    })
}

fn interface_to(interface: &InterfaceSpec) -> v1::NetworkInterfaceSpec {
    use v1::network_interface_spec::Attachment as Wire;
    v1::NetworkInterfaceSpec {
        name: interface.name.to_string(),
        mac: interface.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        attachment: Some(match &interface.attachment {
            Attachment::User { publish } => {
                Wire::User(v1::UserNetwork { publish: publish.iter().map(port_to).collect() })
            }
            Attachment::Tap { interface } => Wire::Tap(interface.clone()),
            Attachment::Bridge { bridge } => Wire::Bridge(bridge.clone()),
        }),
    }
}

fn interface_from(field: &str, interface: &v1::NetworkInterfaceSpec) -> Result<InterfaceSpec, Error> {
    use v1::network_interface_spec::Attachment as Wire;
    Ok(InterfaceSpec {
        name: Name::parse(&format!("{field}.name"), &interface.name)?,
        mac: match interface.mac.as_str() {
            "" => None,
            text => Some(Mac::parse(&format!("{field}.mac"), text)?),
        },
        attachment: match &interface.attachment {
            Some(Wire::User(user)) => Attachment::User {
                publish: user
                    .publish
                    .iter()
                    .enumerate()
                    .map(|(index, port)| port_from(&format!("{field}.user.publish[{index}]"), port))
                    .collect::<Result<_, _>>()?,
            },
            Some(Wire::Tap(interface)) => Attachment::Tap { interface: interface.clone() },
            Some(Wire::Bridge(bridge)) => Attachment::Bridge { bridge: bridge.clone() },
            None => return Err(Error::invalid(format!("{field}.attachment"), "one of user, tap and bridge")),
        },
    })
}

/// A published port for the wire.
pub fn port_to(port: &PublishedPort) -> v1::PublishedPort {
    v1::PublishedPort {
        protocol: port.protocol.as_str().to_owned(),
        host_address: port.host_address.to_string(),
        host_port: port.host_port.into(),
        guest_port: port.guest_port.into(),
    }
}

/// A published port from the wire; an error names `field`.
pub fn port_from(field: &str, port: &v1::PublishedPort) -> Result<PublishedPort, Error> {
    let number = |name: &str, value: u32| {
        u16::try_from(value).ok().filter(|port| *port != 0).ok_or_else(|| {
            Error::invalid(format!("{field}.{name}"), format!("{value} is not between 1 and 65535"))
        })
    };
    Ok(PublishedPort {
        protocol: match port.protocol.as_str() {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => {
                return Err(Error::invalid(
                    format!("{field}.protocol"),
                    format!("`{other}` is neither tcp nor udp"),
                ));
            }
        },
        host_address: match port.host_address.as_str() {
            "" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            text => text.parse().map_err(|_| {
                Error::invalid(format!("{field}.host_address"), format!("`{text}` is not an IP address"))
            })?,
        },
        host_port: number("host_port", port.host_port)?,
        guest_port: number("guest_port", port.guest_port)?,
    })
}

/// A status for the wire. Placement and the node's name are the server's to add.
pub fn status_to(status: &InstanceStatus) -> v1::InstanceStatus {
    v1::InstanceStatus {
        phase: phase_to(status.phase).into(),
        message: status.message.clone(),
        conditions: conditions_to(&status.conditions),
        observed_generation: status.observed_generation,
        observed_restart_serial: status.observed_restart_serial,
        node_uid: String::new(),
        node_name: String::new(),
        epoch: 0,
        started_at_ms: status.started_at.map_or(0, |time| time.0),
        addresses: status.addresses.clone(),
        published_ports: status.published_ports.iter().map(port_to).collect(),
        details: status.details.clone(),
        starts: status.starts,
        root_disk_bytes: status.root_disk_bytes,
    }
}

/// A status from an agent or the store.
pub fn status_from(status: &v1::InstanceStatus) -> Result<InstanceStatus, Error> {
    Ok(InstanceStatus {
        phase: phase_from("status.phase", status.phase)?,
        message: status.message.clone(),
        conditions: conditions_from(&status.conditions),
        observed_generation: status.observed_generation,
        observed_restart_serial: status.observed_restart_serial,
        started_at: (status.started_at_ms != 0).then_some(Timestamp(status.started_at_ms)),
        starts: status.starts,
        addresses: status.addresses.clone(),
        published_ports: status
            .published_ports
            .iter()
            .map(|port| port_from("status.published_ports", port))
            .collect::<Result<_, _>>()?,
        details: status.details.clone(),
        root_disk_bytes: status.root_disk_bytes,
    })
}

/// Where an instance belongs, as its status says it.
pub fn placement_from(status: &v1::InstanceStatus) -> Result<Option<Placement>, Error> {
    match status.node_uid.as_str() {
        "" => Ok(None),
        node => Ok(Some(Placement { node: id_from("status.node_uid", node)?, epoch: Epoch(status.epoch) })),
    }
}

/// An instance for the wire.
pub fn instance_to(instance: &Instance, node_name: &str, revision: u64) -> v1::Instance {
    let mut status = status_to(&instance.status);
    if let Some(placement) = instance.placement {
        status.node_uid = placement.node.to_string();
        status.node_name = node_name.to_owned();
        status.epoch = placement.epoch.0;
    }
    v1::Instance {
        metadata: Some(metadata_to(instance.id, &instance.metadata, revision)),
        spec: Some(spec_to(&instance.spec)),
        status: Some(status),
    }
}

/// An instance from the wire.
pub fn instance_from(instance: &v1::Instance) -> Result<Instance, Error> {
    let metadata = instance.metadata.clone().unwrap_or_default();
    let status = instance.status.clone().unwrap_or_default();
    Ok(Instance {
        id: id_from::<InstanceId>("metadata.uid", &metadata.uid)?,
        metadata: metadata_from(&metadata)?,
        spec: spec_read(&instance.spec.clone().unwrap_or_default())?,
        status: status_from(&status)?,
        placement: placement_from(&status)?,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

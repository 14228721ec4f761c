//! Nodes.

use super::{
    conditions_from, conditions_to, id_from, known, metadata_from, metadata_to, resources_from, resources_to,
};
use crate::v1;
use hv_core::node::{
    DriverStatus, Node, NodePhase, NodeReport, NodeRole, NodeSpec, NodeStatus, Schedulability,
};
use hv_core::{Error, NodeId, Timestamp};

/// A specification for the wire.
pub fn node_spec_to(spec: &NodeSpec) -> v1::NodeSpec {
    let role = match spec.role {
        NodeRole::Master => v1::NodeRole::Master,
        NodeRole::Worker => v1::NodeRole::Worker,
    };
    let schedulability = match spec.schedulability {
        Schedulability::Schedulable => v1::Schedulability::Schedulable,
        Schedulability::Cordoned => v1::Schedulability::Cordoned,
        Schedulability::Draining => v1::Schedulability::Draining,
        Schedulability::Maintenance => v1::Schedulability::Maintenance,
    };
    v1::NodeSpec {
        role: role.into(),
        region: spec.region.clone(),
        zone: spec.zone.clone(),
        schedulability: schedulability.into(),
        reason: spec.reason.clone(),
    }
}

/// A checked specification.
pub fn node_spec_from(spec: &v1::NodeSpec) -> Result<NodeSpec, Error> {
    let checked = NodeSpec {
        role: match known::<v1::NodeRole>("spec.role", spec.role)? {
            v1::NodeRole::Unspecified | v1::NodeRole::Worker => NodeRole::Worker,
            v1::NodeRole::Master => NodeRole::Master,
        },
        region: spec.region.clone(),
        zone: spec.zone.clone(),
        schedulability: match known::<v1::Schedulability>("spec.schedulability", spec.schedulability)? {
            v1::Schedulability::Unspecified | v1::Schedulability::Schedulable => Schedulability::Schedulable,
            v1::Schedulability::Cordoned => Schedulability::Cordoned,
            v1::Schedulability::Draining => Schedulability::Draining,
            v1::Schedulability::Maintenance => Schedulability::Maintenance,
        },
        reason: spec.reason.clone(),
    };
    checked.check()?;
    Ok(checked)
}

/// A phase for the wire.
pub fn node_phase_to(phase: NodePhase) -> v1::NodePhase {
    match phase {
        NodePhase::Registered => v1::NodePhase::Registered,
        NodePhase::Ready => v1::NodePhase::Ready,
        NodePhase::NotReady => v1::NodePhase::NotReady,
        NodePhase::Unknown => v1::NodePhase::Unknown,
    }
}

fn node_phase_from(phase: i32) -> Result<NodePhase, Error> {
    Ok(match known::<v1::NodePhase>("status.phase", phase)? {
        v1::NodePhase::Unspecified | v1::NodePhase::Registered => NodePhase::Registered,
        v1::NodePhase::Ready => NodePhase::Ready,
        v1::NodePhase::NotReady => NodePhase::NotReady,
        v1::NodePhase::Unknown => NodePhase::Unknown,
    })
}

/// A driver's report for the wire.
pub fn driver_to(driver: &DriverStatus) -> v1::DriverStatus {
    v1::DriverStatus {
        name: driver.name.clone(),
        instance_types: driver.instance_types.clone(),
        healthy: driver.healthy,
        message: driver.message.clone(),
        version: driver.version.clone(),
        capabilities: driver.capabilities.clone(),
        attributes: driver.attributes.clone(),
    }
}

fn driver_from(driver: &v1::DriverStatus) -> DriverStatus {
    DriverStatus {
        name: driver.name.clone(),
        instance_types: driver.instance_types.clone(),
        healthy: driver.healthy,
        message: driver.message.clone(),
        version: driver.version.clone(),
        capabilities: driver.capabilities.clone(),
        attributes: driver.attributes.clone(),
    }
}

/// An agent's report for the wire.
pub fn report_to(report: &NodeReport) -> v1::NodeReport {
    v1::NodeReport {
        hostname: report.hostname.clone(),
        addresses: report.addresses.clone(),
        capacity: Some(resources_to(report.capacity)),
        allocatable: Some(resources_to(report.allocatable)),
        drivers: report.drivers.iter().map(driver_to).collect(),
        conditions: Vec::new(),
        agent_version: report.agent_version.clone(),
        kernel_version: report.kernel_version.clone(),
        boot_id: report.boot_id.clone(),
    }
}

/// An agent's report.
pub fn report_from(report: &v1::NodeReport) -> NodeReport {
    NodeReport {
        hostname: report.hostname.clone(),
        addresses: report.addresses.clone(),
        capacity: resources_from(report.capacity.as_ref()),
        allocatable: resources_from(report.allocatable.as_ref()),
        drivers: report.drivers.iter().map(driver_from).collect(),
        agent_version: report.agent_version.clone(),
        kernel_version: report.kernel_version.clone(),
        boot_id: report.boot_id.clone(),
    }
}

/// A node for the wire. What is allocated on it, and when it was last heard of, are the server's to add.
pub fn node_to(node: &Node, revision: u64) -> v1::Node {
    let report = report_to(&node.status.report);
    v1::Node {
        metadata: Some(metadata_to(node.id, &node.metadata, revision)),
        spec: Some(node_spec_to(&node.spec)),
        status: Some(v1::NodeStatus {
            phase: node_phase_to(node.status.phase).into(),
            conditions: conditions_to(&node.status.conditions),
            hostname: report.hostname,
            addresses: report.addresses,
            capacity: report.capacity,
            allocatable: report.allocatable,
            allocated: None,
            drivers: report.drivers,
            agent_version: report.agent_version,
            kernel_version: report.kernel_version,
            boot_id: report.boot_id,
            last_transition_at_ms: node.status.last_transition_at.0,
            last_seen_at_ms: 0,
            instances: 0,
        }),
    }
}

/// A node from the wire.
pub fn node_from(node: &v1::Node) -> Result<Node, Error> {
    let metadata = node.metadata.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    Ok(Node {
        id: id_from::<NodeId>("metadata.uid", &metadata.uid)?,
        metadata: metadata_from(&metadata)?,
        spec: node_spec_from(&node.spec.clone().unwrap_or_default())?,
        status: NodeStatus {
            phase: node_phase_from(status.phase)?,
            conditions: conditions_from(&status.conditions),
            report: NodeReport {
                hostname: status.hostname,
                addresses: status.addresses,
                capacity: resources_from(status.capacity.as_ref()),
                allocatable: resources_from(status.allocatable.as_ref()),
                drivers: status.drivers.iter().map(driver_from).collect(),
                agent_version: status.agent_version,
                kernel_version: status.kernel_version,
                boot_id: status.boot_id,
            },
            last_transition_at: Timestamp(status.last_transition_at_ms),
        },
    })
}

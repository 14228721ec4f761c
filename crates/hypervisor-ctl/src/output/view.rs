//! The API's messages as JSON.
//!
//! The form is a promise to scripts: field names are those of `proto/`; enumerations are lower-case words with `-`; a time
//! `x_at_ms` becomes `x_at` in RFC 3339; what is unset or unknown is null. A test compares every message with its description.

use super::human;
use hv_api::v1;
use hv_api::v1::network_interface_spec::Attachment;
use serde_json::{Value, json};

/// An enumeration's value as its word: `INSTANCE_PHASE_RUNNING` is `running`. Unspecified is empty.
macro_rules! words {
    ($($name:ident: $enumeration:ty, $prefix:literal;)*) => {$(
        pub(crate) fn $name(value: i32) -> String {
            match <$enumeration>::try_from(value) {
                Ok(known) => word(known.as_str_name(), $prefix),
                Err(_) => value.to_string(),
            }
        }
    )*};
}

words! {
    instance_type: v1::InstanceType, "INSTANCE_TYPE_";
    instance_phase: v1::InstancePhase, "INSTANCE_PHASE_";
    run_state: v1::RunState, "RUN_STATE_";
    restart_policy: v1::RestartPolicy, "RESTART_POLICY_";
    relocation: v1::Relocation, "RELOCATION_";
    firmware: v1::Firmware, "FIRMWARE_";
    node_role: v1::NodeRole, "NODE_ROLE_";
    node_phase: v1::NodePhase, "NODE_PHASE_";
    schedulability: v1::Schedulability, "SCHEDULABILITY_";
    operation_phase: v1::OperationPhase, "OPERATION_PHASE_";
    change_kind: v1::ChangeKind, "CHANGE_KIND_";
    update_effect: v1::UpdateEffect, "UPDATE_EFFECT_";
}

fn word(name: &str, prefix: &str) -> String {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => String::new(),
        word => word.to_ascii_lowercase().replace('_', "-"),
    }
}

/// An empty text is null.
fn text(text: impl Into<String>) -> Value {
    let text = text.into();
    if text.is_empty() { Value::Null } else { Value::String(text) }
}

fn time(at_ms: i64) -> Value {
    text(human::time(at_ms))
}

fn list<T>(items: &[T], view: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(view).collect())
}

fn optional<T>(item: Option<&T>, view: impl Fn(&T) -> Value) -> Value {
    item.map_or(Value::Null, view)
}

pub(crate) fn metadata(m: &v1::Metadata) -> Value {
    json!({
        "uid": m.uid,
        "name": m.name,
        "project": text(&m.project),
        "labels": m.labels,
        "annotations": m.annotations,
        "generation": m.generation,
        "revision": m.revision,
        "created_at": time(m.created_at_ms),
        "deletion_requested_at": time(m.deletion_requested_at_ms),
        "finalizers": m.finalizers,
    })
}

pub(crate) fn condition(c: &v1::Condition) -> Value {
    json!({
        "type": c.r#type,
        "status": c.status,
        "reason": text(&c.reason),
        "message": text(&c.message),
        "last_transition_at": time(c.last_transition_at_ms),
    })
}

pub(crate) fn resources(r: &v1::Resources) -> Value {
    json!({ "cpus": r.cpus, "memory_bytes": r.memory_bytes, "disk_bytes": r.disk_bytes, "gpus": r.gpus })
}

pub(crate) fn error_info(e: &v1::ErrorInfo) -> Value {
    json!({
        "reason": text(&e.reason),
        "field": text(&e.field),
        "uid": text(&e.uid),
        "hint": text(&e.hint),
        "retryable": e.retryable,
    })
}

pub(crate) fn cluster_info(c: &v1::ClusterInfo) -> Value {
    json!({
        "cluster_id": c.cluster_id,
        "name": text(&c.name),
        "version": c.version,
        "incarnation": c.incarnation,
        "nodes_total": c.nodes_total,
        "nodes_ready": c.nodes_ready,
        "instances_total": c.instances_total,
        "instances_running": c.instances_running,
        "capacity": optional(c.capacity.as_ref(), resources),
        "allocated": optional(c.allocated.as_ref(), resources),
        "revision": c.revision,
        "store_problem": text(&c.store_problem),
    })
}

pub(crate) fn node(n: &v1::Node) -> Value {
    json!({
        "metadata": optional(n.metadata.as_ref(), metadata),
        "spec": optional(n.spec.as_ref(), node_spec),
        "status": optional(n.status.as_ref(), node_status),
    })
}

pub(crate) fn node_spec(s: &v1::NodeSpec) -> Value {
    json!({
        "role": text(node_role(s.role)),
        "region": text(&s.region),
        "zone": text(&s.zone),
        "schedulability": text(schedulability(s.schedulability)),
        "reason": text(&s.reason),
    })
}

pub(crate) fn node_status(s: &v1::NodeStatus) -> Value {
    json!({
        "phase": text(node_phase(s.phase)),
        "conditions": list(&s.conditions, condition),
        "hostname": text(&s.hostname),
        "addresses": s.addresses,
        "capacity": optional(s.capacity.as_ref(), resources),
        "allocatable": optional(s.allocatable.as_ref(), resources),
        "allocated": optional(s.allocated.as_ref(), resources),
        "drivers": list(&s.drivers, driver_status),
        "agent_version": text(&s.agent_version),
        "kernel_version": text(&s.kernel_version),
        "boot_id": text(&s.boot_id),
        "last_transition_at": time(s.last_transition_at_ms),
        "last_seen_at": time(s.last_seen_at_ms),
        "instances": s.instances,
    })
}

pub(crate) fn driver_status(d: &v1::DriverStatus) -> Value {
    json!({
        "name": d.name,
        "instance_types": d.instance_types,
        "healthy": d.healthy,
        "message": text(&d.message),
        "version": text(&d.version),
        "capabilities": d.capabilities,
        "attributes": d.attributes,
    })
}

pub(crate) fn instance(i: &v1::Instance) -> Value {
    json!({
        "metadata": optional(i.metadata.as_ref(), metadata),
        "spec": optional(i.spec.as_ref(), instance_spec),
        "status": optional(i.status.as_ref(), instance_status),
    })
}

pub(crate) fn instance_spec(s: &v1::InstanceSpec) -> Value {
    json!({
        "type": text(instance_type(s.r#type)),
        "cpus": s.cpus,
        "memory_bytes": s.memory_bytes,
        "image": text(&s.image),
        "root_disk_bytes": s.root_disk_bytes,
        "disks": list(&s.disks, disk_spec),
        "network_interfaces": list(&s.network_interfaces, network_interface_spec),
        "boot": optional(s.boot.as_ref(), boot_spec),
        "cloud_init": optional(s.cloud_init.as_ref(), cloud_init_spec),
        "run_state": text(run_state(s.run_state)),
        "restart_serial": s.restart_serial,
        "restart_policy": text(restart_policy(s.restart_policy)),
        "relocation": text(relocation(s.relocation)),
        "stop_timeout_ms": s.stop_timeout_ms,
        "placement": optional(s.placement.as_ref(), placement_spec),
        "force_stop": s.force_stop,
        "stop_timeout_once_ms": s.stop_timeout_once_ms,
    })
}

pub(crate) fn disk_spec(d: &v1::DiskSpec) -> Value {
    json!({ "name": d.name, "size_bytes": d.size_bytes })
}

/// The attachment's one field is there, the others are null.
pub(crate) fn network_interface_spec(n: &v1::NetworkInterfaceSpec) -> Value {
    let (mut user, mut tap, mut bridge) = (Value::Null, Value::Null, Value::Null);
    match &n.attachment {
        Some(Attachment::User(network)) => user = user_network(network),
        Some(Attachment::Tap(interface)) => tap = text(interface),
        Some(Attachment::Bridge(name)) => bridge = text(name),
        None => {}
    }
    json!({ "name": n.name, "mac": text(&n.mac), "user": user, "tap": tap, "bridge": bridge })
}

pub(crate) fn user_network(u: &v1::UserNetwork) -> Value {
    json!({ "publish": list(&u.publish, published_port) })
}

pub(crate) fn published_port(p: &v1::PublishedPort) -> Value {
    json!({
        "protocol": p.protocol,
        "host_address": text(&p.host_address),
        "host_port": p.host_port,
        "guest_port": p.guest_port,
    })
}

pub(crate) fn boot_spec(b: &v1::BootSpec) -> Value {
    json!({
        "firmware": text(firmware(b.firmware)),
        "kernel": text(&b.kernel),
        "initrd": text(&b.initrd),
        "cmdline": text(&b.cmdline),
    })
}

pub(crate) fn cloud_init_spec(c: &v1::CloudInitSpec) -> Value {
    json!({
        "user_data": text(&c.user_data),
        "meta_data": text(&c.meta_data),
        "network_config": text(&c.network_config),
    })
}

pub(crate) fn placement_spec(p: &v1::PlacementSpec) -> Value {
    json!({
        "preferred_node": text(&p.preferred_node),
        "required_node": text(&p.required_node),
        "region": text(&p.region),
        "zone": text(&p.zone),
        "node_selector": text(&p.node_selector),
    })
}

pub(crate) fn instance_status(s: &v1::InstanceStatus) -> Value {
    json!({
        "phase": text(instance_phase(s.phase)),
        "message": text(&s.message),
        "conditions": list(&s.conditions, condition),
        "observed_generation": s.observed_generation,
        "observed_restart_serial": s.observed_restart_serial,
        "node_uid": text(&s.node_uid),
        "node_name": text(&s.node_name),
        "epoch": s.epoch,
        "started_at": time(s.started_at_ms),
        "addresses": s.addresses,
        "published_ports": list(&s.published_ports, published_port),
        "details": s.details,
        "starts": s.starts,
        "root_disk_bytes": s.root_disk_bytes,
    })
}

pub(crate) fn instance_stats(s: &v1::InstanceStats) -> Value {
    json!({
        "uid": s.uid,
        "collected_at": time(s.collected_at_ms),
        "cpu_time_ns": s.cpu_time_ns,
        "cpu_usage_percent": s.cpu_usage_percent,
        "memory_used_bytes": s.memory_used_bytes,
        "memory_cache_bytes": s.memory_cache_bytes,
        "disk_read_bytes": s.disk_read_bytes,
        "disk_write_bytes": s.disk_write_bytes,
        "network_rx_bytes": s.network_rx_bytes,
        "network_tx_bytes": s.network_tx_bytes,
        "disks": list(&s.disks, disk_stats),
    })
}

pub(crate) fn disk_stats(d: &v1::DiskStats) -> Value {
    json!({
        "name": d.name,
        "read_bytes": d.read_bytes,
        "write_bytes": d.write_bytes,
        "read_requests": d.read_requests,
        "write_requests": d.write_requests,
    })
}

pub(crate) fn instance_change(c: &v1::InstanceChange) -> Value {
    json!({
        "kind": text(change_kind(c.kind)),
        "instance": optional(c.instance.as_ref(), instance),
        "revision": c.revision,
    })
}

pub(crate) fn explanation(e: &v1::ExplainInstanceResponse) -> Value {
    json!({
        "node_name": text(&e.node_name),
        "summary": text(&e.summary),
        "verdicts": list(&e.verdicts, node_verdict),
    })
}

pub(crate) fn node_verdict(v: &v1::NodeVerdict) -> Value {
    json!({ "node_name": v.node_name, "feasible": v.feasible, "score": v.score, "reasons": v.reasons })
}

pub(crate) fn operation(o: &v1::Operation) -> Value {
    json!({
        "uid": o.uid,
        "kind": o.kind,
        "target_kind": o.target_kind,
        "target_uid": o.target_uid,
        "target_name": o.target_name,
        "project": text(&o.project),
        "phase": text(operation_phase(o.phase)),
        "progress_percent": o.progress_percent,
        "message": text(&o.message),
        "error": optional(o.error.as_ref(), error_info),
        "principal": text(&o.principal),
        "created_at": time(o.created_at_ms),
        "ended_at": time(o.ended_at_ms),
        "cancel_requested": o.cancel_requested,
        "target_generation": o.target_generation,
        "steps": list(&o.steps, operation_step),
        "revision": o.revision,
        "target_restart_serial": o.target_restart_serial,
    })
}

pub(crate) fn operation_step(s: &v1::OperationStep) -> Value {
    json!({ "at": time(s.at_ms), "message": s.message })
}

/// The object's one field is there, the others are null.
pub(crate) fn event(e: &v1::Event) -> Value {
    use v1::event::Object;
    let mut objects = [Value::Null, Value::Null, Value::Null];
    match &e.object {
        Some(Object::Instance(object)) => objects[0] = instance(object),
        Some(Object::Node(object)) => objects[1] = node(object),
        Some(Object::Operation(object)) => objects[2] = operation(object),
        None => {}
    }
    let [instance, node, operation] = objects;
    json!({
        "revision": e.revision,
        "kind": text(change_kind(e.kind)),
        "object_kind": text(&e.object_kind),
        "object_uid": text(&e.object_uid),
        "object_name": text(&e.object_name),
        "summary": text(&e.summary),
        "instance": instance,
        "node": node,
        "operation": operation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use std::collections::BTreeSet;

    /// Field names of a message in `proto/`, times renamed as views rename them.
    fn described(message: &str) -> BTreeSet<String> {
        let set = prost_types::FileDescriptorSet::decode(hv_api::DESCRIPTORS).unwrap();
        let found = set
            .file
            .iter()
            .filter(|file| file.package() == "hypervisor.v1")
            .flat_map(|file| &file.message_type)
            .find(|found| found.name() == message)
            .unwrap_or_else(|| panic!("no message {message}"));
        let renamed = |name: &str| match name.strip_suffix("_at_ms") {
            Some(event) => format!("{event}_at"),
            None if name == "at_ms" => "at".to_owned(),
            None => name.to_owned(),
        };
        found.field.iter().map(|field| renamed(field.name())).collect()
    }

    #[test]
    fn every_field_of_the_api_is_shown_under_its_name() {
        for (message, view) in [
            ("Metadata", metadata(&Default::default())),
            ("Condition", condition(&Default::default())),
            ("Resources", resources(&Default::default())),
            ("ErrorInfo", error_info(&Default::default())),
            ("ClusterInfo", cluster_info(&Default::default())),
            ("Node", node(&Default::default())),
            ("NodeSpec", node_spec(&Default::default())),
            ("NodeStatus", node_status(&Default::default())),
            ("DriverStatus", driver_status(&Default::default())),
            ("Instance", instance(&Default::default())),
            ("InstanceSpec", instance_spec(&Default::default())),
            ("DiskSpec", disk_spec(&Default::default())),
            ("NetworkInterfaceSpec", network_interface_spec(&Default::default())),
            ("UserNetwork", user_network(&Default::default())),
            ("PublishedPort", published_port(&Default::default())),
            ("BootSpec", boot_spec(&Default::default())),
            ("CloudInitSpec", cloud_init_spec(&Default::default())),
            ("PlacementSpec", placement_spec(&Default::default())),
            ("InstanceStatus", instance_status(&Default::default())),
            ("InstanceStats", instance_stats(&Default::default())),
            ("DiskStats", disk_stats(&Default::default())),
            ("InstanceChange", instance_change(&Default::default())),
            ("ExplainInstanceResponse", explanation(&Default::default())),
            ("NodeVerdict", node_verdict(&Default::default())),
            ("Operation", operation(&Default::default())),
            ("OperationStep", operation_step(&Default::default())),
            ("Event", event(&Default::default())),
        ] {
            let shown: BTreeSet<String> = view.as_object().unwrap().keys().cloned().collect();
            assert_eq!(shown, described(message), "{message}");
        }
    }

    #[test]
    fn enumerations_are_words_and_unknown_figures_are_null() {
        assert_eq!(instance_phase(v1::InstancePhase::Running.into()), "running");
        assert_eq!(node_phase(v1::NodePhase::NotReady.into()), "not-ready");
        assert_eq!(restart_policy(v1::RestartPolicy::OnFailure.into()), "on-failure");
        assert_eq!(instance_phase(0), "");
        assert_eq!(instance_phase(99), "99", "a newer server's word is not lost");
        let stats = instance_stats(&v1::InstanceStats { cpu_time_ns: Some(0), ..Default::default() });
        assert_eq!((&stats["cpu_time_ns"], &stats["memory_used_bytes"]), (&json!(0), &Value::Null));
    }
}

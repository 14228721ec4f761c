//! What nodes are told of the instances placed on them.

use crate::state::Cluster;
use hv_api::convert::spec_to;
use hv_api::v1;
use hv_core::InstanceId;
use hv_core::instance::Epoch;
use prost::Message;

/// Bytes of one frame of a full set, but for its last instance: with that one (at most half a MiB of cloud-init, and little
/// else) it stays below the default limit of 4 MiB for a gRPC message.
const FRAME_BYTES: usize = 1 << 20;

/// What a node was told of an instance: epoch, generation, deleted and force.
pub(super) type Told = (Epoch, u64, bool, bool);

/// What a node is told of an instance placed on it.
pub(super) fn desired(cluster: &Cluster, id: InstanceId) -> Option<(Told, v1::DesiredInstance)> {
    let entry = cluster.instances().get(&id)?;
    let instance = &entry.instance;
    // As long as it may be elsewhere, no node is told of it.
    if cluster.missing(entry).is_some() {
        return None;
    }
    let epoch = instance.placement?.epoch;
    // To its node, leaving is the same.
    let deleted = instance.is_deleting() || entry.placement.leaving;
    let force = instance.spec.force_stop;
    let wire = v1::DesiredInstance {
        uid: id.to_string(),
        name: instance.metadata.name.to_string(),
        project: instance.metadata.project.to_string(),
        epoch: epoch.0,
        generation: instance.metadata.generation,
        spec: Some(spec_to(&instance.spec)),
        deleted,
        force,
    };
    Some(((epoch, instance.metadata.generation, deleted, force), wire))
}

/// A full set in frames that are not too large; the last one says so.
pub(super) fn full_set(instances: impl Iterator<Item = v1::DesiredInstance>) -> Vec<v1::Desired> {
    let mut frames = vec![v1::Desired { full: true, complete: false, instances: Vec::new() }];
    let mut bytes = 0;
    for instance in instances {
        if bytes >= FRAME_BYTES {
            frames.push(v1::Desired { full: true, complete: false, instances: Vec::new() });
            bytes = 0;
        }
        bytes += instance.encoded_len();
        if let Some(frame) = frames.last_mut() {
            frame.instances.push(instance);
        }
    }
    if let Some(last) = frames.last_mut() {
        last.complete = true;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_of_large_instances_fits_into_frames() {
        let large = v1::InstanceSpec {
            cloud_init: Some(v1::CloudInitSpec { user_data: "x".repeat(512 << 10), ..Default::default() }),
            ..Default::default()
        };
        let instance = v1::DesiredInstance { spec: Some(large), ..Default::default() };
        let frames = full_set(std::iter::repeat_n(instance, 20));
        assert!(frames.iter().all(|frame| frame.full && frame.encoded_len() < 4 << 20));
        assert_eq!(frames.iter().map(|frame| frame.instances.len()).sum::<usize>(), 20);
        let complete: Vec<_> = frames.iter().map(|frame| frame.complete).collect();
        assert!(complete.ends_with(&[true]) && !complete[..complete.len() - 1].contains(&true));
        assert_eq!(full_set(std::iter::empty()).len(), 1, "an empty set is said, too");
    }
}

//! Where everything lies in the store.
//!
//! ```text
//!   /hv1/cluster                         identity of the cluster
//!   /hv1/restored                        the store was restored from a snapshot, when this last changed
//!   /hv1/instance/<project>/<uid>        metadata and specification: changed by callers
//!   /hv1/instance-status/<uid>           what is observed: changed by reports, never breaks a caller's precondition
//!   /hv1/placement/<uid>                 node and epoch: changed by the scheduler
//!   /hv1/strays/<uid>                    what nodes have of it that does not belong there: changed by reports
//!   /hv1/node/<uid>                      metadata and specification
//!   /hv1/node-status/<uid>               transitions and changed reports; never a heartbeat
//!   /hv1/name/<kind>/<project>/<name>    uid: makes names unique
//!   /hv1/node-placed/<uid>               written by every placement on a node, so that a raise notices one beside it
//!   /hv1/node-raised/<uid>               written by every raise of what a placed instance takes, so that a placement notices it
//!   /hv1/abandoned/<uid>                 name of a node that was abandoned: its uid never joins again
//!   /hv1/operation/<uid>                 leased once it has ended
//!   /hv1/idempotency/<principal>/<key>   leased
//! ```

use hv_core::{InstanceId, Name, NodeId, OperationId};

/// Everything this program stores.
pub const ROOT: &str = "/hv1/";
/// Identity of the cluster.
pub const CLUSTER: &str = "/hv1/cluster";

/// Put by a restore: what is older than this waits for an agent's report.
pub const RESTORED: &str = "/hv1/restored";

const INSTANCE: &str = "/hv1/instance/";
const INSTANCE_STATUS: &str = "/hv1/instance-status/";
const PLACEMENT: &str = "/hv1/placement/";
const STRAYS: &str = "/hv1/strays/";
const NODE: &str = "/hv1/node/";
const NODE_STATUS: &str = "/hv1/node-status/";
const NODE_PLACED: &str = "/hv1/node-placed/";
const NODE_RAISED: &str = "/hv1/node-raised/";
const ABANDONED: &str = "/hv1/abandoned/";
const OPERATION: &str = "/hv1/operation/";

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Metadata and specification of an instance.
    Instance(InstanceId),
    /// Its status.
    InstanceStatus(InstanceId),
    /// Its placement.
    Placement(InstanceId),
    /// What nodes have of it that does not belong there.
    Strays(InstanceId),
    /// Metadata and specification of a node.
    Node(NodeId),
    /// Its status.
    NodeStatus(NodeId),
    /// Placements on a node.
    NodePlaced(NodeId),
    /// Raises of what instances on a node take.
    NodeRaised(NodeId),
    /// The name of an abandoned node.
    Abandoned(NodeId),
    /// An operation.
    Operation(OperationId),
    /// The mark of a restore.
    Restored,
    /// Identity, names, idempotency records: read when needed, not followed.
    Other,
}

impl Key {
    /// Reads a key.
    pub fn parse(key: &str) -> Self {
        fn id<T: std::str::FromStr>(key: &str, prefix: &str) -> Option<T> {
            key.strip_prefix(prefix)?.rsplit('/').next()?.parse().ok()
        }
        if key == RESTORED {
            return Self::Restored;
        }
        id(key, INSTANCE)
            .map(Self::Instance)
            .or_else(|| id(key, INSTANCE_STATUS).map(Self::InstanceStatus))
            .or_else(|| id(key, PLACEMENT).map(Self::Placement))
            .or_else(|| id(key, STRAYS).map(Self::Strays))
            .or_else(|| id(key, NODE).map(Self::Node))
            .or_else(|| id(key, NODE_STATUS).map(Self::NodeStatus))
            .or_else(|| id(key, NODE_PLACED).map(Self::NodePlaced))
            .or_else(|| id(key, NODE_RAISED).map(Self::NodeRaised))
            .or_else(|| id(key, ABANDONED).map(Self::Abandoned))
            .or_else(|| id(key, OPERATION).map(Self::Operation))
            .unwrap_or(Self::Other)
    }
}

/// Metadata and specification of an instance.
pub fn instance(project: &Name, id: InstanceId) -> String {
    format!("{INSTANCE}{project}/{id}")
}

/// Status of an instance.
pub fn instance_status(id: InstanceId) -> String {
    format!("{INSTANCE_STATUS}{id}")
}

/// Placement of an instance.
pub fn placement(id: InstanceId) -> String {
    format!("{PLACEMENT}{id}")
}

/// What nodes have of an instance that does not belong there.
pub fn strays(id: InstanceId) -> String {
    format!("{STRAYS}{id}")
}

/// Metadata and specification of a node.
pub fn node(id: NodeId) -> String {
    format!("{NODE}{id}")
}

/// Status of a node.
pub fn node_status(id: NodeId) -> String {
    format!("{NODE_STATUS}{id}")
}

/// Placements on a node.
pub fn node_placed(id: NodeId) -> String {
    format!("{NODE_PLACED}{id}")
}

/// Raises of what instances on a node take.
pub fn node_raised(id: NodeId) -> String {
    format!("{NODE_RAISED}{id}")
}

/// The name of an abandoned node.
pub fn abandoned(id: NodeId) -> String {
    format!("{ABANDONED}{id}")
}

/// An operation.
pub fn operation(id: OperationId) -> String {
    format!("{OPERATION}{id}")
}

/// The name of an instance.
pub fn instance_name(project: &Name, name: &Name) -> String {
    format!("/hv1/name/instance/{project}/{name}")
}

/// The name of a node.
pub fn node_name(name: &Name) -> String {
    format!("/hv1/name/node/{name}")
}

/// A call that was answered. Both parts are encoded: neither may contain a slash of its own.
pub fn idempotency(principal: &str, key: &str) -> String {
    let plain = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
                other => format!("%{other:02x}"),
            })
            .collect()
    };
    format!("/hv1/idempotency/{}/{}", plain(principal), plain(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_written() {
        let project = Name::parse("p", "default").unwrap();
        let uid = "018f4e2a-0000-7000-8000-000000000001";
        let (i, n, o) = (uid.parse().unwrap(), uid.parse().unwrap(), uid.parse().unwrap());
        assert_eq!(Key::parse(&instance(&project, i)), Key::Instance(i));
        assert_eq!(Key::parse(&instance_status(i)), Key::InstanceStatus(i));
        assert_eq!(Key::parse(&placement(i)), Key::Placement(i));
        assert_eq!(Key::parse(&strays(i)), Key::Strays(i));
        assert_eq!(Key::parse(&node(n)), Key::Node(n));
        assert_eq!(Key::parse(&node_status(n)), Key::NodeStatus(n));
        assert_eq!(Key::parse(&node_placed(n)), Key::NodePlaced(n));
        assert_eq!(Key::parse(&node_raised(n)), Key::NodeRaised(n));
        assert_eq!(Key::parse(&abandoned(n)), Key::Abandoned(n));
        assert_eq!(Key::parse(&operation(o)), Key::Operation(o));
        assert_eq!(Key::parse(&node_name(&project)), Key::Other);
    }

    #[test]
    fn idempotency_keys_cannot_reach_into_others() {
        assert_eq!(idempotency("a/b", "c d/é"), "/hv1/idempotency/a%2fb/c%20d%2f%c3%a9");
    }
}

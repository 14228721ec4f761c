//! What the server knows: the store's content, decoded and followed.

pub mod cluster;
pub mod follow;
pub mod keys;
pub mod write;

pub use cluster::{
    Change, ChangeKind, Cluster, InstanceEntry, Missing, NOWHERE_LABEL, NodeEntry, Object, OperationEntry,
};
pub use follow::{Follower, Subscription};

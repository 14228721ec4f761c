//! What every object has.

use crate::{Labels, Name, Timestamp};

/// The project of objects that name none.
pub const DEFAULT_PROJECT: &str = "default";

/// Identity and bookkeeping of an object. The uid lives with the object, typed; the revision with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Unique in the project.
    pub name: Name,
    /// The project.
    pub project: Name,
    /// Free keys to select by.
    pub labels: Labels,
    /// Free keys that are only kept.
    pub annotations: Labels,
    /// Counts changes of the specification, from 1.
    pub generation: u64,
    /// When the object was created.
    pub created_at: Timestamp,
    /// When deletion was asked for.
    pub deletion_requested_at: Option<Timestamp>,
    /// Who must still clean up before a deletion completes.
    pub finalizers: Vec<String>,
}

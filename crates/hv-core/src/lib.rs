//! The platform's vocabulary: ids, specifications, states, and the rules that all programs ask.
//!
//! ```text
//!   instance::spec    what is wanted        instance::state   which request fits which phase
//!   node              where it may run      resources         what fits
//!   operation         what was asked for    error             what a caller can act on
//! ```
//!
//! No async, no I/O, no clock, no randomness: time and ids are arguments. Text and numbers from outside become these
//! types once, at the edge; a value of one of these types is valid.

pub mod condition;
pub mod error;
pub mod id;
pub mod instance;
pub mod labels;
pub mod meta;
pub mod name;
pub mod node;
pub mod operation;
pub mod resources;
pub mod time;

pub use condition::{Condition, ConditionStatus, Conditions};
pub use error::{Error, ErrorKind};
pub use id::{InstanceId, NodeId, OperationId};
pub use labels::{Labels, Selector};
pub use meta::Metadata;
pub use name::Name;
pub use resources::Resources;
pub use time::Timestamp;

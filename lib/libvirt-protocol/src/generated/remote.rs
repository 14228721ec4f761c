// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! The main program: calls of every object, and events.

mod auth;
mod connect;
mod domain;
mod domain_block;
mod domain_checkpoint;
mod domain_get;
mod domain_migrate;
mod domain_set;
mod domain_snapshot;
mod events;
mod interface;
mod network;
mod node;
mod node_device;
mod nwfilter;
mod secret;
mod storage_pool;
mod storage_vol;
pub use auth::*;
pub use connect::*;
pub use domain::*;
pub use domain_block::*;
pub use domain_checkpoint::*;
pub use domain_get::*;
pub use domain_migrate::*;
pub use domain_set::*;
pub use domain_snapshot::*;
pub use events::*;
pub use interface::*;
pub use network::*;
pub use node::*;
pub use node_device::*;
pub use nwfilter::*;
pub use secret::*;
pub use storage_pool::*;
pub use storage_vol::*;

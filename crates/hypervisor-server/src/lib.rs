//! The control plane: it records intent, places it, tells agents, and shows what comes of it.

pub mod reconcile;
pub mod scheduler;
pub mod state;

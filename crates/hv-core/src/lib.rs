//! Ids, specs, states and transitions of the platform: no async, no I/O.

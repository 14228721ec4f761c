//! Server and agent in one process, joined by the real stream, on the embedded store.

pub mod local;

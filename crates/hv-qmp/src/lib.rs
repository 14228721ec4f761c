//! A shell for QEMU's monitor: commands as `name argument=value`, typed and completed by what the connected program says of itself.
//!
//! ```text
//!   arguments, lines of standard input, or a terminal --line--> request --qmp--> QEMU
//!                                              ^-- schema --'         answers and events, as JSON
//! ```
//!
//! Not here: a list of commands. Whatever the program has can be called, and nothing else.

pub mod complete;
pub mod line;
pub mod shell;

//! Commands for developers: `cargo xtask <command>`.

fn main() {}

//! The tests' disk on rust-vmm's framework `vhost-user-backend`, served for as long as it is let: what its report was made of.
//!
//! ```text
//! cargo build -p vhost-user --example vhost_user_backend
//! vhost-user-check check --socket /tmp/disk.sock --type blk --command 'target/debug/examples/vhost_user_backend {socket}'
//! ```

#[path = "../tests/support/their_disk.rs"]
mod their_disk;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(socket) = std::env::args_os().nth(1).map(PathBuf::from) else {
        let _ = writeln!(io::stderr(), "which socket? one argument: its path");
        return ExitCode::from(2);
    };
    loop {
        // Front-ends that do wrong end their session.
        if let Err(error) = their_disk::serve_one(&socket) {
            let _ = writeln!(io::stderr(), "{error}");
        }
    }
}

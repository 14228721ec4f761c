//! The command line's process: arguments and the terminal in, an exit code out.

use hypervisor_ctl::{Io, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(std::env::args_os(), Io::of_process()).into()
}

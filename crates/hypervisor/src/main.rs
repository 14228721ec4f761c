//! `hypervisor`: all in one.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match hypervisor::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            hypervisor::cli::say_error(&error);
            ExitCode::FAILURE
        }
    }
}

//! Load generators for any Kafka-compatible broker; `cli` has the workloads, README.md how to read the figures.
//! [`throughput`] is the report of `cargo bench`.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a load generator stands outside the broker: it reads clocks, /proc and writes its reports itself"
)]
#![allow(dead_code, reason = "the workloads that use it land next")]

mod cli;
mod fields;
mod floor;
mod memory;
mod plan;
mod process;
mod raw;
pub mod throughput;
mod units;

use std::process::ExitCode;

use clap::Parser;

use cli::Command;

/// Runs the command line. Exit code 0: the run had no errors; 1: it had; 2: the command line is wrong.
pub fn main() -> ExitCode {
    match cli::Cli::parse().command {
        Command::Raw(args) => raw::main(&args),
        Command::Floor(args) => floor::main(args),
        Command::HoldMemory(args) => memory::hold(&args),
        Command::DropCache(args) => memory::drop_cache(&args),
        command => {
            eprintln!("error: {command:?} is not built yet");
            ExitCode::from(1)
        }
    }
}

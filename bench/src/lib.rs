//! Load generators for any Kafka-compatible broker; `cli` has the workloads, README.md how to read the figures.
//!
//! ```text
//! cli -> plan -> workloads -> session (threads, window, live line) -> producer, reader (connections)
//!                                 |                                       |
//!                           broker_stats                      template, request, pace -> measure -> report
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a load generator stands outside the broker: it reads clocks and /proc and writes its reports itself"
)]

mod broker_stats;
mod cli;
mod cluster;
mod error;
mod fetch_link;
mod fields;
mod filling;
mod floor;
mod flow;
pub mod frames;
mod limits;
mod machine;
mod measure;
mod member;
mod memory;
mod pace;
mod payload;
mod plan;
mod process;
mod producer;
mod raw;
mod reader;
mod report;
mod request;
mod rereading;
mod session;
mod sparse;
mod template;
pub mod throughput;
mod units;
mod workloads;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use cli::{Command, Workload};
use error::BenchError;
use report::{BrokerAddress, Report};
use session::Session;

/// Runs the command line. Exit code 0: the run had no errors; 1: it had; 2: the command line is wrong.
pub fn main() -> ExitCode {
    match cli::Cli::parse().command {
        Command::Load(workload) => run(&workload),
        Command::Raw(args) => raw::main(&args),
        Command::Floor(args) => floor::main(args),
        Command::HoldMemory(args) => memory::hold(&args),
        Command::DropCache(args) => memory::drop_cache(&args),
        Command::Limits(args) => limits::main(&args),
        Command::SparseLog(args) => sparse::main(&args),
    }
}

fn run(workload: &Workload) -> ExitCode {
    match load(workload) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

/// Runs a workload and writes its reports; gives the number of errors in it.
fn load(workload: &Workload) -> Result<u64, BenchError> {
    let (name, target, run) = workloads::common(workload);
    let session = Session::begin(target, run)?;
    let findings = workloads::run(workload, &session)?;
    if target.delete {
        session.ask(|rt, cluster| Box::pin(async move { cluster.delete_topics(&rt).await }))??;
    }
    let report = Report {
        tool: "kringle-bench",
        version: env!("CARGO_PKG_VERSION"),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        label: run.label.clone(),
        unix_ms: machine::unix_ms(),
        workload: name,
        machine: machine::describe(),
        broker: BrokerAddress {
            address: target.broker.clone(),
            cluster_id: session.cluster.cluster_id.clone(),
            brokers: session.cluster.brokers.len(),
        },
        plan: findings.plan,
        errors: findings.outcomes.iter().map(report::Outcome::errors).sum(),
        outcomes: findings.outcomes,
        notes: findings.notes,
    };
    print!("{}", report::table::render(&report));
    write(run.json.as_deref(), || report::json::render(&report))?;
    write(run.html.as_deref(), || report::html::render(&report))?;
    Ok(report.errors)
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), BenchError> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|source| BenchError::Io { what: path.display().to_string(), source })
}

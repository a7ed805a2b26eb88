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
mod interrupt;
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

/// Runs the command line. Exit code 0: the run had no errors; 1: it had; 2: the command line is wrong; 130: it was interrupted.
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
        Ok(_) if interrupt::asked() => ExitCode::from(130),
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, BenchError::Options(_)) { 2 } else { 1 })
        }
    }
}

/// Runs a workload and writes its reports; gives the number of errors in it.
fn load(workload: &Workload) -> Result<u64, BenchError> {
    let (name, target, run) = workloads::common(workload);
    for path in [&run.json, &run.html].into_iter().flatten() {
        // Now, and not after minutes of measuring.
        std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(|source| not_written(path, source))?;
    }
    let session = Session::begin(target, run)?;
    let mut findings = workloads::run(workload, &session)?;
    let interrupted = interrupt::asked();
    if !interrupted {
        findings.failures.extend(findings.outcomes.iter().filter(|outcome| outcome.is_empty()).map(nothing_done));
    }
    let remarks = findings.outcomes.iter().flat_map(report::Outcome::remarks);
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
        interrupted,
        compares: findings.compares,
        errors: findings.outcomes.iter().map(report::Outcome::errors).sum::<u64>() + findings.failures.len() as u64,
        notes: remarks.chain(findings.notes).collect(),
        plan: findings.plan,
        failures: findings.failures,
        outcomes: findings.outcomes,
    };
    print!("{}", report::table::render(&report));
    let written = [
        write(run.json.as_deref(), || report::json::render(&report)),
        write(run.html.as_deref(), || report::html::render(&report)),
    ];
    if target.delete {
        session.ask(|rt, cluster| Box::pin(async move { cluster.delete_topics(&rt).await }))??;
    }
    written.into_iter().collect::<Result<(), BenchError>>()?;
    Ok(report.errors)
}

fn nothing_done(outcome: &report::Outcome) -> String {
    format!("{}: nothing was done", outcome.name)
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), BenchError> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|source| not_written(path, source))
}

fn not_written(path: &Path, source: std::io::Error) -> BenchError {
    BenchError::Io { what: path.display().to_string(), source }
}

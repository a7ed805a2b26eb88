//! `small-producers`: many connections that each send one small record at a time: what a connection and a request cost.

use std::time::Duration;

use crate::cli;
use crate::error::BenchError;
use crate::plan::{Load, Payload, RecordPlan, Timing};
use crate::session::Session;
use crate::workloads::Findings;
use crate::workloads::produce::{describe, measure};

pub(crate) fn run(options: &cli::SmallProducers, session: &Session) -> Result<Findings, BenchError> {
    let records = RecordPlan {
        value_bytes: options.size,
        key_bytes: 0,
        keys: 1,
        payload: Payload::Random,
        batch_bytes: None,
        batch_records: Some(1),
        codec: "none".parse().map_err(BenchError::Options)?,
        seed: 1,
    };
    let load = Load {
        records,
        linger: Duration::ZERO,
        connections: options.producers,
        in_flight: 1,
        acks: options.acks,
        idempotent: false,
        rate: options.rate,
    };
    let outcome = measure(session, "small-producers", "small-producers", load.clone(), Timing::from_cli(&options.run))?;
    Ok(Findings::of(describe(&load, session), outcome))
}

//! `batch-sizes`: the same load with growing batches: what a broker costs for each request, and what for each byte.

use crate::cli;
use crate::error::BenchError;
use crate::plan::{Load, RecordPlan, Timing};
use crate::session::Session;
use crate::units::bytes;
use crate::workloads::Findings;
use crate::workloads::produce::{describe, measure};

pub(crate) fn run(options: &cli::BatchSizes, session: &Session) -> Result<Findings, BenchError> {
    let load = Load::from_cli(&options.produce.records, &options.produce.sending);
    let timing = Timing::from_cli(&options.produce.run);
    let mut outcomes = Vec::new();
    for size in &options.sizes {
        let records = RecordPlan { batch_bytes: Some(*size), batch_records: None, ..load.records.clone() };
        let name = bytes(u64::try_from(*size).unwrap_or(u64::MAX));
        outcomes.push(measure(session, &name, &name, Load { records, ..load.clone() }, timing)?);
    }
    let notes = vec!["the smallest batch has one record, however small it should be".to_owned()];
    Ok(Findings { plan: describe(&load, session), outcomes, notes })
}

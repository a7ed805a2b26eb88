//! `batch-sizes`: the same load with growing batches: what a broker costs for each request, and what for each byte.

use crate::cli;
use crate::error::BenchError;
use crate::plan::{Load, RecordPlan, Timing};
use crate::session::Session;
use crate::units::bytes;
use crate::workloads::Findings;
use crate::workloads::produce::{measure, without_batches};

pub(crate) fn run(options: &cli::BatchSizes, session: &Session) -> Result<Findings, BenchError> {
    let load = Load::from_cli(&options.produce.records, &options.produce.sending);
    let timing = Timing::from_cli(&options.produce.run);
    if options.produce.records.batch_bytes.is_some() || load.records.batch_records.is_some() {
        let what = "all of --sizes are compared, so --batch-bytes and --batch-records have no meaning";
        return Err(BenchError::Options(what.to_owned()));
    }
    let mut findings = Findings::comparing(without_batches(&load, session));
    for size in &options.sizes {
        let records = RecordPlan { batch_bytes: Some(*size), batch_records: None, ..load.records.clone() };
        let name = bytes(u64::try_from(*size).unwrap_or(u64::MAX));
        let step = measure(session, &name, &name, Load { records, ..load.clone() }, timing);
        if !findings.take(&name, step) {
            break;
        }
    }
    findings.notes = vec!["the smallest batch has one record, however small it should be".to_owned()];
    Ok(findings)
}

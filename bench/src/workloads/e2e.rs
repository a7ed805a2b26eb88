//! `e2e`: from the moment a record should be produced until a consumer has it. Without a rate it is a ping: the next record
//! is sent when the one before has arrived.

use crate::cli;
use crate::error::BenchError;
use crate::flow::{self, Flow};
use crate::plan::{Load, ReadPlan, Timing};
use crate::producer::Job;
use crate::session::Session;
use crate::workloads::Findings;
use crate::workloads::consume;
use crate::workloads::produce::describe;

pub(crate) fn run(options: &cli::E2e, session: &Session) -> Result<Findings, BenchError> {
    let mut load = Load::from_cli(&options.produce.records, &options.produce.sending);
    let ping = load.rate.is_none();
    if ping {
        load.in_flight = 1;
        if load.records.batch_records.is_none() && options.produce.records.batch_bytes.is_none() {
            (load.records.batch_bytes, load.records.batch_records) = (None, Some(1));
        }
    }
    let flow = flow_of(options, load, session, 1)?;
    let outcome = flow::run(session, "e2e", &Flow { ping, ..flow.clone() }, Timing::from_cli(&options.produce.run))?;
    let mut findings = Findings::of(plan_of(&flow, session), outcome);
    if ping {
        findings
            .notes
            .push("without --rate a connection sends its next batch when the one before was consumed".to_owned());
    }
    Ok(findings)
}

/// Producers as `load` says, and consumers that follow them.
pub(crate) fn flow_of(options: &cli::E2e, load: Load, session: &Session, consumers: usize) -> Result<Flow, BenchError> {
    if load.acks == 0 {
        return Err(BenchError::Options(
            "with acks=0 nobody learns at which offset a record is; use 1 or all".to_owned(),
        ));
    }
    let job = Job::new(load, session.cluster.clone(), None);
    Ok(Flow { job, read: ReadPlan::from_cli(&options.reading), consumers, ping: false, backlog: None })
}

/// What a flow is, for the report.
pub(crate) fn plan_of(flow: &Flow, session: &Session) -> Vec<(String, String)> {
    let mut plan = describe(&flow.job.load, session);
    plan.push(("consumers".to_owned(), format!("{}, each reads everything", flow.consumers)));
    plan.push(("fetches".to_owned(), consume::describe(&flow.read)));
    plan
}

//! `fan-out`: one stream of records, N consumers that each read all of it.

use crate::cli;
use crate::error::BenchError;
use crate::flow;
use crate::plan::{Load, Timing};
use crate::session::Session;
use crate::workloads::Findings;
use crate::workloads::e2e::{flow_of, plan_of};

pub(crate) fn run(options: &cli::FanOut, session: &Session) -> Result<Findings, BenchError> {
    let load = Load::from_cli(&options.e2e.produce.records, &options.e2e.produce.sending);
    let flow = flow_of(&options.e2e, load, session, options.consumers)?;
    let outcome = flow::run(session, "fan-out", &flow, Timing::from_cli(&options.e2e.produce.run))?;
    let mut findings = Findings::of(plan_of(&flow, session), outcome);
    findings.notes.push(format!("`consumed` is the sum of {} consumers", flow.consumers));
    Ok(findings)
}

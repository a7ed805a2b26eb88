//! `catch-up`: a live producer and a live consumer, first alone, then while another consumer reads a backlog from the beginning.
//! What the backlog costs the live ones is the figure; how fast it is read is the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cli;
use crate::error::BenchError;
use crate::filling::fill;
use crate::flow::{self, Backlog, Flow};
use crate::measure::nanos;
use crate::plan::{Load, Timing};
use crate::session::Session;
use crate::units::{Rate, bytes, latency, significant, u64_to_f64};
use crate::workloads::Findings;
use crate::workloads::e2e::{flow_of, plan_of};

/// The live load where none is given.
const LIVE: Rate = Rate::Bytes(20e6);

pub(crate) fn run(options: &cli::CatchUp, session: &Session) -> Result<Findings, BenchError> {
    let mut load = Load::from_cli(&options.e2e.produce.records, &options.e2e.produce.sending);
    load.rate = load.rate.or(Some(LIVE));
    let timing = Timing::from_cli(&options.e2e.produce.run);
    fill(session, &load.records, options.backlog as u64)?;
    let alone = flow_of(&options.e2e, load, session, 1)?;
    let mut findings = Findings::comparing(plan_of(&alone, session));
    if !findings.take("live load alone", flow::run(session, "live load alone", &alone, timing)) {
        return Ok(findings);
    }
    let backlog = Arc::new(Backlog::default());
    let both = Flow { backlog: Some(Arc::clone(&backlog)), ..alone };
    findings.take("with catch-up", flow::run(session, "with catch-up", &both, timing));
    let pass_ns = backlog.first_pass_ns.load(Ordering::Relaxed);
    let read = backlog.first_pass_bytes.load(Ordering::Relaxed);
    if pass_ns > 0 && pass_ns < nanos(timing.duration) / 2 {
        findings.notes.push(
            "the backlog was read within less than half of the run, and again from its beginning after that: a larger --backlog says more"
                .to_owned(),
        );
    }
    findings.notes.push(match pass_ns {
        0 => format!("the backlog was not read to its end within the run; {} of it were", bytes(read)),
        pass_ns => format!(
            "the backlog, {} on the wire, was read to its end in {}: {} MB/s",
            bytes(read),
            latency(pass_ns),
            significant(u64_to_f64(read) / u64_to_f64(pass_ns) * 1e3),
        ),
    });
    findings.notes.push(
        "what was just produced is in the page cache; to read a cold backlog use drop-cache on the broker's directory and then \
         --backlog 0, which reads what is there"
            .to_owned(),
    );
    Ok(findings)
}

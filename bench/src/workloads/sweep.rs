//! `sweep`: the peak by a closed loop, then open loops at a share of it each. Shows how latency grows with load, which a single
//! figure hides: brokers are run below their peak.

use crate::cli;
use crate::error::BenchError;
use crate::plan::{Load, Timing};
use crate::session::Session;
use crate::units::{Rate, significant};
use crate::workloads::Findings;
use crate::workloads::produce::{describe, measure};

pub(crate) fn run(options: &cli::Sweep, session: &Session) -> Result<Findings, BenchError> {
    let load = Load::from_cli(&options.produce.records, &options.produce.sending);
    if load.rate.is_some() {
        return Err(BenchError::Options("a sweep finds its rates itself: --steps, not --rate".to_owned()));
    }
    let timing = Timing::from_cli(&options.produce.run);
    let closed = Load { rate: None, ..load.clone() };
    let peak = measure(session, "peak", "peak", closed.clone(), timing)?;
    let peak_mb_s = peak.series.first().and_then(|series| series.payload_mb_s);
    let Some(peak_mb_s) = peak_mb_s else {
        let notes = vec!["nothing was acknowledged at full speed, so there is no peak to sweep to".to_owned()];
        return Ok(Findings { notes, ..Findings::of(describe(&closed, session), peak) });
    };
    let mut findings = Findings::comparing(describe(&closed, session));
    let mut goes_on = findings.take("peak", Ok(peak));
    for percent in &options.steps {
        if !goes_on {
            break;
        }
        let rate = Rate::Bytes(peak_mb_s * 1e6 * f64::from(*percent) / 100.0);
        let name = format!("{percent} %");
        let step = measure(session, &name, &name, Load { rate: Some(rate), ..load.clone() }, timing);
        goes_on = findings.take(&name, step);
    }
    findings.notes = vec![
        format!("the peak is {} MB/s of keys and values, in a closed loop of full batches", significant(peak_mb_s)),
        "latency of the open loops counts from when each record was due, its linger included".to_owned(),
    ];
    Ok(findings)
}

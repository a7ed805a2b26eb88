//! Makes sure that there is something to read.

use std::time::Duration;

use crate::error::BenchError;
use crate::measure::Series;
use crate::plan::{Load, RecordPlan, Timing};
use crate::producer::Job;
use crate::session::Session;
use crate::units::bytes;
use crate::workloads::produce::produce;

/// No filling takes longer.
const AT_MOST: Duration = Duration::from_secs(3600);

/// What topics hold.
pub(crate) struct Held {
    pub(crate) records: u64,
    /// All of them were produced just now, so that their size is known.
    pub(crate) all_ours: bool,
}

/// Produces until the topics hold `wanted` bytes of keys and values, by the number of their records.
pub(crate) fn fill_up_to(session: &Session, records: &RecordPlan, wanted: u64) -> Result<Held, BenchError> {
    let held = records_held(session)?;
    let held_bytes = held.saturating_mul(records.record_bytes() as u64);
    if held_bytes >= wanted {
        return Ok(Held { records: held, all_ours: false });
    }
    fill(session, records, wanted - held_bytes)?;
    Ok(Held { records: records_held(session)?, all_ours: held == 0 })
}

/// Produces so many bytes of keys and values.
pub(crate) fn fill(session: &Session, records: &RecordPlan, more: u64) -> Result<(), BenchError> {
    let load = Load::filling(records.clone());
    let job = Job::new(load, session.cluster.clone(), Some(more));
    let series = Series::new("filled", None, AT_MOST);
    let timing = Timing { warmup: Duration::ZERO, duration: AT_MOST };
    produce(session, &format!("filling {}", bytes(more)), &job, timing, &series)?;
    let errors = series.totals().errors.clone();
    match errors.iter().next() {
        Some((kind, count)) => Err(BenchError::Filling(format!("{kind} ({count} times)"))),
        None => Ok(()),
    }
}

/// Records in all partitions, by their offsets.
fn records_held(session: &Session) -> Result<u64, BenchError> {
    let counts = session.ask(|rt, cluster| {
        Box::pin(async move {
            let places = cluster.places();
            let first = cluster.offsets(&rt, &places, -2).await?;
            let last = cluster.offsets(&rt, &places, -1).await?;
            Ok::<i64, BenchError>(first.iter().zip(&last).map(|(first, last)| last - first).sum())
        })
    })??;
    Ok(u64::try_from(counts).unwrap_or(0))
}

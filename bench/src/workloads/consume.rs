//! `consume`: reads the topics again and again from their beginning. Latency is from a fetch to its answer.

use std::sync::Arc;

use crate::cli;
use crate::error::BenchError;
use crate::filling::fill_up_to;
use crate::measure::Series;
use crate::plan::{ReadPlan, RecordPlan, Timing};
use crate::reader::Reader;
use crate::report::Outcome;
use crate::rereading::again_and_again;
use crate::session::{Session, Work};
use crate::template::Templates;
use crate::units::{bytes, grouped, u64_to_f64};
use crate::workloads::Findings;
use crate::workloads::produce::{begin, describe_records};

pub(crate) fn run(options: &cli::Consume, session: &Session) -> Result<Findings, BenchError> {
    let records = RecordPlan::from_cli(&options.records);
    let (read, timing) = (ReadPlan::from_cli(&options.reading), Timing::from_cli(&options.run));
    let held = fill_up_to(session, &records, options.prefill as u64)?;
    // Records that were there before may have another size than --size says.
    let record_bytes = if held.all_ours { records.record_bytes() as u64 } else { 0 };
    let lanes = options.connections;
    let series = Series::new("consumed", Some("fetch to answer"), timing.duration);
    let (clock, threads, cluster) = (session.clock, session.threads, session.cluster.clone());
    let (recorded, plan) = (Arc::clone(&series), read.clone());
    let work: Work = Arc::new(move |rt, thread, gate| {
        let (series, cluster, plan) = (Arc::clone(&recorded), cluster.clone(), plan.clone());
        Box::pin(async move {
            let mut readers = Vec::new();
            for lane in (0..lanes).filter(|lane| lane % threads == thread) {
                let places = cluster.share(lane, lanes);
                let starts = cluster.offsets(&rt, &places, -2).await?;
                readers.extend(Reader::open_all(&rt, &cluster, &plan, &places, &starts).await?);
            }
            let Some(window) = gate.pass().await else { return Ok(()) };
            let recorder = series.recorder(window);
            begin(&rt, clock, window).await;
            let tasks: Vec<_> = readers
                .into_iter()
                .map(|reader| {
                    let recorder = recorder.clone();
                    rt.spawn(
                        async move { again_and_again(reader, clock, window, &recorder, record_bytes, |_| ()).await },
                    )
                })
                .collect();
            crate::producer::finish(&rt, clock, window, &tasks, &recorder).await;
            Ok(())
        })
    });
    let observed = session.load("consume", timing, std::slice::from_ref(&series), &work)?;
    let mut plan = vec![
        (
            "topics".to_owned(),
            format!("{} records in {} partitions", grouped(u64_to_f64(held.records)), session.cluster.places().len()),
        ),
        ("connections".to_owned(), lanes.to_string()),
        ("fetches".to_owned(), describe(&read)),
    ];
    let mut outcome = Outcome::new("consume", session.threads, observed, &[series]);
    if held.all_ours {
        let templates = Templates::build(&records, false);
        // A topic of another compression.type has them in other words than they were sent.
        plan.splice(0..0, describe_records(&records, &templates, "as produced: "));
        outcome.compression_ratio = Some(templates.ratio());
        outcome.batch_wire_bytes = Some(templates.full().bytes().len());
    }
    let mut notes = Vec::new();
    if !held.all_ours {
        notes.push("payload is not known: these records were there before the run".to_owned());
    }
    if held.records == 0 {
        notes.push("there is nothing to read in these topics: see --prefill".to_owned());
    }
    Ok(Findings { notes, ..Findings::of(plan, outcome) })
}

/// What a fetch asks for.
pub(crate) fn describe(read: &ReadPlan) -> String {
    let size = |bytes_asked: i32| bytes(u64::try_from(bytes_asked).unwrap_or(0));
    format!(
        "at most {}, {} a partition; at least {} or {} ms{}",
        size(read.max_bytes),
        size(read.partition_bytes),
        size(read.min_bytes),
        read.max_wait_ms,
        if read.verify { "; CRC checked, records decoded" } else { "" },
    )
}

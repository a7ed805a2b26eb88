//! `produce`: batches from some connections, closed or open loop. Latency is from the send (closed) or from when each record was
//! due (open) to the broker's answer.

use std::sync::Arc;

use crate::cli;
use crate::error::BenchError;
use crate::measure::{Series, Window};
use crate::plan::{Load, RecordPlan, Timing};
use crate::producer::{Job, Lane, finish, offered};
use crate::report::Outcome;
use crate::session::{Observed, Session, Work};
use crate::template::Templates;
use crate::units::{bytes, counted, significant};
use crate::workloads::Findings;

pub(crate) fn run(options: &cli::Produce, session: &Session) -> Result<Findings, BenchError> {
    let load = Load::from_cli(&options.records, &options.sending);
    let outcome = measure(session, "produce", "produce", load.clone(), Timing::from_cli(&options.run))?;
    Ok(Findings::of(describe(&load, session), outcome))
}

/// One load of producers, measured.
pub(crate) fn measure(
    session: &Session,
    title: &str,
    name: &str,
    load: Load,
    timing: Timing,
) -> Result<Outcome, BenchError> {
    let latency_of = if load.rate.is_some() { "due to acknowledged" } else { "sent to acknowledged" };
    let series = Series::new("produced", Some(latency_of), timing.duration);
    let job = Job::new(load, session.cluster.clone(), None);
    let observed = produce(session, title, &job, timing, &series)?;
    let mut outcome = Outcome::new(name, session.threads, observed, &[series]);
    outcome.offered_mb_s = offered(&job.load).map(|rate| rate / 1e6);
    outcome.compression_ratio = Some(job.templates.ratio());
    outcome.batch_wire_bytes = Some(job.templates.full().bytes().len());
    Ok(outcome)
}

/// Runs the producers of `job` on all threads.
pub(crate) fn produce(
    session: &Session,
    title: &str,
    job: &Arc<Job>,
    timing: Timing,
    series: &Arc<Series>,
) -> Result<Observed, BenchError> {
    let (clock, threads) = (session.clock, session.threads);
    let (job, recorded) = (Arc::clone(job), Arc::clone(series));
    let work: Work = Arc::new(move |rt, thread, gate| {
        let (job, series) = (Arc::clone(&job), Arc::clone(&recorded));
        Box::pin(async move {
            let mut lanes = Vec::new();
            for number in job.lanes_of(thread, threads) {
                lanes.push(Lane::open(&rt, clock, &job, number).await?);
            }
            let Some(window) = gate.pass().await else { return Ok(()) };
            let recorder = series.recorder(window);
            begin(&rt, clock, window).await;
            let mut tasks = Vec::new();
            for lane in lanes {
                tasks.extend(lane.start(window, &recorder, None)?);
            }
            finish(&rt, clock, window, &tasks, &recorder).await;
            Ok(())
        })
    });
    session.load(title, timing, std::slice::from_ref(series), &work)
}

/// Waits until the load may begin.
pub(crate) async fn begin(rt: &kringle_runtime::Rt, clock: crate::measure::Clock, window: Window) {
    let now_ns = clock.now_ns();
    rt.sleep(std::time::Duration::from_nanos(window.load_ns.saturating_sub(now_ns))).await;
}

/// What a load is, for the report.
pub(crate) fn describe(load: &Load, session: &Session) -> Vec<(String, String)> {
    let acks = match load.acks {
        -1 => "all".to_owned(),
        acks => acks.to_string(),
    };
    let idempotent = if load.idempotent { ", idempotent" } else { "" };
    let (loop_kind, at_most) = match load.rate {
        Some(rate) if load.linger.is_zero() => (format!("open loop, {rate} in all"), "at most "),
        Some(rate) => (format!("open loop, {rate} in all, linger {:?}", load.linger), "at most "),
        None => ("closed loop at full speed".to_owned(), ""),
    };
    let topics = &session.cluster.topics;
    let partitions: usize = topics.iter().map(|topic| topic.leaders.len()).sum();
    let row = |name: &str, value: String| (name.to_owned(), value);
    let mut rows = describe_records(&load.records, &Templates::build(&load.records, false), at_most);
    rows.extend([
        row("sending", loop_kind),
        row(
            "connections",
            format!("{} with {} requests in flight, acks={acks}{idempotent}", load.connections, load.in_flight),
        ),
        row("topics", format!("{} with {partitions} partitions in all", topics.len())),
    ]);
    rows
}

/// What is in the batches, and how much of it.
pub(crate) fn describe_records(records: &RecordPlan, templates: &Templates, at_most: &str) -> Vec<(String, String)> {
    let full = templates.full();
    let key = if records.key_bytes == 0 { String::new() } else { format!(" and keys of {} B", records.key_bytes) };
    let batches = format!(
        "{at_most}{}, {} on the wire, {} with ratio {}",
        counted(to_u64(full.records), "record"),
        bytes(to_u64(full.bytes().len())),
        records.codec,
        significant(templates.ratio()),
    );
    vec![
        ("records".to_owned(), format!("values of {} B{key}, {}", records.value_bytes, records.payload)),
        ("batches".to_owned(), batches),
    ]
}

/// The same where each step has batches of its own.
pub(crate) fn without_batches(load: &Load, session: &Session) -> Vec<(String, String)> {
    describe(load, session).into_iter().filter(|(name, _)| name != "batches").collect()
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

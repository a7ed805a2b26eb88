//! The report at the end of a run, for a terminal.
//!
//! Errors come first: figures of a run that failed are read differently.

use std::fmt::Write;

use crate::report::{Latency, Outcome, Report, SeriesReport};
use crate::units::{bytes, counted, grouped, significant, u64_to_f64};

/// Metrics that are shown when they have grown; the JSON has all.
const METRICS: [&str; 15] = [
    "kringle_requests_total",
    "kringle_batches_in_total",
    "kringle_records_in_total",
    "kringle_bytes_in_total",
    "kringle_bytes_written_total",
    "kringle_writes_inline_total",
    "kringle_writes_ring_total",
    "kringle_commits_total",
    "kringle_fetch_bytes_sendfile_total",
    "kringle_fetch_bytes_ring_total",
    "kringle_fetch_cold_waits_total",
    "kringle_produce_errors_total",
    "kringle_produce_us (mean)",
    "kringle_fetch_us (mean)",
    "kringle_commit_us (mean)",
];

/// All of it.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    write_errors(&mut out, report);
    if let Some(label) = &report.label {
        line(&mut out, format_args!("{label}"));
    }
    line(&mut out, format_args!("{} on {} ({})", report.workload, report.broker.address, report.machine.cpu));
    for (name, value) in &report.plan {
        line(&mut out, format_args!("  {name:<16} {value}"));
    }
    match report.outcomes.as_slice() {
        [only] if !report.compares => write_outcome(&mut out, only),
        all => write_comparison(&mut out, all, report.workload == "codecs"),
    }
    for note in &report.notes {
        line(&mut out, format_args!("note: {note}"));
    }
    out
}

fn line(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(out, "{arguments}").expect("a String takes everything");
}

fn write_errors(out: &mut String, report: &Report) {
    if report.interrupted {
        line(out, format_args!("INTERRUPTED: what follows is what was measured until then"));
    }
    if report.errors == 0 {
        return;
    }
    let errors = counted(report.errors, "error").to_uppercase();
    line(out, format_args!("THIS RUN HAD {errors}; what follows counts only what succeeded"));
    for failure in &report.failures {
        line(out, format_args!("  {:>10}  {failure}", 1));
    }
    for outcome in &report.outcomes {
        for series in &outcome.series {
            for (kind, count) in &series.errors {
                line(
                    out,
                    format_args!("  {:>10}  {} {}: {kind}", grouped(u64_to_f64(*count)), outcome.name, series.name),
                );
            }
        }
    }
    out.push('\n');
}

fn write_outcome(out: &mut String, outcome: &Outcome) {
    out.push('\n');
    write_throughput(out, &outcome.series);
    let with_latency: Vec<_> =
        outcome.series.iter().filter_map(|series| Some((series, series.latency.as_ref()?))).collect();
    if !with_latency.is_empty() {
        out.push('\n');
        let cells = with_latency.iter().map(|(series, latency)| latency_cells(series, latency));
        let head = ["latency in us", "p50", "p90", "p99", "p99.9", "p99.99", "max", "samples"];
        write_rows(out, &head, cells.collect());
    }
    out.push('\n');
    write_costs(out, outcome);
    let shown = outcome.metrics.iter().filter(|(name, value)| METRICS.contains(&name.as_str()) && *value != 0.0);
    for (name, value) in shown {
        line(out, format_args!("  {name:<36} {:>16}", significant(*value)));
    }
}

/// In records and bytes where there are any, else in requests alone.
fn write_throughput(out: &mut String, series: &[SeriesReport]) {
    if series.iter().all(|one| one.overall.records == 0) {
        let cells = series.iter().map(|one| {
            vec![one.name.clone(), significant(one.requests_per_s), grouped(u64_to_f64(one.measured.requests))]
        });
        return write_rows(out, &["", "per second", "in all"], cells.collect());
    }
    let cells = series.iter().map(|one| {
        vec![
            one.name.clone(),
            significant(one.wire_mb_s),
            one.payload_mb_s.map_or_else(|| "-".to_owned(), significant),
            grouped(one.records_per_s),
            grouped(one.requests_per_s),
            bytes(one.measured.wire_bytes),
        ]
    });
    write_rows(out, &["", "wire MB/s", "payload MB/s", "records/s", "requests/s", "in all"], cells.collect());
}

fn latency_cells(series: &SeriesReport, latency: &Latency) -> Vec<String> {
    let figures = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.p99_99_us, latency.max_us];
    let name = format!("{}: {}", series.name, series.latency_of.unwrap_or_default());
    let samples = grouped(u64_to_f64(latency.samples));
    std::iter::once(name).chain(figures.map(significant)).chain(std::iter::once(samples)).collect()
}

fn write_costs(out: &mut String, outcome: &Outcome) {
    match &outcome.broker {
        Some(broker) => {
            let per_gb = broker
                .cpu_seconds_per_gb
                .map_or_else(String::new, |cost| format!(", {} CPU-s/GB on the wire", significant(cost)));
            line(
                out,
                format_args!(
                    "broker     {} % of a core{per_gb}, {} resident (at most {}), pid {}",
                    grouped(broker.used.cpu_percent),
                    bytes(broker.used.rss_bytes),
                    bytes(broker.used.rss_peak_bytes),
                    broker.used.pid,
                ),
            );
        }
        None => line(out, format_args!("broker     {}", outcome.broker_unknown.as_deref().unwrap_or("not known"))),
    }
    let generator = &outcome.generator;
    let late = generator
        .late_p99_us
        .map_or_else(String::new, |late| format!(", itself late by {} us (p99)", significant(late)));
    let threads = if generator.threads == 1 { "thread" } else { "threads" };
    line(
        out,
        format_args!(
            "generator  {} % of a core with {} {threads}{late}",
            grouped(generator.cpu_percent),
            generator.threads,
        ),
    );
}

/// `by_payload`: what compresses differently costs per byte before compression.
fn write_comparison(out: &mut String, outcomes: &[Outcome], by_payload: bool) {
    out.push('\n');
    let head = [
        "",
        "offered MB/s",
        "payload MB/s",
        "wire MB/s",
        "ratio",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "p99.99 us",
        "max us",
        "broker CPU %",
        if by_payload { "CPU-s/GB payload" } else { "CPU-s/GB wire" },
        "own CPU %",
        "samples",
    ];
    let rows = outcomes.iter().flat_map(|outcome| {
        outcome.series.iter().enumerate().map(move |(index, series)| (outcome, series, index == 0))
    });
    let cells = rows.map(|(outcome, series, first)| {
        let cost = if by_payload { Outcome::cpu_seconds_per_payload_gb } else { Outcome::cpu_seconds_per_wire_gb };
        let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), significant);
        let latency = |pick: fn(&Latency) -> f64| or_dash(series.latency.as_ref().map(pick));
        let name =
            if outcome.series.len() == 1 { outcome.name.clone() } else { format!("{}: {}", outcome.name, series.name) };
        vec![
            name,
            or_dash(outcome.offered_mb_s.filter(|_| first)),
            or_dash(series.payload_mb_s),
            significant(series.wire_mb_s),
            or_dash(outcome.compression_ratio.filter(|_| first)),
            latency(|latency| latency.p50_us),
            latency(|latency| latency.p99_us),
            latency(|latency| latency.p99_9_us),
            latency(|latency| latency.p99_99_us),
            latency(|latency| latency.max_us),
            or_dash(outcome.broker.as_ref().filter(|_| first).map(|broker| broker.used.cpu_percent)),
            or_dash(cost(outcome).filter(|_| first)),
            or_dash(Some(outcome.generator.cpu_percent).filter(|_| first)),
            series.latency.as_ref().map_or_else(|| "-".to_owned(), |latency| grouped(u64_to_f64(latency.samples))),
        ]
    });
    write_rows(out, &head, cells.collect());
}

/// Columns as wide as their widest cell; the first is left-aligned, figures are right-aligned.
fn write_rows(out: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let head: Vec<String> = head.iter().map(|title| (*title).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(&rows).collect();
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in all {
        let mut text = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                write!(text, "{cell:<width$}").expect("a String takes everything");
            } else {
                write!(text, "  {cell:>width$}").expect("a String takes everything");
            }
        }
        line(out, format_args!("{}", text.trim_end()));
    }
}

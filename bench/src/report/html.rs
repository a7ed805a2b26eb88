//! The report as one page to send to a colleague: figures, plots, and what a reader needs to trust or repeat them.
//!
//! Self-contained: style and plots are in the page, nothing is loaded and no script runs. Errors come first here too.

use std::fmt::Write;

use crate::machine::date;
use crate::report::plot::{Axis, Line, Scale, bars, escape, lines};
use crate::report::{IntervalReport, Latency, Outcome, Report, SeriesReport};
use crate::units::{bytes, counted, grouped, significant, to_f64, u64_to_f64};

const STYLE: &str = include_str!("style.css");
/// Lines in one plot that can still be told apart.
const MOST_LINES: usize = 12;

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let mut page = String::new();
    let title = format!("{} on {}", report.workload, report.broker.address);
    put(
        &mut page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>kringle-bench: {}</title>\
             <style>{STYLE}</style></head><body><main>",
            escape(&title)
        ),
    );
    put(&mut page, format_args!("<h1>{}</h1>", escape(&title)));
    if let Some(label) = &report.label {
        put(&mut page, format_args!("<p>{}</p>", escape(label)));
    }
    errors(&mut page, report);
    match report.outcomes.as_slice() {
        [only] if !report.compares => single(&mut page, only),
        all => comparison(&mut page, report, all),
    }
    if !report.notes.is_empty() {
        page.push_str("<h2>Notes</h2><ul>");
        report.notes.iter().for_each(|note| put(&mut page, format_args!("<li>{}</li>", escape(note))));
        page.push_str("</ul>");
    }
    provenance(&mut page, report);
    page.push_str("</main></body></html>\n");
    page
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(out, "{arguments}").expect("a String takes everything");
}

fn errors(page: &mut String, report: &Report) {
    if report.interrupted {
        page.push_str(
            "<section class=\"errors\" role=\"alert\"><h2>Interrupted</h2><p>What follows was measured until then.</p></section>",
        );
    }
    if report.errors == 0 {
        return;
    }
    let errors = counted(report.errors, "error");
    put(
        page,
        format_args!(
            "<section class=\"errors\" role=\"alert\"><h2>This run had {errors}</h2>\
             <p>What follows counts only what succeeded.</p><ul>"
        ),
    );
    report.failures.iter().for_each(|failure| put(page, format_args!("<li>{}</li>", escape(failure))));
    for outcome in &report.outcomes {
        for (series, (kind, count)) in
            outcome.series.iter().flat_map(|series| series.errors.iter().map(move |error| (series, error)))
        {
            let what = escape(&format!("{} {}: {kind}", outcome.name, series.name));
            put(page, format_args!("<li>{} &times; {what}</li>", grouped(u64_to_f64(*count))));
        }
    }
    page.push_str("</ul></section>");
}

/// What one load found.
fn single(page: &mut String, outcome: &Outcome) {
    page.push_str("<h2>Result</h2>");
    figures(page, std::slice::from_ref(outcome));
    add(page, throughput_over_time(&outcome.series));
    let all: Vec<&SeriesReport> = outcome.series.iter().collect();
    add(page, latency_over_time(&all));
    let curves = outcome
        .series
        .iter()
        .filter_map(|series| Some(Line { name: series_name(series), points: series.latency.as_ref()?.curve.clone() }));
    add(page, percentile_curves(&curves.collect::<Vec<_>>()));
    if !outcome.metrics.is_empty() {
        page.push_str("<h2>The broker's metrics, by how much they grew</h2><div class=\"scroll\"><table><tbody>");
        for (name, value) in outcome.metrics.iter().filter(|(_, value)| *value != 0.0) {
            put(page, format_args!("<tr><td>{}</td><td>{}</td></tr>", escape(name), significant(*value)));
        }
        page.push_str("</tbody></table></div>");
    }
}

/// What the steps of a comparison found.
fn comparison(page: &mut String, report: &Report, outcomes: &[Outcome]) {
    page.push_str("<h2>Result</h2>");
    figures(page, outcomes);
    match report.workload {
        "sweep" => sweep(page, outcomes),
        "batch-sizes" => batch_curve(page, outcomes),
        "codecs" => codec_bars(page, outcomes),
        _ => {}
    }
    let curves = outcomes.iter().flat_map(|outcome| {
        outcome.series.iter().filter_map(move |series| {
            let name = if outcome.series.len() == 1 {
                outcome.name.clone()
            } else {
                format!("{}: {}", outcome.name, series_name(series))
            };
            Some(Line { name, points: series.latency.as_ref()?.curve.clone() })
        })
    });
    add(page, percentile_curves(&curves.take(MOST_LINES).collect::<Vec<_>>()));
    let over_time = outcomes.iter().filter_map(|outcome| {
        let series = outcome.series.first()?;
        Some(Line { name: outcome.name.clone(), points: points_of(series, |interval| interval.wire_mb_s) })
    });
    add(
        page,
        lines(
            "Throughput over time",
            &axis("seconds since measuring began", Scale::Linear),
            &axis("MB/s on the wire", Scale::Linear),
            &over_time.take(MOST_LINES).collect::<Vec<_>>(),
        ),
    );
}

fn add(page: &mut String, plot: Option<String>) {
    page.push_str(&plot.unwrap_or_default());
}

fn axis(label: &str, scale: Scale) -> Axis {
    Axis { label: label.to_owned(), scale }
}

fn series_name(series: &SeriesReport) -> String {
    match series.latency_of {
        Some(of) => format!("{} ({of})", series.name),
        None => series.name.clone(),
    }
}

fn points_of(series: &SeriesReport, pick: impl Fn(&IntervalReport) -> f64) -> Vec<(f64, f64)> {
    series.intervals.iter().map(|interval| (interval.at_s, pick(interval))).collect()
}

/// In bytes where there are records, in requests where there are none.
fn throughput_over_time(series: &[SeriesReport]) -> Option<String> {
    let has_records = series.iter().any(|one| one.wire_mb_s > 0.0);
    let (unit, pick): (_, fn(&IntervalReport) -> f64) = if has_records {
        ("MB/s on the wire", |interval| interval.wire_mb_s)
    } else {
        ("requests per second", |interval| interval.requests_per_s)
    };
    let line = |one: &SeriesReport| Line { name: one.name.clone(), points: points_of(one, pick) };
    lines(
        "Throughput over time",
        &axis("seconds since measuring began", Scale::Linear),
        &axis(unit, Scale::Linear),
        &series.iter().map(line).collect::<Vec<_>>(),
    )
}

fn latency_over_time(series: &[&SeriesReport]) -> Option<String> {
    let two = |one: &&SeriesReport| {
        let name = series_name(one);
        [
            Line { name: format!("p50 {name}"), points: points_of(one, |interval| interval.p50_us) },
            Line { name: format!("p99 {name}"), points: points_of(one, |interval| interval.p99_us) },
        ]
    };
    let with_latency = series.iter().filter(|one| one.latency.is_some());
    lines(
        "Latency over time",
        &axis("seconds since measuring began", Scale::Linear),
        &axis("latency, microseconds to seconds", Scale::Latency),
        &with_latency.flat_map(two).collect::<Vec<_>>(),
    )
}

fn percentile_curves(curves: &[Line]) -> Option<String> {
    let (x, y) = (axis("percentile", Scale::Nines), axis("latency, microseconds to seconds", Scale::Latency));
    lines("Latency by percentile", &x, &y, curves)
}

fn sweep(page: &mut String, outcomes: &[Outcome]) {
    type Pick = (&'static str, fn(&Latency) -> f64);
    let percentiles: [Pick; 4] = [
        ("p50", |latency| latency.p50_us),
        ("p99", |latency| latency.p99_us),
        ("p99.9", |latency| latency.p99_9_us),
        ("p99.99", |latency| latency.p99_99_us),
    ];
    let open = || outcomes.iter().filter_map(|outcome| Some((outcome, outcome.offered_mb_s?, outcome.series.first()?)));
    let latency = |(name, pick): &Pick| Line {
        name: (*name).to_owned(),
        points: open().filter_map(|(_, rate, series)| Some((rate, pick(series.latency.as_ref()?)))).collect(),
    };
    let x = axis("offered, MB/s of keys and values", Scale::Linear);
    add(
        page,
        lines(
            "Latency by offered rate",
            &x,
            &axis("latency, microseconds to seconds", Scale::Latency),
            &percentiles.iter().map(latency).collect::<Vec<_>>(),
        ),
    );
    let reached = open().filter_map(|(_, rate, series)| Some((rate, series.payload_mb_s?)));
    let reached = Line { name: "reached".to_owned(), points: reached.collect() };
    let asked = Line { name: "offered".to_owned(), points: open().map(|(_, rate, _)| (rate, rate)).collect() };
    add(page, lines("Reached by offered rate", &x, &axis("MB/s of keys and values", Scale::Linear), &[asked, reached]));
    let cpu = open().filter_map(|(outcome, rate, _)| Some((rate, outcome.broker.as_ref()?.used.cpu_percent)));
    let cpu = [Line { name: "broker".to_owned(), points: cpu.collect() }];
    add(page, lines("The broker's processor time by offered rate", &x, &axis("% of a core", Scale::Linear), &cpu));
}

fn batch_curve(page: &mut String, outcomes: &[Outcome]) {
    let sizes = || {
        outcomes.iter().filter_map(|outcome| {
            let size = to_f64(outcome.batch_wire_bytes?) / 1e3;
            Some((outcome, size, outcome.series.first()?))
        })
    };
    let x = axis("batch on the wire, kB", Scale::Log);
    let speed = sizes().filter_map(|(_, size, series)| Some((size, series.payload_mb_s?)));
    let speed = [Line { name: "payload".to_owned(), points: speed.collect() }];
    add(page, lines("Throughput by batch size", &x, &axis("MB/s of keys and values", Scale::Linear), &speed));
    let cost = sizes().filter_map(|(outcome, size, _)| Some((size, outcome.cpu_seconds_per_wire_gb()?)));
    let cost = [Line { name: "broker".to_owned(), points: cost.collect() }];
    add(page, lines("The broker's cost by batch size", &x, &axis("processor seconds per GB", Scale::Log), &cost));
}

fn codec_bars(page: &mut String, outcomes: &[Outcome]) {
    let values = |pick: &dyn Fn(&Outcome) -> Option<f64>| -> Vec<(String, f64)> {
        outcomes.iter().filter_map(|outcome| Some((outcome.name.clone(), pick(outcome)?))).collect()
    };
    let linear = |label: &str| axis(label, Scale::Linear);
    let payload = values(&|outcome| outcome.series.first()?.payload_mb_s);
    add(page, bars("Throughput by codec", &linear("MB/s of keys and values"), &payload));
    let ratio = values(&|outcome| outcome.compression_ratio);
    add(page, bars("Compression by codec", &linear("bytes before by bytes after"), &ratio));
    let cost = values(&Outcome::cpu_seconds_per_payload_gb);
    add(page, bars("The broker's cost by codec", &linear("processor seconds per GB of keys and values"), &cost));
}

/// A row for each series of each outcome.
fn figures(page: &mut String, outcomes: &[Outcome]) {
    let head = [
        "",
        "offered MB/s",
        "payload MB/s",
        "wire MB/s",
        "records/s",
        "requests/s",
        "ratio",
        "p50 us",
        "p90 us",
        "p99 us",
        "p99.9 us",
        "p99.99 us",
        "max us",
        "broker CPU %",
        "CPU-s/GB wire",
        "CPU-s/GB payload",
        "broker memory",
        "own CPU %",
    ];
    page.push_str("<div class=\"scroll\"><table><thead><tr>");
    head.iter().for_each(|name| put(page, format_args!("<th scope=\"col\">{name}</th>")));
    page.push_str("</tr></thead><tbody>");
    for outcome in outcomes {
        for (index, series) in outcome.series.iter().enumerate() {
            row(page, outcome, series, index == 0);
        }
    }
    page.push_str("</tbody></table></div>");
}

fn row(page: &mut String, outcome: &Outcome, series: &SeriesReport, first: bool) {
    let or_dash = |value: Option<f64>| value.map_or_else(|| "&ndash;".to_owned(), significant);
    let latency = |pick: fn(&Latency) -> f64| or_dash(series.latency.as_ref().map(pick));
    let broker = outcome.broker.as_ref().filter(|_| first);
    let cells = [
        escape(&if outcome.series.len() == 1 {
            outcome.name.clone()
        } else {
            format!("{}: {}", outcome.name, series.name)
        }),
        or_dash(outcome.offered_mb_s.filter(|_| first)),
        or_dash(series.payload_mb_s),
        significant(series.wire_mb_s),
        grouped(series.records_per_s),
        grouped(series.requests_per_s),
        or_dash(outcome.compression_ratio.filter(|_| first)),
        latency(|latency| latency.p50_us),
        latency(|latency| latency.p90_us),
        latency(|latency| latency.p99_us),
        latency(|latency| latency.p99_9_us),
        latency(|latency| latency.p99_99_us),
        latency(|latency| latency.max_us),
        or_dash(broker.map(|broker| broker.used.cpu_percent)),
        or_dash(broker.and_then(|broker| broker.cpu_seconds_per_gb)),
        or_dash(broker.and_then(|broker| broker.cpu_seconds_per_payload_gb)),
        broker.map_or_else(|| "&ndash;".to_owned(), |broker| bytes(broker.used.rss_bytes)),
        or_dash(Some(outcome.generator.cpu_percent).filter(|_| first)),
    ];
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    put(page, format_args!("<tr>{cells}</tr>"));
}

/// What a reader needs to repeat the run.
fn provenance(page: &mut String, report: &Report) {
    page.push_str("<h2>How it was measured</h2><div class=\"scroll\"><table><tbody>");
    let machine = &report.machine;
    let on = format!(
        "{}, {} cores, {} memory, Linux {}",
        machine.cpu,
        machine.cores,
        bytes(machine.memory_bytes),
        machine.kernel
    );
    let made = format!("{}, by {} {}", date(report.unix_ms), report.tool, report.version);
    let broker =
        format!("{}, cluster {}, {} broker(s)", report.broker.address, report.broker.cluster_id, report.broker.brokers);
    let rows = [("command", report.command.clone()), ("made at", made), ("load from", on), ("broker", broker)];
    let rows = rows.iter().map(|(name, value)| (*name, value)).chain(report.plan.iter().map(|(n, v)| (n.as_str(), v)));
    for (name, value) in rows {
        put(page, format_args!("<tr><td>{}</td><td class=\"wide\">{}</td></tr>", escape(name), escape(value)));
    }
    page.push_str(
        "</tbody></table></div><p class=\"soft\">MB are 10<sup>6</sup> bytes. Payload is keys and values before compression, wire is \
         record batches as they are sent. Closed loops count latency from the send, open loops from when each record was due. \
         CPU is in percent of one core.</p>",
    );
}

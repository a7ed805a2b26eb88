//! What a run found, as values that the table, the JSON and the page are made of.
//!
//! Units are in the names: `_mb_s` is 10^6 bytes per second, `_us` microseconds, `_percent` of one core. Field names are what
//! readers of the JSON depend on.

pub(crate) mod html;
pub(crate) mod json;
mod plot;
pub(crate) mod table;

use std::collections::BTreeMap;

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

use crate::broker_stats::BrokerUse;
use crate::measure::{Amount, Series};
use crate::session::Observed;
use crate::units::{counted, grouped, significant, to_f64, u64_to_f64};

/// All that a command line has found.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) tool: &'static str,
    pub(crate) version: &'static str,
    /// As it was typed.
    pub(crate) command: String,
    pub(crate) label: Option<String>,
    /// When the report was made.
    pub(crate) unix_ms: u64,
    pub(crate) workload: &'static str,
    pub(crate) machine: Machine,
    pub(crate) broker: BrokerAddress,
    /// What the load was, for people: name and value.
    pub(crate) plan: Vec<(String, String)>,
    /// Somebody ended it early: it has what was measured until then.
    pub(crate) interrupted: bool,
    /// Outcomes are steps of a comparison, also where there is only one.
    pub(crate) compares: bool,
    /// How many things failed in all outcomes and beside them.
    pub(crate) errors: u64,
    /// What failed and belongs to no outcome.
    pub(crate) failures: Vec<String>,
    /// One for most workloads, one for each step of a comparison.
    pub(crate) outcomes: Vec<Outcome>,
    /// What a reader should know of the figures.
    pub(crate) notes: Vec<String>,
}

/// Where the load generator ran.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
}

/// Whom it loaded.
#[derive(Serialize)]
pub(crate) struct BrokerAddress {
    pub(crate) address: String,
    pub(crate) cluster_id: String,
    pub(crate) brokers: usize,
}

/// What one load found.
#[derive(Serialize)]
pub(crate) struct Outcome {
    /// What tells it from the others of a comparison.
    pub(crate) name: String,
    /// How long was measured, and how long should have been.
    pub(crate) seconds: f64,
    pub(crate) planned_seconds: f64,
    /// Keys and values per second that an open loop offered.
    pub(crate) offered_mb_s: Option<f64>,
    /// Bytes before compression by bytes after it.
    pub(crate) compression_ratio: Option<f64>,
    /// Bytes of a full batch as it is sent.
    pub(crate) batch_wire_bytes: Option<usize>,
    pub(crate) series: Vec<SeriesReport>,
    pub(crate) broker: Option<BrokerReport>,
    /// Why it is not known what the broker used.
    pub(crate) broker_unknown: Option<String>,
    pub(crate) generator: Generator,
    /// By how much the broker's metrics have grown.
    pub(crate) metrics: Vec<(String, f64)>,
}

/// What the broker used.
#[derive(Serialize)]
pub(crate) struct BrokerReport {
    #[serde(flatten)]
    pub(crate) used: BrokerUse,
    /// Processor seconds for each 10^9 wire bytes of all series.
    pub(crate) cpu_seconds_per_gb: Option<f64>,
    /// The same for each 10^9 bytes of keys and values of the first series.
    pub(crate) cpu_seconds_per_payload_gb: Option<f64>,
}

/// What this program itself did.
#[derive(Serialize)]
pub(crate) struct Generator {
    /// Of one core, all threads together.
    pub(crate) cpu_percent: f64,
    pub(crate) threads: usize,
    /// How much later than planned it sent, in an open loop.
    pub(crate) late_p99_us: Option<f64>,
}

/// One kind of work.
#[derive(Serialize)]
pub(crate) struct SeriesReport {
    pub(crate) name: String,
    pub(crate) requests_per_s: f64,
    pub(crate) records_per_s: f64,
    /// Keys and values before compression; `None` where this program does not know them.
    pub(crate) payload_mb_s: Option<f64>,
    /// Record batches.
    pub(crate) wire_mb_s: f64,
    /// Within the measured window.
    pub(crate) measured: AmountReport,
    /// Warm-up and drain included.
    pub(crate) overall: AmountReport,
    pub(crate) latency_of: Option<&'static str>,
    pub(crate) latency: Option<Latency>,
    pub(crate) interval_s: f64,
    pub(crate) intervals: Vec<IntervalReport>,
    pub(crate) errors: BTreeMap<String, u64>,
}

/// How much was done.
#[derive(Serialize)]
pub(crate) struct AmountReport {
    pub(crate) requests: u64,
    pub(crate) records: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) wire_bytes: u64,
}

/// A distribution.
#[derive(Serialize)]
pub(crate) struct Latency {
    /// Records or whatever is counted.
    pub(crate) samples: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p99_9_us: f64,
    pub(crate) p99_99_us: f64,
    pub(crate) max_us: f64,
    /// Percentile and microseconds, evenly spaced in the number of nines.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// A stretch of the window.
#[derive(Serialize)]
pub(crate) struct IntervalReport {
    /// Its begin.
    pub(crate) at_s: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) records_per_s: f64,
    pub(crate) wire_mb_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Outcome {
    /// Of a load that has ended.
    pub(crate) fn new(
        name: impl Into<String>,
        threads: usize,
        observed: Observed,
        series: &[std::sync::Arc<Series>],
    ) -> Outcome {
        let seconds = observed.measured.as_secs_f64();
        let late = series.iter().map(|one| one.totals().late.clone()).max_by_key(Histogram::len);
        let late_p99_us =
            late.filter(|late| !late.is_empty()).map(|late| u64_to_f64(late.value_at_quantile(0.99)) / 1e3);
        let series: Vec<_> = series.iter().map(|one| SeriesReport::new(one, seconds)).collect();
        let wire_bytes: u64 = series.iter().map(|one| one.measured.wire_bytes).sum();
        let broker_unknown = observed.broker.as_ref().err().cloned();
        let payload_bytes = series.first().map_or(0, |one| one.measured.payload_bytes);
        let broker = observed.broker.ok().map(|used| {
            let per_gb = |bytes: u64| (bytes > 0).then(|| used.cpu_seconds / (u64_to_f64(bytes) / 1e9));
            let (cpu_seconds_per_gb, cpu_seconds_per_payload_gb) = (per_gb(wire_bytes), per_gb(payload_bytes));
            BrokerReport { used, cpu_seconds_per_gb, cpu_seconds_per_payload_gb }
        });
        Outcome {
            name: name.into(),
            seconds,
            planned_seconds: observed.planned.as_secs_f64(),
            offered_mb_s: None,
            compression_ratio: None,
            batch_wire_bytes: None,
            series,
            broker,
            broker_unknown,
            generator: Generator { cpu_percent: observed.own.cpu_percent, threads, late_p99_us },
            metrics: observed.metrics,
        }
    }

    /// Nothing was done at all, and no error says why.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.overall.requests == 0 && series.errors.is_empty())
    }

    /// Processor seconds of the broker for each 10^9 bytes on the wire, of all series.
    pub(crate) fn cpu_seconds_per_wire_gb(&self) -> Option<f64> {
        self.broker.as_ref()?.cpu_seconds_per_gb
    }

    /// The same for each 10^9 bytes of keys and values of the first series.
    pub(crate) fn cpu_seconds_per_payload_gb(&self) -> Option<f64> {
        self.broker.as_ref()?.cpu_seconds_per_payload_gb
    }

    /// How many things failed.
    pub(crate) fn errors(&self) -> u64 {
        self.series.iter().flat_map(|series| series.errors.values()).sum()
    }

    /// What a reader must know before the figures: it was shorter than planned, the offered rate was not reached, or it was this program that
    /// was measured.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.series.iter().all(|series| series.measured.requests == 0) {
            remarks.push(format!("{}: nothing was done in the measured time", self.name));
        }
        if self.seconds < 0.99 * self.planned_seconds {
            let (seconds, planned) = (significant(self.seconds), significant(self.planned_seconds));
            remarks.push(format!("{}: ended after {seconds} of {planned} s, and rates are of these", self.name));
        }
        let reached = self.series.first().and_then(|series| series.payload_mb_s).unwrap_or(0.0);
        if let Some(offered) = self.offered_mb_s.filter(|offered| reached < Outcome::REACHED * offered) {
            let (offered, reached) = (significant(offered), significant(reached));
            remarks.push(format!(
                "{}: {reached} of the offered {offered} MB/s were reached; what was not sent at all has no latency",
                self.name
            ));
        }
        if self.generator.is_the_limit() {
            let threads = counted(u64::try_from(self.generator.threads).unwrap_or(u64::MAX), "thread");
            remarks.push(format!(
                "{}: THE GENERATOR MAY BE THE LIMIT, with {} % of a core in {threads}: try more --threads, or another machine",
                self.name,
                grouped(self.generator.cpu_percent)
            ));
        }
        remarks
    }

    /// Below this share an offered rate counts as missed.
    const REACHED: f64 = 0.95;
}

impl SeriesReport {
    fn new(series: &Series, seconds: f64) -> SeriesReport {
        let totals = series.totals();
        // Of a run that was interrupted before measuring began there is nothing.
        let per_second = |count: u64| if seconds > 0.0 { u64_to_f64(count) / seconds } else { 0.0 };
        let interval_s = series.interval.as_secs_f64();
        let intervals = totals.intervals.iter().enumerate().map(|(index, interval)| IntervalReport {
            at_s: to_f64(index) * interval_s,
            requests_per_s: u64_to_f64(interval.amount.requests) / interval_s,
            records_per_s: u64_to_f64(interval.amount.records) / interval_s,
            wire_mb_s: u64_to_f64(interval.amount.wire_bytes) / interval_s / 1e6,
            p50_us: quantile_us(&interval.latency, 0.5),
            p99_us: quantile_us(&interval.latency, 0.99),
        });
        let known = totals.measured.payload_bytes > 0;
        SeriesReport {
            name: series.name.clone(),
            requests_per_s: per_second(totals.measured.requests),
            records_per_s: per_second(totals.measured.records),
            payload_mb_s: known.then(|| per_second(totals.measured.payload_bytes) / 1e6),
            wire_mb_s: per_second(totals.measured.wire_bytes) / 1e6,
            measured: totals.measured.into(),
            overall: totals.overall.into(),
            latency_of: series.latency_of,
            latency: series.latency_of.and_then(|_| Latency::new(&totals.latency)),
            interval_s,
            intervals: intervals.collect(),
            errors: totals.errors.clone(),
        }
    }
}

impl From<Amount> for AmountReport {
    fn from(amount: Amount) -> AmountReport {
        let Amount { requests, records, payload_bytes, wire_bytes } = amount;
        AmountReport { requests, records, payload_bytes, wire_bytes }
    }
}

impl Latency {
    /// Points of the curve for each further nine.
    const POINTS_PER_NINE: usize = 10;

    /// `None` when nothing was recorded.
    fn new(histogram: &Histogram<u64>) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| quantile_us(histogram, quantile);
        let nines = u64_to_f64(histogram.len()).log10().min(6.0);
        let curve = (0..)
            .map(|point| to_f64(point) / to_f64(Latency::POINTS_PER_NINE))
            .take_while(|nine| *nine <= nines)
            .map(|nine| 1.0 - 10_f64.powf(-nine))
            .map(|quantile| (quantile * 100.0, at(quantile)));
        Some(Latency {
            samples: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: u64_to_f64(histogram.max()) / 1e3,
            curve: curve.collect(),
        })
    }
}

/// 0 when nothing was recorded.
fn quantile_us<C: Counter>(histogram: &Histogram<C>, quantile: f64) -> f64 {
    if histogram.is_empty() {
        0.0
    } else {
        u64_to_f64(histogram.value_at_quantile(quantile).min(histogram.max())) / 1e3
    }
}

impl Generator {
    /// Above this share of a core a thread has little left to give.
    const BUSY_PERCENT: f64 = 85.0;

    /// Whether figures may be those of this program instead of the broker's.
    pub(crate) fn is_the_limit(&self) -> bool {
        self.cpu_percent > Generator::BUSY_PERCENT * to_f64(self.threads)
    }
}

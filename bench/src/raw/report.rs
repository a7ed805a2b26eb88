//! What a run of the thin load counted, and the one line of JSON that it prints.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::drive::Outcome;
use crate::process::Used;

/// Counts of one run, from the end of its warm-up.
pub(super) struct Tally {
    requests: u64,
    bytes: u64,
    errors: u64,
    first_error: i16,
    /// Fetches without records.
    pub(super) empty: u64,
    latency_us: Histogram<u64>,
    /// From the stamp in a record to its arrival at a consumer; only where a load reads stamps.
    pub(super) end_to_end_us: Histogram<u64>,
}

fn microseconds() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are sound")
}

impl Tally {
    pub(super) fn new() -> Tally {
        let (requests, bytes, errors, empty) = (0, 0, 0, 0);
        let (latency_us, end_to_end_us) = (microseconds(), microseconds());
        Tally { requests, bytes, errors, first_error: 0, empty, latency_us, end_to_end_us }
    }

    /// An answer that came `took` after its request was begun.
    pub(super) fn answer(&mut self, took: Duration, outcome: &Outcome) {
        self.requests += 1;
        self.bytes += outcome.bytes;
        if outcome.error != 0 {
            if self.errors == 0 {
                self.first_error = outcome.error;
            }
            self.errors += 1;
        }
        self.latency_us.saturating_record(micros(took));
    }
}

/// Microseconds, at least one.
pub(super) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    p9999_us: u64,
    max_us: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Percentiles {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Percentiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: histogram.max(),
        }
    }
}

/// The line of JSON. The broker's CPU time and memory are there only if its process was named.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    secs: f64,
    #[serde(rename = "MBps")]
    mb_per_s: f64,
    reqs_per_s: f64,
    #[serde(flatten)]
    latency: Percentiles,
    /// Of how many stamps, and how old they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_to_end: Option<EndToEnd>,
    errors: u64,
    first_error: i16,
    empty: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_s: Option<f64>,
    #[serde(rename = "cpu_s_per_GB", skip_serializing_if = "Option::is_none")]
    cpu_s_per_gb: Option<f64>,
    #[serde(rename = "rss_MB", skip_serializing_if = "Option::is_none")]
    rss_mb: Option<f64>,
}

#[derive(Debug, Serialize)]
struct EndToEnd {
    batches: u64,
    #[serde(flatten)]
    age: Percentiles,
}

impl Report {
    /// `used` is what the broker's process used while `tally` was counted.
    pub(super) fn new(mode: &'static str, tally: &Tally, took: Duration, used: Option<Used>) -> Report {
        #[allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]
        let (bytes, requests) = (tally.bytes as f64, tally.requests as f64);
        let secs = took.as_secs_f64();
        let stamps = tally.end_to_end_us.len();
        Report {
            mode,
            secs,
            mb_per_s: bytes / secs / 1e6,
            reqs_per_s: requests / secs,
            latency: Percentiles::of(&tally.latency_us),
            end_to_end: (stamps > 0).then(|| EndToEnd { batches: stamps, age: Percentiles::of(&tally.end_to_end_us) }),
            errors: tally.errors,
            first_error: tally.first_error,
            empty: tally.empty,
            cpu_s: used.map(|used| used.cpu_s),
            cpu_s_per_gb: used.filter(|_| tally.bytes > 0).map(|used| used.cpu_s / (bytes / 1e9)),
            rss_mb: used.map(|used| used.rss_mb),
        }
    }

    /// Whether an answer was an error.
    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }
}

//! What is counted while a load runs.
//!
//! A [`Series`] is one line of the report: what all threads did of one kind (records produced, records read ...). Each thread
//! has a [`Recorder`] of its own, which touches no shared memory but once per interval, when it hands the interval over for the
//! live line and the plots; its histogram is merged at the end. Times are nanoseconds of the run's [`Clock`].
//!
//! Throughput counts what was completed within the measured window. Latency counts what was *due* in it, also when it was
//! completed later: leaving the late ones out would flatter.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::interrupt;

/// Latencies above this count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// The clock that all threads share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now_ns(self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// When load begins, when measuring begins, and when both end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) load_ns: u64,
    pub(crate) measure_ns: u64,
    pub(crate) planned_end_ns: u64,
}

impl Window {
    /// As planned, or when somebody interrupts.
    pub(crate) fn end_ns(self) -> u64 {
        self.planned_end_ns.min(interrupt::asked_ns())
    }

    fn holds(self, ns: u64) -> bool {
        (self.measure_ns..self.end_ns()).contains(&ns)
    }

    /// How long was measured of it until `now_ns`.
    pub(crate) fn measured(self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.end_ns().min(now_ns).saturating_sub(self.measure_ns))
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds and digits are those that the library supports")
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Answered requests, or whatever the series counts.
    pub(crate) requests: u64,
    pub(crate) records: u64,
    /// Keys and values, before compression.
    pub(crate) payload_bytes: u64,
    /// Record batches as they are sent.
    pub(crate) wire_bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, other: Amount) {
        self.requests += other.requests;
        self.records += other.records;
        self.payload_bytes += other.payload_bytes;
        self.wire_bytes += other.wire_bytes;
    }
}

/// A stretch of the measured window.
#[derive(Clone)]
pub(crate) struct Interval {
    pub(crate) amount: Amount,
    /// To a microsecond and two digits: there are many intervals, and each keeps 13 kB.
    pub(crate) latency: Histogram<u32>,
}

impl Interval {
    fn new() -> Interval {
        let latency = Histogram::new_with_bounds(1024, LONGEST_NS, 2);
        Interval { amount: Amount::default(), latency: latency.expect("the library supports these") }
    }
}

/// What all threads have done of one kind.
pub(crate) struct Series {
    /// What the report calls it.
    pub(crate) name: String,
    /// What its latency is the latency of; `None` where it has none.
    pub(crate) latency_of: Option<&'static str>,
    /// Length of an interval.
    pub(crate) interval: Duration,
    totals: Mutex<Totals>,
}

/// What is known of a [`Series`] so far; all of it when its recorders are gone.
#[derive(Clone)]
pub(crate) struct Totals {
    /// Within the window.
    pub(crate) measured: Amount,
    /// From the first request to the last, warm-up included.
    pub(crate) overall: Amount,
    pub(crate) latency: Histogram<u64>,
    /// How late this program was: from when a batch should have left to when it did, if it had only the clock to wait for.
    pub(crate) late: Histogram<u64>,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Series {
    pub(crate) fn new(name: impl Into<String>, latency_of: Option<&'static str>, duration: Duration) -> Arc<Series> {
        let totals = Totals {
            measured: Amount::default(),
            overall: Amount::default(),
            latency: new_histogram(),
            late: new_histogram(),
            intervals: Vec::new(),
            errors: BTreeMap::new(),
        };
        // A hundred points make a plot; the live line wants one each second.
        let interval = (duration / 100).clamp(Duration::from_millis(20), Duration::from_secs(1));
        Arc::new(Series { name: name.into(), latency_of, interval, totals: Mutex::new(totals) })
    }

    pub(crate) fn totals(&self) -> MutexGuard<'_, Totals> {
        // Counts are whole after each statement; a thread that panicked has ended the run anyway.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recorder of a thread.
    pub(crate) fn recorder(self: &Arc<Series>, window: Window) -> Recorder {
        let local = Local {
            measured: Amount::default(),
            overall: Amount::default(),
            latency: new_histogram(),
            late: new_histogram(),
            interval: Interval::new(),
            interval_index: 0,
        };
        let interval_ns = nanos(self.interval).max(1);
        Recorder {
            shared: Rc::new(Shared { series: Arc::clone(self), window, interval_ns, local: RefCell::new(local) }),
        }
    }
}

struct Local {
    measured: Amount,
    overall: Amount,
    latency: Histogram<u64>,
    late: Histogram<u64>,
    interval: Interval,
    interval_index: u64,
}

struct Shared {
    series: Arc<Series>,
    window: Window,
    interval_ns: u64,
    local: RefCell<Local>,
}

/// Hands an interval over, if anything happened in it.
fn publish(series: &Series, local: &mut Local) {
    if local.interval.amount == Amount::default() && local.interval.latency.is_empty() {
        return;
    }
    let index = usize::try_from(local.interval_index).expect("intervals of a run fit into memory");
    let mut totals = series.totals();
    if totals.intervals.len() <= index {
        totals.intervals.resize(index + 1, Interval::new());
    }
    let known = &mut totals.intervals[index];
    known.amount.add(local.interval.amount);
    known.latency.add(&local.interval.latency).expect("both have the same bounds");
    local.interval.amount = Amount::default();
    local.interval.latency.reset();
}

impl Drop for Shared {
    fn drop(&mut self) {
        let local = self.local.get_mut();
        publish(&self.series, local);
        let mut totals = self.series.totals();
        totals.measured.add(local.measured);
        totals.overall.add(local.overall);
        totals.latency.add(&local.latency).expect("both have the same bounds");
        totals.late.add(&local.late).expect("both have the same bounds");
    }
}

/// A thread's part of a [`Series`]; its figures are merged when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Recorder {
    shared: Rc<Shared>,
}

impl Recorder {
    /// Something was completed at `now_ns`.
    pub(crate) fn done(&self, now_ns: u64, amount: Amount) {
        let mut local = self.shared.local.borrow_mut();
        local.overall.add(amount);
        if self.shared.window.holds(now_ns) {
            local.measured.add(amount);
            self.turn_to(&mut local, now_ns);
            local.interval.amount.add(amount);
        }
    }

    /// `count` of them took `latency_ns` each until `now_ns`; they were due in the window or do not count.
    pub(crate) fn latency(&self, now_ns: u64, latency_ns: u64, count: u64) {
        let due_ns = now_ns.saturating_sub(latency_ns);
        if !self.shared.window.holds(due_ns) {
            return;
        }
        let mut local = self.shared.local.borrow_mut();
        local.latency.saturating_record_n(latency_ns.max(1), count);
        if self.shared.window.holds(now_ns) {
            self.turn_to(&mut local, now_ns);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            local.interval.latency.saturating_record_n(latency_ns.max(1), count);
        }
    }

    /// This program sent a batch so much later than it should have, and nothing but its own slowness kept it.
    pub(crate) fn late(&self, now_ns: u64, late_ns: u64) {
        if self.shared.window.holds(now_ns) {
            self.shared.local.borrow_mut().late.saturating_record(late_ns.max(1));
        }
    }

    /// Something failed. Errors count from the first request on, not only within the window.
    pub(crate) fn error(&self, kind: impl Into<String>) {
        *self.shared.series.totals().errors.entry(kind.into()).or_default() += 1;
    }

    fn turn_to(&self, local: &mut Local, now_ns: u64) {
        let index = (now_ns - self.shared.window.measure_ns) / self.shared.interval_ns;
        if index != local.interval_index {
            publish(&self.shared.series, local);
            local.interval_index = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { load_ns: 0, measure_ns: 1_000_000_000, planned_end_ns: 2_000_000_000 };

    fn one_record() -> Amount {
        Amount { requests: 1, records: 1, payload_bytes: 10, wire_bytes: 20 }
    }

    #[test]
    fn throughput_counts_the_window_and_the_sum_counts_all() {
        let series = Series::new("produced", None, Duration::from_secs(1));
        let recorder = series.recorder(WINDOW);
        for now_ns in [500_000_000, 1_200_000_000, 1_900_000_000, 2_000_000_000] {
            recorder.done(now_ns, one_record());
        }
        drop(recorder);
        let totals = series.totals();
        assert_eq!((totals.measured.records, totals.overall.records), (2, 4));
        let by_interval: Vec<_> = totals.intervals.iter().map(|interval| interval.amount.records).collect();
        assert_eq!(by_interval.len(), 46);
        assert_eq!((by_interval[10], by_interval[45]), (1, 1));
    }

    #[test]
    fn what_was_due_in_the_window_counts_even_when_it_came_later() {
        let series = Series::new("produced", None, Duration::from_secs(1));
        let recorder = series.recorder(WINDOW);
        recorder.latency(5_000_000_000, 3_100_000_000, 1);
        recorder.latency(1_100_000_000, 200_000_000, 1);
        drop(recorder);
        let totals = series.totals();
        assert_eq!(totals.latency.len(), 1);
        assert!(totals.latency.max() >= 3_100_000_000);
    }

    #[test]
    fn threads_are_merged() {
        let series = Series::new("produced", None, Duration::from_secs(1));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let recorder = series.recorder(WINDOW);
                    recorder.done(1_500_000_000, one_record());
                    recorder.latency(1_500_000_000, 1000, 1);
                    recorder.error("refused");
                });
            }
        });
        let totals = series.totals();
        assert_eq!(totals.measured.records, 3);
        assert_eq!(totals.latency.len(), 3);
        assert_eq!(totals.errors["refused"], 3);
        assert_eq!(totals.intervals[25].amount.records, 3);
    }
}

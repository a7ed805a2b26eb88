//! What a shard counts. Plain cells: only its own thread writes and reads them; `/metrics` asks each shard for a copy.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hdrhistogram::Histogram;

/// A count that only grows.
#[derive(Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.get()
    }
}

/// What is longer counts as this: one hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Durations in microseconds, two significant digits, made at the first record so that an idle broker stays small.
#[derive(Default)]
pub(crate) struct Timing {
    histogram: RefCell<Option<Histogram<u64>>>,
    sum_us: Counter,
}

impl Timing {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.add(us);
        self.histogram
            .borrow_mut()
            .get_or_insert_with(|| Histogram::new_with_max(LONGEST_US, 2).expect("two digits of an hour are supported"))
            .saturating_record(us);
    }

    fn snapshot(&self) -> Durations {
        Durations { histogram: self.histogram.borrow().clone(), sum_us: self.sum_us.value() }
    }
}

macro_rules! metrics {
    (counters { $($(#[doc = $counter_doc:literal])* $counter:ident),* $(,)? } timings { $($(#[doc = $timing_doc:literal])* $timing:ident),* $(,)? }) => {
        /// Counters and timings of one shard.
        #[derive(Default)]
        pub(crate) struct ShardMetrics {
            $($(#[doc = $counter_doc])* pub(crate) $counter: Counter,)*
            $($(#[doc = $timing_doc])* pub(crate) $timing: Timing,)*
        }

        impl ShardMetrics {
            /// A copy that may leave the shard; `more` is what the shard knows of itself besides.
            pub(crate) fn snapshot(&self, more: Vec<Value>) -> Snapshot {
                let mut values =
                    vec![$(counter(stringify!($counter), concat!($($counter_doc),*), self.$counter.value())),*];
                values.extend(more);
                Snapshot {
                    values,
                    timings: vec![$((stringify!($timing), concat!($($timing_doc),*), self.$timing.snapshot())),*],
                }
            }
        }
    };
}

metrics! {
    counters {
        #[doc = "Requests received."]
        requests,
        #[doc = "Connections served."]
        connections_served,
        #[doc = "Connections closed for what they sent: a bad length, an API that is not served, bytes that do not decode."]
        connections_closed_for_bad_input,
        #[doc = "Record bytes received in Produce requests."]
        bytes_in,
        #[doc = "Batches appended."]
        batches_in,
        #[doc = "Batches sent to the shard that owns their partition, because they could not be appended at once."]
        batches_mailed,
        #[doc = "Records appended."]
        records_in,
        #[doc = "Produce partitions answered with an error."]
        produce_errors,
        #[doc = "Bytes written to logs."]
        bytes_written,
        #[doc = "Log writes made in line."]
        writes_inline,
        #[doc = "Log writes made through the ring."]
        writes_ring,
        #[doc = "Segments rolled."]
        segments_rolled,
        #[doc = "Segments deleted by retention."]
        segments_deleted,
        #[doc = "Commits: a flush of one log, of several together counted for each."]
        commits,
        #[doc = "Records written to the commit journal, each for all that waited."]
        journal_records,
        #[doc = "Bytes written to the commit journal."]
        journal_bytes,
        #[doc = "Record bytes sent by zero copy from the page cache."]
        fetch_bytes_sendfile,
        #[doc = "Record bytes read through the ring and sent from memory, because the page cache did not keep them."]
        fetch_bytes_ring,
        #[doc = "Times that record bytes had to come from the disk before they were sent."]
        fetch_cold_waits,
        #[doc = "Fetch partitions answered with an error."]
        fetch_errors,
    }
    timings {
        #[doc = "From a Produce request to its answer, in microseconds."]
        produce_us,
        #[doc = "From a Fetch request to its answer, waiting included, in microseconds."]
        fetch_us,
        #[doc = "One commit, in microseconds."]
        commit_us,
    }
}

/// The metrics of one shard at one moment.
pub(crate) struct Snapshot {
    pub(crate) values: Vec<Value>,
    /// Name, meaning, and what was recorded.
    pub(crate) timings: Vec<(&'static str, &'static str, Durations)>,
}

/// What a [`Timing`] has recorded.
#[derive(Default)]
pub(crate) struct Durations {
    /// None before the first record.
    pub(crate) histogram: Option<Histogram<u64>>,
    pub(crate) sum_us: u64,
}

/// A number with its name.
#[derive(Clone, Copy)]
pub(crate) struct Value {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    /// It only grows; otherwise it is a gauge.
    pub(crate) is_counter: bool,
    pub(crate) value: u64,
}

/// What only grows.
pub(crate) fn counter(name: &'static str, meaning: &'static str, value: u64) -> Value {
    Value { name, meaning, is_counter: true, value }
}

/// What is there right now.
pub(crate) fn gauge(name: &'static str, meaning: &'static str, value: usize) -> Value {
    Value { name, meaning, is_counter: false, value: value as u64 }
}

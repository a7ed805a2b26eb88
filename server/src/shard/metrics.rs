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

/// Durations in microseconds, two significant digits, made at the first record so that an idle broker stays small.
#[derive(Default)]
pub(crate) struct Timing(RefCell<Option<Histogram<u64>>>);

impl Timing {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0
            .borrow_mut()
            .get_or_insert_with(|| Histogram::new(2).expect("two significant digits are supported"))
            .saturating_record(us);
    }

    pub(crate) fn snapshot(&self) -> Option<Histogram<u64>> {
        self.0.borrow().clone()
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
            /// A copy that may leave the shard; `gauges` are what the shard measures of itself at this moment.
            pub(crate) fn snapshot(&self, gauges: &[(&'static str, &'static str, u64)]) -> Snapshot {
                let mut values = vec![$((stringify!($counter), concat!($($counter_doc),*), "counter", self.$counter.value())),*];
                values.extend(gauges.iter().map(|(name, meaning, value)| (*name, *meaning, "gauge", *value)));
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
        #[doc = "Record bytes received in Produce requests."]
        bytes_in,
        #[doc = "Batches appended."]
        batches_in,
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
        #[doc = "Rounds of the committer."]
        commits,
        #[doc = "Record bytes sent by zero copy from the page cache."]
        fetch_bytes_sendfile,
        #[doc = "Record bytes read from disk through the ring and sent."]
        fetch_bytes_ring,
        #[doc = "Fetch partitions answered with an error."]
        fetch_errors,
    }
    timings {
        #[doc = "From a Produce request to its answer, in microseconds."]
        produce_us,
        #[doc = "From a Fetch request to its answer, waiting included, in microseconds."]
        fetch_us,
        #[doc = "One round of the committer, in microseconds."]
        commit_us,
    }
}

/// The metrics of one shard at one moment.
pub(crate) struct Snapshot {
    /// Name, meaning, `counter` or `gauge`, value.
    pub(crate) values: Vec<(&'static str, &'static str, &'static str, u64)>,
    /// Name, meaning, and the histogram if anything was recorded.
    pub(crate) timings: Vec<(&'static str, &'static str, Option<Histogram<u64>>)>,
}

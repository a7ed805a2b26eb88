//! When a producer sends what: the closed loop, and the open loop whose records have a time of their own.
//!
//! Pure: time is an argument, in nanoseconds of the run's clock. In an open loop record k is due at `start + k / rate`, whatever
//! the broker does. A producer gathers what is due into batches, as Kafka's do: a batch leaves when it is full or its first
//! record has waited for the linger time, and later when all requests in flight are taken. Latency counts from the records' due
//! times, so that a broker that stalls is charged for every record that had to wait, not only for those under way (which is
//! what "coordinated omission" leaves out).

use crate::template::Templates;
use crate::units::{to_f64, u64_to_f64};

/// How one producer sends.
pub(crate) enum Pace {
    /// The next full batch whenever a request is free.
    Closed(Closed),
    /// By the clock.
    Open(Open),
}

/// Full batches until the time is over or enough is sent.
pub(crate) struct Closed {
    pub(crate) end_ns: u64,
    /// Batches that may still be sent.
    pub(crate) batches_left: u64,
}

/// Records that are due at even intervals.
pub(crate) struct Open {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Between two records of this producer.
    pub(crate) interval_ns: f64,
    pub(crate) linger_ns: u64,
    /// Records that were sent.
    pub(crate) sent: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    /// Send this batch.
    Send(Batch),
    /// Nothing leaves before this time.
    WaitUntil(u64),
    /// Nothing is left to be sent.
    Over,
}

/// A batch and the times of its records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Batch {
    /// Index in [`Templates`].
    pub(crate) template: usize,
    pub(crate) records: usize,
    /// When its first record was due.
    pub(crate) first_due_ns: u64,
    /// Between two records; 0 in a closed loop.
    pub(crate) interval_ns: f64,
    /// When it should have left.
    pub(crate) ready_ns: u64,
}

impl Pace {
    /// What a producer with a free request does now. A batch that is handed out counts as sent.
    pub(crate) fn next(&mut self, now_ns: u64, templates: &Templates) -> Next {
        match self {
            Pace::Closed(closed) => closed.next(now_ns, templates),
            Pace::Open(open) => open.next(now_ns, templates),
        }
    }
}

impl Closed {
    fn next(&mut self, now_ns: u64, templates: &Templates) -> Next {
        if now_ns >= self.end_ns || self.batches_left == 0 {
            return Next::Over;
        }
        self.batches_left -= 1;
        let records = templates.full().records;
        let template = templates.fitting(records);
        Next::Send(Batch { template, records, first_due_ns: now_ns, interval_ns: 0.0, ready_ns: now_ns })
    }
}

impl Open {
    fn due(&self, record: u64) -> u64 {
        self.start_ns + rounded(u64_to_f64(record) * self.interval_ns)
    }

    fn next(&mut self, now_ns: u64, templates: &Templates) -> Next {
        let full = templates.full().records;
        let first_due_ns = self.due(self.sent);
        if first_due_ns >= self.end_ns {
            return Next::Over;
        }
        let last_of_full = self.sent + u64::try_from(full - 1).expect("a batch is counted in 32 bits");
        let ready_ns = self.due(last_of_full).min(first_due_ns + self.linger_ns);
        if now_ns < ready_ns {
            return Next::WaitUntil(ready_ns);
        }
        let elapsed_ns = u64_to_f64(now_ns.min(self.end_ns - 1) - self.start_ns);
        let due = rounded((elapsed_ns / self.interval_ns).floor()) + 1;
        let available = usize::try_from(due.saturating_sub(self.sent)).unwrap_or(full).clamp(1, full);
        let template = templates.fitting(available);
        let records = templates.at(template).records;
        self.sent += u64::try_from(records).expect("a batch is counted in 32 bits");
        Next::Send(Batch { template, records, first_due_ns, interval_ns: self.interval_ns, ready_ns })
    }
}

/// Of a time that is not negative.
fn rounded(ns: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and times are not negative")]
    let ns = ns.round() as u64;
    ns
}

impl Batch {
    /// Most samples that one batch gives; records between two of them count as the nearer one's neighbours do.
    const SAMPLES: usize = 16;

    /// The latencies of its records when all of them were done at `done_ns`: each with the number of records that have it.
    /// Large batches give a sample for each sixteenth of their records.
    pub(crate) fn latencies(&self, done_ns: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let Batch { records, first_due_ns, interval_ns, .. } = *self;
        let samples = if interval_ns == 0.0 { 1 } else { records.min(Batch::SAMPLES) };
        (0..samples).map(move |sample| {
            let (from, to) = (sample * records / samples, (sample + 1) * records / samples);
            let middle = (to_f64(from) + to_f64(to) - 1.0) / 2.0;
            let due_ns = first_due_ns + rounded(middle * interval_ns);
            (done_ns.saturating_sub(due_ns), u64::try_from(to - from).unwrap_or(u64::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Payload, RecordPlan};

    fn templates(records: usize) -> Templates {
        let plan = RecordPlan {
            value_bytes: 10,
            key_bytes: 0,
            keys: 1,
            payload: Payload::Random,
            batch_bytes: None,
            batch_records: Some(records),
            codec: "none".parse().unwrap(),
            seed: 1,
        };
        Templates::build(&plan, true)
    }

    const MS: u64 = 1_000_000;

    /// A thousand records per second from 1 s to 3 s.
    fn open(linger_ns: u64) -> Open {
        Open { start_ns: 1000 * MS, end_ns: 3000 * MS, interval_ns: 1e6, linger_ns, sent: 0 }
    }

    /// Sends as a producer with one request does whose answers take as long as `takes` says; gives every record's latency.
    fn drive(mut open: Open, templates: &Templates, takes: impl Fn(u64) -> u64) -> Vec<u64> {
        let (mut now, mut latencies) = (0, Vec::new());
        loop {
            match open.next(now, templates) {
                Next::Over => return latencies,
                Next::WaitUntil(time) => now = time,
                Next::Send(batch) => {
                    now += takes(now);
                    for (latency, records) in batch.latencies(now) {
                        latencies.extend((0..records).map(|_| latency));
                    }
                }
            }
        }
    }

    #[test]
    fn every_record_is_sent_once_and_none_before_it_is_due() {
        for linger_ns in [0, 3 * MS, 1000 * MS] {
            let latencies = drive(open(linger_ns), &templates(4), |_| 0);
            assert_eq!(latencies.len(), 2000, "linger {linger_ns}");
            assert!(latencies.iter().all(|latency| *latency <= linger_ns.min(3 * MS)), "linger {linger_ns}");
        }
    }

    #[test]
    fn a_stall_is_charged_to_every_record_that_was_due_in_it() {
        // The broker answers at once, but for one request at 2 s, which takes 500 ms.
        let stalled = drive(open(0), &templates(1), |now| if now == 2000 * MS { 500 * MS } else { 0 });
        // Counted from when they were sent, one record of 2000 would have waited. 500 were due meanwhile.
        let waited = stalled.iter().filter(|latency| **latency > 10 * MS).count();
        assert!((485..=495).contains(&waited), "{waited}");
        assert_eq!(stalled.iter().max(), Some(&(500 * MS)));
        assert_eq!(stalled.len(), 2000);
    }

    #[test]
    fn a_producer_that_has_fallen_behind_fills_its_batches() {
        let mut behind = open(0);
        let Next::Send(first) = behind.next(1000 * MS, &templates(64)) else { panic!("the first record is due") };
        assert_eq!(first.records, 1);
        let Next::Send(second) = behind.next(1100 * MS, &templates(64)) else { panic!("more are due") };
        assert_eq!(second.records, 64);
    }

    #[test]
    fn a_linger_gathers_what_becomes_due_within_it() {
        let mut lingering = open(5 * MS);
        assert_eq!(lingering.next(1000 * MS, &templates(64)), Next::WaitUntil(1005 * MS));
        let Next::Send(batch) = lingering.next(1005 * MS, &templates(64)) else { panic!("the first has waited") };
        assert_eq!((batch.records, batch.first_due_ns, batch.ready_ns), (6, 1000 * MS, 1005 * MS));
    }

    #[test]
    fn the_latencies_of_a_large_batch_stand_for_all_its_records() {
        let batch = Batch { template: 0, records: 1000, first_due_ns: 0, interval_ns: 1e3, ready_ns: 0 };
        let samples: Vec<_> = batch.latencies(MS).collect();
        assert_eq!(samples.len(), 16);
        assert_eq!(samples.iter().map(|sample| sample.1).sum::<u64>(), 1000);
        let mean = samples.iter().map(|(latency, records)| latency * records).sum::<u64>() / 1000;
        assert!(mean.abs_diff(500_500) < 1000, "{mean}");
    }

    #[test]
    fn a_closed_loop_ends_by_the_clock_or_by_its_budget() {
        let templates = templates(3);
        let mut closed = Closed { end_ns: 100, batches_left: 2 };
        assert!(matches!(closed.next(0, &templates), Next::Send(Batch { records: 3, .. })));
        assert!(matches!(closed.next(1, &templates), Next::Send(_)));
        assert_eq!(closed.next(2, &templates), Next::Over);
        let mut late = Closed { end_ns: 100, batches_left: 2 };
        assert_eq!(late.next(100, &templates), Next::Over);
    }
}

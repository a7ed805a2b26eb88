//! Turns that kept everyone else waiting, and what the kernel says about them.
//!
//! The kernel's counters of the thread cost a system call, so they are read after a stall and otherwise about once a second: what is
//! reported happened since the last reading.

use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};

use crate::rt::Rt;
use crate::stats::count;
use crate::time::Time;

/// A turn that runs longer is a stall.
const STALL: Duration = Duration::from_millis(10);
/// A stall that is worth a line to whoever reads the log; shorter ones are counted, and told at level debug.
const LONG_STALL: Duration = Duration::from_millis(200);
/// Age at which a reading is renewed.
const RENEW: Duration = Duration::from_secs(1);

/// The last reading of the thread's counters.
pub(crate) struct StallDetector {
    read_at: Time,
    parks: u64,
    usage: Option<Usage>,
}

fn usage() -> Option<Usage> {
    getrusage(UsageWho::RUSAGE_THREAD).ok()
}

impl StallDetector {
    pub(crate) fn new() -> StallDetector {
        StallDetector { read_at: Time::ZERO, parks: 0, usage: usage() }
    }

    /// A turn that began at `rt.now()` and polled `polls` tasks ends at `end`.
    pub(crate) fn turn(&mut self, rt: &Rt, end: Time, polls: u32) {
        let took = end - rt.now();
        let counters = &rt.inner.counters;
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counters.longest_turn_us.set(counters.longest_turn_us.get().max(took_us));
        if took <= STALL || rt.inner.may_block.get() {
            if end - self.read_at > RENEW {
                self.renew(end, counters.parks.get(), usage());
            }
            return;
        }
        count(&counters.stalls, 1);
        let now = usage();
        if let (Some(before), Some(now)) = (&self.usage, &now) {
            let parks = i64::try_from(counters.parks.get() - self.parks).unwrap_or(i64::MAX);
            let cpu = (now.user_time() - before.user_time()) + (now.system_time() - before.system_time());
            // Each park is one voluntary switch at most: what is beyond them slept within a turn.
            let slept = (now.voluntary_context_switches() - before.voluntary_context_switches() - parks).max(0);
            let text = format!(
                "shard {}: a turn took {} ms for {polls} tasks; in the last {} ms: {} ms of CPU, slept {slept} times, \
                 preempted {} times, {} page faults of which {} from disk",
                rt.index(),
                took.as_millis(),
                (end - self.read_at).as_millis(),
                cpu.tv_sec() * 1000 + cpu.tv_usec() / 1000,
                now.involuntary_context_switches() - before.involuntary_context_switches(),
                now.minor_page_faults() - before.minor_page_faults(),
                now.major_page_faults() - before.major_page_faults(),
            );
            if took >= LONG_STALL {
                tracing::warn!("{text}");
            } else {
                tracing::debug!("{text}");
            }
        }
        self.renew(end, counters.parks.get(), now);
    }

    fn renew(&mut self, read_at: Time, parks: u64, usage: Option<Usage>) {
        *self = StallDetector { read_at, parks, usage };
    }
}

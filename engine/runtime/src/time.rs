//! The monotonic clock of a node, and the timers of one executor.
//!
//! `Time` counts nanoseconds since the node's host was made. A shard reads the clock once per loop turn, so two calls
//! of `Rt::now` in one turn agree. In the simulator the clock is virtual.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::task::Waker;
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since the host started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Time = Time(0);
    /// Later than any point the clock reaches (584 years).
    pub const MAX: Time = Time(u64::MAX);

    /// A point from its nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the start of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the start of the clock.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The point so long before this one, if the clock had started.
    pub fn checked_sub(self, d: Duration) -> Option<Time> {
        self.0.checked_sub(nanos(d)).map(Time)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds of a duration; durations beyond 584 years count as that.
pub(crate) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(nanos(d)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(d)))
    }
}

impl Sub for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

/// The timers of one executor, ordered by deadline. Equal deadlines fire in the order they were set.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<(Time, u64), Waker>,
    next_id: u64,
}

impl Timers {
    /// Sets a timer; the id takes it back.
    pub(crate) fn set(&mut self, deadline: Time, waker: Waker) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert((deadline, id), waker);
        id
    }

    /// The task that waits may have changed since the timer was set.
    pub(crate) fn update(&mut self, deadline: Time, id: u64, waker: &Waker) {
        if let Some(known) = self.waiting.get_mut(&(deadline, id)) {
            known.clone_from(waker);
        }
    }

    pub(crate) fn cancel(&mut self, deadline: Time, id: u64) {
        self.waiting.remove(&(deadline, id));
    }

    pub(crate) fn nearest(&self) -> Option<Time> {
        self.waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Wakes everything due at `now`.
    pub(crate) fn fire(&mut self, now: Time) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            entry.remove().wake();
        }
    }
}

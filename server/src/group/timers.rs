//! [`Timers`]: when something in a coordinator is due.
//!
//! A timer is known by its key; setting it again moves it. Timers due at the same moment go off in the order of their
//! keys, so that one history has one outcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum TimerKey {
    /// The join phase of a group ends.
    Join(Arc<str>),
    /// Who has not sent SyncGroup by now leaves.
    Sync(Arc<str>),
    /// A member, or one that was only given an id, was not heard of: group and member id.
    Session(Arc<str>, Arc<str>),
    /// Old offsets and empty groups are looked for.
    Expiry,
}

/// All timers of one coordinator.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: FxHashMap<TimerKey, i64>,
    queue: BTreeSet<(i64, TimerKey)>,
}

impl Timers {
    /// Sets the timer, which may be set already.
    pub(super) fn set(&mut self, key: TimerKey, deadline_ms: i64) {
        self.cancel(&key);
        self.queue.insert((deadline_ms, key.clone()));
        self.deadlines.insert(key, deadline_ms);
    }

    /// Takes the timer away, if it is set.
    pub(super) fn cancel(&mut self, key: &TimerKey) {
        if let Some((key, deadline_ms)) = self.deadlines.remove_entry(key) {
            self.queue.remove(&(deadline_ms, key));
        }
    }

    /// The earliest deadline.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.queue.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Takes the earliest timer that is due.
    pub(super) fn pop_due(&mut self, now_ms: i64) -> Option<TimerKey> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.deadlines.remove(&key);
        Some(key)
    }

    pub(super) fn clear(&mut self) {
        self.deadlines.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_set_again_goes_off_once_and_at_its_new_time() {
        let mut timers = Timers::default();
        let key = TimerKey::Session("g".into(), "m".into());
        timers.set(key.clone(), 10);
        timers.set(key.clone(), 30);
        timers.set(TimerKey::Join("g".into()), 20);
        assert_eq!(timers.next_ms(), Some(20));
        assert_eq!(timers.pop_due(29), Some(TimerKey::Join("g".into())));
        assert_eq!(timers.pop_due(29), None);
        assert_eq!(timers.pop_due(30), Some(key));
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn a_cancelled_timer_does_not_go_off() {
        let mut timers = Timers::default();
        timers.set(TimerKey::Expiry, 1);
        timers.cancel(&TimerKey::Expiry);
        assert_eq!(timers.pop_due(i64::MAX), None);
    }
}

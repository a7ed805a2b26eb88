//! Whether a shard that has nothing to do looks for work a little longer before it sleeps (docs/decisions/busy-poll.md).

use std::time::Duration;

use crate::time::Time;

/// A wait that was worth a look, or would have been, adds one to the score; another takes so much away.
const PENALTY: u32 = 32;
/// From this score on a shard looks: so many waits in a row were worth it.
const ENOUGH: u32 = 128;
/// Where the score ends, so that a few waits are enough to stop.
const HIGHEST: u32 = 160;
/// More tasks than these in the turn after a wait, and the wait was of use: what comes meanwhile costs less together.
const FEW: u32 = 8;

/// What one shard has learned of its waits.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    /// The longest look; zero: never.
    longest: Duration,
    score: u32,
    /// When the last wait began, if nothing has been learned of it yet.
    waits_since: Option<Time>,
}

impl BusyPoll {
    pub(crate) fn new(longest: Duration) -> BusyPoll {
        BusyPoll { longest, score: 0, waits_since: None }
    }

    /// A wait begins. Until when to look before sleeping, if that is worth it: lately nearly every wait was, and no timer is due sooner.
    pub(crate) fn wait(&mut self, now: Time, timer: Option<Time>) -> Option<Time> {
        self.waits_since.get_or_insert(now);
        let until = now + self.longest;
        let pays = !self.longest.is_zero() && self.score >= ENOUGH;
        (pays && timer.is_none_or(|timer| timer > until)).then_some(until)
    }

    /// It has looked in vain.
    pub(crate) fn gave_up(&mut self) {
        self.learn(false);
    }

    /// A turn that began at `now` has polled `polls` tasks. To fall asleep and be woken takes time too, most on a virtual machine: twice the
    /// longest look still counts as short, and a look shows whether it was.
    pub(crate) fn turn(&mut self, now: Time, polls: u32) {
        let Some(since) = self.waits_since.take() else { return };
        self.learn(now - since <= 2 * self.longest && polls <= FEW);
    }

    fn learn(&mut self, worth_it: bool) {
        self.score = if worth_it { (self.score + 1).min(HIGHEST) } else { self.score.saturating_sub(PENALTY) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(50);
    const SHORT: Duration = Duration::from_micros(60);
    const LONG: Duration = Duration::from_micros(101);

    /// A shard and its clock.
    struct Shard {
        now: Time,
        busy_poll: BusyPoll,
    }

    impl Shard {
        fn new(longest: Duration) -> Shard {
            Shard { now: Time::ZERO, busy_poll: BusyPoll::new(longest) }
        }

        /// Waits for so long and runs a turn; whether the wait began with a look.
        fn wait(&mut self, took: Duration, polls: u32) -> bool {
            let until = self.busy_poll.wait(self.now, None);
            if until.is_some_and(|until| until < self.now + took) {
                self.busy_poll.gave_up();
            }
            self.now += took;
            self.busy_poll.turn(self.now, polls);
            until.is_some()
        }

        /// Of `n` such waits, how many began with a look.
        fn waits(&mut self, n: u32, took: Duration, polls: u32) -> u32 {
            (0..n).map(|_| u32::from(self.wait(took, polls))).sum()
        }
    }

    #[test]
    fn many_short_waits_in_a_row_make_a_shard_look() {
        let mut shard = Shard::new(LONGEST);
        assert_eq!(shard.waits(ENOUGH, SHORT, 1), 0);
        assert!(shard.wait(LONGEST, FEW));
        assert_eq!(shard.waits(1000, LONGEST, FEW), 1000);
    }

    #[test]
    fn a_shard_that_may_not_look_never_does() {
        let mut shard = Shard::new(Duration::ZERO);
        assert_eq!(shard.waits(1000, Duration::ZERO, 1), 0);
    }

    #[test]
    fn a_few_long_waits_end_it() {
        let mut shard = Shard::new(LONGEST);
        shard.waits(1000, LONGEST, 1);
        assert!(shard.waits(1000, LONG, 1) <= 2, "each was a look in vain");
        assert!(!shard.wait(LONGEST, 1));
    }

    #[test]
    fn waits_that_are_short_but_longer_than_a_look_cost_few_looks() {
        let mut shard = Shard::new(LONGEST);
        shard.waits(1000, LONGEST, 1);
        let looks = shard.waits(3300, SHORT, 1);
        assert!(looks <= 2 + 3300 / (PENALTY - 1), "{looks}");
    }

    #[test]
    fn waits_after_which_much_comes_together_are_left_alone() {
        let mut shard = Shard::new(LONGEST);
        assert_eq!(shard.waits(1000, LONGEST, FEW + 1), 0);
        shard.waits(1000, LONGEST, 1);
        assert!(shard.waits(1000, LONGEST, FEW + 1) <= 2);
    }

    #[test]
    fn a_timer_that_is_due_soon_is_slept_for() {
        let mut shard = Shard::new(LONGEST);
        shard.waits(1000, LONGEST, 1);
        let due = |after: u64| Some(shard.now + Duration::from_micros(after));
        let (soon, later) = (due(50), due(51));
        assert_eq!(shard.busy_poll.wait(shard.now, soon), None);
        assert_eq!(shard.busy_poll.wait(shard.now, later), due(50));
    }
}

//! The loop of a shard, the same on both real drivers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::executor::LocalBoxFuture;
use crate::real::stall::StallDetector;
use crate::rt::Rt;
use crate::stats::count;
use crate::time::{Time, nanos};

/// Tasks polled before completions and timers are looked at again.
pub(crate) const POLLS_PER_TURN: u32 = 128;
/// A turn that has polled for so long ends early, looked at every `POLLS_PER_LOOK` tasks.
const TURN: Duration = Duration::from_millis(1);
const POLLS_PER_LOOK: u32 = 16;

/// What a driver does between the tasks of one turn and those of the next.
pub(crate) trait Turns {
    /// Whether something has happened that `reap` would take in without asking the kernel.
    fn has_completions(&self) -> bool;
    /// Tells the kernel what was asked for, and waits if told to.
    fn enter(&self, park: Park);
    /// Takes in what has happened and wakes the tasks that wait for it.
    fn reap(&self);
    /// Ends every operation, or waits for its end.
    fn drain(&self);
}

/// Whether an enter waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Park {
    /// Do not wait.
    No,
    /// Wait until something happens.
    Forever,
    /// Wait until something happens, at most until the deadline.
    Until { now: Time, deadline: Time },
}

/// The clocks of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
}

impl Clock {
    fn now(self) -> Time {
        Time::from_nanos(nanos(self.start.elapsed()))
    }
}

/// Unix milliseconds.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs the shard until `main` ends, then drops the other tasks and drains the driver.
pub(crate) fn run(rt: &Rt, driver: &impl Turns, clock: Clock, main: LocalBoxFuture<'static, ()>) {
    let inner = &rt.inner;
    let executor = &inner.executor;
    let queue = executor.queue();
    let (_, finished) = executor.spawn(main);
    let mut stalls = StallDetector::new();
    loop {
        inner.now.set(clock.now());
        inner.wall_ms.set(wall_ms());
        count(&inner.counters.turns, 1);
        executor.timers().borrow_mut().fire(rt.now());

        let mut polls = 0;
        while polls < POLLS_PER_TURN {
            let Some(id) = queue.pop() else { break };
            polls += u32::from(executor.poll(id));
            if polls.is_multiple_of(POLLS_PER_LOOK) && clock.now() - rt.now() > TURN {
                break;
            }
        }
        count(&inner.counters.polls, u64::from(polls));
        if finished.get() {
            break;
        }
        let end = if polls == 0 { rt.now() } else { clock.now() };
        stalls.turn(rt, end, polls);

        if !driver.has_completions() && queue.park() {
            count(&inner.counters.parks, 1);
            let nearest = executor.timers().borrow().nearest();
            driver.enter(nearest.map_or(Park::Forever, |deadline| Park::Until { now: end, deadline }));
            queue.unpark();
        } else {
            driver.enter(Park::No);
        }
        driver.reap();
    }
    executor.cancel_all();
    driver.drain();
}

//! The loop of a shard, the same on both real drivers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::executor::{LocalBoxFuture, ReadyQueue};
use crate::real::busy_poll::BusyPoll;
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
    /// Whether something has happened that `reap` takes in without asking the kernel.
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
pub(crate) fn run(rt: &Rt, driver: &impl Turns, clock: Clock, busy_poll: Duration, main: LocalBoxFuture<'static, ()>) {
    let inner = &rt.inner;
    let executor = &inner.executor;
    let queue = executor.queue();
    let (_, finished) = executor.spawn(main);
    let mut stalls = StallDetector::new();
    let mut busy_poll = BusyPoll::new(busy_poll);
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
        busy_poll.turn(rt.now(), polls);
        if finished.get() {
            break;
        }
        let end = if polls == 0 { rt.now() } else { clock.now() };
        stalls.turn(rt, end, polls);

        if has_work(driver, queue) {
            driver.enter(Park::No);
        } else {
            wait(rt, driver, clock, &mut busy_poll, end);
        }
        driver.reap();
    }
    executor.cancel_all();
    driver.drain();
}

/// Waits for something to do: looks for it a little while, if that pays, and then sleeps.
fn wait(rt: &Rt, driver: &impl Turns, clock: Clock, busy_poll: &mut BusyPoll, mut now: Time) {
    let inner = &rt.inner;
    let queue = inner.executor.queue();
    let nearest = inner.executor.timers().borrow().nearest();
    if let Some(until) = busy_poll.wait(now, nearest) {
        count(&inner.counters.looks, 1);
        if look(driver, queue, clock, until) {
            return;
        }
        busy_poll.gave_up();
        now = until;
    }
    if queue.park() {
        count(&inner.counters.parks, 1);
        driver.enter(nearest.map_or(Park::Forever, |deadline| Park::Until { now, deadline }));
        queue.unpark();
    }
}

/// Whether there is something to do without asking the kernel.
fn has_work(driver: &impl Turns, queue: &ReadyQueue) -> bool {
    driver.has_completions() || !queue.is_empty()
}

/// Looks until there is something to do, at most until the time given.
fn look(driver: &impl Turns, queue: &ReadyQueue, clock: Clock, until: Time) -> bool {
    loop {
        driver.enter(Park::No);
        if has_work(driver, queue) {
            return true;
        }
        if clock.now() >= until {
            return false;
        }
        std::hint::spin_loop();
    }
}

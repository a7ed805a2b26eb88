//! What all simulated machines share: clock, randomness, network, and the events that are still to come.
//!
//! Everything lies behind one lock although one thread runs it all: handles to it (`File`, `Host`, sockets) must be `Send` as the
//! real ones are. No task is polled or dropped under the lock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::sim::disk::SimFs;
use crate::sim::faults::Faults;
use crate::sim::net::{Arrival, Net, PipeId};
use crate::sim::node::Start;
use crate::time::{Time, nanos};

/// The wall clock when the virtual clock is zero: 2026-01-01.
const WALL_START_MS: i64 = 1_767_225_600_000;

/// The virtual clock, read without a lock.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    nanos: AtomicU64,
}

impl Clock {
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        WALL_START_MS + i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX - WALL_START_MS)
    }

    pub(crate) fn set(&self, now: Time) {
        debug_assert!(now >= self.now(), "time does not go back");
        self.nanos.store(now.as_nanos(), Ordering::Relaxed);
    }
}

/// Something that happens at a point in time.
pub(crate) enum Event {
    Wake(Waker),
    /// Bytes, or their end, reach the other end of a pipe.
    Arrive(PipeId, Arrival),
}

struct Scheduled {
    at: Time,
    /// Events of one instant happen in the order they were scheduled.
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A machine as the world knows it.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) fs: SimFs,
    /// Counts restarts: what an earlier life still tries to start is ignored.
    pub(crate) life: u64,
}

/// The mutable part of the world.
pub(crate) struct State {
    pub(crate) random: ChaCha8Rng,
    pub(crate) faults: Faults,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    /// Threads that were started and do not run yet.
    pub(crate) starts: Vec<Start>,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    trace: u64,
}

impl State {
    /// A number below `bound`, which must not be zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    /// An index of something with `len` elements.
    pub(crate) fn pick(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True once in `n` times; never for 0.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }

    /// A duration between two, now and then much longer.
    pub(crate) fn latency(&mut self, (from, to): (Duration, Duration)) -> Duration {
        let span = nanos(to.saturating_sub(from)).max(1);
        let latency = from + Duration::from_nanos(self.below(span));
        let slow_once_in = self.faults.slow_once_in;
        if self.once_in(slow_once_in) { latency * 10 } else { latency }
    }

    pub(crate) fn schedule(&mut self, at: Time, event: Event) {
        let number = self.scheduled;
        self.scheduled += 1;
        self.events.push(Reverse(Scheduled { at, number, event }));
    }

    /// When the next event happens.
    pub(crate) fn next_event(&self) -> Option<Time> {
        self.events.peek().map(|Reverse(next)| next.at)
    }

    /// Lets everything happen that is due.
    pub(crate) fn happen(&mut self, now: Time) {
        while self.next_event().is_some_and(|at| at <= now) {
            let Some(Reverse(next)) = self.events.pop() else { break };
            match next.event {
                Event::Wake(waker) => waker.wake(),
                Event::Arrive(pipe, arrival) => {
                    let len = match &arrival {
                        Arrival::Bytes(bytes) => bytes.len() as u64,
                        Arrival::End | Arrival::ReaderGone | Arrival::Reset => 0,
                    };
                    self.note(&[1, pipe.number(), len]);
                    self.net.arrive(pipe, arrival);
                }
            }
        }
    }

    /// Adds to the hash of all that happened.
    pub(crate) fn note(&mut self, what: &[u64]) {
        for word in what {
            self.trace = (self.trace.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }
}

/// The world; shared by everything in it.
pub(crate) struct World {
    pub(crate) clock: Arc<Clock>,
    state: Mutex<State>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<World> {
        let state = State {
            random: ChaCha8Rng::seed_from_u64(seed),
            faults: Faults::default(),
            nodes: Vec::new(),
            net: Net::default(),
            starts: Vec::new(),
            events: BinaryHeap::new(),
            scheduled: 0,
            trace: seed,
        };
        Arc::new(World { clock: Arc::default(), state: Mutex::new(state) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic the world is only torn down.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The address of the machine with this number.
    pub(crate) fn address(node: usize) -> IpAddr {
        let number = u32::try_from(node + 1).expect("few machines");
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number).into()
    }

    /// Waits for a virtual while.
    pub(crate) fn delay(self: &Arc<World>, duration: Duration) -> Delay {
        Delay { world: Arc::clone(self), until: self.now() + duration, waiting: None }
    }
}

/// See [`World::delay`].
pub(crate) struct Delay {
    world: Arc<World>,
    until: Time,
    waiting: Option<Waker>,
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.until {
            return Poll::Ready(());
        }
        if !self.waiting.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.waiting = Some(cx.waker().clone());
            self.world.lock().schedule(self.until, Event::Wake(cx.waker().clone()));
        }
        Poll::Pending
    }
}

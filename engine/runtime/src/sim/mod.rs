//! The simulator: a whole cluster in one thread, from one seed.
//!
//! [`Sim`] holds machines ([`SimNode`]). What runs on them uses the same [`Host`], [`Rt`](crate::Rt), files and sockets as on the real
//! machine. One OS thread polls all tasks, one at a time, in an order drawn from the seed; when nothing is ready the virtual
//! clock moves to the next timer or event. The same seed gives the same run, down to [`Sim::trace_hash`].
//!
//! Simulated are scheduling, clocks, latencies, partial receives, small socket buffers, resets and partitions; a page cache that is
//! cold after a restart, power cuts that lose or tear what was not synced, kill -9; and, where [`DiskFaults`] ask for it, failing
//! reads, writes and syncs and full disks.
//!
//! ```
//! use std::{cell::Cell, rc::Rc, sync::{Arc, atomic::{AtomicBool, Ordering}}, time::Duration};
//! use kringle_runtime::sim::Sim;
//!
//! let mut sim = Sim::new(7);
//! let node = sim.node("a");
//! let slept = Arc::new(AtomicBool::new(false));
//! let flag = Arc::clone(&slept);
//! node.host().start("main", 0, None, move |rt| Box::pin(async move {
//!     rt.sleep(Duration::from_secs(3600)).await;
//!     flag.store(true, Ordering::Relaxed);
//! })).unwrap();
//! assert!(sim.run_until(Duration::from_secs(3601), || slept.load(Ordering::Relaxed)));
//! ```

pub(crate) mod disk;
mod faults;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod thread;
pub(crate) mod world;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use crate::sim::faults::{DiskFaults, Faults};
pub use crate::sim::node::SimNode;

use crate::executor::{Bell, Executor, TaskId};
use crate::frames::FramePool;
use crate::fs::{Fs, FsInner};
use crate::host::Host;
use crate::rt::{Driver, Rt, RtInner};
use crate::sim::disk::SimFs;
use crate::sim::node::Start;
use crate::sim::thread::SimThread;
use crate::sim::world::{Node, State, World};
use crate::stats::{Counters, count};
use crate::time::Time;

/// Virtual time that one poll of a task takes, so that tasks which never wait cannot stop the clock.
const POLL_TIME: Duration = Duration::from_nanos(200);

/// A simulated world. Dropping it ends everything in it.
pub struct Sim {
    world: Arc<World>,
    seed: u64,
    threads: Vec<Thread>,
    threads_started: u64,
}

/// A running thread of a machine.
struct Thread {
    rt: Rt,
    node: usize,
    /// Names the thread in the trace.
    number: u64,
    main_ended: Rc<Cell<bool>>,
    ready: Vec<TaskId>,
}

impl Sim {
    /// A world that runs the same way for the same seed.
    pub fn new(seed: u64) -> Sim {
        Sim { world: World::new(seed), seed, threads: Vec::new(), threads_started: 0 }
    }

    /// Adds a machine with its own disk and address.
    pub fn node(&mut self, name: &str) -> SimNode {
        let mut state = self.world.lock();
        let number = state.nodes.len();
        let fs = SimFs::new(Arc::clone(&self.world.clock), state.random.next_u64());
        state.nodes.push(Node { name: name.to_owned(), ip: World::address(number), fs, life: 0 });
        SimNode { world: Arc::clone(&self.world), number }
    }

    /// Changes how unkind the world is.
    pub fn faults(&mut self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.world.lock().faults);
    }

    /// Changes how unkind a machine's disk is; also across its restarts.
    pub fn disk_faults(&mut self, node: &SimNode, change: impl FnOnce(&mut DiskFaults)) {
        let fs = self.world.lock().nodes[node.number].fs.clone();
        fs.change_faults(change);
    }

    /// Cuts the network between two machines: what is sent arrives only after [`Sim::heal`], and nobody connects.
    pub fn partition(&mut self, a: &SimNode, b: &SimNode) {
        let mut state = self.world.lock();
        state.note(&[7, a.number as u64, b.number as u64]);
        state.net.partition(a.number, b.number);
    }

    /// Mends the network between two machines: what was held back arrives now.
    pub fn heal(&mut self, a: &SimNode, b: &SimNode) {
        let mut state = self.world.lock();
        state.note(&[8, a.number as u64, b.number as u64]);
        state.net.heal(a.number, b.number);
    }

    /// Runs until `done` says so, or for `limit` of virtual time, or until nothing can ever happen any more. Gives what `done`
    /// said last.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = self.now() + limit;
        loop {
            if done() {
                return true;
            }
            self.start_threads();
            if self.poll_one() {
                if self.now() >= end {
                    return done();
                }
                continue;
            }
            match self.next_moment() {
                Some(next) if next <= end => self.advance(next),
                _ => {
                    self.advance(end.max(self.now()));
                    return done();
                }
            }
        }
    }

    /// Cuts the power of a machine: its tasks, connections and locks are gone, and of what was not synced a seeded choice
    /// survives. The disk stays.
    pub fn crash(&mut self, node: &SimNode) {
        let fs = {
            let mut state = self.world.lock();
            state.note(&[3, node.number as u64]);
            state.net.reset_node(node.number);
            state.nodes[node.number].fs.clone()
        };
        self.end_process(node);
        fs.power_cut(&mut self.world.lock().random);
    }

    /// kill -9: the tasks, connections and locks of a machine are gone; files keep all that was written.
    pub fn kill(&mut self, node: &SimNode) {
        self.world.lock().note(&[4, node.number as u64]);
        self.end_process(node);
    }

    /// Makes a machine ready for a new life.
    pub fn restart(&mut self, node: &SimNode) -> Host {
        self.world.lock().note(&[5, node.number as u64]);
        self.end_process(node);
        node.host()
    }

    /// The virtual clock.
    pub fn now(&self) -> Time {
        self.world.now()
    }

    /// A hash of all that happened: equal for equal seeds.
    pub fn trace_hash(&self) -> u64 {
        self.world.lock().trace()
    }

    fn end_process(&mut self, node: &SimNode) {
        let (starts, fs) = {
            let mut state = self.world.lock();
            state.nodes[node.number].life += 1;
            let all = std::mem::take(&mut state.starts);
            let (starts, others): (Vec<Start>, Vec<Start>) =
                all.into_iter().partition(|start| start.node == node.number);
            state.starts = others;
            (starts, state.nodes[node.number].fs.clone())
        };
        // Dropping tasks closes sockets, which takes the world's lock.
        drop(starts);
        let ended: Vec<Thread> = self.threads.extract_if(.., |thread| thread.node == node.number).collect();
        for thread in &ended {
            thread.rt.inner.executor.cancel_all();
        }
        drop(ended);
        fs.process_ended();
    }

    fn start_threads(&mut self) {
        let starts = std::mem::take(&mut self.world.lock().starts);
        for start in starts {
            let rt = {
                let mut state = self.world.lock();
                let node = &state.nodes[start.node];
                if node.life != start.life {
                    continue;
                }
                let fs = node.fs.clone();
                self.runtime(&mut state, fs, &start)
            };
            let main = (start.main)(rt.clone());
            let (_, main_ended) = rt.inner.executor.spawn(main);
            let number = self.threads_started;
            self.threads_started += 1;
            self.threads.push(Thread { rt, node: start.node, number, main_ended, ready: Vec::new() });
        }
    }

    fn runtime(&self, state: &mut State, fs: SimFs, start: &Start) -> Rt {
        let inner = RtInner {
            index: start.index,
            executor: Executor::new(Bell::None),
            now: self.now().into(),
            wall_ms: self.world.clock.wall_ms().into(),
            random: ChaCha20Rng::seed_from_u64(state.random.next_u64()).into(),
            fs: Fs { inner: FsInner::Sim(fs) },
            frames: FramePool::new(),
            counters: Counters::default(),
            may_block: Cell::new(false),
            driver: Driver::Sim(SimThread { world: Arc::clone(&self.world), node: start.node }),
        };
        Rt { inner: Rc::new(inner) }
    }

    /// Polls one task that is ready. False: none is.
    fn poll_one(&mut self) -> bool {
        let mut ready_threads = 0;
        for thread in &mut self.threads {
            let queue = thread.rt.inner.executor.queue();
            while let Some(id) = queue.pop() {
                thread.ready.push(id);
            }
            ready_threads += usize::from(!thread.ready.is_empty());
        }
        if ready_threads == 0 {
            return false;
        }
        self.advance(self.now() + POLL_TIME);
        let (chosen, position) = {
            let mut state = self.world.lock();
            let nth = state.pick(ready_threads);
            let ready = |(_, thread): &(usize, &Thread)| !thread.ready.is_empty();
            let (chosen, thread) = self.threads.iter().enumerate().filter(ready).nth(nth).expect("counted above");
            let position = state.pick(thread.ready.len());
            let task = thread.ready[position].generation();
            state.note(&[6, thread.number, task, self.world.now().as_nanos()]);
            (chosen, position)
        };
        let thread = &mut self.threads[chosen];
        let id = thread.ready.remove(position);
        let inner = &thread.rt.inner;
        inner.now.set(self.world.now());
        inner.wall_ms.set(self.world.clock.wall_ms());
        count(&inner.counters.turns, 1);
        count(&inner.counters.polls, 1);
        inner.executor.poll(id);
        if thread.main_ended.get() {
            let thread = self.threads.remove(chosen);
            thread.rt.inner.executor.cancel_all();
        }
        true
    }

    fn next_moment(&self) -> Option<Time> {
        let timers = self.threads.iter().filter_map(|thread| thread.rt.inner.executor.timers().borrow().nearest());
        timers.chain(self.world.lock().next_event()).min().map(|next| next.max(self.now()))
    }

    /// Moves the clock and lets all that is due happen.
    fn advance(&mut self, now: Time) {
        self.world.clock.set(now);
        self.world.lock().happen(now);
        for thread in &self.threads {
            thread.rt.inner.executor.timers().borrow_mut().fire(now);
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulator: seed {} at {} (trace {:016x})", self.seed, self.now(), self.trace_hash());
        }
        for thread in &self.threads {
            // Tasks hold their runtime: dropping them here breaks the circle.
            thread.rt.inner.executor.cancel_all();
        }
        let starts = std::mem::take(&mut self.world.lock().starts);
        drop(starts);
    }
}

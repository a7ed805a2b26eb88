//! Threads for work that blocks.
//!
//! Started one by one as work waits, at most a handful, and ended with their owner: one set serves `Rt::blocking` of all shards of
//! a node; the syscall driver has another for the file operations of each shard.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::oneshot::{Answer, oneshot};
use crate::real::policy;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    working: usize,
    closed: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.working == 0
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// The last job that was there is done.
    all_done: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.working += 1;
                drop(queue);
                // A panic drops the job's reply, which tells the shard that asked; the thread goes on.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                queue = self.queue();
                queue.working -= 1;
                if queue.is_idle() {
                    self.all_done.notify_all();
                }
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

/// A set of threads.
pub(crate) struct Helpers {
    shared: Arc<Shared>,
    name: &'static str,
    limit: usize,
}

impl Helpers {
    /// At most `limit` threads, at least one, named `name-0` and so on.
    pub(crate) fn new(name: &'static str, limit: usize) -> Helpers {
        Helpers { shared: Arc::default(), name, limit: limit.max(1) }
    }

    /// Runs `work` on one of the threads; the answer is `None` if it panicked.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let (reply, answer) = oneshot();
        let mut queue = self.shared.queue();
        queue.jobs.push_back(Box::new(move || reply.send(work())));
        // `idle` threads were told about jobs that they have not taken yet, so compare with all that wait.
        if queue.jobs.len() > queue.idle && queue.threads < self.limit {
            let shared = Arc::clone(&self.shared);
            let name = format!("{}-{}", self.name, queue.threads);
            let work = move || {
                policy::be_prompt();
                shared.work();
            };
            match std::thread::Builder::new().name(name).spawn(work) {
                Ok(_) => queue.threads += 1,
                // With no thread at all the work would never be done.
                Err(e) => assert!(queue.threads > 0, "no helper thread could be started: {e}"),
            }
        }
        drop(queue);
        self.shared.arrived.notify_one();
        answer
    }

    /// Waits for the end of all work that was given.
    pub(crate) fn wait_until_idle(&self) {
        let mut queue = self.shared.queue();
        while !queue.is_idle() {
            queue = self.shared.all_done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_all();
    }
}

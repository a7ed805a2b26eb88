//! Helper threads for work that blocks and has no ring operation.
//!
//! Shared by all shards of a node, started one by one as work waits, at most a handful. They end with the last host.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::oneshot::{Answer, oneshot};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // A panic drops the job's reply, which tells the shard that asked; the thread goes on.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                queue = self.queue();
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

/// The helper threads of a node.
pub(crate) struct Helpers {
    shared: Arc<Shared>,
    limit: usize,
}

impl Helpers {
    pub(crate) fn new(limit: usize) -> Helpers {
        let shared = Arc::new(Shared { queue: Mutex::default(), arrived: Condvar::new() });
        Helpers { shared, limit: limit.max(1) }
    }

    /// Runs `work` on a helper thread; the answer is `None` if it panicked.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let (reply, answer) = oneshot();
        let mut queue = self.shared.queue();
        queue.jobs.push_back(Box::new(move || reply.send(work())));
        // `idle` threads were told about jobs that they have not taken yet, so compare with all that wait.
        if queue.jobs.len() > queue.idle && queue.threads < self.limit {
            let shared = Arc::clone(&self.shared);
            let name = format!("helper-{}", queue.threads);
            match std::thread::Builder::new().name(name).spawn(move || shared.work()) {
                Ok(_) => queue.threads += 1,
                // With no thread at all the work would never be done.
                Err(e) => assert!(queue.threads > 0, "no helper thread could be started: {e}"),
            }
        }
        drop(queue);
        self.shared.arrived.notify_one();
        answer
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_all();
    }
}

//! The single-threaded executor of one shard, the same under both drivers.
//!
//! Tasks live in a slab. A waker carries the task's id and the shard's ready queue, so it may be used from any thread:
//! it queues the id once (until the task is next polled) and rings the shard's bell only if the shard is parked. The
//! driver decides when tasks run and where the shard parks.
//!
//! Liveness: a shard announces that it parks and then looks at the ready queue once more; a waker queues first and looks
//! at the announcement after (both SeqCst). One of the two sees the other.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_queue::SegQueue;
use slab::Slab;

use crate::time::Timers;

/// A boxed future of one shard.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Lets the other ready tasks of the shard run first.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A task's place and the generation of its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    index: usize,
    generation: u64,
}

impl TaskId {
    /// Names the task in a trace; unique within an executor.
    pub(crate) fn generation(self) -> u64 {
        self.generation
    }
}

/// What wakes a parked shard.
pub(crate) enum Bell {
    /// The driver waits for this eventfd to be written.
    EventFd(Arc<OwnedFd>),
    /// The simulator looks at every queue by itself.
    None,
}

/// The tasks of one shard that want to run, filled from any thread.
pub(crate) struct ReadyQueue {
    ready: SegQueue<TaskId>,
    parked: AtomicBool,
    bell: Bell,
    bells_rung: AtomicU64,
}

impl ReadyQueue {
    pub(crate) fn new(bell: Bell) -> ReadyQueue {
        ReadyQueue { ready: SegQueue::new(), parked: AtomicBool::new(false), bell, bells_rung: AtomicU64::new(0) }
    }

    fn push(&self, id: TaskId) {
        self.ready.push(id);
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst) {
            self.ring_bell();
        }
    }

    fn ring_bell(&self) {
        if let Bell::EventFd(fd) = &self.bell {
            self.bells_rung.fetch_add(1, Ordering::Relaxed);
            // A full counter (EAGAIN) already wakes; nothing else can fail on an eventfd we hold.
            let _ = nix::unistd::write(fd.as_fd(), &1u64.to_ne_bytes());
        }
    }

    /// Announces that the shard parks. False: there is work, do not park.
    pub(crate) fn park(&self) -> bool {
        self.parked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.ready.is_empty() {
            return true;
        }
        self.unpark();
        false
    }

    /// The shard runs again.
    pub(crate) fn unpark(&self) {
        self.parked.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(crate) fn pop(&self) -> Option<TaskId> {
        self.ready.pop()
    }

    pub(crate) fn bells_rung(&self) -> u64 {
        self.bells_rung.load(Ordering::Relaxed)
    }
}

struct TaskWaker {
    id: TaskId,
    /// Already in the queue: waking again adds nothing.
    queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(self.id);
        }
    }
}

struct Task {
    generation: u64,
    /// `None` while the task is being polled.
    future: Option<LocalBoxFuture<'static, ()>>,
    waker: Waker,
    flag: Arc<TaskWaker>,
    finished: Rc<Cell<bool>>,
    /// Cancelled by itself, or by what it called: goes when its poll returns.
    cancelled: bool,
}

/// Tasks and timers of one shard.
pub(crate) struct Executor {
    tasks: RefCell<Slab<Task>>,
    queue: Arc<ReadyQueue>,
    timers: RefCell<Timers>,
    next_generation: Cell<u64>,
}

impl Executor {
    pub(crate) fn new(bell: Bell) -> Executor {
        Executor {
            tasks: RefCell::default(),
            queue: Arc::new(ReadyQueue::new(bell)),
            timers: RefCell::default(),
            next_generation: Cell::new(0),
        }
    }

    pub(crate) fn queue(&self) -> &Arc<ReadyQueue> {
        &self.queue
    }

    pub(crate) fn timers(&self) -> &RefCell<Timers> {
        &self.timers
    }

    pub(crate) fn tasks_alive(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Adds a task; it runs when the driver next runs ready tasks.
    pub(crate) fn spawn(&self, future: LocalBoxFuture<'static, ()>) -> (TaskId, Rc<Cell<bool>>) {
        let generation = self.next_generation.get();
        self.next_generation.set(generation + 1);
        let finished = Rc::new(Cell::new(false));
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let id = TaskId { index: entry.key(), generation };
        let flag = Arc::new(TaskWaker { id, queued: AtomicBool::new(true), queue: Arc::clone(&self.queue) });
        entry.insert(Task {
            generation,
            future: Some(future),
            waker: Waker::from(Arc::clone(&flag)),
            flag,
            finished: Rc::clone(&finished),
            cancelled: false,
        });
        self.queue.push(id);
        (id, finished)
    }

    /// Polls one task from the queue's head order. False: the id was of a task that is gone.
    pub(crate) fn poll(&self, id: TaskId) -> bool {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(id.index).filter(|task| task.generation == id.generation) else {
                return false;
            };
            let Some(future) = task.future.take() else { return false };
            task.flag.queued.store(false, Ordering::Release);
            (future, task.waker.clone())
        };
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = self.tasks.borrow_mut();
        let task = tasks.get_mut(id.index).expect("a task that is polled keeps its slot");
        if done || task.cancelled {
            let task = tasks.remove(id.index);
            task.finished.set(true);
            // The future's drop may spawn or cancel tasks: let go of the slab first.
            drop(tasks);
            drop(task);
            drop(future);
        } else {
            task.future = Some(future);
        }
        true
    }

    /// Drops a task's future, now or when its poll returns.
    pub(crate) fn cancel(&self, id: TaskId) {
        let mut tasks = self.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(id.index).filter(|task| task.generation == id.generation) else {
            return;
        };
        if task.future.is_none() {
            task.cancelled = true;
            return;
        }
        let task = tasks.remove(id.index);
        task.finished.set(true);
        drop(tasks);
        drop(task);
    }

    /// Drops every task, also those that the dropped ones spawn.
    pub(crate) fn cancel_all(&self) {
        loop {
            let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
            if tasks.is_empty() {
                break;
            }
            for (_, task) in tasks.iter() {
                task.finished.set(true);
            }
            drop(tasks);
        }
        while self.queue.pop().is_some() {}
    }
}
